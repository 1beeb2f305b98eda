-- What the proxy needs beside the outbox: claims that no single device can exhaust, the full check, and a look at all devices.
--
-- A device that hangs holds the calls that were made to it, and no others: claims take a few commands of each device, and none of those that the
-- proxy says are busy. A lease that ran out while a newer command came is superseded, not sent again.
--
-- The full check asks devices what they are and compares. What it reports was seen after a time that the proxy names; where the mirror knows
-- something newer, or a command is under way, the report is dropped: else the answer to a question of before the command would look like drift.

SET LOCAL ROLE wt_owner;

-- How the proxy last found a device. Not part of net.device, whose changes are events: this changes with every check.
CREATE TABLE north.health (
    device     text PRIMARY KEY REFERENCES net.device ON DELETE CASCADE,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ok_at      timestamptz,
    worker     text NOT NULL,
    error      text
);
COMMENT ON COLUMN north.health.error IS 'Why the last full check failed; NULL: it did not';

-- Devices that commands go to.
CREATE FUNCTION north.devices() RETURNS TABLE (device text, driver text, target text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.device, d.driver, d.target FROM net.device d WHERE d.enabled ORDER BY d.device
$$;

-- Takes up to p_limit commands that are due, up to p_per_device of one device and none of p_busy, oldest first, for p_seconds.
CREATE FUNCTION north.claim(p_worker text, p_limit integer, p_per_device integer, p_seconds double precision, p_busy text[] DEFAULT '{}')
RETURNS TABLE (id bigint, device text, driver text, target text, kind text, name text, gen bigint, body jsonb, attempts integer, lease bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF p_limit NOT BETWEEN 1 AND 1000 OR p_per_device NOT BETWEEN 1 AND 1000 OR p_seconds NOT BETWEEN 0.05 AND 3600
       OR p_limit IS NULL OR p_per_device IS NULL OR p_seconds IS NULL OR p_busy IS NULL THEN
        RAISE EXCEPTION 'cannot claim % commands, % of a device, for % s', p_limit, p_per_device, p_seconds
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 1000 commands, and 0.05 to 3600 s.';
    END IF;
    UPDATE north.command k SET state = 'superseded', lease = NULL, leased_until = NULL, ended_at = clock_timestamp()
    WHERE k.id IN (
        SELECT o.id FROM north.command o
        WHERE o.state = 'leased' AND o.leased_until < clock_timestamp()
          AND EXISTS (SELECT FROM north.command n WHERE n.device = o.device AND n.kind = o.kind AND n.name = o.name AND n.gen > o.gen)
        FOR UPDATE SKIP LOCKED);
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT c.id FROM net.device d CROSS JOIN LATERAL (
            SELECT k.id FROM north.command k
            WHERE k.device = d.device
              AND (k.state = 'pending' AND k.next_at <= clock_timestamp() OR k.state = 'leased' AND k.leased_until < clock_timestamp())
              AND NOT EXISTS (SELECT FROM north.command o WHERE o.device = k.device AND o.kind = k.kind AND o.name = k.name AND o.id <> k.id
                              AND o.state = 'leased' AND o.leased_until >= clock_timestamp())
            ORDER BY k.id LIMIT p_per_device FOR UPDATE SKIP LOCKED
        ) c
        WHERE d.enabled AND d.device <> ALL (p_busy)
        LIMIT p_limit
    )
    UPDATE north.command k
    SET state = 'leased', lease = nextval('north.fence'), leased_by = p_worker, attempts = k.attempts + 1,
        leased_until = clock_timestamp() + make_interval(secs => p_seconds)
    FROM due, net.device d
    WHERE k.id = due.id AND d.device = k.device
    RETURNING k.id, k.device, d.driver, d.target, k.kind, k.name, k.gen, k.body, k.attempts, k.lease;
END $$;

-- When the next command becomes due that is not yet, in seconds; NULL when there is none. What is due already waits for something else than time.
CREATE FUNCTION north.next_due() RETURNS double precision LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT extract(epoch FROM least(
        (SELECT min(k.next_at) FROM north.command k WHERE k.state = 'pending' AND k.next_at > clock_timestamp()),
        (SELECT min(k.leased_until) FROM north.command k WHERE k.state = 'leased' AND k.leased_until > clock_timestamp())
    ) - clock_timestamp())::double precision
$$;

-- The objects of a device that the full check asks about: all but those with a command under way.
CREATE FUNCTION north.wanted(p_device text) RETURNS TABLE (kind text, name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.kind, o.name FROM net.object o
    WHERE o.device = p_device AND (o.desired IS NOT NULL OR o.observed IS NOT NULL)
      AND NOT EXISTS (SELECT FROM north.command k WHERE k.device = o.device AND k.kind = o.kind AND k.name = o.name AND k.state IN ('pending', 'leased'))
    ORDER BY o.kind, o.name
$$;

-- What the full check saw of an object after p_since. Returns whether it counts.
CREATE FUNCTION north.report(p_device text, p_kind text, p_name text, p_observed jsonb, p_gen bigint, p_since timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM net.object o WHERE o.device = p_device AND o.kind = p_kind AND o.name = p_name FOR UPDATE;
    IF EXISTS (SELECT FROM net.object o WHERE o.device = p_device AND o.kind = p_kind AND o.name = p_name AND o.observed_at >= p_since)
       OR EXISTS (SELECT FROM north.command k WHERE k.device = p_device AND k.kind = p_kind AND k.name = p_name
                  AND (k.state IN ('pending', 'leased') OR k.ended_at >= p_since)) THEN
        RETURN false;
    END IF;
    PERFORM north.observe(p_device, p_kind, p_name, p_observed, p_gen);
    RETURN true;
END $$;

-- The full check of a device has ended, well or not. Drift gets its commands; returns how many.
CREATE FUNCTION north.checked(p_device text, p_worker text, p_error text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO north.health AS h (device, ok_at, worker, error)
    SELECT d.device, CASE WHEN p_error IS NULL THEN clock_timestamp() END, p_worker, left(p_error, 2000) FROM net.device d WHERE d.device = p_device
    ON CONFLICT (device) DO UPDATE SET checked_at = clock_timestamp(), ok_at = coalesce(excluded.ok_at, h.ok_at), worker = excluded.worker, error = excluded.error;
    IF p_error IS NOT NULL OR NOT EXISTS (SELECT FROM net.drift f WHERE f.device = p_device) THEN
        RETURN 0;
    END IF;
    RETURN north.reconcile(p_device);
END $$;

-- A person asks for a full check now: commands that have failed are tried again, and the proxy is told. Returns how many are tried again.
CREATE FUNCTION north.ask_check(p_device text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n integer := 0;
    v_id bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM net.device d WHERE d.device = p_device) THEN
        RAISE EXCEPTION 'there is no device "%"', p_device USING ERRCODE = 'undefined_object', HINT = 'net.device lists them.';
    END IF;
    FOR v_id IN SELECT k.id FROM north.command k WHERE k.device = p_device AND k.state = 'failed' ORDER BY k.id LOOP
        v_n := v_n + north.retry(v_id)::integer;
    END LOOP;
    PERFORM pg_notify('north', 'check ' || p_device);
    RETURN v_n;
END $$;

-- Lifts the blocks of all devices that have not been reported at or above their low threshold for their hold time; returns how many. Queries that
-- report floods alone fall silent when one ends, and nobody but the clock would lift its block.
CREATE FUNCTION north.sweep() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM net.block b WHERE clock_timestamp() - b.over_at >= b.hold) THEN
        RETURN 0;
    END IF;
    PERFORM prov.push(prov.append('sweep', 'net.block', 0));
    DELETE FROM net.block b WHERE clock_timestamp() - b.over_at >= b.hold;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    PERFORM prov.pop();
    RETURN v_n;
END $$;

-- All devices at a glance.
CREATE VIEW north.device_status WITH (security_invoker = true) AS
SELECT d.device, d.driver, d.target, d.tenant, d.enabled,
       (SELECT count(*) FROM net.object o WHERE o.device = d.device AND o.desired IS NOT NULL) AS objects,
       (SELECT count(*) FROM net.drift f WHERE f.device = d.device) AS drift,
       (SELECT count(*) FROM north.command k WHERE k.device = d.device AND k.state IN ('pending', 'leased')) AS pending,
       (SELECT count(*) FROM north.command k WHERE k.device = d.device AND k.state = 'failed') AS failed,
       greatest(d.seen_at, h.ok_at) AS seen_at, h.error
FROM net.device d LEFT JOIN north.health h USING (device);

ALTER TABLE north.health ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON north.health FOR SELECT TO wt_viewer USING (true);
CREATE POLICY tenants ON north.health FOR SELECT TO wt_tenant USING (device IN (SELECT d.device FROM net.device d WHERE d.tenant = sec.tenant()));
GRANT SELECT ON north.health, north.device_status TO wt_viewer, wt_tenant;
GRANT EXECUTE ON FUNCTION north.devices, north.claim, north.next_due, north.wanted, north.report, north.checked, north.sweep TO wt_proxy;
GRANT EXECUTE ON FUNCTION north.ask_check TO wt_operator;
RESET ROLE;
