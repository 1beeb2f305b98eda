//! A long trace from short captures: repeated, each time with other hosts and later.
//!
//! Headers, sizes, order and relative times are those of the captures. The middle two bytes of IPv4 addresses and the first two of
//! IPv6 interface identifiers count the repetitions, so that conversations multiply and stay conversations; multicast,
//! loopback and unspecified addresses stay. Checksums follow.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wt_wire::{CaptureError, CaptureReader, LinkType};

use super::frame::fold;
use super::sink::Sink;
use super::{Amount, START_NS, Written};

/// Largest packet that is repeated; larger ones are cut.
const PACKET_MAX: usize = 65_535 + 18;

/// A trace to be made of captures.
#[derive(Clone, Debug, PartialEq)]
pub struct Amplify {
    /// Captures of Ethernet frames, as one; one that is named twice is there twice.
    pub inputs: Vec<PathBuf>,
    /// Length.
    pub amount: Amount,
    /// Packets per second of trace time; without it, a repetition takes as long as the longest capture did.
    pub rate: Option<u64>,
    /// Whether packets that were cut by a snap length get their length back, filled with text.
    pub fill: bool,
}

/// Why captures could not be repeated.
#[derive(Debug, thiserror::Error)]
pub enum AmplifyError {
    /// A capture could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A capture is not of Ethernet frames.
    #[error("{path} is of link type {}, and only Ethernet (1) can be repeated", link_type.0)]
    LinkType {
        /// Which.
        path: PathBuf,
        /// What it is.
        link_type: LinkType,
    },
    /// There is no packet to repeat.
    #[error("the captures hold no packet")]
    Empty,
    /// The trace could not be written.
    #[error("cannot write the trace: {0}")]
    Write(#[from] io::Error),
}

/// One packet of the captures, with the places that a repetition changes.
#[derive(Debug)]
struct Packet {
    /// Place in a repetition, of 2^32.
    phase: u32,
    copy: u16,
    /// Bytes on the wire.
    len: u32,
    data: Vec<u8>,
    addresses: Option<Addresses>,
}

/// Where the addresses of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addresses {
    /// The source; the destination is behind it.
    at: usize,
    v6: bool,
    /// The IPv4 header checksum.
    header_sum: Option<usize>,
    /// The TCP or UDP checksum.
    segment_sum: Option<usize>,
}

/// Writes a trace.
///
/// # Errors
/// [`AmplifyError`].
pub fn amplify(spec: &Amplify, output: impl Write) -> Result<Written, AmplifyError> {
    let (packets, longest_ns) = load(spec)?;
    let copies = packets.iter().map(|p| p.copy).max().ok_or(AmplifyError::Empty)? + 1;
    let period_ns = match spec.rate {
        Some(rate) => (packets.len() as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64,
        None => longest_ns + longest_ns / packets.len() as u64 + 1,
    };
    let mut sink = Sink::new(output)?;
    let mut repetition: u16 = 0;
    let mut start_ns = START_NS;
    'all: loop {
        for packet in &packets {
            if spec.amount.reached(sink.packets, sink.bytes) {
                break 'all;
            }
            let time_ns =
                start_ns + ((u128::from(packet.phase) * u128::from(period_ns)) >> 32) as u64;
            let shift = repetition.wrapping_mul(copies).wrapping_add(packet.copy);
            sink.packet::<PACKET_MAX>(time_ns, |out| {
                let out = &mut out[..packet.data.len()];
                out.copy_from_slice(&packet.data);
                if let Some(addresses) = packet.addresses {
                    move_hosts(out, addresses, shift);
                }
                (out.len(), packet.len)
            })?;
        }
        repetition = repetition.wrapping_add(1);
        start_ns += period_ns;
    }
    sink.flush()?;
    Ok(Written { packets: sink.packets, bytes: sink.bytes })
}

/// All packets in the order of their phase, and the duration of the longest capture.
fn load(spec: &Amplify) -> Result<(Vec<Packet>, u64), AmplifyError> {
    let mut packets = Vec::new();
    let mut longest_ns = 1;
    for (index, path) in spec.inputs.iter().enumerate() {
        let copy = spec.inputs[..index].iter().filter(|p| *p == path).count();
        let copies = spec.inputs.iter().filter(|p| *p == path).count();
        let from = packets.len();
        let mut times = read(path, spec.fill, copy as u16, &mut packets)?;
        // Time that goes back in a capture stands still here.
        let first = times.first().copied().unwrap_or(0);
        let mut latest = first;
        for time in &mut times {
            latest = latest.max(*time);
            *time = latest - first;
        }
        let duration = latest - first + 1;
        longest_ns = longest_ns.max(duration);
        for (packet, time) in packets[from..].iter_mut().zip(times) {
            // Copies of one capture follow each other.
            let own = ((u128::from(time)) << 32) / u128::from(duration);
            packet.phase = (((copy as u128) << 32 | own) / copies as u128) as u32;
        }
    }
    packets.sort_by_key(|packet| packet.phase);
    Ok((packets, longest_ns))
}

fn read(
    path: &Path,
    fill: bool,
    copy: u16,
    packets: &mut Vec<Packet>,
) -> Result<Vec<u64>, AmplifyError> {
    let mut reader = CaptureReader::open(path)?;
    let mut times = Vec::new();
    while let Some(record) = reader.next()? {
        if record.link_type != LinkType(1) {
            return Err(AmplifyError::LinkType {
                path: path.to_owned(),
                link_type: record.link_type,
            });
        }
        times.push(record.timestamp_ns);
        let mut data = record.data[..record.data.len().min(PACKET_MAX)].to_vec();
        if fill {
            const TEXT: &[u8] =
                b"The rest of this segment was not captured; text stands in its place.\n";
            let len = (record.len as usize).min(PACKET_MAX).max(data.len());
            let missing = len - data.len();
            data.extend(TEXT.iter().cycle().take(missing));
        }
        let addresses = find_addresses(&data);
        let len = record.len.max(data.len() as u32);
        packets.push(Packet { phase: 0, copy, len, data, addresses });
    }
    Ok(times)
}

fn find_addresses(data: &[u8]) -> Option<Addresses> {
    let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    let mut at = 12;
    while matches!(word(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let ip = at + 2;
    let segment_sum = |protocol: u8, segment: usize| {
        let place = match protocol {
            6 => segment + 16,
            17 => segment + 6,
            _ => return None,
        };
        // A UDP checksum of 0 means none.
        (place + 2 <= data.len() && (protocol == 6 || word(place)? != 0)).then_some(place)
    };
    match word(at)? {
        0x0800 if data.len() >= ip + 20 => {
            let first = word(ip + 6)? & 0x1fff == 0;
            let segment = ip + usize::from(data[ip] & 15) * 4;
            Some(Addresses {
                at: ip + 12,
                v6: false,
                header_sum: Some(ip + 10),
                segment_sum: segment_sum(data[ip + 9], segment).filter(|_| first),
            })
        }
        0x86dd if data.len() >= ip + 40 => Some(Addresses {
            at: ip + 8,
            v6: true,
            header_sum: None,
            // ICMPv6 counts the addresses too.
            segment_sum: match data[ip + 6] {
                58 if data.len() >= ip + 44 => Some(ip + 42),
                protocol => segment_sum(protocol, ip + 40),
            },
        }),
        _ => None,
    }
}

/// Adds a repetition's number to the hosts of a packet.
fn move_hosts(data: &mut [u8], addresses: Addresses, shift: u16) {
    let len = if addresses.v6 { 16 } else { 4 };
    let mut change = 0;
    for at in [addresses.at, addresses.at + len] {
        let address = &mut data[at..at + len];
        let movable = if addresses.v6 {
            address[0] != 0xff && address[..15] != [0; 15]
        } else {
            !matches!(address[0], 0 | 127 | 224..)
        };
        if !movable {
            continue;
        }
        let place = if addresses.v6 { 8 } else { 1 };
        let before: u64 = super::frame::sum(address);
        let moved = u16::from_be_bytes([address[place], address[place + 1]]).wrapping_add(shift);
        address[place..place + 2].copy_from_slice(&moved.to_be_bytes());
        // One's complement: minus a word is plus its complement (RFC 1624).
        change += u64::from(!fold(before)) + super::frame::sum(address);
    }
    for place in [addresses.header_sum, addresses.segment_sum].into_iter().flatten() {
        let old = u16::from_be_bytes([data[place], data[place + 1]]);
        let new = !fold(u64::from(!old) + change);
        data[place..place + 2].copy_from_slice(&new.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::frame::sum;

    fn capture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name)
    }

    fn records(bytes: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
        let mut reader =
            CaptureReader::from_reader("trace", io::Cursor::new(bytes)).expect("a capture");
        let mut all = Vec::new();
        while let Some(record) = reader.next().expect("a record") {
            all.push((record.timestamp_ns, record.data.to_vec()));
        }
        all
    }

    fn amplified(inputs: &[&str], packets: u64, rate: Option<u64>) -> Vec<(u64, Vec<u8>)> {
        let mut bytes = Vec::new();
        let inputs = inputs.iter().map(|name| capture(name)).collect();
        let spec = Amplify { inputs, amount: Amount::Packets(packets), rate, fill: false };
        let written = amplify(&spec, &mut bytes).expect("amplifies");
        assert_eq!(written.bytes, bytes.len() as u64);
        records(bytes)
    }

    #[test]
    fn time_never_goes_back_and_hosts_are_new() {
        let all = amplified(&["http.pcap", "dns.pcap", "http.pcap"], 1000, None);
        assert_eq!(all.len(), 1000);
        assert!(all.is_sorted_by_key(|(time, _)| *time));
        // 79 + 79 + 32 packets are a repetition: the same packet in the next one has other hosts.
        const REPETITION: usize = 79 + 79 + 32;
        let mut moved = 0;
        for (a, b) in all.iter().zip(&all[REPETITION..]) {
            assert_eq!(a.1.len(), b.1.len());
            if find_addresses(&a.1).is_some() {
                assert_ne!(a.1, b.1);
                moved += 1;
            }
        }
        assert!(moved > 700, "{moved}");
    }

    #[test]
    fn a_rate_is_kept() {
        let all = amplified(&["eth0.pcap"], 10_000, Some(1_000_000));
        let seconds = (all[9999].0 - all[0].0) as f64 / 1e9;
        assert!((0.009..0.011).contains(&seconds), "{seconds}");
    }

    #[test]
    fn checksums_follow_the_addresses() {
        let mut checked = 0;
        for (_, data) in amplified(&["http.pcap"], 400, None) {
            let Some(a) = find_addresses(&data).filter(|a| !a.v6) else { continue };
            let ip = a.at - 12;
            assert_eq!(fold(sum(&data[ip..ip + 20])), 0xffff, "IPv4 header");
            let total = usize::from(u16::from_be_bytes([data[ip + 2], data[ip + 3]]));
            let segment = &data[ip + 20..ip + total];
            let pseudo =
                sum(&data[a.at..a.at + 8]) + u64::from(data[ip + 9]) + segment.len() as u64;
            assert_eq!(fold(pseudo + sum(segment)), 0xffff, "TCP");
            checked += 1;
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn only_ethernet_is_taken() {
        let spec = Amplify {
            inputs: vec![capture("tun.pcap")],
            amount: Amount::Packets(1),
            rate: None,
            fill: false,
        };
        assert!(matches!(amplify(&spec, io::sink()), Err(AmplifyError::LinkType { .. })));
    }
}
