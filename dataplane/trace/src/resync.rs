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
#[derive(Debug)]
pub(crate) struct Resync {
    layout: PcapLayout,
    /// The upper half of the seconds, which changes every 18 hours.
    finder: Finder<'static>,
    /// Where that half stands in a header.
    place: usize,
}

impl Resync {
    /// Records near the one that begins at the start of `bytes`; nothing when its header is not all there.
    pub(crate) fn new(layout: PcapLayout, bytes: &[u8]) -> Option<Self> {
        let place = match layout.order {
            wt_wire::ByteOrder::Little => 2,
            wt_wire::ByteOrder::Big => 0,
        };
        let half = bytes.first_chunk::<HEADER_LEN>()?.get(place..place + 2)?;
        Some(Self { layout, finder: Finder::new(half).into_owned(), place })
    }

    /// Whether the record that begins at the start of `bytes` is near the one that this was made for.
    pub(crate) fn is_near(&self, layout: PcapLayout, bytes: &[u8]) -> bool {
        layout == self.layout && self.half(bytes, 0) == Some(self.finder.needle())
    }

    /// The upper half of the seconds of a record.
    fn half<'a>(&self, bytes: &'a [u8], at: usize) -> Option<&'a [u8]> {
        bytes.get(at + self.place..)?.get(..2)
    }

    /// The first place in a range where a record may begin, going by its header alone.
    pub(crate) fn candidate(&self, bytes: &[u8], from: usize, to: usize) -> Option<usize> {
        let mut from = from;
        while from < to {
            let haystack = bytes.get(from + self.place..)?;
            let haystack = &haystack[..haystack.len().min(to - from + 1)];
            let at = from + self.finder.find(haystack)?;
            if header(self.layout, bytes, at).is_some() {
                return (at < to).then_some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Where the record of a candidate would end, if its header is there.
    pub(crate) fn end(&self, bytes: &[u8], candidate: usize) -> Option<usize> {
        header(self.layout, bytes, candidate).map(|(_, end)| end)
    }

    /// Whether a candidate is followed by another.
    pub(crate) fn is_followed(&self, bytes: &[u8], candidate: usize) -> bool {
        let next = self
            .end(bytes, candidate)
            .filter(|end| self.half(bytes, *end) == Some(self.finder.needle()));
        next.is_some_and(|next| header(self.layout, bytes, next).is_some())
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
