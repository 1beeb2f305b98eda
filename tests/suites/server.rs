//! The server: DBNet's calls, telemetry in, events out, and who may do what.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wt_tests::http::{Answer, Http, head};
use wt_tests::live::wait_until;
use wt_tests::program::run;
use wt_tests::server::{Server, serve};

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
fn the_client_has_the_calls_by_their_names() {
    use wt_client::{
        Call, Client, Column, Condition, Error, Event, Parameter, Procedure, Table, Trigger,
    };
    let Some(server) = Server::start() else { return };
    let operator = server.caller("operator", None);
    let url = format!("http://{}", operator.address);
    let client = Client::new(&url, operator.token.as_deref().unwrap()).unwrap();

    client.create_schema("lab").unwrap();
    let at_least = |column: Option<&str>, value: f64| Condition {
        column: column.map(str::to_owned),
        op: ">=".to_owned(),
        value: json!(value),
    };
    let columns = [
        Column { primary_key: true, ..Column::new("site", "text") },
        Column {
            not_null: true,
            check: vec![at_least(None, 0.0)],
            ..Column::new("rate", "double precision")
        },
        Column { default: Some(json!("new")), ..Column::new("state", "text") },
    ];
    client.create_table("lab", "rates", &columns).unwrap();
    let procedure = |name: &str, params: &[(&str, &str)], body: &str, returns: &str| Procedure {
        schema: "lab".to_owned(),
        name: name.to_owned(),
        params: params
            .iter()
            .map(|(n, t)| Parameter { name: (*n).into(), ty: (*t).into() })
            .collect(),
        body: body.to_owned(),
        returns: returns.to_owned(),
    };
    let body = "BEGIN INSERT INTO lab.rates VALUES (set_rate.site, set_rate.rate); RETURN set_rate.rate * 2; END";
    let params = [("site", "text"), ("rate", "double precision")];
    client
        .create_stored_procedure(&procedure("set_rate", &params, body, "double precision"))
        .unwrap();
    let body = "BEGIN UPDATE lab.rates SET state = 'hot' WHERE site IN (SELECT r ->> 'site' FROM jsonb_array_elements(new_rows) r); END";
    client
        .create_stored_procedure(&procedure("cool", &[("new_rows", "jsonb")], body, "void"))
        .unwrap();
    let trigger = Trigger {
        schema: "lab".to_owned(),
        table: "rates".to_owned(),
        name: "hot".to_owned(),
        events: vec![Event::Insert],
        procedure: "lab.cool".to_owned(),
        condition: vec![at_least(Some("rate"), 100.0)],
    };
    client.create_trigger(&trigger).unwrap();
    let few = procedure(
        "few",
        &[],
        "BEGIN RETURN (SELECT count(*) < 100 FROM lab.rates); END",
        "boolean",
    );
    client.create_stored_procedure(&few).unwrap();
    client.create_assertion("lab", "few").unwrap();

    let set = |site: &str, rate: f64| json!({ "site": site, "rate": rate });
    assert_eq!(client.call_procedure("lab.set_rate", set("berlin", 12.5)).unwrap(), json!(25));
    let call = |site: &str, rate: f64| Call::CallProcedure {
        procedure: "lab.set_rate".to_owned(),
        args: set(site, rate),
    };
    let dry = client.dry_run(&[call("paris", 100.0), call("rome", 3.0)]).unwrap();
    assert_eq!((dry.results, dry.commands.len()), (vec![json!(200), json!(6)], 0));
    assert!(dry.events.iter().any(|e| e["op"] == "trigger"), "{:?}", dry.events);
    let once = client.once("paris");
    for _ in 0..2 {
        assert_eq!(once.wrap_transaction(&[call("paris", 100.0)]).unwrap(), [json!(200)]);
    }
    let order = vec!["-rate".to_owned()];
    let table = Table { order, limit: Some(1), ..Table::new("lab", "rates") };
    let read = client.read_table(&table).unwrap();
    assert_eq!(read.rows, [json!({ "site": "paris", "rate": 100, "state": "hot" })]);
    assert!(read.more);
    let conditions = vec![at_least(Some("rate"), 100.0)];
    let few = client.read_table(&Table { conditions, ..Table::new("lab", "rates") }).unwrap();
    assert_eq!((few.rows.len(), few.more), (1, false));
    let read =
        client.query("SELECT count(*) AS n FROM lab.rates WHERE rate < $1", &[json!(50)], 10);
    assert_eq!(read.unwrap().rows, [json!({ "n": 1 })]);
    client.drop_trigger("lab", "rates", "hot").unwrap();

    // What is refused says why.
    let refused = |error: Error| match error {
        Error::Refused { status, detail, hint, code } => (status, detail, hint, code),
        other => panic!("{other}"),
    };
    let (status, detail, _, code) =
        refused(client.call_procedure("lab.set_rate", set("x", -1.0)).unwrap_err());
    assert_eq!((status, code.as_deref()), (422, Some("23514")), "{detail}");
    let (status, detail, hint, _) = refused(client.create_schema("Bad name").unwrap_err());
    assert!((400..500).contains(&status) && hint.is_some(), "{status} {detail}");
    assert_eq!(refused(client.drop_trigger("lab", "rates", "hot").unwrap_err()).0, 404);
    let stranger = Client::new(&url, "wt_nobody").unwrap();
    assert_eq!(refused(stranger.create_schema("mine").unwrap_err()).0, 401);
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
    // What the database was asked for says how long that took.
    let duration = |answer: &Answer| {
        let timing = answer.header("server-timing").expect("it is told");
        timing.strip_prefix("db;dur=").expect("the database's").parse::<f64>().expect("in ms")
    };
    assert!(duration(&first) > 0.0 && duration(&second) > 0.0);
    let read = json!({ "sql": "SELECT pg_sleep(0.05)::text AS slept" });
    let slept = duration(&operator.post("/v1/query", &read).expect(200));
    assert!(slept >= 50.0, "{slept}");
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
    let taken = ingest.post("/v1/traces", &good).expect(200);
    assert_eq!(taken.json()["partialSuccess"], Value::Null);
    assert!(taken.header("server-timing").is_some_and(|timing| timing.starts_with("db;dur=")));
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
    wait_until("it is not ready", || operator.get("/readyz").status == 503);
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
    run(["serve", "--listen", "0.0.0.0:8080"]).expect_status(1).expect_said("--plain-http");
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
