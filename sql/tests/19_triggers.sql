-- What follows by itself: the triggers of each table, and that of each table that is logged every change is one event, whose cause ends with it.
BEGIN;
SELECT plan(48);

-- The triggers of a table, each with its time, events, level and function; names that are there and not expected.
CREATE FUNCTION pg_temp.fires(p_schema text, p_table text, p_names text[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(CASE WHEN t.tgname = ANY (p_names) THEN '' ELSE 'and ' END || format('%s %s %s %s %s', t.tgname, CASE WHEN t.tgtype & 2 > 0 THEN 'before' ELSE 'after' END,
            concat_ws('+', CASE WHEN t.tgtype & 4 > 0 THEN 'insert' END, CASE WHEN t.tgtype & 16 > 0 THEN 'update' END, CASE WHEN t.tgtype & 8 > 0 THEN 'delete' END, CASE WHEN t.tgtype & 32 > 0 THEN 'truncate' END),
            CASE WHEN t.tgtype & 1 > 0 THEN 'row' ELSE 'statement' END, t.tgfoid::regproc), '; ' ORDER BY t.tgname)
    FROM pg_trigger t WHERE t.tgrelid = format('%I.%I', p_schema, p_table)::regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D'
$$;

-- What is logged of a table when its rows that meet a condition are written as they are, deleted, put back, and the table is emptied; nothing of it stays. The causes that have
-- not ended, should there be any, stand at the end.
CREATE FUNCTION pg_temp.logs(p_schema text, p_table text, p_where text DEFAULT 'true') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_table regclass := format('%I.%I', p_schema, p_table)::regclass;
    v_columns text;
    v_first text;
    v_start bigint;
    v_said text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum), min(quote_ident(attname)) FILTER (WHERE attidentity = '') INTO v_columns, v_first
    FROM pg_attribute WHERE attrelid = v_table AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    BEGIN
        EXECUTE format('CREATE TEMPORARY TABLE kept AS SELECT %s FROM %s WHERE %s', v_columns, v_table, p_where);
        SELECT coalesce(max(id), 0) INTO v_start FROM prov.event;
        EXECUTE format('UPDATE %1$s SET %2$s = %2$s WHERE %3$s', v_table, v_first, p_where);
        EXECUTE format('UPDATE %1$s SET %2$s = %2$s WHERE false', v_table, v_first);
        EXECUTE format('DELETE FROM %s WHERE %s', v_table, p_where);
        EXECUTE format('INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM kept', v_table, v_columns);
        SET CONSTRAINTS ALL IMMEDIATE;
        EXECUTE format('TRUNCATE %s CASCADE', v_table);
        SELECT string_agg(op || ' ' || n, ', ' ORDER BY id) || coalesce(' left ' || nullif(current_setting('prov.stack', true), ''), '') INTO v_said
        FROM prov.event WHERE id > v_start AND object = p_schema || '.' || p_table;
        RAISE EXCEPTION USING ERRCODE = 'WT999', MESSAGE = coalesce(v_said, 'nothing');
    EXCEPTION WHEN SQLSTATE 'WT999' THEN
        RETURN SQLERRM;
    END;
END $$;

-- A row in each, or one more than what others refer to.
INSERT INTO net.device (device, driver) VALUES ('d1', 'linux'), ('lone', 'linux');
INSERT INTO net.object (device, kind, name) VALUES ('d1', 'route', 'x');
INSERT INTO net.block (device, prefix) VALUES ('d1', '198.18.0.0/24');
INSERT INTO net.never_block (prefix, reason) VALUES ('203.0.113.0/24', 'ours');
INSERT INTO net.pods (pod_id) VALUES ('p1'), ('lone');
INSERT INTO net.nodes (node_id, pod_id) VALUES ('n1', 'p1');
INSERT INTO prov.version (object, version, digest, definition) VALUES ('x', 1, '\x00', 'x');
SELECT wt.create_schema('lab'), wt.create_schema('lone') \g /dev/null
SELECT wt.create_table('lab', 'own', '[{"name": "a", "type": "bigint", "primaryKey": true}]') \g /dev/null
SELECT wt.create_procedure('lab', 'p', '[{"name": "new_rows", "type": "jsonb"}]', 'BEGIN NULL; END') \g /dev/null
SELECT wt.create_trigger('lab', 'own', 't', '{insert,update}', 'lab.p') \g /dev/null
INSERT INTO lab.own VALUES (1);
INSERT INTO res.relation (relation, columns) VALUES ('r1', '[]'), ('lone', '[]');
INSERT INTO res.gap (appliance_id, relation, epoch, seq, reason) VALUES ('a', 'r1', 1, 1, 'crash');
INSERT INTO otel.resource (attributes) VALUES ('{"i": 1}');
SELECT wt.ensure_days('otel.span', '2026-01-01', '2026-01-01'), wt.ensure_days('otel.log', '2026-01-01', '2026-01-01'), wt.ensure_days('otel.metric', '2026-01-01', '2026-01-01') \g /dev/null
INSERT INTO otel.span (trace_id, span_id, start_ns, end_ns, resource_id, name) VALUES (decode(repeat('01', 16), 'hex'), decode(repeat('01', 8), 'hex'), 1767268800000000000, 1767268800000000000, 1, 'x');
INSERT INTO otel.log (time_ns, digest, resource_id) VALUES (1767268800000000000, sha256('x'), 1);
INSERT INTO otel.metric (time_ns, digest, resource_id, name, kind) VALUES (1767268800000000000, sha256('x'), 1, 'x', 'gauge');

\set logged 'a_prov_delete after delete statement prov.log_change; a_prov_insert after insert statement prov.log_change; a_prov_update after update statement prov.log_change; zz_prov after insert+update+delete+truncate statement prov.log_end'
SELECT is(pg_temp.fires('net', 'auto_scalers', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'net.auto_scalers');
SELECT is(pg_temp.logs('net', 'auto_scalers'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'block', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'check_block', 'device', 'm_delete', 'm_insert', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_insert after insert statement prov.log_change; a_prov_update after update statement prov.log_change; check_block before insert row net.check_block; device before insert+update row net.check_device; m_delete after delete statement net.blocks_changed; m_insert after insert statement net.blocks_changed; zz_prov after insert+update+delete+truncate statement prov.log_end', 'net.block');
SELECT is(pg_temp.logs('net', 'block'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'device', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'net.device');
SELECT is(pg_temp.logs('net', 'device', 'device = ''lone'''), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'load_balancers', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'net.load_balancers');
SELECT is(pg_temp.logs('net', 'load_balancers'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'never_block', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'net.never_block');
SELECT is(pg_temp.logs('net', 'never_block'), 'update 4, delete 4, insert 4, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'nodes', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'device', 'm_delete', 'm_insert', 'm_update', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_insert after insert statement prov.log_change; a_prov_update after update statement prov.log_change; device before insert+update row net.check_device; m_delete after delete statement net.nodes_changed; m_insert after insert statement net.nodes_changed; m_update after update statement net.nodes_changed; zz_prov after insert+update+delete+truncate statement prov.log_end', 'net.nodes');
SELECT is(pg_temp.logs('net', 'nodes'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'object', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'device', 'generation', 'm_north_insert', 'm_north_update', 'm_observed', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_insert after insert statement prov.log_change; a_prov_update after update statement prov.log_change; device before insert+update row net.check_device; generation before insert+update row net.raise_generation; m_north_insert after insert statement north.enqueue; m_north_update after update statement north.enqueue; m_observed after update statement net.objects_observed; zz_prov after insert+update+delete+truncate statement prov.log_end', 'net.object');
SELECT is(pg_temp.logs('net', 'object'), 'update 2, delete 2, insert 2, truncate -1', 'its log');
SELECT is(pg_temp.fires('net', 'pods', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'net.pods');
SELECT is(pg_temp.logs('net', 'pods', 'pod_id = ''lone'''), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('north', 'command', ARRAY['assertions']), 'assertions after insert row wt.check_assertions', 'north.command');
SELECT is(pg_temp.fires('otel', 'log', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'otel.log');
SELECT is(pg_temp.logs('otel', 'log'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('otel', 'metric', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'otel.metric');
SELECT is(pg_temp.logs('otel', 'metric'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('otel', 'setting', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'otel.setting');
SELECT is(pg_temp.logs('otel', 'setting'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('otel', 'span', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'otel.span');
SELECT is(pg_temp.logs('otel', 'span'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('prov', 'event', ARRAY['append_only']), 'append_only before update+delete+truncate statement prov.refuse_change', 'prov.event');
SELECT is(pg_temp.fires('prov', 'setting', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'prov.setting');
SELECT is(pg_temp.logs('prov', 'setting'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('prov', 'version', ARRAY['append_only']), 'append_only before update+delete+truncate statement prov.refuse_change', 'prov.version');
SELECT is(pg_temp.fires('res', 'gap', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'res.gap');
SELECT is(pg_temp.logs('res', 'gap'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('res', 'relation', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'res.relation');
SELECT is(pg_temp.logs('res', 'relation', 'relation = ''lone'''), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('sec', 'limits', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'sec.limits');
SELECT is(pg_temp.logs('sec', 'limits'), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('sec', 'tenant', ARRAY['a_prov_delete', 'a_prov_insert', 'a_prov_update', 'zz_prov']), :'logged', 'sec.tenant');
SELECT is(pg_temp.logs('sec', 'tenant', 'tenant = ''blue'''), 'update 1, delete 1, insert 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('wt', 'namespace', ARRAY['a_prov_delete', 'a_prov_update', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_update after update statement prov.log_change; zz_prov after update+delete+truncate statement prov.log_end', 'wt.namespace');
SELECT is(pg_temp.logs('wt', 'namespace', 'schema = ''lone'''), 'update 1, delete 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('wt', 'policy', ARRAY['a_prov_delete', 'a_prov_update', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_update after update statement prov.log_change; zz_prov after update+delete+truncate statement prov.log_end', 'wt.policy');
SELECT is(pg_temp.logs('wt', 'policy'), 'update 1, delete 1, truncate -1', 'its log');
SELECT is(pg_temp.fires('wt', 'procedure', ARRAY['a_prov_delete', 'a_prov_update', 'zz_prov']), 'a_prov_delete after delete statement prov.log_change; a_prov_update after update statement prov.log_change; zz_prov after update+delete+truncate statement prov.log_end', 'wt.procedure');
SELECT is(pg_temp.logs('wt', 'procedure'), 'update 1, delete 1, truncate -1', 'its log');
-- The table of a query's results: its rows have their batch as cause.
SELECT res.define('flows', '[{"name": "time", "type": "timestamptz"}, {"name": "n", "type": "bigint"}]', 'time') \g /dev/null
SELECT matches(pg_temp.fires('result', 'flows', ARRAY['a_prov_insert']), '^and a_prov_delete .*; a_prov_insert after insert statement prov.log_batch; and a_prov_update ', 'result tables count nothing');

-- Commands that make and drop things.
SELECT is((SELECT string_agg(concat_ws(' ', evtname, evtevent, evtfoid::regproc), ', ' ORDER BY evtname) FROM pg_event_trigger),
    'wt_log_ddl ddl_command_end prov.log_ddl, wt_log_drop sql_drop prov.log_drop, wt_refuse_ddl ddl_command_start prov.refuse_ddl', 'three look at commands');
CREATE TABLE public.made (a int);
DROP TABLE public.made;
SELECT results_eq($$SELECT op, object FROM prov.event WHERE object = 'public.made' ORDER BY id$$, $$VALUES ('CREATE TABLE', 'public.made'), ('DROP TABLE', 'public.made')$$, 'each is an event');
SELECT matches(as_login('wt_t_red', 'CREATE TEMPORARY TABLE mine (a int)'), 'is refused for tenant "red"', 'tenants make nothing themselves');
SELECT is((SELECT count(*) FROM prov.event WHERE forged), 0::bigint, 'and no cause was a false one');
SELECT * FROM finish();
ROLLBACK;
