-- The block list: which prefixes an appliance drops at the NIC, and when it stops.
--
-- A policy reports rates with net.report_rate. A prefix is blocked when its rate reaches `high`, and lifted when it has stayed below `low` for
-- `hold`: two thresholds and a wait, so that a rate near one of them does not switch the block on and off. Rates are counted before the block,
-- or a block that works would look like an attack that ended. A prefix that is not reported any more counts as rate 0 (net.sweep_blocks).
--
-- Rows go into net.object as kind `block`, and from there to the device. Safe prefixes (net.never_block) are never blocked, nor is any
-- prefix that holds or lies in one, nor one shorter than /8 (IPv4) or /16 (IPv6); a device has room for so many.

SET LOCAL ROLE wt_owner;

CREATE TABLE net.never_block (
    prefix cidr PRIMARY KEY,
    reason text NOT NULL
);
INSERT INTO net.never_block VALUES ('127.0.0.0/8', 'loopback'), ('::1/128', 'loopback'), ('fe80::/10', 'link-local: neighbour discovery');

CREATE TABLE net.block (
    device    text NOT NULL REFERENCES net.device,
    prefix    cidr NOT NULL CHECK (CASE family(prefix) WHEN 4 THEN masklen(prefix) >= 8 ELSE masklen(prefix) >= 16 END),
    tenant    text NOT NULL DEFAULT sec.tenant(),
    reason    text NOT NULL DEFAULT '',
    rate      double precision NOT NULL DEFAULT 0,
    low       double precision NOT NULL DEFAULT 0,
    hold      interval NOT NULL DEFAULT interval '10 s',
    since     timestamptz NOT NULL DEFAULT now(),
    over_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, prefix)
);
COMMENT ON TABLE net.block IS 'Blocked now; a lifted prefix has no row (prov.event has its history)';
COMMENT ON COLUMN net.block.over_at IS 'When its rate was last at or above low';

-- Most prefixes that an appliance takes: the size of its map.
CREATE FUNCTION net.blocks_max() RETURNS integer LANGUAGE sql IMMUTABLE RETURN 10000;

CREATE FUNCTION net.check_block() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_safe net.never_block;
BEGIN
    SELECT * INTO v_safe FROM net.never_block s WHERE s.prefix && NEW.prefix LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% is not blocked: % is safe (%)', NEW.prefix, v_safe.prefix, v_safe.reason
            USING ERRCODE = 'check_violation', HINT = 'An administrator can change net.never_block.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER check_block BEFORE INSERT ON net.block FOR EACH ROW EXECUTE FUNCTION net.check_block();
CREATE TRIGGER device BEFORE INSERT OR UPDATE OF device, tenant ON net.block FOR EACH ROW EXECUTE FUNCTION net.check_device();

CREATE FUNCTION net.blocks_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_full text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT b.device INTO v_full FROM net.block b WHERE b.device IN (SELECT n.device FROM new_rows n) GROUP BY b.device HAVING count(*) > net.blocks_max() LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'device "%" would have more than % blocks', v_full, net.blocks_max()
                USING ERRCODE = 'configuration_limit_exceeded', HINT = 'Block shorter prefixes, or lift some.';
        END IF;
        INSERT INTO net.object AS o (device, kind, name, tenant, desired)
        SELECT device, 'block', prefix::text, tenant, jsonb_build_object('prefix', prefix) FROM new_rows
        ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired, tenant = excluded.tenant WHERE o.desired IS DISTINCT FROM excluded.desired;
    ELSE
        UPDATE net.object o SET desired = NULL FROM old_rows d WHERE o.device = d.device AND o.kind = 'block' AND o.name = d.prefix::text AND o.desired IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER m_insert AFTER INSERT ON net.block REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION net.blocks_changed();
CREATE TRIGGER m_delete AFTER DELETE ON net.block REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION net.blocks_changed();

-- A rate of a prefix at a time; returns what came of it: `block`, `keep`, `lift`, or `none`. Times may come late: an older report than the last
-- one changes nothing.
CREATE FUNCTION net.report_rate(p_device text, p_prefix cidr, p_rate double precision, p_high double precision, p_low double precision, p_hold interval,
    p_at timestamptz DEFAULT now(), p_reason text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    b net.block;
BEGIN
    IF p_high IS NULL OR p_low IS NULL OR p_low > p_high OR p_low <= 0 OR p_hold IS NULL OR p_hold < interval '0' OR p_rate IS NULL THEN
        RAISE EXCEPTION 'thresholds high %, low %, hold %, rate % make no hysteresis', p_high, p_low, p_hold, p_rate
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Use 0 < low <= high and a hold of 0 or more.';
    END IF;
    SELECT * INTO b FROM net.block WHERE device = p_device AND prefix = p_prefix FOR UPDATE;
    IF NOT FOUND THEN
        IF p_rate < p_high THEN
            RETURN 'none';
        END IF;
        INSERT INTO net.block (device, prefix, reason, rate, low, hold, since, over_at) VALUES (p_device, p_prefix, p_reason, p_rate, p_low, p_hold, p_at, p_at)
        ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'block' ELSE 'keep' END;
    END IF;
    IF p_rate >= p_low THEN
        UPDATE net.block SET rate = p_rate, over_at = p_at WHERE device = p_device AND prefix = p_prefix AND over_at < p_at;
        RETURN 'keep';
    END IF;
    IF p_at - b.over_at >= p_hold THEN
        DELETE FROM net.block WHERE device = p_device AND prefix = p_prefix;
        RETURN 'lift';
    END IF;
    RETURN 'keep';
END $$;

-- Lifts what has not been reported at or above its low threshold for its hold time; returns the prefixes.
CREATE FUNCTION net.sweep_blocks(p_device text, p_at timestamptz DEFAULT now()) RETURNS SETOF cidr LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM net.block WHERE device = p_device AND p_at - over_at >= hold RETURNING prefix;
END;

SELECT prov.track('net.never_block'), prov.track('net.block');
ALTER TABLE net.block ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON net.block TO wt_viewer USING (true) WITH CHECK (true);
CREATE POLICY tenants ON net.block TO wt_tenant USING (tenant = sec.tenant()) WITH CHECK (tenant = sec.tenant());
GRANT SELECT ON net.block, net.never_block TO wt_viewer, wt_tenant;
GRANT INSERT, UPDATE, DELETE ON net.block TO wt_operator, wt_tenant;
GRANT INSERT, UPDATE, DELETE ON net.never_block TO wt_admin;
GRANT EXECUTE ON FUNCTION net.report_rate, net.sweep_blocks TO wt_operator, wt_tenant;
RESET ROLE;
