//! The command line (names are stable: scripts rely on them).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
  wiretable explain 'SELECT tb, count(*) FROM udp GROUP BY time/1 AS tb'
  wiretable run configs/top-talkers.toml

Exit status: 0 done, 1 query or input refused, 2 the environment (no such file…).";

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one query, or a file of queries, over traces
    Query(QueryArgs),
    /// Run a batch of queries from a configuration file, each to its sink
    Run(RunArgs),
    /// Show the plan: what runs where, orderings, memory bounds
    Explain(ExplainArgs),
    /// List protocols, or the fields in scope of one
    Schema(SchemaArgs),
    /// List functions and aggregates, or describe one
    Functions(FunctionsArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
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
    #[arg(short = 'r', long = "read", value_name = "[NAME=]TRACE", required = true)]
    pub read: Vec<String>,
    /// Result format [default: table on a terminal, else csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write results to a file instead of standard output; `{query}` in the name stands for the query's name
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the rows of this query of the file only (default: those that no other query reads)
    #[arg(long, value_name = "NAME")]
    pub result: Vec<String>,
    /// How the run is bounded and reported.
    #[command(flatten)]
    pub limits: LimitArgs,
}

const QUERY_HELP: &str = "\
Examples:
  wiretable query 'SELECT time, srcIP, destIP, destPort FROM tcp WHERE syn AND NOT ack_flag' -r trace.pcap
  wiretable query -f queries.gsql -r eth0=a.pcap -r eth1=b.pcap --format ndjson
  wiretable query \"SELECT count(*) FROM packet WHERE pcap_filter('tcp port 80')\" -r trace.pcapng.gz --ledger
  zcat trace.gz | wiretable query 'SELECT count(*) FROM ip' -r -";

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
    /// Threads that read one large pcap file together; rows do not depend on it [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CORES_MAX))]
    pub cores: Option<u16>,
}

/// Most threads of `--cores`.
const CORES_MAX: i64 = 1024;

impl ReportArgs {
    /// How many threads may read.
    pub fn cores(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
        self.cores.map_or_else(available, usize::from)
    }
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

Paths of traces, queries and protocols are relative to the configuration file; paths of sinks to the
current directory. A query without a sink prints its rows.")]
pub struct RunArgs {
    /// The batch (TOML)
    pub config: PathBuf,
    /// Read these traces instead of the configured ones
    #[arg(short = 'r', long = "read", value_name = "[NAME=]TRACE")]
    pub read: Vec<String>,
    /// Set a parameter declared in PARAM { … }
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// What is reported, and what counts as a failure.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `wiretable explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable explain 'SELECT tb, count(*) FROM tcp GROUP BY time/60 AS tb'
  wiretable explain --verbose -f queries.gsql -i eth0 -i eth1
  wiretable explain --code \"SELECT count(*) FROM packet WHERE pcap_filter('udp port 53')\"
  wiretable explain --code=machine 'SELECT count(*) FROM tcp WHERE destPort = 443'")]
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
    /// Print the LFTA programs: in the intermediate representation, or as the machine code made of it for Ethernet
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "ir")]
    pub code: Option<CodeArg>,
}

/// A form of an LFTA program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CodeArg {
    /// The intermediate representation that every backend takes
    Ir,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
}
