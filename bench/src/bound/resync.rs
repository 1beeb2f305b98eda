//! Finding a record boundary in the middle of a file.
//!
//! A place may be one when a chain of plausible headers begins there. A packet can hold a capture, so this stays a guess; who
//! begins at one checks that the chain before it arrives there.

use super::capture::{CAPLEN_MAX, FileHeader, RECORD_HEADER_LEN};

/// Headers in a row that make a place a boundary.
const CHAIN_LEN: usize = 16;
/// Longest time between neighbours, seconds: within a chain of headers it is small, among other bytes it hardly ever is.
const GAP_S_MAX: u32 = 86_400;

/// The first place from here on where a chain of headers begins; the end of the file counts as its last link.
pub fn boundary(bytes: &[u8], from: usize, header: &FileHeader) -> Option<usize> {
    // A boundary is at most one record away, unless the file is damaged.
    let last = bytes.len().min(from + CAPLEN_MAX + RECORD_HEADER_LEN);
    (from..=last).find(|&at| is_chain(bytes, at, header))
}

fn is_chain(bytes: &[u8], mut at: usize, header: &FileHeader) -> bool {
    let mut before: Option<u32> = None;
    for _ in 0..CHAIN_LEN {
        if at == bytes.len() {
            return true;
        }
        let Some(head) = bytes.get(at..).and_then(|b| b.first_chunk::<RECORD_HEADER_LEN>()) else {
            return false;
        };
        let word = |n: usize| u32::from_le_bytes([head[n], head[n + 1], head[n + 2], head[n + 3]]);
        let (seconds, fraction, caplen, len) = (word(0), word(4), word(8), word(12));
        let units = if header.nanoseconds { 1_000_000_000 } else { 1_000_000 };
        let plausible = fraction < units
            && caplen <= header.snap_len
            && caplen as usize <= CAPLEN_MAX
            && caplen <= len
            && len as usize <= CAPLEN_MAX
            && before.is_none_or(|b| b.abs_diff(seconds) <= GAP_S_MAX);
        if !plausible {
            return false;
        }
        before = Some(seconds);
        at += RECORD_HEADER_LEN + caplen as usize;
    }
    true
}
