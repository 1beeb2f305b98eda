//! The least that a program with libpcap can do: it takes packets and forgets them.

use std::io::{self, Write};
use std::time::Duration;

use pcap::Capture;

use super::sys;

/// Memory in which the kernel keeps packets, bytes: as much as `wiretable` asks for.
pub const RING_BYTES: i32 = 16 << 20;

/// Captures from an interface until Ctrl-C; prints packets taken, and those that the kernel dropped.
///
/// # Errors
/// What libpcap says.
pub fn run(interface: &str) -> Result<(), pcap::Error> {
    sys::note_interrupts().map_err(|error| pcap::Error::PcapError(error.to_string()))?;
    let capture = Capture::from_device(interface)?;
    let capture = capture.promisc(true).buffer_size(RING_BYTES).timeout(10);
    let mut capture = capture.open()?;
    let stop = capture.breakloop_handle();
    std::thread::spawn(move || {
        while !sys::is_interrupted() {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.breakloop();
    });
    let mut packets = 0u64;
    let ended = capture.for_each(None, |_| packets += 1);
    if !sys::is_interrupted() {
        ended?;
    }
    // What is still in the ring.
    let mut capture = capture.setnonblock()?;
    while capture.dispatch(None, |_| packets += 1).is_ok_and(|read| read > 0) {}
    let stats = capture.stats()?;
    let text = format!("packets {packets} dropped {}\n", stats.dropped);
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| pcap::Error::PcapError(error.to_string()))
}

/// Packets taken and dropped, of what it prints.
pub fn read(output: &str) -> Option<(u64, u64)> {
    let mut words = output.split_whitespace();
    match (words.next()?, words.next()?, words.next()?, words.next()?) {
        ("packets", packets, "dropped", dropped) => {
            Some((packets.parse().ok()?, dropped.parse().ok()?))
        }
        _ => None,
    }
}
