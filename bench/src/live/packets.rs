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

/// Those of `bytes` bytes, or of a few less, again and again, as many as there were packets: a trace of frames of one size with the flows of another.
#[must_use]
pub fn of_size(packets: &[Vec<u8>], bytes: usize) -> Vec<Vec<u8>> {
    let is_near =
        |packet: &&Vec<u8>| (bytes.saturating_sub(SIZE_SLACK)..=bytes).contains(&packet.len());
    let padded = |packet: &Vec<u8>| {
        let mut packet = packet.clone();
        packet.resize(bytes, 0);
        packet
    };
    let near: Vec<_> = packets.iter().filter(is_near).map(padded).collect();
    near.iter().cycle().take(if near.is_empty() { 0 } else { packets.len() }).cloned().collect()
}

/// Bytes by which frames of a size may be shorter: a frame's checksum, which captures leave out.
const SIZE_SLACK: usize = 4;

/// A TCP segment to port 80 in 64 bytes.
pub fn smallest() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend([0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1]);
    packet.extend([0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.resize(64, 0);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_size_are_padded_and_repeated() {
        let packets = [vec![1; 60], vec![2; 700], vec![3; 64]];
        let small = of_size(&packets, 64);
        assert_eq!(small.len(), 3);
        assert!(small.iter().all(|packet| packet.len() == 64));
        assert_eq!((small[0][59], small[0][60], small[1][63], &small[2]), (1, 0, 3, &small[0]));
        assert_eq!(of_size(&packets, 701).len(), 3);
        assert!(of_size(&packets, 1500).is_empty());
    }
}
