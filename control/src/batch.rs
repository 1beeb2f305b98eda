//! Batch configurations: a TOML file that names traces, queries and their sinks.
//!
//! ```toml
//! title = "Top talkers"
//! memory = "256MiB"                       # bound on query state; default 1GiB
//! blocklist = "blocked.txt"               # sources whose packets are dropped in the driver: a prefix a line; relative to this file
//! cpu = 0                                 # processor of the operators of a live run
//! capacity = "10Mpps"                     # refuse what this machine cannot carry at this rate
//! calibration = "edge-costs.toml"         # costs of wt-bench calibrate, instead of those shipped; relative to this file
//!
//! [traffic]                               # what capacity assumes: packet_bytes, window_packets, groups, matched
//! groups = 1000000
//!
//! [[source]]
//! interface = "edge"                      # default: default
//! traces = ["../tests/captures/web.pcap"] # relative to this file
//! properties = { Site = "lab" }           # @Site in queries
//!
//! [[source]]                              # a live interface has a device instead of traces; a batch has either kind
//! interface = "uplink"
//! device = "eth0"                         # or any
//! cpu = 1                                 # processor of its thread; default: wherever there is room
//! promiscuous = true                      # the default
//! skew = "200ms"                          # how far its packets may come behind the clock
//! ring = "16MiB"                          # memory in which the kernel keeps packets until they are read
//! capture = "auto"                        # in the driver where that is possible (the default), else xdp or socket
//! disposition = "pass"                    # what becomes of packets in the driver: pass (the default) or drop
//! stamps = "kernel"                       # whose time stamps packets carry: kernel (the default) or card
//! queues = 4                              # receive queues; default: as many as it has
//! interrupts = "0-3"                      # cores that serve its queues' interrupts, in turn; default: as they are
//!
//! [store.past]                            # FROM past.tcp, or FROM past.tcp THEN uplink.tcp
//! path = "/var/lib/wiretable/edge"        # what wiretable record writes; relative to this file
//!
//! [params]
//! limit = 10                              # $limit, declared by a query's PARAM block
//!
//! [sets]
//! all = ["edge"]                          # FROM [all].tcp
//! lab = "Equals[Site,lab]"                # by property
//!
//! [[query]]
//! name = "talkers"                        # unless DEFINE gives a query_name
//! text = "SELECT …"                       # or file = "talkers.gsql"
//! sink = { path = "out/talkers.csv" }     # format = table|csv|json|ndjson, else by the file's extension
//!                                         # or { type = "postgres", table = "talkers", keep = "30d" }
//!
//! [sink]                                  # for results without one of their own, and what is not said there
//! type = "postgres"
//! url = "postgres://wt@db.example/net"    # default: WIRETABLE_DATABASE_URL
//! appliance = "edge-1"                    # who sends; default: the host's name
//! spool = "spool"                         # rows that the database has not yet; relative to this file
//! spool_max = "1GiB"
//! keep = "90d"                            # days; default: for ever
//! wait = 60                               # seconds to wait at the end for a database that is away
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;
use wt_plan::capacity::Rate;

use crate::cli::{
    AdmissionArgs, COUNT_MAX, CaptureWay, Format, ModelArgs, TrafficArgs, parse_bytes,
    parse_duration, parse_ring,
};
use crate::failure::Failure;
use crate::live::{LiveInterface, parse_cores};
use crate::session::{self, DEFAULT_INTERFACE, NamedText, Traces};
use crate::sink::{PostgresConfig, PostgresSink};

/// A loaded batch.
#[derive(Debug)]
pub struct Batch {
    /// The traces by interface.
    pub traces: Vec<Traces>,
    /// The live interfaces; none when there are traces.
    pub interfaces: Vec<LiveInterface>,
    /// The stores by name.
    pub stores: Vec<Traces>,
    /// File of sources whose packets are dropped in the driver.
    pub blocklist: Option<PathBuf>,
    /// The processor of the operators of a live run.
    pub cpu: Option<usize>,
    /// All queries as one text.
    pub text: NamedText,
    /// `name=value`.
    pub params: Vec<String>,
    /// `name=if,if`.
    pub sets: Vec<String>,
    /// DDL files.
    pub protocols: Vec<PathBuf>,
    /// Library directory.
    pub library: Option<PathBuf>,
    /// Memory bound of the batch.
    pub memory_bytes_max: u64,
    /// What it has to carry.
    pub admission: AdmissionArgs,
    /// Damage in traces is no failure.
    pub lenient: bool,
    /// Where results go.
    pub sinks: Vec<Sink>,
    /// Where the others go, unless they are printed.
    pub sink: Option<PostgresSink>,
}

/// Where one query's rows go.
#[derive(Debug)]
pub struct Sink {
    /// Query name.
    pub query: String,
    /// Where to.
    pub place: Place,
}

/// A kind of sink.
#[derive(Debug)]
pub enum Place {
    /// A file.
    File {
        /// Relative to the current directory.
        path: PathBuf,
        /// By the file's extension when none.
        format: Option<Format>,
    },
    /// A table in Postgres.
    Postgres(Box<PostgresSink>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    memory: Option<String>,
    #[serde(default)]
    blocklist: Option<PathBuf>,
    #[serde(default)]
    cpu: Option<usize>,
    #[serde(default)]
    capacity: Option<String>,
    #[serde(default)]
    calibration: Option<PathBuf>,
    #[serde(default)]
    traffic: TrafficConfig,
    #[serde(default)]
    lenient: bool,
    #[serde(default)]
    protocols: Vec<PathBuf>,
    #[serde(default)]
    library: Option<PathBuf>,
    #[serde(default)]
    source: Vec<SourceConfig>,
    #[serde(default)]
    store: BTreeMap<String, StoreConfig>,
    #[serde(default)]
    params: BTreeMap<String, toml::Value>,
    #[serde(default)]
    sets: BTreeMap<String, SetConfig>,
    #[serde(default)]
    sink: Option<PostgresConfig>,
    #[serde(default)]
    query: Vec<QueryConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreConfig {
    path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficConfig {
    packet_bytes: Option<u32>,
    window_packets: Option<u64>,
    groups: Option<u64>,
    matched: Option<f64>,
}

impl TrafficConfig {
    fn checked(&self) -> Result<TrafficArgs, String> {
        let of = |name: &str, fits: bool, range: &str| match fits {
            true => Ok(()),
            false => Err(format!("traffic.{name} is not {range}")),
        };
        let counts = |n: Option<u64>| n.is_none_or(|n| (1..=COUNT_MAX).contains(&n));
        let bytes = self.packet_bytes.is_none_or(|n| (1..=262_144).contains(&n));
        of("packet_bytes", bytes, "from 1 to 262144")?;
        of("window_packets", counts(self.window_packets), "from 1 to 1000000000000")?;
        of("groups", counts(self.groups), "from 1 to 1000000000000")?;
        of("matched", self.matched.is_none_or(|s| (0.0..=1.0).contains(&s)), "from 0 to 1")?;
        let Self { packet_bytes, window_packets, groups, matched } = *self;
        Ok(TrafficArgs { packet_bytes, window_packets, groups, matched })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceConfig {
    #[serde(default = "default_interface")]
    interface: String,
    #[serde(default)]
    traces: Vec<PathBuf>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    cpu: Option<usize>,
    #[serde(default)]
    promiscuous: Option<bool>,
    #[serde(default)]
    skew: Option<String>,
    #[serde(default)]
    ring: Option<String>,
    #[serde(default)]
    capture: Option<String>,
    #[serde(default)]
    disposition: Option<String>,
    #[serde(default)]
    stamps: Option<String>,
    #[serde(default)]
    queues: Option<u32>,
    #[serde(default)]
    interrupts: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

/// Receive queues of an interface.
const QUEUES: std::ops::RangeInclusive<u32> = 1..=4096;

impl SourceConfig {
    /// The interface that it is, if it is a live one.
    fn live(&self) -> Result<Option<LiveInterface>, String> {
        let Self { interface, traces, device, cpu, promiscuous, skew, ring, properties, .. } = self;
        let Self { capture, disposition, stamps, queues, interrupts, .. } = self;
        let refuse = |what: &str| Err(format!("source `{interface}` {what}"));
        let Some(device) = device else {
            if traces.is_empty() {
                return refuse("has neither `traces` nor `device`");
            }
            let texts = [skew, ring, capture, disposition, stamps, interrupts];
            let is_live = texts.iter().any(|text| text.is_some()) || queues.is_some();
            if is_live || cpu.is_some() || promiscuous.is_some() {
                return refuse(
                    "has traces: `cpu`, `promiscuous`, `skew`, `ring`, `capture`, `disposition`, `stamps`, `queues` and `interrupts` are of live interfaces",
                );
            }
            return Ok(None);
        };
        if !traces.is_empty() {
            return refuse("has both `traces` and `device`; keep one");
        }
        let way = chosen(capture.as_deref(), "capture")?.unwrap_or(CaptureWay::Auto);
        if (queues.is_some() || interrupts.is_some())
            && (way == CaptureWay::Dpdk || device == "any")
        {
            return refuse(
                "has `queues` or `interrupts`, which are of one interface that the kernel has",
            );
        }
        if stamps.as_deref() == Some("card") && (way == CaptureWay::Dpdk || device == "any") {
            return refuse(
                "has `stamps` of a card, which are of one interface that the kernel has",
            );
        }
        if queues.is_some_and(|queues| !QUEUES.contains(&queues)) {
            return refuse("has a number of `queues` that is not from 1 to 4096");
        }
        let default = LiveInterface::new(interface, device, way);
        Ok(Some(LiveInterface {
            cpu: *cpu,
            is_promiscuous: promiscuous.unwrap_or(default.is_promiscuous),
            skew: skew.as_deref().map(parse_duration).transpose()?.unwrap_or(default.skew),
            ring_bytes: ring.as_deref().map(parse_ring).transpose()?.unwrap_or(default.ring_bytes),
            properties: properties.clone().into_iter().collect(),
            fate: chosen(disposition.as_deref(), "disposition")?.unwrap_or_default(),
            stamps: chosen(stamps.as_deref(), "stamps")?.unwrap_or_default(),
            queues: *queues,
            served_by: interrupts.as_deref().map(parse_cores).transpose()?.unwrap_or_default(),
            ..default
        }))
    }
}

/// A word of the configuration that is one of few.
fn chosen<T: ValueEnum>(word: Option<&str>, name: &str) -> Result<Option<T>, String> {
    let Some(word) = word else { return Ok(None) };
    T::from_str(word, false).map(Some).map_err(|_| {
        let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
        format!("{name} is one of {}, not `{word}`", known.join(", "))
    })
}

fn default_interface() -> String {
    DEFAULT_INTERFACE.to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SetConfig {
    Members(Vec<String>),
    Predicate(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryConfig {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    sink: Option<SinkConfig>,
}

/// With a path, a file; else what [`PostgresConfig`] says.
#[derive(Debug, Deserialize)]
struct SinkConfig {
    path: Option<PathBuf>,
    #[serde(flatten)]
    rest: toml::Table,
}

impl SinkConfig {
    fn checked(&self, batch: &PostgresConfig, base: &Path) -> Result<Place, String> {
        let Some(path) = &self.path else {
            let own: PostgresConfig = self
                .rest
                .clone()
                .try_into()
                .map_err(|e: toml::de::Error| e.message().to_owned())?;
            return Ok(Place::Postgres(Box::new(own.or(batch).checked(base)?)));
        };
        if let Some(other) = self.rest.keys().find(|k| *k != "format") {
            return Err(format!("a sink with a path has no `{other}`"));
        }
        let format = match self.rest.get("format") {
            None => None,
            Some(toml::Value::String(name)) => Some(format_named(name)?),
            Some(other) => return Err(format!("format is no name: {other}")),
        };
        Ok(Place::File { path: path.clone(), format })
    }
}

impl Batch {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = session::read_text(path)?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::Input(format!("{}: {what}", path.display()));
        let config: Config = toml::from_str(text).map_err(|e| refuse(e.to_string()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        if config.query.is_empty() {
            return Err(refuse("the batch has no [[query]]".to_owned()));
        }
        let memory_bytes_max =
            parse_bytes(config.memory.as_deref().unwrap_or("1GiB")).map_err(&refuse)?;
        let capacity = config.capacity.as_deref().map(str::parse::<Rate>).transpose();
        let capacity = capacity.map_err(|error| refuse(format!("capacity: {error}")))?;
        let traffic = config.traffic.checked().map_err(&refuse)?;
        let calibration = config.calibration.map(|path| base.join(path));
        let admission = AdmissionArgs { capacity, model: ModelArgs { calibration, traffic } };

        let of_batch = config.sink.clone().unwrap_or_default();
        let sink = config.sink.map(|s| s.checked(base)).transpose();
        let sink = sink.map_err(|what| refuse(format!("[sink]: {what}")))?;
        let mut queries = String::new();
        let mut sinks = Vec::new();
        for (index, query) in config.query.iter().enumerate() {
            let body = match (&query.text, &query.file) {
                (Some(text), None) => text.clone(),
                (None, Some(file)) => session::read_text(&base.join(file))?,
                _ => {
                    return Err(refuse(format!(
                        "query {} needs exactly one of `text` and `file`",
                        index + 1
                    )));
                }
            };
            let (text, name) = named(&body, query.name.as_deref())
                .map_err(|what| refuse(format!("query {}: {what}", index + 1)))?;
            if !queries.is_empty() {
                queries.push_str("\n;\n");
            }
            queries.push_str(text.trim_end().trim_end_matches(';'));
            if let Some(sink) = &query.sink {
                let Some(query) = name else {
                    return Err(refuse(format!(
                        "query {} has a sink but no name; add name = \"…\"",
                        index + 1
                    )));
                };
                let place = sink.checked(&of_batch, base);
                let place = place.map_err(|what| refuse(format!("query {}: {what}", index + 1)))?;
                sinks.push(Sink { query, place });
            }
        }

        let live: Result<Vec<_>, _> = config.source.iter().map(SourceConfig::live).collect();
        let interfaces: Vec<_> = live.map_err(&refuse)?.into_iter().flatten().collect();
        if !interfaces.is_empty() && interfaces.len() < config.source.len() {
            return Err(refuse(
                "the batch has traces and live interfaces; make two batches of them".to_owned(),
            ));
        }
        let traces = config
            .source
            .into_iter()
            .filter(|source| source.device.is_none())
            .map(|source| Traces {
                interface: source.interface,
                files: source.traces.iter().map(|t| base.join(t)).collect(),
                properties: source.properties.into_iter().collect(),
            })
            .collect();
        if let Some(name) = config.store.keys().find(|name| !session::is_name(name)) {
            return Err(refuse(format!(
                "store `{name}` is no name for an interface; use letters, digits and _"
            )));
        }
        let stores = config.store.iter().map(|(name, s)| Traces::store(name, base.join(&s.path)));
        let stores = stores.collect();
        let params = config.params.iter().map(|(name, value)| format!("{name}={}", plain(value)));
        let sets = config.sets.iter().map(|(name, set)| match set {
            SetConfig::Members(members) => format!("{name}={}", members.join(",")),
            SetConfig::Predicate(predicate) => format!("{name}: {predicate}"),
        });
        let name = config.title.unwrap_or_else(|| path.display().to_string());
        Ok(Self {
            traces,
            interfaces,
            stores,
            blocklist: config.blocklist.map(|path| base.join(path)),
            cpu: config.cpu,
            text: NamedText { name, base_name: String::new(), text: queries },
            params: params.collect(),
            sets: sets.collect(),
            protocols: config.protocols.iter().map(|p| base.join(p)).collect(),
            library: config.library.map(|l| base.join(l)),
            memory_bytes_max,
            admission,
            lenient: config.lenient,
            sinks,
            sink,
        })
    }
}

/// Gives the (last) query of a text its name; returns the text and the name it has then.
fn named(body: &str, name: Option<&str>) -> Result<(String, Option<String>), String> {
    let parsed = wt_lang::parse_gsql(body);
    // A text that does not parse goes on as it is: the compiler reports it with carets.
    let Some(query) = parsed.tree.as_ref().and_then(|f| f.queries.last()) else {
        return Ok((body.to_owned(), name.map(str::to_owned)));
    };
    let define = query.defines.iter().find(|d| d.name.text.eq_ignore_ascii_case("query_name"));
    match (define, name) {
        (Some(define), None) => Ok((body.to_owned(), Some(define.value.clone()))),
        (Some(define), Some(name)) if define.value == name => {
            Ok((body.to_owned(), Some(name.to_owned())))
        }
        (Some(define), Some(name)) => Err(format!(
            "it is named `{name}` here and `{}` in its DEFINE block; keep one",
            define.value
        )),
        (None, Some(name)) if !query.defines.is_empty() => Err(format!(
            "it has a DEFINE block; write query_name '{name}'; there instead of name = \"{name}\" here"
        )),
        (None, Some(name)) => {
            let at = query.span.0.start as usize;
            let (before, after) = body.split_at(at);
            Ok((
                format!("{before}DEFINE {{ query_name '{name}'; }} {after}"),
                Some(name.to_owned()),
            ))
        }
        (None, None) => Ok((body.to_owned(), None)),
    }
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn format_named(name: &str) -> Result<Format, String> {
    Format::from_str(name, true).map_err(|_| {
        let known: Vec<_> = Format::value_variants().iter().map(|f| f.name()).collect();
        format!("unknown format `{name}`; known: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Batch, Failure> {
        Batch::parse(text, Path::new("dir/x.toml"))
    }

    #[test]
    fn queries_are_joined_and_named() {
        let batch = parse(
            r#"
            [[source]]
            traces = ["a.pcap"]
            [[query]]
            name = "one"
            text = "SELECT count(*) FROM tcp;"
            sink = { path = "one.csv", format = "csv" }
            [[query]]
            text = "DEFINE { query_name two; } SELECT count(*) FROM udp"
            [params]
            n = 5
            "#,
        )
        .unwrap();
        assert!(batch.text.text.contains("query_name 'one'"));
        assert!(batch.text.text.contains("query_name two"));
        assert_eq!(batch.traces[0].files, [PathBuf::from("dir/a.pcap")]);
        assert_eq!(batch.sinks[0].query, "one");
        assert_eq!(batch.params, ["n=5"]);
    }

    #[test]
    fn a_source_with_a_device_is_live() {
        let source = "[[source]]\ninterface = 'up'\ndevice = 'eth0'\nskew = '50ms'\ncpu = 1\n";
        let query = "[[query]]\ntext = 'SELECT len FROM packet'";
        let batch = parse(&format!("{source}{query}")).unwrap();
        assert!(batch.traces.is_empty());
        let [up] = &batch.interfaces[..] else { panic!("{:?}", batch.interfaces) };
        assert_eq!((up.interface.as_str(), up.device.as_str(), up.cpu), ("up", "eth0", Some(1)));
        assert_eq!(up.skew, std::time::Duration::from_millis(50));
        assert_eq!((up.queues, &up.served_by[..]), (None, &[][..]));
        let placed = format!("{source}queues = 4\ninterrupts = '0,2-3'\n{query}");
        let [up] = &parse(&placed).unwrap().interfaces[..] else { panic!("one interface") };
        assert_eq!((up.queues, &up.served_by[..]), (Some(4), &[0, 2, 3][..]));
        for (more, expected) in [
            ("traces = ['a.pcap']\n", "keep one"),
            ("ring = '1'\n", "not from 512KiB"),
            ("[[source]]\ntraces = ['a.pcap']\n", "make two batches"),
            ("[[source]]\ninterface = 'x'\n", "neither"),
            ("[[source]]\ntraces = ['a.pcap']\ncpu = 1\n", "live interfaces"),
            ("[[source]]\ntraces = ['a.pcap']\ninterrupts = '1'\n", "live interfaces"),
            ("queues = 0\n", "from 1 to 4096"),
            ("interrupts = 'all'\n", "no list of cores"),
            ("capture = 'dpdk'\nqueues = 2\n", "that the kernel has"),
        ] {
            let message = parse(&format!("{source}{more}{query}")).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        for (text, expected) in [
            ("x = 1", "unknown field"),
            ("[[query]]\nname='a'", "exactly one of `text` and `file`"),
            ("", "no [[query]]"),
            ("memory = 'lots'\n[[query]]\ntext='SELECT count(*) FROM tcp'", "not a size"),
            ("capacity = 'fast'\n[[query]]\ntext='SELECT count(*) FROM tcp'", "not a rate"),
            ("[traffic]\ngroups = 0\n[[query]]\ntext='SELECT count(*) FROM tcp'", "traffic.groups"),
            ("[traffic]\nmatched = 2.0\n[[query]]\ntext='SELECT 1 FROM tcp'", "traffic.matched"),
            ("[traffic]\nsize = 1\n[[query]]\ntext='SELECT 1 FROM tcp'", "unknown field"),
            ("[[query]]\ntext='SELECT count(*) FROM tcp'\nsink={path='x.csv'}", "no name"),
            (
                "[[query]]\nname='a'\ntext='SELECT count(*) FROM tcp'\nsink={path='x', format='xml'}",
                "unknown format `xml`",
            ),
            (
                "[[query]]\nname='a'\ntext='DEFINE {query_name b;} SELECT count(*) FROM tcp'",
                "keep one",
            ),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
