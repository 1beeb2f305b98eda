//! Rows of several requests in one transaction, as each commit waits for the disk. The rows of a caller are put in by one statement, as that
//! caller; what stands in the way of one request does not stand in the way of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio_postgres::types::ToSql;

use super::rows::Rows;
use crate::server::caller::Caller;
use crate::server::gather::Gather;
use crate::server::logins::Logins;
use crate::server::problem::Problem;
use crate::server::timing;

/// Rows of a transaction, unless a request has more.
const GROUP_ROWS_MAX: usize = 5_000;
/// How often a transaction that stood in another's way is tried.
const TRIES: u32 = 3;

/// The rows of a request, and whom to tell how many were rejected for their time, and how long the database took.
pub(super) struct Parcel {
    caller: Caller,
    rows: Rows,
    answer: oneshot::Sender<(Result<i64, Problem>, Duration)>,
}

/// Puts rows of one signal into the database.
pub(in crate::server) struct Store(Gather<Parcel>);

impl Store {
    pub(in crate::server) fn new(logins: &Arc<Logins>) -> Self {
        let logins = Arc::clone(logins);
        let weight = |parcel: &Parcel| parcel.rows.len();
        Self(Gather::new(GROUP_ROWS_MAX, weight, move |group| store(Arc::clone(&logins), group)))
    }

    /// Stores the rows of a request; how many were rejected for their time.
    pub(super) async fn put(&self, caller: &Caller, rows: Rows) -> Result<i64, Problem> {
        let (answer, answered) = oneshot::channel();
        self.0.add(Parcel { caller: caller.clone(), rows, answer }).await;
        let broken = |_| Problem::unavailable("the rows were given up on");
        let (rejected, took) = answered.await.map_err(broken)?;
        timing::add(took);
        rejected
    }
}

async fn store(logins: Arc<Logins>, group: Vec<Parcel>) {
    let parts: Vec<Part<'_>> = group.iter().map(Part::of).collect();
    let began = Instant::now();
    let outcomes = put_all(&logins, &parts).await;
    let took = began.elapsed();
    for (parcel, outcome) in group.into_iter().zip(outcomes) {
        // Whoever has gone away needs no answer; the rows are there.
        let _ = parcel.answer.send((outcome, took));
    }
}

/// What a request wants stored.
#[derive(Clone, Copy)]
struct Part<'p> {
    caller: &'p Caller,
    rows: &'p Rows,
}

impl<'p> Part<'p> {
    fn of(parcel: &'p Parcel) -> Self {
        Self { caller: &parcel.caller, rows: &parcel.rows }
    }
}

/// Stores all of them at once; if that fails because of one of them, one by one.
async fn put_all(logins: &Logins, parts: &[Part<'_>]) -> Vec<Result<i64, Problem>> {
    let mut tries = 1;
    let problem = loop {
        match put_together(logins, parts).await {
            Ok(rejected) => return rejected.into_iter().map(Ok).collect(),
            Err(problem) if problem.is_conflict_of_transactions() && tries < TRIES => tries += 1,
            Err(problem) => break problem,
        }
    };
    if parts.len() == 1 || !is_of_one(&problem) {
        return vec![Err(problem); parts.len()];
    }
    let mut outcomes = Vec::with_capacity(parts.len());
    for part in parts {
        let alone = put_together(logins, std::slice::from_ref(part)).await;
        outcomes.push(alone.map(|rejected| rejected[0]));
    }
    outcomes
}

/// Whether a failure may be of what one request brought. A database that is away or too slow is so for all.
fn is_of_one(problem: &Problem) -> bool {
    let is_of_all = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    problem.code.is_some() && !is_of_all.contains(&problem.status)
}

/// Stores them in one transaction, which is sent as a whole; of each, how many rows were rejected for their time.
async fn put_together(logins: &Logins, parts: &[Part<'_>]) -> Result<Vec<i64>, Problem> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, part) in parts.iter().enumerate() {
        by_name.entry(part.caller.name()).or_default().push(number);
    }
    let connection = logins.connection("wt_s_ingest").await?;
    let name = connection.prepare_cached("SELECT set_config('wt.actor', $1, true)").await?;
    let of_names: Vec<(&str, Rows)> =
        by_name.into_iter().map(|(name, numbers)| (name, merged(parts, &numbers))).collect();
    let Some((_, first)) = of_names.first() else { return Ok(Vec::new()) };
    let put = connection.prepare_cached(&first.statement()).await?;
    let milliseconds = parts.iter().map(|part| part.caller.statement_ms).min().unwrap_or(0);
    let begin = format!("BEGIN; SET LOCAL statement_timeout = {milliseconds}");
    let statements = of_names.iter().map(|(actor, rows)| {
        let (connection, name, put) = (&connection, &name, &put);
        async move {
            let (actor, parameters) = ([actor as &(dyn ToSql + Sync)], rows.parameters());
            let named = connection.query_one(name, &actor);
            let (named, put) = tokio::join!(named, connection.query(put, &parameters));
            named.and(put)
        }
    });
    // All go out before the first answer comes. After a failure COMMIT takes back what was done, and its own answer tells nothing.
    let (begun, done, committed) = tokio::join!(
        connection.batch_execute(&begin),
        join_all(statements),
        connection.batch_execute("COMMIT"),
    );
    begun?;
    let mut rejected = vec![0; parts.len()];
    for rows in done {
        for row in rows? {
            let (number, count): (i32, i64) = (row.get(0), row.get(1));
            rejected[number as usize] += count;
        }
    }
    committed?;
    Ok(rejected)
}

/// The rows of some requests, known by their number.
fn merged(parts: &[Part<'_>], numbers: &[usize]) -> Rows {
    let mut all = Rows::new(parts[numbers[0]].rows.signal);
    for number in numbers {
        all.append(*number as i32, parts[*number].rows);
    }
    all
}
