-- Provenance ends too: events older than prov.setting says are forgotten, as far as nothing that stays leads back to them.
--
-- What stays, however old it is: an event of a command or a batch that is still listed, the newest word about a row that has not been deleted, a definition
-- (the DDL of what is there, calls of the kernel), and every cause of an event that stays. So a story that can be told is told to its beginning.
--
-- Forgetting is an event itself. Nobody else may take events away: the table refuses all but prov.expire, which says of the transaction that it does.

SET LOCAL ROLE wt_owner;

CREATE TABLE prov.setting (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    keep_days integer NOT NULL DEFAULT 365 CHECK (keep_days BETWEEN 1 AND 36500)
);
INSERT INTO prov.setting DEFAULT VALUES;
SELECT prov.track('prov.setting');

CREATE OR REPLACE FUNCTION prov.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_RELID = 'prov.event'::regclass AND current_user = 'wt_owner' AND current_setting('prov.expiring', true) = pg_current_xact_id()::text THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% of % is refused: it is append-only', TG_OP, TG_RELID::regclass
        USING ERRCODE = 'insufficient_privilege', HINT = 'What was recorded stays; correct it with a new event.';
END $$;

-- Forgets events of before a time. It looks at p_limit of them, those with numbers below p_below, and says how many it forgot and the lowest number that it looked
-- at, which is the next call's p_below; NULL when there are no more. Effects are looked at before their causes, so that whole stories go.
CREATE FUNCTION prov.expire(p_before timestamptz DEFAULT NULL, p_below bigint DEFAULT NULL, p_limit integer DEFAULT 10000, OUT forgotten bigint, OUT lowest bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_before timestamptz := coalesce(p_before, now() - make_interval(days => (SELECT s.keep_days FROM prov.setting s)));
    v_old bigint[];
BEGIN
    IF v_before > now() - interval '1 hour' OR p_limit IS NULL OR p_limit NOT BETWEEN 1 AND 1000000 THEN
        RAISE EXCEPTION 'cannot forget up to % events of before %', p_limit, v_before
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a time at least an hour ago, and 1 to 1000000 events.';
    END IF;
    forgotten := 0;
    SELECT array_agg(s.id), min(s.id) INTO v_old, lowest FROM (
        SELECT e.id FROM prov.event e WHERE e.at < v_before AND (p_below IS NULL OR e.id < p_below) ORDER BY e.id DESC LIMIT p_limit) s;
    IF lowest IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('prov.expiring', pg_current_xact_id()::text, true);
    WITH RECURSIVE old AS MATERIALIZED (
        SELECT e.id, e.cause, e.op, e.object, e.keys FROM prov.event e WHERE e.id = ANY (v_old)
    ), needed (id, cause) AS (
        SELECT o.id, o.cause FROM old o
        WHERE o.op ~ '^(CREATE|ALTER|create[A-Z])'
           OR EXISTS (SELECT FROM prov.event c WHERE c.cause = o.id AND c.id <> ALL (v_old))
           OR o.op = 'command' AND EXISTS (SELECT FROM north.command k WHERE k.event = o.id)
           OR o.op = 'batch' AND EXISTS (SELECT FROM res.batch b WHERE b.event = o.id)
           OR o.op IN ('insert', 'update') AND EXISTS (
                SELECT FROM unnest(o.keys) AS k (key)
                WHERE NOT EXISTS (SELECT FROM prov.event n WHERE n.keys @> ARRAY[k.key] AND n.object = o.object AND n.id > o.id))
           -- That a row is gone has to be known as long as anything else is known about it.
           OR o.op = 'delete' AND EXISTS (
                SELECT FROM unnest(o.keys) AS k (key) JOIN prov.event n ON n.keys @> ARRAY[k.key] AND n.object = o.object AND n.id < o.id AND n.id <> ALL (v_old))
        UNION
        SELECT o.id, o.cause FROM needed n JOIN old o ON o.id = n.cause
    ), gone AS (
        DELETE FROM prov.event e USING old o WHERE e.id = o.id AND NOT EXISTS (SELECT FROM needed n WHERE n.id = o.id) RETURNING 1
    )
    SELECT count(*) INTO forgotten FROM gone;
    PERFORM set_config('prov.expiring', '', true);
    IF forgotten > 0 THEN
        PERFORM prov.append('expire', 'prov.event', forgotten, p_new => jsonb_build_object('before', v_before));
    END IF;
END $$;

CREATE INDEX command_event ON north.command (event);

ALTER TABLE prov.setting ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON prov.setting TO wt_viewer USING (true) WITH CHECK (true);
GRANT SELECT ON prov.setting TO wt_viewer;
GRANT UPDATE (keep_days) ON prov.setting TO wt_admin;
GRANT EXECUTE ON FUNCTION prov.expire TO wt_admin;
RESET ROLE;
