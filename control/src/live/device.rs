//! A live run as a device of the control plane: parameters, queries, watchlists and the block list as objects, each brought to a state by name and generation.
//!
//! Whoever drives the run may say the same twice, or late. The run keeps the last generation that it applied of each object, and ignores what is not newer:
//! so each effect happens once, however often it is asked for. Generations live as long as what they are of: a run that ends takes both with it, and whoever
//! drives the next one finds out by asking.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wt_engine::live::Handle;
use wt_xdp::broker::Broker;
use wt_xdp::loader::{BlockError, BlockList, Blocked, Prefix};

use super::LiveInterface;
use super::control::Query;
use super::queries::LiveQueries;
use super::watchlists;
use crate::cli::{CaptureWay, parse_duration};
use crate::failure::Failure;
use crate::session;

/// Why nothing can be blocked.
pub const NO_DRIVER: &str = "no interface of this run is captured from in its driver, where packets could be dropped\n  \
    help: capture so (--capture xdp), with a query that has code there";

/// Why nothing can be saved.
pub const NO_RECORDER: &str = "this run records nothing\n  \
    help: `wiretable record -i IF -w DIR --ring 60s` keeps packets that can be saved";

/// Objects that are gone and whose generation is kept, of each kind: older ones are forgotten first.
const GONE_MAX: usize = 100_000;
/// Characters of a state in a line of the log.
const SHOWN_MAX: usize = 200;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A prefix of the block list; body: `ttl_s`, if it is to end by itself.
    Block,
    /// A parameter; body: `value`.
    Param,
    /// A query; body: `text`, and `output` and `format` of its rows.
    Query,
    /// Of a recorder: packets that are to be kept; body: `from` and `to`, times.
    Save,
    /// A watchlist; body: `entries`, its records, in the place of those of its file.
    Watchlist,
}

const KINDS: [Kind; 5] = [Kind::Block, Kind::Param, Kind::Query, Kind::Save, Kind::Watchlist];

/// An object by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectName {
    /// What it is.
    pub kind: Kind,
    /// Which.
    pub name: String,
}

/// The state that an object is to be in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// What it is.
    pub kind: Kind,
    /// Which.
    pub name: String,
    /// Its generation: greater ones are newer.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// The state; nothing: it should not be there.
    #[serde(default)]
    pub body: Option<Value>,
}

/// As a line of a log: `block 192.0.2.0/24 by generation 7: {"ttl_s":60}`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, generation, body } = self;
        let kind = format!("{kind:?}").to_lowercase();
        write!(f, "{kind} {} by generation {generation}: ", name.escape_debug())?;
        let Some(body) = body else { return f.write_str("removed") };
        let text = body.to_string();
        match text.char_indices().nth(SHOWN_MAX) {
            Some((at, _)) => write!(f, "{}…", &text[..at]),
            None => f.write_str(&text),
        }
    }
}

/// What was applied of an object.
#[derive(Clone, Debug)]
struct Applied {
    generation: u64,
    body: Option<Value>,
    /// When, ns since the epoch.
    at_ns: u64,
}

/// What was applied of the objects of one kind.
#[derive(Debug, Default)]
pub struct Record {
    objects: BTreeMap<String, Applied>,
}

impl Record {
    /// The last generation of an object; 0 when none was applied.
    pub fn generation(&self, name: &str) -> u64 {
        self.objects.get(name).map_or(0, |applied| applied.generation)
    }

    /// The last state of an object, unless it should not be there.
    pub fn body(&self, name: &str) -> Option<&Value> {
        self.objects.get(name).and_then(|applied| applied.body.as_ref())
    }

    /// The objects that something was applied of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// Notes what was applied.
    pub fn note(&mut self, wanted: &Wanted) {
        let applied =
            Applied { generation: wanted.generation, body: wanted.body.clone(), at_ns: now_ns() };
        self.objects.insert(wanted.name.clone(), applied);
        if self.objects.len() > 2 * GONE_MAX {
            let gone = self.objects.iter().filter(|(_, applied)| applied.body.is_none());
            let mut gone: Vec<_> = gone.map(|(name, a)| (a.at_ns, name.clone())).collect();
            gone.sort_unstable();
            let over = gone.len().saturating_sub(GONE_MAX);
            gone.drain(..over).for_each(|(_, name)| drop(self.objects.remove(&name)));
        }
    }
}

fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// The run as a device.
pub struct Device {
    blocks: Option<Arc<BlockList>>,
    /// By kind. Held while an object of the kind is brought to a state, so that what is older cannot overtake.
    records: [Mutex<Record>; KINDS.len()],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn blocked(error: BlockError) -> Failure {
    match error {
        BlockError::Full { .. } => Failure::Input(error.to_string()),
        BlockError::Kernel { .. } => Failure::Environment(error.to_string()),
    }
}

/// Reads a prefix to block.
fn prefix(text: &str) -> Result<Prefix, Failure> {
    text.parse().map_err(|e: wt_xdp::loader::PrefixError| Failure::Input(e.to_string()))
}

impl Device {
    /// A device with a block list, if packets can be dropped.
    pub fn new(blocks: Option<Arc<BlockList>>) -> Self {
        Self { blocks, records: Default::default() }
    }

    fn block_list(&self) -> Result<&BlockList, Failure> {
        self.blocks.as_deref().ok_or_else(|| Failure::Environment(NO_DRIVER.to_owned()))
    }

    /// Blocks a prefix.
    pub fn block(&self, text: &str, lasts_ms: Option<u64>) -> Result<String, Failure> {
        let prefix = prefix(text)?;
        let is_new = self.block_list()?.add(prefix, lasts_ms.map(Duration::from_millis));
        let what = if is_new.map_err(blocked)? { "blocked" } else { "was blocked already:" };
        Ok(format!("{what} {prefix}\n"))
    }

    /// Lifts the block of a prefix.
    pub fn unblock(&self, text: &str) -> Result<String, Failure> {
        let prefix = prefix(text)?;
        match self.block_list()?.remove(prefix).map_err(blocked)? {
            true => Ok(format!("lifted {prefix}\n")),
            false => Err(Failure::Input(format!(
                "{prefix} is not blocked\n  help: `wiretable ctl block list` shows what is"
            ))),
        }
    }

    /// What is blocked.
    pub fn blocks(&self, json: bool) -> Result<String, Failure> {
        let list = self.block_list()?.list().map_err(blocked)?;
        if json {
            let all: Vec<Value> = list.iter().map(as_json).collect();
            return Ok(format!("{}\n", Value::from(all)));
        }
        let head = ["prefix", "packets", "bytes", "left"].map(str::to_owned);
        let row = |b: &Blocked| {
            let left = b.left.map_or("-".to_owned(), |left| format!("{} s", left.as_secs()));
            [b.prefix.to_string(), b.packets.to_string(), b.bytes.to_string(), left]
        };
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(list.iter().map(row)).collect();
        let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        Ok(rows.iter().fold(String::new(), |text, [prefix, packets, bytes, left]| {
            let [p, n, b, l] = widths;
            text + &format!("{prefix:<p$}  {packets:>n$}  {bytes:>b$}  {left:>l$}\n")
        }))
    }

    /// Brings an object to a state, unless that one or a newer one was applied already.
    pub fn apply(
        &self,
        wanted: &Wanted,
        handle: &Handle,
        queries: &Mutex<LiveQueries>,
    ) -> Result<String, Failure> {
        let mut record = lock(&self.records[wanted.kind as usize]);
        let is_newer = wanted.generation > record.generation(&wanted.name);
        if is_newer {
            match wanted.kind {
                Kind::Block => self.apply_block(wanted)?,
                Kind::Param => lock(queries).set(handle, &[setting(wanted)?])?,
                Kind::Query => apply_query(wanted, handle, &mut lock(queries))?,
                Kind::Save => return Err(Failure::Input(NO_RECORDER.to_owned())),
                Kind::Watchlist => watchlists::apply(wanted, handle, &mut lock(queries))?,
            }
            record.note(wanted);
            eprintln!("wiretable: {wanted}");
        }
        let observed = self.observed(&record, wanted.kind, &wanted.name, queries)?;
        let answer = json!({
            "effect": if is_newer { "applied" } else { "ignored" },
            "gen": record.generation(&wanted.name),
            "observed": observed,
        });
        Ok(answer.to_string())
    }

    fn apply_block(&self, wanted: &Wanted) -> Result<(), Failure> {
        let (prefix, list) = (prefix(&wanted.name)?, self.block_list()?);
        let Some(body) = &wanted.body else {
            return list.remove(prefix).map(drop).map_err(blocked);
        };
        let lasts = match body.get("ttl_s") {
            None | Some(Value::Null) => None,
            Some(seconds) => {
                let seconds = seconds.as_f64().filter(|s| (0.001..=31_622_400.0).contains(s));
                let seconds = seconds.ok_or_else(|| {
                    Failure::Input("`ttl_s` is no number of seconds up to a year".to_owned())
                })?;
                Some(Duration::from_secs_f64(seconds))
            }
        };
        list.add(prefix, lasts).map(drop).map_err(blocked)
    }

    /// What an object is.
    pub fn observe(
        &self,
        name: &ObjectName,
        queries: &Mutex<LiveQueries>,
    ) -> Result<String, Failure> {
        let record = lock(&self.records[name.kind as usize]);
        let observed = self.observed(&record, name.kind, &name.name, queries)?;
        Ok(json!({"gen": record.generation(&name.name), "observed": observed}).to_string())
    }

    /// All objects that were brought to a state from outside, and what they are now.
    pub fn objects(&self, queries: &Mutex<LiveQueries>) -> Result<String, Failure> {
        let mut all = Vec::new();
        for kind in KINDS {
            let record = lock(&self.records[kind as usize]);
            // What the batch, or a person at the shell, has made is theirs.
            for name in record.names() {
                let observed = self.observed(&record, kind, name, queries)?;
                let generation = record.generation(name);
                all.push(
                    json!({"kind": kind, "name": name, "gen": generation, "observed": observed}),
                );
            }
        }
        Ok(Value::from(all).to_string())
    }

    fn observed(
        &self,
        record: &Record,
        kind: Kind,
        name: &str,
        queries: &Mutex<LiveQueries>,
    ) -> Result<Option<Value>, Failure> {
        let applied = record.body(name);
        let member = |key: &str| applied.and_then(|body| body.get(key)).cloned();
        Ok(match kind {
            Kind::Block => {
                let Some(blocks) = &self.blocks else { return Ok(None) };
                let Some(found) = blocks.get(prefix(name)?).map_err(blocked)? else {
                    return Ok(None);
                };
                let mut seen = json!({"prefix": found.prefix.to_string()});
                if let (Some(ttl_s), Some(_)) = (member("ttl_s"), found.left) {
                    seen["ttl_s"] = ttl_s;
                }
                if let Some(applied) = record.objects.get(name) {
                    seen["since_ns"] = applied.at_ns.into();
                }
                Some(seen)
            }
            Kind::Param => lock(queries).param(name).map(|text| {
                // As it was asked for, if it is that.
                let same = member("value").filter(|value| plain(value).as_deref() == Some(&text));
                json!({"value": same.unwrap_or(Value::from(text))})
            }),
            Kind::Query => lock(queries).text(name).map(|text| {
                let is_as_asked = member("text").is_some_and(|asked| {
                    asked.as_str().is_some_and(|asked| same_query(asked, text, name))
                });
                match applied {
                    Some(body) if is_as_asked => body.clone(),
                    _ => json!({"text": text}),
                }
            }),
            Kind::Save => None,
            Kind::Watchlist => watchlists::observed(&lock(queries), name, applied),
        })
    }
}

fn as_json(blocked: &Blocked) -> Value {
    json!({
        "prefix": blocked.prefix.to_string(),
        "packets": blocked.packets,
        "bytes": blocked.bytes,
        "first_ns": blocked.first_ns,
        "left_ms": blocked.left.map(|left| left.as_millis() as u64),
    })
}

/// A value as the text of a setting.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn setting(wanted: &Wanted) -> Result<String, Failure> {
    let name = &wanted.name;
    let Some(body) = &wanted.body else {
        return Err(Failure::Input(format!(
            "parameter `{name}` cannot be removed: a query declares it; give it another value"
        )));
    };
    let value = body.get("value").and_then(plain).ok_or_else(|| {
        Failure::Input(format!("parameter `{name}` has no value: write {{\"value\": …}}"))
    })?;
    Ok(format!("{name}={value}"))
}

fn apply_query(wanted: &Wanted, handle: &Handle, queries: &mut LiveQueries) -> Result<(), Failure> {
    let is_there = queries.text(&wanted.name).is_some();
    let Some(body) = &wanted.body else {
        return if is_there { queries.remove(handle, &wanted.name) } else { Ok(()) };
    };
    let mut query: Query = serde_json::from_value(body.clone()).map_err(|e| {
        Failure::Input(format!(
            "query `{}`: {e}; write {{\"text\": …, \"output\": …, \"format\": …}}",
            wanted.name
        ))
    })?;
    query.name = Some(wanted.name.clone());
    let query = query.parsed()?;
    match is_there {
        true => queries.replace(handle, &query).map(drop),
        false => queries.add(handle, &query).map(drop),
    }
}

/// Whether a text is the one that was asked for, which may lack its name.
fn same_query(asked: &str, runs: &str, name: &str) -> bool {
    super::queries::with_name(asked, name) == super::queries::with_name(runs, name)
}

/// The block list of a run: there is one when a program may run in a driver. The file, if there is one, says what is in it from the beginning.
pub fn block_list(
    file: Option<&Path>,
    interfaces: &[LiveInterface],
    broker: &Broker,
) -> Result<Option<Arc<BlockList>>, Failure> {
    let has_driver = |way| matches!(way, CaptureWay::Auto | CaptureWay::Xdp);
    if !interfaces.iter().any(|interface| has_driver(interface.way)) {
        return Ok(None);
    }
    let blocks = match BlockList::by(broker) {
        Ok(blocks) => blocks,
        // Then no program can be loaded either, which says more.
        Err(_) if file.is_none() => return Ok(None),
        Err(error) => {
            return Err(Failure::Environment(format!(
                "{error}\n  help: run it as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
            )));
        }
    };
    for (number, line) in file.map(session::read_text).transpose()?.iter().flat_map(|t| lines(t)) {
        let at = |failure: &dyn std::fmt::Display| {
            let file = file.unwrap_or(Path::new("")).display();
            Failure::Input(format!("{file}, line {number}: {failure}"))
        };
        let mut words = line.split_whitespace();
        let prefix: Prefix = words.next().unwrap_or("").parse().map_err(|e| at(&e as _))?;
        let lasts = words.next().map(parse_duration).transpose().map_err(|e| at(&e))?;
        if let Some(more) = words.next() {
            return Err(at(&format!("`{more}` behind prefix and time")));
        }
        blocks.add(prefix, lasts).map_err(|e| at(&e))?;
    }
    Ok(Some(Arc::new(blocks)))
}

/// The lines of a file that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bare = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    (1..).zip(bare).filter(|(_, line)| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_comments() {
        let text = "# head\n\n10.0.0.0/8 # all of it\n  2001:db8::/32 10m\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), [(3, "10.0.0.0/8"), (4, "2001:db8::/32 10m")]);
    }

    #[test]
    fn generations_of_what_is_gone_are_kept_within_bounds() {
        let mut record = Record::default();
        let wanted = |name: u32, body: Option<Value>| Wanted {
            kind: Kind::Block,
            name: name.to_string(),
            generation: 7,
            body,
        };
        record.note(&wanted(0, Some(json!({}))));
        (1..=2 * GONE_MAX as u32).for_each(|name| record.note(&wanted(name, None)));
        assert!(record.objects.len() <= GONE_MAX + 1, "{}", record.objects.len());
        assert_eq!(record.generation("0"), 7, "what is there stays");
        assert_eq!(record.generation(&(2 * GONE_MAX).to_string()), 7, "and what went last");
    }

    #[test]
    fn a_change_is_a_line_of_the_log() {
        let mut wanted = Wanted {
            kind: Kind::Watchlist,
            name: "l\n0".to_owned(),
            generation: 7,
            body: Some(json!({"entries": ["192.0.2.1"]})),
        };
        let line = r#"watchlist l\n0 by generation 7: {"entries":["192.0.2.1"]}"#;
        assert_eq!(wanted.to_string(), line);
        wanted.body = Some(json!({"entries": ["ü".repeat(300)]}));
        let line = wanted.to_string();
        assert!(line.ends_with("ü…") && line.chars().count() < 250, "{line}");
        wanted.body = None;
        assert_eq!(wanted.to_string(), r"watchlist l\n0 by generation 7: removed");
    }

    #[test]
    fn settings_are_texts() {
        let of = |body: Option<Value>| {
            setting(&Wanted { kind: Kind::Param, name: "n".to_owned(), generation: 1, body })
        };
        assert_eq!(of(Some(json!({"value": 5}))).unwrap(), "n=5");
        assert_eq!(of(Some(json!({"value": "a b"}))).unwrap(), "n=a b");
        for (body, said) in [(None, "cannot be removed"), (Some(json!({"value": [1]})), "no value")]
        {
            assert!(of(body).unwrap_err().to_string().contains(said));
        }
    }
}
