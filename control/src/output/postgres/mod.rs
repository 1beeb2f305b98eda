//! Results into Postgres, each row exactly once.
//!
//! Rows are gathered into batches of 10,000; a batch goes into the spool with its key, and a thread takes it from there to the database
//! (`sender`). So the run never waits for the database, only for the disk, and a batch that was sent without an answer is sent again without harm.
//!
//! A run over files is a *replay*: its epoch is a digest of the query and its inputs, and its batches depend on the rows alone. Running it again, after a
//! crash or by choice, adds what is missing and nothing else. All other runs have an epoch of their own, and a gap row where one broke off.

mod columns;
mod sender;
mod spool;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::{Lost, Writer};
use crate::db::connect::DatabaseUrl;
use crate::failure::Failure;
use sender::{Declared, SendError, Session, Shared};
use spool::{Kind, Record, Spool};

/// Rows of a batch (10,000: more gain nothing, measured with COPY into daily partitions).
const BATCH_ROWS: u64 = 10_000;
/// A batch of long rows ends at this.
const BATCH_BYTES: usize = 8 << 20;
/// A live result has no more batches than one in so long, unless they are full: rows of a window that closes go at once, or when it is over.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// How long a sender is waited for at the end.
const SENDER_END: Duration = Duration::from_secs(5);
/// Longest name of a result table: the day of a partition is added to it.
const RELATION_BYTES_MAX: usize = 50;

/// Where rows go in Postgres, and how they are kept until they are there.
#[derive(Clone, Debug)]
pub struct PostgresTarget {
    /// The database.
    pub url: DatabaseUrl,
    /// Name of the table in schema `result`.
    pub relation: String,
    /// Who sends; part of every key.
    pub appliance: String,
    /// Folder of the spools.
    pub spool: PathBuf,
    /// Most bytes of this result's spool.
    pub spool_bytes_max: u64,
    /// How long rows are kept, e.g. `30 days`.
    pub keep: Option<String>,
    /// How long the end of a run waits for a database that is away.
    pub patience: Duration,
    /// Digest of the query and its inputs when they can be read again.
    pub replay: Option<u64>,
}

/// Writes rows of one result.
pub struct PostgresWriter {
    target: PostgresTarget,
    types: Vec<Type>,
    time_column: Option<usize>,
    completeness_column: Option<usize>,
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    /// What the sender begins with. It is started with the first rows, by whoever gives them: by then a live run has let go of its
    /// privileges, and a thread keeps those that it was started with.
    beginning: Option<(Declared, Option<Session>)>,
    cancel: Option<Arc<AtomicBool>>,
    epoch: u64,
    seq: u64,
    /// Batches up to this one are there: they are counted and not sent.
    mark: Option<u64>,
    skipped_rows: u64,
    batch: Batch,
    gap: Option<Gap>,
    /// When the last batch went.
    sealed: Instant,
    /// What tells what the run has lost so far, and what it had when the last batch went.
    lost: Option<Lost>,
    lost_before: Vec<(&'static str, u64)>,
    scratch: String,
}

#[derive(Debug)]
struct Batch {
    payload: Vec<u8>,
    rows: u64,
    at_min: i64,
    at_max: i64,
    completeness: f64,
}

impl Batch {
    fn new() -> Self {
        Self {
            payload: Vec::new(),
            rows: 0,
            at_min: i64::MAX,
            at_max: i64::MIN,
            completeness: f64::NAN,
        }
    }
}

/// Batches that found no room.
#[derive(Debug)]
struct Gap {
    seq: u64,
    batches: u64,
    rows: u64,
    at_min: i64,
    at_max: i64,
}

impl PostgresWriter {
    /// Opens the spool, connects, and declares the result.
    ///
    /// # Errors
    /// When another process writes the result, the disk refuses, the database refuses the columns, or it is away and has not known the result.
    pub fn open(target: PostgresTarget, schema: &Schema) -> Result<Self, Failure> {
        let definition = columns::definition(schema).to_string();
        let time_column = columns::time_column(schema);
        let declared = Declared {
            relation: target.relation.clone(),
            columns: definition.clone(),
            time_column: time_column.map(|i| columns::column_name(&schema.columns[i])),
            keep: target.keep.clone(),
            appliance: target.appliance.clone(),
        };
        let refuse =
            |why: &str| Failure::Environment(format!("result `{}`: {why}", target.relation));
        let dir = target.spool.join(folder_name(&target));
        let spool = Spool::open(&dir, target.spool_bytes_max, target.replay.is_none());
        let mut spool = spool.map_err(|e| refuse(&e.to_string()))?;
        let epoch = target.replay.unwrap_or_else(now_ns);
        let mut mark = None;
        let session = match Session::open(&target.url, &declared) {
            Ok(mut session) => {
                mark = match session.mark(epoch) {
                    Ok(mark) => mark,
                    Err(SendError::Away(why) | SendError::Refused(why)) => {
                        return Err(refuse(&why));
                    }
                };
                spool.remember(&definition).map_err(|e| refuse(&e.to_string()))?;
                Some(session)
            }
            Err(SendError::Away(why)) if spool.knows(&definition) => {
                eprintln!(
                    "wiretable: result `{}`: {} is away ({why}); rows wait in {}",
                    target.relation,
                    target.url.shown,
                    dir.display()
                );
                None
            }
            Err(SendError::Away(why)) => {
                return Err(refuse(&format!(
                    "cannot connect to {}: {why}\n  help: is the server running there? `wiretable db start` starts a private one",
                    target.url.shown
                )));
            }
            Err(SendError::Refused(why)) => return Err(refuse(&why)),
        };
        begin(&mut spool, &target, epoch).map_err(|e| refuse(&e.to_string()))?;
        let shared = Shared::new(spool);
        Ok(Self {
            types: schema.columns.iter().map(|c| c.ty).collect(),
            time_column,
            completeness_column: columns::completeness_column(schema),
            shared,
            sender: None,
            beginning: Some((declared, session)),
            cancel: None,
            epoch,
            seq: 0,
            mark,
            skipped_rows: 0,
            batch: Batch::new(),
            gap: None,
            sealed: Instant::now(),
            lost: None,
            lost_before: Vec::new(),
            scratch: String::new(),
            target,
        })
    }

    fn error(&self, why: &str) -> io::Error {
        io::Error::other(format!("result `{}`: {why}", self.target.relation))
    }

    /// Starts the sender, unless it is started.
    fn send(&mut self) -> io::Result<()> {
        let Some((declared, session)) = self.beginning.take() else { return Ok(()) };
        let (shared, url) = (Arc::clone(&self.shared), self.target.url.clone());
        let sender = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || sender::run(&shared, &url, &declared, session))
            .map_err(|e| self.error(&format!("cannot start a thread: {e}")))?;
        self.sender = Some(sender);
        Ok(())
    }

    /// Ends the batch: gives it its key and hands it to the spool.
    fn seal(&mut self) -> io::Result<()> {
        let mut batch = std::mem::replace(&mut self.batch, Batch::new());
        if batch.rows == 0 {
            return Ok(());
        }
        self.sealed = Instant::now();
        let seq = self.seq;
        self.seq += 1;
        if self.mark.is_some_and(|mark| seq <= mark) {
            self.skipped_rows += batch.rows;
            return Ok(());
        }
        if let Some(why) = self.shared.failure() {
            return Err(self.error(&why));
        }
        let mut record = Record {
            kind: Kind::Batch,
            epoch: self.epoch,
            seq,
            rows: batch.rows,
            at_min: batch.at_min,
            at_max: batch.at_max,
            completeness: batch.completeness,
            lost_bytes: 0,
        };
        let lost_now = self.lost.as_ref().map_or_else(Vec::new, |lost| lost());
        if let Some(lost) = newly_lost(&self.lost_before, &lost_now) {
            record.lost_bytes = lost.len() as u16;
            batch.payload.extend_from_slice(lost.as_bytes());
        }
        if self.target.replay.is_some() {
            // The trace can wait, and rows left out would be missing for good.
            let (patience, cancel) = (self.target.patience, self.cancel.as_deref());
            let room = self.shared.wait_for_room(batch.payload.len(), patience, cancel);
            room.map_err(|why| self.error(&format!("the spool is full and {why}")))?;
        } else if !self.shared.with_spool(|spool| spool.has_room(batch.payload.len())) {
            self.miss(&record);
            return Ok(());
        }
        self.put_gap()?;
        let appended = self.shared.with_spool(|spool| spool.append(record, &batch.payload));
        match appended {
            Ok(()) => {
                self.lost_before = lost_now;
                Ok(())
            }
            // A full disk is as a full spool: capture goes on, and the gap is noted.
            Err(error)
                if self.target.replay.is_none()
                    && matches!(
                        error.kind(),
                        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                    ) =>
            {
                self.miss(&record);
                Ok(())
            }
            Err(error) => Err(self.error(&format!("cannot write to the spool: {error}"))),
        }
    }

    fn miss(&mut self, record: &Record) {
        let gap = self.gap.get_or_insert(Gap {
            seq: record.seq,
            batches: 0,
            rows: 0,
            at_min: i64::MAX,
            at_max: i64::MIN,
        });
        gap.batches += 1;
        gap.rows += record.rows;
        gap.at_min = gap.at_min.min(record.at_min);
        gap.at_max = gap.at_max.max(record.at_max);
    }

    /// Writes down the gap that has ended.
    fn put_gap(&mut self) -> io::Result<()> {
        let Some(gap) = self.gap.take() else { return Ok(()) };
        eprintln!(
            "wiretable: result `{}`: {} rows found no room in the spool and are lost",
            self.target.relation, gap.rows
        );
        let record = Record {
            kind: Kind::Gap,
            epoch: self.epoch,
            seq: gap.seq,
            rows: gap.rows,
            at_min: gap.at_min,
            at_max: gap.at_max,
            completeness: f64::NAN,
            lost_bytes: 0,
        };
        let reason = format!("spool_full {}", gap.batches);
        self.shared.with_spool(|spool| spool.append(record, reason.as_bytes()))
    }

    fn cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// What has been lost between two counts, as JSON by cause; nothing for nothing.
fn newly_lost(before: &[(&'static str, u64)], now: &[(&'static str, u64)]) -> Option<String> {
    let of = |cause: &str| before.iter().find(|(c, _)| *c == cause).map_or(0, |(_, n)| *n);
    let new = now.iter().map(|(cause, count)| (*cause, count.saturating_sub(of(cause))));
    let new: serde_json::Map<_, _> = new
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| (cause.to_owned(), count.into()))
        .collect();
    (!new.is_empty()).then(|| serde_json::Value::Object(new).to_string())
}

/// Notes what the run before left unfinished, and that this one begins.
fn begin(spool: &mut Spool, target: &PostgresTarget, epoch: u64) -> io::Result<()> {
    let now = now_us();
    let gap = |epoch, seq| Record {
        kind: Kind::Gap,
        epoch,
        seq,
        rows: 0,
        at_min: now,
        at_max: now,
        completeness: f64::NAN,
        lost_bytes: 0,
    };
    match spool.unfinished() {
        // A replay is made whole by running it again.
        Some((before, seq)) if target.replay.is_none() => {
            spool.append(gap(before, seq), b"crash")?;
        }
        _ => {}
    }
    if spool.damaged() > 0 && target.replay.is_none() {
        spool.append(gap(epoch, 0), b"spool_damaged")?;
    }
    if target.replay.is_none() {
        spool.mark_epoch(epoch, false)?;
    }
    Ok(())
}

impl Writer for PostgresWriter {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        let at = self.time_column.and_then(|i| columns::time_us(values.get(i)?));
        let at = at.unwrap_or_else(now_us);
        let out = &mut self.batch.payload;
        out.extend_from_slice(&(4 + self.types.len() as i16).to_be_bytes());
        columns::text(out, &self.target.appliance);
        columns::bigint(out, self.epoch as i64);
        columns::bigint(out, self.seq as i64);
        columns::timestamp(out, at);
        for (value, ty) in values.iter().zip(&self.types) {
            columns::value(out, value, *ty, &mut self.scratch);
        }
        if let Some(Value::Float(share)) = self.completeness_column.and_then(|i| values.get(i)) {
            // The worst of the batch; `min` passes over what is not known.
            self.batch.completeness = self.batch.completeness.min(*share);
        }
        self.batch.rows += 1;
        self.batch.at_min = self.batch.at_min.min(at);
        self.batch.at_max = self.batch.at_max.max(at);
        if self.batch.rows >= BATCH_ROWS || self.batch.payload.len() >= BATCH_BYTES {
            self.send()?;
            return self.seal();
        }
        // The clock is looked at now and then only.
        if self.batch.rows.is_multiple_of(256) { self.window() } else { Ok(()) }
    }

    fn window(&mut self) -> io::Result<()> {
        self.send()?;
        if self.target.replay.is_none() && self.sealed.elapsed() >= BATCH_PAUSE {
            return self.seal();
        }
        Ok(())
    }

    fn idle(&mut self) -> io::Result<()> {
        self.window()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.send()?;
        let replay = self.target.replay.is_some();
        if replay && self.cancelled() {
            // The last batch would have the key of a whole one.
            if self.batch.rows > 0 {
                eprintln!(
                    "wiretable: result `{}`: the last {} rows before the interruption are not loaded; running the same again loads what is missing",
                    self.target.relation, self.batch.rows
                );
            }
            self.batch = Batch::new();
        }
        self.seal()?;
        self.put_gap()?;
        if let Err(why) = self.shared.drain(self.target.patience, self.cancel.as_deref()) {
            let (batches, rows) = self.shared.with_spool(|spool| spool.waiting());
            return Err(self.error(&format!(
                "{why}\n  {rows} rows in {batches} batches wait in {}; the next run with this result sends them",
                self.target.spool.join(folder_name(&self.target)).display()
            )));
        }
        if !replay {
            let done = self.shared.with_spool(|spool| spool.mark_epoch(self.epoch, true));
            done.map_err(|e| self.error(&format!("cannot write to the spool: {e}")))?;
        }
        let known = self.shared.known().1 + self.skipped_rows;
        if known > 0 {
            eprintln!(
                "wiretable: result `{}`: {known} rows were there already",
                self.target.relation
            );
        }
        Ok(())
    }

    fn watch(&mut self, cancel: &Arc<AtomicBool>) {
        self.cancel = Some(Arc::clone(cancel));
    }

    fn account(&mut self, lost: &Lost) {
        self.lost = Some(Arc::clone(lost));
    }
}

impl Drop for PostgresWriter {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(sender) = self.sender.take() {
            // It ends after the batches at hand; one that waits for a server that never answers is left behind, as the process ends.
            let until = Instant::now() + SENDER_END;
            while !sender.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if sender.is_finished() {
                // A panic in it has been printed.
                let _ = sender.join();
            }
        }
    }
}

/// The table that a query's rows go to: its name as Postgres folds it.
///
/// # Errors
/// When it is too long for a table with daily partitions.
pub fn relation_of(query: &str) -> Result<String, Failure> {
    let name = query.to_lowercase();
    if name.len() > RELATION_BYTES_MAX {
        return Err(Failure::Input(format!(
            "the name of query `{query}` has {} bytes; a table of results may have {RELATION_BYTES_MAX}\n  help: name it with DEFINE {{ query_name …; }}",
            name.len()
        )));
    }
    Ok(name)
}

/// One folder per result, appliance and database: their batches must not mix.
fn folder_name(target: &PostgresTarget) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let readable: String = target.relation.chars().map(safe).collect();
    let key = [&target.url.shown, "\0", &target.appliance, "\0", &target.relation].concat();
    format!("{readable}-{:016x}", digest(key.as_bytes()))
}

/// FNV-1a with 63 bits: the same in every version of this program, as keys depend on it.
pub fn digest(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 1
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// An epoch of a run that cannot be repeated: the time of its beginning.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) >> 1
}

#[cfg(test)]
mod tests;
