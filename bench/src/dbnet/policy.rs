//! What the experiments make: the paper's example as calls.

use serde_json::{Value, json};

/// A body of /v1/callProcedure.
pub(super) fn call(procedure: &str, arguments: &Value) -> Value {
    json!({ "procedure": procedure, "args": arguments })
}

fn schema(name: &str) -> Value {
    json!({ "call": "createSchema", "schema": name })
}

fn table(schema: &str, name: &str) -> Value {
    json!({ "call": "createTable", "schema": schema, "table": name, "columns": [
        { "name": "id", "type": "text", "primaryKey": true },
        { "name": "status", "type": "text", "notNull": true, "default": "running" },
        { "name": "cpu_util", "type": "double precision", "check": { "op": ">=", "value": 0 } },
        { "name": "ingress_traffic", "type": "double precision", "check": { "op": ">=", "value": 0 } },
        { "name": "seen_at", "type": "timestamptz" },
    ]})
}

fn procedure(schema: &str, name: &str, params: &Value, body: &str) -> Value {
    json!({ "call": "createStoredProcedure", "schema": schema, "name": name, "params": params, "body": body })
}

fn trigger(
    schema: &str,
    table: &str,
    name: &str,
    events: &[&str],
    procedure: &str,
    condition: &Value,
) -> Value {
    json!({ "call": "createTrigger", "schema": schema, "table": table, "name": name, "events": events, "procedure": procedure, "condition": condition })
}

fn rows() -> Value {
    json!([{ "name": "new_rows", "type": "jsonb" }])
}

/// 7 schemas, each with a table; 9 procedures, and 5 triggers that call them.
pub(super) fn everything(round: usize) -> Vec<Value> {
    let parts = ["pods", "nodes", "scalers", "balancers", "spans", "logs", "metrics"];
    let name = |part: &str| format!("r{round}_{part}");
    let mut calls: Vec<Value> = parts.iter().map(|part| schema(&name(part))).collect();
    calls.extend(parts.iter().map(|part| table(&name(part), part)));
    for part in parts {
        let (schema, table) = (name(part), part);
        let body = format!(
            "BEGIN UPDATE {schema}.{table} t SET seen_at = now() FROM jsonb_array_elements(touch.new_rows) r WHERE t.id = r ->> 'id' AND t.seen_at IS NULL; END"
        );
        calls.push(procedure(&schema, "touch", &rows(), &body));
    }
    for part in ["pods", "nodes"] {
        let (schema, table) = (name(part), part);
        let body = format!("BEGIN INSERT INTO {schema}.{table} (id) VALUES (add.id); END");
        calls.push(procedure(&schema, "add", &json!([{ "name": "id", "type": "text" }]), &body));
    }
    let busy = json!([{ "column": "ingress_traffic", "op": ">=", "value": 800 }]);
    for part in &parts[..5] {
        calls.push(trigger(
            &name(part),
            part,
            "seen",
            &["insert"],
            &format!("{}.touch", name(part)),
            &busy,
        ));
    }
    calls
}

/// "If the ingress traffic exceeds a threshold, have the auto-scaler spin up a new node."
pub(super) fn scaling() -> Vec<Value> {
    let pod = json!([{ "name": "pod", "type": "text" }]);
    let report = json!([{ "name": "pod", "type": "text" }, { "name": "traffic", "type": "double precision" }]);
    vec![
        schema("scaling"),
        procedure(
            "scaling",
            "make_pod",
            &pod,
            "BEGIN INSERT INTO net.pods (pod_id) VALUES (pod); \
            INSERT INTO net.nodes (node_id, pod_id, ingress_traffic) SELECT pod || '-' || n, pod, 100 FROM generate_series(0, 2) n; END",
        ),
        procedure(
            "scaling",
            "report",
            &report,
            "BEGIN UPDATE net.nodes SET ingress_traffic = traffic WHERE pod_id = pod; END",
        ),
        procedure(
            "scaling",
            "scale",
            &rows(),
            "BEGIN INSERT INTO net.nodes (node_id, pod_id) \
            SELECT (r ->> 'pod_id') || '-' || s.nodes, r ->> 'pod_id' FROM jsonb_array_elements(new_rows) r JOIN net.auto_scalers s ON s.pod_id = r ->> 'pod_id' \
            WHERE s.nodes < s.nodes_max ON CONFLICT DO NOTHING; END",
        ),
        trigger(
            "net",
            "load_balancers",
            "busy",
            &["update"],
            "scaling.scale",
            &json!([{ "column": "avg_ingress_traffic", "op": ">=", "value": 800 }]),
        ),
    ]
}

/// "The autoscaler should kill off nodes with error rates exceeding a certain threshold and provision new ones."
pub(super) fn telemetry() -> Vec<Value> {
    let body = "DECLARE v_rate double precision; v_node text; v_pod text; BEGIN \
        SELECT r.attributes ->> 'host.name', avg(((s ->> 'status')::int = 2)::int) INTO v_node, v_rate \
        FROM jsonb_array_elements(new_rows) s JOIN otel.resource r ON r.id = (s ->> 'resource_id')::bigint GROUP BY 1 ORDER BY 2 DESC LIMIT 1; \
        IF v_rate > 0.5 THEN \
            DELETE FROM net.nodes WHERE node_id = v_node RETURNING pod_id INTO v_pod; \
            INSERT INTO net.nodes (node_id, pod_id) SELECT v_node || '-again', v_pod WHERE v_pod IS NOT NULL; \
        END IF; END";
    vec![
        schema("health"),
        procedure("health", "replace", &rows(), body),
        trigger(
            "otel",
            "span",
            "errors",
            &["insert"],
            "health.replace",
            &json!([{ "column": "start_ns", "op": ">", "value": 0 }]),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_as_in_the_paper() {
        let calls = everything(3);
        let count = |name: &str| calls.iter().filter(|call| call["call"] == name).count();
        let counts =
            ["createSchema", "createTable", "createStoredProcedure", "createTrigger"].map(count);
        assert_eq!(counts, [7, 7, 9, 5]);
    }
}
