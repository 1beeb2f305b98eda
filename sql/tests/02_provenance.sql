BEGIN;
SELECT plan(41);
CREATE TABLE public.thing (a int, b text, v int, PRIMARY KEY (a, b));
SELECT prov.track('public.thing') \g /dev/null
CREATE TABLE public.bulk (v int);
SELECT prov.track('public.bulk', 'count') \g /dev/null
SELECT throws_ok($$SELECT prov.track('public.bulk', 'all')$$, '22023', NULL, 'prov.track: detail is rows, count or batch');
CREATE FUNCTION pg_temp.last() RETURNS prov.event LANGUAGE sql AS 'SELECT e FROM prov.event e ORDER BY id DESC LIMIT 1';

-- Change logging.
INSERT INTO public.thing VALUES (1, 'x', 10), (2, 'y', 20);
SELECT is((pg_temp.last()).op, 'insert', 'an insert is an event');
SELECT is((pg_temp.last()).n, 2::bigint, 'one for the statement, with the number of rows');
SELECT is((pg_temp.last()).keys, ARRAY['1,x', '2,y'], 'their keys');
SELECT is((pg_temp.last()).new -> 1 ->> 'v', '20', 'and values');
SELECT is((pg_temp.last()).login, session_user, 'who did it');
SELECT is((pg_temp.last()).txid, pg_current_xact_id(), 'in which transaction');
SELECT is((pg_temp.last()).cause, NULL, 'nothing caused it');
UPDATE public.thing SET v = v + 1 WHERE a = 1;
SELECT results_eq($$SELECT (l).op, (l).old -> 0 ->> 'v', (l).new -> 0 ->> 'v' FROM pg_temp.last() l$$, $$VALUES ('update', '10', '11')$$, 'an update has old and new values');
DELETE FROM public.thing WHERE a = 2;
SELECT results_eq($$SELECT (l).op, (l).old -> 0 ->> 'v', (l).new FROM pg_temp.last() l$$, $$VALUES ('delete', '20', NULL::jsonb)$$, 'a delete has old ones');
CREATE TEMPORARY TABLE mark AS SELECT max(id) AS id FROM prov.event;
UPDATE public.thing SET v = 0 WHERE a = 99;
SELECT is((pg_temp.last()).id, (SELECT id FROM mark), 'a statement that changes nothing is no event');
INSERT INTO public.thing VALUES (1, 'x', 5), (3, 'z', 5) ON CONFLICT (a, b) DO UPDATE SET v = excluded.v;
SELECT results_eq('SELECT op, n FROM prov.event WHERE id > (SELECT id FROM mark) ORDER BY op', $$VALUES ('insert', 1::bigint), ('update', 1)$$, 'an upsert is both');
SELECT is(coalesce(current_setting('prov.stack', true), ''), '', 'the stack is empty after each statement');
INSERT INTO public.bulk SELECT generate_series(1, 1000);
SELECT results_eq('SELECT (l).n, (l).keys, (l).new FROM pg_temp.last() l', 'VALUES (1000::bigint, NULL::text[], NULL::jsonb)', 'with `count`, the number alone');
TRUNCATE public.bulk;
SELECT is((pg_temp.last()).op, 'truncate', 'TRUNCATE is an event');

-- Causes.
CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.bulk VALUES (1);
    UPDATE public.thing SET v = 1 WHERE a = 99;
    INSERT INTO public.bulk VALUES (2);
    RETURN NULL;
END $$;
CREATE TRIGGER p_follow AFTER INSERT ON public.thing FOR EACH STATEMENT EXECUTE FUNCTION public.follow();
DELETE FROM mark; INSERT INTO mark SELECT max(id) FROM prov.event;
INSERT INTO public.thing VALUES (4, 'w', 0);
SELECT results_eq($$SELECT object, cause IS NOT DISTINCT FROM (SELECT min(id) FROM prov.event WHERE id > (SELECT id FROM mark)) FROM prov.event WHERE id > (SELECT id FROM mark) ORDER BY id$$,
    $$VALUES ('public.thing', false), ('public.bulk', true), ('public.bulk', true)$$, 'what a trigger does is caused by its statement, the second as the first');
SELECT is((SELECT array_agg(s.depth ORDER BY s.path) FROM prov.story(prov.latest('public.thing', '4,w')) s), ARRAY[0, 1, 1], 'prov.story: the event and its effects');
SELECT is((SELECT count(*) FROM prov.story((pg_temp.last()).id) s WHERE s.on_path), 2::bigint, 'prov.story: from an effect up to its root');
SELECT is(prov.latest('public.thing', 'nothing'), NULL, 'prov.latest: no such row');
SELECT is(prov.export((pg_temp.last()).id) #>> ARRAY['wasInformedBy', '_:c' || (pg_temp.last()).id, 'prov:informant'], 'wt:event-' || (pg_temp.last()).cause, 'prov.export: causes in the names of W3C PROV');
SELECT is((SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(prov.export((pg_temp.last()).id)) k),
    ARRAY['activity', 'agent', 'entity', 'prefix', 'used', 'wasAssociatedWith', 'wasGeneratedBy', 'wasInformedBy', 'wasInvalidatedBy'], 'and all of its parts');
SELECT is(prov.local_name('nic,2001:db8::/32 ü'), 'nic%2C2001%3Adb8%3A%3A/32%20%C3%BC', 'prov.local_name: what may stand in a qualified name');
SELECT is(prov.local_name(''), '', 'and nothing of nothing');

-- An error takes the stack back with its subtransaction.
DO $$
BEGIN
    PERFORM prov.push(1);
    RAISE EXCEPTION 'x';
EXCEPTION WHEN OTHERS THEN NULL;
END $$;
SELECT is(prov.top(), NULL, 'a rolled-back subtransaction leaves no cause');
SELECT prov.push(5), prov.push(7) \g /dev/null
SELECT is(prov.top(), 7::bigint, 'prov.push, prov.top');
SELECT prov.pop() \g /dev/null
SELECT is(prov.top(), 5::bigint, 'prov.pop');
SELECT prov.pop() \g /dev/null
SELECT is(prov.top(), NULL, 'and is empty again');
SELECT prov.pop() \g /dev/null
SELECT pass('popping the empty stack is harmless');

-- Forged causes.
SELECT throws_ok('UPDATE prov.event SET forged = false', '42501', NULL, 'events do not change');
SELECT throws_ok('DELETE FROM prov.event', '42501', NULL, 'nor go away');
SELECT throws_ok('TRUNCATE prov.event', '42501', NULL, 'nor all at once');
SELECT throws_ok('DELETE FROM prov.version', '42501', NULL, 'nor do versions');
SELECT set_config('prov.stack', '1', true) \g /dev/null
INSERT INTO public.bulk VALUES (3);
SELECT results_eq('SELECT (l).cause, (l).forged FROM pg_temp.last() l', 'VALUES (NULL::bigint, true)', 'a cause of another transaction is dropped and flagged');
SELECT set_config('prov.stack', 'rubbish; DROP TABLE x', true) \g /dev/null
INSERT INTO public.bulk VALUES (3);
SELECT results_eq('SELECT (l).cause, (l).forged FROM pg_temp.last() l', 'VALUES (NULL::bigint, true)', 'so is one that is no number');
SELECT set_config('prov.stack', '', true) \g /dev/null
SELECT is(substr(as_login('t_operator', $$SELECT prov.append('x', 'y')$$), 1, 5), '42501', 'nobody appends events by hand');
SELECT is(substr(as_login('t_admin', $$INSERT INTO prov.event (op, object) VALUES ('x', 'y')$$), 1, 5), '42501', 'nor an administrator');

-- DDL.
CREATE FUNCTION public.versioned() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT results_eq('SELECT (l).op, (l).object, (l).version FROM pg_temp.last() l', $$VALUES ('CREATE FUNCTION', 'public.versioned()', 1)$$, 'DDL is an event');
CREATE OR REPLACE FUNCTION public.versioned() RETURNS int LANGUAGE sql AS 'SELECT 2';
SELECT is((SELECT version FROM prov.version WHERE object = 'public.versioned()' AND definition LIKE '%SELECT 2%'), 2, 'a new definition is a new version');
DROP FUNCTION public.versioned();
SELECT results_eq('SELECT (l).op, (l).object FROM pg_temp.last() l', $$VALUES ('DROP FUNCTION', 'public.versioned()')$$, 'a drop is an event');

-- Who looks.
INSERT INTO net.pods (pod_id, tenant) VALUES ('pr', 'red'), ('pb', 'blue');
INSERT INTO net.pods (pod_id, tenant) VALUES ('pr2', 'red');
SELECT is(as_login('wt_t_red', $$SELECT array_agg(DISTINCT tenant) FROM prov.event$$), '{red}', 'a tenant sees the events that concern it');
SELECT is(prov.key_of('{"a": 1, "b": null, "c": "x"}', ARRAY['c', 'b', 'a']), 'x,,1', 'prov.key_of: columns in order, NULL as nothing');
SELECT * FROM finish();
ROLLBACK;
