//! Arguments of live runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{parse_bytes, parse_count};

/// How interfaces are captured from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Live capture")]
pub struct CaptureArgs {
    /// Receive only what is for this host
    #[arg(long)]
    pub no_promiscuous: bool,
    /// Memory in which the kernel, or DPDK, keeps packets until they are read, per interface [default: 16MiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_ring)]
    pub ring: Option<u64>,
    /// Where packets are captured [default: socket for `query`, auto for `run`]
    #[arg(long, value_enum, value_name = "WAY")]
    pub capture: Option<CaptureWay>,
    /// What becomes of packets that a program in the driver has seen [default: pass]
    #[arg(long, value_enum, value_name = "FATE")]
    pub disposition: Option<PacketFate>,
    /// How far packets may come behind the clock; windows of a silent interface close so much later [default: 200ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub skew: Option<Duration>,
    /// Whose time stamps packets carry [default: kernel]
    #[arg(long, value_enum, value_name = "BY")]
    pub stamps: Option<StampedBy>,
    /// Further arguments for DPDK's environment (EAL), in one word, e.g. '-l 2 -m 512'
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub dpdk_args: Option<String>,
}

/// Where packets of an interface are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CaptureWay {
    /// In the driver, if it takes programs and a query has code there; else behind a socket
    Auto,
    /// In the driver: queries that have code run there; packets that this host sends are not seen
    Xdp,
    /// Behind a packet socket: all packets of the interface, received and sent
    Socket,
    /// By DPDK, in a build that has it; IF is a device as DPDK writes it, e.g. net_af_xdp0,iface=eth0 or 0000:01:00.0
    Dpdk,
}

/// Who stamps packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StampedBy {
    /// The kernel, when it sees them
    #[default]
    Kernel,
    /// The network card, when they arrive; behind a socket only, and its clock must be that of this host (phc2sys)
    Card,
}

/// What becomes of packets in the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PacketFate {
    /// They go on to the host: a tap beside normal use
    #[default]
    Pass,
    /// They end there: a port that only mirrors traffic
    Drop,
}

/// When a live run ends.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Live capture")]
pub struct UntilArgs {
    /// End after so much time, e.g. 10s or 5m; results without a window come then
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// End after so many packets of all interfaces together; results without a window come then
    #[arg(short = 'c', long = "packets", value_name = "N", value_parser = parse_count)]
    pub packets: Option<u64>,
}

/// How a live run is spoken with.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Live capture")]
pub struct ControlArgs {
    /// Listen on this socket for `wiretable ctl`; `none`: on no socket [default: for `run`, one named after the batch]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Serve the books to Prometheus on this address, e.g. 127.0.0.1:9100
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Drop packets of the sources in this file in the driver, once they are counted: a prefix a line, and for how long if not for ever
    #[arg(long, value_name = "FILE")]
    pub blocklist: Option<PathBuf>,
}

impl UntilArgs {
    /// Whether the run has an end of its own.
    pub fn is_given(&self) -> bool {
        self.duration.is_some() || self.packets.is_some()
    }
}

/// Least and most memory of a ring.
const RING_BYTES: std::ops::RangeInclusive<u64> = 512 << 10..=4 << 30;

/// Reads the size of a ring.
pub fn parse_ring(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    match RING_BYTES.contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("a ring of `{text}` is not from 512KiB to 4GiB")),
    }
}

/// Longest duration of an argument: a year.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Reads `10s`, `200ms`, `5m`, `1h`, `2d`: a time above 0.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let ns_per_unit: Option<u64> = match unit {
        "us" | "µs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        "d" => Some(86_400_000_000_000),
        _ => None,
    };
    let ns = ns_per_unit.and_then(|ns| number.parse::<u64>().ok()?.checked_mul(ns));
    match ns.map(Duration::from_nanos) {
        Some(duration) if !duration.is_zero() && duration <= DURATION_MAX => Ok(duration),
        _ => Err(format!("`{text}` is not a time; write for example 200ms, 10s, 5m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_with_units() {
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        for text in ["", "10", "0s", "s", "1.5s", "-1s", "99999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_ring("1MiB"), Ok(1 << 20));
        for text in ["1", "64GiB", "big"] {
            assert!(parse_ring(text).is_err(), "{text}");
        }
    }
}
