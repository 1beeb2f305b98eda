//! The command line.

mod live;

pub use live::{
    DiscardArgs, FloodArgs, HttpShareArgs, LiveArgs, RecordArgs, ReplayArgs, SenderName,
    XdpCostArgs, XdpRateArgs,
};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wt_bench::amount;
use wt_bench::bound::{Method, TaskName};
use wt_bench::cache::Pages;
use wt_bench::generate::{Amount, Profile, Spec};

/// Measures wiretable against hand-written programs and the tools of the field.
#[derive(Debug, Parser)]
#[command(
    name = "wt-bench",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a trace made from a seed
    Generate(GenerateArgs),
    /// Write a long trace made of captures, repeated with other hosts and later times
    Amplify(AmplifyArgs),
    /// Run a hand-written program over a trace
    Bound(BoundArgs),
    /// Print the tasks: GSQL, and the filters for libpcap
    Tasks,
    /// List the tools that are compared, or install what is missing
    Peers(PeersArgs),
    /// Compare programs on tasks and traces: answers first, then times
    Run(RunArgs),
    /// Time and memory of T4 by the number of flows
    Flows(FlowsArgs),
    /// Peak memory of T1 to T3 over a long stream through a pipe
    Memory(MemoryArgs),
    /// Time of a query on a capture of 100 packets, against tcpdump
    Startup(StartupArgs),
    /// Fit what each kind of work costs on this machine, for `wiretable explain --calibration FILE`
    Calibrate(CalibrateArgs),
    /// Send packets over a pair of interfaces to `wiretable`, faster and faster, until it loses some (root)
    Replay(ReplayArgs),
    /// The experiment of the Gigascope paper: HTTP's share of port 80, four ways, under rising traffic (root)
    HttpShare(HttpShareArgs),
    /// Programs that are made of queries against the same programs in C (root, clang)
    XdpCost(XdpCostArgs),
    /// Queries in the driver on packets of 64 bytes, against a program that only counts (root)
    XdpRate(XdpRateArgs),
    /// Recording to disk, against tcpdump and netsniff-ng (root)
    Record(RecordArgs),
    /// One second and one rare host out of stores and traces, by index, against scans, tcpslice, editcap and a bisecting program
    Index(IndexArgs),
    /// DBNet's experiments over HTTP, against the paper's figures (PostgreSQL)
    Dbnet(DbnetArgs),
    /// Send connections into an interface, and in the middle a SYN flood; says when it begins and ends
    Flood(FloodArgs),
    /// Capture with libpcap, throw packets away and count them: one of the four ways
    #[command(hide = true)]
    Discard(DiscardArgs),
    /// Cut a time out of a trace by bisection: the hand-written program of `index`
    #[command(hide = true)]
    Slice(SliceArgs),
}

/// `wt-bench dbnet`.
#[derive(Debug, Args)]
pub struct DbnetArgs {
    /// The command that is measured [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub wiretable: Option<PathBuf>,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Rounds of each experiment
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
}

/// How long a trace is.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct AmountArgs {
    /// Number of packets, e.g. 10M
    #[arg(long, value_name = "N", value_parser = amount::parse)]
    pub packets: Option<u64>,
    /// Bytes of the file, e.g. 20GB
    #[arg(long, value_name = "N", value_parser = amount::parse)]
    pub bytes: Option<u64>,
}

impl AmountArgs {
    /// The one that is given.
    pub fn amount(&self) -> Amount {
        match (self.packets, self.bytes) {
            (Some(packets), _) => Amount::Packets(packets),
            (None, bytes) => Amount::Bytes(bytes.unwrap_or(0)),
        }
    }
}

/// `wt-bench generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Where to write, `-` for standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: PathBuf,
    /// Length.
    #[command(flatten)]
    pub amount: AmountArgs,
    /// Kind of traffic
    #[arg(long, value_enum, default_value = "imix")]
    pub profile: Profile,
    /// Seed of all numbers
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Distinct flows
    #[arg(long, default_value = "100k", value_parser = flows)]
    pub flows: u32,
    /// Exponent of the Zipf law over flows; 0 makes all alike
    #[arg(long, default_value_t = 1.0, value_parser = exponent)]
    pub zipf: f64,
    /// Mean number of packets of a flow in a row
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub burst: u32,
    /// Share of flows with a VLAN tag
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub vlan: f64,
    /// Share of flows over IPv6
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub ipv6: f64,
    /// Share of flows in VXLAN or GRE
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub tunnel: f64,
    /// Share of packets that attack, of profile attack
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    pub attack: f64,
    /// Packets per second of trace time
    #[arg(long, default_value = "1M", value_parser = rate)]
    pub rate: u64,
    /// Compute TCP and UDP checksums, instead of 0
    #[arg(long)]
    pub checksums: bool,
}

impl GenerateArgs {
    /// The trace.
    pub fn spec(&self) -> Spec {
        Spec {
            profile: self.profile,
            amount: self.amount.amount(),
            seed: self.seed,
            flows: self.flows,
            zipf: self.zipf,
            burst: self.burst,
            vlan: self.vlan,
            ipv6: self.ipv6,
            tunnel: self.tunnel,
            attack: self.attack,
            rate: self.rate,
            checksums: self.checksums,
        }
    }
}

/// `wt-bench amplify`.
#[derive(Debug, Args)]
pub struct AmplifyArgs {
    /// Captures of Ethernet frames, read as one; named twice, a capture is there twice
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// Where to write, `-` for standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: PathBuf,
    /// Length.
    #[command(flatten)]
    pub amount: AmountArgs,
    /// Packets per second of trace time [default: as captured]
    #[arg(long, value_parser = rate)]
    pub rate: Option<u64>,
    /// Give packets that were cut by a snap length their length back
    #[arg(long)]
    pub fill: bool,
}

/// `wt-bench bound`.
#[derive(Debug, Args)]
pub struct BoundArgs {
    /// What to compute
    #[arg(value_enum)]
    pub task: TaskName,
    /// A pcap file of Ethernet frames
    pub trace: PathBuf,
    /// How to go through it
    #[arg(long, value_enum, default_value = "read")]
    pub method: Method,
    /// Threads, each with a part of the file
    #[arg(long, default_value_t = 1)]
    pub cores: usize,
}

/// `wt-bench peers`.
#[derive(Debug, Args)]
pub struct PeersArgs {
    /// Install missing tools with apt-get (needs root)
    #[arg(long)]
    pub install: bool,
}

/// What all measurements have in common.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// The command that is measured [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub wiretable: Option<PathBuf>,
    /// Further arguments of every `wiretable query`, divided by spaces
    #[arg(long, value_name = "ARGUMENTS", default_value = "", allow_hyphen_values = true)]
    pub wiretable_args: String,
    /// Where traces are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub dir: PathBuf,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Name of the result [default: that of the command]
    #[arg(long)]
    pub name: Option<String>,
    /// The core that everything runs on [default: the last]
    #[arg(long)]
    pub core: Option<usize>,
    /// Measurements of each program
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// In what the page cache holds the traces of `run` and `flows`
    #[arg(long, value_enum, default_value_t = Pages::Huge)]
    pub pages: Pages,
}

/// `wt-bench run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What all measurements have in common.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Tasks [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub tasks: Vec<TaskName>,
    /// Traces: real, imix, attack, or pcap files
    #[arg(long, value_delimiter = ',', default_value = "real,imix")]
    pub traces: Vec<String>,
    /// Packets of the traces, e.g. 200k [default: real 3.6M, others 10M]
    #[arg(long, value_parser = amount::parse)]
    pub packets: Option<u64>,
    /// Tools: all, none, or names of programs, with libpcap for the loop of that library
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub peers: Vec<String>,
    /// Add programs on two cores
    #[arg(long)]
    pub two_cores: bool,
    /// Add what reads the same packets as pcapng, in a store of the recorder, in rotated files, in a file for each direction, and of an interface for each, all of which are made beside the traces
    #[arg(long, conflicts_with = "without_wiretable")]
    pub forms: bool,
    /// Leave wiretable out
    #[arg(long)]
    pub without_wiretable: bool,
    /// Compare answers only
    #[arg(long)]
    pub check: bool,
    /// Where the captures are that the trace `real` is made of [default: those of the repository]
    #[arg(long, value_name = "DIR")]
    pub captures: Option<PathBuf>,
}

/// `wt-bench flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// What all measurements have in common.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Numbers of flows
    #[arg(long, value_delimiter = ',', default_value = "10k,10M", value_parser = flows)]
    pub counts: Vec<u32>,
    /// Packets of each trace
    #[arg(long, default_value = "10M", value_parser = amount::parse)]
    pub packets: u64,
}

/// `wt-bench memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// What all measurements have in common.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Length of the stream
    #[arg(long, default_value = "20GB", value_parser = amount::parse)]
    pub bytes: u64,
    /// Tasks
    #[arg(long, value_enum, value_delimiter = ',', default_value = "t1,t2,t3")]
    pub tasks: Vec<TaskName>,
}

/// `wt-bench startup`.
#[derive(Debug, Args)]
pub struct StartupArgs {
    /// What all measurements have in common.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Runs of each program
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
}

/// `wt-bench index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// What all measurements have in common.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Bytes of the traces and stores; twice the largest has to be free
    #[arg(long, value_delimiter = ',', default_value = "1GB,3GB,10GB", value_parser = amount::parse)]
    pub sizes: Vec<u64>,
    /// Bytes per entry of the indices
    #[arg(long, value_delimiter = ',', default_value = "64KiB,256KiB,1MiB,4MiB,16MiB,64MiB", value_parser = amount::parse)]
    pub ratios: Vec<u64>,
    /// Packets of a second, IMIX
    #[arg(long, default_value = "10k", value_parser = rate)]
    pub rate: u64,
    /// Measurements of each program that reads all
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub scans: u32,
}

/// `wt-bench slice`.
#[derive(Debug, Args)]
pub struct SliceArgs {
    /// A pcap file of Ethernet frames in the order of time
    pub trace: PathBuf,
    /// From then on, ns since the epoch
    pub from_ns: u64,
    /// Before then, ns since the epoch
    pub to_ns: u64,
    /// Where they are written
    pub output: PathBuf,
}

/// `wt-bench calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// The command that is measured [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub wiretable: Option<PathBuf>,
    /// Where traces are kept while it runs
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub dir: PathBuf,
    /// Where the table of costs is written, `-` for standard output
    #[arg(short = 'o', long = "output", value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Write a report of each query, fitted or held back, to this folder
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Packets of each trace
    #[arg(long, default_value = "150k", value_parser = calibration_packets)]
    pub packets: u64,
    /// Runs of each query
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// The core that everything runs on [default: the last]
    #[arg(long)]
    pub core: Option<usize>,
}

fn calibration_packets(text: &str) -> Result<u64, String> {
    match amount::parse(text) {
        Ok(packets @ 20_000..=20_000_000) => Ok(packets),
        _ => Err("a number of packets is from 20k to 20M".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".to_owned()),
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("an exponent is a number from 0 to 10".to_owned()),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    match amount::parse(text) {
        Ok(rate @ 1..=1_000_000_000) => Ok(rate),
        _ => Err("a rate is a number of packets per second from 1 to 1G".to_owned()),
    }
}

fn flows(text: &str) -> Result<u32, String> {
    match amount::parse(text).map(u32::try_from) {
        Ok(Ok(flows @ 1..)) => Ok(flows),
        _ => Err("a number of flows is from 1 to 4294967295".to_owned()),
    }
}
