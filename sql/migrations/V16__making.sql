-- Less to make: a schema and the rights to it are one command, and a function is handed over without rights to its schema that come and go, after each of which a
-- session makes all its plans anew. Before a truncation no policy runs, so it needs no cause that begins and ends: what ends the causes of other changes appends its
-- event, and a table has a trigger less. Procedures are found by their key, however many there are.

DROP FUNCTION wt.give(text, text, name);
-- Hands a function that the kernel has made to the role that it runs as, which may make nothing in the schema, neither before nor after. The fourth function that runs as the
-- superuser who migrates: it takes what belongs to the owner of everything, in a schema of the kernel, and gives it to the role of that schema's tenant alone.
CREATE FUNCTION wt.give(p_function regprocedure, p_owner name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN wt.namespace k ON k.schema = n.nspname
                   WHERE p.oid = p_function AND p.proowner = 'wt_owner'::regrole AND p_owner = wt.owner_of(k.tenant)) THEN
        RAISE EXCEPTION 'function % cannot be given to "%"', p_function, p_owner
            USING ERRCODE = 'insufficient_privilege', HINT = 'The kernel gives what it has made in a schema to the role of the schema''s tenant.';
    END IF;
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', p_function, p_owner);
END $$;
REVOKE EXECUTE ON FUNCTION wt.give FROM PUBLIC;
GRANT EXECUTE ON FUNCTION wt.give TO wt_owner;

SET LOCAL ROLE wt_owner;

CREATE OR REPLACE FUNCTION prov.log_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM prov.append('truncate', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, -1);
    ELSE
        PERFORM prov.pop();
    END IF;
    RETURN NULL;
END $$;

-- Installs change logging on a table (the start-up task of the paper's kernel): every row, their number, or nothing but their batch.
CREATE OR REPLACE FUNCTION prov.track(p_table regclass, p_detail text DEFAULT 'rows') RETURNS void LANGUAGE plpgsql AS $$
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
    EXECUTE format('CREATE TRIGGER zz_prov AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION prov.log_end()', p_table);
END $$;

DO $$
DECLARE t regclass;
BEGIN
    FOR t IN SELECT tgrelid::regclass FROM pg_trigger WHERE tgname = 'a_prov_truncate' AND tgfoid = 'prov.log_change'::regproc LOOP
        EXECUTE format('DROP TRIGGER a_prov_truncate ON %s', t);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION wt.create_schema(p_schema text, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM wt.check_tenant(p_tenant), wt.check_name('schema', p_schema);
    IF starts_with(p_schema, 'pg_') OR EXISTS (SELECT FROM pg_namespace WHERE nspname = p_schema) THEN
        RAISE EXCEPTION 'schema "%" exists or is reserved', p_schema USING ERRCODE = 'duplicate_schema', HINT = 'Choose another name.';
    END IF;
    PERFORM wt.begin_making();
    EXECUTE format('CREATE SCHEMA %1$I GRANT USAGE ON SCHEMA %1$I TO wt_viewer%2$s', p_schema,
        CASE WHEN p_tenant <> 'system' THEN ', ' || quote_ident(wt.owner_of(p_tenant)) ELSE '' END);
    INSERT INTO wt.namespace (schema, tenant) VALUES (p_schema, p_tenant);
    PERFORM wt.end_making('createSchema', p_schema, NULL, p_tenant);
END $$;

-- A procedure. Parameters: [{"name", "type"}]. With p_returns `boolean` it can be an assertion. Making it again makes a new version.
CREATE OR REPLACE FUNCTION wt.create_procedure(p_schema text, p_name text, p_params jsonb, p_body text, p_tenant text DEFAULT 'system', p_language text DEFAULT 'plpgsql', p_returns text DEFAULT 'void') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_owner name := wt.owner_of(p_tenant);
    v_list text := '';
    v_identity text;
    v_known wt.procedure;
    c jsonb;
BEGIN
    PERFORM wt.check_schema(p_schema, p_tenant), wt.check_name('procedure', p_name);
    IF p_language IS NULL OR p_language NOT IN ('plpgsql', 'sql') THEN
        RAISE EXCEPTION 'language "%" is refused', p_language USING ERRCODE = 'insufficient_privilege', HINT = 'Use plpgsql or sql.';
    END IF;
    IF p_body IS NULL OR octet_length(p_body) > 262144 THEN
        RAISE EXCEPTION 'the body of "%.%" is missing or longer than 262144 bytes', p_schema, p_name USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF p_tenant <> 'system' THEN
        PERFORM wt.check_body(p_body);
    END IF;
    IF jsonb_typeof(p_params) IS DISTINCT FROM 'array' OR jsonb_array_length(p_params) > 50 THEN
        RAISE EXCEPTION 'the parameters of "%.%" are no list of at most 50', p_schema, p_name USING ERRCODE = 'invalid_parameter_value', HINT = 'Write [{"name": "x", "type": "bigint"}].';
    END IF;
    FOR c IN SELECT * FROM jsonb_array_elements(p_params) LOOP
        v_list := v_list || format(', %I %s', wt.check_name('parameter', c ->> 'name'), wt.column_type(c ->> 'type'));
    END LOOP;
    IF p_returns <> 'void' THEN
        PERFORM wt.column_type(p_returns);
    END IF;
    SELECT * INTO v_known FROM wt.procedure WHERE schema = p_schema AND name = p_name;
    IF FOUND AND (v_known.params <> p_params OR v_known.returns <> p_returns) THEN
        RAISE EXCEPTION 'procedure "%.%" has other parameters', p_schema, p_name
            USING ERRCODE = 'duplicate_function', DETAIL = format('it takes %s and returns %s', v_known.params, v_known.returns), HINT = 'Keep them, or choose another name.';
    END IF;
    PERFORM wt.begin_making();
    EXECUTE format('CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE %s SECURITY DEFINER SET search_path = %I, net, pg_catalog, pg_temp AS %L',
        p_schema, p_name, substr(v_list, 3), p_returns, p_language, p_schema, p_body);
    SELECT i.identity INTO v_identity FROM pg_proc p CROSS JOIN LATERAL pg_identify_object('pg_proc'::regclass, p.oid, 0) i
    WHERE p.proname = p_name AND p.pronamespace = p_schema::regnamespace;
    IF v_known IS NULL THEN
        PERFORM wt.give(v_identity::regprocedure, v_owner);
        IF p_tenant <> 'system' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO wt_operator', v_identity);
        END IF;
    END IF;
    -- Apart, as ON CONFLICT DO UPDATE fires the triggers of updates even where there was no conflict.
    IF v_known IS NULL THEN
        INSERT INTO wt.procedure (schema, name, tenant, owner, params, returns, identity, created_by, activated_by)
        VALUES (p_schema, p_name, p_tenant, v_owner, p_params, p_returns, v_identity, sec.person(), CASE p_tenant WHEN 'system' THEN sec.person() END);
    ELSE
        UPDATE wt.procedure SET created_by = sec.person(), activated_by = CASE p_tenant WHEN 'system' THEN sec.person() END WHERE schema = p_schema AND name = p_name;
    END IF;
    PERFORM wt.end_making('createStoredProcedure', p_schema || '.' || p_name, p_params, p_tenant, wt.version_of(v_identity));
END $$;

-- A trigger: after statements of these kinds (insert, update, delete), the rows for which all conditions hold ([{"column", "op", "value"}])
-- go to a procedure as one jsonb list, once per statement; it is not called for none. Its parameters: new_rows jsonb, or new_rows and old_rows.
CREATE OR REPLACE FUNCTION wt.create_trigger(p_schema text, p_table text, p_name text, p_events text[], p_procedure text, p_condition jsonb DEFAULT NULL, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_table regclass := to_regclass(format('%I.%I', p_schema, p_table));
    v_known wt.procedure;
    v_where text := '';
    v_type text;
    v_fire text := p_name || '__' || p_table;
    v_old boolean;
    v_event text;
    v_parts text[] := string_to_array(p_procedure, '.');
    c jsonb;
BEGIN
    PERFORM wt.check_tenant(p_tenant), wt.check_name('trigger', p_name);
    SELECT * INTO v_known FROM wt.procedure k WHERE k.schema = v_parts[1] AND k.name = v_parts[2] AND cardinality(v_parts) = 2 AND k.tenant = p_tenant;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" has no procedure "%"', p_tenant, p_procedure USING ERRCODE = 'undefined_function', HINT = 'Name it as schema.procedure.';
    END IF;
    IF v_known.params NOT IN ('[{"name": "new_rows", "type": "jsonb"}]', '[{"name": "new_rows", "type": "jsonb"}, {"name": "old_rows", "type": "jsonb"}]') THEN
        RAISE EXCEPTION 'procedure "%" cannot be triggered with parameters %', p_procedure, v_known.params
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It takes new_rows jsonb, or new_rows jsonb and old_rows jsonb.';
    END IF;
    v_old := jsonb_array_length(v_known.params) = 2;
    IF v_table IS NULL OR NOT (
        EXISTS (SELECT FROM wt.namespace n WHERE n.schema = p_schema AND n.tenant = p_tenant)
        OR p_schema = 'result' AND EXISTS (SELECT FROM res.relation r WHERE r.relation = p_table AND r.tenant = p_tenant)
        OR p_tenant = 'system' AND (p_schema, p_table) IN (('net', 'nodes'), ('net', 'pods'), ('net', 'auto_scalers'), ('net', 'load_balancers'), ('net', 'object'), ('net', 'block'), ('otel', 'span'), ('otel', 'log'), ('otel', 'metric'))
    ) THEN
        RAISE EXCEPTION 'tenant "%" has no table "%.%"', p_tenant, p_schema, p_table USING ERRCODE = 'undefined_table', HINT = 'Triggers go on tables of one''s own, on results, and, for operators, on the mirror and telemetry.';
    END IF;
    IF p_events IS NULL OR p_events = '{}' OR NOT p_events <@ ARRAY['insert', 'update', 'delete'] THEN
        RAISE EXCEPTION 'events % are not understood', p_events USING ERRCODE = 'invalid_parameter_value', HINT = 'Use insert, update, delete.';
    END IF;
    FOR c IN SELECT * FROM jsonb_array_elements(coalesce(p_condition, '[]')) LOOP
        SELECT format_type(a.atttypid, a.atttypmod) INTO v_type FROM pg_attribute a WHERE a.attrelid = v_table AND a.attname = c ->> 'column' AND a.attnum > 0 AND NOT a.attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'table "%.%" has no column "%"', p_schema, p_table, c ->> 'column' USING ERRCODE = 'undefined_column';
        END IF;
        v_where := v_where || CASE v_where WHEN '' THEN ' WHERE ' ELSE ' AND ' END || wt.comparison(format('r.%I', c ->> 'column'), v_type, c);
    END LOOP;
    PERFORM wt.begin_making();
    EXECUTE format($f$
        CREATE FUNCTION %1$I.%2$I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $b$
        DECLARE
            v_new jsonb;
            v_old jsonb;
            v_n bigint;
        BEGIN
            IF TG_OP = 'DELETE' THEN
                SELECT jsonb_agg(to_jsonb(r)), count(*) INTO v_old, v_n FROM old_rows r%3$s;
            ELSE
                SELECT jsonb_agg(to_jsonb(r)), count(*) INTO v_new, v_n FROM new_rows r%3$s;
                IF TG_OP = 'UPDATE' AND %4$L::boolean AND v_n > 0 THEN
                    SELECT jsonb_agg(to_jsonb(r)) INTO v_old FROM old_rows r;
                END IF;
            END IF;
            IF v_n > 0 AND wt.fire_begin(%5$L, %6$L, %7$L, v_n, coalesce(v_new, v_old)) THEN
                PERFORM %5$I.%6$I(v_new%8$s);
                PERFORM wt.call_end();
            END IF;
            RETURN NULL;
        END $b$ $f$,
        v_known.schema, v_fire, v_where, v_old, v_known.schema, v_known.name, p_name || ' on ' || p_schema || '.' || p_table, CASE WHEN v_old THEN ', v_old' ELSE '' END);
    PERFORM wt.give(format('%I.%I()', v_known.schema, v_fire)::regprocedure, v_known.owner);
    FOREACH v_event IN ARRAY p_events LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %I.%I()',
            'p_' || p_name || '_' || v_event, v_event, v_table,
            CASE v_event WHEN 'insert' THEN 'NEW TABLE AS new_rows' WHEN 'delete' THEN 'OLD TABLE AS old_rows' ELSE 'OLD TABLE AS old_rows NEW TABLE AS new_rows' END,
            v_known.schema, v_fire);
    END LOOP;
    INSERT INTO wt.policy (schema, relation, name, tenant, events, procedure, condition) VALUES (p_schema, p_table, p_name, p_tenant, p_events, p_procedure, p_condition);
    PERFORM wt.end_making('createTrigger', p_name || ' on ' || p_schema || '.' || p_table, jsonb_build_object('events', p_events, 'procedure', p_procedure, 'condition', p_condition), p_tenant);
END $$;

-- Begins a call: logs it, and returns the statement that makes it, with the arguments as $1.
CREATE OR REPLACE FUNCTION wt.call_begin(p_procedure text, p_args jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known wt.procedure;
    v_list text := '';
    v_name text;
    v_parts text[] := string_to_array(p_procedure, '.');
    c jsonb;
BEGIN
    SELECT * INTO v_known FROM wt.procedure k WHERE k.schema = v_parts[1] AND k.name = v_parts[2] AND cardinality(v_parts) = 2;
    -- A tenant learns nothing of what is not its own.
    IF NOT FOUND OR (starts_with(session_user::text, 'wt_t_') AND v_known.owner <> session_user) THEN
        RAISE EXCEPTION 'there is no procedure "%"', p_procedure USING ERRCODE = 'undefined_function', HINT = 'Name it as schema.procedure.';
    END IF;
    IF v_known.activated_by IS NULL THEN
        RAISE EXCEPTION 'procedure "%" is not active', p_procedure USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'A second person activates it with wt.activate_procedure.';
    END IF;
    IF jsonb_typeof(p_args) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'the arguments of "%" are no object', p_procedure USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {"name": value}.';
    END IF;
    FOR c IN SELECT * FROM jsonb_array_elements(v_known.params) LOOP
        v_name := c ->> 'name';
        IF NOT p_args ? v_name THEN
            RAISE EXCEPTION 'argument "%" of "%" is missing', v_name, p_procedure USING ERRCODE = 'invalid_parameter_value';
        END IF;
        v_list := v_list || format(', %I => ', v_name) || CASE
            WHEN c ->> 'type' = 'jsonb' THEN format('($1 -> %L)', v_name)
            WHEN c ->> 'type' LIKE '%[]' THEN format('ARRAY(SELECT jsonb_array_elements_text($1 -> %L))::%s', v_name, c ->> 'type')
            ELSE format('($1 ->> %L)::%s', v_name, c ->> 'type') END;
    END LOOP;
    SELECT k INTO v_name FROM jsonb_object_keys(p_args) k WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(v_known.params) p WHERE p ->> 'name' = k) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'procedure "%" has no parameter "%"', p_procedure, v_name USING ERRCODE = 'invalid_parameter_value', DETAIL = format('it takes %s', v_known.params);
    END IF;
    PERFORM prov.push(prov.append('call', p_procedure, 1, NULL, NULL, p_args, p_procedure, wt.version_of(v_known.identity), v_known.tenant));
    RETURN format(CASE v_known.returns WHEN 'void' THEN 'SELECT NULL::jsonb FROM %I.%I(%s)' ELSE 'SELECT to_jsonb(%I.%I(%s))' END, v_known.schema, v_known.name, substr(v_list, 3));
END $$;
RESET ROLE;
