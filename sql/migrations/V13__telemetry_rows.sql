-- Telemetry comes as arrays, one for each column, in one statement: no temporary table is filled and emptied for each request, which took longer than
-- the rows themselves. The server puts the requests that wait into one transaction, so that many share a commit.
--
-- Resources and scopes come once each, and rows name them by their number among these, from 1. `parcel` is the request that a row came with: what is
-- rejected for its time is counted by parcel. The rest is as before: what is there already is ignored.

DROP FUNCTION otel.load(text);
DROP FUNCTION otel.stage(text);

SET LOCAL ROLE wt_owner;

-- The ids of resources, in their order.
CREATE FUNCTION otel.resource_ids(p_tenants text[], p_attributes text[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    -- New ones are made in the order of their attributes: two sessions that make the same do not deadlock.
    RETURN (SELECT array_agg(s.id ORDER BY s.i) FROM (
        SELECT u.i, otel.resource_id(u.attributes::jsonb, u.tenant) AS id
        FROM (SELECT * FROM unnest(p_tenants, p_attributes) WITH ORDINALITY AS x (tenant, attributes, i) ORDER BY tenant, attributes) u) s);
END $$;

-- The ids of scopes, in their order.
CREATE FUNCTION otel.scope_ids(p_names text[], p_versions text[], p_attributes text[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT array_agg(s.id ORDER BY s.i) FROM (
        SELECT u.i, otel.scope_id(u.name, u.version, u.attributes::jsonb) AS id
        FROM (SELECT * FROM unnest(p_names, p_versions, p_attributes) WITH ORDINALITY AS x (name, version, attributes, i) ORDER BY name, version, attributes) u) s);
END $$;

-- Spans. Sorted by key, so that two transactions with the same rows wait for each other and do not deadlock.
CREATE FUNCTION otel.put_spans(
    p_tenants text[], p_resources text[], p_scope_names text[], p_scope_versions text[], p_scope_attributes text[],
    p_parcel integer[], p_resource integer[], p_scope integer[],
    p_trace_id bytea[], p_span_id bytea[], p_parent_id bytea[], p_start_ns bigint[], p_end_ns bigint[], p_name text[], p_kind smallint[], p_status smallint[],
    p_message text[], p_trace_state text[], p_attributes text[], p_events text[], p_links text[]
) RETURNS TABLE (parcel integer, rejected bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_resources bigint[] := otel.resource_ids(p_tenants, p_resources);
    v_scopes bigint[] := otel.scope_ids(p_scope_names, p_scope_versions, p_scope_attributes);
    v_from bigint;
    v_to bigint;
BEGIN
    SELECT a.from_ns, a.to_ns INTO v_from, v_to FROM (SELECT min(t) AS low, max(t) AS high FROM unnest(p_start_ns) t) m CROSS JOIN LATERAL otel.admit('span', m.low, m.high) a;
    INSERT INTO otel.span (trace_id, span_id, parent_id, start_ns, end_ns, resource_id, scope_id, name, kind, status, message, trace_state, attributes, events, links)
    SELECT u.trace_id, u.span_id, u.parent_id, u.start_ns, u.end_ns, v_resources[u.resource], v_scopes[u.scope], u.name, u.kind, u.status, u.message, u.trace_state,
           u.attributes::jsonb, u.events::jsonb, u.links::jsonb
    FROM unnest(p_resource, p_scope, p_trace_id, p_span_id, p_parent_id, p_start_ns, p_end_ns, p_name, p_kind, p_status, p_message, p_trace_state, p_attributes, p_events, p_links)
        AS u (resource, scope, trace_id, span_id, parent_id, start_ns, end_ns, name, kind, status, message, trace_state, attributes, events, links)
    WHERE u.start_ns >= v_from AND u.start_ns < v_to ORDER BY u.trace_id, u.span_id ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT u.parcel, count(*) FROM unnest(p_parcel, p_start_ns) AS u (parcel, at) WHERE u.at < v_from OR u.at >= v_to GROUP BY u.parcel ORDER BY u.parcel;
END $$;

-- Log records.
CREATE FUNCTION otel.put_logs(
    p_tenants text[], p_resources text[], p_scope_names text[], p_scope_versions text[], p_scope_attributes text[],
    p_parcel integer[], p_resource integer[], p_scope integer[],
    p_time_ns bigint[], p_digest bytea[], p_observed_ns bigint[], p_severity smallint[], p_severity_text text[], p_body text[], p_attributes text[],
    p_trace_id bytea[], p_span_id bytea[]
) RETURNS TABLE (parcel integer, rejected bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_resources bigint[] := otel.resource_ids(p_tenants, p_resources);
    v_scopes bigint[] := otel.scope_ids(p_scope_names, p_scope_versions, p_scope_attributes);
    v_from bigint;
    v_to bigint;
BEGIN
    SELECT a.from_ns, a.to_ns INTO v_from, v_to FROM (SELECT min(t) AS low, max(t) AS high FROM unnest(p_time_ns) t) m CROSS JOIN LATERAL otel.admit('log', m.low, m.high) a;
    INSERT INTO otel.log (time_ns, digest, observed_ns, resource_id, scope_id, severity, severity_text, body, attributes, trace_id, span_id)
    SELECT u.time_ns, u.digest, u.observed_ns, v_resources[u.resource], v_scopes[u.scope], u.severity, u.severity_text, u.body::jsonb, u.attributes::jsonb, u.trace_id, u.span_id
    FROM unnest(p_resource, p_scope, p_time_ns, p_digest, p_observed_ns, p_severity, p_severity_text, p_body, p_attributes, p_trace_id, p_span_id)
        AS u (resource, scope, time_ns, digest, observed_ns, severity, severity_text, body, attributes, trace_id, span_id)
    WHERE u.time_ns >= v_from AND u.time_ns < v_to ORDER BY u.digest ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT u.parcel, count(*) FROM unnest(p_parcel, p_time_ns) AS u (parcel, at) WHERE u.at < v_from OR u.at >= v_to GROUP BY u.parcel ORDER BY u.parcel;
END $$;

-- Metric points.
CREATE FUNCTION otel.put_metrics(
    p_tenants text[], p_resources text[], p_scope_names text[], p_scope_versions text[], p_scope_attributes text[],
    p_parcel integer[], p_resource integer[], p_scope integer[],
    p_time_ns bigint[], p_digest bytea[], p_start_ns bigint[], p_name text[], p_unit text[], p_kind text[], p_monotonic boolean[], p_temporality smallint[],
    p_value double precision[], p_detail text[], p_attributes text[]
) RETURNS TABLE (parcel integer, rejected bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_resources bigint[] := otel.resource_ids(p_tenants, p_resources);
    v_scopes bigint[] := otel.scope_ids(p_scope_names, p_scope_versions, p_scope_attributes);
    v_from bigint;
    v_to bigint;
BEGIN
    SELECT a.from_ns, a.to_ns INTO v_from, v_to FROM (SELECT min(t) AS low, max(t) AS high FROM unnest(p_time_ns) t) m CROSS JOIN LATERAL otel.admit('metric', m.low, m.high) a;
    INSERT INTO otel.metric (time_ns, digest, start_ns, resource_id, scope_id, name, unit, kind, monotonic, temporality, value, detail, attributes)
    SELECT u.time_ns, u.digest, u.start_ns, v_resources[u.resource], v_scopes[u.scope], u.name, u.unit, u.kind, u.monotonic, u.temporality, u.value, u.detail::jsonb, u.attributes::jsonb
    FROM unnest(p_resource, p_scope, p_time_ns, p_digest, p_start_ns, p_name, p_unit, p_kind, p_monotonic, p_temporality, p_value, p_detail, p_attributes)
        AS u (resource, scope, time_ns, digest, start_ns, name, unit, kind, monotonic, temporality, value, detail, attributes)
    WHERE u.time_ns >= v_from AND u.time_ns < v_to ORDER BY u.digest ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT u.parcel, count(*) FROM unnest(p_parcel, p_time_ns) AS u (parcel, at) WHERE u.at < v_from OR u.at >= v_to GROUP BY u.parcel ORDER BY u.parcel;
END $$;

GRANT EXECUTE ON FUNCTION otel.resource_ids, otel.scope_ids, otel.put_spans, otel.put_logs, otel.put_metrics TO wt_ingest;
RESET ROLE;
