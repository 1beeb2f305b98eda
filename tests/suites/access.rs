//! Who may do what with the server: each route for each role and tenant, limits, and what nobody may.

use std::collections::BTreeSet;
use std::io::BufReader;

use serde_json::{Value, json};
use wt_tests::http::{Http, head};
use wt_tests::program::run;
use wt_tests::server::Server;

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Everybody, with a token or without.
    All,
    /// Those who may read.
    Readers,
    /// Those who may make and call.
    Makers,
    /// Those who may send telemetry.
    Senders,
}

/// A route, asked for something of the tenant red: what people, red and blue get of it, as far as their role is enough.
struct Route {
    method: &'static str,
    path: &'static str,
    body: Value,
    whom: For,
    people: u16,
    red: u16,
    blue: u16,
}

fn routes() -> Vec<Route> {
    let post = |path, whom, body, [people, red, blue]: [u16; 3]| Route {
        method: "POST",
        path,
        body,
        whom,
        people,
        red,
        blue,
    };
    let get = |path, whom, [people, red, blue]: [u16; 3]| Route {
        method: "GET",
        path,
        body: Value::Null,
        whom,
        people,
        red,
        blue,
    };
    let columns = json!([{ "name": "x", "type": "bigint" }]);
    let call = json!({ "procedure": "reds.p" });
    let mut wrapped = call.clone();
    wrapped["call"] = "callProcedure".into();
    let trigger = json!({ "schema": "reds", "table": "t", "name": "on_t", "events": ["insert"], "procedure": "reds.of_rows" });
    vec![
        post("/v1/createSchema", For::Makers, json!({ "schema": "reds" }), [409, 409, 409]),
        post(
            "/v1/createTable",
            For::Makers,
            json!({ "schema": "reds", "table": "t", "columns": columns }),
            [404, 409, 404],
        ),
        post(
            "/v1/createStoredProcedure",
            For::Makers,
            json!({ "schema": "reds", "name": "q", "body": "BEGIN END" }),
            [404, 200, 404],
        ),
        post("/v1/createTrigger", For::Makers, trigger.clone(), [404, 409, 404]),
        post(
            "/v1/dropTrigger",
            For::Makers,
            json!({ "schema": "reds", "table": "t", "name": "none" }),
            [404, 404, 404],
        ),
        post(
            "/v1/createAssertion",
            For::Makers,
            json!({ "schema": "reds", "name": "none" }),
            [404, 404, 404],
        ),
        // It waits for a second person.
        post("/v1/callProcedure", For::Makers, call, [409, 409, 404]),
        post("/v1/wrapTransaction", For::Makers, json!({ "calls": [wrapped] }), [409, 409, 404]),
        post(
            "/v1/readTable",
            For::Readers,
            json!({ "schema": "reds", "table": "t" }),
            [200, 200, 404],
        ),
        post("/v1/query", For::Readers, json!({ "sql": "SELECT * FROM reds.t" }), [200, 200, 403]),
        post("/v1/traces", For::Senders, json!({}), [200, 200, 200]),
        post("/v1/logs", For::Senders, json!({}), [200, 200, 200]),
        post("/v1/metrics", For::Senders, json!({}), [200, 200, 200]),
        get("/v1/events", For::Readers, [200, 200, 200]),
        get("/v1/results/{relation}", For::Readers, [200, 200, 404]),
        get("/healthz", For::All, [200, 200, 200]),
        get("/readyz", For::All, [200, 200, 200]),
        get("/metrics", For::All, [200, 200, 200]),
        get("/openapi.json", For::All, [200, 200, 200]),
    ]
}

/// The status of an answer, whose body need not end.
fn status(http: &Http, method: &str, path: &str, body: &Value) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = [("Content-Type", "application/json")];
    let stream = http.begin(method, path, &headers, body.as_bytes());
    let mut reader = BufReader::new(stream);
    let answer = head(&mut reader);
    let is_stream = answer.header("content-type") == Some("text/event-stream");
    let mut said = String::new();
    if !is_stream {
        use std::io::Read;
        let _ = reader.read_to_string(&mut said);
    }
    (answer.status, said)
}

/// Every route of the description, for every role of people and of two tenants, for strangers, and for tokens that are worth nothing any more.
#[test]
fn each_route_is_closed_to_whom_it_is_not_for() {
    let Some(mut server) = Server::start() else { return };
    server.database.sql("UPDATE sec.limits SET requests_per_s = 10000");
    for tenant in ["red", "blue"] {
        server.database.sql(&format!("SELECT sec.create_tenant('{tenant}')"));
    }
    let red = server.caller("operator", Some("red"));
    let make = |path: &str, body: Value| drop(red.post(path, &body).expect(200));
    make("/v1/createSchema", json!({ "schema": "reds" }));
    make(
        "/v1/createTable",
        json!({ "schema": "reds", "table": "t", "columns": [{ "name": "x", "type": "bigint" }] }),
    );
    make(
        "/v1/createStoredProcedure",
        json!({ "schema": "reds", "name": "p", "body": "BEGIN END" }),
    );
    let rows = json!([{ "name": "new_rows", "type": "jsonb" }]);
    make(
        "/v1/createStoredProcedure",
        json!({ "schema": "reds", "name": "of_rows", "params": rows, "body": "BEGIN END" }),
    );
    let trigger = json!({ "schema": "reds", "table": "t", "name": "on_t", "events": ["insert"], "procedure": "reds.of_rows" });
    server.database.sql("SELECT set_config('wt.actor', 'a second person', false), wt.activate_procedure('reds', 'of_rows')");
    make("/v1/createTrigger", trigger);
    server.database.sql("SELECT res.define('flows', '[{\"name\": \"n\", \"type\": \"bigint\"}]', NULL, NULL, 'red')");

    let revoked = server.caller("admin", None);
    server
        .database
        .sql("UPDATE sec.token SET revoked_at = now() WHERE id = (SELECT max(id) FROM sec.token)");
    let expired = server.caller("admin", None);
    server.database.sql("UPDATE sec.token SET expires_at = now() - interval '1 s' WHERE id = (SELECT max(id) FROM sec.token)");
    let strangers = [
        ("nobody", server.admin.anonymous()),
        ("a stranger", server.admin.with("wtk_0000")),
        ("who was shut out", revoked),
        ("whose time is over", expired),
    ];
    let mut callers = Vec::new();
    for tenant in [None, Some("red"), Some("blue")] {
        for role in ["ingest", "viewer", "operator", "admin"] {
            // Administrators are of the house.
            if role != "admin" || tenant.is_none() {
                callers.push((role, tenant, server.caller(role, tenant)));
            }
        }
    }
    let routes = routes();
    // None of the description is missing here, and nothing is here that is not described.
    let description = server.admin.anonymous().get("/openapi.json").expect(200).json();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<(String, String)> =
        routes.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, listed);

    let mut wrong = Vec::new();
    for route in &routes {
        let path = route.path.replace("{relation}", "flows");
        let mut check = |who: String, http: &Http, expected: u16| {
            let (status, said) = status(http, route.method, &path, &route.body);
            if status != expected {
                wrong.push(format!("{path} as {who}: {status} instead of {expected}: {said}"));
            }
        };
        for (who, http) in &strangers {
            check((*who).to_owned(), http, if route.whom == For::All { 200 } else { 401 });
        }
        for (role, tenant, http) in &callers {
            let may = match route.whom {
                For::All => true,
                For::Readers => *role != "ingest",
                For::Makers => matches!(*role, "operator" | "admin"),
                For::Senders => *role != "viewer",
            };
            let expected = match tenant {
                _ if !may => 403,
                None => route.people,
                Some("red") => route.red,
                Some(_) => route.blue,
            };
            check(format!("{role} of {}", tenant.unwrap_or("the house")), http, expected);
        }
        // Another method is none, whoever asks.
        let other = if route.method == "POST" { "GET" } else { "POST" };
        let (status, _) = status(&server.admin, other, &path, &json!({}));
        if status != 405 {
            wrong.push(format!("{other} {path}: {status} instead of 405"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let nowhere = server.admin.post("/v1/nix", &json!({})).expect(404);
    assert_eq!(nowhere.header("content-type"), Some("application/problem+json"));
    let unauthorized = strangers[0].1.post("/v1/query", &json!({ "sql": "SELECT 1" }));
    assert_eq!(unauthorized.header("www-authenticate"), Some("Bearer"));

    // A revoked token is a stranger's from then on.
    let (_, _, viewer) = &callers[1];
    let query = json!({ "sql": "SELECT 1 AS one" });
    viewer.post("/v1/query", &query).expect(200);
    let id = server.database.sql("SELECT id FROM sec.token WHERE label = 'viewer of the house'");
    run(["token", "revoke", &id, "--database-url", &server.database.url]).expect_status(0);
    viewer.post("/v1/query", &query).expect(401);
    run(["token", "revoke", &id, "--database-url", &server.database.url]).expect_status(1);
    let listed = run(["token", "list", "--database-url", &server.database.url]).expect_status(0);
    assert!(
        listed.stdout.contains("revoked") && !listed.stdout.contains("wtk_"),
        "{}",
        listed.stdout
    );
    server.end().expect_status(0);
}

#[test]
fn tenants_have_what_is_theirs_and_no_more() {
    let Some(mut server) = Server::start() else { return };
    server.database.sql("SELECT sec.create_tenant('red'); SELECT sec.create_tenant('blue')");
    let red = server.caller("operator", Some("red"));
    let blue = server.caller("operator", Some("blue"));
    red.post("/v1/createSchema", &json!({ "schema": "reds", "tenant": "blue" })).expect(200);
    let table =
        json!({ "schema": "reds", "table": "t", "columns": [{ "name": "x", "type": "bigint" }] });
    red.post("/v1/createTable", &table).expect(200);
    let read = json!({ "schema": "reds", "table": "t" });
    red.post("/v1/readTable", &read).expect(200);
    blue.post("/v1/readTable", &read).expect(404);
    blue.post("/v1/createTable", &table).expect(404);
    let events = json!({ "sql": "SELECT * FROM prov.event WHERE object LIKE 'reds%'" });
    let rows = |http: &Http| http.post("/v1/query", &events).expect(200).json()["rows"].clone();
    assert!(!rows(&red).as_array().unwrap().is_empty());
    assert_eq!(rows(&blue), json!([]));

    // What takes a caller out of its login, or to what is not its own.
    let viewer = server.caller("viewer", None);
    let escapes = [
        "SELECT set_config('role', 'postgres', true)",
        "SELECT set_config('session_authorization', 'postgres', true)",
        "SELECT set_config('role', 'wt_t_blue', true)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT * FROM sec.token",
        "SELECT * FROM wt.answer",
        "SELECT * FROM pg_authid",
        "SELECT sec.create_token('wt_admin', NULL, 'x')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_terminate_backend(pg_backend_pid() + 1)",
        "SELECT 1) q; DROP TABLE reds.t; --",
        "SELECT 1; DROP TABLE reds.t",
        "DELETE FROM reds.t RETURNING *",
        "WITH gone AS (DELETE FROM reds.t RETURNING *) SELECT * FROM gone",
        "SELECT * FROM res.begin_batch('a', 'b', 0, 0, 0)",
        "SELECT 1 FROM (SELECT 1) q RESET ROLE",
    ];
    for sql in escapes {
        for http in [&red, &viewer] {
            let answer = http.post("/v1/query", &json!({ "sql": sql }));
            let refused = [400, 403, 404].contains(&answer.status);
            // A backend that is not there cannot be ended: false, or a refusal.
            let is_harmless = sql.contains("terminate") && !answer.text().contains("true");
            assert!(refused || is_harmless, "{sql}: {} {}", answer.status, answer.text());
        }
    }
    red.post("/v1/readTable", &read).expect(200);
    // Names are names.
    for name in ["x\"; DROP SCHEMA reds; --", "pg_catalog", "Übung", "", "a.b"] {
        let status = red.post("/v1/createSchema", &json!({ "schema": name })).status;
        assert!([400, 409].contains(&status), "{name}: {status}");
        blue.post("/v1/readTable", &json!({ "schema": name, "table": name })).expect(404);
    }
    server.end().expect_status(0);
}

#[test]
fn limits_are_kept() {
    let Some(mut server) = Server::start() else { return };
    server.database.sql(
        "SELECT sec.create_tenant('red'); SELECT sec.create_tenant('blue'); \
         INSERT INTO sec.limits (tenant, body_bytes_max, requests_per_s, statement_ms, rows_max) VALUES ('red', 1024, 1000, 300, 10), ('blue', 1024, 5, 300, 10)",
    );
    let red = server.caller("operator", Some("red"));
    let long = json!({ "sql": format!("SELECT '{}'", "x".repeat(2000)) });
    red.post("/v1/query", &long).expect(413).expect_said("1024 bytes");
    red.post("/v1/query", &json!({ "sql": "SELECT pg_sleep(20)" })).expect(504);
    let endless =
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    red.post("/v1/query", &json!({ "sql": endless })).expect(504);
    let many = json!({ "sql": "SELECT generate_series(1, 100) AS n", "limit": 10 });
    let found = red.post("/v1/query", &many).expect(200).json();
    assert_eq!((found["rows"].as_array().unwrap().len(), &found["more"]), (10, &json!(true)));
    red.post("/v1/query", &json!({ "sql": "SELECT 1", "limit": 11 }))
        .expect(400)
        .expect_said("0 to 10");
    let blue = server.caller("operator", Some("blue"));
    let statuses: Vec<u16> =
        (0..20).map(|_| blue.post("/v1/query", &json!({ "sql": "SELECT 1" })).status).collect();
    assert!(statuses.contains(&429) && statuses[0] == 200, "{statuses:?}");
    for (body, why) in [
        (&b"{"[..], "no JSON"),
        (b"[]", "no JSON object"),
        (b"{\"sql\": 1}", "no text"),
        (b"{\"sql\": \"SELECT 1\", \"x\": 2}", "`x` is unknown"),
        (b"{\"sql\": \"SELECT $1::int\"}", "1 parameters, and 0 are given"),
        (b"{\"sql\": \"SELECT $1::int\", \"params\": [\"x\"]}", "invalid input syntax"),
        (b"{\"sql\": \"SELECT '\\u0000'\"}", "\\\\u0000"),
        (b"\xff", "no JSON"),
    ] {
        red.send("POST", "/v1/query", &[], body).expect(400).expect_said(why);
    }
    server.end().expect_status(0);
}

/// Requests made of the description by a program that looks for what the server cannot take. `make schemathesis` installs it and names it in
/// WT_SCHEMATHESIS; without that there is nothing to test. Streams do not end, and are left out.
#[test]
fn requests_made_of_the_description_meet_no_server_error() {
    let Some(schemathesis) = std::env::var_os("WT_SCHEMATHESIS") else {
        eprintln!("SKIPPED: `make schemathesis` runs this");
        return;
    };
    let Some(mut server) = Server::start() else { return };
    server.database.sql("UPDATE sec.limits SET requests_per_s = 100000 WHERE tenant IS NULL");
    server.database.sql("SELECT sec.create_tenant('red')");
    let examples = std::env::var("WT_EXAMPLES").unwrap_or_else(|_| "50".to_owned());
    for (role, tenant) in [("admin", None), ("operator", Some("red")), ("viewer", None)] {
        let caller = server.caller(role, tenant);
        let bearer = format!("Authorization: Bearer {}", caller.token.unwrap());
        let mut command = std::process::Command::new(&schemathesis);
        command.args(["run", &format!("http://{}/openapi.json", caller.address)]);
        command.args(["--header", &bearer, "--seed", "1", "--max-examples", &examples]);
        command.args(["--exclude-path-regex", "^/v1/(events|results)"]);
        // How long it takes to make requests up is no matter of the server's.
        command.arg("--suppress-health-check=too_slow");
        command.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
        let done = command.current_dir(server.database.path("")).output().expect("schemathesis");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{role} of {tenant:?}:\n{said}");
    }
    server.end().expect_status(0);
}
