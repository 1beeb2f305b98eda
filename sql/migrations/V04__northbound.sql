-- Northbound: the outbox between desired state and devices.
--
-- A change of desired state writes a command in its own transaction, so both or neither happen. A newer command for the same key
-- (device, kind, name) supersedes those that wait. The proxy leases commands (SKIP LOCKED), calls the device outside of any
-- transaction, and acknowledges with the token of its lease: a lease that has run out cannot acknowledge (fencing). Failures are tried
-- again after 0.1 s, 0.2 s … 60 s; then the command is `failed` and stays visible until a person retries it.
--
-- Delivery is at least once. The effect is once, because a device keeps the last generation it applied per key and ignores older or
-- equal ones. No device is ever called inside a transaction, where it would hold locks as long as it likes.
--
-- NOTIFY `north` is a hint without contents: the proxy also polls. It serialises commits, so many busy writers turn it off with
-- ALTER DATABASE … SET wt.notify = off and let the poll do.

SET LOCAL ROLE wt_owner;

CREATE SEQUENCE north.fence;

CREATE TABLE north.command (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device       text NOT NULL REFERENCES net.device,
    kind         text NOT NULL,
    name         text NOT NULL,
    tenant       text NOT NULL,
    gen          bigint NOT NULL,
    body         jsonb,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'done', 'failed', 'superseded')),
    attempts     integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT now(),
    lease        bigint,
    leased_by    text,
    leased_until timestamptz,
    error        text,
    event        bigint,
    created_at   timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    UNIQUE (device, kind, name, gen),
    CHECK ((state = 'leased') = (lease IS NOT NULL))
);
COMMENT ON COLUMN north.command.body IS 'Desired state to apply; NULL: remove the object';
COMMENT ON COLUMN north.command.event IS 'Its event in prov.event';
CREATE INDEX command_due ON north.command (next_at, id) WHERE state = 'pending';
CREATE INDEX command_leased ON north.command (leased_until) WHERE state = 'leased';
CREATE INDEX command_open ON north.command (device, kind, name) WHERE state IN ('pending', 'leased', 'failed');

-- Commands for the rows of net.object whose desired state changed; older ones that wait give way.
CREATE FUNCTION north.enqueue() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event bigint;
    c record;
    v_any boolean := false;
BEGIN
    FOR c IN
        SELECT n.device, n.kind, n.name, n.tenant, n.desired, n.desired_gen
        FROM new_rows n WHERE n.desired_gen > coalesce(
            (SELECT max(k.gen) FROM north.command k WHERE k.device = n.device AND k.kind = n.kind AND k.name = n.name), 0)
        ORDER BY n.device, n.kind, n.name
    LOOP
        UPDATE north.command k SET state = 'superseded', ended_at = now()
        WHERE k.device = c.device AND k.kind = c.kind AND k.name = c.name AND k.state IN ('pending', 'failed') AND k.gen < c.desired_gen;
        v_event := prov.append('command', 'north.command', 1,
            ARRAY[c.device || ',' || c.kind || ',' || c.name], NULL, jsonb_build_object('gen', c.desired_gen, 'body', c.desired), p_tenant => c.tenant);
        INSERT INTO north.command (device, kind, name, tenant, gen, body, event)
        VALUES (c.device, c.kind, c.name, c.tenant, c.desired_gen, c.desired, v_event);
        v_any := true;
    END LOOP;
    IF v_any AND current_setting('wt.notify', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify('north', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER m_north_insert AFTER INSERT ON net.object REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION north.enqueue();
CREATE TRIGGER m_north_update AFTER UPDATE ON net.object REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION north.enqueue();

-- Takes up to p_limit commands that are due, oldest first, for p_seconds. A key with a live lease waits, so that commands for one key
-- go out one after the other. `lease` is the token to acknowledge with.
CREATE FUNCTION north.lease(p_worker text, p_limit integer DEFAULT 32, p_seconds double precision DEFAULT 30, p_drivers text[] DEFAULT NULL)
RETURNS TABLE (id bigint, device text, driver text, target text, kind text, name text, tenant text, gen bigint, body jsonb, attempts integer, lease bigint, event bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF p_limit NOT BETWEEN 1 AND 1000 OR p_seconds NOT BETWEEN 0.05 AND 3600 OR p_limit IS NULL OR p_seconds IS NULL THEN
        RAISE EXCEPTION 'cannot lease % commands for % s', p_limit, p_seconds
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 1 to 1000 commands, and 0.05 to 3600 s.';
    END IF;
    RETURN QUERY
    WITH due AS (
        SELECT k.id FROM north.command k JOIN net.device d USING (device)
        WHERE (k.state = 'pending' AND k.next_at <= clock_timestamp() OR k.state = 'leased' AND k.leased_until < clock_timestamp())
          AND d.enabled AND (p_drivers IS NULL OR d.driver = ANY (p_drivers))
          AND NOT EXISTS (SELECT FROM north.command o WHERE o.device = k.device AND o.kind = k.kind AND o.name = k.name AND o.id <> k.id
                          AND o.state = 'leased' AND o.leased_until >= clock_timestamp())
        ORDER BY k.id LIMIT p_limit FOR UPDATE OF k SKIP LOCKED
    )
    UPDATE north.command k
    SET state = 'leased', lease = nextval('north.fence'), leased_by = p_worker, attempts = k.attempts + 1,
        leased_until = clock_timestamp() + make_interval(secs => p_seconds)
    FROM due, net.device d
    WHERE k.id = due.id AND d.device = k.device
    RETURNING k.id, k.device, d.driver, d.target, k.kind, k.name, k.tenant, k.gen, k.body, k.attempts, k.lease, k.event;
END $$;

-- Extends a lease that still holds.
CREATE FUNCTION north.renew(p_id bigint, p_lease bigint, p_seconds double precision DEFAULT 30) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE north.command SET leased_until = clock_timestamp() + make_interval(secs => least(greatest(p_seconds, 0.05), 3600))
    WHERE id = p_id AND lease = p_lease AND state = 'leased' AND leased_until >= clock_timestamp();
    RETURN FOUND;
END $$;

-- The device has applied a command: ends it and records what the device is now. False when the lease no longer holds: then nothing
-- changes but an event that says so.
CREATE FUNCTION north.ack(p_id bigint, p_lease bigint, p_observed jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c north.command;
    v_event bigint;
BEGIN
    UPDATE north.command SET state = 'done', lease = NULL, leased_until = NULL, error = NULL, ended_at = clock_timestamp()
    WHERE id = p_id AND lease = p_lease AND state = 'leased' AND leased_until >= clock_timestamp()
    RETURNING * INTO c;
    IF NOT FOUND THEN
        SELECT * INTO c FROM north.command WHERE id = p_id;
        PERFORM prov.append('stale', 'north.command', 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], NULL,
            jsonb_build_object('gen', c.gen, 'lease', p_lease, 'observed', p_observed), p_tenant => c.tenant, p_link => c.event) WHERE c.id IS NOT NULL;
        RETURN false;
    END IF;
    v_event := prov.append('device', c.device || '/' || c.kind || '/' || c.name, 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], c.body,
        p_observed, p_tenant => c.tenant, p_link => c.event);
    PERFORM prov.push(v_event);
    UPDATE net.object o SET observed = p_observed, observed_gen = c.gen, observed_at = clock_timestamp(), error = NULL
    WHERE o.device = c.device AND o.kind = c.kind AND o.name = c.name AND o.observed_gen <= c.gen;
    UPDATE net.device d SET seen_at = clock_timestamp() WHERE d.device = c.device AND d.seen_at < clock_timestamp() - interval '10 s' IS NOT FALSE;
    PERFORM prov.pop();
    RETURN true;
END $$;

-- Attempts before a command is failed: the 11th waits 60 s.
CREATE FUNCTION north.attempts_max() RETURNS integer LANGUAGE sql IMMUTABLE RETURN 12;

-- The wait after attempt n: 0.1 s doubled each time up to 60 s.
CREATE FUNCTION north.backoff(p_attempts integer) RETURNS interval LANGUAGE sql IMMUTABLE
RETURN make_interval(secs => least(60.0, 0.1 * power(2.0::double precision, least(greatest(p_attempts, 1), 20) - 1)));

-- The device refused or did not answer. p_after is what it asked for (Retry-After), p_final that trying again is pointless.
-- Returns the command's state, or NULL when the lease no longer holds.
CREATE FUNCTION north.nack(p_id bigint, p_lease bigint, p_error text, p_after interval DEFAULT NULL, p_final boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c north.command;
    v_state text;
BEGIN
    SELECT * INTO c FROM north.command
    WHERE id = p_id AND lease = p_lease AND state = 'leased' AND leased_until >= clock_timestamp() FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_state := CASE
        WHEN EXISTS (SELECT FROM north.command k WHERE k.device = c.device AND k.kind = c.kind AND k.name = c.name AND k.gen > c.gen) THEN 'superseded'
        WHEN p_final OR c.attempts >= north.attempts_max() THEN 'failed'
        ELSE 'pending' END;
    UPDATE north.command SET state = v_state, lease = NULL, leased_until = NULL, error = left(p_error, 2000),
        next_at = clock_timestamp() + greatest(north.backoff(c.attempts), least(coalesce(p_after, interval '0'), interval '60 s')),
        ended_at = CASE WHEN v_state <> 'pending' THEN clock_timestamp() END
    WHERE id = p_id;
    UPDATE net.object o SET error = left(p_error, 2000) WHERE o.device = c.device AND o.kind = c.kind AND o.name = c.name AND v_state = 'failed';
    IF v_state = 'failed' THEN
        PERFORM prov.append('failed', 'north.command', 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], NULL,
            jsonb_build_object('gen', c.gen, 'attempts', c.attempts, 'error', left(p_error, 2000)), p_tenant => c.tenant, p_link => c.event);
    END IF;
    RETURN v_state;
END $$;

-- A failed command is tried again from the start.
CREATE FUNCTION north.retry(p_id bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c north.command;
BEGIN
    UPDATE north.command SET state = 'pending', attempts = 0, next_at = clock_timestamp(), ended_at = NULL
    WHERE id = p_id AND state = 'failed' RETURNING * INTO c;
    IF FOUND THEN
        PERFORM prov.append('retry', 'north.command', 1, ARRAY[c.device || ',' || c.kind || ',' || c.name], p_tenant => c.tenant);
        PERFORM pg_notify('north', '');
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- What a device says without being told to (the periodic full check). p_gen is the last generation it says it applied.
CREATE FUNCTION north.observe(p_device text, p_kind text, p_name text, p_observed jsonb, p_gen bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o net.object;
    v_event bigint;
BEGIN
    SELECT * INTO o FROM net.object WHERE device = p_device AND kind = p_kind AND name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        -- Something nobody asked for: it is drift, as it should not exist.
        IF p_observed IS NOT NULL THEN
            INSERT INTO net.object (device, kind, name, tenant) SELECT p_device, p_kind, p_name, d.tenant FROM net.device d WHERE d.device = p_device;
            UPDATE net.object SET observed = p_observed, observed_at = clock_timestamp() WHERE device = p_device AND kind = p_kind AND name = p_name;
        END IF;
        RETURN;
    END IF;
    IF o.observed IS NOT DISTINCT FROM p_observed AND o.observed_gen >= p_gen THEN
        RETURN;
    END IF;
    v_event := prov.append('device', p_device || '/' || p_kind || '/' || p_name, 1, ARRAY[p_device || ',' || p_kind || ',' || p_name], o.observed, p_observed, p_tenant => o.tenant);
    PERFORM prov.push(v_event);
    -- A device cannot have applied what was not asked yet.
    UPDATE net.object SET observed = p_observed, observed_at = clock_timestamp(), observed_gen = greatest(observed_gen, least(p_gen, desired_gen))
    WHERE device = p_device AND kind = p_kind AND name = p_name;
    PERFORM prov.pop();
END $$;

-- Drift that nothing is under way to mend gets a new generation, and with it a command. Returns how many.
CREATE FUNCTION north.reconcile(p_device text DEFAULT NULL, p_limit integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n integer;
    v_event bigint;
BEGIN
    v_event := prov.append('reconcile', coalesce(p_device, 'net.object'), 0);
    PERFORM prov.push(v_event);
    UPDATE net.object o SET desired_gen = o.desired_gen + 1
    FROM (
        SELECT x.device, x.kind, x.name FROM net.object x
        WHERE (p_device IS NULL OR x.device = p_device)
          AND (x.observed_gen < x.desired_gen OR x.observed_at IS NOT NULL AND net.differs(x.desired, x.observed, x.tolerance))
          AND NOT EXISTS (SELECT FROM north.command k WHERE k.device = x.device AND k.kind = x.kind AND k.name = x.name AND k.state IN ('pending', 'leased', 'failed'))
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) d WHERE o.device = d.device AND o.kind = d.kind AND o.name = d.name;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    PERFORM prov.pop();
    RETURN v_n;
END $$;

-- Ended commands older than this are removed; their events stay.
CREATE FUNCTION north.expire(p_keep interval DEFAULT interval '7 days') RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_n bigint;
BEGIN
    -- The newest of each key stays: generations go on from it.
    DELETE FROM north.command k WHERE k.state IN ('done', 'superseded') AND k.ended_at < now() - p_keep
      AND EXISTS (SELECT FROM north.command n WHERE n.device = k.device AND n.kind = k.kind AND n.name = k.name AND n.gen > k.gen);
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

CREATE VIEW north.failed WITH (security_invoker = true) AS
SELECT id, device, kind, name, tenant, gen, attempts, error, ended_at FROM north.command WHERE state = 'failed';

CREATE VIEW north.queue WITH (security_invoker = true) AS
SELECT device, state, count(*) AS commands, min(created_at) AS oldest, max(attempts) AS attempts
FROM north.command WHERE state IN ('pending', 'leased', 'failed') GROUP BY device, state;

ALTER TABLE north.command ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON north.command FOR SELECT TO wt_viewer USING (true);
CREATE POLICY tenants ON north.command FOR SELECT TO wt_tenant USING (tenant = sec.tenant());
GRANT USAGE ON SCHEMA north TO wt_tenant;
GRANT SELECT ON north.command, north.failed, north.queue TO wt_viewer, wt_tenant;
GRANT EXECUTE ON FUNCTION north.lease, north.renew, north.ack, north.nack, north.observe, north.reconcile TO wt_proxy;
GRANT EXECUTE ON FUNCTION north.retry, north.reconcile TO wt_operator;
GRANT EXECUTE ON FUNCTION north.expire TO wt_admin;
RESET ROLE;
