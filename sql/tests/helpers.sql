-- Loaded once, before the tests: pgTAP, and a way to do something as somebody else.
CREATE SCHEMA tap;
CREATE EXTENSION pgtap SCHEMA tap;
ALTER DATABASE :"DBNAME" SET search_path = tap, public;

-- Runs a statement as a login and says what came of it: its first value as text, `ok` when it has none, or the SQLSTATE and message.
CREATE FUNCTION tap.as_login(p_login text, p_sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v text;
BEGIN
    BEGIN
        EXECUTE format('SET SESSION AUTHORIZATION %I', p_login);
        IF p_sql ~* '^\s*select|returning' THEN
            EXECUTE p_sql INTO v;
        ELSE
            EXECUTE p_sql;
        END IF;
        v := coalesce(v, 'ok');
    EXCEPTION WHEN OTHERS THEN
        v := SQLSTATE || ' ' || SQLERRM;
    END;
    RESET SESSION AUTHORIZATION;
    RETURN v;
END $$;

-- Logins of the group roles, as a server would have them.
CREATE ROLE t_admin LOGIN IN ROLE wt_admin;
CREATE ROLE t_operator LOGIN IN ROLE wt_operator;
CREATE ROLE t_viewer LOGIN IN ROLE wt_viewer;
CREATE ROLE t_ingest LOGIN IN ROLE wt_ingest;
CREATE ROLE t_proxy LOGIN IN ROLE wt_proxy;
CREATE ROLE t_auth LOGIN IN ROLE wt_auth;
CREATE ROLE t_nobody LOGIN;
GRANT USAGE ON SCHEMA tap TO PUBLIC;
SELECT sec.create_tenant('red'), sec.create_tenant('blue');
