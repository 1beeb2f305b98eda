//! `wiretable record` and `wiretable store`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::{
    CaptureWay, PacketFate, StampedBy, UntilArgs, parse_bytes, parse_duration, parse_ring,
};

/// `wiretable record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable record -i eth0 -w /var/lib/wiretable/edge --keep-bytes 500GiB
  wiretable record -i eth0 -w edge --filter 'tcp port 443' --snaplen 128 --for 1h
  wiretable record -i eth0 -w web --protocol tcp --where 'destPort = 443 AND syn'
  wiretable record -r a.pcap -r b.pcapng.zst -w both --compress
  wiretable record -i eth0 -w mirrored --disposition drop
  wiretable record -i eth0 -w edge --ring 60s & wiretable ctl -s edge save alarm --from -30s --to +10s
  wiretable query 'SELECT tb, count(*) FROM tcp GROUP BY time/60 AS tb' -r edge

Segments are pcapng, which Wireshark opens. Ctrl-C ends a recording; what it wrote last is synced then. One that was
killed is put in order by the next one: what had not been synced may be lost, at most --sync-interval of it.")]
pub struct RecordArgs {
    /// Capture from an interface until Ctrl-C; repeat for several. NAME=IF gives it another name; `any` is all of them
    #[arg(short = 'i', long = "interface", value_name = "[NAME=]IF", conflicts_with = "read")]
    pub interface: Vec<String>,
    /// Record a trace; several are merged in time order. NAME=TRACE names its packets' interface; `-` is standard input
    #[arg(
        short = 'r',
        long = "read",
        value_name = "[NAME=]TRACE",
        required_unless_present = "interface"
    )]
    pub read: Vec<String>,
    /// The store: a directory that is made, empty, or a store already
    #[arg(short = 'w', long = "write", value_name = "DIR")]
    pub write: PathBuf,
    /// Which packets are recorded.
    #[command(flatten)]
    pub condition: ConditionArgs,
    /// Bytes kept of each packet [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    pub snaplen: Option<u32>,
    /// Write nothing until `wiretable ctl save NAME` asks, and keep packets of so much time in memory; also --ring TIME
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Pre-trigger")]
    pub pre_trigger: Option<Duration>,
    /// Memory for that, per writer; packets leave earlier when it is full [default: 256MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_buffer, help_heading = "Pre-trigger")]
    pub pre_trigger_size: Option<u64>,
    /// Listen on this socket for `wiretable ctl`; `none`: on no socket [default: with --ring TIME, one named after DIR]
    #[arg(long, value_name = "PATH", help_heading = "Pre-trigger")]
    pub control: Option<PathBuf>,
    /// When segments end, and what is kept of them.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Sockets per interface that share its packets by flow, each with a writer of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Live capture")]
    pub queues: u16,
    /// Receive only what is for this host
    #[arg(long, help_heading = "Live capture")]
    pub no_promiscuous: bool,
    /// Where packets are taken [default: auto: in the driver, by AF_XDP, if they end there, else by a socket]
    #[arg(long, value_enum, value_name = "WAY", help_heading = "Live capture")]
    pub capture: Option<CaptureWay>,
    /// What becomes of packets that are recorded [default: pass]
    #[arg(long, value_enum, value_name = "FATE", help_heading = "Live capture")]
    pub disposition: Option<PacketFate>,
    /// Whose time stamps packets carry [default: kernel]
    #[arg(long, value_enum, value_name = "BY", help_heading = "Live capture")]
    pub stamps: Option<StampedBy>,
    /// Memory in which the kernel keeps packets until they are taken, per queue [default: 16MiB]. A time, as in `--ring 60s`: the same as --pre-trigger
    #[arg(long, value_name = "BYTES|DURATION", value_parser = parse_either_ring, action = ArgAction::Append, help_heading = "Live capture")]
    pub ring: Vec<Ring>,
    /// When a live recording ends.
    #[command(flatten)]
    pub until: UntilArgs,
    /// Record what stands before damage in a trace and still exit 0
    #[arg(long)]
    pub lenient: bool,
    /// Print the books at the end: where every packet went, by writer
    #[arg(long)]
    pub ledger: bool,
    /// Show no progress bar
    #[arg(long)]
    pub no_progress: bool,
}

/// What `--ring` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// So much memory that the kernel shares, bytes.
    Kernel(u64),
    /// The packets of so much time, in this process's memory.
    PreTrigger(Duration),
}

/// Packets that are kept in memory until someone asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreTrigger {
    /// How old they may become.
    pub age_max: Duration,
    /// Most memory for them, bytes per writer.
    pub bytes_max: u64,
}

/// Memory of [`PreTrigger`] when nothing is said, bytes.
const PRE_TRIGGER_BYTES: u64 = 256 << 20;

impl RecordArgs {
    /// Memory of the ring that the kernel shares, bytes, if it is given.
    ///
    /// # Errors
    /// It is given twice.
    pub fn kernel_ring(&self) -> Result<Option<u64>, String> {
        let sizes = self.ring.iter().filter_map(|ring| match ring {
            Ring::Kernel(bytes) => Some(*bytes),
            Ring::PreTrigger(_) => None,
        });
        one(sizes, "--ring gives the kernel's ring two sizes")
    }

    /// What is kept in memory instead of on the disk, if that is asked for.
    ///
    /// # Errors
    /// Its time is given twice, or a size without a time.
    pub fn pre_trigger(&self) -> Result<Option<PreTrigger>, String> {
        let times = self.ring.iter().filter_map(|ring| match ring {
            Ring::PreTrigger(age) => Some(*age),
            Ring::Kernel(_) => None,
        });
        let times = times.chain(self.pre_trigger);
        let age_max = one(times, "--ring with a time is --pre-trigger: it is given twice")?;
        if age_max.is_none() && self.pre_trigger_size.is_some() {
            return Err("--pre-trigger-size is the memory of --ring TIME, which is not given\n  help: --ring 60s".to_owned());
        }
        let bytes_max = self.pre_trigger_size.unwrap_or(PRE_TRIGGER_BYTES);
        Ok(age_max.map(|age_max| PreTrigger { age_max, bytes_max }))
    }
}

/// The only one there is, if any.
fn one<T>(mut all: impl Iterator<Item = T>, several: &str) -> Result<Option<T>, String> {
    let first = all.next();
    match all.next() {
        Some(_) => Err(several.to_owned()),
        None => Ok(first),
    }
}

/// Reads the size of the kernel's ring, or a time.
fn parse_either_ring(text: &str) -> Result<Ring, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    // Bytes are known by `m` elsewhere, times too.
    if unit == "m" {
        return Err(format!(
            "`{text}` may be minutes or mebibytes; write seconds for a time (600s), or MiB"
        ));
    }
    match parse_duration(text) {
        Ok(age) => Ok(Ring::PreTrigger(age)),
        Err(_) => parse_ring(text).map(Ring::Kernel),
    }
}

/// Which packets are wanted.
#[derive(Debug, Args)]
pub struct ConditionArgs {
    /// Take what this tcpdump expression matches; of interfaces the kernel copies nothing else
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Take what meets this condition, as in WHERE of a query: len > 1000 AND time % 2 = 0
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Protocol whose fields the condition names; packets without it do not meet it
    #[arg(long, value_name = "PROTOCOL", default_value = "packet")]
    pub protocol: String,
    /// Add the protocols of a DDL file
    #[arg(long, value_name = "FILE")]
    pub protocols: Vec<PathBuf>,
}

/// How a store is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub struct StoreOptions {
    /// Bytes after which a segment ends
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_segment)]
    pub segment_size: u64,
    /// Time after which a segment ends
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub segment_time: Option<Duration>,
    /// Bytes of a segment per entry of its index, when the store is made
    #[arg(long, value_name = "R", default_value = "1MiB", value_parser = parse_ratio)]
    pub index_ratio: u64,
    /// Delete the oldest segments when all together take more
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub keep_bytes: Option<u64>,
    /// Delete segments whose last packet is older
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub keep_for: Option<Duration>,
    /// Delete the oldest segments when less of the disk is free
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub keep_free: Option<u64>,
    /// When the disk is full [default: pause for interfaces, stop for traces]
    #[arg(long, value_enum, value_name = "WAY")]
    pub on_full: Option<FullArg>,
    /// Memory for packets that the disk has not taken yet, per writer; when it is full packets are lost and counted
    #[arg(long, value_name = "BYTES", default_value = "128MiB", value_parser = parse_buffer)]
    pub buffer: u64,
    /// How often what was written is synced
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub sync_interval: Duration,
    /// Make no index of segments while they are written (`wiretable index build DIR` makes them later)
    #[arg(long)]
    pub no_index: bool,
    /// Compress segments when they are closed; nothing in them can be skipped then, and they have no index
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "zstd")]
    pub compress: Option<CompressArg>,
}

/// What happens when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FullArg {
    /// The recording ends
    Stop,
    /// The oldest segment is deleted
    DropOldest,
    /// Packets are lost and counted until there is room again
    Pause,
}

/// How segments are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressArg {
    /// Zstandard
    Zstd,
}

fn parse_segment(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    match wt_trace::record::SEGMENT_BYTES.contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("a segment of `{text}` is not from 1MiB to 64GiB")),
    }
}

fn parse_ratio(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    match wt_trace::index::RATIOS.contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("an index ratio of `{text}` is not from 64KiB to 64MiB")),
    }
}

fn parse_buffer(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    match (2 << 20..=64 << 30).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("a buffer of `{text}` is not from 2MiB to 64GiB")),
    }
}

/// `wiretable store`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable store info edge
  wiretable store list edge
  wiretable store pin edge incident-7 --from 2026-11-21T10:00:00Z --to 2026-11-21T10:15:00Z
  wiretable store unpin edge incident-7")]
pub struct StoreArgs {
    /// What is done.
    #[command(subcommand)]
    pub ask: StoreAsk,
}

/// What can be done with a store.
#[derive(Debug, Subcommand)]
pub enum StoreAsk {
    /// What a store holds: packets, bytes, time; who records; pins
    Info {
        /// The store
        dir: PathBuf,
    },
    /// The segments of a store: writer, sequence numbers, packets, bytes, time
    List {
        /// The store
        dir: PathBuf,
        /// Result format [default: table on a terminal, else csv]
        #[arg(long, value_enum)]
        format: Option<super::Format>,
    },
    /// Keep the segments of a time, however old they get
    Pin {
        /// The store
        dir: PathBuf,
        /// What the pin is called
        name: String,
        /// From this time on: 2026-11-21T10:00:00Z, seconds since the epoch, or -10m for 10 minutes ago
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        from: String,
        /// Up to this time
        #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
        to: String,
    },
    /// Keep them no longer
    Unpin {
        /// The store
        dir: PathBuf,
        /// What the pin is called
        name: String,
    },
}
