//! The description of the server's calls (OpenAPI 3.1).

use axum::Json;
use serde_json::{Value, json};

use super::calls::CALLS;

/// `GET /openapi.json`.
pub(super) async fn page() -> Json<Value> {
    Json(description())
}

/// All paths that are described.
pub(super) fn paths() -> Vec<String> {
    let description = description();
    let paths = description["paths"].as_object();
    paths.map_or_else(Vec::new, |paths| paths.keys().cloned().collect())
}

/// Types of columns and parameters (`wt.column_type` of the database, which a test compares).
const TYPES: [&str; 21] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "numeric(20,0)",
    "real",
    "double precision",
    "text",
    "bytea",
    "inet",
    "cidr",
    "macaddr",
    "timestamptz",
    "date",
    "interval",
    "jsonb",
    "uuid",
    "text[]",
    "bigint[]",
    "inet[]",
];

/// A call: what it does, and the fields of its body besides `dryRun`.
fn call(name: &str) -> (&'static str, Value, Vec<&'static str>) {
    let text = || json!({ "type": "string" });
    let type_of = || json!({ "enum": TYPES });
    let returns: Vec<&str> = std::iter::once("void").chain(TYPES).collect();
    let name_of = || json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,49}$" });
    let params = json!({
        "type": "array", "maxItems": 50,
        "items": {
            "type": "object", "required": ["name", "type"],
            "properties": { "name": name_of(), "type": type_of() },
        },
    });
    let column = json!({
        "type": "object", "required": ["name", "type"], "additionalProperties": false,
        "properties": {
            "name": name_of(), "type": type_of(),
            "primaryKey": { "type": "boolean" }, "notNull": { "type": "boolean" }, "unique": { "type": "boolean" },
            "default": { "type": ["string", "number", "boolean"] },
            "check": { "oneOf": [{ "$ref": "#/components/schemas/Comparison" }, { "type": "array", "items": { "$ref": "#/components/schemas/Comparison" } }] },
        },
    });
    match name {
        "createSchema" => ("Makes a schema.", json!({ "schema": name_of() }), vec!["schema"]),
        "createTable" => (
            "Makes a table of typed columns; its changes are logged.",
            json!({ "schema": name_of(), "table": name_of(), "columns": { "type": "array", "minItems": 1, "maxItems": 200, "items": column } }),
            vec!["schema", "table", "columns"],
        ),
        "createStoredProcedure" => (
            "Makes a procedure, or a new version of it. That of a tenant is off until a second person activates it.",
            json!({
                "schema": name_of(), "name": name_of(), "params": params, "body": text(),
                "language": { "enum": ["plpgsql", "sql"] }, "returns": { "enum": returns },
            }),
            vec!["schema", "name", "body"],
        ),
        "createTrigger" => (
            "Has a procedure called when rows of a table change, once per statement, with the rows that meet the condition.",
            json!({
                "schema": name_of(), "table": name_of(), "name": name_of(),
                "events": { "type": "array", "minItems": 1, "items": { "enum": ["insert", "update", "delete"] } },
                "procedure": text(),
                "condition": { "type": "array", "items": { "$ref": "#/components/schemas/Condition" } },
            }),
            vec!["schema", "table", "name", "events", "procedure"],
        ),
        "dropTrigger" => (
            "Removes a trigger.",
            json!({ "schema": name_of(), "table": name_of(), "name": name_of() }),
            vec!["schema", "table", "name"],
        ),
        "createAssertion" => (
            "Has a boolean procedure checked before each transaction with commands to devices commits.",
            json!({ "schema": name_of(), "name": name_of() }),
            vec!["schema", "name"],
        ),
        _ => (
            "Calls a procedure with named arguments.",
            json!({ "procedure": text(), "args": { "type": "object" } }),
            vec!["procedure"],
        ),
    }
}

/// A body of a call that makes sense: all of them, in order, make a table, a policy on it, and use it.
fn example(name: &str) -> Value {
    match name {
        "createSchema" => json!({ "schema": "lab" }),
        "createTable" => json!({ "schema": "lab", "table": "rates", "columns": [
            { "name": "site", "type": "text", "primaryKey": true },
            { "name": "rate", "type": "double precision", "notNull": true, "default": 0, "check": { "op": ">=", "value": 0 } },
        ]}),
        "createStoredProcedure" => json!({
            "schema": "lab", "name": "cool", "params": [{ "name": "new_rows", "type": "jsonb" }],
            "body": "BEGIN UPDATE lab.rates SET rate = 0 WHERE site IN (SELECT r ->> 'site' FROM jsonb_array_elements(new_rows) r); END",
        }),
        "createTrigger" => json!({
            "schema": "lab", "table": "rates", "name": "hot", "events": ["insert"], "procedure": "lab.cool",
            "condition": [{ "column": "rate", "op": ">=", "value": 100 }],
        }),
        "dropTrigger" => json!({ "schema": "lab", "table": "rates", "name": "hot" }),
        "createAssertion" => json!({ "schema": "lab", "name": "few_sites" }),
        "callProcedure" => {
            json!({ "procedure": "lab.cool", "args": { "new_rows": [{ "site": "berlin" }] } })
        }
        "readTable" => json!({
            "schema": "lab", "table": "rates", "where": [{ "column": "rate", "op": ">", "value": 10 }], "order": ["-rate"], "limit": 5,
        }),
        "query" => {
            json!({ "sql": "SELECT device, driver FROM net.device WHERE driver = $1", "params": ["appliance"], "limit": 10 })
        }
        _ => {
            let calls = [
                "createSchema",
                "createTable",
                "createStoredProcedure",
                "createTrigger",
                "callProcedure",
            ]
            .map(|name| {
                let mut call = example(name);
                call["call"] = name.into();
                call
            });
            json!({ "calls": calls, "dryRun": true })
        }
    }
}

fn refusals(mut responses: Value) -> Value {
    let problem = json!({ "description": "Refused or failed", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    for status in ["400", "401", "403", "404", "409", "413", "415", "422", "429", "503", "504"] {
        responses[status] = problem.clone();
    }
    responses
}

fn json_post(
    summary: &str,
    (schema, example): (&Value, Value),
    answer: &Value,
    has_key: bool,
) -> Value {
    let key = json!({ "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "minLength": 1, "maxLength": 200 }, "description": "The work is done once, however often the request comes" });
    json!({ "post": {
        "summary": summary,
        "security": [{ "token": [] }],
        "parameters": if has_key { json!([key]) } else { json!([]) },
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema, "example": example } } },
        "responses": refusals(json!({ "200": { "description": "Done", "content": { "application/json": { "schema": answer } } } })),
    }})
}

fn telemetry(what: &str) -> Value {
    let any = json!({ "schema": {} });
    json!({ "post": {
        "summary": format!("Takes {what} (OTLP/HTTP)."),
        "security": [{ "token": [] }],
        "requestBody": { "required": true, "content": { "application/x-protobuf": any, "application/json": { "schema": { "type": "object" } } } },
        "responses": refusals(json!({ "200": { "description": "Taken, all or in part", "content": { "application/x-protobuf": any, "application/json": { "schema": { "type": "object" } } } } })),
    }})
}

fn stream(summary: &str, with_relation: bool) -> Value {
    let mut parameters = vec![
        json!({ "name": "after", "in": "query", "schema": { "type": "integer", "format": "int64" } }),
        json!({ "name": "Last-Event-ID", "in": "header", "schema": { "type": "string" } }),
    ];
    if with_relation {
        parameters.push(json!({ "name": "relation", "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    json!({ "get": {
        "summary": summary,
        "security": [{ "token": [] }],
        "parameters": parameters,
        "responses": refusals(json!({ "200": { "description": "Events", "content": { "text/event-stream": {} } } })),
    }})
}

fn plain(summary: &str, kind: &str) -> Value {
    json!({ "get": { "summary": summary, "responses": {
        "200": { "description": "Yes", "content": { kind: {} } },
        "503": { "description": "Not now", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } },
    }}})
}

fn description() -> Value {
    let dry = json!({ "type": "boolean", "description": "Do it, say what it makes, take it back" });
    let answer = json!({ "type": "object", "properties": { "result": {}, "dryRun": { "type": "boolean" } } });
    let list_answer = json!({ "type": "object", "properties": { "results": { "type": "array" }, "dryRun": { "type": "boolean" }, "events": { "type": "array" }, "commands": { "type": "array" } } });
    let rows = json!({ "type": "object", "required": ["rows", "more"], "properties": { "rows": { "type": "array" }, "more": { "type": "boolean" } } });
    let mut paths = serde_json::Map::new();
    let mut in_lists: Vec<Value> = Vec::new();
    for name in CALLS {
        let (summary, mut properties, required) = call(name);
        let mut in_list =
            json!({ "type": "object", "required": required, "properties": properties });
        in_list["properties"]["call"] = json!({ "const": name });
        if let Some(fields) = in_list["required"].as_array_mut() {
            fields.push("call".into());
        }
        in_lists.push(in_list);
        properties["dryRun"] = dry.clone();
        let schema = json!({ "type": "object", "required": required, "properties": properties });
        let body = (&schema, example(name));
        paths.insert(format!("/v1/{name}"), json_post(summary, body, &answer, true));
    }
    let wrapped = json!({
        "type": "object", "required": ["calls"], "additionalProperties": false,
        "properties": {
            "calls": { "type": "array", "minItems": 1, "maxItems": 1000, "items": { "oneOf": in_lists } },
            "dryRun": dry,
        },
    });
    let table = json!({
        "type": "object", "required": ["schema", "table"], "additionalProperties": false,
        "properties": {
            "schema": { "type": "string" }, "table": { "type": "string" },
            "where": { "type": "array", "items": { "$ref": "#/components/schemas/Condition" } },
            "order": { "type": "array", "items": { "type": "string" } },
            "limit": { "type": "integer", "minimum": 0 },
        },
    });
    let query = json!({
        "type": "object", "required": ["sql"], "additionalProperties": false,
        "properties": { "sql": { "type": "string" }, "params": { "type": "array" }, "limit": { "type": "integer", "minimum": 0 } },
    });
    for (path, item) in [
        (
            "/v1/wrapTransaction",
            json_post(
                "Runs a list of calls as one transaction, all or nothing.",
                (&wrapped, example("wrapTransaction")),
                &list_answer,
                true,
            ),
        ),
        (
            "/v1/readTable",
            json_post(
                "Reads rows of a table or view.",
                (&table, example("readTable")),
                &rows,
                false,
            ),
        ),
        (
            "/v1/query",
            json_post("Runs a query, READ ONLY.", (&query, example("query")), &rows, false),
        ),
        ("/v1/traces", telemetry("traces")),
        ("/v1/logs", telemetry("logs")),
        ("/v1/metrics", telemetry("metrics")),
        ("/v1/events", stream("What happens, as it happens.", false)),
        ("/v1/results/{relation}", stream("Rows of a result, batch by batch.", true)),
        ("/healthz", plain("Whether the server is alive.", "text/plain")),
        ("/readyz", plain("Whether it can serve: the database answers.", "text/plain")),
        ("/metrics", plain("What the server does, for Prometheus.", "text/plain")),
        ("/openapi.json", plain("This description.", "application/json")),
    ] {
        paths.insert(path.to_owned(), item);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Wiretable", "version": env!("CARGO_PKG_VERSION"), "description": "A database as the control plane of a network." },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Problem": { "type": "object", "required": ["title", "status", "detail"], "properties": {
                    "title": { "type": "string" }, "status": { "type": "integer" }, "detail": { "type": "string" },
                    "hint": { "type": "string" }, "code": { "type": "string", "description": "SQLSTATE, where the database decided" },
                }},
                "Comparison": { "type": "object", "required": ["op", "value"], "properties": {
                    "op": { "enum": ["=", "<>", "<", "<=", ">", ">=", "<<=", ">>="] }, "value": { "type": ["string", "number", "boolean"] },
                }},
                "Condition": { "type": "object", "required": ["column", "op", "value"], "properties": {
                    "column": { "type": "string" }, "op": { "enum": ["=", "<>", "<", "<=", ">", ">=", "<<=", ">>="] }, "value": { "type": ["string", "number", "boolean"] },
                }},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_somewhere() {
        let all = description();
        fn walk(value: &Value, root: &Value) {
            if let Some(Value::String(reference)) = value.get("$ref") {
                let path = reference.strip_prefix('#').expect("a local reference");
                assert!(root.pointer(path).is_some(), "{reference}");
            }
            match value {
                Value::Object(map) => map.values().for_each(|value| walk(value, root)),
                Value::Array(list) => list.iter().for_each(|value| walk(value, root)),
                _ => {}
            }
        }
        walk(&all, &all);
        for call in CALLS {
            let body = &all["paths"][format!("/v1/{call}")]["post"]["requestBody"];
            let schema = &body["content"]["application/json"]["schema"];
            for name in schema["required"].as_array().expect("a list") {
                assert!(schema["properties"].get(name.as_str().expect("text")).is_some(), "{call}");
            }
            let example = &body["content"]["application/json"]["example"];
            for name in example.as_object().expect("an example").keys() {
                assert!(schema["properties"].get(name).is_some(), "{call}: {name}");
            }
        }
    }

    #[test]
    fn types_are_those_of_the_database() {
        let migration = include_str!("../../../sql/migrations/V07__results.sql");
        let list = migration.split("p_type <> ALL (ARRAY[").nth(1).expect("the list");
        let list = list.split("])").next().expect("its end");
        let types: Vec<&str> = list.split('\'').skip(1).step_by(2).collect();
        assert_eq!(types, TYPES);
    }
}
