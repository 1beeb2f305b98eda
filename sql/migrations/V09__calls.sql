-- Calls: procedures with logged arguments, lists of calls that happen all or not at all, dry runs, assertions.
--
--   people    wt.call_procedure(name, args); wt.apply(calls, dry_run)
--   tenants   wt.call_procedure; wt.tenant_apply(calls, dry_run): the same calls, in their own schemas
--
-- A dry run does everything, returns the events and commands that it made, and takes it all back. Assertions are checked before a
-- transaction with commands commits.

SET LOCAL ROLE wt_owner;

-- Begins a call: logs it, and returns the statement that makes it, with the arguments as $1.
CREATE FUNCTION wt.call_begin(p_procedure text, p_args jsonb) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known wt.procedure;
    v_list text := '';
    v_name text;
    c jsonb;
BEGIN
    SELECT * INTO v_known FROM wt.procedure k WHERE k.schema || '.' || k.name = p_procedure;
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

-- Calls a procedure with named arguments. Returns what it returns, as JSON.
CREATE FUNCTION wt.call_procedure(p_procedure text, p_args jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_result jsonb;
BEGIN
    EXECUTE wt.call_begin(p_procedure, p_args) INTO v_result USING p_args;
    PERFORM wt.call_end();
    RETURN v_result;
END $$;

-- One call of the kernel by name, as the server has it.
CREATE FUNCTION wt.kernel(p_call text, p_args jsonb, p_tenant text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE p_call
    WHEN 'createSchema' THEN
        PERFORM wt.create_schema(p_args ->> 'schema', p_tenant);
    WHEN 'createTable' THEN
        PERFORM wt.create_table(p_args ->> 'schema', p_args ->> 'table', p_args -> 'columns', p_tenant);
    WHEN 'createStoredProcedure' THEN
        PERFORM wt.create_procedure(p_args ->> 'schema', p_args ->> 'name', coalesce(p_args -> 'params', '[]'), p_args ->> 'body', p_tenant,
            coalesce(p_args ->> 'language', 'plpgsql'), coalesce(p_args ->> 'returns', 'void'));
    WHEN 'createTrigger' THEN
        PERFORM wt.create_trigger(p_args ->> 'schema', p_args ->> 'table', p_args ->> 'name', ARRAY(SELECT jsonb_array_elements_text(p_args -> 'events')),
            p_args ->> 'procedure', p_args -> 'condition', p_tenant);
    WHEN 'dropTrigger' THEN
        PERFORM wt.drop_trigger(p_args ->> 'schema', p_args ->> 'table', p_args ->> 'name', p_tenant);
    WHEN 'createAssertion' THEN
        PERFORM wt.create_assertion(p_args ->> 'schema', p_args ->> 'name', p_tenant);
    ELSE
        RAISE EXCEPTION 'call "%" is unknown', p_call USING ERRCODE = 'undefined_function',
            HINT = 'Known are createSchema, createTable, createStoredProcedure, createTrigger, dropTrigger, createAssertion, callProcedure.';
    END CASE;
END $$;

-- The same for the tenant who is logged in. By session_user: a tenant's policy that fires in somebody else's session cannot use this.
CREATE FUNCTION wt.tenant_kernel(p_call text, p_args jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT starts_with(session_user::text, 'wt_t_') THEN
        RAISE EXCEPTION '"%" is no tenant', session_user USING ERRCODE = 'insufficient_privilege', HINT = 'Operators use wt.apply.';
    END IF;
    PERFORM wt.kernel(p_call, p_args, substr(session_user::text, 6));
END $$;

-- Runs a list of calls, all or nothing: [{"call": "createTable", …}, {"call": "callProcedure", "procedure": …, "args": …}].
-- Returns {"results": [...], "dryRun": …}; a dry run adds the events and commands, and leaves nothing behind.
CREATE FUNCTION wt.run_calls(p_calls jsonb, p_dry_run boolean, p_as_tenant boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_results jsonb := '[]';
    v_result jsonb;
    v_start bigint;
    c jsonb;
    v_detail text;
BEGIN
    IF jsonb_typeof(p_calls) IS DISTINCT FROM 'array' OR jsonb_array_length(p_calls) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'the calls are no list of 1 to 1000' USING ERRCODE = 'invalid_parameter_value', HINT = 'Write [{"call": "callProcedure", "procedure": "schema.name", "args": {}}].';
    END IF;
    SELECT coalesce(max(id), 0) INTO v_start FROM prov.event;
    BEGIN
        FOR c IN SELECT * FROM jsonb_array_elements(p_calls) LOOP
            v_result := NULL;
            IF c ->> 'call' = 'callProcedure' THEN
                v_result := wt.call_procedure(c ->> 'procedure', coalesce(c -> 'args', '{}'));
            ELSIF p_as_tenant THEN
                PERFORM wt.tenant_kernel(c ->> 'call', c);
            ELSE
                PERFORM wt.kernel(c ->> 'call', c, coalesce(c ->> 'tenant', 'system'));
            END IF;
            v_results := v_results || jsonb_build_array(v_result);
        END LOOP;
        IF p_dry_run THEN
            SET CONSTRAINTS ALL IMMEDIATE;
            v_detail := jsonb_build_object('results', v_results, 'dryRun', true,
                'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.id), '[]') FROM prov.event e WHERE e.id > v_start AND e.txid = pg_current_xact_id()),
                'commands', (SELECT coalesce(jsonb_agg(jsonb_build_object('device', k.device, 'kind', k.kind, 'name', k.name, 'gen', k.gen, 'body', k.body) ORDER BY k.id), '[]')
                             FROM north.command k JOIN prov.event e ON e.id = k.event WHERE e.id > v_start AND e.txid = pg_current_xact_id()));
            RAISE EXCEPTION 'dry run' USING ERRCODE = 'WT001', DETAIL = v_detail;
        END IF;
    EXCEPTION WHEN SQLSTATE 'WT001' THEN
        GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
        RETURN v_detail::jsonb;
    END;
    RETURN jsonb_build_object('results', v_results, 'dryRun', false);
END $$;
CREATE FUNCTION wt.apply(p_calls jsonb, p_dry_run boolean DEFAULT false) RETURNS jsonb LANGUAGE sql
RETURN wt.run_calls(p_calls, p_dry_run, false);
CREATE FUNCTION wt.tenant_apply(p_calls jsonb, p_dry_run boolean DEFAULT false) RETURNS jsonb LANGUAGE sql
RETURN wt.run_calls(p_calls, p_dry_run, true);

-- Makes a boolean procedure without parameters an assertion: no transaction with commands of this tenant (of any, for `system`) commits
-- unless it returns true.
CREATE FUNCTION wt.create_assertion(p_schema text, p_name text, p_tenant text DEFAULT 'system') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE wt.procedure SET is_assertion = true WHERE schema = p_schema AND name = p_name AND tenant = p_tenant AND params = '[]' AND returns = 'boolean';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" has no procedure "%.%" that takes nothing and returns boolean', p_tenant, p_schema, p_name USING ERRCODE = 'undefined_function';
    END IF;
END $$;

CREATE FUNCTION wt.check_assertions() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a record;
    v_holds boolean;
BEGIN
    FOR a IN SELECT schema, name, identity FROM wt.procedure WHERE is_assertion AND activated_by IS NOT NULL AND tenant IN ('system', NEW.tenant) ORDER BY schema, name LOOP
        -- Once per transaction, on its last command, sees the same as once per command.
        CONTINUE WHEN EXISTS (SELECT FROM north.command k WHERE k.id > NEW.id AND k.tenant = NEW.tenant AND k.xmin = pg_current_xact_id()::xid);
        EXECUTE format('SELECT %I.%I()', a.schema, a.name) INTO v_holds;
        IF v_holds IS NOT TRUE THEN
            RAISE EXCEPTION 'assertion "%.%" does not hold', a.schema, a.name
                USING ERRCODE = 'WT003', DETAIL = format('version %s; command for %s/%s/%s, generation %s', wt.version_of(a.identity), NEW.device, NEW.kind, NEW.name, NEW.gen),
                      HINT = 'The transaction is undone.';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER assertions AFTER INSERT ON north.command DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wt.check_assertions();

GRANT EXECUTE ON FUNCTION wt.create_assertion, wt.kernel, wt.apply TO wt_operator;
GRANT EXECUTE ON FUNCTION wt.run_calls, wt.call_procedure, wt.call_begin TO wt_operator, wt_tenant;
GRANT EXECUTE ON FUNCTION wt.tenant_apply, wt.tenant_kernel TO wt_tenant;
RESET ROLE;
