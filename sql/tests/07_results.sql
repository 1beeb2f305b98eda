BEGIN;
SELECT plan(50);
-- Types.
SELECT is(wt.column_type('inet'), 'inet', 'wt.column_type: a type of the list');
SELECT throws_ok($$SELECT wt.column_type('int); DROP TABLE x; --')$$, '42704', NULL, 'and nothing else');
SELECT throws_ok('SELECT wt.column_type(NULL)', '42704', NULL, 'nor nothing');

-- Declaring.
CREATE FUNCTION pg_temp.cols() RETURNS jsonb LANGUAGE sql AS $$SELECT '[{"name": "at", "type": "timestamptz"}, {"name": "srcip", "type": "inet"}, {"name": "packets", "type": "bigint"}]'::jsonb$$;
SELECT is(res.define('flood', pg_temp.cols(), 'at', '7 days'), 'created', 'res.define: a new result');
SELECT is(res.define('flood', pg_temp.cols(), 'at'), 'unchanged', 'the same again');
SELECT columns_are('result', 'flood', ARRAY['wt_appliance', 'wt_epoch', 'wt_seq', 'wt_at', 'at', 'srcip', 'packets'], 'its columns follow those of the batch');
SELECT is((SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'result.flood'::regclass AND attnum > 4), 'timestamp with time zone inet bigint', 'with their types');
PREPARE drift AS SELECT res.define('flood', '[{"name": "at", "type": "timestamptz"}, {"name": "srcip", "type": "text"}]', 'at');
SELECT throws_ok('EXECUTE drift', 'WT002', 'the columns of result.flood have changed', 'another column list is refused');
DO $$
DECLARE d text;
BEGIN
    PERFORM res.define('flood', '[{"name": "srcip", "type": "text"}]');
EXCEPTION WHEN SQLSTATE 'WT002' THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
    PERFORM set_config('test.detail', d, true);
END $$;
SELECT is(current_setting('test.detail'), E'the table has   (at timestamptz, srcip inet, packets bigint)\nthe query gives (srcip text)', 'res.describe: with both definitions');
SELECT throws_ok($$SELECT res.define('x', '[]')$$, '22023', NULL, 'no columns');
SELECT throws_ok($$SELECT res.define('x', '"a"')$$, '22023', NULL, 'no list');
SELECT throws_ok($$SELECT res.define('x"y', '[{"name": "a", "type": "text"}]')$$, '42602', NULL, 'a bad name');
SELECT throws_ok($$SELECT res.define('x', '[{"name": "wt_at", "type": "text"}]')$$, '42602', NULL, 'a name that is taken');
SELECT throws_ok($$SELECT res.define('x', '[{"name": "a", "type": "text"}, {"name": "a", "type": "text"}]')$$, '42701', NULL, 'a name twice');
SELECT throws_ok($$SELECT res.define('x', '[{"name": "a", "type": "serial"}]')$$, '42704', NULL, 'a type that is not on the list');
SELECT throws_ok($$SELECT res.define('x', '[{"name": "a", "type": "text"}]', 'a')$$, '42703', NULL, 'a time column that is no time');
SELECT is(res.define('Odd; name', '[{"name": "count(*)", "type": "numeric(20,0)"}]'), 'created', 'names of queries and columns are names, not SQL');
SELECT throws_ok($$SELECT res.define('flood', pg_temp.cols(), 'at', NULL, 'red')$$, '42501', NULL, 'a result has one tenant');
SELECT throws_ok($$SELECT res.define('y', pg_temp.cols(), 'at', NULL, 'nobody')$$, '42704', NULL, 'that exists');

-- Exactly once.
CREATE FUNCTION pg_temp.send(p_epoch bigint, p_seq bigint, p_n int DEFAULT 3, p_at timestamptz DEFAULT '2026-11-26 12:00+00') RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF res.begin_batch('edge', 'flood', p_epoch, p_seq, p_n, p_at, p_at + interval '1 day', 0.99, '{"ring": 2}') THEN
        INSERT INTO result.flood SELECT 'edge', p_epoch, p_seq, p_at, p_at, '10.0.0.1', i FROM generate_series(1, p_n) i;
        PERFORM res.end_batch();
        RETURN true;
    END IF;
    RETURN false;
END $$;
CREATE FUNCTION public.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('test.fired', (coalesce(nullif(current_setting('test.fired', true), ''), '0')::int + 1)::text, true); RETURN NULL; END $$;
CREATE TRIGGER p_fired AFTER INSERT ON result.flood FOR EACH STATEMENT EXECUTE FUNCTION public.fired();
SELECT ok(pg_temp.send(1, 0), 'res.begin_batch: a new batch');
SELECT is(current_setting('test.fired'), '1', 'a statement trigger on the parent fires once');
SELECT ok(NOT pg_temp.send(1, 0), 'the same batch is not loaded again');
SELECT ok(pg_temp.send(1, 1), 'the next is');
SELECT ok(pg_temp.send(2, 0), 'so is the first of a new epoch');
SELECT ok(pg_temp.send(1, 2) AND NOT pg_temp.send(1, 1), 'epochs do not hinder each other');
SELECT is((SELECT count(*) FROM result.flood), 12::bigint, 'rows are there once');
DELETE FROM res.batch;
SELECT ok(NOT pg_temp.send(2, 0), 'the mark remembers what the batch list has forgotten');
SELECT throws_ok($$SELECT res.begin_batch('edge', 'nothing', 1, 1, 1)$$, '42P01', NULL, 'a result must be declared');
SELECT is(res.begin_batch('edge2', 'flood', 1, 0, 0), true, 'an empty batch counts, and needs no partition');
SELECT prov.pop() \g /dev/null

-- Provenance.
SELECT results_eq($$SELECT (s.event).op, (s.event).n FROM prov.story(prov.latest('result.flood', 'edge,2,0')) s$$, $$VALUES ('batch', 3::bigint)$$, 'a batch is one event, with its rows');
CREATE OR REPLACE FUNCTION public.fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO net.pods (pod_id) VALUES ('by trigger'); RETURN NULL; END $$;
SELECT pg_temp.send(2, 1) \g /dev/null
SELECT is((SELECT (s.event).keys[1] FROM prov.story(prov.latest('net.pods', 'by trigger')) s WHERE s.depth = 0), 'edge,2,1', 'and the cause of what its trigger does');
DROP TRIGGER p_fired ON result.flood;
INSERT INTO result.flood VALUES ('edge', 9, 9, '2026-11-26 12:00+00', now(), '10.0.0.1', 1);
SELECT results_eq('SELECT op, n, cause FROM prov.event ORDER BY id DESC LIMIT 1', $$VALUES ('insert', -1::bigint, NULL::bigint)$$, 'rows that come without a batch are an event of their own');
SELECT is(coalesce(current_setting('prov.stack', true), ''), '', 'and leave no cause behind');
DELETE FROM result.flood WHERE wt_epoch = 9 OR wt_seq = 1;
DELETE FROM res.batch WHERE epoch = 2 AND seq = 1;

-- Coverage.
SELECT pg_temp.send(3, 0, 5) \g /dev/null
SELECT res.put_gap('edge', 'flood', 3, 1, 'spool_full', NULL, NULL, 2, 20000), res.put_gap('edge', 'flood', 3, 1, 'spool_full', NULL, NULL, 2, 20000) \g /dev/null
SELECT results_eq($$SELECT batches, rows, completeness_min, gaps, rows_lost FROM res.coverage WHERE relation = 'flood' AND appliance_id = 'edge'$$, 'VALUES (1::bigint, 5::bigint, 0.99::real, 1::bigint, 20000::bigint)', 'res.put_gap, res.coverage: what is there and what is not');
SELECT is((SELECT lost FROM res.batch WHERE appliance_id = 'edge'), '{"ring": 2}', 'losses stand with the batch');
SELECT throws_ok($$SELECT res.put_gap('edge', 'flood', 1, 1, 'mood')$$, '23514', NULL, 'reasons are known');

-- Retention.
SELECT ok(pg_temp.send(4, 0, 2, '2026-01-01 00:00+00'), 'old rows have partitions too');
SELECT is(res.expire('2026-11-27 00:00+00'), 2, 'res.expire: partitions past their time');
SELECT is((SELECT min(wt_at)::date FROM result.flood), '2026-11-26'::date, 'are gone');
SELECT is((SELECT count(*) FROM res.batch WHERE epoch = 4), 0::bigint, 'with their batches');

-- Rights.
SELECT is(as_login('t_ingest', $$SELECT res.define('mine', '[{"name": "a", "type": "text"}]', NULL, NULL, 'red')$$), 'created', 'an appliance declares results');
SELECT is(substr(as_login('t_viewer', $$SELECT res.define('other', '[{"name": "a", "type": "text"}]')$$), 1, 5), '42501', 'a viewer does not');
SELECT is(substr(as_login('t_ingest', 'DELETE FROM result.mine'), 1, 5), '42501', 'an appliance deletes nothing');
SELECT is(as_login('wt_t_red', 'SELECT count(*) FROM result.mine'), '0', 'a tenant reads its results');
SELECT is(substr(as_login('wt_t_blue', 'SELECT count(*) FROM result.mine'), 1, 5), '42501', 'and not those of others');
SELECT is(as_login('wt_t_blue', 'SELECT (SELECT count(*) FROM res.relation) + (SELECT count(*) FROM res.batch) + (SELECT count(*) FROM res.gap) + (SELECT count(*) FROM res.coverage)'), '0', 'nor of their being there');
SELECT is(as_login('wt_t_red', 'SELECT count(*) FROM res.relation'), '1', 'its own are listed');

SELECT lives_ok($$SELECT res.drop('flood')$$, 'res.drop');
SELECT is(res.define('flood', '[{"name": "a", "type": "text"}]'), 'created', 'frees the name');
SELECT throws_ok($$SELECT res.drop('none')$$, '42P01', NULL, 'of a result that is there');
SELECT * FROM finish();
ROLLBACK;
