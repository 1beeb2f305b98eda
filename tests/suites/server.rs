//! The server: DBNet's calls, telemetry in, events out, and who may do what.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wt_tests::database::Database;
use wt_tests::http::{Http, head};
use wt_tests::live::{Guarded, Stream, wait_until};
use wt_tests::netns::signal;
use wt_tests::program::{Outcome, outcome, run, wiretable};

/// A server on a database of its own.
struct Server {
    process: Option<Guarded>,
    stderr: Option<Stream>,
    admin: Http,
    database: Database,
}

impl Server {
    fn start() -> Option<Self> {
        let database = Database::start()?;
        let (process, stderr, address) = serve(&database);
        let token = token(&database, "admin", None);
        let admin = Http { address, token: Some(token) };
        Some(Self { process: Some(process), stderr: Some(stderr), admin, database })
    }

    /// A caller with this role.
    fn caller(&self, role: &str, tenant: Option<&str>) -> Http {
        self.admin.with(&token(&self.database, role, tenant))
    }

    fn end(&mut self) -> Outcome {
        let mut process = self.process.take().unwrap();
        signal(process.0.id(), 15).unwrap();
        let mut status = None;
        wait_until("the server ends", || {
            status = process.0.try_wait().unwrap();
            status.is_some()
        });
        let stderr = self.stderr.take().unwrap().end().into_bytes();
        outcome(std::process::Output { status: status.unwrap(), stdout: Vec::new(), stderr })
    }
}

/// Starts a server; its process, what it says, and where it listens.
fn serve(database: &Database) -> (Guarded, Stream, String) {
    let file = database.path("address");
    let _ = std::fs::remove_file(&file);
    let mut command =
        wiretable(["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url]);
    command.arg("--address-file").arg(&file).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("wiretable starts");
    let stderr = Stream::of(child.stderr.take().unwrap());
    let mut process = Guarded(child);
    let mut address = String::new();
    wait_until("the server listens", || {
        let ended = process.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", stderr.text());
        address = std::fs::read_to_string(&file).unwrap_or_default();
        address.ends_with('\n')
    });
    (process, stderr, address.trim().to_owned())
}

fn token(database: &Database, role: &str, tenant: Option<&str>) -> String {
    let label = format!("{role} of {}", tenant.unwrap_or("the house"));
    let mut arguments = vec!["token", "create", "--role", role, "--label", &label];
    arguments.extend(tenant.iter().flat_map(|tenant| ["--tenant", tenant]));
    arguments.extend(["--database-url", &database.url]);
    run(arguments).expect_status(0).stdout.trim().to_owned()
}

fn lab(http: &Http) {
    http.post("/v1/createSchema", &json!({ "schema": "lab" })).expect(200);
    let columns = json!([{ "name": "site", "type": "text", "primaryKey": true }, { "name": "rate", "type": "double precision", "notNull": true, "check": { "op": ">=", "value": 0 } }]);
    http.post("/v1/createTable", &json!({ "schema": "lab", "table": "rates", "columns": columns }))
        .expect(200);
    let params =
        json!([{ "name": "site", "type": "text" }, { "name": "rate", "type": "double precision" }]);
    let body = "BEGIN INSERT INTO lab.rates VALUES (set_rate.site, set_rate.rate) ON CONFLICT ON CONSTRAINT rates_pkey DO UPDATE SET rate = excluded.rate; RETURN set_rate.rate * 2; END";
    let procedure = json!({ "schema": "lab", "name": "set_rate", "params": params, "body": body, "returns": "double precision" });
    http.post("/v1/createStoredProcedure", &procedure).expect(200);
}

fn set_rate(site: &str, rate: f64) -> Value {
    json!({ "call": "callProcedure", "procedure": "lab.set_rate", "args": { "site": site, "rate": rate } })
}

fn rates(http: &Http) -> Value {
    let read = json!({ "schema": "lab", "table": "rates", "order": ["site"] });
    http.post("/v1/readTable", &read).expect(200).json()["rows"].clone()
}

#[test]
fn calls_make_things_and_lists_of_calls_happen_whole() {
    let Some(mut server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    lab(&operator);
    let mut call = set_rate("berlin", 12.5);
    call.as_object_mut().unwrap().remove("call");
    let answer = operator.post("/v1/callProcedure", &call).expect(200).json();
    assert_eq!(answer, json!({ "result": 25, "dryRun": false }));

    // A dry run shows what it would make, and leaves nothing.
    let dry = json!({ "calls": [set_rate("berlin", 1.0), set_rate("paris", 2.0)], "dryRun": true });
    let answer = operator.post("/v1/wrapTransaction", &dry).expect(200).json();
    assert_eq!((&answer["results"], &answer["dryRun"]), (&json!([2, 4]), &json!(true)));
    let changed =
        answer["events"].as_array().unwrap().iter().filter(|e| e["object"] == "lab.rates");
    assert_eq!(changed.count(), 2, "{answer}");
    assert_eq!(rates(&operator), json!([{ "site": "berlin", "rate": 12.5 }]));

    // All or nothing: the second violates a check.
    let broken = json!({ "calls": [set_rate("paris", 2.0), set_rate("rome", -1.0)] });
    let problem = operator.post("/v1/wrapTransaction", &broken).expect(422).json();
    assert_eq!(problem["code"], "23514", "{problem}");
    assert_eq!(rates(&operator), json!([{ "site": "berlin", "rate": 12.5 }]));
    let whole = json!({ "calls": [set_rate("paris", 2.0), set_rate("rome", 3.0)] });
    operator.post("/v1/wrapTransaction", &whole).expect(200);
    assert_eq!(rates(&operator).as_array().unwrap().len(), 3);

    // Reading by conditions, and by a query with parameters.
    let read = json!({ "schema": "lab", "table": "rates", "where": [{ "column": "rate", "op": ">=", "value": 3 }], "order": ["-rate"], "limit": 1 });
    let found = operator.post("/v1/readTable", &read).expect(200).json();
    assert_eq!(found, json!({ "rows": [{ "site": "berlin", "rate": 12.5 }], "more": true }));
    let query = json!({ "sql": "SELECT site, rate * $1 AS rate FROM lab.rates WHERE site = $2 -- of one\n;", "params": [2, "rome"] });
    let found = operator.post("/v1/query", &query).expect(200).json();
    assert_eq!(found, json!({ "rows": [{ "site": "rome", "rate": 6 }], "more": false }));

    // Who did it is known.
    let actor =
        server.database.sql("SELECT DISTINCT actor FROM prov.event WHERE object = 'lab.rates'");
    assert_eq!(actor, "operator of the house");
    server.end().expect_status(0);
}

#[test]
fn work_with_a_key_is_done_once() {
    let Some(mut server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    lab(&operator);
    let body = "BEGIN UPDATE lab.rates SET rate = rate + 1 WHERE rates.site = add_one.site; END";
    let adding = json!({ "schema": "lab", "name": "add_one", "params": [{ "name": "site", "type": "text" }], "body": body });
    operator.post("/v1/createStoredProcedure", &adding).expect(200);
    operator
        .post("/v1/wrapTransaction", &json!({ "calls": [set_rate("berlin", 0.0)] }))
        .expect(200);
    let call = json!({ "procedure": "lab.add_one", "args": { "site": "berlin" } }).to_string();
    let once = |http: &Http, key: &str, body: &str| {
        http.send("POST", "/v1/callProcedure", &[("Idempotency-Key", key)], body.as_bytes())
    };
    let first = once(&operator, "k1", &call).expect(200);
    assert_eq!(first.header("idempotency-replayed"), None);
    let second = once(&operator, "k1", &call).expect(200);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.body, second.body);
    once(&operator, "k1", &call.replace("berlin", "paris"))
        .expect(422)
        .expect_said("belongs to another request");
    // Ten at once.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| once(&operator, "k2", &call).expect(200));
        }
    });
    assert_eq!(rates(&operator), json!([{ "site": "berlin", "rate": 2 }]));
    // Of another caller the key is another.
    once(&server.caller("admin", None), "k1", &call).expect(200);
    assert_eq!(rates(&operator), json!([{ "site": "berlin", "rate": 3 }]));
    // What failed was not done, and may be tried again.
    let wrong = call.replace("add_one", "add_two");
    once(&operator, "k3", &wrong).expect(404);
    once(&operator, "k3", &call).expect(200);
    server.end().expect_status(0);
}

#[test]
fn transactions_in_each_others_way_are_tried_again() {
    let Some(mut server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    lab(&operator);
    let body = "BEGIN RETURN lab.set_rate(add.site, (SELECT coalesce(sum(rate), 0) + 1 FROM lab.rates)); END";
    let adding = json!({ "schema": "lab", "name": "add", "params": [{ "name": "site", "type": "text" }], "body": body, "returns": "double precision" });
    operator.post("/v1/createStoredProcedure", &adding).expect(200);
    let call = |site: &str| json!({ "calls": [{ "call": "callProcedure", "procedure": "lab.add", "args": { "site": site } }] });
    // Each reads all rows and writes one: side by side they cannot be put in an order.
    let tried: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = ["a", "b", "c", "d"]
            .map(|site| {
                let operator = &operator;
                scope.spawn(move || operator.post("/v1/wrapTransaction", &call(site)).status)
            })
            .into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tried.iter().all(|status| [200, 503].contains(status)), "{tried:?}");
    let done = tried.iter().filter(|status| **status == 200).count() as u32;
    assert!(done >= 1, "{tried:?}");
    // 1, 2, 4, 8 in some order: each saw all that came before it.
    let rows = rates(&operator);
    let sum: f64 = rows.as_array().unwrap().iter().map(|row| row["rate"].as_f64().unwrap()).sum();
    assert_eq!(sum, f64::from((1 << done) - 1), "{rows}");
    server.end().expect_status(0);
}

#[test]
fn each_route_is_closed_to_whom_it_is_not_for() {
    let Some(mut server) = Server::start() else { return };
    server.database.sql("SELECT sec.create_tenant('red'); SELECT sec.create_tenant('blue')");
    let operator = server.caller("operator", None);
    lab(&operator);
    let callers = [
        ("nobody", server.admin.anonymous()),
        ("a stranger", server.admin.with("wtk_0000")),
        ("ingest", server.caller("ingest", None)),
        ("viewer", server.caller("viewer", None)),
        ("operator", operator),
        ("admin", server.admin.clone()),
        ("ingest of red", server.caller("ingest", Some("red"))),
        ("viewer of red", server.caller("viewer", Some("red"))),
        ("operator of red", server.caller("operator", Some("red"))),
    ];
    let spans = json!({ "resourceSpans": [] });
    let query = json!({ "sql": "SELECT 1 AS one" });
    let read = json!({ "schema": "lab", "table": "rates" });
    // By route: the statuses of the callers above, in their order.
    let routes: [(&str, &Value, [u16; 9]); 8] = [
        (
            "/v1/createSchema",
            &json!({ "schema": "lab" }),
            [401, 401, 403, 403, 409, 409, 403, 403, 409],
        ),
        ("/v1/createTable", &json!({}), [401, 401, 403, 403, 400, 400, 403, 403, 400]),
        (
            "/v1/callProcedure",
            &json!({ "procedure": "lab.nix" }),
            [401, 401, 403, 403, 404, 404, 403, 403, 404],
        ),
        (
            "/v1/wrapTransaction",
            &json!({ "calls": [] }),
            [401, 401, 403, 403, 400, 400, 403, 403, 400],
        ),
        ("/v1/readTable", &read, [401, 401, 403, 200, 200, 200, 403, 404, 404]),
        ("/v1/query", &query, [401, 401, 403, 200, 200, 200, 403, 200, 200]),
        ("/v1/traces", &spans, [401, 401, 200, 403, 200, 200, 200, 403, 200]),
        ("/v1/nix", &json!({}), [404; 9]),
    ];
    for (path, body, expected) in routes {
        for ((who, http), expected) in callers.iter().zip(expected) {
            let answer = http.post(path, body);
            assert_eq!(answer.status, expected, "{path} as {who}: {}", answer.text());
        }
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        callers[0].1.get(path).expect(200);
        callers[0].1.post(path, &json!({})).expect(405);
    }
    let unauthorized = callers[0].1.post("/v1/query", &query);
    assert_eq!(unauthorized.header("www-authenticate"), Some("Bearer"));

    // A revoked token is a stranger's.
    let id = server.database.sql("SELECT id FROM sec.token WHERE label = 'viewer of the house'");
    run(["token", "revoke", &id, "--database-url", &server.database.url]).expect_status(0);
    callers[3].1.post("/v1/query", &query).expect(401);
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

/// A span as OTLP's JSON has it.
fn span(trace: &str, span: &str, start: u128) -> Value {
    json!({
        "traceId": trace, "spanId": span, "name": "GET /", "kind": 2,
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1_000_000).to_string(),
        "attributes": [{ "key": "http.status_code", "value": { "intValue": "200" } }, { "key": "peer", "value": { "stringValue": "a\tb" } }],
        "status": { "code": 1 },
    })
}

fn traces(spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
        "scopeSpans": [{ "scope": { "name": "lib", "version": "1" }, "spans": spans }],
    }]})
}

fn now_ns() -> u128 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

#[test]
fn telemetry_is_taken_once_and_in_part() {
    let Some(mut server) = Server::start() else { return };
    let ingest = server.caller("ingest", None);
    let (trace, now) = ("0af7651916cd43dd8448eb211c80319c", now_ns());
    let good =
        traces(&[span(trace, "b7ad6b7169203331", now), span(trace, "b7ad6b7169203332", now)]);
    assert_eq!(ingest.post("/v1/traces", &good).expect(200).json()["partialSuccess"], Value::Null);
    ingest.post("/v1/traces", &good).expect(200);
    let stored = "SELECT count(*), min(r.service), min(s.attributes ->> 'peer'), min(s.attributes ->> 'http.status_code'), min(s.status), min(k.name) \
                  FROM otel.span s JOIN otel.resource r ON r.id = s.resource_id JOIN otel.scope k ON k.id = s.scope_id";
    assert_eq!(server.database.sql(stored), "2|shop|a\tb|200|1|lib");
    // One without an id, one of long ago, one good.
    let mixed = traces(&[
        span("", "b7ad6b7169203331", now),
        span(trace, "b7ad6b7169203333", 1_000),
        span(trace, "b7ad6b7169203334", now),
    ]);
    let answer = ingest.post("/v1/traces", &mixed).expect(200).json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], 2, "{answer}");
    assert_eq!(server.database.sql("SELECT count(*) FROM otel.span"), "3");

    let log = json!({ "timeUnixNano": now.to_string(), "severityNumber": 9, "body": { "stringValue": "up" } });
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [log, log] }] }] });
    ingest.post("/v1/logs", &logs).expect(200);
    assert_eq!(
        server.database.sql("SELECT count(*), min(body #>> '{}'), min(severity) FROM otel.log"),
        "1|up|9"
    );
    let point = json!({ "timeUnixNano": now.to_string(), "asDouble": 0.5 });
    let metrics = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "load", "gauge": { "dataPoints": [point] } }] }] }] });
    ingest.post("/v1/metrics", &metrics).expect(200);
    assert_eq!(server.database.sql("SELECT name, kind, value FROM otel.metric"), "load|gauge|0.5");

    // Protobuf: resource_spans { scope_spans { spans { trace_id, span_id, name, start, end } } }.
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let time = |number: u8| [&[number << 3 | 1][..], &(now as u64).to_le_bytes()].concat();
    let encoded =
        [field(1, &[7; 16]), field(2, &[8; 8]), field(5, b"proto"), time(7), time(8)].concat();
    let encoded = field(1, &field(2, &field(2, &encoded)));
    let protobuf = [("Content-Type", "application/x-protobuf")];
    let answer = ingest.send("POST", "/v1/traces", &protobuf, &encoded).expect(200);
    assert_eq!(
        (answer.header("content-type"), answer.body.len()),
        (Some("application/x-protobuf"), 0)
    );
    assert_eq!(server.database.sql("SELECT count(*) FROM otel.span WHERE name = 'proto'"), "1");
    ingest
        .send("POST", "/v1/traces", &protobuf, &encoded[..20])
        .expect(400)
        .expect_said("no OTLP request");
    ingest.send("POST", "/v1/traces", &[("Content-Type", "text/plain")], b"x").expect(415);
    let gzip = [protobuf[0], ("Content-Encoding", "gzip")];
    ingest.send("POST", "/v1/traces", &gzip, b"no gzip").expect(400);

    // A tenant's telemetry is the tenant's.
    server.database.sql("SELECT sec.create_tenant('red'); SELECT sec.create_tenant('blue')");
    let of_red = traces(&[span("1af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", now)]);
    server.caller("ingest", Some("red")).post("/v1/traces", &of_red).expect(200);
    let count = json!({ "sql": "SELECT count(*) AS n FROM otel.span" });
    for (tenant, n) in [("red", 1), ("blue", 0)] {
        let viewer = server.caller("viewer", Some(tenant));
        assert_eq!(viewer.post("/v1/query", &count).expect(200).json()["rows"][0]["n"], n);
    }
    server.end().expect_status(0);
}

#[test]
fn events_are_told_as_they_happen_and_from_where_one_was() {
    let Some(mut server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    lab(&operator);
    let stream = operator.begin("GET", "/v1/events", &[], b"");
    let mut reader = BufReader::new(stream);
    assert_eq!(head(&mut reader).status, 200);
    operator.post("/v1/wrapTransaction", &json!({ "calls": [set_rate("oslo", 1.0)] })).expect(200);
    let mut next = |wanted: &str| {
        let begin = Instant::now();
        let mut id = String::new();
        loop {
            assert!(begin.elapsed() < Duration::from_secs(20), "no event of {wanted}");
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.trim().to_owned();
            }
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).expect("JSON");
            if event["object"] == wanted {
                return (id, event);
            }
        }
    };
    let (id, event) = next("lab.rates");
    assert_eq!((&event["op"], &event["keys"]), (&json!("insert"), &json!(["oslo"])));
    operator.post("/v1/wrapTransaction", &json!({ "calls": [set_rate("bern", 1.0)] })).expect(200);
    let (_, event) = next("lab.rates");
    assert_eq!(event["keys"], json!(["bern"]));
    // Back with the last it had: the second comes again, the first does not.
    let again = operator.begin("GET", "/v1/events", &[("Last-Event-ID", &id)], b"");
    let lines = BufReader::new(again).lines().map_while(Result::ok);
    let data = lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
    let first = data
        .map(|data| serde_json::from_str::<Value>(&data).unwrap())
        .find(|e| e["object"] == "lab.rates");
    assert_eq!(first.unwrap()["keys"], json!(["bern"]));
    // The end of the server ends streams.
    server.end().expect_status(0);
}

#[test]
fn a_database_that_was_away_is_used_again() {
    let Some(mut server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    let one = json!({ "sql": "SELECT 1 AS one" });
    operator.post("/v1/query", &one).expect(200);
    server.database.kill();
    // Sessions end a moment after their server.
    let mut away = operator.post("/v1/query", &one);
    wait_until("the database is away", || {
        away = operator.post("/v1/query", &one);
        away.status != 200
    });
    assert_eq!((away.status, away.header("retry-after")), (503, Some("1")), "{}", away.text());
    operator.get("/readyz").expect(503);
    operator.get("/healthz").expect(200);
    server.database.restart();
    wait_until("the database is used again", || operator.post("/v1/query", &one).status == 200);
    operator.get("/readyz").expect(200);
    // Also by logins that are new.
    server.database.sql("SELECT sec.create_tenant('red')");
    server.caller("viewer", Some("red")).post("/v1/query", &one).expect(200);
    let metrics = operator.get("/metrics").expect(200).text();
    assert!(
        metrics.contains("wiretable_http_requests_total{path=\"/v1/query\",status=\"503\"}"),
        "{metrics}"
    );
    server.end().expect_status(0);
}

#[test]
fn a_server_that_cannot_serve_says_why() {
    run(["serve", "--listen", "0.0.0.0:8080"])
        .expect_status(1)
        .expect_said("a proxy that speaks TLS");
    run(["serve", "--database-url", "postgres://nobody@127.0.0.1:1/x"])
        .expect_status(2)
        .expect_said("cannot");
    let Some(mut server) = Server::start() else { return };
    let second = ["serve", "--listen", "127.0.0.1:0", "--database-url", &server.database.url];
    run(second).expect_status(2).expect_said("another server runs on");
    server.end().expect_status(0);
    // The place is free again.
    let (mut process, _, address) = serve(&server.database);
    let http = Http { address, ..server.admin.clone() };
    http.post("/v1/query", &json!({ "sql": "SELECT 1" })).expect(200);
    let _ = process.0.kill();
}

#[test]
fn the_description_has_every_path() {
    let Some(mut server) = Server::start() else { return };
    let description = server.admin.anonymous().get("/openapi.json").expect(200).json();
    for (path, item) in description["paths"].as_object().unwrap() {
        let method = if item.get("post").is_some() { "POST" } else { "GET" };
        let path = path.replace("{relation}", "nix");
        let headers = [("Content-Type", "application/json")];
        let status = server.admin.anonymous().send(method, &path, &headers, b"{}").status;
        assert!([200, 401].contains(&status), "{method} {path}: {status}");
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
        command.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
        let done = command.current_dir(server.database.path("")).output().expect("schemathesis");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{role} of {tenant:?}:\n{said}");
    }
    server.end().expect_status(0);
}
