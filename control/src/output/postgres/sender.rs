//! The thread that takes batches from the spool to the database, in order, until each is there.
//!
//! In a transaction: for each batch `res.begin_batch` with its key, and if the key is new, binary COPY into the result table
//! (`sql/migrations/V07__results.sql`). What waits goes in one transaction up to [`COMMIT_BYTES`], as each commit waits for the server's disk. When the database is away it tries again, at longer and longer intervals.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use postgres::error::SqlState;
use postgres::{Client, Transaction};

use crate::db::connect::{DatabaseUrl, may_pass, reason};

use super::columns::{COPY_HEADER, COPY_TRAILER};
use super::spool::{Kind, Place, Record, Spool, read_payload};

/// Batches that wait go together up to this.
const COMMIT_BYTES: u64 = 8 << 20;
/// First and longest wait before another try.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long an interrupted run waits for a database that says nothing.
const INTERRUPTED: Duration = Duration::from_secs(5);

/// The result table, as the database is told of it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Name of the table in schema `result`.
    pub relation: String,
    /// Columns, as `res.define` takes them (JSON).
    pub columns: String,
    /// The column whose time rows belong to.
    pub time_column: Option<String>,
    /// How long rows are kept, e.g. `30 days`.
    pub keep: Option<String>,
    /// Who sends.
    pub appliance: String,
}

/// What the writer and the sender share.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    spool: Spool,
    closing: bool,
    stopping: bool,
    /// Why nothing more will be sent.
    failed: Option<String>,
    /// Why nothing is sent at present.
    away: Option<String>,
    /// Tries that have failed.
    failures: u64,
    /// The next try is not to be put off.
    hurry: bool,
    /// When the last batch went, or the sender began.
    progress: Instant,
    /// Batches and rows that were there already.
    known: (u64, u64),
}

impl Shared {
    /// Shares a spool.
    pub fn new(spool: Spool) -> Arc<Self> {
        let state = State {
            spool,
            closing: false,
            stopping: false,
            failed: None,
            away: None,
            failures: 0,
            hurry: false,
            progress: Instant::now(),
            known: (0, 0),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Does something with the spool, and wakes the sender.
    pub fn with_spool<T>(&self, work: impl FnOnce(&mut Spool) -> T) -> T {
        let result = work(&mut self.lock().spool);
        self.changed.notify_all();
        result
    }

    /// Why nothing more can be sent, if so.
    pub fn failure(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Waits until a record of so many bytes has room. The error says why there will be none: the database has been away for `patience`.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn wait_for_room(
        &self,
        payload_bytes: usize,
        patience: Duration,
        cancel: Option<&AtomicBool>,
    ) -> Result<(), String> {
        self.wait_until(patience, cancel, |state| {
            state.spool.has_room(payload_bytes) || state.spool.is_empty()
        })
    }

    /// Waits until everything is sent; for `patience` without progress at most, and not at all for a database that is away when the run
    /// has been interrupted.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn drain(&self, patience: Duration, cancel: Option<&AtomicBool>) -> Result<(), String> {
        self.lock().closing = true;
        self.changed.notify_all();
        self.wait_until(patience, cancel, |state| state.spool.is_empty())
    }

    fn wait_until(
        &self,
        patience: Duration,
        cancel: Option<&AtomicBool>,
        reached: impl Fn(&State) -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let mut tries = None;
        let mut state = self.lock();
        loop {
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if reached(&state) {
                return Ok(());
            }
            let is_over = cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
            if is_over && let Some(why) = state.away.clone() {
                // It may have come back since: one more try, now.
                let tried = *tries.get_or_insert(state.failures);
                if state.failures > tried {
                    return Err(format!("the database is away: {why}"));
                }
                state.hurry = true;
                self.changed.notify_all();
            }
            let patience = if is_over { patience.min(INTERRUPTED) } else { patience };
            if state.progress.max(begin).elapsed() > patience {
                let why = state.away.clone().unwrap_or_else(|| "it does not answer".to_owned());
                return Err(format!(
                    "the database has been away for {} s: {why}",
                    patience.as_secs()
                ));
            }
            state = self.wait(state, Duration::from_millis(100));
        }
    }

    /// Ends the sender, whatever waits.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Batches and rows that the database had already.
    pub fn known(&self) -> (u64, u64) {
        self.lock().known
    }
}

/// A connection that may load batches of one result.
pub struct Session {
    client: Client,
    declared: Declared,
}

/// Why there is no session, or a batch was not loaded.
#[derive(Debug)]
pub enum SendError {
    /// The database is away, or two transactions stood in each other's way: try again.
    Away(String),
    /// Trying again is pointless.
    Refused(String),
}

impl From<postgres::Error> for SendError {
    fn from(error: postgres::Error) -> Self {
        let text = reason(&error);
        if may_pass(&error) { Self::Away(text) } else { Self::Refused(text) }
    }
}

impl Session {
    /// Connects, takes the role `wt_ingest`, and declares the result.
    ///
    /// # Errors
    /// As [`SendError`] says; a result that has other columns is refused with both.
    pub fn open(url: &DatabaseUrl, declared: &Declared) -> Result<Self, SendError> {
        let mut client = url.open()?;
        let row = client.query_one(
            "SELECT to_regprocedure('res.define(text,jsonb,text,interval,text)') IS NOT NULL, \
             (SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'wt_ingest'), current_user::text",
            &[],
        );
        let row = match row {
            // Without USAGE the name is not even looked up.
            Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                return Err(SendError::Refused(not_allowed(&url.shown)));
            }
            row => row?,
        };
        let (there, member): (bool, Option<bool>) = (row.get(0), row.get(1));
        match (there, member) {
            (_, None) | (false, _) => {
                return Err(SendError::Refused(format!(
                    "{} has no tables of wiretable\n  help: make them with `wiretable db migrate --database-url …`",
                    url.shown
                )));
            }
            (true, Some(false)) => return Err(SendError::Refused(not_allowed(&url.shown))),
            // No more rights than loading takes.
            (true, Some(true)) => client.batch_execute(
                "SET ROLE wt_ingest; SET client_min_messages = warning; SET lock_timeout = '10s'; SET synchronous_commit = on",
            )?,
        }
        client.query_one(
            "SELECT res.define($1, $2::text::jsonb, $3, $4::text::interval)",
            &[&declared.relation, &declared.columns, &declared.time_column, &declared.keep],
        )?;
        Ok(Self { client, declared: declared.clone() })
    }

    fn table(&self) -> String {
        format!("result.\"{}\"", self.declared.relation.replace('"', "\"\""))
    }

    /// The last batch of an epoch that the database has.
    ///
    /// # Errors
    /// The database's.
    pub fn mark(&mut self, epoch: u64) -> Result<Option<u64>, SendError> {
        let row = self.client.query_opt(
            "SELECT seq FROM res.mark WHERE appliance_id = $1 AND relation = $2::text::name AND epoch = $3",
            &[&self.declared.appliance, &self.declared.relation, &(epoch as i64)],
        )?;
        Ok(row.map(|r| r.get::<_, i64>(0) as u64))
    }

    /// Loads batches unless they are there; says of each whether it was new.
    fn send(&mut self, records: &[(Record, Vec<u8>)]) -> Result<Vec<bool>, SendError> {
        let table = self.table();
        let d = &self.declared;
        let mut transaction = self.client.transaction()?;
        let mut new = Vec::with_capacity(records.len());
        for (record, payload) in records {
            new.push(match record.kind {
                Kind::Gap => put_gap(&mut transaction, d, record, payload)?,
                Kind::Batch => put_batch(&mut transaction, d, &table, record, payload)?,
            });
        }
        transaction.commit()?;
        Ok(new)
    }
}

fn put_gap(
    transaction: &mut Transaction<'_>,
    d: &Declared,
    record: &Record,
    payload: &[u8],
) -> Result<bool, SendError> {
    // A reason, and for lost batches their number.
    let text = String::from_utf8_lossy(payload);
    let (reason, batches) = match text.split_once(' ') {
        Some((reason, n)) => (reason, n.parse::<i64>().ok()),
        None => (&*text, None),
    };
    let rows = batches.map(|_| record.rows as i64);
    transaction.execute(
        "SELECT res.put_gap($1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7), $8, $9)",
        &[
            &d.appliance,
            &d.relation,
            &(record.epoch as i64),
            &(record.seq as i64),
            &reason,
            &seconds(record.at_min),
            &seconds(record.at_max),
            &batches,
            &rows,
        ],
    )?;
    Ok(true)
}

fn put_batch(
    transaction: &mut Transaction<'_>,
    d: &Declared,
    table: &str,
    record: &Record,
    payload: &[u8],
) -> Result<bool, SendError> {
    let completeness = (!record.completeness.is_nan()).then_some(record.completeness as f32);
    let (payload, lost) = payload.split_at(payload.len() - usize::from(record.lost_bytes));
    let lost = (!lost.is_empty()).then(|| String::from_utf8_lossy(lost));
    let row = transaction.query_one(
        "SELECT res.begin_batch($1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7), $8, $9::text::jsonb)",
        &[
            &d.appliance,
            &d.relation,
            &(record.epoch as i64),
            &(record.seq as i64),
            &(record.rows as i64),
            &seconds(record.at_min),
            &seconds(record.at_max),
            &completeness,
            &lost,
        ],
    )?;
    if !row.get::<_, bool>(0) {
        return Ok(false);
    }
    let mut copy = transaction.copy_in(&format!("COPY {table} FROM STDIN BINARY"))?;
    let written = copy.write_all(COPY_HEADER).and_then(|()| copy.write_all(payload));
    let written = written.and_then(|()| copy.write_all(COPY_TRAILER));
    // A failed write is explained by the server's answer, which `finish` brings.
    match (written, copy.finish()) {
        (_, Err(error)) => return Err(error.into()),
        (Err(error), Ok(_)) => return Err(SendError::Away(error.to_string())),
        (Ok(()), Ok(_)) => {}
    }
    transaction.execute("SELECT res.end_batch()", &[])?;
    Ok(true)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

fn not_allowed(shown: &str) -> String {
    format!("the user of {shown} may not load results\n  help: GRANT wt_ingest TO it")
}

/// Sends until the spool is empty and closing, or sending has become pointless.
pub fn run(shared: &Shared, url: &DatabaseUrl, declared: &Declared, mut session: Option<Session>) {
    let mut backoff = BACKOFF_MIN;
    while let Some(places) = next(shared) {
        let outcome = match session.as_mut() {
            Some(session) => load(session, &places),
            None => Session::open(url, declared).map(|opened| {
                session = Some(opened);
                Vec::new()
            }),
        };
        let mut state = shared.lock();
        match outcome {
            Ok(new) => {
                backoff = BACKOFF_MIN;
                state.arrived(&places, &new, declared, url);
            }
            Err(SendError::Refused(why)) => state.failed = Some(why),
            Err(SendError::Away(why)) => {
                session = None;
                if state.away.is_none() {
                    eprintln!(
                        "wiretable: result `{}`: {} is away ({}); rows wait in the spool",
                        declared.relation,
                        url.shown,
                        why.lines().next().unwrap_or_default()
                    );
                }
                state.away = Some(why);
                state.failures += 1;
                state.hurry = false;
                shared.changed.notify_all();
                let until = Instant::now() + jittered(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
                while !state.stopping && !state.hurry && Instant::now() < until {
                    let left = until.saturating_duration_since(Instant::now());
                    state = shared.wait(state, left);
                }
            }
        }
        let failed = state.failed.is_some();
        drop(state);
        shared.changed.notify_all();
        if failed {
            return;
        }
    }
}

impl State {
    /// The database has these records.
    fn arrived(
        &mut self,
        places: &[(Record, Place, PathBuf)],
        new: &[bool],
        declared: &Declared,
        url: &DatabaseUrl,
    ) {
        self.progress = Instant::now();
        if self.away.take().is_some() {
            eprintln!("wiretable: result `{}`: {} is back", declared.relation, url.shown);
        }
        for ((record, ..), _) in places.iter().zip(new).filter(|(_, new)| !**new) {
            self.known.0 += 1;
            self.known.1 += record.rows;
        }
        if let Err(error) = self.spool.sent(new.len()) {
            self.failed = Some(format!("cannot write to the spool: {error}"));
        }
    }
}

fn load(
    session: &mut Session,
    places: &[(Record, Place, PathBuf)],
) -> Result<Vec<bool>, SendError> {
    let read = |(record, place, path): &(Record, Place, PathBuf)| {
        let payload = read_payload(path, *place);
        let failed =
            |e| SendError::Refused(format!("cannot read the spool {}: {e}", path.display()));
        payload.map(|payload| (*record, payload)).map_err(failed)
    };
    let records: Result<Vec<_>, _> = places.iter().map(read).collect();
    session.send(&records?)
}

/// The next records to send, once there are some.
fn next(shared: &Shared) -> Option<Vec<(Record, Place, PathBuf)>> {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            return None;
        }
        if !state.spool.is_empty() {
            let first = state.spool.first(COMMIT_BYTES).into_iter();
            return Some(first.map(|(r, p)| (r, p, state.spool.path_of(p))).collect());
        }
        if state.closing {
            return None;
        }
        state = shared.wait(state, Duration::from_secs(1));
    }
}

/// Many sinks that lost one database do not come back at the same moment.
fn jittered(wait: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    wait / 2 + wait / 2 * (nanos.subsec_nanos() % 1000) / 1000
}
