-- A statement that changes no row fires its triggers all the same, and INSERT … ON CONFLICT DO UPDATE fires those of both kinds: what is nearly always an update is one, and
-- nodes that no device runs leave the objects of devices alone.

SET LOCAL ROLE wt_owner;

-- Recomputes the averages of pods, and the nodes between which each load-balancer divides its traffic. (plpgsql keeps the plan, where an SQL
-- function makes it anew at each call; and it is told to, as a plan for one pod looks cheaper than one for any, by less than it takes to make.)
CREATE OR REPLACE FUNCTION net.recalculate(p_pods text[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    -- Both come with the first node of a pod, and stay.
    IF least((SELECT count(*) FROM net.auto_scalers s WHERE s.pod_id = ANY (p_pods)), (SELECT count(*) FROM net.load_balancers b WHERE b.pod_id = ANY (p_pods))) < cardinality(p_pods) THEN
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
        RETURN;
    END IF;
    WITH a AS (
        SELECT p.pod_id, avg(n.cpu_util) AS cpu, avg(n.ingress_traffic) AS traffic, count(n.node_id)::integer AS nodes,
               coalesce(array_agg(n.node_id ORDER BY n.node_id) FILTER (WHERE n.node_id IS NOT NULL), '{}') AS names
        FROM net.pods p LEFT JOIN net.nodes n USING (pod_id) WHERE p.pod_id = ANY (p_pods) GROUP BY p.pod_id
    ), scaled AS (
        UPDATE net.auto_scalers s SET avg_cpu_util = a.cpu, nodes = a.nodes FROM a
        WHERE s.pod_id = ANY (p_pods) AND s.pod_id = a.pod_id AND (s.avg_cpu_util, s.nodes) IS DISTINCT FROM (a.cpu, a.nodes)
    )
    UPDATE net.load_balancers b SET avg_ingress_traffic = a.traffic, nodes = a.names FROM a
    WHERE b.pod_id = ANY (p_pods) AND b.pod_id = a.pod_id AND (b.avg_ingress_traffic, b.nodes) IS DISTINCT FROM (a.traffic, a.names);
END $$;

-- Carries nodes into net.object and their pods' averages along. Named after `m_`: after the log, before policies (`p_`).
CREATE OR REPLACE FUNCTION net.nodes_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
    -- Two conditions each, as there are no old rows to ask for in an insertion, nor new ones in a deletion.
    IF TG_OP <> 'INSERT' THEN
        IF EXISTS (SELECT FROM old_rows WHERE device IS NOT NULL) THEN
            UPDATE net.object o SET desired = NULL FROM old_rows d
            WHERE o.device = d.device AND o.kind = 'node' AND o.name = d.node_id AND o.desired IS NOT NULL
              AND NOT EXISTS (SELECT FROM net.nodes n WHERE n.node_id = d.node_id AND n.device = d.device);
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF EXISTS (SELECT FROM new_rows WHERE device IS NOT NULL) THEN
            INSERT INTO net.object AS o (device, kind, name, tenant, desired)
            SELECT device, 'node', node_id, tenant, jsonb_build_object('pod', pod_id) FROM new_rows WHERE device IS NOT NULL
            ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired, tenant = excluded.tenant
            WHERE o.desired IS DISTINCT FROM excluded.desired;
        END IF;
    END IF;
    PERFORM net.recalculate(v_pods);
    RETURN NULL;
END $$;
RESET ROLE;
