//! Guesses where a record begins, from the bytes alone. Every guess is proven before it counts:
//! the records before it must end exactly there.

use memchr::memmem::Finder;
use wt_wire::PcapLayout;

const HEADER_LEN: usize = PcapLayout::RECORD_HEADER_LEN;
/// Headers that must make sense one after another where nothing else is known.
const LINKS: usize = 6;
/// How far times of neighbours may lie apart in such a chain, seconds.
const APART_MAX_S: u32 = 3600;

/// Finds record starts close in time to a known record.
pub(crate) struct Resync<'a> {
    layout: PcapLayout,
    bytes: &'a [u8],
    /// The upper half of the seconds, which changes every 18 hours.
    finder: Finder<'a>,
    /// Where that half stands in a header.
    place: usize,
}

impl<'a> Resync<'a> {
    /// Records near the one that begins at `known`; nothing when its header is not all there.
    pub(crate) fn new(layout: PcapLayout, bytes: &'a [u8], known: usize) -> Option<Self> {
        let place = match layout.order {
            wt_wire::ByteOrder::Little => 2,
            wt_wire::ByteOrder::Big => 0,
        };
        let half = bytes.get(known..)?.first_chunk::<HEADER_LEN>()?.get(place..place + 2)?;
        Some(Self { layout, bytes, finder: Finder::new(half), place })
    }

    /// The first place in a range where a record may begin, going by its header alone.
    pub(crate) fn candidate(&self, from: usize, to: usize) -> Option<usize> {
        let mut from = from;
        while from < to {
            let haystack = self.bytes.get(from + self.place..)?;
            let haystack = &haystack[..haystack.len().min(to - from + 1)];
            let at = from + self.finder.find(haystack)?;
            if header(self.layout, self.bytes, at).is_some() {
                return (at < to).then_some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Where the record of a candidate would end, if its header is there.
    pub(crate) fn end(&self, candidate: usize) -> Option<usize> {
        header(self.layout, self.bytes, candidate).map(|(_, end)| end)
    }

    /// Whether a candidate is followed by another.
    pub(crate) fn is_followed(&self, candidate: usize) -> bool {
        let next = self.end(candidate).and_then(|end| {
            let half = self.bytes.get(end + self.place..)?.get(..2)?;
            (half == self.finder.needle()).then(|| header(self.layout, self.bytes, end)).flatten()
        });
        next.is_some()
    }
}

/// The first place from `from` on where a chain of records may begin.
pub(crate) fn chain(layout: PcapLayout, bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(HEADER_LEN)).find(|&at| {
        let (mut at, mut last) = (at, None);
        for _ in 0..LINKS {
            let Some((seconds, end)) = header(layout, bytes, at) else { return false };
            if last.is_some_and(|last| seconds.abs_diff(last) > APART_MAX_S) {
                return false;
            }
            (at, last) = (end, Some(seconds));
        }
        true
    })
}

/// Seconds and end of the record at a place, if its header makes sense. Headers that do not may be
/// good records all the same: they are walked over, only not guessed.
#[inline]
fn header(layout: PcapLayout, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let header = bytes.get(at..)?.first_chunk::<HEADER_LEN>()?;
    let word = |place| layout.order.u32(header, place);
    let (caplen, len) = (word(8), word(12));
    let is_plausible = u64::from(word(4)) * layout.fraction_ns < 1_000_000_000
        && caplen <= layout.caplen_max
        && (caplen..=layout.caplen_max).contains(&len)
        && caplen > 0;
    is_plausible.then(|| (word(0), at + HEADER_LEN + caplen as usize))
}
