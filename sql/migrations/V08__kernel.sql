-- The kernel: the only code that makes schemas, tables, procedures and triggers for people and tenants (DBNet §3.1).
--
-- Callers give names, typed columns and conditions, never SQL; names go through %I, values are literals. The one text that is code is the
-- body of a procedure, and it runs with its author's rights alone: every procedure belongs to the role of its author (wt_operator, or
-- wt_t_TENANT) and is SECURITY DEFINER, so neither a caller nor the writer of a table with a policy lends it theirs. Inside it, SET ROLE
-- is impossible. Authors have no right to make objects, so a body cannot either (V02 refuses and says so).
--
-- A procedure of a tenant is off until a second person activates it. Operators use these functions; tenants have the calls of V09.

SET LOCAL ROLE wt_owner;

CREATE TABLE wt.namespace (
    schema     name PRIMARY KEY,
    tenant     text NOT NULL DEFAULT 'system',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE wt.procedure (
    schema       name NOT NULL REFERENCES wt.namespace,
    name         name NOT NULL,
    tenant       text NOT NULL,
    owner        name NOT NULL,
    params       jsonb NOT NULL,
    returns      text NOT NULL,
    identity     text NOT NULL,
    created_by   text NOT NULL,
    activated_by text,
    is_assertion boolean NOT NULL DEFAULT false,
    PRIMARY KEY (schema, name)
);
COMMENT ON COLUMN wt.procedure.activated_by IS 'NULL: it is off';
COMMENT ON COLUMN wt.procedure.identity IS 'Its name in prov.version';
CREATE TABLE wt.policy (
    schema    name NOT NULL,
    relation  name NOT NULL,
    name      name NOT NULL,
    tenant    text NOT NULL,
    events    text[] NOT NULL,
    procedure text NOT NULL,
    condition jsonb,
    PRIMARY KEY (schema, relation, name)
);
SELECT prov.track('wt.namespace'), prov.track('wt.procedure'), prov.track('wt.policy');

-- Brackets what one call makes: between them DDL is not logged command by command, and the end is its event.
CREATE FUNCTION wt.begin_making() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('wt.kernel', 'on', true);
END $$;
CREATE FUNCTION wt.end_making(p_call text, p_object text, p_args jsonb, p_tenant text, p_version integer DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('wt.kernel', '', true);
    PERFORM prov.append(p_call, p_object, 1, NULL, NULL, p_args, CASE WHEN p_version IS NOT NULL THEN p_object END, p_version, p_tenant);
END $$;

CREATE FUNCTION wt.check_name(p_what text, p_name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_name IS NULL OR p_name !~ '^[a-z][a-z0-9_]{0,49}$' THEN
        RAISE EXCEPTION '% name "%" is not allowed', p_what, p_name
            USING ERRCODE = 'invalid_name', HINT = 'Use a letter, then up to 49 letters, digits or _; lower case.';
    END IF;
    RETURN p_name;
END $$;

CREATE FUNCTION wt.check_tenant(p_tenant text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_tenant IS DISTINCT FROM 'system' AND NOT EXISTS (SELECT FROM sec.tenant WHERE tenant = p_tenant AND active) THEN
        RAISE EXCEPTION 'there is no tenant "%"', p_tenant USING ERRCODE = 'undefined_object', HINT = 'An administrator makes it with sec.create_tenant.';
    END IF;
    RETURN p_tenant;
END $$;

-- The schema, if the tenant may make something in it.
CREATE FUNCTION wt.check_schema(p_schema text, p_tenant text) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM wt.check_tenant(p_tenant);
    IF NOT EXISTS (SELECT FROM wt.namespace WHERE schema = p_schema AND tenant = p_tenant) THEN
        RAISE EXCEPTION 'tenant "%" has no schema "%"', p_tenant, p_schema USING ERRCODE = 'invalid_schema_name', HINT = 'Make it first: createSchema.';
    END IF;
    RETURN p_schema;
END $$;

-- The role that a tenant's objects run as.
CREATE FUNCTION wt.owner_of(p_tenant text) RETURNS name LANGUAGE sql IMMUTABLE
RETURN CASE p_tenant WHEN 'system' THEN 'wt_operator' ELSE 'wt_t_' || p_tenant END;

CREATE FUNCTION wt.create_schema(p_schema text, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM wt.check_tenant(p_tenant), wt.check_name('schema', p_schema);
    IF starts_with(p_schema, 'pg_') OR EXISTS (SELECT FROM pg_namespace WHERE nspname = p_schema) THEN
        RAISE EXCEPTION 'schema "%" exists or is reserved', p_schema USING ERRCODE = 'duplicate_schema', HINT = 'Choose another name.';
    END IF;
    PERFORM wt.begin_making();
    EXECUTE format('CREATE SCHEMA %I', p_schema);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO wt_viewer', p_schema);
    IF p_tenant <> 'system' THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', p_schema, wt.owner_of(p_tenant));
    END IF;
    INSERT INTO wt.namespace (schema, tenant) VALUES (p_schema, p_tenant);
    PERFORM wt.end_making('createSchema', p_schema, NULL, p_tenant);
END $$;

-- A condition on one column: the operators that need no code.
CREATE FUNCTION wt.comparison(p_left text, p_type text, p_condition jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_op text := p_condition ->> 'op';
BEGIN
    IF v_op IS NULL OR v_op <> ALL (ARRAY['=', '<>', '<', '<=', '>', '>=', '<<=', '>>=']) OR jsonb_typeof(p_condition -> 'value') NOT IN ('string', 'number', 'boolean') THEN
        RAISE EXCEPTION 'condition % is not understood', p_condition
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {"op": ">=", "value": 10}; operators are = <> < <= > >= and, for addresses, <<= >>=.';
    END IF;
    RETURN format('%s %s %L::%s', p_left, v_op, p_condition ->> 'value', p_type);
END $$;

-- A table of typed columns. Each: {"name", "type", "primaryKey", "notNull", "unique", "default", "check": {"op", "value"} or a list of them}.
-- Without a primary key it gets `id`. Change logging is installed.
CREATE FUNCTION wt.create_table(p_schema text, p_table text, p_columns jsonb, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c jsonb;
    k jsonb;
    v_name text;
    v_type text;
    v_parts text[] := '{}';
    v_part text;
    v_key text[] := '{}';
    v_field text;
BEGIN
    PERFORM wt.check_schema(p_schema, p_tenant), wt.check_name('table', p_table);
    IF jsonb_typeof(p_columns) IS DISTINCT FROM 'array' OR jsonb_array_length(p_columns) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION 'the columns of "%.%" are no list of 1 to 200 columns', p_schema, p_table USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR c IN SELECT * FROM jsonb_array_elements(p_columns) LOOP
        IF jsonb_typeof(c) <> 'object' THEN
            RAISE EXCEPTION 'column % is no object', c USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {"name": "x", "type": "bigint"}.';
        END IF;
        SELECT f INTO v_field FROM jsonb_object_keys(c) f WHERE f <> ALL (ARRAY['name', 'type', 'primaryKey', 'notNull', 'unique', 'default', 'check']) LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'column "%" has an unknown property "%"', c ->> 'name', v_field
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Known are name, type, primaryKey, notNull, unique, default, check.';
        END IF;
        v_name := wt.check_name('column', c ->> 'name');
        v_type := wt.column_type(c ->> 'type');
        v_part := format('%I %s', v_name, v_type);
        IF (c ->> 'notNull')::boolean THEN v_part := v_part || ' NOT NULL'; END IF;
        IF (c ->> 'unique')::boolean THEN v_part := v_part || ' UNIQUE'; END IF;
        IF jsonb_typeof(c -> 'default') IN ('string', 'number', 'boolean') THEN
            v_part := v_part || format(' DEFAULT %L::%s', c ->> 'default', v_type);
        END IF;
        FOR k IN SELECT * FROM jsonb_array_elements(CASE jsonb_typeof(c -> 'check') WHEN 'array' THEN c -> 'check' WHEN 'object' THEN jsonb_build_array(c -> 'check') ELSE '[]' END) LOOP
            v_part := v_part || format(' CHECK (%s)', wt.comparison(quote_ident(v_name), v_type, k));
        END LOOP;
        IF (c ->> 'primaryKey')::boolean THEN v_key := v_key || quote_ident(v_name); END IF;
        v_parts := v_parts || v_part;
    END LOOP;
    IF v_key = '{}' THEN
        v_parts := ARRAY['id bigint GENERATED ALWAYS AS IDENTITY'] || v_parts;
        v_key := ARRAY['id'];
    END IF;
    PERFORM wt.begin_making();
    EXECUTE format('CREATE TABLE %I.%I (%s, PRIMARY KEY (%s))', p_schema, p_table, array_to_string(v_parts, ', '), array_to_string(v_key, ', '));
    EXECUTE format('GRANT SELECT ON %I.%I TO wt_viewer', p_schema, p_table);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I.%I TO wt_operator', p_schema, p_table);
    IF p_tenant <> 'system' THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', p_schema, p_table, wt.owner_of(p_tenant));
    END IF;
    PERFORM prov.track(format('%I.%I', p_schema, p_table)::regclass);
    PERFORM wt.end_making('createTable', p_schema || '.' || p_table, p_columns, p_tenant);
END $$;

-- What a tenant's body must not say. Privileges stop all of this too; here it is refused early and by name.
CREATE FUNCTION wt.check_body(p_body text) RETURNS void LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_text text := regexp_replace(lower(p_body), '\s+', ' ', 'g');
    v_pattern text;
    v_found text;
BEGIN
    FOREACH v_pattern IN ARRAY ARRAY['\mcopy\M', '\msecurity definer\M', '\m(disable|enable) trigger\M', '\m(create|alter|drop) [a-z]+', '\mdblink', '\mset (local |session )?(role|session authorization)\M',
        '\mpg_sleep', '\mlo_(import|export)\M', '\mpg_(read|ls|stat)_', '\mset_config\M', '\mpg_(terminate|cancel)_backend\M', '\mdo \$'] LOOP
        v_found := substring(v_text FROM v_pattern);
        IF v_found IS NOT NULL THEN
            RAISE EXCEPTION 'the body says "%", which tenants may not', substring(v_text FROM '(' || v_pattern || ')')
                USING ERRCODE = 'insufficient_privilege', HINT = 'Bodies read and write tables and call procedures; objects are made through the kernel.';
        END IF;
    END LOOP;
END $$;

-- A procedure. Parameters: [{"name", "type"}]. With p_returns `boolean` it can be an assertion. Making it again makes a new version.
CREATE FUNCTION wt.create_procedure(p_schema text, p_name text, p_params jsonb, p_body text, p_tenant text DEFAULT 'system', p_language text DEFAULT 'plpgsql', p_returns text DEFAULT 'void') RETURNS void
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
        PERFORM wt.give(p_schema, v_identity, v_owner);
        IF p_tenant <> 'system' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO wt_operator', v_identity);
        END IF;
    END IF;
    INSERT INTO wt.procedure AS k (schema, name, tenant, owner, params, returns, identity, created_by, activated_by)
    VALUES (p_schema, p_name, p_tenant, v_owner, p_params, p_returns, v_identity, sec.person(), CASE p_tenant WHEN 'system' THEN sec.person() END)
    ON CONFLICT (schema, name) DO UPDATE SET created_by = excluded.created_by, activated_by = excluded.activated_by;
    PERFORM wt.end_making('createStoredProcedure', p_schema || '.' || p_name, p_params, p_tenant, wt.version_of(v_identity));
END $$;

-- Hands a function to the role it runs as, which may make things in the schema for that moment only.
CREATE FUNCTION wt.give(p_schema text, p_identity text, p_owner name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT CREATE, USAGE ON SCHEMA %I TO %I', p_schema, p_owner);
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', p_identity, p_owner);
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM %I', p_schema, p_owner);
END $$;

-- Turns a tenant's procedure on: somebody other than its author, and only as it is now.
CREATE FUNCTION wt.activate_procedure(p_schema text, p_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known wt.procedure;
BEGIN
    SELECT * INTO v_known FROM wt.procedure WHERE schema = p_schema AND name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no procedure "%.%"', p_schema, p_name USING ERRCODE = 'undefined_function';
    END IF;
    IF v_known.created_by = sec.person() THEN
        RAISE EXCEPTION '"%" made procedure "%.%" and cannot activate it', sec.person(), p_schema, p_name
            USING ERRCODE = 'insufficient_privilege', HINT = 'A second person must look at it.';
    END IF;
    UPDATE wt.procedure SET activated_by = sec.person() WHERE schema = p_schema AND name = p_name;
END $$;

CREATE FUNCTION wt.deactivate_procedure(p_schema text, p_name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE wt.procedure SET activated_by = NULL WHERE schema = p_schema AND name = p_name AND activated_by IS NOT NULL;
    RETURN FOUND;
END $$;

-- The version of a procedure that runs now.
CREATE FUNCTION wt.version_of(p_identity text) RETURNS integer LANGUAGE sql STABLE
RETURN (SELECT max(version) FROM prov.version WHERE object = p_identity);

-- A trigger fires: false when the procedure is off. Called by what wt.create_trigger makes, as the author.
CREATE FUNCTION wt.fire_begin(p_schema text, p_name text, p_trigger text, p_n bigint, p_args jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known wt.procedure;
    v_version integer;
BEGIN
    SELECT * INTO v_known FROM wt.procedure WHERE schema = p_schema AND name = p_name;
    IF v_known.activated_by IS NULL THEN
        RETURN false;
    END IF;
    SELECT max(version) INTO v_version FROM prov.version WHERE object = v_known.identity;
    PERFORM prov.push(prov.append('trigger', p_trigger, p_n, NULL, NULL, p_args, p_schema || '.' || p_name, v_version, v_known.tenant));
    RETURN true;
END $$;

CREATE FUNCTION wt.call_end() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM prov.pop();
END $$;

-- A trigger: after statements of these kinds (insert, update, delete), the rows for which all conditions hold ([{"column", "op", "value"}])
-- go to a procedure as one jsonb list, once per statement; it is not called for none. Its parameters: new_rows jsonb, or new_rows and old_rows.
CREATE FUNCTION wt.create_trigger(p_schema text, p_table text, p_name text, p_events text[], p_procedure text, p_condition jsonb DEFAULT NULL, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_table regclass := to_regclass(format('%I.%I', p_schema, p_table));
    v_known wt.procedure;
    v_where text := '';
    v_type text;
    v_fire text := p_name || '__' || p_table;
    v_old boolean;
    v_event text;
    c jsonb;
BEGIN
    PERFORM wt.check_tenant(p_tenant), wt.check_name('trigger', p_name);
    SELECT * INTO v_known FROM wt.procedure k WHERE k.schema || '.' || k.name = p_procedure AND k.tenant = p_tenant;
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
    PERFORM wt.give(v_known.schema, format('%I.%I()', v_known.schema, v_fire), v_known.owner);
    FOREACH v_event IN ARRAY p_events LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %I.%I()',
            'p_' || p_name || '_' || v_event, v_event, v_table,
            CASE v_event WHEN 'insert' THEN 'NEW TABLE AS new_rows' WHEN 'delete' THEN 'OLD TABLE AS old_rows' ELSE 'OLD TABLE AS old_rows NEW TABLE AS new_rows' END,
            v_known.schema, v_fire);
    END LOOP;
    INSERT INTO wt.policy (schema, relation, name, tenant, events, procedure, condition) VALUES (p_schema, p_table, p_name, p_tenant, p_events, p_procedure, p_condition);
    PERFORM wt.end_making('createTrigger', p_name || ' on ' || p_schema || '.' || p_table, jsonb_build_object('events', p_events, 'procedure', p_procedure, 'condition', p_condition), p_tenant);
END $$;

CREATE FUNCTION wt.drop_trigger(p_schema text, p_table text, p_name text, p_tenant text DEFAULT 'system') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_policy wt.policy;
    v_event text;
BEGIN
    DELETE FROM wt.policy WHERE schema = p_schema AND relation = p_table AND name = p_name AND tenant = p_tenant RETURNING * INTO v_policy;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOREACH v_event IN ARRAY v_policy.events LOOP
        EXECUTE format('DROP TRIGGER %I ON %I.%I', 'p_' || p_name || '_' || v_event, p_schema, p_table);
    END LOOP;
    EXECUTE format('DROP FUNCTION %I.%I()', split_part(v_policy.procedure, '.', 1), p_name || '__' || p_table);
    RETURN true;
END $$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['namespace', 'procedure', 'policy'] LOOP
        EXECUTE format('ALTER TABLE wt.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY people ON wt.%I FOR SELECT TO wt_viewer USING (true)', t);
        EXECUTE format('CREATE POLICY tenants ON wt.%I FOR SELECT TO wt_tenant USING (tenant = sec.tenant())', t);
        EXECUTE format('GRANT SELECT ON wt.%I TO wt_viewer, wt_tenant', t);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION wt.create_schema, wt.create_table, wt.create_procedure, wt.create_trigger, wt.drop_trigger, wt.activate_procedure, wt.deactivate_procedure TO wt_operator;
GRANT EXECUTE ON FUNCTION wt.call_end, wt.fire_begin TO wt_operator, wt_tenant;
RESET ROLE;
