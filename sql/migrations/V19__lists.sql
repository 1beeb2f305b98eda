-- A list of calls that is not dry takes nothing back, so it needs no subtransaction. A procedure that raises what ends a dry run does not end a list that is none.

SET LOCAL ROLE wt_owner;

-- The calls of a list, one after the other; their results.
CREATE FUNCTION wt.run_list(p_calls jsonb, p_as_tenant boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_results jsonb[] := '{}';
    v_result jsonb;
    c jsonb;
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
        v_results := v_results || v_result;
    END LOOP;
    RETURN to_jsonb(v_results);
END $$;

-- Runs a list of calls, all or nothing: [{"call": "createTable", …}, {"call": "callProcedure", "procedure": …, "args": …}].
-- Returns {"results": [...], "dryRun": …}; a dry run adds the events and commands, and leaves nothing behind.
CREATE OR REPLACE FUNCTION wt.run_calls(p_calls jsonb, p_dry_run boolean, p_as_tenant boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_results jsonb;
    v_start bigint;
    v_detail text;
BEGIN
    IF jsonb_typeof(p_calls) IS DISTINCT FROM 'array' OR jsonb_array_length(p_calls) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'the calls are no list of 1 to 1000' USING ERRCODE = 'invalid_parameter_value', HINT = 'Write [{"call": "callProcedure", "procedure": "schema.name", "args": {}}].';
    END IF;
    IF p_dry_run IS NOT TRUE THEN
        RETURN jsonb_build_object('results', wt.run_list(p_calls, p_as_tenant), 'dryRun', false);
    END IF;
    SELECT coalesce(max(id), 0) INTO v_start FROM prov.event;
    BEGIN
        v_results := wt.run_list(p_calls, p_as_tenant);
        SET CONSTRAINTS ALL IMMEDIATE;
        v_detail := jsonb_build_object('results', v_results, 'dryRun', true,
            'events', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.id), '[]') FROM prov.event e WHERE e.id > v_start AND e.txid = pg_current_xact_id()),
            'commands', (SELECT coalesce(jsonb_agg(jsonb_build_object('device', k.device, 'kind', k.kind, 'name', k.name, 'gen', k.gen, 'body', k.body) ORDER BY k.id), '[]')
                         FROM north.command k JOIN prov.event e ON e.id = k.event WHERE e.id > v_start AND e.txid = pg_current_xact_id()));
        RAISE EXCEPTION 'dry run' USING ERRCODE = 'WT001', DETAIL = v_detail;
    EXCEPTION WHEN SQLSTATE 'WT001' THEN
        GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
        RETURN v_detail::jsonb;
    END;
END $$;
GRANT EXECUTE ON FUNCTION wt.run_list TO wt_operator, wt_tenant;
RESET ROLE;
