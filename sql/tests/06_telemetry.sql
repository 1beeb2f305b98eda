BEGIN;
SELECT plan(31);
SELECT is(otel.resource_id('{"service.name": "shop"}'), otel.resource_id('{"service.name": "shop"}'), 'otel.resource_id: one per set of attributes');
SELECT isnt(otel.resource_id('{"service.name": "shop"}', 'red'), otel.resource_id('{"service.name": "shop"}'), 'and tenant');
SELECT is((SELECT service FROM otel.resource WHERE tenant = 'red'), 'shop', 'its service is a column');
SELECT is(otel.scope_id('lib', '1'), otel.scope_id('lib', '1'), 'otel.scope_id: one per scope');
SELECT isnt(otel.scope_id('lib', '1'), otel.scope_id('lib', '2'), 'and version');

CREATE FUNCTION pg_temp.ns(p interval) RETURNS bigint LANGUAGE sql AS 'SELECT (extract(epoch FROM now() + p) * 1000000)::bigint * 1000';
SELECT throws_ok($$SELECT otel.stage('spans')$$, '22023', NULL, 'otel.signal: span, log, metric');
SELECT otel.stage('span') \g /dev/null
CREATE FUNCTION pg_temp.spans(p_n int, p_at interval, p_tenant text DEFAULT 'system') RETURNS void LANGUAGE sql AS $$
    INSERT INTO pg_temp.span_stage (trace_id, span_id, start_ns, end_ns, resource_id, name)
    SELECT decode(lpad(to_hex(i), 32, '0'), 'hex'), decode(lpad(to_hex(i), 16, '0'), 'hex'), pg_temp.ns(p_at) + i, pg_temp.ns(p_at) + i + 1000, otel.resource_id('{"service.name": "shop"}', p_tenant), 'GET'
    FROM generate_series(1, p_n) i $$;
SELECT pg_temp.spans(100, interval '0') \g /dev/null
SELECT results_eq($$SELECT * FROM otel.load('span')$$, 'VALUES (100::bigint, 0::bigint, 0::bigint)', 'otel.load: new spans');
SELECT is((SELECT count(*) FROM otel.span), 100::bigint, 'are there');
SELECT is((SELECT count(*) FROM pg_temp.span_stage), 0::bigint, 'and the stage is empty');
SELECT pg_temp.spans(150, interval '0') \g /dev/null
SELECT results_eq($$SELECT * FROM otel.load('span')$$, 'VALUES (50::bigint, 100::bigint, 0::bigint)', 'a request sent again adds what is new');
SELECT pg_temp.spans(3, interval '-400 days'), pg_temp.spans(2, interval '20 days'), pg_temp.spans(1, interval '-1 day') \g /dev/null
SELECT results_eq($$SELECT * FROM otel.load('span')$$, 'VALUES (1::bigint, 0::bigint, 5::bigint)', 'times out of range are rejected');
SELECT results_eq($$SELECT * FROM otel.load('span')$$, 'VALUES (0::bigint, 0::bigint, 0::bigint)', 'nothing is nothing');
SELECT is((SELECT op || ' ' || n FROM prov.event WHERE object = 'otel.span' AND op = 'insert' ORDER BY id LIMIT 1), 'insert 100', 'a load is one event');
SELECT otel.stage('span'), pg_temp.spans(2, interval '0') \g /dev/null
SELECT otel.stage('span') \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.span_stage), 0::bigint, 'otel.stage: empties what was left');
SELECT throws_ok($$INSERT INTO otel.span (trace_id, span_id, start_ns, end_ns, resource_id, name) VALUES ('\x00', '\x0000000000000001', pg_temp.ns('0'), 0, 1, 'x')$$, '23514', NULL, 'a trace id has 16 bytes');

SELECT otel.stage('log') \g /dev/null
INSERT INTO pg_temp.log_stage (time_ns, digest, resource_id, body) SELECT pg_temp.ns('0'), sha256(i::text::bytea), 1, to_jsonb(i) FROM generate_series(1, 10) i;
SELECT results_eq($$SELECT * FROM otel.load('log')$$, 'VALUES (10::bigint, 0::bigint, 0::bigint)', 'logs');
SELECT otel.stage('metric') \g /dev/null
INSERT INTO pg_temp.metric_stage (time_ns, digest, resource_id, name, kind, value) SELECT pg_temp.ns('0'), sha256((i / 2)::text::bytea), 1, 'cpu', 'gauge', i FROM generate_series(0, 9) i;
SELECT results_eq($$SELECT * FROM otel.load('metric')$$, 'VALUES (5::bigint, 5::bigint, 0::bigint)', 'metric points; the same point twice is once');
SELECT throws_ok($$INSERT INTO otel.metric (time_ns, digest, resource_id, name, kind) VALUES (pg_temp.ns('0'), sha256('x'), 1, 'x', 'guess')$$, '23514', NULL, 'kinds are those of OTLP');
SELECT results_eq($$SELECT to_ns > from_ns FROM otel.admit('log', 0, 0)$$, 'VALUES (true)', 'otel.admit: a range, even for what lies out of it');

-- Partitions end.
SELECT wt.ensure_days('otel.span', (now() - interval '40 days')::date, (now() - interval '39 days')::date) \g /dev/null
SELECT is(otel.expire(), 2, 'otel.expire: partitions past their time');
UPDATE otel.setting SET keep_days = 1;
SELECT is((SELECT op FROM prov.event WHERE object = 'otel.setting' ORDER BY id DESC LIMIT 1), 'update', 'settings are logged');
SELECT throws_ok('INSERT INTO otel.setting (only_row) VALUES (false)', '23514', NULL, 'and are one row');

-- Who may.
SELECT is(substr(as_login('t_viewer', $$SELECT otel.load('span')$$), 1, 5), '42501', 'a viewer loads nothing');
SELECT is(as_login('t_ingest', $$SELECT otel.resource_id('{"service.name": "till"}') IS NOT NULL$$), 'true', 'a collector makes resources');
SELECT is(substr(as_login('t_ingest', 'DELETE FROM otel.span'), 1, 5), '42501', 'and deletes nothing');
SELECT is(substr(as_login('t_operator', 'SELECT otel.expire()'), 1, 5), '42501', 'administrators expire');
SELECT otel.stage('span'), pg_temp.spans(7, interval '1 minute', 'red') \g /dev/null
SELECT otel.load('span') \g /dev/null
SELECT is(as_login('wt_t_red', 'SELECT count(*) FROM otel.span'), '7', 'a tenant sees the spans of its resources');
SELECT is(as_login('wt_t_blue', 'SELECT count(*) FROM otel.span'), '0', 'and of no others');
SELECT is(as_login('wt_t_blue', 'SELECT (SELECT count(*) FROM otel.resource) + (SELECT count(*) FROM otel.log) + (SELECT count(*) FROM otel.metric)'), '0', 'nor other signals');
SELECT is(substr(as_login('wt_t_blue', format('SELECT count(*) FROM otel.span_p%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))), 1, 5), '42501', 'nor a partition by its name');
SELECT is(as_login('t_viewer', 'SELECT count(*) > 100 FROM otel.span'), 'true', 'people see all');
SELECT * FROM finish();
ROLLBACK;
