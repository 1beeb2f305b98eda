BEGIN;
SELECT plan(38);
SELECT is(otel.resource_id('{"service.name": "shop"}'), otel.resource_id('{"service.name": "shop"}'), 'otel.resource_id: one per set of attributes');
SELECT isnt(otel.resource_id('{"service.name": "shop"}', 'red'), otel.resource_id('{"service.name": "shop"}'), 'and tenant');
SELECT is((SELECT service FROM otel.resource WHERE tenant = 'red'), 'shop', 'its service is a column');
SELECT is(otel.scope_id('lib', '1'), otel.scope_id('lib', '1'), 'otel.scope_id: one per scope');
SELECT isnt(otel.scope_id('lib', '1'), otel.scope_id('lib', '2'), 'and version');

CREATE FUNCTION pg_temp.ns(p interval) RETURNS bigint LANGUAGE sql AS 'SELECT (extract(epoch FROM now() + p) * 1000000)::bigint * 1000';
SELECT throws_ok($$SELECT otel.signal('spans')$$, '22023', NULL, 'otel.signal: span, log, metric');
SELECT is(otel.resource_ids(ARRAY['system', 'red', 'system'], ARRAY['{"service.name": "shop"}', '{"service.name": "shop"}', '{"service.name":"shop"}']),
    ARRAY[otel.resource_id('{"service.name": "shop"}'), otel.resource_id('{"service.name": "shop"}', 'red'), otel.resource_id('{"service.name": "shop"}')], 'otel.resource_ids: in their order');
SELECT is(otel.scope_ids(ARRAY['lib', 'lib'], ARRAY['2', '1'], ARRAY['{}', '{}']), ARRAY[otel.scope_id('lib', '2'), otel.scope_id('lib', '1')], 'otel.scope_ids: likewise');

-- So many spans from a number on, some time from now: of a tenant's resource, as request 0, and the last of them as request 1.
CREATE FUNCTION pg_temp.spans(p_n int, p_at interval, p_tenant text DEFAULT 'system') RETURNS TABLE (parcel integer, rejected bigint) LANGUAGE sql AS $$
    SELECT (r).* FROM (
        SELECT otel.put_spans(ARRAY[p_tenant], ARRAY['{"service.name": "shop"}'], ARRAY['lib'], ARRAY['1'], ARRAY['{}'],
            array_agg((i = p_n)::integer ORDER BY i), array_agg(1 ORDER BY i), array_agg(1 ORDER BY i),
            array_agg(decode(lpad(to_hex(i), 32, '0'), 'hex') ORDER BY i), array_agg(decode(lpad(to_hex(i), 16, '0'), 'hex') ORDER BY i), array_agg(NULL::bytea),
            array_agg(pg_temp.ns(p_at) + i ORDER BY i), array_agg(pg_temp.ns(p_at) + i + 1000 ORDER BY i), array_agg('GET'::text), array_agg(2::smallint), array_agg(0::smallint),
            array_agg(NULL::text), array_agg(NULL::text), array_agg('{"n": 1}'::text), array_agg('[]'::text), array_agg('[]'::text)) AS r
        FROM generate_series(1, p_n) i) s $$;
SELECT is_empty($$SELECT * FROM pg_temp.spans(100, interval '0')$$, 'otel.put_spans: new spans, none rejected');
SELECT is((SELECT count(*) FROM otel.span s JOIN otel.resource r ON r.id = s.resource_id JOIN otel.scope c ON c.id = s.scope_id WHERE r.service = 'shop' AND c.name = 'lib' AND s.attributes = '{"n": 1}'), 100::bigint, 'are there, with where they come from');
SELECT is_empty($$SELECT * FROM pg_temp.spans(150, interval '0')$$, 'a request sent again is taken');
SELECT is((SELECT count(*) FROM otel.span), 150::bigint, 'and adds what is new');
SELECT results_eq($$SELECT * FROM pg_temp.spans(3, interval '-400 days')$$, 'VALUES (0, 2::bigint), (1, 1::bigint)', 'times out of range are rejected, and counted by request');
SELECT results_eq($$SELECT * FROM pg_temp.spans(2, interval '20 days')$$, 'VALUES (0, 1::bigint), (1, 1::bigint)', 'ahead as well');
SELECT is_empty($$SELECT * FROM pg_temp.spans(1, interval '-1 day')$$, 'a day ago is in range');
SELECT is((SELECT array_agg(op || ' ' || n ORDER BY id) FROM prov.event WHERE object = 'otel.span' AND op = 'insert'), ARRAY['insert 100', 'insert 50', 'insert 1'], 'a statement is one event, and what adds nothing is none');
SELECT throws_ok($$INSERT INTO otel.span (trace_id, span_id, start_ns, end_ns, resource_id, name) VALUES ('\x00', '\x0000000000000001', pg_temp.ns('0'), 0, 1, 'x')$$, '23514', NULL, 'a trace id has 16 bytes');

CREATE FUNCTION pg_temp.logs(p_at interval) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT otel.put_logs(ARRAY['system'], ARRAY['{}'], ARRAY[''], ARRAY[''], ARRAY['{}'], ARRAY[0, 7], ARRAY[1, 1], ARRAY[1, 1],
        ARRAY[pg_temp.ns(p_at), pg_temp.ns(p_at)], ARRAY[sha256('1'), sha256('2')], ARRAY[NULL, 5]::bigint[], ARRAY[9, 9]::smallint[], ARRAY['INFO', NULL], ARRAY['"said"', NULL], ARRAY['{}', '{}'],
        ARRAY[NULL, NULL]::bytea[], ARRAY[NULL, NULL]::bytea[]) $$;
SELECT is((SELECT count(*) FROM pg_temp.logs('0') AS l (parcel integer, rejected bigint)), 0::bigint, 'otel.put_logs: taken');
SELECT is((SELECT count(*) FROM pg_temp.logs('0') AS l (parcel integer, rejected bigint)), 0::bigint, 'and again');
SELECT is((SELECT array_agg(body) FROM otel.log WHERE severity = 9 AND severity_text = 'INFO'), ARRAY['"said"'::jsonb], 'each is there once');
SELECT results_eq($$SELECT * FROM pg_temp.logs('-400 days') AS l (parcel integer, rejected bigint)$$, 'VALUES (0, 1::bigint), (7, 1::bigint)', 'and rejected for its time by request');
CREATE FUNCTION pg_temp.points(p_at interval) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT otel.put_metrics(ARRAY['system'], ARRAY['{}'], ARRAY[''], ARRAY[''], ARRAY['{}'], ARRAY[0, 0, 1], ARRAY[1, 1, 1], ARRAY[1, 1, 1],
        array_agg(pg_temp.ns(p_at)), ARRAY[sha256('1'), sha256('1'), sha256('2')], array_agg(NULL::bigint), array_agg('cpu'::text), array_agg('1'::text), array_agg('gauge'::text),
        array_agg(NULL::boolean), array_agg(NULL::smallint), array_agg(0.5::double precision), array_agg(NULL::text), array_agg('{}'::text)) FROM generate_series(1, 3) $$;
SELECT is((SELECT count(*) FROM pg_temp.points('0') AS l (parcel integer, rejected bigint)), 0::bigint, 'otel.put_metrics: taken');
SELECT is((SELECT count(*) FROM otel.metric WHERE name = 'cpu' AND value = 0.5), 2::bigint, 'the same point twice is once');
SELECT results_eq($$SELECT * FROM pg_temp.points('-400 days') AS l (parcel integer, rejected bigint)$$, 'VALUES (0, 2::bigint), (1, 1::bigint)', 'rejected for their time by request');
SELECT throws_ok($$INSERT INTO otel.metric (time_ns, digest, resource_id, name, kind) VALUES (pg_temp.ns('0'), sha256('x'), 1, 'x', 'guess')$$, '23514', NULL, 'kinds are those of OTLP');
SELECT results_eq($$SELECT to_ns > from_ns FROM otel.admit('log', 0, 0)$$, 'VALUES (true)', 'otel.admit: a range, even for what lies out of it');

-- Partitions end.
SELECT wt.ensure_days('otel.span', (now() - interval '40 days')::date, (now() - interval '39 days')::date) \g /dev/null
SELECT is(otel.expire(), 2, 'otel.expire: partitions past their time');
UPDATE otel.setting SET keep_days = 1;
SELECT is((SELECT op FROM prov.event WHERE object = 'otel.setting' ORDER BY id DESC LIMIT 1), 'update', 'settings are logged');
SELECT throws_ok('INSERT INTO otel.setting (only_row) VALUES (false)', '23514', NULL, 'and are one row');

-- Who may.
SELECT is(substr(as_login('t_viewer', $$SELECT otel.scope_ids('{}', '{}', '{}')$$), 1, 5), '42501', 'a viewer stores nothing');
SELECT is(as_login('t_ingest', $$SELECT otel.resource_id('{"service.name": "till"}') IS NOT NULL$$), 'true', 'a collector makes resources');
SELECT is(substr(as_login('t_ingest', 'DELETE FROM otel.span'), 1, 5), '42501', 'and deletes nothing');
SELECT is(substr(as_login('t_operator', 'SELECT otel.expire()'), 1, 5), '42501', 'administrators expire');
SELECT pg_temp.spans(7, interval '1 minute', 'red') \g /dev/null
SELECT is(as_login('wt_t_red', 'SELECT count(*) FROM otel.span'), '7', 'a tenant sees the spans of its resources');
SELECT is(as_login('wt_t_blue', 'SELECT count(*) FROM otel.span'), '0', 'and of no others');
SELECT is(as_login('wt_t_blue', 'SELECT (SELECT count(*) FROM otel.resource) + (SELECT count(*) FROM otel.log) + (SELECT count(*) FROM otel.metric)'), '0', 'nor other signals');
SELECT is(substr(as_login('wt_t_blue', format('SELECT count(*) FROM otel.span_p%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'))), 1, 5), '42501', 'nor a partition by its name');
SELECT is(as_login('t_viewer', 'SELECT count(*) > 100 FROM otel.span'), 'true', 'people see all');
SELECT * FROM finish();
ROLLBACK;
