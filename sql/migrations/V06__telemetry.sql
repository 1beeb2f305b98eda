-- Telemetry in the shape of OpenTelemetry (OTLP): resources, scopes, spans, logs, metric points.
--
-- Ids are bytes, times are nanoseconds since the epoch, attributes are jsonb. Spans, logs and points have daily partitions by time, with
-- BRIN over it. A receiver copies a request into a temporary table made by otel.stage, then calls otel.load: rows that are there
-- already are ignored, so a collector may send a request again after a lost answer. Spans are known by (trace_id, span_id, start_ns): a
-- span sent again has the same start. Logs and points have no id of their own and are known by a digest of all they say.
--
-- Rows further back or ahead than otel.setting allows are counted as rejected (partial success in OTLP), as each would cost a partition.

SET LOCAL ROLE wt_owner;

CREATE TABLE otel.setting (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    past_days  integer NOT NULL DEFAULT 30 CHECK (past_days BETWEEN 0 AND 3660),
    ahead_days integer NOT NULL DEFAULT 1 CHECK (ahead_days BETWEEN 0 AND 30),
    keep_days  integer NOT NULL DEFAULT 30 CHECK (keep_days BETWEEN 1 AND 3660)
);
INSERT INTO otel.setting DEFAULT VALUES;

CREATE TABLE otel.resource (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text NOT NULL DEFAULT 'system',
    attributes jsonb NOT NULL,
    service    text GENERATED ALWAYS AS (attributes ->> 'service.name') STORED,
    digest     bytea GENERATED ALWAYS AS (sha256(jsonb_send(attributes))) STORED,
    UNIQUE (tenant, digest)
);
CREATE TABLE otel.scope (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL DEFAULT '',
    version    text NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    digest     bytea GENERATED ALWAYS AS (sha256(jsonb_send(attributes))) STORED,
    UNIQUE (name, version, digest)
);

CREATE TABLE otel.span (
    trace_id    bytea NOT NULL CHECK (octet_length(trace_id) = 16),
    span_id     bytea NOT NULL CHECK (octet_length(span_id) = 8),
    parent_id   bytea CHECK (octet_length(parent_id) = 8),
    start_ns    bigint NOT NULL,
    end_ns      bigint NOT NULL,
    resource_id bigint NOT NULL,
    scope_id    bigint,
    name        text NOT NULL,
    kind        smallint NOT NULL DEFAULT 0 CHECK (kind BETWEEN 0 AND 5),
    status      smallint NOT NULL DEFAULT 0 CHECK (status BETWEEN 0 AND 2),
    message     text,
    trace_state text,
    attributes  jsonb NOT NULL DEFAULT '{}',
    events      jsonb NOT NULL DEFAULT '[]',
    links       jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (trace_id, span_id, start_ns)
) PARTITION BY RANGE (start_ns);
COMMENT ON COLUMN otel.span.status IS '0 unset, 1 ok, 2 error';
CREATE INDEX span_time ON otel.span USING brin (start_ns);

CREATE TABLE otel.log (
    time_ns       bigint NOT NULL,
    digest        bytea NOT NULL CHECK (octet_length(digest) = 32),
    observed_ns   bigint,
    resource_id   bigint NOT NULL,
    scope_id      bigint,
    severity      smallint NOT NULL DEFAULT 0 CHECK (severity BETWEEN 0 AND 24),
    severity_text text,
    body          jsonb,
    attributes    jsonb NOT NULL DEFAULT '{}',
    trace_id      bytea CHECK (octet_length(trace_id) = 16),
    span_id       bytea CHECK (octet_length(span_id) = 8),
    PRIMARY KEY (digest, time_ns)
) PARTITION BY RANGE (time_ns);
CREATE INDEX log_time ON otel.log USING brin (time_ns);

CREATE TABLE otel.metric (
    time_ns     bigint NOT NULL,
    digest      bytea NOT NULL CHECK (octet_length(digest) = 32),
    start_ns    bigint,
    resource_id bigint NOT NULL,
    scope_id    bigint,
    name        text NOT NULL,
    unit        text NOT NULL DEFAULT '',
    kind        text NOT NULL CHECK (kind IN ('gauge', 'sum', 'histogram', 'exponential_histogram', 'summary')),
    monotonic   boolean,
    temporality smallint CHECK (temporality BETWEEN 0 AND 2),
    value       double precision,
    detail      jsonb,
    attributes  jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (digest, time_ns)
) PARTITION BY RANGE (time_ns);
COMMENT ON COLUMN otel.metric.detail IS 'Buckets or quantiles of kinds that are more than a number';
CREATE INDEX metric_time ON otel.metric USING brin (time_ns);

-- The ids of a resource and a scope, made when new.
CREATE FUNCTION otel.resource_id(p_attributes jsonb, p_tenant text DEFAULT 'system') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    SELECT id INTO v_id FROM otel.resource WHERE tenant = p_tenant AND digest = sha256(jsonb_send(p_attributes));
    IF v_id IS NULL THEN
        -- The update makes the row of a session that was faster visible.
        INSERT INTO otel.resource AS r (tenant, attributes) VALUES (p_tenant, p_attributes)
        ON CONFLICT (tenant, digest) DO UPDATE SET tenant = r.tenant RETURNING id INTO v_id;
    END IF;
    RETURN v_id;
END $$;
CREATE FUNCTION otel.scope_id(p_name text, p_version text DEFAULT '', p_attributes jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE v_id bigint;
BEGIN
    SELECT id INTO v_id FROM otel.scope WHERE name = p_name AND version = p_version AND digest = sha256(jsonb_send(p_attributes));
    IF v_id IS NULL THEN
        INSERT INTO otel.scope AS s (name, version, attributes) VALUES (p_name, p_version, p_attributes)
        ON CONFLICT (name, version, digest) DO UPDATE SET name = s.name RETURNING id INTO v_id;
    END IF;
    RETURN v_id;
END $$;

-- A signal's name, checked.
CREATE FUNCTION otel.signal(p_signal text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_signal IS NULL OR p_signal NOT IN ('span', 'log', 'metric') THEN
        RAISE EXCEPTION 'signal "%" is unknown', p_signal USING ERRCODE = 'invalid_parameter_value', HINT = 'Use span, log or metric.';
    END IF;
    RETURN p_signal;
END $$;

-- The temporary table pg_temp.SIGNAL_stage that takes the rows of one request, empty.
CREATE FUNCTION otel.stage(p_signal text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM otel.signal(p_signal);
    IF to_regclass(format('pg_temp.%I', p_signal || '_stage')) IS NULL THEN
        EXECUTE format('CREATE TEMPORARY TABLE %I (LIKE otel.%I INCLUDING DEFAULTS) ON COMMIT DELETE ROWS', p_signal || '_stage', p_signal);
    ELSE
        EXECUTE format('TRUNCATE pg_temp.%I', p_signal || '_stage');
    END IF;
END $$;

-- Makes the partitions for times, as far as the settings allow; returns the allowed range in ns, its end excluded.
CREATE FUNCTION otel.admit(p_signal text, p_min bigint, p_max bigint, OUT from_ns bigint, OUT to_ns bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_today date := (now() AT TIME ZONE 'UTC')::date;
    v_from date;
    v_to date;
    v_epoch date := date '1970-01-01';
BEGIN
    PERFORM otel.signal(p_signal);
    SELECT v_today - past_days, v_today + ahead_days INTO v_from, v_to FROM otel.setting;
    from_ns := (v_from - v_epoch)::bigint * 86400000000000;
    to_ns := (v_to + 1 - v_epoch)::bigint * 86400000000000;
    IF p_max >= from_ns AND p_min < to_ns THEN
        v_from := v_epoch + (greatest(p_min, from_ns) / 86400000000000)::integer;
        v_to := v_epoch + (least(p_max, to_ns - 1) / 86400000000000)::integer;
        PERFORM wt.ensure_days(format('otel.%I', p_signal)::regclass, v_from, v_to);
    END IF;
END $$;

-- Moves the staged rows into their table; says how many were new, known already, and rejected for their time.
CREATE FUNCTION otel.load(p_signal text, OUT accepted bigint, OUT duplicate bigint, OUT rejected bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_time name := CASE otel.signal(p_signal) WHEN 'span' THEN 'start_ns' ELSE 'time_ns' END;
    v_stage text := format('pg_temp.%I', p_signal || '_stage');
    v_min bigint;
    v_max bigint;
    v_n bigint;
    v_from bigint;
    v_to bigint;
BEGIN
    EXECUTE format('SELECT count(*), min(%I), max(%I) FROM %s', v_time, v_time, v_stage) INTO v_n, v_min, v_max;
    accepted := 0; duplicate := 0; rejected := 0;
    IF v_n = 0 THEN
        RETURN;
    END IF;
    SELECT * INTO v_from, v_to FROM otel.admit(p_signal, v_min, v_max);
    EXECUTE format('SELECT count(*) FROM %s WHERE %I < $1 OR %I >= $2', v_stage, v_time, v_time) INTO rejected USING v_from, v_to;
    -- Sorted by key, so that two requests with the same rows wait for each other and do not deadlock.
    EXECUTE format('INSERT INTO otel.%I SELECT * FROM %s WHERE %I >= $1 AND %I < $2 ORDER BY 1, 2 ON CONFLICT DO NOTHING', p_signal, v_stage, v_time, v_time)
    USING v_from, v_to;
    GET DIAGNOSTICS accepted = ROW_COUNT;
    duplicate := v_n - rejected - accepted;
    EXECUTE format('TRUNCATE %s', v_stage);
END $$;

-- Drops what is older than keep_days; returns the number of partitions.
CREATE FUNCTION otel.expire() RETURNS integer LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT sum(wt.drop_days(t, (now() AT TIME ZONE 'UTC')::date - s.keep_days))::integer
    FROM otel.setting s, unnest(ARRAY['otel.span', 'otel.log', 'otel.metric']::regclass[]) AS t
$$;

SELECT prov.track('otel.span', 'count'), prov.track('otel.log', 'count'), prov.track('otel.metric', 'count'), prov.track('otel.setting');

GRANT SELECT ON ALL TABLES IN SCHEMA otel TO wt_viewer;
GRANT INSERT, SELECT ON otel.span, otel.log, otel.metric TO wt_ingest;
GRANT UPDATE ON otel.setting TO wt_admin;
GRANT EXECUTE ON FUNCTION otel.resource_id, otel.scope_id, otel.signal, otel.stage, otel.admit, otel.load TO wt_ingest;
GRANT EXECUTE ON FUNCTION otel.expire TO wt_admin;

-- A tenant sees what its resources sent.
GRANT USAGE ON SCHEMA otel TO wt_tenant;
GRANT SELECT ON otel.resource, otel.scope, otel.span, otel.log, otel.metric TO wt_tenant;
DO $$
DECLARE t text;
BEGIN
    ALTER TABLE otel.resource ENABLE ROW LEVEL SECURITY;
    CREATE POLICY people ON otel.resource FOR SELECT TO wt_viewer, wt_ingest USING (true);
    CREATE POLICY tenants ON otel.resource FOR SELECT TO wt_tenant USING (tenant = sec.tenant());
    FOREACH t IN ARRAY ARRAY['span', 'log', 'metric'] LOOP
        EXECUTE format('ALTER TABLE otel.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY people ON otel.%I FOR SELECT TO wt_viewer USING (true)', t);
        EXECUTE format('CREATE POLICY ingest ON otel.%I TO wt_ingest USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY tenants ON otel.%I FOR SELECT TO wt_tenant USING (resource_id IN (SELECT r.id FROM otel.resource r WHERE r.tenant = sec.tenant()))', t);
    END LOOP;
END $$;
RESET ROLE;
