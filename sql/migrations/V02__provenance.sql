-- Provenance: what happened, why, and who did it (DBNet §1, §3.1).
--
-- prov.event is append-only. Every row names the event that caused it, so one recursive query walks from a device action back to
-- the result row that started it.
--
-- The current cause is the top of a stack of event ids, kept in the setting `prov.stack` of the transaction. Each statement on a
-- logged table runs, in the order of their names, `a_prov_*` (append an event, push it), the policies `p_*` (which therefore have
-- that event as their cause), and `zz_prov` (pop). Calls of procedures push and pop likewise. A setting can be written by anyone, so
-- a cause counts only if it is an event of the same transaction; any other is dropped and the event is flagged `forged`. Causes
-- that lead from one transaction to another (a device's answer to a command) are passed by trusted functions alone.
--
-- Kept with each call are the version of the procedure, its arguments and the transaction id: enough to run a decision again.

SET LOCAL ROLE wt_owner;

CREATE TABLE prov.event (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cause     bigint,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    login     name NOT NULL DEFAULT session_user,
    actor     text NOT NULL DEFAULT sec.person(),
    tenant    text,
    procedure text,
    version   integer,
    op        text NOT NULL,
    object    text NOT NULL,
    keys      text[],
    n         bigint NOT NULL DEFAULT 1,
    old       jsonb,
    new       jsonb,
    forged    boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN prov.event.n IS 'Rows; -1: not counted';
COMMENT ON COLUMN prov.event.op IS 'insert, update, delete, truncate; call, trigger; batch; command, device; forbid; or the tag of a DDL command';
COMMENT ON COLUMN prov.event.keys IS 'Primary keys of the rows, components joined by a comma; NULL where only the number of rows is kept';
COMMENT ON COLUMN prov.event.new IS 'Rows after the change, arguments of a call, or what a device answered';
CREATE INDEX event_keys ON prov.event USING gin (keys) WHERE keys IS NOT NULL;
CREATE INDEX event_object ON prov.event (object, id);
CREATE INDEX event_cause ON prov.event (cause) WHERE cause IS NOT NULL;
CREATE INDEX event_at ON prov.event USING brin (at);

CREATE FUNCTION prov.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: it is append-only', TG_OP, TG_RELID::regclass
        USING ERRCODE = 'insufficient_privilege', HINT = 'What was recorded stays; correct it with a new event.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prov.event FOR EACH STATEMENT EXECUTE FUNCTION prov.refuse_change();

-- Every version of every function, as its event names it.
CREATE TABLE prov.version (
    object     text NOT NULL,
    version    integer NOT NULL,
    digest     bytea NOT NULL,
    definition text NOT NULL,
    login      name NOT NULL DEFAULT session_user,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (object, version)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prov.version FOR EACH STATEMENT EXECUTE FUNCTION prov.refuse_change();

-- The stack of causes; `-` stands for none.
CREATE FUNCTION prov.push(p_event bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v_stack text := coalesce(current_setting('prov.stack', true), '');
BEGIN
    -- About a hundred deep: a policy triggers itself.
    IF length(v_stack) > 1000 THEN
        RAISE EXCEPTION 'policies trigger each other without end'
            USING ERRCODE = 'statement_too_complex', HINT = 'Give the trigger a condition that stops holding, or compare old and new rows.';
    END IF;
    PERFORM set_config('prov.stack', CASE v_stack WHEN '' THEN '' ELSE v_stack || ',' END || coalesce(p_event::text, '-'), true);
END $$;

CREATE FUNCTION prov.pop() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('prov.stack', regexp_replace(coalesce(current_setting('prov.stack', true), ''), ',?[^,]*$', ''), true);
END $$;

-- What the stack claims as cause; NULL where it is empty or no number.
CREATE FUNCTION prov.top() RETURNS bigint LANGUAGE sql STABLE
RETURN substring(current_setting('prov.stack', true) FROM '(?:^|,)([0-9]{1,18})$')::bigint;

-- Appends an event and returns its id. Trusted functions only; `p_link` is a cause in an earlier transaction.
CREATE FUNCTION prov.append(
    p_op text, p_object text, p_n bigint DEFAULT 1, p_keys text[] DEFAULT NULL, p_old jsonb DEFAULT NULL, p_new jsonb DEFAULT NULL,
    p_procedure text DEFAULT NULL, p_version integer DEFAULT NULL, p_tenant text DEFAULT NULL, p_link bigint DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_cause bigint := coalesce(p_link, prov.top());
    v_forged boolean := false;
    v_id bigint;
BEGIN
    IF p_link IS NULL THEN
        IF v_cause IS NOT NULL THEN
            v_forged := NOT EXISTS (SELECT FROM prov.event WHERE id = v_cause AND txid = pg_current_xact_id());
        ELSE
            v_forged := coalesce(current_setting('prov.stack', true), '') !~ '(^|,)-?$';
        END IF;
    END IF;
    INSERT INTO prov.event (cause, op, object, n, keys, old, new, procedure, version, tenant, forged)
    VALUES (CASE WHEN v_forged THEN NULL ELSE v_cause END, p_op, p_object, p_n, p_keys, p_old, p_new, p_procedure, p_version, p_tenant, v_forged)
    RETURNING id INTO v_id;
    RETURN v_id;
END $$;

-- The text form of a row's key: its key columns joined by commas.
CREATE FUNCTION prov.key_of(p_row jsonb, p_columns text[]) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg(coalesce(p_row ->> c, ''), ',' ORDER BY i) FROM unnest(p_columns) WITH ORDINALITY AS u (c, i));

-- The trigger functions of logged tables. Arguments: `rows` or `count`, then the key columns. With `rows` each row is kept, old and new;
-- with `count` (result tables, telemetry) their number, as the rows carry the key of their batch.
-- A key of one column, the usual case, saves a call. A statement that changed nothing appends nothing, and pushes the present cause again so that the pop finds its match.
CREATE FUNCTION prov.log_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_full boolean := TG_ARGV[0] = 'rows';
    v_columns text[] := array_remove(TG_ARGV[1:], NULL);
    v_n bigint;
    v_keys text[];
    v_old jsonb;
    v_new jsonb;
    v_tenant text;
    v_event bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF v_full THEN
            SELECT count(*), array_agg(CASE cardinality(v_columns) WHEN 1 THEN j ->> v_columns[1] ELSE prov.key_of(j, v_columns) END), jsonb_agg(j), min(j ->> 'tenant')
            INTO v_n, v_keys, v_new, v_tenant FROM (SELECT to_jsonb(n) AS j FROM new_rows n) s;
        ELSE
            SELECT count(*) INTO v_n FROM new_rows;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        IF v_full THEN
            SELECT count(*), array_agg(CASE cardinality(v_columns) WHEN 1 THEN j ->> v_columns[1] ELSE prov.key_of(j, v_columns) END), jsonb_agg(j), min(j ->> 'tenant')
            INTO v_n, v_keys, v_old, v_tenant FROM (SELECT to_jsonb(o) AS j FROM old_rows o) s;
        ELSE
            SELECT count(*) INTO v_n FROM old_rows;
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF v_full THEN
            SELECT count(*), array_agg(CASE cardinality(v_columns) WHEN 1 THEN j ->> v_columns[1] ELSE prov.key_of(j, v_columns) END), jsonb_agg(j), min(j ->> 'tenant')
            INTO v_n, v_keys, v_new, v_tenant FROM (SELECT to_jsonb(n) AS j FROM new_rows n) s;
            SELECT jsonb_agg(to_jsonb(o)) INTO v_old FROM old_rows o;
        ELSE
            SELECT count(*) INTO v_n FROM new_rows;
        END IF;
    ELSE
        v_n := -1;
    END IF;
    IF v_n = 0 THEN
        PERFORM prov.push(prov.top());
        RETURN NULL;
    END IF;
    v_event := prov.append(lower(TG_OP), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, v_n, v_keys, v_old, v_new, p_tenant => v_tenant);
    PERFORM prov.push(v_event);
    RETURN NULL;
END $$;

-- Inserts into a result table: its batch (V07) is an event already, and stands as the cause of what policies do. Counting the rows again would
-- need a transition table, which halves the rate of loading (bench: 10,000 rows in 31 ms instead of 16). Rows that come without a batch
-- are an event of their own.
CREATE FUNCTION prov.log_batch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_batch bigint := prov.top();
    v_object text := TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME;
BEGIN
    IF v_batch IS NULL OR NOT EXISTS (SELECT FROM prov.event WHERE id = v_batch AND txid = pg_current_xact_id() AND op = 'batch' AND object = v_object) THEN
        v_batch := prov.append('insert', v_object, -1);
    END IF;
    PERFORM prov.push(v_batch);
    RETURN NULL;
END $$;

CREATE FUNCTION prov.log_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM prov.pop();
    RETURN NULL;
END $$;

-- Installs change logging on a table (the start-up task of the paper's kernel): every row, their number, or nothing but their batch.
CREATE FUNCTION prov.track(p_table regclass, p_detail text DEFAULT 'rows') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_columns text;
BEGIN
    IF p_detail NOT IN ('rows', 'count', 'batch') THEN
        RAISE EXCEPTION 'detail "%" is unknown', p_detail USING HINT = 'Use rows, count or batch.', ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT coalesce(string_agg(format(', %L', a.attname), '' ORDER BY k.i), '') INTO v_columns
    FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY AS k (attnum, i)
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
    WHERE x.indrelid = p_table AND x.indisprimary;
    IF p_detail = 'batch' THEN
        p_detail := 'count';
        EXECUTE format('CREATE TRIGGER a_prov_insert AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION prov.log_batch()', p_table);
    ELSE
        EXECUTE format('CREATE TRIGGER a_prov_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prov.log_change(%L%s)', p_table, p_detail, v_columns);
    END IF;
    EXECUTE format('CREATE TRIGGER a_prov_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION prov.log_change(%L%s)', p_table, p_detail, v_columns);
    EXECUTE format('CREATE TRIGGER a_prov_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION prov.log_change(%L%s)', p_table, p_detail, v_columns);
    EXECUTE format('CREATE TRIGGER a_prov_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION prov.log_change(%L)', p_table, p_detail);
    EXECUTE format('CREATE TRIGGER zz_prov AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION prov.log_end()', p_table);
END $$;

-- An event with all its causes, and everything those causes led to. depth 0: the root.
CREATE FUNCTION prov.story(p_event bigint)
RETURNS TABLE (depth integer, path bigint[], on_path boolean, event prov.event)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE up (id, cause, hops) AS (
        SELECT e.id, e.cause, 0 FROM prov.event e WHERE e.id = p_event
        UNION ALL
        -- A cause is older than its effect, so this ends.
        SELECT e.id, e.cause, hops + 1 FROM up JOIN prov.event e ON e.id = up.cause AND e.id < up.id WHERE hops < 1000
    ), down (depth, path, id) AS (
        SELECT 0, ARRAY[r.id], r.id FROM (SELECT id FROM up ORDER BY hops DESC LIMIT 1) r
        UNION ALL
        SELECT d.depth + 1, d.path || e.id, e.id FROM down d JOIN prov.event e ON e.cause = d.id AND e.id > d.id WHERE d.depth < 1000
    )
    SELECT d.depth, d.path, d.id IN (SELECT id FROM up), e FROM down d JOIN prov.event e ON e.id = d.id ORDER BY d.path
$$;

-- The newest event about a row: an object (schema.table) and the text form of its key.
CREATE FUNCTION prov.latest(p_object text, p_key text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT max(id) FROM prov.event WHERE object = p_object AND keys @> ARRAY[p_key]
$$;

-- The story of an event in the names of W3C PROV (PROV-JSON).
CREATE FUNCTION prov.export(p_event bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH s AS (SELECT (t.event).* FROM prov.story(p_event) t)
    SELECT jsonb_build_object(
        'prefix', jsonb_build_object('wt', 'urn:wiretable:'),
        'activity', (SELECT jsonb_object_agg('wt:event-' || id, jsonb_strip_nulls(jsonb_build_object(
            'prov:startTime', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'prov:type', op, 'wt:object', object,
            'wt:rows', n, 'wt:procedure', procedure, 'wt:version', version, 'wt:transaction', txid::text, 'wt:forged', forged))) FROM s),
        'agent', (SELECT jsonb_object_agg('wt:agent-' || actor, jsonb_build_object('prov:type', 'prov:Person', 'wt:login', login))
            FROM (SELECT DISTINCT ON (actor) actor, login FROM s ORDER BY actor, login) a),
        'entity', coalesce((SELECT jsonb_object_agg('wt:' || object || '-' || key || '-' || id, jsonb_build_object('wt:key', key))
            FROM s CROSS JOIN unnest(s.keys) AS key), '{}'),
        'wasAssociatedWith', (SELECT jsonb_object_agg('_:a' || id, jsonb_build_object('prov:activity', 'wt:event-' || id, 'prov:agent', 'wt:agent-' || actor)) FROM s),
        'wasGeneratedBy', coalesce((SELECT jsonb_object_agg('_:g' || id || '-' || key, jsonb_build_object('prov:entity', 'wt:' || object || '-' || key || '-' || id, 'prov:activity', 'wt:event-' || id))
            FROM s CROSS JOIN unnest(s.keys) AS key WHERE op IN ('insert', 'update', 'command')), '{}'),
        'wasInvalidatedBy', coalesce((SELECT jsonb_object_agg('_:i' || id || '-' || key, jsonb_build_object('prov:entity', 'wt:' || object || '-' || key || '-' || id, 'prov:activity', 'wt:event-' || id))
            FROM s CROSS JOIN unnest(s.keys) AS key WHERE op = 'delete'), '{}'),
        'wasInformedBy', coalesce((SELECT jsonb_object_agg('_:c' || id, jsonb_build_object('prov:informed', 'wt:event-' || id, 'prov:informant', 'wt:event-' || cause)) FROM s WHERE cause IS NOT NULL), '{}')
    )
$$;

-- Who may look: people all of it, a tenant what concerns it.
ALTER TABLE prov.event ENABLE ROW LEVEL SECURITY;
CREATE POLICY people ON prov.event FOR SELECT TO wt_viewer USING (true);
CREATE POLICY tenants ON prov.event FOR SELECT TO wt_tenant USING (tenant = sec.tenant());
GRANT SELECT ON prov.event TO wt_viewer, wt_tenant;
GRANT SELECT ON prov.version TO wt_viewer;
GRANT EXECUTE ON FUNCTION prov.story, prov.latest, prov.export TO wt_viewer, wt_tenant;

-- DDL. Each command is an event, with the version of a function that it made. What the kernel (V08) does for one call is one event of its own
-- instead of ten; it says so in `wt.kernel`. Nobody else gains by that setting: making objects at all takes the owner's rights.
CREATE FUNCTION prov.log_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    v_definition text;
    v_version integer;
BEGIN
    FOR c IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        CONTINUE WHEN c.schema_name = 'pg_temp' OR c.object_identity IS NULL;
        CONTINUE WHEN c.command_tag NOT LIKE '%FUNCTION' AND c.command_tag NOT LIKE '%PROCEDURE' AND current_setting('wt.kernel', true) = 'on';
        v_version := NULL;
        IF c.classid = 'pg_proc'::regclass AND c.command_tag IN ('CREATE FUNCTION', 'CREATE PROCEDURE', 'ALTER FUNCTION', 'ALTER PROCEDURE') THEN
            SELECT pg_get_functiondef(p.oid) INTO v_definition FROM pg_proc p WHERE p.oid = c.objid AND p.prokind IN ('f', 'p');
            CONTINUE WHEN v_definition IS NULL;
            SELECT max(v.version) INTO v_version FROM prov.version v WHERE v.object = c.object_identity;
            IF v_version IS NULL OR NOT EXISTS (
                SELECT FROM prov.version v WHERE v.object = c.object_identity AND v.version = v_version AND v.digest = sha256(convert_to(v_definition, 'UTF8'))
            ) THEN
                v_version := coalesce(v_version, 0) + 1;
                INSERT INTO prov.version (object, version, digest, definition)
                VALUES (c.object_identity, v_version, sha256(convert_to(v_definition, 'UTF8')), v_definition);
            END IF;
        END IF;
        IF current_setting('wt.kernel', true) IS DISTINCT FROM 'on' THEN
            PERFORM prov.append(c.command_tag, c.object_identity, p_version => v_version);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION prov.log_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT * FROM pg_event_trigger_dropped_objects() WHERE original AND NOT is_temporary LOOP
        PERFORM prov.append(tg_tag, c.object_identity);
    END LOOP;
END $$;

-- Tenants make objects through the kernel (V07), never by DDL of their own: not even temporary ones or functions in their schemas.
CREATE FUNCTION prov.refuse_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF starts_with(current_user::text, 'wt_t_') THEN
        RAISE EXCEPTION '% is refused for tenant "%"', tg_tag, substr(current_user::text, 6)
            USING ERRCODE = 'insufficient_privilege', HINT = 'Use wt.tenant_apply: createTable, createStoredProcedure, createTrigger.';
    END IF;
END $$;

RESET ROLE;
CREATE EVENT TRIGGER wt_refuse_ddl ON ddl_command_start EXECUTE FUNCTION prov.refuse_ddl();
CREATE EVENT TRIGGER wt_log_ddl ON ddl_command_end EXECUTE FUNCTION prov.log_ddl();
CREATE EVENT TRIGGER wt_log_drop ON sql_drop EXECUTE FUNCTION prov.log_drop();

SET LOCAL ROLE wt_owner;
SELECT prov.track('sec.tenant'), prov.track('sec.limits', 'count');
RESET ROLE;
