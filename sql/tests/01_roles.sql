BEGIN;
SELECT plan(45);

-- Deny by default.
SELECT is(substr(as_login('t_nobody', 'SELECT count(*) FROM prov.event'), 1, 5), '42501', 'a login without a role reads nothing');
SELECT is((SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res') AND has_function_privilege('t_nobody', p.oid, 'EXECUTE')
             AND p.proname NOT IN ('tenant', 'person') AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)), 0::bigint,
          'a login without a role executes nothing but sec.tenant and sec.person');
SELECT is((SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res', 'result') AND c.relkind IN ('r', 'p', 'v')
             AND has_table_privilege('t_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')), 0::bigint, 'and touches no table');
SELECT is((SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res', 'result') AND c.relkind IN ('r', 'p', 'v')
             AND has_table_privilege('t_viewer', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')), 0::bigint, 'a viewer writes no table');
SELECT is((SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res') AND c.relkind IN ('r', 'p')
             AND (has_table_privilege('wt_t_red', c.oid, 'SELECT') OR has_any_column_privilege('wt_t_red', c.oid, 'SELECT')) AND NOT c.relrowsecurity
             AND c.relname NOT IN ('scope', 'never_block')), 0::bigint, 'every table that tenants read has row-level security');
SELECT is((SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res') AND p.prosecdef
             AND NOT coalesce(p.proconfig::text, '') LIKE '%search\_path=pg_catalog, pg_temp%'), 0::bigint, 'every SECURITY DEFINER function has a fixed search_path');
SELECT is((SELECT array_agg(p.proname::text ORDER BY p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
           WHERE n.nspname IN ('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res') AND p.prosecdef AND r.rolsuper),
          ARRAY['apply_limits', 'create_tenant', 'deactivate_tenant', 'give'], 'four functions run as the superuser');
SELECT ok(NOT (SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = 'wt_owner'), 'the owner of everything is an ordinary role that cannot log in');

-- Who is who.
SELECT is(as_login('wt_t_red', 'SELECT sec.tenant()'), 'red', 'sec.tenant: a tenant');
SELECT is(as_login('t_operator', 'SELECT sec.tenant()'), 'system', 'sec.tenant: everybody else');
SELECT is(as_login('t_operator', 'SELECT sec.person()'), 't_operator', 'sec.person: the login');
SET LOCAL wt.actor = 'ada';
SELECT is(sec.person(), 'ada', 'sec.person: the actor that the server names');
SET LOCAL wt.actor = '';

-- Tenants.
SELECT is(substr(as_login('t_operator', $$SELECT sec.create_tenant('green')$$), 1, 5), '42501', 'sec.create_tenant: administrators only');
SELECT is(as_login('t_admin', $$SELECT sec.create_tenant('green')$$), '', 'sec.create_tenant: an administrator makes one');
SELECT is((SELECT rolcanlogin AND NOT rolsuper AND NOT rolcreaterole AND NOT rolcreatedb AND NOT rolreplication AND NOT rolbypassrls FROM pg_roles WHERE rolname = 'wt_t_green'), true, 'its role logs in and can do nothing else');
SELECT is((SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = 'wt_t_green'), 1::bigint, 'and is a member of wt_tenant alone');
SELECT throws_ok($$SELECT sec.create_tenant('red')$$, '23505', NULL, 'not twice');
SELECT throws_ok($$SELECT sec.create_tenant('system')$$, '42602', NULL, 'not named system');
SELECT throws_ok($$SELECT sec.create_tenant('x"; DROP ROLE wt_owner; --')$$, '42602', NULL, 'not with SQL in the name');
SELECT throws_ok($$SELECT sec.create_tenant('pw', 'secret')$$, '28P01', NULL, 'no clear password');
SELECT lives_ok($$SELECT sec.create_tenant('pw', 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0xMjM0NTY=:cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0xMjM0NTY=')$$, 'a SCRAM verifier is taken');
SELECT is((SELECT rolpassword FROM pg_authid WHERE rolname = 'wt_t_pw'), 'SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0xMjM0NTY=:cXdlcnR5dWlvcGFzZGZnaGprbHp4Y3Zibm0xMjM0NTY=', 'and kept as it is');
SELECT is(substr(as_login('wt_t_red', 'SET ROLE wt_t_blue'), 1, 5), '42501', 'a tenant cannot become another');
SELECT is(substr(as_login('wt_t_red', 'SET ROLE wt_operator'), 1, 5), '42501', 'nor an operator');
SELECT is(substr(as_login('wt_t_red', 'CREATE TEMPORARY TABLE x (a int)'), 1, 5), '42501', 'a tenant makes no temporary table');
SELECT is(as_login('wt_t_red', 'CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $x$SELECT 1$x$'), '42501 CREATE FUNCTION is refused for tenant "red"', 'nor a function');
SELECT is(as_login('wt_t_red', 'ALTER TABLE net.nodes DISABLE TRIGGER ALL'), '42501 ALTER TABLE is refused for tenant "red"', 'nor turns triggers off');
SELECT is(as_login('wt_t_red', 'CREATE SUBSCRIPTION s CONNECTION $x$$x$ PUBLICATION p'), '42501 CREATE SUBSCRIPTION is refused for tenant "red"', 'nor subscribes');
SELECT is(substr(as_login('wt_t_red', 'COPY sec.tenant TO PROGRAM $x$cat$x$'), 1, 5), '42501', 'nor runs programs');
SELECT is(substr(as_login('wt_t_red', 'SELECT count(*) FROM sec.token'), 1, 5), '42501', 'nor reads tokens');

-- Limits.
INSERT INTO sec.limits (tenant, statement_ms, connections_max) VALUES ('red', 1234, 3);
SELECT lives_ok($$SELECT sec.apply_limits('red')$$, 'sec.apply_limits');
SELECT ok((SELECT rolconfig @> ARRAY['statement_timeout=1234ms', 'lock_timeout=1234ms', 'temp_file_limit=256MB'] AND rolconnlimit = 3 FROM pg_roles WHERE rolname = 'wt_t_red'), 'they are in the role');
SELECT throws_ok($$SELECT sec.apply_limits('nobody')$$, '42704', NULL, 'not of a tenant that is not there');
SELECT throws_ok($$INSERT INTO sec.limits (tenant) VALUES (NULL)$$, '23505', NULL, 'there is one default');
SELECT is(substr(as_login('t_operator', 'UPDATE sec.limits SET rows_max = 1'), 1, 5), '42501', 'an operator does not change limits');

-- Tokens.
CREATE TEMPORARY TABLE token AS SELECT sec.create_token('wt_operator', 'red', 'ci', interval '1 hour') AS t;
SELECT matches((SELECT t FROM token), '^wtk_[0-9a-f]{64}$', 'sec.create_token: 256 bits as hex');
SELECT is((SELECT count(*) FROM sec.token k, token WHERE k::text LIKE '%' || t || '%'), 0::bigint, 'the token itself is not stored');
SELECT results_eq('SELECT role, tenant, label, statement_ms FROM token, sec.check_token(t)', $$VALUES ('wt_operator', 'red', 'ci', 1234)$$, 'sec.check_token: what it allows, with the limits of its tenant');
SELECT is_empty($$SELECT * FROM sec.check_token('wtk_0')$$, 'an unknown token allows nothing');
SELECT is(substr(as_login('t_viewer', $$SELECT count(*) FROM sec.check_token('x')$$), 1, 5), '42501', 'only the authenticator checks tokens');
SELECT is(as_login('t_auth', $$SELECT count(*) FROM sec.check_token('x')$$), '0', 'and may');
SELECT throws_ok($$SELECT sec.create_token('wt_viewer', NULL, 'x', interval '10 years')$$, '22023', NULL, 'a token ends within a year');
SELECT throws_ok($$SELECT sec.create_token('postgres', NULL, 'x')$$, '23514', NULL, 'a token is of a role of ours');
SELECT sec.deactivate_tenant('red') \g /dev/null
SELECT is_empty('SELECT c.* FROM token, sec.check_token(t) c', 'sec.deactivate_tenant: its tokens allow nothing');
UPDATE sec.tenant SET active = true;
SELECT sec.revoke_token((SELECT max(id) FROM sec.token)) \g /dev/null
SELECT is_empty('SELECT c.* FROM token, sec.check_token(t) c', 'sec.revoke_token: nor do revoked ones');
SELECT * FROM finish();
ROLLBACK;
