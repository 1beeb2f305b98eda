//! Arguments of the commands that send live.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use wt_bench::amount;

use super::share;

/// What commands that send live have in common.
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// The command that is measured [default: beside this program]
    #[arg(long, value_name = "FILE")]
    pub wiretable: Option<PathBuf>,
    /// Where traces are kept
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub dir: PathBuf,
    /// Where results are written
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Name of the result [default: that of the command]
    #[arg(long)]
    pub name: Option<String>,
    /// How long packets are sent at each rate, seconds
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: f64,
    /// The core that sends
    #[arg(long, default_value_t = 0)]
    pub sender_core: usize,
    /// The core of the program that captures [default: the last]
    #[arg(long)]
    pub core: Option<usize>,
}

/// How rates are found.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Share of loss that is borne
    #[arg(long, default_value = "0.02", value_parser = share)]
    pub loss: f64,
    /// Rates that are tried when the sender's own is too high
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub steps: u32,
}

/// `wt-bench flood`.
#[derive(Debug, Args)]
pub struct FloodArgs {
    /// The interface that is sent into
    #[arg(long, value_name = "IF")]
    pub interface: String,
    /// How long there is no flood, there is one, and there is none again, seconds
    #[arg(long, value_name = "S", num_args = 3, default_values = ["2", "4", "4"], value_parser = seconds)]
    pub phases: Vec<f64>,
    /// Frames per second beside the flood
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub background: u32,
    /// SYNs per second of the flood
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub flood: u32,
}

/// `wt-bench replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// What all have in common.
    #[command(flatten)]
    pub live: LiveArgs,
    /// How rates are found.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// A batch for `wiretable run`, e.g. configs/top-talkers.toml. Its first source gets the packets
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    pub batch: Option<PathBuf>,
    /// A text for `wiretable query`
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "SELECT tb, count(*) AS packets, sum(len) AS bytes FROM ip GROUP BY time/1 AS tb"
    )]
    pub query: String,
    /// What is sent: real, imix, attack, or a capture
    #[arg(long, value_name = "TRACE", default_value = "real")]
    pub trace: String,
    /// Where packets are captured
    #[arg(long, value_enum, default_value = "xdp")]
    pub capture: Way,
    /// What becomes of packets that a program in the driver has seen
    #[arg(long, value_enum, default_value = "drop")]
    pub disposition: Fate,
    /// Who sends
    #[arg(long, value_enum, value_delimiter = ',', default_value = "frames,tcpreplay")]
    pub senders: Vec<SenderName>,
    /// Serve the receiving interface on this core, by a thread of the kernel, instead of on the sender's
    #[arg(long, value_name = "N")]
    pub receiver_cpu: Option<usize>,
}

/// `wt-bench http-share`.
#[derive(Debug, Args)]
pub struct HttpShareArgs {
    /// What all have in common.
    #[command(flatten)]
    pub live: LiveArgs,
    /// How rates are found.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Times that each way is swept, in turns; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Traffic of port 80, Mbit/s
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub port80: u32,
    /// Traffic beside it: real, imix, attack, or a capture
    #[arg(long, value_name = "TRACE", default_value = "real")]
    pub background: String,
    /// Where packets of port 80 are taken from
    #[arg(long, value_name = "TRACE", default_value = "real")]
    pub web: String,
    /// The core whose kernel thread serves the receiving interface [default: that of the program that captures]
    #[arg(long, value_name = "N")]
    pub receiver_cpu: Option<usize>,
}

/// `wt-bench xdp-cost`.
#[derive(Debug, Args)]
pub struct XdpCostArgs {
    /// What all have in common.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Measurements of each program, in turns
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Runs of a program that are measured together
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub repeat: u32,
    /// Ratio to C that is good enough
    #[arg(long, default_value_t = 1.05)]
    pub goal: f64,
}

/// `wt-bench xdp-rate`.
#[derive(Debug, Args)]
pub struct XdpRateArgs {
    /// What all have in common.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Measurements of each, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Numbers of source addresses that are grouped by
    #[arg(long, value_delimiter = ',', default_value = "16,256,1k,2k,4k,16k,64k,1M", value_parser = sources)]
    pub sources: Vec<u32>,
}

/// `wt-bench record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// What all have in common.
    #[command(flatten)]
    pub live: LiveArgs,
    /// Measurements of each recorder at each rate, in turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Packets per second that are sent; as fast as the sender can comes last
    #[arg(long, value_delimiter = ',', default_value = "100k,300k,600k", value_parser = rate)]
    pub rates: Vec<f64>,
    /// What is sent, one after the other: real, imix, attack, captures, or a number: packets of imix that have so many bytes
    #[arg(long, value_name = "TRACE", value_delimiter = ',', default_value = "64,imix,1500")]
    pub traces: Vec<String>,
    /// Recorders that are compared, of: wiretable, wiretable --no-index, wiretable drop, wiretable drop --no-index, tcpdump, netsniff-ng [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub recorders: Vec<String>,
    /// Serve the receiving interface on this core, by a thread of the kernel, instead of on the sender's
    #[arg(long, value_name = "N")]
    pub receiver_cpu: Option<usize>,
}

/// `wt-bench discard`.
#[derive(Debug, Args)]
pub struct DiscardArgs {
    /// The interface
    pub interface: String,
}

/// Where packets are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// In the driver
    Xdp,
    /// By a packet socket
    Socket,
}

impl Way {
    /// As an argument.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Socket => "socket",
        }
    }
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fate {
    /// They go on to the host
    Pass,
    /// They end in the driver
    Drop,
}

impl Fate {
    /// As an argument.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SenderName {
    /// Live frames, made by a program in the kernel
    Frames,
    /// tcpreplay, the users' tool
    Tcpreplay,
}

fn sources(text: &str) -> Result<u32, String> {
    // A program multiplies by it as a signed number of 32 bits.
    match amount::parse(text).map(u32::try_from) {
        Ok(Ok(sources @ 1..=0x7fff_ffff)) => Ok(sources),
        _ => Err("a number of sources is from 1 to 2147483647".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match amount::parse(text) {
        Ok(rate @ 1..=100_000_000) => Ok(rate as f64),
        _ => Err("a rate is a number of packets per second from 1 to 100M".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a time is a number of seconds from 0.05 to 600".to_owned()),
    }
}
