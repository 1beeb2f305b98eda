BEGIN;
SELECT plan(49);
INSERT INTO net.device (device, driver, tenant) VALUES ('nic', 'appliance', 'system'), ('redk', 'kubernetes', 'red');
CREATE FUNCTION pg_temp.want(p_name text, p_body jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO net.object AS o (device, kind, name, tenant, desired) VALUES ('nic', 'param', p_name, 'system', p_body)
    ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired $$;
CREATE FUNCTION pg_temp.state(p_name text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(gen || ' ' || state, ', ' ORDER BY gen) FROM north.command WHERE name = p_name $$;
CREATE TEMPORARY TABLE held (id bigint, lease bigint, gen bigint, name text, attempts int);

-- Outbox.
SELECT pg_temp.want('a', '{"v": 1}') \g /dev/null
SELECT is(pg_temp.state('a'), '1 pending', 'a desired change is a command in the same transaction');
SELECT pg_temp.want('a', '{"v": 1}') \g /dev/null
SELECT is(pg_temp.state('a'), '1 pending', 'asking for the same again is none');
SELECT pg_temp.want('a', '{"v": 2}') \g /dev/null
SELECT is(pg_temp.state('a'), '1 superseded, 2 pending', 'a newer one supersedes what waits');
SELECT is((SELECT count(*) FROM prov.event e JOIN north.command k ON k.event = e.id WHERE k.name = 'a' AND e.op = 'command' AND e.cause IN (SELECT id FROM prov.event WHERE object = 'net.object')), 2::bigint, 'its event is caused by the change');
DO $$ BEGIN PERFORM pg_temp.want('undone', '{}'); RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT is(pg_temp.state('undone'), NULL, 'a change that is undone leaves none');

-- Leases.
SELECT is(substr(as_login('t_viewer', $$SELECT count(*) FROM north.lease('w')$$), 1, 5), '42501', 'only the proxy leases');
SELECT throws_ok($$SELECT north.lease('w', 0)$$, '22023', NULL, 'at least one');
SELECT throws_ok($$SELECT north.lease('w', 1, 1e9)$$, '22023', NULL, 'not for ever');
INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w1');
SELECT results_eq('SELECT gen, name, attempts FROM held', $$VALUES (2::bigint, 'a', 1)$$, 'north.lease: what is due');
SELECT is_empty($$SELECT * FROM north.lease('w2')$$, 'once');
SELECT pg_temp.want('a', '{"v": 3}') \g /dev/null
SELECT is(pg_temp.state('a'), '1 superseded, 2 leased, 3 pending', 'what is under way is not superseded');
SELECT is_empty($$SELECT * FROM north.lease('w2')$$, 'and the next for its key waits');
SELECT ok((SELECT north.renew(id, lease) FROM held), 'north.renew: a lease that holds');
SELECT ok(NOT (SELECT north.renew(id, lease + 1) FROM held), 'not with another token');
SELECT ok(NOT (SELECT north.ack(id, lease + 1, '{"v": 2}') FROM held), 'north.ack: not with another token');
SELECT is((SELECT op FROM prov.event ORDER BY id DESC LIMIT 1), 'stale', 'which is noted');
SELECT is((SELECT observed_gen FROM net.object WHERE name = 'a'), 0::bigint, 'and changes nothing');
SELECT ok((SELECT north.ack(id, lease, '{"v": 2}') FROM held), 'north.ack: with its own');
SELECT results_eq($$SELECT observed, observed_gen FROM net.object WHERE name = 'a'$$, $$VALUES ('{"v": 2}'::jsonb, 2::bigint)$$, 'what the device is now is observed');
SELECT is((SELECT reason FROM net.drift WHERE name = 'a'), 'pending', 'generation 3 is still to come');
SELECT ok(NOT (SELECT north.ack(id, lease, '{}') FROM held), 'once');
SELECT ok((SELECT count(*) FROM prov.story((SELECT max(id) FROM prov.event WHERE op = 'device')) s WHERE s.on_path AND (s.event).op IN ('device', 'command', 'update')) = 3, 'the answer leads back to the change');

-- Fencing: a lease that ran out.
TRUNCATE held;
INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w1', 1, 0.05);
SELECT pg_sleep(0.06) \g /dev/null
INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w2', 1, 0.05);
SELECT ok(NOT (SELECT north.renew(id, lease) FROM held ORDER BY lease LIMIT 1), 'a lease that ran out and was taken cannot be renewed');
SELECT results_eq('SELECT gen, attempts FROM held ORDER BY lease', 'VALUES (3::bigint, 1), (3, 2)', 'another takes it');
SELECT ok(NOT (SELECT north.ack(id, lease, '{"v": 3}') FROM held ORDER BY lease LIMIT 1), 'the first cannot acknowledge any more');
SELECT is((SELECT north.nack(id, lease, 'x') FROM held ORDER BY lease LIMIT 1), NULL, 'nor refuse');
SELECT pg_sleep(0.06) \g /dev/null
SELECT ok((SELECT leased_until < clock_timestamp() FROM north.command WHERE name = 'a' AND gen = 3), 'that of the second has run out as well');
SELECT ok((SELECT north.renew(id, lease) FROM held ORDER BY lease DESC LIMIT 1), 'nobody has taken it: it can be renewed, and answered for');

-- Back-off.
SELECT is((SELECT north.nack(id, lease, 'busy') FROM held ORDER BY lease DESC LIMIT 1), 'pending', 'north.nack: it waits');
SELECT ok((SELECT next_at > clock_timestamp() + interval '100 ms' AND next_at < clock_timestamp() + interval '250 ms' AND error = 'busy' FROM north.command WHERE name = 'a' AND gen = 3), '0.2 s after the second attempt');
SELECT is_empty($$SELECT * FROM north.lease('w')$$, 'and is not due');
SELECT results_eq('SELECT north.backoff(n) FROM unnest(ARRAY[0, 1, 2, 10, 11, 1000000]) n', $$VALUES (interval '0.1 s'), ('0.1 s'), ('0.2 s'), ('51.2 s'), ('60 s'), ('60 s')$$, 'north.backoff: doubled up to 60 s');
UPDATE north.command SET next_at = now(), attempts = north.attempts_max() - 1 WHERE name = 'a' AND gen = 3;
TRUNCATE held; INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w');
SELECT is((SELECT north.nack(id, lease, 'gone') FROM held), 'failed', 'after the last attempt it has failed');
SELECT results_eq('SELECT name, error FROM north.failed', $$VALUES ('a', 'gone')$$, 'visibly');
SELECT is((SELECT error FROM net.drift WHERE name = 'a'), 'gone', 'and in the drift');
SELECT is(north.reconcile(), 0, 'north.reconcile: leaves what failed to a person');
SELECT is((SELECT commands FROM north.queue WHERE state = 'failed'), 1::bigint, 'north.queue counts it');
SELECT ok((SELECT north.retry(id) FROM held), 'north.retry: from the start');
TRUNCATE held; INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w');
SELECT is((SELECT north.nack(id, lease, 'no such thing', NULL, true) FROM held), 'failed', 'a final refusal fails at once');
SELECT pg_temp.want('a', '{"v": 4}') \g /dev/null
SELECT is(pg_temp.state('a'), '1 superseded, 2 done, 3 superseded, 4 pending', 'a newer wish supersedes what failed');
TRUNCATE held; INSERT INTO held SELECT id, lease, gen, name, attempts FROM north.lease('w');
SELECT ok((SELECT north.ack(id, lease, '{"v": 4}') FROM held), 'and is applied');

-- Level-triggered: what devices say of themselves.
SELECT is(north.reconcile(), 0, 'no drift, nothing to do');
SELECT north.observe('nic', 'param', 'a', '{"v": 666}', 4) \g /dev/null
SELECT is(north.reconcile('nic'), 1, 'a device that changed on its own');
SELECT is((SELECT gen || ' ' || body::text FROM north.command WHERE name = 'a' AND state = 'pending'), '5 {"v": 4}', 'is told again, with a new generation');
SELECT north.observe('nic', 'param', 'stray', '{"v": 1}', 0) \g /dev/null
SELECT is(north.reconcile(), 1, 'something that nobody asked for');
SELECT is((SELECT body FROM north.command WHERE name = 'stray'), NULL, 'is removed');
SELECT north.observe('nic', 'param', 'a', '{"v": 4}', 1000) \g /dev/null
SELECT is((SELECT observed_gen FROM net.object WHERE name = 'a'), 5::bigint, 'a device that lies about its generation is not believed');

UPDATE north.command SET ended_at = now() - interval '30 days' WHERE state IN ('done', 'superseded');
SELECT is(north.expire(), 4::bigint, 'north.expire: old ones go, the newest of a key stays');
SELECT is(as_login('wt_t_red', 'SELECT (SELECT count(*) FROM north.command) + (SELECT count(*) FROM north.failed) + (SELECT count(*) FROM north.queue)'), '0', 'a tenant does not see the commands of others');
SELECT * FROM finish();
ROLLBACK;
