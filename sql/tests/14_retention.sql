BEGIN;
SELECT plan(22);
CREATE TABLE public.thing (a int PRIMARY KEY, v int);
SELECT prov.track('public.thing') \g /dev/null
CREATE FUNCTION pg_temp.events(p_object text) RETURNS text[] LANGUAGE sql AS
    $$SELECT coalesce(array_agg(op ORDER BY id), '{}') FROM prov.event WHERE object = p_object$$;
-- So old as if it had happened then; the owner's trigger is off for that.
CREATE FUNCTION pg_temp.age(p interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = replica;
    UPDATE prov.event SET at = at - p;
    SET LOCAL session_replication_role = origin;
END $$;
CREATE FUNCTION pg_temp.expire_all(p_limit int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_all bigint := 0;
    v_below bigint;
    r record;
BEGIN
    LOOP
        SELECT * INTO r FROM prov.expire(NULL, v_below, p_limit);
        v_all := v_all + r.forgotten;
        v_below := r.lowest;
        EXIT WHEN v_below IS NULL;
    END LOOP;
    RETURN v_all;
END $$;

-- A row that changed and stays, one that is gone, and a story from an old cause to something new.
INSERT INTO public.thing VALUES (1, 1), (2, 1);
UPDATE public.thing SET v = 2 WHERE a = 1;
DELETE FROM public.thing WHERE a = 2;
SELECT prov.append('call', 'lab.old', p_procedure => 'lab.old') AS old_cause \gset
SELECT prov.append('call', 'lab.middle', p_link => :old_cause) AS middle \gset
INSERT INTO net.device (device, driver) VALUES ('d', 'http');
SELECT prov.push(:middle) \g /dev/null
INSERT INTO net.object (device, kind, name, tenant, desired) VALUES ('d', 'k', 'n', 'system', '{}');
SELECT prov.pop() \g /dev/null
SELECT prov.append('call', 'lab.alone') \g /dev/null
SELECT prov.append('call', 'lab.of_the_new') AS of_the_new \gset

SELECT results_eq('SELECT forgotten FROM prov.expire()', 'VALUES (0::bigint)', 'prov.expire: what is young stays');
SELECT pg_temp.age('400 days') \g /dev/null
SELECT prov.append('call', 'lab.new', p_link => :of_the_new) \g /dev/null
SELECT cmp_ok(pg_temp.expire_all(3), '>', 2::bigint, 'what is old goes, a few at a time');
SELECT pg_temp.expire_all(3) \g /dev/null
SELECT is(pg_temp.events('public.thing') @> ARRAY['update'], true, 'the newest word about a row that is there stays');
SELECT is(pg_temp.events('public.thing') && ARRAY['insert', 'delete'], false, 'older words, and those about a row that is gone, do not');
SELECT is(pg_temp.events('lab.alone'), '{}', 'a call that led to nothing goes');
SELECT is(pg_temp.events('lab.of_the_new'), ARRAY['call'], 'a cause of something young stays');
SELECT is(pg_temp.events('north.command') @> ARRAY['command'], true, 'a command that is listed stays');
SELECT is(pg_temp.events('lab.middle') || pg_temp.events('lab.old'), ARRAY['call', 'call'], 'with all its causes');
SELECT is((SELECT count(*) FROM prov.event e WHERE cause IS NOT NULL AND NOT EXISTS (SELECT FROM prov.event c WHERE c.id = e.cause)), 0::bigint, 'every cause that an event names is there');
SELECT is((SELECT bool_and((new ->> 'before')::timestamptz < now()) FROM prov.event WHERE op = 'expire'), true, 'forgetting is an event, with the time');
SELECT is(pg_temp.expire_all(100000), 0::bigint, 'once more: nothing');

-- Batches hold their events until they are trimmed themselves.
SELECT res.define('q', '[{"name": "n", "type": "bigint"}]') \g /dev/null
SELECT res.begin_batch('edge', 'q', 1, 0, 0), res.end_batch() \g /dev/null
SELECT pg_temp.age('400 days') \g /dev/null
SELECT pg_temp.expire_all(100000) \g /dev/null
SELECT is(pg_temp.events('result.q') @> ARRAY['batch'], true, 'the event of a batch that is listed stays');
DELETE FROM res.batch;
SELECT pg_temp.expire_all(100000) \g /dev/null
SELECT is(pg_temp.events('result.q') @> ARRAY['batch'], false, 'and goes with it');

-- Nobody else takes events away.
SELECT throws_ok('DELETE FROM prov.event', '42501', NULL, 'nobody deletes events');
SELECT throws_ok('UPDATE prov.event SET actor = $$x$$', '42501', NULL, 'or changes them');
SELECT set_config('prov.expiring', pg_current_xact_id()::text, true) \g /dev/null
SELECT throws_ok('DELETE FROM prov.event', '42501', NULL, 'also who says that it is forgetting');
SELECT throws_ok('TRUNCATE prov.event', '42501', NULL, 'or truncates them');
SELECT throws_ok($$SELECT prov.expire(now())$$, '22023', NULL, 'what has just happened is not forgotten');
SELECT throws_ok($$SELECT prov.expire(p_limit => 0)$$, '22023', NULL, 'nothing is no number of events');
SELECT is(substr(as_login('t_operator', 'SELECT prov.expire()'), 1, 5), '42501', 'administrators forget');
SELECT is(as_login('t_admin', 'UPDATE prov.setting SET keep_days = 30 RETURNING keep_days'), '30', 'and say how much');
SELECT is(substr(as_login('t_operator', 'UPDATE prov.setting SET keep_days = 1'), 1, 5), '42501', 'and nobody else');
SELECT * FROM finish();
ROLLBACK;
