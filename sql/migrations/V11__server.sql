-- What the server needs: logins for the people it answers, answers kept by idempotency key, reading a table by conditions.
--
-- The server holds a LOGIN role for each role that a token can have, and one for each tenant. None is a superuser or may become another: whatever
-- a caller's statement sets, RESETs or calls, it stays within its login. Their passwords are made anew when the server starts, and are
-- known to that process only.

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['admin', 'operator', 'viewer', 'ingest', 'auth'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wt_s_' || r) THEN
            EXECUTE format('CREATE ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', 'wt_s_' || r);
        END IF;
        EXECUTE format('GRANT %I TO %I', 'wt_' || r, 'wt_s_' || r);
    END LOOP;
END $$;

SET LOCAL ROLE wt_owner;

-- What was answered to a request that carried an idempotency key. The row is in the request's own transaction: there is an answer if and only
-- if the work was done.
CREATE TABLE wt.answer (
    login  text NOT NULL,
    person text NOT NULL,
    key    text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    digest bytea NOT NULL,
    answer jsonb,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (login, person, key)
);
CREATE INDEX answer_at ON wt.answer (at);
COMMENT ON COLUMN wt.answer.digest IS 'SHA-256 of the request: the same key with another request is an error';

-- Begins a request: NULL when it is new, what was answered when it is not.
CREATE FUNCTION wt.answer_begin(p_key text, p_digest bytea) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known wt.answer;
BEGIN
    -- Waits for another request with this key that is under way.
    INSERT INTO wt.answer (login, person, key, digest) VALUES (session_user, sec.person(), p_key, p_digest) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO v_known FROM wt.answer a WHERE a.login = session_user AND a.person = sec.person() AND a.key = p_key;
    IF v_known.digest IS DISTINCT FROM p_digest THEN
        RAISE EXCEPTION 'the idempotency key "%" belongs to another request', p_key
            USING ERRCODE = 'WT004', HINT = 'Use a new key for a new request.';
    END IF;
    RETURN v_known.answer;
END $$;

-- Ends it.
CREATE FUNCTION wt.answer_end(p_key text, p_answer jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE wt.answer SET answer = p_answer WHERE login = session_user AND person = sec.person() AND key = p_key
$$;

-- Forgets answers older than this; returns how many.
CREATE FUNCTION wt.expire_answers(p_keep interval DEFAULT interval '24 hours') RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM wt.answer WHERE at < now() - p_keep RETURNING 1) SELECT count(*) FROM gone
$$;

-- Rows of a table or view as JSON, with the caller's rights. Conditions: [{"column", "op", "value"}], all of which hold; order: ["column", "-column"].
CREATE FUNCTION wt.read_table(p_schema text, p_table text, p_where jsonb DEFAULT '[]', p_order jsonb DEFAULT '[]', p_limit integer DEFAULT 1000) RETURNS SETOF jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_oid oid;
    v_where text := '';
    v_order text := '';
    v_column text;
    v_type text;
    c jsonb;
BEGIN
    SELECT k.oid INTO v_oid FROM pg_catalog.pg_class k JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace
    WHERE n.nspname = p_schema AND k.relname = p_table AND k.relkind IN ('r', 'p', 'v', 'm') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE');
    -- What may not be read is not told apart from what is not there.
    IF v_oid IS NULL OR NOT (pg_catalog.has_table_privilege(v_oid, 'SELECT') OR pg_catalog.has_any_column_privilege(v_oid, 'SELECT')) THEN
        RAISE EXCEPTION 'there is no table "%.%"', p_schema, p_table USING ERRCODE = 'undefined_table';
    END IF;
    IF pg_catalog.jsonb_typeof(p_where) IS DISTINCT FROM 'array' OR pg_catalog.jsonb_typeof(p_order) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'conditions and order are lists' USING ERRCODE = 'invalid_parameter_value', HINT = 'Write "where": [{"column": "x", "op": ">=", "value": 1}], "order": ["-x"].';
    END IF;
    FOR c IN SELECT * FROM pg_catalog.jsonb_array_elements(p_where) LOOP
        SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) INTO v_type FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = v_oid AND a.attname = c ->> 'column' AND a.attnum > 0 AND NOT a.attisdropped;
        IF v_type IS NULL THEN
            RAISE EXCEPTION 'table "%.%" has no column "%"', p_schema, p_table, c ->> 'column' USING ERRCODE = 'undefined_column';
        END IF;
        v_where := v_where || CASE v_where WHEN '' THEN ' WHERE ' ELSE ' AND ' END || wt.comparison(pg_catalog.quote_ident(c ->> 'column'), v_type, c);
    END LOOP;
    FOR c IN SELECT * FROM pg_catalog.jsonb_array_elements(p_order) LOOP
        v_column := pg_catalog.ltrim(c #>> '{}', '-');
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = v_oid AND a.attname = v_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
            RAISE EXCEPTION 'table "%.%" has no column "%"', p_schema, p_table, v_column USING ERRCODE = 'undefined_column';
        END IF;
        v_order := v_order || CASE v_order WHEN '' THEN ' ORDER BY ' ELSE ', ' END || pg_catalog.quote_ident(v_column) || CASE WHEN c #>> '{}' LIKE '-%' THEN ' DESC' ELSE '' END;
    END LOOP;
    RETURN QUERY EXECUTE pg_catalog.format('SELECT pg_catalog.to_jsonb(t) FROM (SELECT * FROM %I.%I%s%s LIMIT %s) t', p_schema, p_table, v_where, v_order, greatest(p_limit, 0));
END $$;

GRANT EXECUTE ON FUNCTION wt.answer_begin, wt.answer_end TO wt_operator, wt_tenant;
GRANT EXECUTE ON FUNCTION wt.expire_answers TO wt_admin;
GRANT EXECUTE ON FUNCTION wt.read_table, wt.comparison TO wt_viewer, wt_tenant;
RESET ROLE;
