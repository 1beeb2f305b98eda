-- Results of queries, each batch exactly once.
--
-- A sink (`-o postgres://…`, or a sink of a batch file) declares its table with res.define, then sends batches. A batch is known by
-- (appliance_id, relation, epoch, seq): it was given that key when it was written to the sink's spool, and keeps it however often it is
-- sent. In one transaction the sink asks res.begin_batch, and if the key is new, copies the rows into the parent table and calls res.end_batch.
-- Whether the commit was lost, or only its answer, sending it again is harmless.
--
-- Rows lie in schema `result`, one table per query, in daily partitions by wt_at, with BRIN over it. They carry their batch, not their
-- completeness: that is of windows, and stands in res.batch. Policies on a result table fire once per batch, on the parent.
-- What a sink could not keep (spool full, windows open at a crash) is a row of res.gap, not silence.

CREATE SCHEMA result AUTHORIZATION wt_owner;
SET LOCAL ROLE wt_owner;
GRANT USAGE ON SCHEMA result TO wt_viewer, wt_ingest, wt_tenant;

CREATE TABLE res.relation (
    relation    name PRIMARY KEY CHECK (relation <> '' AND octet_length(relation) <= 50),
    columns     jsonb NOT NULL,
    time_column name,
    tenant      text NOT NULL DEFAULT 'system',
    keep        interval CHECK (keep >= interval '1 day'),
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN res.relation.columns IS 'The query''s columns in order: [{"name": …, "type": …}]';
COMMENT ON COLUMN res.relation.keep IS 'Partitions older than this are dropped by res.expire; NULL keeps them';

CREATE TABLE res.batch (
    appliance_id text NOT NULL CHECK (length(appliance_id) BETWEEN 1 AND 200),
    relation     name NOT NULL REFERENCES res.relation,
    epoch        bigint NOT NULL CHECK (epoch >= 0),
    seq          bigint NOT NULL CHECK (seq >= 0),
    n            bigint NOT NULL CHECK (n >= 0),
    at_min       timestamptz,
    at_max       timestamptz,
    completeness real CHECK (completeness BETWEEN 0 AND 1),
    lost         jsonb,
    event        bigint,
    loaded_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (appliance_id, relation, epoch, seq)
);
COMMENT ON COLUMN res.batch.completeness IS 'Share of the packets of these windows that the query saw; NULL: not known';
COMMENT ON COLUMN res.batch.lost IS 'Losses by cause, of the ledger';
CREATE INDEX batch_loaded ON res.batch USING brin (loaded_at);

-- The last batch of each epoch, which begins with a sink: what was loaded stays known after res.batch has been trimmed. Sinks send in order.
CREATE TABLE res.mark (
    appliance_id text NOT NULL,
    relation     name NOT NULL REFERENCES res.relation,
    epoch        bigint NOT NULL,
    seq          bigint NOT NULL,
    PRIMARY KEY (appliance_id, relation, epoch)
);

CREATE TABLE res.gap (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    appliance_id text NOT NULL,
    relation     name NOT NULL REFERENCES res.relation,
    epoch        bigint NOT NULL,
    seq          bigint NOT NULL,
    reason       text NOT NULL CHECK (reason IN ('crash', 'spool_full', 'spool_damaged')),
    from_at      timestamptz,
    to_at        timestamptz,
    batches      bigint,
    n            bigint,
    noted_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (appliance_id, relation, epoch, seq, reason)
);
COMMENT ON COLUMN res.gap.seq IS 'First batch that is missing; the one being made, at a crash';
COMMENT ON COLUMN res.gap.n IS 'Rows lost; NULL: not known';

-- The SQL type of a column: one of these, nothing else, so that a column list is never SQL.
CREATE FUNCTION wt.column_type(p_type text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_type IS NULL OR p_type <> ALL (ARRAY['boolean', 'smallint', 'integer', 'bigint', 'numeric', 'numeric(20,0)', 'real', 'double precision', 'text', 'bytea',
        'inet', 'cidr', 'macaddr', 'timestamptz', 'date', 'interval', 'jsonb', 'uuid', 'text[]', 'bigint[]', 'inet[]']) THEN
        RAISE EXCEPTION 'column type "%" is not allowed', p_type
            USING ERRCODE = 'undefined_object',
                  HINT = 'Use boolean, smallint, integer, bigint, numeric, real, double precision, text, bytea, inet, cidr, macaddr, timestamptz, date, interval, jsonb, uuid, text[], bigint[] or inet[].';
    END IF;
    RETURN p_type;
END $$;

-- A column list as text, for messages.
CREATE FUNCTION res.describe(p_columns jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg(format('%s %s', c ->> 'name', c ->> 'type'), ', ' ORDER BY i) FROM jsonb_array_elements(p_columns) WITH ORDINALITY AS u (c, i));

-- Declares a result table: makes it, or checks that it is the same. Returns `created` or `unchanged`. Another column list is refused with both.
CREATE FUNCTION res.define(p_relation text, p_columns jsonb, p_time_column text DEFAULT NULL, p_keep interval DEFAULT NULL, p_tenant text DEFAULT 'system') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known res.relation;
    v_list text := '';
    c jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('res.define ' || p_relation, 0));
    IF p_relation IS NULL OR p_relation !~ '^[^[:cntrl:]"]{1,50}$' OR octet_length(p_relation) > 50 THEN
        RAISE EXCEPTION 'result name "%" is not allowed', p_relation USING ERRCODE = 'invalid_name', HINT = 'Use 1 to 50 bytes without quotes or control characters.';
    END IF;
    IF jsonb_typeof(p_columns) IS DISTINCT FROM 'array' OR jsonb_array_length(p_columns) NOT BETWEEN 1 AND 500 THEN
        RAISE EXCEPTION 'the columns of "%" are no list of 1 to 500 columns', p_relation USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR c IN SELECT * FROM jsonb_array_elements(p_columns) LOOP
        IF coalesce(c ->> 'name', '') !~ '^[^[:cntrl:]]{1,63}$' OR octet_length(c ->> 'name') > 63 OR starts_with(c ->> 'name', 'wt_') THEN
            RAISE EXCEPTION 'column name "%" of "%" is not allowed', c ->> 'name', p_relation
                USING ERRCODE = 'invalid_name', HINT = 'Use 1 to 63 bytes without control characters; names that begin with wt_ are taken. Rename it with AS.';
        END IF;
        v_list := v_list || format(', %I %s NOT NULL', c ->> 'name', wt.column_type(c ->> 'type'));
    END LOOP;
    SELECT * INTO v_known FROM res.relation WHERE relation = p_relation;
    IF FOUND THEN
        IF v_known.columns IS DISTINCT FROM p_columns THEN
            RAISE EXCEPTION 'the columns of result.% have changed', quote_ident(p_relation)
                USING ERRCODE = 'WT002',
                      DETAIL = format(E'the table has   (%s)\nthe query gives (%s)', res.describe(v_known.columns), res.describe(p_columns)),
                      HINT = 'Give the query another name, or drop the old results with SELECT res.drop(…).';
        END IF;
        IF v_known.tenant <> p_tenant THEN
            RAISE EXCEPTION 'result.% belongs to tenant "%"', quote_ident(p_relation), v_known.tenant USING ERRCODE = 'insufficient_privilege', HINT = 'Give the query another name.';
        END IF;
        UPDATE res.relation SET keep = p_keep WHERE relation = p_relation AND p_keep IS NOT NULL AND keep IS DISTINCT FROM p_keep;
        RETURN 'unchanged';
    END IF;
    IF p_time_column IS NOT NULL AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_columns) k WHERE k ->> 'name' = p_time_column AND k ->> 'type' = 'timestamptz') THEN
        RAISE EXCEPTION 'time column "%" of "%" is no timestamptz column of it', p_time_column, p_relation USING ERRCODE = 'undefined_column';
    END IF;
    IF p_tenant <> 'system' AND NOT EXISTS (SELECT FROM sec.tenant WHERE tenant = p_tenant) THEN
        RAISE EXCEPTION 'there is no tenant "%"', p_tenant USING ERRCODE = 'undefined_object';
    END IF;
    EXECUTE format('CREATE TABLE result.%I (wt_appliance text NOT NULL, wt_epoch bigint NOT NULL, wt_seq bigint NOT NULL, wt_at timestamptz NOT NULL%s) PARTITION BY RANGE (wt_at)', p_relation, v_list);
    EXECUTE format('CREATE INDEX ON result.%I USING brin (wt_at)', p_relation);
    EXECUTE format('GRANT SELECT ON result.%I TO wt_viewer', p_relation);
    EXECUTE format('GRANT INSERT, SELECT ON result.%I TO wt_ingest', p_relation);
    IF p_tenant <> 'system' THEN
        EXECUTE format('GRANT SELECT ON result.%I TO %I', p_relation, 'wt_t_' || p_tenant);
    END IF;
    PERFORM prov.track(format('result.%I', p_relation)::regclass, 'batch');
    INSERT INTO res.relation (relation, columns, time_column, tenant, keep) VALUES (p_relation, p_columns, p_time_column, p_tenant, p_keep);
    RETURN 'created';
END $$;

-- Whether the rows of a batch are to be loaded; if so, they must be copied into the parent table in this transaction. False: they are there already.
-- A batch in an unfinished transaction of another session is waited for.
CREATE FUNCTION res.begin_batch(
    p_appliance text, p_relation text, p_epoch bigint, p_seq bigint, p_n bigint, p_at_min timestamptz DEFAULT NULL, p_at_max timestamptz DEFAULT NULL,
    p_completeness real DEFAULT NULL, p_lost jsonb DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event bigint;
    v_tenant text;
BEGIN
    SELECT tenant INTO v_tenant FROM res.relation WHERE relation = p_relation;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no result "%"', p_relation USING ERRCODE = 'undefined_table', HINT = 'Call res.define first.';
    END IF;
    IF EXISTS (SELECT FROM res.mark m WHERE m.appliance_id = p_appliance AND m.relation = p_relation AND m.epoch = p_epoch AND p_seq <= m.seq) THEN
        RETURN false;
    END IF;
    INSERT INTO res.batch (appliance_id, relation, epoch, seq, n, at_min, at_max, completeness, lost)
    VALUES (p_appliance, p_relation, p_epoch, p_seq, p_n, p_at_min, p_at_max, p_completeness, p_lost) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_event := prov.append('batch', 'result.' || p_relation, p_n, ARRAY[p_appliance || ',' || p_epoch || ',' || p_seq], NULL,
        jsonb_strip_nulls(jsonb_build_object('at_min', p_at_min, 'at_max', p_at_max, 'completeness', p_completeness, 'lost', p_lost)), p_tenant => v_tenant);
    UPDATE res.batch SET event = v_event WHERE appliance_id = p_appliance AND relation = p_relation AND epoch = p_epoch AND seq = p_seq;
    INSERT INTO res.mark AS m (appliance_id, relation, epoch, seq) VALUES (p_appliance, p_relation, p_epoch, p_seq)
    ON CONFLICT (appliance_id, relation, epoch) DO UPDATE SET seq = excluded.seq WHERE m.seq < excluded.seq;
    IF p_n > 0 THEN
        PERFORM wt.ensure_days(format('result.%I', p_relation)::regclass, (p_at_min AT TIME ZONE 'UTC')::date, (p_at_max AT TIME ZONE 'UTC')::date);
    END IF;
    PERFORM prov.push(v_event);
    RETURN true;
END $$;

-- The rows of a batch are there: what follows in this transaction has another cause.
CREATE FUNCTION res.end_batch() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM prov.pop();
END $$;

-- Notes a gap; noting it twice is noting it once.
CREATE FUNCTION res.put_gap(p_appliance text, p_relation text, p_epoch bigint, p_seq bigint, p_reason text, p_from timestamptz DEFAULT NULL, p_to timestamptz DEFAULT NULL, p_batches bigint DEFAULT NULL, p_n bigint DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO res.gap (appliance_id, relation, epoch, seq, reason, from_at, to_at, batches, n)
    VALUES (p_appliance, p_relation, p_epoch, p_seq, p_reason, p_from, p_to, p_batches, p_n) ON CONFLICT DO NOTHING;
END $$;

-- How much of each result is there: batches, rows, the worst window, and gaps.
CREATE VIEW res.coverage WITH (security_invoker = true) AS
SELECT r.relation, r.tenant, b.appliance_id, b.batches, b.rows, b.at_min, b.at_max, b.completeness_min, coalesce(g.gaps, 0) AS gaps, coalesce(g.rows_lost, 0) AS rows_lost
FROM res.relation r
JOIN (SELECT relation, appliance_id, count(*) AS batches, sum(n)::bigint AS rows, min(at_min) AS at_min, max(at_max) AS at_max, min(completeness) AS completeness_min
      FROM res.batch GROUP BY relation, appliance_id) b USING (relation)
LEFT JOIN (SELECT relation, appliance_id, count(*) AS gaps, sum(n)::bigint AS rows_lost FROM res.gap GROUP BY relation, appliance_id) g USING (relation, appliance_id);

-- Drops partitions whose time is over, and the batches that only they knew; returns the number of partitions.
CREATE FUNCTION res.expire(p_now timestamptz DEFAULT now()) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r res.relation;
    v_n integer := 0;
BEGIN
    FOR r IN SELECT * FROM res.relation WHERE keep IS NOT NULL ORDER BY relation LOOP
        v_n := v_n + wt.drop_days(format('result.%I', r.relation)::regclass, ((p_now - r.keep) AT TIME ZONE 'UTC')::date);
        DELETE FROM res.batch b WHERE b.relation = r.relation AND b.at_max < p_now - r.keep;
        DELETE FROM res.gap g WHERE g.relation = r.relation AND g.noted_at < p_now - r.keep;
    END LOOP;
    RETURN v_n;
END $$;

-- Removes a result with all its rows. The name is free again, with any columns.
CREATE FUNCTION res.drop(p_relation text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM res.relation WHERE relation = p_relation) THEN
        RAISE EXCEPTION 'there is no result "%"', p_relation USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('DROP TABLE result.%I', p_relation);
    DELETE FROM res.batch WHERE relation = p_relation;
    DELETE FROM res.gap WHERE relation = p_relation;
    DELETE FROM res.mark WHERE relation = p_relation;
    DELETE FROM res.relation WHERE relation = p_relation;
END $$;

SELECT prov.track('res.relation'), prov.track('res.gap');

GRANT SELECT ON ALL TABLES IN SCHEMA res TO wt_viewer;
ALTER TABLE res.relation ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON res.relation FOR SELECT TO wt_viewer, wt_ingest USING (true);
CREATE POLICY tenants ON res.relation FOR SELECT TO wt_tenant USING (tenant = sec.tenant());
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['batch', 'gap', 'mark'] LOOP
        EXECUTE format('ALTER TABLE res.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY people ON res.%I FOR SELECT TO wt_viewer, wt_ingest USING (true)', t);
        EXECUTE format('CREATE POLICY tenants ON res.%I FOR SELECT TO wt_tenant USING (relation IN (SELECT r.relation FROM res.relation r WHERE r.tenant = sec.tenant()))', t);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA res TO wt_tenant;
GRANT SELECT ON res.relation, res.batch, res.gap, res.coverage TO wt_tenant;
GRANT SELECT ON res.relation, res.mark TO wt_ingest;
GRANT EXECUTE ON FUNCTION res.define, res.begin_batch, res.end_batch, res.put_gap TO wt_ingest, wt_operator;
GRANT EXECUTE ON FUNCTION res.expire, res.drop TO wt_admin;
RESET ROLE;
