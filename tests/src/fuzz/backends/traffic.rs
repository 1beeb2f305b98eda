//! Packets of every link type: carried ones, damaged ones, cut ones, and bytes that nobody sent.

use std::sync::OnceLock;

use wt_wire::{CaptureReader, Direction};

use super::Sample;
use super::nodes::number;
use crate::corpus;
use crate::rng::{Rng, mutate};

/// Packets taken of each carried capture, and bytes of each.
const PACKETS_MAX: usize = 60;
const BYTES_MAX: usize = 1600;

/// Link types that begin a path, and one that none begins.
const LINK_TYPES: [u16; 15] = [1, 1, 1, 101, 12, 0, 108, 113, 276, 9, 50, 51, 127, 105, 147];

/// Packets of the carried captures.
///
/// # Panics
/// When there are fewer than a comparison may rely on.
pub fn carried() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let mut samples = Vec::new();
        for path in corpus::carried() {
            let Ok(mut reader) = CaptureReader::open(&path) else { continue };
            for _ in 0..PACKETS_MAX {
                let Ok(Some(record)) = reader.next() else { break };
                samples.push(Sample {
                    link_type: record.link_type.0,
                    timestamp_ns: record.timestamp_ns,
                    len: record.len,
                    direction: record.direction,
                    data: record.data[..record.data.len().min(BYTES_MAX)].to_vec(),
                });
            }
        }
        assert!(samples.len() > 500, "{} packets", samples.len());
        samples
    })
}

/// Packets in the order in which a capture would have them: mostly of one or two link types, time now and then going back.
pub fn packets(rng: &mut Rng, count: usize) -> Vec<Sample> {
    let carried = carried();
    let first = rng.pick(carried).link_type;
    let of_first: Vec<&Sample> = carried.iter().filter(|s| s.link_type == first).collect();
    let is_mixed = rng.one_in(6);
    let mut now = 1_700_000_000_000_000_000 + number(rng) % 4_000_000_000_000;
    let mut samples = Vec::new();
    while samples.len() < count {
        let mut sample = if is_mixed && rng.one_in(3) {
            rng.pick(carried).clone()
        } else {
            (*rng.pick(&of_first)).clone()
        };
        match rng.below(8) {
            0..=2 => {}
            3 | 4 => mutate(&mut sample.data, rng),
            5 => {
                let cut = rng.below(sample.data.len().min(120) + 1);
                sample.data.truncate(cut);
            }
            6 => {
                let keep = rng.below(sample.data.len().min(60) + 1);
                sample.data.truncate(keep);
                let more = rng.below(80);
                sample.data.extend(rng.bytes(more));
            }
            _ => {
                let len = rng.below(120);
                sample.data = rng.bytes(len);
                if is_mixed {
                    sample.link_type = *rng.pick(&LINK_TYPES);
                }
            }
        }
        if sample.data.len() > BYTES_MAX {
            sample.data.truncate(BYTES_MAX);
        }
        now = match rng.below(8) {
            0 => now + 1_000_000_000,
            1 => now - (rng.next_u64() % 3_000_000_000),
            2 if rng.one_in(20) => now + 100_000_000_000,
            _ => now + rng.next_u64() % 400_000_000,
        };
        sample.timestamp_ns = now;
        if rng.one_in(8) {
            sample.len = number(rng) as u32;
        }
        sample.direction =
            *rng.pick(&[Direction::Unknown, Direction::Inbound, Direction::Outbound]);
        samples.push(sample);
    }
    samples
}
