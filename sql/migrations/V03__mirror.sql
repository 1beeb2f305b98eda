-- The mirror: what devices should be (desired) and what they said they are (observed).
--
-- net.object is the one place where both meet. A change of `desired` raises `desired_gen` and writes a command (V04) in the same
-- transaction; an answer writes `observed` and the generation it is of. `net.drift` shows where they differ. So the network is driven
-- by levels, as in Kubernetes, and changed by transactions, as in OVSDB: a lost hint or a lying device shows as drift until it is mended.
--
-- Policies write typed tables: net.nodes, net.pods, net.auto_scalers and net.load_balancers are those of the paper's Table 1; the block
-- list (V10) is another. Statement triggers carry their rows into net.object and back.

SET LOCAL ROLE wt_owner;

-- The allow-list of devices. Targets are written here by an administrator and never come out of a procedure.
CREATE TABLE net.device (
    device   text PRIMARY KEY CHECK (device ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    driver   text NOT NULL CHECK (driver IN ('appliance', 'http', 'kubernetes', 'linux')),
    target   text NOT NULL DEFAULT '' CHECK (length(target) <= 2000),
    tenant   text NOT NULL DEFAULT 'system',
    enabled  boolean NOT NULL DEFAULT true,
    seen_at  timestamptz
);
COMMENT ON COLUMN net.device.target IS 'What the driver connects to: a URL (http, kubernetes), a network namespace (linux), an appliance id';

CREATE TABLE net.object (
    device       text NOT NULL REFERENCES net.device,
    kind         text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_]{0,40}$'),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 253),
    tenant       text NOT NULL DEFAULT sec.tenant(),
    desired      jsonb,
    desired_gen  bigint NOT NULL DEFAULT 0,
    desired_at   timestamptz NOT NULL DEFAULT now(),
    observed     jsonb,
    observed_gen bigint NOT NULL DEFAULT 0,
    observed_at  timestamptz,
    tolerance    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(tolerance) = 'object'),
    error        text,
    PRIMARY KEY (device, kind, name)
);
COMMENT ON COLUMN net.object.desired IS 'NULL: it should not exist';
COMMENT ON COLUMN net.object.observed IS 'NULL: the device said that it does not exist, or has said nothing yet (observed_at NULL)';
COMMENT ON COLUMN net.object.tolerance IS 'By field, the largest difference of two numbers that is no drift, e.g. {"weight": 0.05}';

-- Generations only grow, and only here.
CREATE FUNCTION net.raise_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.desired_gen := CASE WHEN NEW.desired IS NULL THEN 0 ELSE 1 END;
        NEW.observed_gen := 0;
    ELSIF NEW.desired IS DISTINCT FROM OLD.desired OR NEW.desired_gen > OLD.desired_gen THEN
        NEW.desired_gen := OLD.desired_gen + 1;
        NEW.desired_at := now();
    ELSE
        NEW.desired_gen := OLD.desired_gen;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER generation BEFORE INSERT OR UPDATE ON net.object FOR EACH ROW EXECUTE FUNCTION net.raise_generation();

-- Whether an observation is not what was asked for. Fields that were not asked for do not count; numbers may differ by the tolerance.
CREATE FUNCTION net.differs(p_desired jsonb, p_observed jsonb, p_tolerance jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN p_desired IS NULL OR p_observed IS NULL THEN (p_desired IS NULL) <> (p_observed IS NULL)
    WHEN jsonb_typeof(p_desired) <> 'object' OR jsonb_typeof(p_observed) <> 'object' THEN p_desired <> p_observed
    ELSE EXISTS (
        SELECT FROM jsonb_each(p_desired) AS d (field, value)
        WHERE CASE
            WHEN jsonb_typeof(d.value) = 'number' AND jsonb_typeof(p_observed -> d.field) = 'number'
                THEN abs((d.value #>> '{}')::numeric - (p_observed ->> d.field)::numeric)
                     > CASE jsonb_typeof(p_tolerance -> d.field) WHEN 'number' THEN (p_tolerance ->> d.field)::numeric ELSE 0 END
            ELSE p_observed -> d.field IS DISTINCT FROM d.value
        END)
    END;

-- Where the network is not what it should be, and since when that has been asked.
CREATE VIEW net.drift WITH (security_invoker = true) AS
SELECT o.device, o.kind, o.name, o.tenant,
       CASE WHEN o.observed_gen < o.desired_gen THEN 'pending' ELSE 'differs' END AS reason,
       o.desired, o.desired_gen, o.observed, o.observed_gen, o.desired_at AS since, o.error
FROM net.object o
WHERE o.observed_gen < o.desired_gen
   OR (o.observed_at IS NOT NULL AND net.differs(o.desired, o.observed, o.tolerance));

-- The paper's Table 1. A node's utilisation and traffic are measured; that it should run is desired.
CREATE TABLE net.pods (
    pod_id text PRIMARY KEY,
    tenant text NOT NULL DEFAULT sec.tenant(),
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'stopped'))
);
CREATE TABLE net.nodes (
    node_id         text PRIMARY KEY,
    pod_id          text NOT NULL REFERENCES net.pods,
    device          text REFERENCES net.device,
    tenant          text NOT NULL DEFAULT sec.tenant(),
    cpu_util        double precision NOT NULL DEFAULT 0 CHECK (cpu_util BETWEEN 0 AND 1),
    ingress_traffic double precision NOT NULL DEFAULT 0 CHECK (ingress_traffic >= 0),
    error_rate      double precision NOT NULL DEFAULT 0 CHECK (error_rate BETWEEN 0 AND 1),
    latency_ms      double precision NOT NULL DEFAULT 0 CHECK (latency_ms >= 0),
    status          text NOT NULL DEFAULT 'unknown' CHECK (status IN ('unknown', 'running', 'absent'))
);
COMMENT ON COLUMN net.nodes.device IS 'What runs the node; NULL for one that is only measured';
COMMENT ON COLUMN net.nodes.status IS 'As the device last said';
CREATE INDEX nodes_pod ON net.nodes (pod_id);
CREATE TABLE net.auto_scalers (
    pod_id       text PRIMARY KEY REFERENCES net.pods,
    tenant       text NOT NULL DEFAULT sec.tenant(),
    avg_cpu_util double precision,
    nodes        integer NOT NULL DEFAULT 0,
    nodes_max    integer NOT NULL DEFAULT 10 CHECK (nodes_max BETWEEN 0 AND 10000)
);
CREATE TABLE net.load_balancers (
    pod_id              text PRIMARY KEY REFERENCES net.pods,
    tenant              text NOT NULL DEFAULT sec.tenant(),
    avg_ingress_traffic double precision,
    nodes               text[] NOT NULL DEFAULT '{}'
);

-- Recomputes the averages of pods, and the nodes between which each load-balancer divides its traffic. (plpgsql keeps the plan; an SQL
-- function makes it anew at each call.)
CREATE FUNCTION net.recalculate(p_pods text[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH a AS (
        SELECT p.pod_id, p.tenant, avg(n.cpu_util) AS cpu, avg(n.ingress_traffic) AS traffic, count(n.node_id)::integer AS nodes,
               coalesce(array_agg(n.node_id ORDER BY n.node_id) FILTER (WHERE n.node_id IS NOT NULL), '{}') AS names
        FROM net.pods p LEFT JOIN net.nodes n USING (pod_id) WHERE p.pod_id = ANY (p_pods) GROUP BY p.pod_id
    ), scaled AS (
        INSERT INTO net.auto_scalers AS s (pod_id, tenant, avg_cpu_util, nodes) SELECT pod_id, tenant, cpu, nodes FROM a
        ON CONFLICT (pod_id) DO UPDATE SET avg_cpu_util = excluded.avg_cpu_util, nodes = excluded.nodes
        WHERE (s.avg_cpu_util, s.nodes) IS DISTINCT FROM (excluded.avg_cpu_util, excluded.nodes)
    )
    INSERT INTO net.load_balancers AS b (pod_id, tenant, avg_ingress_traffic, nodes) SELECT pod_id, tenant, traffic, names FROM a
    ON CONFLICT (pod_id) DO UPDATE SET avg_ingress_traffic = excluded.avg_ingress_traffic, nodes = excluded.nodes
    WHERE (b.avg_ingress_traffic, b.nodes) IS DISTINCT FROM (excluded.avg_ingress_traffic, excluded.nodes);
END $$;

-- Carries nodes into net.object and their pods' averages along. Named after `m_`: after the log, before policies (`p_`).
CREATE FUNCTION net.nodes_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_pods text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT pod_id) INTO v_pods FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT pod_id) INTO v_pods FROM old_rows;
    ELSE
        SELECT array_agg(DISTINCT pod_id) INTO v_pods FROM (SELECT pod_id FROM new_rows UNION SELECT pod_id FROM old_rows) u;
    END IF;
    IF v_pods IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE net.object o SET desired = NULL FROM old_rows d
        WHERE o.device = d.device AND o.kind = 'node' AND o.name = d.node_id AND o.desired IS NOT NULL
          AND NOT EXISTS (SELECT FROM net.nodes n WHERE n.node_id = d.node_id AND n.device = d.device);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO net.object AS o (device, kind, name, tenant, desired)
        SELECT device, 'node', node_id, tenant, jsonb_build_object('pod', pod_id) FROM new_rows WHERE device IS NOT NULL
        ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired, tenant = excluded.tenant
        WHERE o.desired IS DISTINCT FROM excluded.desired;
    END IF;
    PERFORM net.recalculate(v_pods);
    RETURN NULL;
END $$;
CREATE TRIGGER m_insert AFTER INSERT ON net.nodes REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION net.nodes_changed();
CREATE TRIGGER m_update AFTER UPDATE ON net.nodes REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION net.nodes_changed();
CREATE TRIGGER m_delete AFTER DELETE ON net.nodes REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION net.nodes_changed();

-- And back: what a device said of its nodes.
CREATE FUNCTION net.objects_observed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Without this, a statement that changes nothing here would fire one that changes nothing there, and so on.
    IF NOT EXISTS (SELECT FROM new_rows WHERE kind = 'node' AND observed_at IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    UPDATE net.nodes n SET status = s.status
    FROM (SELECT name, CASE WHEN observed IS NULL THEN 'absent' ELSE 'running' END AS status FROM new_rows WHERE kind = 'node' AND observed_at IS NOT NULL) s
    WHERE n.node_id = s.name AND n.status <> s.status;
    RETURN NULL;
END $$;
CREATE TRIGGER m_observed AFTER UPDATE ON net.object REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION net.objects_observed();

SELECT prov.track('net.device'), prov.track('net.object'), prov.track('net.pods'), prov.track('net.nodes'), prov.track('net.auto_scalers'), prov.track('net.load_balancers');

-- Rights: people see all, operators change desired state, tenants theirs. The measured columns of nodes are theirs to write too, as they
-- come with the tenant's telemetry; observed state is written by the proxy's functions alone.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['device', 'object', 'pods', 'nodes', 'auto_scalers', 'load_balancers'] LOOP
        EXECUTE format('ALTER TABLE net.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY people ON net.%I TO wt_viewer USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY tenants ON net.%I TO wt_tenant USING (tenant = sec.tenant()) WITH CHECK (tenant = sec.tenant())', t);
        EXECUTE format('GRANT SELECT ON net.%I TO wt_viewer, wt_tenant', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['pods', 'nodes', 'auto_scalers', 'load_balancers'] LOOP
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON net.%I TO wt_operator, wt_tenant', t);
    END LOOP;
END $$;
GRANT INSERT, UPDATE, DELETE ON net.device TO wt_admin;
GRANT INSERT (device, kind, name, tenant, desired, tolerance), UPDATE (desired, tolerance) ON net.object TO wt_operator, wt_tenant;
GRANT SELECT ON net.drift TO wt_viewer, wt_tenant;
-- The view asks as its reader, and so does its function.
GRANT EXECUTE ON FUNCTION net.differs TO wt_viewer, wt_tenant;
GRANT EXECUTE ON FUNCTION net.recalculate TO wt_operator;

-- A tenant may use its own devices only: a foreign key would let it name any.
CREATE FUNCTION net.check_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.device IS NOT NULL AND NOT EXISTS (SELECT FROM net.device d WHERE d.device = NEW.device AND d.enabled AND (NEW.tenant = 'system' OR d.tenant = NEW.tenant)) THEN
        RAISE EXCEPTION 'device "%" is not on the allow-list of tenant "%"', NEW.device, NEW.tenant
            USING ERRCODE = 'foreign_key_violation', HINT = 'An administrator adds devices to net.device.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER device BEFORE INSERT OR UPDATE OF device, tenant ON net.nodes FOR EACH ROW EXECUTE FUNCTION net.check_device();
CREATE TRIGGER device BEFORE INSERT OR UPDATE OF device, tenant ON net.object FOR EACH ROW EXECUTE FUNCTION net.check_device();
RESET ROLE;
