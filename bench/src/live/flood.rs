//! Traffic with a flood in the middle: a quiet background of connections, and for a while SYNs from many addresses of one network.
//!
//! It is sent through a packet socket at rates that a shared machine keeps up with; what a link can carry is measured elsewhere ([`super::frames`]).

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pcap::{Active, Capture};

/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(1);
/// Most frames that are sent at once after a pause of the machine.
const BURST_MAX: u64 = 2_000;

/// The network that the flood comes from: addresses of its last byte.
pub const FLOOD_NETWORK: [u8; 3] = [198, 51, 100];
/// The network of everybody else.
pub const USER_NETWORK: [u8; 3] = [192, 0, 2];
/// What all of them connect to.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// Of so many frames of the background one begins a connection.
const CONNECTION_FRAMES: u64 = 20;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// What is sent, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Without the flood, with it, and again without it.
    pub phases: [Duration; 3],
    /// Frames per second all the time.
    pub background: f64,
    /// SYNs per second in the flood.
    pub flood: f64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames of the background.
    pub background: u64,
    /// SYNs of the flood.
    pub flood: u64,
}

/// A frame of 60 bytes.
fn frame(source: Ipv4Addr, port: u16, flags: u8, number: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame[26..30].copy_from_slice(&source.octets());
    frame[30..34].copy_from_slice(&SERVER.octets());
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&443_u16.to_be_bytes());
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame[46..50].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The checksum of a header whose own field is 0 (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The frames of the background, by number.
fn background(number: u64) -> [u8; 60] {
    let [a, b, c] = USER_NETWORK;
    let source = Ipv4Addr::new(a, b, c, 1 + (number / CONNECTION_FRAMES % 200) as u8);
    let flags = if number.is_multiple_of(CONNECTION_FRAMES) { SYN } else { ACK };
    frame(source, 20_000 + (number / CONNECTION_FRAMES % 10_000) as u16, flags, number as u32)
}

/// The frames of the flood, by number: all addresses of the network, no port twice in a row.
fn flood(number: u64) -> [u8; 60] {
    let [a, b, c] = FLOOD_NETWORK;
    // Knuth's multiplicative hash: spread, and the same each time.
    let chance = (number as u32).wrapping_mul(2_654_435_761);
    frame(Ipv4Addr::new(a, b, c, (chance >> 24) as u8), (chance >> 8) as u16 | 1, SYN, chance)
}

/// A stream of frames at a rate.
struct Stream {
    per_second: f64,
    since: Instant,
    sent: u64,
}

impl Stream {
    fn new(per_second: f64) -> Self {
        Self { per_second, since: Instant::now(), sent: 0 }
    }

    /// Sends what is due.
    fn send(
        &mut self,
        link: &mut Capture<Active>,
        make: impl Fn(u64) -> [u8; 60],
    ) -> Result<(), pcap::Error> {
        let due = (self.since.elapsed().as_secs_f64() * self.per_second) as u64;
        for _ in 0..due.saturating_sub(self.sent).min(BURST_MAX) {
            link.sendpacket(make(self.sent))?;
            self.sent += 1;
        }
        Ok(())
    }
}

/// Sends into an interface; says when the flood begins and ends, in ns since the epoch.
///
/// # Errors
/// No such interface, or what libpcap says.
pub fn run(
    interface: &str,
    course: &Course,
    mut say: impl FnMut(&str, u128) -> io::Result<()>,
) -> io::Result<Sent> {
    let failed = |error: pcap::Error| io::Error::other(format!("{interface}: {error}"));
    let mut link = Capture::from_device(interface).and_then(Capture::open).map_err(failed)?;
    let now_ns = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
    let mut quiet = Stream::new(course.background);
    let mut sent = Sent::default();
    for (phase, lasts) in course.phases.iter().enumerate() {
        let is_flood = phase == 1;
        if is_flood {
            say("first", now_ns())?;
        }
        let mut loud = Stream::new(course.flood);
        let begin = Instant::now();
        while begin.elapsed() < *lasts {
            quiet.send(&mut link, background).map_err(failed)?;
            if is_flood {
                loud.send(&mut link, flood).map_err(failed)?;
            }
            std::thread::sleep(TICK);
        }
        sent.flood += loud.sent;
        if is_flood {
            say("last", now_ns())?;
        }
    }
    sent.background = quiet.sent;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_what_they_should_be() {
        let packet = flood(7);
        assert_eq!(checksum(&packet[14..34]), 0, "a header with its checksum sums to nothing");
        assert_eq!(packet[26..29], FLOOD_NETWORK);
        assert_eq!(packet[47], SYN);
        let kinds: Vec<u8> = (0..40).map(|number| background(number)[47]).collect();
        assert_eq!(kinds.iter().filter(|flags| **flags == SYN).count(), 2);
        assert!((0..1000).all(|number| background(number)[26..29] == USER_NETWORK));
        let mut last: Vec<u8> = (0..2000).map(|number| flood(number)[29]).collect();
        last.sort_unstable();
        last.dedup();
        assert!(last.len() > 250, "the flood comes from {} addresses", last.len());
    }
}
