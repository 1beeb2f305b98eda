-- Functions that every request calls keep their plans: an SQL function that is not inlined makes its plan anew at each call, plpgsql keeps it.
-- The log of definitions looks at what a command did only where somebody asked for the command, and large values are packed by lz4, which is quicker.
-- A trigger that is not there cannot be dropped, and whoever tries is told. Sessions of one login cannot end each other.

SET LOCAL ROLE wt_owner;

CREATE OR REPLACE FUNCTION sec.check_token(p_token text)
RETURNS TABLE (token_id bigint, role text, tenant text, label text, body_bytes_max bigint, requests_per_s integer, statement_ms integer, rows_max integer)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT t.id, t.role, t.tenant, t.label, l.body_bytes_max, l.requests_per_s, l.statement_ms, l.rows_max
    FROM sec.token t
    LEFT JOIN sec.tenant n ON n.tenant = t.tenant
    CROSS JOIN LATERAL (
        SELECT * FROM sec.limits l WHERE l.tenant = t.tenant OR l.tenant IS NULL ORDER BY l.tenant NULLS LAST LIMIT 1
    ) l
    WHERE t.digest = sha256(convert_to(p_token, 'UTF8'))
      AND t.revoked_at IS NULL AND t.expires_at > now() AND (t.tenant IS NULL OR n.active);
END $$;

CREATE OR REPLACE FUNCTION wt.version_of(p_identity text) RETURNS integer LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT max(v.version) FROM prov.version v WHERE v.object = p_identity);
END $$;

-- Makes the missing partitions from one day to another, both included; returns how many were made.
CREATE OR REPLACE FUNCTION wt.ensure_days(p_parent regclass, p_from date, p_to date) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema name;
    v_table name;
    v_type regtype;
    v_day date;
    v_name text;
    v_made integer := 0;
BEGIN
    IF p_from IS NULL OR p_to IS NULL OR p_from < date '1970-01-01' OR p_to > date '2200-01-01' THEN
        RAISE EXCEPTION 'days % to % of % are out of range', p_from, p_to, p_parent
            USING ERRCODE = 'datetime_field_overflow', HINT = 'Time stamps must lie between 1970 and 2200.';
    END IF;
    IF p_to - p_from > 3660 THEN
        RAISE EXCEPTION 'a batch of % spans % days, above the limit of 3660', p_parent, p_to - p_from
            USING ERRCODE = 'program_limit_exceeded', HINT = 'Send smaller batches.';
    END IF;
    SELECT n.nspname, c.relname INTO STRICT v_schema, v_table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p_parent;
    v_day := p_from;
    WHILE v_day <= p_to LOOP
        v_name := v_table || '_p' || to_char(v_day, 'YYYYMMDD');
        -- Nearly always it is there.
        IF to_regclass(format('%I.%I', v_schema, v_name)) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtextextended('wt.ensure_days ' || p_parent::oid::text, 0));
            -- Another session may have made it while we waited.
            IF to_regclass(format('%I.%I', v_schema, v_name)) IS NULL THEN
                SELECT a.atttypid::regtype INTO STRICT v_type FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                WHERE p.partrelid = p_parent;
                EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', v_schema, v_name, p_parent);
                EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%s) TO (%s)', p_parent, v_schema, v_name,
                    wt.day_bound(v_day, v_type), wt.day_bound(v_day + 1, v_type));
                v_made := v_made + 1;
            END IF;
        END IF;
        v_day := v_day + 1;
    END LOOP;
    RETURN v_made;
END $$;

CREATE OR REPLACE FUNCTION prov.log_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_is_kernel boolean := current_setting('wt.kernel', true) IS NOT DISTINCT FROM 'on';
    c record;
    v_definition text;
    v_version integer;
BEGIN
    -- Of what the kernel does, only the functions that it makes are looked at, for their versions; what it alters is their owner.
    IF v_is_kernel AND tg_tag NOT IN ('CREATE FUNCTION', 'CREATE PROCEDURE') THEN
        RETURN;
    END IF;
    FOR c IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        CONTINUE WHEN c.schema_name = 'pg_temp' OR c.object_identity IS NULL;
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
        IF NOT v_is_kernel THEN
            PERFORM prov.append(c.command_tag, c.object_identity, p_version => v_version);
        END IF;
    END LOOP;
END $$;

-- What the kernel makes is an event already, with the arguments of its call: the row that remembers it need not be another.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['wt.namespace', 'wt.procedure', 'wt.policy'] LOOP
        EXECUTE format('DROP TRIGGER a_prov_insert ON %s', t);
        EXECUTE format('DROP TRIGGER zz_prov ON %s', t);
        EXECUTE format('CREATE TRIGGER zz_prov AFTER UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION prov.log_end()', t);
    END LOOP;
END $$;

DO $$
BEGIN
    ALTER TABLE prov.event ALTER old SET COMPRESSION lz4, ALTER new SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server has no lz4: large values are packed as usual';
END $$;

-- One call of the kernel by name, as the server has it.
CREATE OR REPLACE FUNCTION wt.kernel(p_call text, p_args jsonb, p_tenant text) RETURNS void
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
        IF NOT wt.drop_trigger(p_args ->> 'schema', p_args ->> 'table', p_args ->> 'name', p_tenant) THEN
            RAISE EXCEPTION 'tenant "%" has no trigger "%" on "%.%"', p_tenant, p_args ->> 'name', p_args ->> 'schema', p_args ->> 'table' USING ERRCODE = 'undefined_object';
        END IF;
    WHEN 'createAssertion' THEN
        PERFORM wt.create_assertion(p_args ->> 'schema', p_args ->> 'name', p_tenant);
    ELSE
        RAISE EXCEPTION 'call "%" is unknown', p_call USING ERRCODE = 'undefined_function',
            HINT = 'Known are createSchema, createTable, createStoredProcedure, createTrigger, dropTrigger, createAssertion, callProcedure.';
    END CASE;
END $$;
RESET ROLE;

-- Postgres lets every session end those of its own login, which callers share.
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_terminate_backend(integer, bigint), pg_catalog.pg_cancel_backend(integer) FROM PUBLIC;
