//! `wiretable index` and `wiretable extract`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::record::ConditionArgs;
use super::{CORES_MAX, parse_bytes};

/// `wiretable index`.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  wiretable index build trace.pcap                 makes trace.pcap.wti, an entry for each MiB
  wiretable index build --index-ratio 256KiB edge  of every closed segment of a store
  wiretable index verify trace.pcap"
)]
pub struct IndexArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: IndexCommand,
}

/// What to do with indices.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Make the indices of traces and stores anew
    Build {
        /// Bytes of a trace for each entry, 64KiB to 64MiB [default: 1MiB, or what a store was made with]
        #[arg(long, value_name = "R", value_parser = parse_ratio)]
        index_ratio: Option<u64>,
        /// Show no progress bar
        #[arg(long)]
        no_progress: bool,
        /// Traces (pcap, pcapng) and stores
        #[arg(value_name = "TRACE|DIR", required = true)]
        traces: Vec<PathBuf>,
    },
    /// Say what indices hold, and what they cost
    Info {
        /// Traces and stores
        #[arg(value_name = "TRACE|DIR", required = true)]
        traces: Vec<PathBuf>,
    },
    /// Compare indices with what they are of; exit 1 when one differs
    Verify {
        /// Traces and stores
        #[arg(value_name = "TRACE|DIR", required = true)]
        traces: Vec<PathBuf>,
    },
}

fn parse_ratio(text: &str) -> Result<u64, String> {
    let ratio = parse_bytes(text)?;
    match wt_trace::index::RATIOS.contains(&ratio) {
        true => Ok(ratio),
        false => Err(format!("`{text}` is not between 64KiB and 64MiB")),
    }
}

/// `wiretable extract`.
#[derive(Debug, Args)]
#[command(after_help = "\
Times are RFC 3339, seconds since the epoch, or counted from the data: +10s from its first packet on, -30s before its last.
What is not wanted is skipped where there is an index (`wiretable index build`); the answer is the same without.

Examples:
  wiretable extract -w edge --from 2026-11-21T10:00:00Z --to 2026-11-21T10:00:05Z -o five.pcapng
  wiretable extract -r trace.pcap --filter 'host 192.0.2.7 and tcp port 443' -o -  | tshark -r -
  wiretable extract -r trace.pcap --from +10s --to +11s --where 'len > 1000' -o big.pcapng")]
pub struct ExtractArgs {
    /// From this trace; repeat for several
    #[arg(short = 'r', long = "read", value_name = "TRACE", required_unless_present = "store")]
    pub read: Vec<PathBuf>,
    /// From this store; repeat for several
    #[arg(short = 'w', long = "store", value_name = "DIR")]
    pub store: Vec<PathBuf>,
    /// The first time that is wanted [default: the beginning]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// The time before which packets are wanted [default: the end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Which packets are taken.
    #[command(flatten)]
    pub condition: ConditionArgs,
    /// Where they go, as pcapng with nanoseconds; `-` is standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: PathBuf,
    /// Use no index
    #[arg(long)]
    pub no_index: bool,
    /// Read a large store on so many cores [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=CORES_MAX))]
    pub cores: Option<u16>,
    /// Take what stands before damage and still exit 0
    #[arg(long)]
    pub lenient: bool,
    /// Show no progress bar
    #[arg(long)]
    pub no_progress: bool,
}

impl ExtractArgs {
    /// Threads that read.
    pub fn cores(&self) -> usize {
        super::cores_or_all(self.cores)
    }
}
