BEGIN;
SELECT plan(24);

SELECT is((SELECT count(*) FROM pg_roles WHERE rolname LIKE 'wt\_s\_%' AND rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication)), 5::bigint, 'five logins, none with powers of its own');
SELECT is((SELECT string_agg(m.rolname || ' > ' || r.rolname, ', ' ORDER BY m.rolname) FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member WHERE m.rolname LIKE 'wt\_s\_%'),
    'wt_s_admin > wt_admin, wt_s_auth > wt_auth, wt_s_ingest > wt_ingest, wt_s_operator > wt_operator, wt_s_viewer > wt_viewer', 'each with one role');

-- Answers.
SELECT is(wt.answer_begin('k', '\x01'), NULL, 'wt.answer_begin: a new key');
SELECT is(wt.answer_begin('k', '\x01'), NULL, 'the same in one transaction has no answer yet');
SELECT lives_ok($$SELECT wt.answer_end('k', '{"results": [1]}')$$, 'wt.answer_end keeps one');
SELECT is(wt.answer_begin('k', '\x01'), '{"results": [1]}'::jsonb, 'which is given again');
SELECT throws_ok($$SELECT wt.answer_begin('k', '\x02')$$, 'WT004', NULL, 'another request with this key is refused');
SELECT set_config('wt.actor', 'eve', true);
SELECT is(wt.answer_begin('k', '\x02'), NULL, 'of another person it is another key');
SELECT throws_ok($$SELECT wt.answer_begin('', '\x01')$$, '23514', NULL, 'a key has letters');
SELECT set_config('wt.actor', '', true);
UPDATE wt.answer SET at = now() - interval '25 hours' WHERE person = 'eve';
SELECT is(wt.expire_answers(), 1::bigint, 'wt.expire_answers: those of yesterday are forgotten');
SELECT is(wt.expire_answers(interval '1 hour'), 0::bigint, 'and no others');
SELECT ok(NOT has_table_privilege('wt_operator', 'wt.answer', 'SELECT') AND NOT has_table_privilege('wt_tenant', 'wt.answer', 'SELECT'), 'nobody reads another''s answers');

-- Reading.
SELECT wt.create_schema('lab');
SELECT wt.create_table('lab', 'rates', '[{"name": "site", "type": "text", "primaryKey": true}, {"name": "rate", "type": "bigint"}, {"name": "net", "type": "cidr"}]');
INSERT INTO lab.rates VALUES ('berlin', 3, '10.1.0.0/16'), ('paris', 1, '10.2.0.0/16'), ('rome', 2, '192.0.2.0/24');
SELECT results_eq($$SELECT r ->> 'site' FROM wt.read_table('lab', 'rates', '[]', '["-rate"]') r$$, $$VALUES ('berlin'), ('rome'), ('paris')$$, 'wt.read_table: in order');
SELECT results_eq($$SELECT r ->> 'site' FROM wt.read_table('lab', 'rates', '[{"column": "rate", "op": ">=", "value": 2}, {"column": "net", "op": "<<=", "value": "10.0.0.0/8"}]') r$$, $$VALUES ('berlin')$$, 'conditions all hold, by the column''s type');
SELECT is((SELECT count(*) FROM wt.read_table('lab', 'rates', '[]', '[]', 2)), 2::bigint, 'as many as are asked for');
SELECT is((SELECT count(*) FROM wt.read_table('lab', 'rates', '[]', '[]', -5)), 0::bigint, 'or none');
SELECT throws_ok($$SELECT wt.read_table('lab', 'nix')$$, '42P01', 'there is no table "lab.nix"', 'no such table');
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates', '[{"column": "x", "op": "=", "value": 1}]')$$, '42703', NULL, 'no such column');
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates', '[]', '["rate; DROP TABLE lab.rates"]')$$, '42703', NULL, 'nor is SQL one');
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates', '[{"column": "rate", "op": "OR true --", "value": 1}]')$$, '22023', NULL, 'nor an operator');
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates', '{}')$$, '22023', NULL, 'conditions are a list');
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates', '[{"column": "rate", "op": "=", "value": "x"}]')$$, '22P02', NULL, 'values have the column''s type');
SET LOCAL ROLE wt_ingest;
SELECT throws_ok($$SELECT wt.read_table('lab', 'rates')$$, '42501', NULL, 'who only sends does not read');
RESET ROLE;
SET LOCAL ROLE wt_viewer;
SELECT throws_ok($$SELECT wt.read_table('sec', 'token')$$, '42P01', 'there is no table "sec.token"', 'what may not be read is as if it were not there');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
