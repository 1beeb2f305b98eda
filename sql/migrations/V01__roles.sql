-- Roles, schemas, tenants, tokens, limits: who may do what.
--
-- Everything is denied unless granted below: PUBLIC loses what Postgres gives it, and functions made by wt_owner start
-- without EXECUTE. Objects belong to wt_owner, which cannot log in, make roles, or pass row-level security of others.
--
--   wt_viewer ⊂ wt_operator ⊂ wt_admin   the people who run the network; they see every tenant
--   wt_ingest                            appliances and collectors: loads results and telemetry, reads nothing else
--   wt_proxy                             the process that talks to devices: leases and acknowledges commands
--   wt_auth                              the process that receives requests: may check a token, and no more
--   wt_tenant                            the group of all tenants; each has a LOGIN role wt_t_NAME of its own
--
-- A LOGIN role per tenant, because a shared one that does SET ROLE lets a tenant's procedure do SET ROLE as well.
-- The migrations need a superuser: event triggers (V02) and LOGIN roles (below) do.

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['wt_owner', 'wt_viewer', 'wt_operator', 'wt_admin', 'wt_ingest', 'wt_proxy', 'wt_auth', 'wt_tenant'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO wt_viewer, wt_ingest, wt_proxy, wt_auth, wt_tenant', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO wt_owner', current_database());
    -- A batch of results or telemetry is first copied into a temporary table.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO wt_ingest, wt_operator', current_database());
END $$;

GRANT wt_viewer TO wt_operator;
GRANT wt_operator TO wt_admin;
-- What wt_owner makes for a person is handed to that person's role; giving away needs membership.
GRANT wt_operator, wt_admin TO wt_owner;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE wt_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE SCHEMA sec AUTHORIZATION wt_owner;
CREATE SCHEMA prov AUTHORIZATION wt_owner;
CREATE SCHEMA wt AUTHORIZATION wt_owner;
CREATE SCHEMA net AUTHORIZATION wt_owner;
CREATE SCHEMA north AUTHORIZATION wt_owner;
CREATE SCHEMA otel AUTHORIZATION wt_owner;
CREATE SCHEMA res AUTHORIZATION wt_owner;

SET LOCAL ROLE wt_owner;

GRANT USAGE ON SCHEMA sec, prov, wt, net, north, otel, res TO wt_viewer;
GRANT USAGE ON SCHEMA sec, wt, res, otel TO wt_ingest;
GRANT USAGE ON SCHEMA net, north TO wt_proxy;
GRANT USAGE ON SCHEMA sec TO wt_auth;
GRANT USAGE ON SCHEMA sec, wt, prov, net TO wt_tenant;

CREATE TABLE sec.tenant (
    tenant     text PRIMARY KEY CHECK (tenant ~ '^[a-z][a-z0-9_]{0,40}$' AND tenant <> 'system'),
    created_at timestamptz NOT NULL DEFAULT now(),
    active     boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE sec.tenant IS 'Tenants. Rows of the operators themselves belong to the tenant "system", which is not listed here.';

-- What a caller may use. NULL as tenant: what holds where a tenant has no row.
CREATE TABLE sec.limits (
    tenant           text UNIQUE REFERENCES sec.tenant ON DELETE CASCADE,
    body_bytes_max   bigint  NOT NULL DEFAULT 8388608 CHECK (body_bytes_max BETWEEN 1024 AND 1073741824),
    requests_per_s   integer NOT NULL DEFAULT 100     CHECK (requests_per_s BETWEEN 1 AND 100000),
    statement_ms     integer NOT NULL DEFAULT 5000    CHECK (statement_ms BETWEEN 10 AND 600000),
    connections_max  integer NOT NULL DEFAULT 10      CHECK (connections_max BETWEEN 1 AND 1000),
    rows_max         integer NOT NULL DEFAULT 100000  CHECK (rows_max BETWEEN 1 AND 10000000)
);
CREATE UNIQUE INDEX limits_default ON sec.limits ((true)) WHERE tenant IS NULL;
INSERT INTO sec.limits DEFAULT VALUES;

-- The digest alone is kept. A token has 244 random bits, so a plain SHA-256 cannot be searched; no salt or slow hash is needed.
CREATE TABLE sec.token (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest     bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    role       text NOT NULL CHECK (role IN ('wt_admin', 'wt_operator', 'wt_viewer', 'wt_ingest')),
    tenant     text REFERENCES sec.tenant ON DELETE CASCADE,
    label      text NOT NULL CHECK (length(label) BETWEEN 1 AND 200),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CHECK (tenant IS NULL OR role <> 'wt_admin')
);
COMMENT ON COLUMN sec.token.role IS 'With a tenant, requests run as wt_t_TENANT and the role narrows them (wt_viewer: READ ONLY); without, as the role.';

REVOKE ALL ON ALL TABLES IN SCHEMA sec FROM PUBLIC;
GRANT SELECT ON sec.tenant, sec.limits TO wt_viewer, wt_auth;
GRANT INSERT, UPDATE ON sec.limits TO wt_admin;
GRANT SELECT (id, role, tenant, label, created_by, created_at, expires_at, revoked_at) ON sec.token TO wt_admin;

-- The tenant whose rights apply now; `system` for everybody else. By current_user, as a policy runs with its author's rights.
CREATE FUNCTION sec.tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN starts_with(current_user::text, 'wt_t_') THEN substr(current_user::text, 6) ELSE 'system' END;
GRANT EXECUTE ON FUNCTION sec.tenant() TO PUBLIC;

-- The person who acts: what the server says of the token it accepted, else the login.
CREATE FUNCTION sec.person() RETURNS text LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('wt.actor', true), ''), session_user::text);
GRANT EXECUTE ON FUNCTION sec.person() TO PUBLIC;

-- A new token, shown once.
CREATE FUNCTION sec.create_token(p_role text, p_tenant text, p_label text, p_ttl interval DEFAULT interval '90 days') RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_token text := 'wtk_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex');
BEGIN
    IF p_ttl IS NULL OR p_ttl <= interval '0' OR p_ttl > interval '366 days' THEN
        RAISE EXCEPTION 'a token cannot be valid for %', p_ttl
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Choose a time above 0 and up to 366 days.';
    END IF;
    INSERT INTO sec.token (digest, role, tenant, label, created_by, expires_at)
    VALUES (sha256(convert_to(v_token, 'UTF8')), p_role, p_tenant, p_label, sec.person(), now() + p_ttl);
    RETURN v_token;
END $$;
GRANT EXECUTE ON FUNCTION sec.create_token TO wt_admin;

CREATE FUNCTION sec.revoke_token(p_id bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE sec.token SET revoked_at = now() WHERE id = p_id AND revoked_at IS NULL;
    RETURN FOUND;
END $$;
GRANT EXECUTE ON FUNCTION sec.revoke_token TO wt_admin;

-- What a token allows: no row when it is unknown, expired, revoked, or its tenant is not active.
CREATE FUNCTION sec.check_token(p_token text)
RETURNS TABLE (token_id bigint, role text, tenant text, label text, body_bytes_max bigint, requests_per_s integer, statement_ms integer, rows_max integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.id, t.role, t.tenant, t.label, l.body_bytes_max, l.requests_per_s, l.statement_ms, l.rows_max
    FROM sec.token t
    LEFT JOIN sec.tenant n ON n.tenant = t.tenant
    CROSS JOIN LATERAL (
        SELECT * FROM sec.limits l WHERE l.tenant = t.tenant OR l.tenant IS NULL ORDER BY l.tenant NULLS LAST LIMIT 1
    ) l
    WHERE t.digest = sha256(convert_to(p_token, 'UTF8'))
      AND t.revoked_at IS NULL AND t.expires_at > now() AND (t.tenant IS NULL OR n.active)
$$;
GRANT EXECUTE ON FUNCTION sec.check_token TO wt_auth;

RESET ROLE;

-- The three below make and change LOGIN roles: they run as the superuser who migrates, and take a checked name and no SQL.

-- A tenant and its LOGIN role. The password comes as a SCRAM verifier, so that none appears in a statement or a log; without one
-- the role gets in only where the server's own socket lets it.
CREATE FUNCTION sec.create_tenant(p_tenant text, p_verifier text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := 'wt_t_' || p_tenant;
BEGIN
    IF p_tenant IS NULL OR p_tenant !~ '^[a-z][a-z0-9_]{0,40}$' OR p_tenant = 'system' THEN
        RAISE EXCEPTION 'tenant name "%" is not allowed', p_tenant
            USING ERRCODE = 'invalid_name', HINT = 'Use a letter, then up to 40 letters, digits or _; lower case; not "system".';
    END IF;
    IF p_verifier IS NOT NULL AND p_verifier !~ '^SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$' THEN
        RAISE EXCEPTION 'the password of tenant "%" is not a SCRAM verifier', p_tenant
            USING ERRCODE = 'invalid_password', HINT = 'Send SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER, never the password itself.';
    END IF;
    INSERT INTO sec.tenant (tenant) VALUES (p_tenant);
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
        RAISE EXCEPTION 'role "%" exists already', v_role
            USING ERRCODE = 'duplicate_object', HINT = 'Another database of this cluster has the tenant; choose another name.';
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', v_role);
    IF p_verifier IS NOT NULL THEN
        EXECUTE format('ALTER ROLE %I PASSWORD %L', v_role, p_verifier);
    END IF;
    EXECUTE format('GRANT wt_tenant TO %I', v_role);
    EXECUTE format('GRANT %I TO wt_owner', v_role);
    PERFORM sec.apply_limits(p_tenant);
END $$;

-- Writes the limits of a tenant into its role: they hold from its next session.
CREATE FUNCTION sec.apply_limits(p_tenant text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_role text := 'wt_t_' || p_tenant;
    v_limits sec.limits;
BEGIN
    IF NOT EXISTS (SELECT FROM sec.tenant WHERE tenant = p_tenant) THEN
        RAISE EXCEPTION 'there is no tenant "%"', p_tenant USING ERRCODE = 'undefined_object';
    END IF;
    SELECT * INTO v_limits FROM sec.limits WHERE tenant = p_tenant OR tenant IS NULL ORDER BY tenant NULLS LAST LIMIT 1;
    EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', v_role, v_limits.connections_max);
    EXECUTE format('ALTER ROLE %I SET statement_timeout = %L', v_role, v_limits.statement_ms || 'ms');
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = %L', v_role, v_limits.statement_ms || 'ms');
    EXECUTE format('ALTER ROLE %I SET lock_timeout = %L', v_role, v_limits.statement_ms || 'ms');
    EXECUTE format('ALTER ROLE %I SET temp_file_limit = %L', v_role, '256MB');
END $$;

-- Bars a tenant: its role cannot log in, its tokens are refused. Its rows stay.
CREATE FUNCTION sec.deactivate_tenant(p_tenant text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE sec.tenant SET active = false WHERE tenant = p_tenant;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no tenant "%"', p_tenant USING ERRCODE = 'undefined_object';
    END IF;
    EXECUTE format('ALTER ROLE %I NOLOGIN', 'wt_t_' || p_tenant);
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wt_t_' || p_tenant;
END $$;

REVOKE EXECUTE ON FUNCTION sec.create_tenant, sec.apply_limits, sec.deactivate_tenant FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sec.create_tenant, sec.apply_limits, sec.deactivate_tenant TO wt_admin;
