BEGIN;
SELECT plan(39);
INSERT INTO net.device (device, driver, target) VALUES ('a', 'appliance', 'x'), ('b', 'appliance', 'y'), ('off', 'http', 'z');
UPDATE net.device SET enabled = false WHERE device = 'off';
CREATE FUNCTION pg_temp.want(p_device text, p_name text, p_body jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO net.object AS o (device, kind, name, tenant, desired) VALUES (p_device, 'param', p_name, 'system', p_body)
    ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired $$;
CREATE FUNCTION pg_temp.state(p_name text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(gen || ' ' || state, ', ' ORDER BY gen) FROM north.command WHERE name = p_name $$;
CREATE TEMPORARY TABLE held (id bigint, lease bigint, device text, name text, gen bigint, driver text, target text);
CREATE FUNCTION pg_temp.claim(p_worker text, p_limit int, p_each int, p_seconds float8, p_busy text[] DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    WITH c AS (INSERT INTO held SELECT id, lease, device, name, gen, driver, target FROM north.claim(p_worker, p_limit, p_each, p_seconds, p_busy) RETURNING 1) SELECT count(*) FROM c $$;

SELECT results_eq('SELECT device, driver, target FROM north.devices()', $$VALUES ('a', 'appliance', 'x'), ('b', 'appliance', 'y')$$, 'north.devices: those that are on');
SELECT is(substr(as_login('t_viewer', $$SELECT count(*) FROM north.claim('w', 1, 1, 1)$$), 1, 5), '42501', 'only the proxy claims');
SELECT is(as_login('t_proxy', $$SELECT count(*) FROM north.claim('w', 1, 1, 1)$$), '0', 'and it does');
SELECT throws_ok($$SELECT north.claim('w', 0, 1, 1)$$, '22023', NULL, 'at least one');
SELECT throws_ok($$SELECT north.claim('w', 1, 0, 1)$$, '22023', NULL, 'of a device too');
SELECT throws_ok($$SELECT north.claim('w', 1, 1, 1e9)$$, '22023', NULL, 'not for ever');
SELECT throws_ok($$SELECT north.claim('w', 1, 1, 1, NULL)$$, '22023', NULL, 'busy is a list');
SELECT is(north.next_due(), NULL, 'north.next_due: nothing');

-- Shares of devices.
SELECT pg_temp.want('a', 'a' || i, '{"v": 1}') FROM generate_series(1, 5) i \g /dev/null
SELECT pg_temp.want('b', 'b' || i, '{"v": 1}') FROM generate_series(1, 2) i \g /dev/null
SELECT is(north.next_due(), NULL, 'what is due already is not to come');
SELECT is(pg_temp.claim('w1', 10, 2, 30, ARRAY['b']), 2::bigint, 'north.claim: two of a device, none of one that is busy');
SELECT results_eq('SELECT name, gen, driver, target FROM held ORDER BY id', $$VALUES ('a1', 1::bigint, 'appliance', 'x'), ('a2', 1::bigint, 'appliance', 'x')$$, 'the oldest');
SELECT ok(north.next_due() BETWEEN 25 AND 30, 'a lease runs out');
SELECT is(pg_temp.claim('w2', 3, 2, 30), 3::bigint, 'at most so many in all');
SELECT is((SELECT count(DISTINCT id) FROM held), 5::bigint, 'nothing twice');
UPDATE net.device SET enabled = false WHERE device = 'a';
SELECT is(pg_temp.claim('w2', 10, 10, 30), (SELECT count(*) FROM north.command WHERE device = 'b' AND state = 'pending'), 'nothing of a device that is off');
UPDATE net.device SET enabled = true WHERE device = 'a';

-- A lease that ran out.
SELECT pg_temp.want('a', 'slow', '{"v": 1}') \g /dev/null
TRUNCATE held;
SELECT pg_temp.claim('w1', 10, 10, 30) \g /dev/null
UPDATE north.command SET leased_until = clock_timestamp() - interval '1 s' WHERE name = 'slow';
SELECT is(pg_temp.claim('w2', 10, 10, 30), 1::bigint, 'it is taken by another');
SELECT is((SELECT north.ack(id, lease, '{"v": 1}') FROM held WHERE name = 'slow' ORDER BY lease LIMIT 1), false, 'and the first cannot answer for it');
SELECT pg_temp.want('a', 'slow', '{"v": 2}') \g /dev/null
UPDATE north.command SET leased_until = clock_timestamp() - interval '1 s' WHERE name = 'slow' AND state = 'leased';
TRUNCATE held;
SELECT is(pg_temp.claim('w2', 10, 10, 30), 1::bigint, 'of two for one object');
SELECT is(pg_temp.state('slow'), '1 superseded, 2 leased', 'only the newer is sent');
SELECT is((SELECT north.ack(id, lease, '{"v": 2}') FROM held WHERE name = 'slow'), true, 'and answered for');

-- The full check.
CREATE TEMPORARY TABLE since AS SELECT clock_timestamp() AS at;
SELECT results_eq($$SELECT name FROM north.wanted('a')$$, $$VALUES ('slow')$$, 'north.wanted: not those with a command under way');
SELECT is(north.report('a', 'param', 'a1', '{"v": 9}', 1, (SELECT at FROM since)), false, 'north.report: nothing of an object with a command under way');
SELECT is(north.report('a', 'param', 'slow', '{"v": 9}', 2, '2020-01-01'), false, 'nothing that was seen before the mirror knew better');
SELECT is((SELECT observed FROM net.object WHERE name = 'slow'), '{"v": 2}', 'which stays');
SELECT is(north.report('a', 'param', 'slow', '{"v": 9}', 2, (SELECT at FROM since)), true, 'else it counts');
SELECT is((SELECT reason FROM net.drift WHERE name = 'slow'), 'differs', 'and shows as drift');
SELECT is(north.checked('a', 'w', 'no answer'), 0, 'north.checked: a check that failed mends nothing');
SELECT is((SELECT error FROM north.health WHERE device = 'a'), 'no answer', 'and says why');
SELECT is(north.checked('a', 'w'), 1, 'one that went well does');
SELECT is(pg_temp.state('slow'), '1 superseded, 2 done, 3 pending', 'by a new generation');
SELECT results_eq($$SELECT objects, drift, pending, failed, error FROM north.device_status WHERE device = 'a'$$, $$VALUES (6::bigint, 6::bigint, 6::bigint, 0::bigint, NULL::text)$$, 'north.device_status has it all');

-- A person asks.
UPDATE north.command SET state = 'failed', lease = NULL WHERE name = 'a1';
SELECT is(substr(as_login('t_viewer', $$SELECT north.ask_check('a')$$), 1, 5), '42501', 'viewers look on');
SELECT is(as_login('t_operator', $$SELECT north.ask_check('a')$$), '1', 'north.ask_check: what has failed is tried again');
SELECT throws_ok($$SELECT north.ask_check('none')$$, '42704', NULL, 'of devices that there are');
SELECT is(as_login('wt_t_red', $$SELECT count(*) FROM north.health$$), '0', 'tenants see their own');

-- Blocks whose time is over.
SELECT is(north.sweep(), 0::bigint, 'north.sweep: nothing');
INSERT INTO net.block (device, prefix, hold, over_at) VALUES ('a', '198.51.100.0/24', '1 s', clock_timestamp() - interval '2 s'), ('a', '203.0.113.0/24', '1 h', clock_timestamp());
SELECT is(as_login('t_proxy', 'SELECT north.sweep()'), '1', 'what was silent for its time');
SELECT results_eq('SELECT prefix FROM net.block', $$VALUES ('203.0.113.0/24'::cidr)$$, 'and nothing else');
SELECT is((SELECT e.op FROM prov.event e JOIN prov.event d ON d.cause = e.id WHERE d.op = 'delete' AND d.object = 'net.block'), 'sweep', 'with its reason');
SELECT * FROM finish();
ROLLBACK;
