//! DBNet's experiments (§5 of its paper), over HTTP into committed rows with provenance, against the paper's figures.
//!
//! The paper measures executions in its DBMS. Here the clock is the client's, so that the server, the connection and the commit are in every figure; beside it is
//! what the server says that the database took of that, its durable commit included.

mod http;
mod policy;
mod sink;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use self::http::{Answer, Client};
use crate::statistics::Sample;

/// Clients of the load experiment, and traces of each.
pub const CLIENTS: usize = 20;
/// Traces that each of them sends.
pub const TRACES: usize = 100;

/// An experiment, in ms.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub name: &'static str,
    /// What the paper took, where it tells.
    pub paper_ms: Option<f64>,
    /// What is aimed at.
    pub goal_ms: Option<f64>,
    /// Rounds.
    pub took_ms: Sample,
    /// What the database took of them, where each is one request.
    pub database_ms: Sample,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DbnetError {
    /// The server does not come up.
    #[error("wiretable serve: {0}")]
    Server(String),
    /// A request fails.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The database has something else in it than was sent.
    #[error("{what}: {found} in the database, {meant} meant")]
    Wrong {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there should be.
        meant: u64,
    },
}

/// A server with a private database, in a folder of its own; both end with it.
struct Server {
    wiretable: PathBuf,
    data: PathBuf,
    process: Child,
    address: String,
}

impl Server {
    fn start(wiretable: &Path, dir: &Path) -> Result<Self, DbnetError> {
        let data = dir.join("db");
        let file = dir.join("address");
        let said = dir.join("server.log");
        let mut command = Command::new(wiretable);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command.arg("--address-file").arg(&file).env_remove("WIRETABLE_DATABASE_URL");
        command.stdin(Stdio::null()).stderr(File::create(&said)?);
        let process = command.spawn()?;
        let (wiretable, address) = (wiretable.to_owned(), String::new());
        let mut server = Self { wiretable, data, process, address };
        // Making a cluster takes a second or two, or many on a machine at work.
        let until = Instant::now() + Duration::from_secs(120);
        while !server.address.ends_with('\n') {
            let has_ended = server.process.try_wait()?.is_some();
            if has_ended || Instant::now() > until {
                let said = std::fs::read_to_string(&said).unwrap_or_default();
                return Err(DbnetError::Server(said));
            }
            std::thread::sleep(Duration::from_millis(20));
            server.address = std::fs::read_to_string(&file).unwrap_or_default();
        }
        server.address.truncate(server.address.trim_end().len());
        Ok(server)
    }

    /// Runs the command on the server's database.
    fn run(&self, arguments: &[&str]) -> Result<String, DbnetError> {
        let data = self.data.display().to_string();
        Ok(self.plain(&[arguments, &["--data-dir", &data]].concat())?)
    }

    /// Runs the command.
    fn plain(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(&self.wiretable);
        let output = command.args(arguments).env_remove("WIRETABLE_DATABASE_URL").output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(io::Error::other(format!("wiretable {}: {said}", arguments.join(" "))))
            }
        }
    }

    fn client(&self, role: &str) -> Result<Client, DbnetError> {
        // The load experiment is of the server, not of the limits that it keeps.
        self.run(&["sql", "UPDATE sec.limits SET requests_per_s = 100000 WHERE tenant IS NULL"])?;
        let token = self.run(&["token", "create", "--role", role, "--label", "bench"])?;
        Ok(Client::connect(&self.address, &token)?)
    }

    fn count(&self, what: &'static str, statement: &str, meant: u64) -> Result<(), DbnetError> {
        let rows = self.run(&["sql", statement, "--format", "csv"])?;
        let found = rows.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
        if found == meant { Ok(()) } else { Err(DbnetError::Wrong { what, found, meant }) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody needs its data: what fails here is gone with the folder.
        let _ = self.process.kill().and_then(|()| self.process.wait().map(drop));
        let _ = self.run(&["db", "stop"]);
    }
}

/// Runs all experiments, `rounds` times each.
///
/// # Errors
/// The server does not come up, refuses, or has lost something.
pub fn run(wiretable: &Path, dir: &Path, rounds: usize) -> Result<Vec<Outcome>, DbnetError> {
    let server = Server::start(wiretable, dir)?;
    let mut operator = server.client("operator")?;
    Ok(vec![
        set_up(&mut operator, rounds)?,
        scaling(&mut operator, rounds)?,
        telemetry(&server, &mut operator, rounds)?,
        // 2,000 durable commits a round.
        load(&server, rounds.min(3), 1)?,
        load(&server, rounds, TRACES)?,
        sink::load(&server, dir, rounds.min(5))?,
    ])
}

impl Outcome {
    fn new(name: &'static str, paper_ms: Option<f64>, goal_ms: Option<f64>) -> Self {
        let (took_ms, database_ms) = (Sample::default(), Sample::default());
        Self { name, paper_ms, goal_ms, took_ms, database_ms }
    }

    /// Makes a request, which is a round.
    fn time(&mut self, client: &mut Client, path: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        let began = Instant::now();
        let Answer { database_ms, .. } = client.post(path, &body)?;
        self.took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let untold = || io::Error::other(format!("{path}: the answer has no Server-Timing"));
        self.database_ms.push(database_ms.ok_or_else(untold)?);
        Ok(())
    }
}

/// 7 schemas, 7 tables, 9 procedures and 5 triggers, as one transaction; other names each time.
fn set_up(operator: &mut Client, rounds: usize) -> Result<Outcome, DbnetError> {
    let name = "7 schemas, 7 tables, 9 procedures, 5 triggers";
    let mut outcome = Outcome::new(name, Some(350.0), Some(50.0));
    for round in 0..rounds {
        let body = json!({ "calls": policy::everything(round) });
        outcome.time(operator, "/v1/wrapTransaction", &body)?;
    }
    Ok(outcome)
}

/// Traffic above the threshold: a trigger, a procedure, one more node, averages anew, in one transaction.
fn scaling(operator: &mut Client, rounds: usize) -> Result<Outcome, DbnetError> {
    operator.post("/v1/wrapTransaction", &json!({ "calls": policy::scaling() }).to_string())?;
    let name = "autoscaling: traffic above the threshold to averages anew";
    let mut outcome = Outcome::new(name, Some(27.0), Some(3.0));
    for round in 0..rounds {
        let made = policy::call("scaling.make_pod", &json!({ "pod": format!("pod-{round}") }));
        operator.post("/v1/callProcedure", &made.to_string())?;
        let rise = policy::call(
            "scaling.report",
            &json!({ "pod": format!("pod-{round}"), "traffic": 900 }),
        );
        outcome.time(operator, "/v1/callProcedure", &rise)?;
        let read = json!({ "schema": "net", "table": "load_balancers", "where": [{ "column": "pod_id", "op": "=", "value": format!("pod-{round}") }] });
        let answer = operator.post("/v1/readTable", &read.to_string())?.body;
        let nodes = answer.pointer("/rows/0/nodes").and_then(Value::as_array).map_or(0, Vec::len);
        if nodes != 4 {
            return Err(DbnetError::Wrong {
                what: "nodes of a pod",
                found: nodes as u64,
                meant: 4,
            });
        }
    }
    Ok(outcome)
}

/// 100 spans of which many are errors: a trigger, nodes killed and replaced, averages anew, in the transaction that takes the spans.
fn telemetry(server: &Server, operator: &mut Client, rounds: usize) -> Result<Outcome, DbnetError> {
    operator.post("/v1/wrapTransaction", &json!({ "calls": policy::telemetry() }).to_string())?;
    let name = "telemetry: 100 anomalous spans to averages anew";
    let mut outcome = Outcome::new(name, Some(45.0), Some(4.0));
    for round in 0..rounds {
        let node = format!("pod-{round}-0");
        let body = traces(&node, 1_000_000 + 100 * round as u64, 100, true);
        outcome.time(operator, "/v1/traces", &body)?;
    }
    let replaced = "SELECT count(*) FROM net.nodes WHERE node_id LIKE '%-again'";
    server.count("nodes that were replaced", replaced, rounds as u64)?;
    let trigger = json!({ "schema": "otel", "table": "span", "name": "errors" });
    operator.post("/v1/dropTrigger", &trigger.to_string())?;
    Ok(outcome)
}

/// 20 clients with 100 traces each at the same time, so many to a request.
fn load(server: &Server, rounds: usize, at_once: usize) -> Result<Outcome, DbnetError> {
    let (name, goal_ms) = match at_once {
        1 => ("20 clients × 100 traces, a request for each", None),
        _ => ("20 clients × 100 traces, a request for each client", Some(150.0)),
    };
    let mut outcome = Outcome::new(name, Some(3200.0), goal_ms);
    server.run(&["sql", "TRUNCATE otel.span"])?;
    let mut first = 0;
    for _ in 0..rounds {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let requests: Vec<String> = (0..TRACES / at_once)
                .map(|request| {
                    let from = first + (request * at_once) as u64;
                    traces("load", from, at_once, false).to_string()
                })
                .collect();
            first += TRACES as u64;
            clients.push((server.client("ingest")?, requests));
        }
        let barrier = Barrier::new(CLIENTS + 1);
        let done: io::Result<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .map(|(mut client, requests)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        for request in &requests {
                            client.post("/v1/traces", request)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            barrier.wait();
            let began = Instant::now();
            let join = |thread: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // All are waited for before the first failure is looked at.
            let ended: Vec<_> = threads.into_iter().map(join).collect();
            let took = began.elapsed();
            ended.into_iter().collect::<io::Result<()>>().map(|()| took)
        });
        outcome.took_ms.push(done?.as_secs_f64() * 1e3);
    }
    let meant = (rounds * CLIENTS * TRACES) as u64;
    server.count("spans", "SELECT count(*) FROM otel.span", meant)?;
    Ok(outcome)
}

/// Traces of one span each, as OTLP has them.
fn traces(node: &str, from: u64, count: usize, has_errors: bool) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let span = |number: u64| {
        let is_error = has_errors && !number.is_multiple_of(3);
        json!({
            "traceId": format!("{:032x}", number + 1), "spanId": format!("{:016x}", number + 1),
            "name": "GET /cart", "kind": 2,
            "startTimeUnixNano": now.to_string(), "endTimeUnixNano": (now + 5_000_000).to_string(),
            "attributes": [
                { "key": "http.request.method", "value": { "stringValue": "GET" } },
                { "key": "http.response.status_code", "value": { "intValue": if is_error { "500" } else { "200" } } },
                { "key": "net.peer.name", "value": { "stringValue": "cart.example" } },
            ],
            "status": { "code": if is_error { 2 } else { 1 } },
        })
    };
    let spans: Vec<Value> = (from..from + count as u64).map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "shop" } },
            { "key": "host.name", "value": { "stringValue": node } },
        ]},
        "scopeSpans": [{ "scope": { "name": "bench" }, "spans": spans }],
    }]})
}
