//! What is sent: packets of a capture, or of flows that are made.

use std::io;
use std::path::Path;

use wt_wire::CaptureReader;

/// Shortest and longest frame that a pair of usual MTU carries.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 14..=1514;

/// Most packets of a trace that are held for sending.
pub const PACKETS_MAX: usize = 200_000;

/// Reads the packets of a capture that the link carries, at most [`PACKETS_MAX`]. A packet that was cut when it was captured is sent as short as it is there.
///
/// # Errors
/// The capture cannot be read, or has none.
pub fn of_capture(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let named = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot read {}: {error}", path.display()))
    };
    let mut reader = CaptureReader::open(path).map_err(|error| named(&error))?;
    let mut packets = Vec::new();
    while packets.len() < PACKETS_MAX {
        match reader.next().map_err(|error| named(&error))? {
            Some(record) if FRAME_BYTES.contains(&record.data.len()) => {
                packets.push(record.data.to_vec());
            }
            Some(_) => {}
            None => break,
        }
    }
    if packets.is_empty() {
        return Err(named(&"it has no packet of 14 to 1514 bytes"));
    }
    Ok(packets)
}

/// A TCP segment to port 80 in 64 bytes.
pub fn smallest() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend([0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
    packet.extend([0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.resize(64, 0);
    packet
}
