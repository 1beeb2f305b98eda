-- Who sees which rows: of each table with row-level security, by each of its policies, with rows of two tenants and of the operators in it.
BEGIN;
SELECT plan(46);

-- Rows as they could be, without what follows from them.
SET LOCAL session_replication_role = replica;
CREATE TEMPORARY TABLE of_tenant (tenant text, i integer);
INSERT INTO of_tenant VALUES ('system', 1), ('red', 2), ('blue', 3), ('blue', 4);
INSERT INTO net.device (device, driver, tenant) SELECT 'd' || i, 'linux', tenant FROM of_tenant;
INSERT INTO net.object (device, kind, name, tenant) SELECT 'd' || i, 'route', 'x', tenant FROM of_tenant;
INSERT INTO net.block (device, prefix, tenant) SELECT 'd' || i, '192.0.2.0/24', tenant FROM of_tenant;
INSERT INTO net.pods (pod_id, tenant) SELECT 'p' || i, tenant FROM of_tenant;
INSERT INTO net.nodes (node_id, pod_id, tenant) SELECT 'n' || i, 'p' || i, tenant FROM of_tenant;
INSERT INTO net.auto_scalers (pod_id, tenant) SELECT 'p' || i, tenant FROM of_tenant;
INSERT INTO net.load_balancers (pod_id, tenant) SELECT 'p' || i, tenant FROM of_tenant;
INSERT INTO north.command (device, kind, name, tenant, gen) SELECT 'd' || i, 'route', 'x', tenant, 1 FROM of_tenant;
INSERT INTO north.health (device, worker) SELECT 'd' || i, 'w' FROM of_tenant;
INSERT INTO otel.resource (tenant, attributes) SELECT tenant, jsonb_build_object('i', i) FROM of_tenant;
SELECT wt.ensure_days('otel.span', '2026-01-01', '2026-01-01'), wt.ensure_days('otel.log', '2026-01-01', '2026-01-01'), wt.ensure_days('otel.metric', '2026-01-01', '2026-01-01') \g /dev/null
CREATE TEMPORARY TABLE sent AS SELECT id, extract(epoch FROM timestamptz '2026-01-01 12:00Z')::bigint * 1000000000 AS ns FROM otel.resource WHERE attributes ? 'i';
INSERT INTO otel.span (trace_id, span_id, start_ns, end_ns, resource_id, name) SELECT decode(lpad(to_hex(id), 32, '0'), 'hex'), decode(lpad(to_hex(id), 16, '0'), 'hex'), ns, ns, id, 'x' FROM sent;
INSERT INTO otel.log (time_ns, digest, resource_id) SELECT ns, sha256(id::text::bytea), id FROM sent;
INSERT INTO otel.metric (time_ns, digest, resource_id, name, kind) SELECT ns, sha256(id::text::bytea), id, 'x', 'gauge' FROM sent;
INSERT INTO prov.event (op, object, tenant) SELECT 'call', 'x', tenant FROM of_tenant;
INSERT INTO res.relation (relation, columns, tenant) SELECT 'r' || i, '[]', tenant FROM of_tenant;
INSERT INTO res.batch (appliance_id, relation, epoch, seq, n) SELECT 'a', 'r' || i, 1, 1, 0 FROM of_tenant;
INSERT INTO res.gap (appliance_id, relation, epoch, seq, reason) SELECT 'a', 'r' || i, 1, 1, 'crash' FROM of_tenant;
INSERT INTO res.mark (appliance_id, relation, epoch, seq) SELECT 'a', 'r' || i, 1, 1 FROM of_tenant;
INSERT INTO wt.namespace (schema, tenant) SELECT 's' || i, tenant FROM of_tenant;
INSERT INTO wt.procedure (schema, name, tenant, owner, params, returns, identity, created_by) SELECT 's' || i, 'x', tenant, 'x', '[]', 'void', 'x', 'x' FROM of_tenant;
INSERT INTO wt.policy (schema, relation, name, tenant, events, procedure) SELECT 's' || i, 'x', 'x', tenant, '{insert}', 'x' FROM of_tenant;
SET LOCAL session_replication_role = origin;

-- Rows that a login sees, out of all; its refusal, if it is refused.
CREATE FUNCTION pg_temp.seen(p_login text, p_table text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_all bigint;
    v_seen text := as_login(p_login, format('SELECT count(*) FROM %s', p_table));
BEGIN
    EXECUTE format('SELECT count(*) FROM %s', p_table) INTO v_all;
    RETURN CASE WHEN v_seen = v_all::text THEN 'all' WHEN v_seen LIKE '42501 %' THEN 'refused' ELSE v_seen END;
END $$;
-- Of a table: its policies, whom each is for, and what it comes to for a viewer, for two tenants, who have one row and two, for who loads, and for who has no role.
CREATE FUNCTION pg_temp.reach(p_schema text, p_table text, p_policies text[]) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce((SELECT string_agg(p.policyname || ' ' || p.cmd || ' ' || array_to_string(p.roles, '+'), ', ' ORDER BY p.policyname)
                     FROM pg_policies p WHERE p.schemaname = p_schema AND p.tablename = p_table AND p.policyname = ANY (p_policies)), '')
        || (SELECT coalesce(string_agg(' and ' || p.policyname, ''), '') FROM pg_policies p WHERE p.schemaname = p_schema AND p.tablename = p_table AND p.policyname <> ALL (p_policies))
        || ': ' || concat_ws(' ', pg_temp.seen('t_viewer', p_schema || '.' || p_table), pg_temp.seen('wt_t_red', p_schema || '.' || p_table),
            pg_temp.seen('wt_t_blue', p_schema || '.' || p_table), pg_temp.seen('t_ingest', p_schema || '.' || p_table), pg_temp.seen('t_nobody', p_schema || '.' || p_table))
$$;

SELECT is(pg_temp.reach('net', 'device', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.device');
SELECT is(pg_temp.reach('net', 'object', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.object');
SELECT is(pg_temp.reach('net', 'block', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.block');
SELECT is(pg_temp.reach('net', 'pods', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.pods');
SELECT is(pg_temp.reach('net', 'nodes', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.nodes');
SELECT is(pg_temp.reach('net', 'auto_scalers', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.auto_scalers');
SELECT is(pg_temp.reach('net', 'load_balancers', ARRAY['people', 'tenants']), 'people ALL wt_viewer, tenants ALL wt_tenant: all 1 2 refused refused', 'net.load_balancers');
SELECT is(pg_temp.reach('north', 'command', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'north.command');
SELECT is(pg_temp.reach('north', 'health', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'north.health');
SELECT is(pg_temp.reach('otel', 'resource', ARRAY['people', 'tenants']), 'people SELECT wt_ingest+wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'otel.resource');
SELECT is(pg_temp.reach('otel', 'span', ARRAY['ingest', 'people', 'tenants']), 'ingest ALL wt_ingest, people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 all refused', 'otel.span');
SELECT is(pg_temp.reach('otel', 'log', ARRAY['ingest', 'people', 'tenants']), 'ingest ALL wt_ingest, people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 all refused', 'otel.log');
SELECT is(pg_temp.reach('otel', 'metric', ARRAY['ingest', 'people', 'tenants']), 'ingest ALL wt_ingest, people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 all refused', 'otel.metric');
SELECT is(pg_temp.reach('prov', 'event', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 2 3 refused refused', 'prov.event');
SELECT is(pg_temp.reach('prov', 'setting', ARRAY['people']), 'people ALL wt_viewer: all refused refused refused refused', 'prov.setting');
SELECT is(pg_temp.reach('res', 'relation', ARRAY['people', 'tenants']), 'people SELECT wt_ingest+wt_viewer, tenants SELECT wt_tenant: all 1 2 all refused', 'res.relation');
SELECT is(pg_temp.reach('res', 'batch', ARRAY['people', 'tenants']), 'people SELECT wt_ingest+wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'res.batch');
SELECT is(pg_temp.reach('res', 'gap', ARRAY['people', 'tenants']), 'people SELECT wt_ingest+wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'res.gap');
SELECT is(pg_temp.reach('res', 'mark', ARRAY['people', 'tenants']), 'people SELECT wt_ingest+wt_viewer, tenants SELECT wt_tenant: all refused refused all refused', 'res.mark');
SELECT is(pg_temp.reach('wt', 'namespace', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'wt.namespace');
SELECT is(pg_temp.reach('wt', 'procedure', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'wt.procedure');
SELECT is(pg_temp.reach('wt', 'policy', ARRAY['people', 'tenants']), 'people SELECT wt_viewer, tenants SELECT wt_tenant: all 1 2 refused refused', 'wt.policy');

-- Tenants write rows of their own and nobody else's: they cannot give one away, take one, or make one for another.
SELECT is(as_login('wt_t_red', $$UPDATE net.pods SET tenant = tenant WHERE pod_id = 'p2' RETURNING pod_id$$), 'p2', 'net.pods: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.pods SET tenant = tenant WHERE pod_id = 'p3' RETURNING pod_id$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$UPDATE net.pods SET tenant = 'blue' WHERE pod_id = 'p2'$$), '^(42501|23503) ', 'nor does it give its own away');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.pods (pod_id, tenant) VALUES ('q', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('wt_t_red', $$UPDATE net.nodes SET tenant = tenant WHERE node_id = 'n2' RETURNING node_id$$), 'n2', 'net.nodes: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.nodes SET tenant = tenant WHERE node_id = 'n3' RETURNING node_id$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$UPDATE net.nodes SET tenant = 'blue' WHERE node_id = 'n2'$$), '^(42501|23503) ', 'nor does it give its own away');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.nodes (node_id, pod_id, tenant) VALUES ('q', 'p2', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('wt_t_red', $$UPDATE net.auto_scalers SET tenant = tenant WHERE pod_id = 'p2' RETURNING pod_id$$), 'p2', 'net.auto_scalers: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.auto_scalers SET tenant = tenant WHERE pod_id = 'p3' RETURNING pod_id$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$UPDATE net.auto_scalers SET tenant = 'blue' WHERE pod_id = 'p2'$$), '^(42501|23503) ', 'nor does it give its own away');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.auto_scalers (pod_id, tenant) VALUES ('q', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('wt_t_red', $$UPDATE net.load_balancers SET tenant = tenant WHERE pod_id = 'p2' RETURNING pod_id$$), 'p2', 'net.load_balancers: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.load_balancers SET tenant = tenant WHERE pod_id = 'p3' RETURNING pod_id$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$UPDATE net.load_balancers SET tenant = 'blue' WHERE pod_id = 'p2'$$), '^(42501|23503) ', 'nor does it give its own away');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.load_balancers (pod_id, tenant) VALUES ('q', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('wt_t_red', $$UPDATE net.block SET tenant = tenant WHERE device = 'd2' RETURNING device$$), 'd2', 'net.block: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.block SET tenant = tenant WHERE device = 'd3' RETURNING device$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$UPDATE net.block SET tenant = 'blue' WHERE device = 'd2'$$), '^(42501|23503) ', 'nor does it give its own away');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.block (device, prefix, tenant) VALUES ('d3', '198.51.100.0/24', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('wt_t_red', $$UPDATE net.object SET tolerance = tolerance WHERE device = 'd2' RETURNING device$$), 'd2', 'net.object: its own');
SELECT is(as_login('wt_t_red', $$UPDATE net.object SET tolerance = tolerance WHERE device = 'd3' RETURNING device$$), 'ok', 'not another''s, which it does not find');
SELECT matches(as_login('wt_t_red', $$INSERT INTO net.object (device, kind, name, tenant) VALUES ('d3', 'route', 'y', 'blue')$$), '^(42501|23503) ', 'or make one for another');
SELECT is(as_login('t_viewer', 'UPDATE net.pods SET tenant = tenant'), '42501 permission denied for table pods', 'who looks writes nothing');
SELECT * FROM finish();
ROLLBACK;
