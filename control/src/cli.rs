//! The command line (names are stable: scripts rely on them).

pub mod control;
mod ctl;
pub mod db;
pub mod device;
mod doctor;
pub mod index;
mod live;
pub mod policy;
pub mod record;
pub mod serve;
pub mod sink;
mod top;

pub use ctl::{Ask, BlockAsk, CtlArgs, NewQueryArgs, WatchArgs};
pub use doctor::{DoctorArgs, DoctorFormat};
pub use live::{
    CaptureArgs, CaptureWay, ControlArgs, PacketFate, StampedBy, UntilArgs, parse_duration,
    parse_ring,
};
pub use top::TopArgs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wt_plan::capacity::{Rate, Traffic};

/// SQL over packets.
#[derive(Debug, Parser)]
#[command(name = "wiretable", version, about, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
The wire as a table: write SQL over packets, get rows.

Queries are GSQL. `wiretable schema` lists the protocols, `wiretable schema tcp` the
fields in scope of FROM tcp, `wiretable functions` all functions and aggregates.";

const AFTER_HELP: &str = "\
Examples:
  wiretable query 'SELECT count(*) FROM tcp' -r trace.pcap
  wiretable query 'SELECT tb, sum(len) FROM ip GROUP BY time/60 AS tb' -r trace.pcap
  wiretable query 'SELECT tb, count(*) FROM tcp GROUP BY time/1 AS tb' -i eth0
  wiretable explain 'SELECT tb, count(*) FROM udp GROUP BY time/1 AS tb'
  wiretable record -i eth0 -w edge
  wiretable run configs/top-talkers.toml

Exit status: 0 done, 1 query or input refused, 2 the environment (no such file…).";

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one query, or a file of queries, over traces or live interfaces
    Query(Box<QueryArgs>),
    /// Run a batch of queries from a configuration file, each to its sink
    Run(Box<RunArgs>),
    /// Speak with a live run: its queries, parameters and books
    Ctl(CtlArgs),
    /// Show a live run as it goes: rates, groups, rings, losses
    Top(TopArgs),
    /// Record interfaces or traces into a store of pcapng segments
    Record(Box<record::RecordArgs>),
    /// Look at a store, pin what is to be kept
    Store(record::StoreArgs),
    /// Show the plan: what runs where, orderings, memory bounds
    Explain(Box<ExplainArgs>),
    /// List protocols, or the fields in scope of one
    Schema(SchemaArgs),
    /// List functions and aggregates, or describe one
    Functions(FunctionsArgs),
    /// Say what this host and its interfaces can do, and how to mend what is in the way
    Doctor(DoctorArgs),
    /// Make, describe and verify indices of traces and stores: build, info, verify
    Index(index::IndexArgs),
    /// Take packets of a time range and condition out of traces and stores, as pcapng
    Extract(index::ExtractArgs),
    /// Show and check the devices of the control plane
    Device(device::DeviceArgs),
    /// Show and change the policies of the control plane: triggers and the procedures that they call
    Policy(policy::PolicyArgs),
    /// Manage the control plane's database: start, stop, status, url, migrate, reset
    Db(db::DbArgs),
    /// Serve the control plane: calls over HTTP, telemetry in, events and results out, and devices driven
    Serve(serve::ServeArgs),
    /// Manage the tokens that requests carry: create, list, revoke
    Token(serve::TokenArgs),
    /// Tell what caused a row or a command to a device
    Why(control::WhyArgs),
    /// Run SQL on the control plane's database
    Sql(control::SqlArgs),
    /// Call a procedure of the control plane
    Call(control::CallArgs),
    /// Keep the privileges of a live run, which starts this itself
    #[command(hide = true)]
    Broker(BrokerArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

/// `wiretable broker`.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Interfaces that programs may be attached to
    #[arg(value_name = "IF")]
    pub interfaces: Vec<String>,
}

/// What is asked, and of what.
#[derive(Debug, Args)]
pub struct TextArgs {
    /// The query text
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    pub text: Option<String>,
    /// Read the queries from a file, `-` for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a parameter declared in PARAM { … }
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Add the protocols of a DDL file
    #[arg(long, value_name = "FILE")]
    pub protocols: Vec<PathBuf>,
    /// Directory of library queries (`FROM dir/query`)
    #[arg(long, value_name = "DIR")]
    pub library: Option<PathBuf>,
    /// Read a store of `wiretable record` as the interface NAME: FROM NAME.tcp, or FROM NAME.tcp THEN eth0.tcp to go on with what is recorded
    #[arg(long = "store", value_name = "NAME=DIR")]
    pub stores: Vec<String>,
    /// Define an interface set for `FROM [set].protocol`: NAME=eth0,eth1, or NAME: Equals[Property,value] over properties
    #[arg(long = "set", value_name = "DEFINITION")]
    pub sets: Vec<String>,
}

/// `wiretable query`.
#[derive(Debug, Args)]
#[command(after_help = QUERY_HELP)]
pub struct QueryArgs {
    /// Text and parameters.
    #[command(flatten)]
    pub text: TextArgs,
    /// Read a trace; several are read as one in time order. NAME=TRACE makes it the interface NAME; `-` is standard input
    #[arg(
        short = 'r',
        long = "read",
        value_name = "[NAME=]TRACE",
        required_unless_present_any = ["interface", "stores"]
    )]
    pub read: Vec<String>,
    /// Capture from an interface until Ctrl-C; repeat for several. NAME=IF gives it another name in queries; `any` is all of them
    #[arg(short = 'i', long = "interface", value_name = "[NAME=]IF", conflicts_with = "read")]
    pub interface: Vec<String>,
    /// Result format [default: table on a terminal, else csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write results to a file instead of standard output, `{query}` in the name stands for the query's name; or into Postgres: postgres://…
    #[arg(short = 'o', long = "output", value_name = "FILE|URL")]
    pub output: Option<PathBuf>,
    /// Print the rows of this query of the file only (default: those that no other query reads)
    #[arg(long, value_name = "NAME")]
    pub result: Vec<String>,
    /// How rows get to Postgres.
    #[command(flatten)]
    pub sink: sink::SinkArgs,
    /// How the run is bounded and reported.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How interfaces are captured from.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How the run is spoken with.
    #[command(flatten)]
    pub control: ControlArgs,
    /// When a live run ends.
    #[command(flatten)]
    pub until: UntilArgs,
    /// Whether it is admitted.
    #[command(flatten)]
    pub admission: AdmissionArgs,
}

const QUERY_HELP: &str = "\
Examples:
  wiretable query 'SELECT time, srcIP, destIP, destPort FROM tcp WHERE syn AND NOT ack_flag' -r trace.pcap
  wiretable query -f queries.gsql -r eth0=a.pcap -r eth1=b.pcap --format ndjson
  wiretable query \"SELECT count(*) FROM packet WHERE pcap_filter('tcp port 80')\" -r trace.pcapng.gz --ledger
  zcat trace.gz | wiretable query 'SELECT count(*) FROM ip' -r -
  wiretable query 'SELECT tb, srcIP, sum(len) FROM ip GROUP BY time/1 AS tb, srcIP' -i eth0
  wiretable query 'SELECT protocol, count(*) FROM ip GROUP BY protocol' -i any --for 10s";

/// Bounds and reports.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Memory the query's state may take, e.g. 512MiB
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_bytes)]
    pub memory: u64,
    /// What is reported, and what counts as a failure.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// Admission control.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Capacity")]
pub struct AdmissionArgs {
    /// Refuse what this machine cannot carry at a rate, e.g. 10Mpps or 40Gbit/s, with the arithmetic
    #[arg(long, value_name = "RATE")]
    pub capacity: Option<Rate>,
    /// What costs follow from.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// What predictions follow from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Capacity")]
pub struct ModelArgs {
    /// Costs that `wt-bench calibrate` has written [default: those shipped, times the speed of this machine]
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// What is assumed of the traffic.
    #[command(flatten)]
    pub traffic: TrafficArgs,
}

impl ModelArgs {
    /// Whether anything is said.
    pub fn is_given(&self) -> bool {
        self.calibration.is_some() || self.traffic != TrafficArgs::default()
    }
}

/// What is assumed of the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Capacity")]
pub struct TrafficArgs {
    /// Mean length of a packet [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    pub packet_bytes: Option<u32>,
    /// Packets that come in a window, or in all where there is none, e.g. 5M [default: 1M, or 10 of each group]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub window_packets: Option<u64>,
    /// Distinct groups of a window, e.g. 100k [default: 10k]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub groups: Option<u64>,
    /// Share of the packets that match a query, from 0 to 1 [default: by its conditions]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub matched: Option<f64>,
}

impl TrafficArgs {
    /// These, or where they are not given, others.
    pub fn or(self, other: Self) -> Self {
        Self {
            packet_bytes: self.packet_bytes.or(other.packet_bytes),
            window_packets: self.window_packets.or(other.window_packets),
            groups: self.groups.or(other.groups),
            matched: self.matched.or(other.matched),
        }
    }

    /// With the defaults. A window of many groups has several packets of each.
    pub fn traffic(self) -> Traffic {
        let default = Traffic::default();
        let groups = self.groups.map_or(default.groups, |n| n as f64);
        let packets = default.window_packets.max(PACKETS_PER_GROUP * groups);
        Traffic {
            packet_bytes: self.packet_bytes.map_or(default.packet_bytes, f64::from),
            window_packets: self.window_packets.map_or(packets, |n| n as f64),
            groups,
            matched: self.matched,
        }
    }
}

/// What a group of a window has at least, when nothing is said of its packets.
const PACKETS_PER_GROUP: f64 = 10.0;

/// Reports.
#[derive(Clone, Copy, Debug, Args)]
pub struct ReportArgs {
    /// Use the records before damage in a trace and still exit 0
    #[arg(long)]
    pub lenient: bool,
    /// Print the books after the run: where every packet and tuple went
    #[arg(long)]
    pub ledger: bool,
    /// Show no progress bar
    #[arg(long)]
    pub no_progress: bool,
    /// What runs the part of the queries next to the packets
    #[arg(long, value_enum, default_value_t = BackendArg::Auto)]
    pub backend: BackendArg,
    /// Threads that read one large trace or store together, or read a pipe and compute; rows do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CORES_MAX))]
    pub cores: Option<u16>,
    /// Read everything, also where an index tells what no query needs; rows do not depend on it
    #[arg(long)]
    pub no_index: bool,
}

/// Most threads of `--cores`.
const CORES_MAX: i64 = 1024;

impl ReportArgs {
    /// How many threads may read.
    pub fn cores(&self) -> usize {
        cores_or_all(self.cores)
    }
}

/// So many cores, or those of this machine.
pub fn cores_or_all(given: Option<u16>) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
    given.map_or_else(available, usize::from)
}

/// What runs LFTA programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendArg {
    /// Machine code made for the batch, unless the traces are so small that making it takes longer
    Auto,
    /// Machine code, however small the traces
    Compiled,
    /// The reference interpreter: slow, and what every backend must agree with
    Interpreter,
}

impl From<BackendArg> for wt_engine::Backend {
    fn from(arg: BackendArg) -> Self {
        match arg {
            BackendArg::Auto => Self::Auto,
            BackendArg::Compiled => Self::Compiled,
            BackendArg::Interpreter => Self::Interpreter,
        }
    }
}

/// `wiretable run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable run configs/traffic-matrix.toml
  wiretable run configs/tcp-health.toml -r mine.pcap --ledger
  wiretable run configs/tcp-health.toml -i eth0 --for 5m

Paths of traces, queries and protocols are relative to the configuration file; paths of sinks to the
current directory. A query without a sink prints its rows.")]
pub struct RunArgs {
    /// The batch (TOML)
    pub config: PathBuf,
    /// Read these traces instead of the configured sources
    #[arg(short = 'r', long = "read", value_name = "[NAME=]TRACE")]
    pub read: Vec<String>,
    /// Read a store as the interface NAME, besides the sources
    #[arg(long = "store", value_name = "NAME=DIR")]
    pub stores: Vec<String>,
    /// Capture from these interfaces instead of the configured sources
    #[arg(short = 'i', long = "interface", value_name = "[NAME=]IF", conflicts_with = "read")]
    pub interface: Vec<String>,
    /// How interfaces are captured from, whatever the configuration says.
    #[command(flatten)]
    pub capture: CaptureArgs,
    /// How the run is spoken with.
    #[command(flatten)]
    pub control: ControlArgs,
    /// When a live run ends.
    #[command(flatten)]
    pub until: UntilArgs,
    /// Set a parameter declared in PARAM { … }
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// What is reported, and what counts as a failure.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Whether it is admitted.
    #[command(flatten)]
    pub admission: AdmissionArgs,
}

/// `wiretable explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable explain 'SELECT tb, count(*) FROM tcp GROUP BY time/60 AS tb'
  wiretable explain --verbose -f queries.gsql -i eth0 -i eth1
  wiretable explain --code \"SELECT count(*) FROM packet WHERE pcap_filter('udp port 53')\"
  wiretable explain --code=machine 'SELECT count(*) FROM tcp WHERE destPort = 443'
  wiretable explain --emit tcp.o 'SELECT count(*) FROM tcp WHERE destPort = 443'
  wiretable explain --capacity --rate 10Mpps --groups 1M 'SELECT destIP, count(*) FROM ip GROUP BY destIP'
  wiretable explain --analyze -r trace.pcap 'SELECT destIP, count(*) FROM ip GROUP BY destIP'")]
pub struct ExplainArgs {
    /// Text and parameters.
    #[command(flatten)]
    pub text: TextArgs,
    /// Plan for an interface of this name (repeat for several)
    #[arg(short = 'i', long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Plan for streams that never end: state must be bounded by ordered attributes
    #[arg(long)]
    pub live: bool,
    /// Print each rewrite, and every header the programs read
    #[arg(long)]
    pub verbose: bool,
    /// Print the LFTA programs: in the intermediate representation, as XDP programs, or as machine code for Ethernet [without KIND: ir,xdp]
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, require_equals = true, value_delimiter = ',', default_missing_values = ["ir", "xdp"])]
    pub code: Vec<CodeArg>,
    /// Write the XDP program as an object file (ELF), e.g. for llvm-objdump
    #[arg(long, value_name = "FILE")]
    pub emit: Option<PathBuf>,
    /// Predict ns per packet, packets per second, cores and memory; with a RATE, fail when this machine cannot carry it
    #[arg(long, value_name = "RATE", num_args = 0..=1, require_equals = true, help_heading = "Capacity")]
    pub capacity: Option<Option<Rate>>,
    /// Run the text over traces, print no rows, and show what was predicted beside what was counted and measured
    #[arg(long, help_heading = "Capacity")]
    pub analyze: bool,
    /// Say how much of this trace is read, by its index. The traces of --analyze. With --capacity: take sizes and tuples from them instead of
    /// assumptions
    #[arg(
        short = 'r',
        long = "read",
        value_name = "[NAME=]TRACE",
        conflicts_with = "interfaces",
        help_heading = "Capacity"
    )]
    pub read: Vec<String>,
    /// Ask no index what need not be read
    #[arg(long)]
    pub no_index: bool,
    /// Show how many cores a rate needs, e.g. 10Mpps or 40Gbit/s
    #[arg(long, value_name = "RATE", help_heading = "Capacity")]
    pub rate: Option<Rate>,
    /// Cores that the batch may use [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CORES_MAX), help_heading = "Capacity")]
    pub cores: Option<u16>,
    /// Memory that operators may take
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = parse_bytes, help_heading = "Capacity")]
    pub memory: u64,
    /// Print the capacity as JSON, with the amount of each kind of work
    #[arg(long, help_heading = "Capacity")]
    pub json: bool,
    /// What costs follow from.
    #[command(flatten)]
    pub model: ModelArgs,
}

impl ExplainArgs {
    /// Whether anything is asked that the plan alone does not answer.
    pub fn wants_capacity(&self) -> bool {
        self.analyze
            || self.capacity.is_some()
            || self.rate.is_some()
            || self.cores.is_some()
            || self.json
            || self.model.is_given()
    }
}

/// A form of an LFTA program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CodeArg {
    /// The intermediate representation that every backend takes
    Ir,
    /// The eBPF instructions that run next to the driver, with what the verifier makes of them
    Xdp,
    /// The instructions of this processor
    Machine,
}

/// `wiretable schema`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable schema
  wiretable schema tcp
  wiretable schema --protocols mine.ddl mine")]
pub struct SchemaArgs {
    /// The protocol, e.g. tcp
    pub protocol: Option<String>,
    /// Add the protocols of a DDL file
    #[arg(long, value_name = "FILE")]
    pub protocols: Vec<PathBuf>,
    /// Print the field's header and place as well
    #[arg(long)]
    pub verbose: bool,
}

/// `wiretable functions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable functions
  wiretable functions getlpmid")]
pub struct FunctionsArgs {
    /// The function, or a part of its name
    pub name: Option<String>,
}

/// Result formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// RFC 4180, with a header line
    Csv,
    /// One array of objects
    Json,
    /// One object per line
    Ndjson,
    /// Apache Parquet
    #[cfg(feature = "columnar")]
    Parquet,
    /// Apache Arrow IPC stream
    #[cfg(feature = "columnar")]
    Arrow,
}

/// Reads `512MiB`, `1GiB`, `64k`, `1000`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("`{text}` is not a size; write for example 512MiB or 1GiB"));
    }
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "kb" => 1_000,
        "m" | "mib" => 1 << 20,
        "mb" => 1_000_000,
        "g" | "gib" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return Err(format!("unknown unit `{unit}`; write for example 512MiB or 1GiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| format!("`{text}` is not a size; write for example 512MiB or 1GiB"))
}

/// Reads `10k`, `5M`, `1000`: a number above 0.
fn parse_count(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => Some(1),
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let count = factor.and_then(|factor: u64| number.parse::<u64>().ok()?.checked_mul(factor));
    match count {
        Some(count @ 1..=COUNT_MAX) => Ok(count),
        _ => Err(format!("`{text}` is not a number from 1 to 1000G; write for example 10k or 5M")),
    }
}

/// No window has more packets or groups: three hours at 100 million packets per second.
pub const COUNT_MAX: u64 = 1_000_000_000_000;

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is not a share from 0 to 1; write for example 0.25")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_a_command_says_what_the_list_of_commands_says() {
        let listed = Cli::command();
        let mut built = Cli::command();
        built.build();
        for command in listed.get_subcommands() {
            let about = command.get_about().map(ToString::to_string);
            let said = built.find_subcommand(command.get_name()).and_then(|c| c.get_about());
            assert_eq!(said.map(ToString::to_string), about, "{}", command.get_name());
            assert!(about.is_some_and(|about| !about.is_empty()), "{}", command.get_name());
        }
    }

    #[test]
    fn sizes_read_with_units() {
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("64k"), Ok(65_536));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        assert_eq!(parse_bytes("2 MB"), Ok(2_000_000));
        assert!(parse_bytes("12parsec").is_err());
        assert!(parse_bytes("99999999999GiB").is_err());
        assert!(parse_bytes("").is_err());
    }

    #[test]
    fn counts_read_with_units() {
        assert_eq!(parse_count("5M"), Ok(5_000_000));
        assert_eq!(parse_count("7"), Ok(7));
        for text in ["", "0", "k", "1.5M", "-1", "5 M", "99999999999G", "1001G"] {
            assert!(parse_count(text).is_err(), "{text}");
        }
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for text in ["", "2", "-0.1", "nan", "half"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }
}
