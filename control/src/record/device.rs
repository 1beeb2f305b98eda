//! A recorder as a device of the control plane: packets of a time that are to be kept, as objects (`save`), each by name and generation.
//!
//! On disk such an object is a pin of the store, which outlives the recorder; of what is kept in memory it is a file beside it. A file is written once: it is
//! there or not, and what it is of does not change.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use wt_trace::record::memory::{MemoryHandle, SavedReceiver};
use wt_trace::store::{Pin, SAVED, Store};

use super::failure;
use crate::failure::Failure;
use crate::live::device::{Kind, ObjectName, Record, Wanted};
use crate::moment;

/// How long a file of a time that is over may take before it counts as not there.
const WRITING: Duration = Duration::from_secs(20);
/// How long an answer waits for it: who asks does not wait for ever.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is kept on request.
pub(super) struct Device {
    pub(super) store: Store,
    /// By writer; none: packets go to disk.
    pub(super) memories: Vec<MemoryHandle>,
    /// Held while an object is brought to a state, so that what is older cannot overtake.
    record: Mutex<Record>,
}

/// The time of packets that are to be kept, as texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    from: String,
    to: String,
}

impl Device {
    pub(super) fn new(store: Store, memories: Vec<MemoryHandle>) -> Self {
        Self { store, memories, record: Mutex::default() }
    }

    /// Brings an object to a state, unless that one or a newer one was applied already.
    pub(super) fn apply(&self, wanted: &Wanted) -> Result<String, Failure> {
        let name = named(wanted.kind, &wanted.name)?;
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newer = wanted.generation > record.generation(name);
        if is_newer {
            match wanted.body.as_ref().map(|body| range(name, body)).transpose()? {
                Some((from_ns, to_ns)) => self.keep(&record, name, from_ns, to_ns)?,
                None => self.forget(name)?,
            }
            record.note(wanted);
            eprintln!("wiretable: {wanted}");
        }
        let answer = json!({
            "effect": if is_newer { "applied" } else { "ignored" },
            "gen": record.generation(name),
            "observed": self.observed(&record, name)?,
        });
        Ok(answer.to_string())
    }

    /// What an object is.
    pub(super) fn observe(&self, object: &ObjectName) -> Result<String, Failure> {
        let name = named(object.kind, &object.name)?;
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let observed = self.observed(&record, name)?;
        Ok(json!({"gen": record.generation(name), "observed": observed}).to_string())
    }

    /// All objects that were brought to a state, and what they are now.
    pub(super) fn objects(&self) -> Result<String, Failure> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |name: &str| -> Result<Value, Failure> {
            let (generation, observed) = (record.generation(name), self.observed(&record, name)?);
            let kind = Kind::Save;
            Ok(json!({"kind": kind, "name": name, "gen": generation, "observed": observed}))
        };
        let all: Result<Vec<Value>, Failure> = record.names().map(of).collect();
        Ok(Value::from(all?).to_string())
    }

    /// The files of a save from memory, by writer.
    pub(super) fn files(&self, name: &str) -> Vec<PathBuf> {
        let dir = self.store.dir().join(SAVED);
        match self.memories.len() {
            1 => vec![dir.join(format!("{name}.pcapng"))],
            several => (0..several).map(|w| dir.join(format!("{name}-w{w:02}.pcapng"))).collect(),
        }
    }

    /// Has the memories write what they have of a time.
    pub(super) fn save(&self, files: &[PathBuf], from_ns: u64, to_ns: u64) -> Vec<SavedReceiver> {
        let pairs = self.memories.iter().zip(files);
        pairs.map(|(memory, file)| memory.save(file, from_ns, to_ns)).collect()
    }

    fn keep(&self, record: &Record, name: &str, from_ns: u64, to_ns: u64) -> Result<(), Failure> {
        if self.memories.is_empty() {
            let pin = Pin { name: name.to_owned(), from_ns, to_ns };
            return self.store.pin(pin).map_err(failure);
        }
        let before = record.body(name).map(|body| range(name, body)).transpose()?;
        let files = self.files(name);
        if before.is_some_and(|before| before != (from_ns, to_ns)) {
            return Err(Failure::Input(format!(
                "save `{name}` is of another time, which does not change\n  help: give these packets another name"
            )));
        }
        // Written by this recorder or one before it: there is no more of it than there was then.
        if files.iter().all(|file| file.exists()) {
            return Ok(());
        }
        let missing: Vec<PathBuf> = files.into_iter().filter(|file| !file.exists()).collect();
        let saves = self.save(&missing, from_ns, to_ns);
        if to_ns > moment::now_ns() {
            return Ok(());
        }
        for saved in saves {
            // What takes longer shows when it is asked for.
            if let Ok(saved) = saved.recv_timeout(PATIENCE) {
                saved.map_err(failure)?;
            }
        }
        Ok(())
    }

    fn forget(&self, name: &str) -> Result<(), Failure> {
        if self.memories.is_empty() {
            return self.store.unpin(name).map(drop).map_err(failure);
        }
        for file in self.files(name) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Failure::path("remove", &file, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn observed(&self, record: &Record, name: &str) -> Result<Option<Value>, Failure> {
        let asked = record.body(name);
        let asked_ns = asked.map(|body| range(name, body)).transpose()?;
        if self.memories.is_empty() {
            let pins = self.store.pins().map_err(failure)?;
            let pin = pins.into_iter().find(|pin| pin.name == name);
            return Ok(pin.map(|pin| match asked {
                Some(body) if asked_ns == Some((pin.from_ns, pin.to_ns)) => body.clone(),
                _ => json!({"from": moment::show(pin.from_ns), "to": moment::show(pin.to_ns)}),
            }));
        }
        if self.files(name).iter().all(|file| file.exists()) {
            return Ok(Some(asked.cloned().unwrap_or(json!({}))));
        }
        // It is still to come.
        let until_ns = asked_ns.map(|(_, to_ns)| to_ns.saturating_add(WRITING.as_nanos() as u64));
        Ok(asked.filter(|_| until_ns.is_some_and(|ns| moment::now_ns() < ns)).cloned())
    }
}

/// The name of an object of a recorder, which is one for a file.
fn named(kind: Kind, name: &str) -> Result<&str, Failure> {
    if kind != Kind::Save {
        return Err(Failure::Input(
            "this is a recorder, which runs no queries; its objects are of kind `save`".to_owned(),
        ));
    }
    plain(name)
}

/// A name that is one of a file.
pub(super) fn plain(name: &str) -> Result<&str, Failure> {
    let parts: Vec<Component<'_>> = Path::new(name).components().collect();
    if !matches!(parts[..], [Component::Normal(_)]) || name.starts_with('.') {
        return Err(Failure::Input(format!("`{name}` is no name for a file")));
    }
    Ok(name)
}

/// The time that a body says, ns since the epoch.
fn range(name: &str, body: &Value) -> Result<(u64, u64), Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::Input(format!(
            "save `{name}`: {why}; write {{\"from\": \"2026-11-21T10:00:00Z\", \"to\": \"2026-11-21T10:01:00Z\"}}"
        ))
    };
    let body: Body = serde_json::from_value(body.clone()).map_err(|e| wrong(&e))?;
    // It is read more than once, so it may not depend on when.
    let time = |text: &str| match text.starts_with(['-', '+']) || text == "now" {
        true => Err(wrong(&format!("`{text}` is no time that stays the same"))),
        false => moment::parse(text, 0).map_err(|e| wrong(&e)),
    };
    let (from_ns, to_ns) = (time(&body.from)?, time(&body.to)?);
    if from_ns > to_ns {
        return Err(wrong(&format!("from {} is later than to {}", body.from, body.to)));
    }
    Ok((from_ns, to_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_database_and_stay_the_same() {
        let said =
            json!({"from": "2026-11-27T08:00:00.5+00:00", "to": "2026-11-27T09:00:01+01:00"});
        let (from_ns, to_ns) = range("x", &said).unwrap();
        assert_eq!(to_ns - from_ns, 500_000_000);
        for (body, why) in [
            (json!({}), "missing field `from`"),
            (json!({"from": "-30s", "to": "now"}), "no time that stays the same"),
            (json!({"from": "yesterday", "to": "today"}), "`yesterday` is no time"),
            (json!({"from": "2026-11-27", "to": "2026-11-26"}), "is later than"),
            (json!({"from": 1, "to": 2}), "invalid type"),
            (json!({"from": "1", "to": "2", "where": "x"}), "unknown field"),
        ] {
            let error = range("x", &body).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn names_are_those_of_files() {
        assert!(plain("alarm-7").is_ok());
        for name in ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../x"] {
            assert!(plain(name).is_err(), "{name}");
        }
        assert!(named(Kind::Block, "alarm").is_err());
    }
}
