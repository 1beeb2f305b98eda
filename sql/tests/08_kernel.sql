BEGIN;
SELECT plan(108);
INSERT INTO net.device (device, driver, tenant) VALUES ('k8s', 'kubernetes', 'system'), ('redk', 'kubernetes', 'red');

-- Names.
SELECT is(wt.check_name('table', 'nodes_2'), 'nodes_2', 'wt.check_name: a name');
SELECT throws_ok(format('SELECT wt.check_name(%L, %L)', 'table', n), '42602', NULL, 'not ' || n) FROM unnest(ARRAY['', 'A', 'a b', 'a"b', 'a;b', '1a', repeat('x', 51)]) n;
SELECT throws_ok($$SELECT wt.check_tenant('nobody')$$, '42704', NULL, 'wt.check_tenant');
SELECT throws_ok($$SELECT wt.check_schema('net', 'red')$$, '3F000', NULL, 'wt.check_schema: one''s own');
SELECT is(wt.owner_of('system') || ' ' || wt.owner_of('red'), 'wt_operator wt_t_red', 'wt.owner_of');

-- Schemas and tables.
SELECT is(as_login('t_operator', $$SELECT wt.create_schema('lab')$$), '', 'wt.create_schema');
SELECT throws_ok($$SELECT wt.create_schema('lab')$$, '42P06', NULL, 'not twice');
SELECT throws_ok($$SELECT wt.create_schema('net')$$, '42P06', NULL, 'not one of ours');
SELECT throws_ok($$SELECT wt.create_schema('pg_mine')$$, '42P06', NULL, 'not one of Postgres');
SELECT is(substr(as_login('t_viewer', $$SELECT wt.create_schema('x')$$), 1, 5), '42501', 'not by a viewer');
SELECT is(as_login('t_operator', $$SELECT wt.create_table('lab', 'load', '[{"name": "site", "type": "text", "primaryKey": true},
    {"name": "rate", "type": "double precision", "notNull": true, "default": 0, "check": [{"op": ">=", "value": 0}, {"op": "<", "value": 1000}]}, {"name": "peer", "type": "inet", "unique": true}]')$$), '', 'wt.create_table');
SELECT col_is_pk('lab', 'load', 'site', 'its primary key');
SELECT throws_ok($$INSERT INTO lab.load VALUES ('a', 1000)$$, '23514', NULL, 'its constraints');
INSERT INTO lab.load (site) VALUES ('a');
SELECT is((SELECT rate FROM lab.load), 0::float8, 'its default');
SELECT is((SELECT array_agg(op ORDER BY id) FROM prov.event WHERE object IN ('lab', 'lab.load') AND op !~ '^(insert|update)'), ARRAY['createSchema', 'createTable'], 'a call is one event (wt.begin_making, wt.end_making)');
SELECT is((SELECT keys FROM prov.event WHERE object = 'lab.load' ORDER BY id DESC LIMIT 1), ARRAY['a'], 'its changes are logged');
SELECT wt.create_table('lab', 'plain', '[{"name": "v", "type": "jsonb"}]') \g /dev/null
SELECT col_is_pk('lab', 'plain', 'id', 'a table without a key gets one');
SELECT throws_ok(format('SELECT wt.create_table(%L, %L, %L)', 'lab', 't', c), s, NULL, 'refused: ' || c) FROM (VALUES
    ('[]', '22023'), ('{}', '22023'), ('[3]', '22023'), ('[{"name": "a", "type": "text; DROP TABLE x"}]', '42704'), ('[{"name": "a b", "type": "text"}]', '42602'),
    ('[{"name": "a", "type": "text", "sql": "x"}]', '22023'), ('[{"name": "a", "type": "bigint", "default": "x"}]', '22P02'),
    ('[{"name": "a", "type": "bigint", "check": {"op": "; DROP", "value": 1}}]', '22023'), ('[{"name": "a", "type": "bigint", "check": {"op": "=", "value": [1]}}]', '22023')) v (c, s);
SELECT throws_ok($$SELECT wt.create_table('net', 'mine', '[{"name": "a", "type": "text"}]')$$, '3F000', NULL, 'nothing is made in our schemas');
SELECT is(wt.comparison('x', 'bigint', '{"op": "=", "value": "1'' OR true"}'), 'x = ''1'''' OR true''::bigint', 'wt.comparison: values are literals');

-- Procedures.
SELECT is(as_login('t_operator', $$SELECT wt.create_procedure('lab', 'set_rate', '[{"name": "p_site", "type": "text"}, {"name": "p_rate", "type": "double precision"}]',
    'BEGIN UPDATE lab.load SET rate = p_rate WHERE site = p_site; RETURN; END')$$), '', 'wt.create_procedure');
SELECT is((SELECT r.rolname FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.proname = 'set_rate' AND p.prosecdef), 'wt_operator', 'it runs as its author''s role (wt.give)');
SELECT ok(NOT has_schema_privilege('wt_operator', 'lab', 'CREATE'), 'which may make nothing there');
SELECT throws_like($$SELECT wt.give('wt.version_of(text)', 'wt_operator')$$, '%cannot be given to "wt_operator"', 'wt.give: nothing outside the kernel''s schemas');
SELECT throws_like($$SELECT wt.give('lab.set_rate(text, double precision)', 'wt_operator')$$, '%cannot be given%', 'nor what is somebody''s already');
SELECT is(as_login('t_operator', $$SELECT wt.give('lab.set_rate(text, double precision)', 'wt_operator')$$), '42501 permission denied for function give', 'and only by the kernel');
SELECT is(as_login('t_operator', $$SELECT wt.call_procedure('lab.set_rate', '{"p_site": "a", "p_rate": 12.5}')$$), 'ok', 'wt.call_procedure, wt.call_begin');
SELECT is((SELECT rate FROM lab.load), 12.5::float8, 'does what it says');
SELECT results_eq($$SELECT (s.event).op, (s.event).procedure, (s.event).version, (s.event).new ->> 'p_rate' FROM prov.story(prov.latest('lab.load', 'a')) s WHERE s.depth = 0$$,
    $$VALUES ('call', 'lab.set_rate', 1, '12.5')$$, 'its event has version and arguments');
SELECT wt.create_procedure('lab', 'set_rate', '[{"name": "p_site", "type": "text"}, {"name": "p_rate", "type": "double precision"}]', 'BEGIN UPDATE lab.load SET rate = p_rate + 1 WHERE site = p_site; END') \g /dev/null
SELECT is(wt.version_of((SELECT identity FROM wt.procedure WHERE name = 'set_rate')), 2, 'wt.version_of: made again, it is version 2');
SELECT throws_ok($$SELECT wt.create_procedure('lab', 'set_rate', '[]', 'BEGIN END')$$, '42723', NULL, 'with the same parameters');
SELECT throws_ok($$SELECT wt.create_procedure('lab', 'x', '[]', 'x', 'system', 'plpython3u')$$, '42501', NULL, 'untrusted languages are refused');
SELECT throws_ok($$SELECT wt.create_procedure('lab', 'x', '[]', 'SELEC', 'system')$$, '42601', NULL, 'so is a body with an error');
SELECT throws_ok($$SELECT wt.create_procedure('lab', 'x', '{}', 'BEGIN END')$$, '22023', NULL, 'parameters are a list');
SELECT throws_ok(format('SELECT wt.call_procedure(%L, %L)', p, a), s, NULL, p || ' ' || a) FROM (VALUES
    ('lab.nothing', '{}', '42883'), ('lab.set_rate', '{"p_site": "a"}', '22023'), ('lab.set_rate', '{"p_site": "a", "p_rate": 1, "more": 1}', '22023'),
    ('lab.set_rate', '[]', '22023'), ('lab.set_rate', '{"p_site": "a", "p_rate": "fast"}', '22P02')) v (p, a, s);
SELECT is(substr(as_login('t_viewer', $$SELECT wt.call_procedure('lab.set_rate', '{}')$$), 1, 5), '42501', 'a viewer calls nothing');
SELECT wt.create_procedure('lab', 'sum_of', '[{"name": "p", "type": "bigint[]"}, {"name": "j", "type": "jsonb"}]', 'SELECT (SELECT sum(x) FROM unnest(p) x)::bigint + (j ->> 0)::bigint', 'system', 'sql', 'bigint') \g /dev/null
SELECT is(wt.call_procedure('lab.sum_of', '{"p": [1, 2, 3], "j": [4]}'), '10', 'lists and JSON as arguments, a number as result');

-- Triggers.
SELECT wt.create_procedure('lab', 'grow', '[{"name": "new_rows", "type": "jsonb"}]',
    $b$BEGIN INSERT INTO net.object (device, kind, name, desired) SELECT 'k8s', 'site', r ->> 'site', jsonb_build_object('rate', r -> 'rate') FROM jsonb_array_elements(new_rows) r; END$b$) \g /dev/null
SELECT lives_ok($$SELECT wt.create_trigger('lab', 'load', 'hot', ARRAY['insert', 'update'], 'lab.grow', '[{"column": "rate", "op": ">=", "value": 100}]')$$, 'wt.create_trigger');
UPDATE lab.load SET rate = 99;
SELECT is_empty($$SELECT * FROM net.object WHERE kind = 'site'$$, 'it does not fire below its condition');
SELECT wt.call_procedure('lab.set_rate', '{"p_site": "a", "p_rate": 150}') \g /dev/null
SELECT is((SELECT desired ->> 'rate' FROM net.object WHERE kind = 'site'), '151', 'it fires above');
SELECT is((SELECT array_agg((s.event).op ORDER BY s.depth) FROM prov.story((SELECT event FROM north.command WHERE kind = 'site')) s WHERE s.on_path),
    ARRAY['call', 'update', 'trigger', 'insert', 'command'], 'the command leads back: call, update, trigger, insert');
SELECT is((SELECT new -> 0 ->> 'rate' FROM prov.event WHERE op = 'trigger'), '151', 'a trigger''s event has the rows that met its condition');
SELECT throws_ok($$SELECT wt.create_trigger('lab', 'load', 'x', ARRAY['insert'], 'lab.set_rate')$$, '22023', NULL, 'its procedure takes new_rows');
SELECT throws_ok($$SELECT wt.create_trigger('lab', 'load', 'x', ARRAY['truncate'], 'lab.grow')$$, '22023', NULL, 'events are insert, update, delete');
SELECT throws_ok($$SELECT wt.create_trigger('lab', 'load', 'x', ARRAY['insert'], 'lab.grow', '[{"column": "none", "op": "=", "value": 1}]')$$, '42703', NULL, 'columns exist');
SELECT throws_ok($$SELECT wt.create_trigger('sec', 'token', 'x', ARRAY['insert'], 'lab.grow')$$, '42P01', NULL, 'not on our own tables');
SELECT ok(wt.drop_trigger('lab', 'load', 'hot') AND NOT wt.drop_trigger('lab', 'load', 'hot'), 'wt.drop_trigger');
SELECT hasnt_trigger('lab', 'load', 'p_hot_update', 'removes it');

-- Lists of calls, and dry runs.
CREATE TEMPORARY TABLE dry AS SELECT wt.apply('[{"call": "createSchema", "schema": "dry"}, {"call": "createTable", "schema": "dry", "table": "t", "columns": [{"name": "a", "type": "text"}]},
    {"call": "callProcedure", "procedure": "lab.grow", "args": {"new_rows": [{"site": "b", "rate": 5}]}}]', true) AS r;
SELECT is((SELECT (r -> 'commands' -> 0) - 'device' FROM dry), '{"kind": "site", "name": "b", "gen": 1, "body": {"rate": 5}}', 'wt.run_calls: a dry run shows the commands');
SELECT wt.create_procedure('lab', 'say', '[{"name": "p_a", "type": "text"}]', $$BEGIN IF p_a = 'dry' THEN RAISE EXCEPTION 'dry run' USING ERRCODE = 'WT001', DETAIL = '{"results": "made up"}'; END IF; RETURN p_a; END$$, p_returns => 'text') \g /dev/null
SELECT is(wt.run_list('[{"call": "callProcedure", "procedure": "lab.say", "args": {"p_a": "x"}}, {"call": "callProcedure", "procedure": "lab.set_rate", "args": {"p_site": "none", "p_rate": 1}}]', false), '["x", null]', 'wt.run_list: results in order');
SELECT throws_ok($$SELECT wt.apply('[{"call": "callProcedure", "procedure": "lab.say", "args": {"p_a": "dry"}}]')$$, 'WT001', NULL, 'a list that is not dry does not end as one that is');
SELECT ok((SELECT jsonb_path_exists(r, '$.events[*] ? (@.op == "createSchema")') AND jsonb_path_exists(r, '$.events[*] ? (@.op == "call")') FROM dry), 'and the events');
SELECT hasnt_schema('dry', 'and leaves nothing behind');
SELECT is(wt.apply('[{"call": "createSchema", "schema": "wet"}, {"call": "callProcedure", "procedure": "lab.sum_of", "args": {"p": [], "j": [1]}}]') ->> 'dryRun', 'false', 'wt.apply');
SELECT has_schema('wet', 'does it');
SELECT throws_ok($$SELECT wt.apply('[{"call": "createSchema", "schema": "half"}, {"call": "createSchema", "schema": "net"}]')$$, '42P06', NULL, 'all');
SELECT hasnt_schema('half', 'or nothing');
SELECT throws_ok($$SELECT wt.apply('[{"call": "dropDatabase"}]')$$, '42883', NULL, 'wt.kernel: known calls');

-- Assertions.
SELECT wt.create_procedure('lab', 'few', '[]', $$SELECT count(*) < 4 FROM net.object WHERE kind = 'site'$$, 'system', 'sql', 'boolean') \g /dev/null
SELECT lives_ok($$SELECT wt.create_assertion('lab', 'few')$$, 'wt.create_assertion');
SELECT throws_ok($$SELECT wt.create_assertion('lab', 'grow')$$, '42883', NULL, 'of a procedure that says yes or no');
SELECT throws_ok($$SELECT wt.apply('[{"call": "callProcedure", "procedure": "lab.grow", "args": {"new_rows": [{"site": "c", "rate": 5}, {"site": "d", "rate": 5}, {"site": "e", "rate": 5}]}}]', true)$$,
    'WT003', 'assertion "lab.few" does not hold', 'wt.check_assertions: a transaction that breaks one is refused, dry or not');

-- Tenants.
SELECT is(substr(as_login('wt_t_red', $$SELECT wt.create_schema('reds')$$), 1, 5), '42501', 'a tenant does not use the operators'' calls');
SELECT is(substr(as_login('t_operator', $$SELECT wt.tenant_kernel('createSchema', '{"schema": "x"}')$$), 1, 5), '42501', 'nor operators the tenants''');
SELECT is(as_login('wt_t_red', $$SELECT wt.tenant_apply('[{"call": "createSchema", "schema": "reds"}, {"call": "createTable", "schema": "reds", "table": "t", "columns": [{"name": "a", "type": "text", "primaryKey": true}]},
    {"call": "createStoredProcedure", "schema": "reds", "name": "put", "params": [{"name": "p_a", "type": "text"}], "body": "BEGIN INSERT INTO reds.t VALUES (p_a); END"}]') ->> 'dryRun'$$), 'false', 'wt.tenant_apply');
SELECT is(substr(as_login('wt_t_red', $$SELECT wt.tenant_apply('[{"call": "createTable", "schema": "lab", "table": "t", "columns": [{"name": "a", "type": "text"}]}]')$$), 1, 5), '3F000', 'in its own schemas');
SELECT is(substr(as_login('wt_t_red', $$SELECT wt.call_procedure('reds.put', '{"p_a": "x"}')$$), 1, 5), '55000', 'its procedures are off');
SELECT is(substr(as_login('t_operator', $$SELECT wt.activate_procedure('reds', 'put')$$), 1, 5), '', 'wt.activate_procedure: until a second person turns them on');
SELECT is(as_login('wt_t_red', $$SELECT wt.call_procedure('reds.put', '{"p_a": "x"}')$$), 'ok', 'then it calls them');
SELECT is(as_login('t_operator', $$SELECT wt.call_procedure('reds.put', '{"p_a": "y"}')$$), 'ok', 'and so may an operator');
SELECT is((SELECT array_agg(DISTINCT r.rolname::text) FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'reds'::regnamespace), ARRAY['wt_t_red'], 'with the rights of the tenant');
SELECT is(as_login('wt_t_blue', $$SELECT wt.call_procedure('reds.put', '{"p_a": "z"}')$$), '42883 there is no procedure "reds.put"', 'another tenant does not learn of it');
SELECT is(substr(as_login('wt_t_blue', 'SELECT count(*) FROM reds.t'), 1, 5), '42501', 'nor of its tables');
SELECT is(as_login('wt_t_blue', $$SELECT (SELECT count(*) FROM wt.procedure) + (SELECT count(*) FROM wt.namespace) + (SELECT count(*) FROM wt.policy)$$), '0', 'nor from the lists');
SELECT ok(wt.deactivate_procedure('reds', 'put'), 'wt.deactivate_procedure');
SET LOCAL wt.actor = 'ada';
SELECT wt.create_procedure('reds', 'own', '[]', 'BEGIN END', 'red') \g /dev/null
SELECT throws_ok($$SELECT wt.activate_procedure('reds', 'own')$$, '42501', NULL, 'the same person does not activate it');
SET LOCAL wt.actor = '';
SELECT throws_ok(format('SELECT wt.check_body(%L)', b), '42501', NULL, 'wt.check_body: ' || b) FROM unnest(ARRAY['COPY x TO PROGRAM ''y''', 'SET  LOCAL ROLE x', 'select pg_sleep(9)', 'ALTER TABLE x DISABLE TRIGGER ALL', 'PERFORM dblink(''x'')',
    'CREATE SUBSCRIPTION s', 'x SECURITY
    DEFINER', 'SELECT set_config(''role'', ''x'', true)', 'select pg_read_file(''/etc/passwd'')']) b;
SELECT lives_ok($$SELECT wt.check_body('BEGIN UPDATE reds.t SET a = ''created''; END')$$, 'ordinary bodies pass');

-- A policy of a tenant in somebody else's session has the tenant's rights, and they do not reach the kernel or another's rows.
SET LOCAL wt.actor = 'eve';
SELECT wt.create_procedure('reds', 'spy', '[{"name": "new_rows", "type": "jsonb"}]', 'BEGIN UPDATE net.pods SET status = ''stopped''; PERFORM sec.create_token(''wt_admin'', NULL, ''x''); END', 'red') \g /dev/null
SELECT wt.create_trigger('reds', 't', 'spy', ARRAY['insert'], 'reds.spy', NULL, 'red') \g /dev/null
SELECT wt.create_procedure('reds', 'climb', '[]', 'BEGIN EXECUTE ''SET '' || ''ROLE wt_operator''; END', 'red') \g /dev/null
SET LOCAL wt.actor = '';
SELECT is(as_login('t_admin', $$INSERT INTO reds.t VALUES ('quiet')$$), 'ok', 'a policy that is off does nothing');
SELECT wt.activate_procedure('reds', 'spy') \g /dev/null
SELECT is(substr(as_login('t_admin', $$INSERT INTO reds.t VALUES ('loud')$$), 1, 5), '42501', 'a tenant''s policy does not get the rights of an administrator who writes its table');
SELECT wt.activate_procedure('reds', 'climb') \g /dev/null
SELECT is(substr(as_login('t_operator', $$SELECT wt.call_procedure('reds.climb')$$), 1, 5), '42501', 'SET ROLE is impossible in a procedure, however it is spelled');
SELECT ok(wt.fire_begin('reds', 'climb', 'x', 1, NULL), 'wt.fire_begin: an active procedure');
SELECT wt.call_end() \g /dev/null
SELECT is(prov.top(), NULL, 'wt.call_end: takes its cause back');
SELECT * FROM finish();
ROLLBACK;
