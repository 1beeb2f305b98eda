//! Guesses where a record begins, from the bytes alone. Every guess is proven before it counts:
//! the records before it must end exactly there.

use memchr::memmem::Finder;
use wt_wire::{ByteOrder, Framing, RecordLayout};

const PCAP_HEADER_LEN: usize = RecordLayout::PCAP_HEADER_LEN;
const BLOCK_HEADER_LEN: usize = RecordLayout::ENHANCED_PACKET_HEADER_LEN;
/// Bytes that such a block has beside those captured: at least, and at most where it is guessed, with options.
const BLOCK_EXTRA_LEN: std::ops::RangeInclusive<u32> = 32..=512;
/// Headers that must make sense one after another where nothing else is known.
const LINKS: usize = 6;
/// How far times of neighbours may lie apart in such a chain, seconds.
const APART_MAX_S: u32 = 3600;

/// Finds record starts close in time to a known record.
#[derive(Debug)]
pub(crate) struct Resync {
    layout: RecordLayout,
    /// Two bytes of the stamp that seldom change.
    finder: Finder<'static>,
    /// Where they stand in a header.
    place: usize,
}

/// Where two bytes of a stamp stand in a header that are the same for hours, or days.
fn steady_place(layout: RecordLayout) -> usize {
    match (layout.framing, layout.order, layout.tick_ns) {
        // The upper half of the seconds: 18 hours.
        (Framing::Pcap, ByteOrder::Little, _) => 2,
        (Framing::Pcap, ByteOrder::Big, _) => 0,
        // 2^48 ns: three days.
        (Framing::EnhancedPacket, ByteOrder::Little, 1) => 14,
        (Framing::EnhancedPacket, ByteOrder::Big, 1) => 12,
        // 2^40 us: twelve days. The two bytes above are those of a block's type at present.
        (Framing::EnhancedPacket, _, _) => 13,
    }
}

impl Resync {
    /// Records near the one that begins at the start of `bytes`; nothing when its header is not all there, or none.
    pub(crate) fn new(layout: RecordLayout, bytes: &[u8]) -> Option<Self> {
        let place = steady_place(layout);
        let header = bytes.get(..layout.framing.header_len())?;
        let is_record = match layout.framing {
            Framing::Pcap => true,
            Framing::EnhancedPacket => layout.order.u32(header, 0) == RecordLayout::ENHANCED_PACKET,
        };
        let half = header.get(place..place + 2).filter(|_| is_record)?;
        Some(Self { layout, finder: Finder::new(half).into_owned(), place })
    }

    /// Whether the record that begins at the start of `bytes` is near the one that this was made for.
    pub(crate) fn is_near(&self, layout: RecordLayout, bytes: &[u8]) -> bool {
        layout == self.layout && self.half(bytes, 0) == Some(self.finder.needle())
    }

    /// The steady bytes of a record's stamp.
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
        next.is_some_and(|next| {
            ends_at(self.layout, bytes, candidate, next)
                && header(self.layout, bytes, next).is_some()
        })
    }
}

/// The first place from `from` on where a chain of records may begin.
pub(crate) fn chain(layout: RecordLayout, bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len().saturating_sub(layout.framing.header_len())).find(|&at| {
        let (mut at, mut last) = (at, None);
        for _ in 0..LINKS {
            let Some((seconds, end)) = header(layout, bytes, at) else { return false };
            if last.is_some_and(|last| seconds.abs_diff(last) > APART_MAX_S) {
                return false;
            }
            if !ends_at(layout, bytes, at, end) {
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
fn header(layout: RecordLayout, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    match layout.framing {
        Framing::Pcap => pcap_header(layout, bytes, at),
        Framing::EnhancedPacket => block_header(layout, bytes, at),
    }
}

/// Whether these may be the lengths of a record.
fn are_lengths(layout: RecordLayout, caplen: u32, len: u32) -> bool {
    caplen > 0 && caplen <= layout.caplen_max && (caplen..=layout.caplen_max).contains(&len)
}

#[inline]
fn pcap_header(layout: RecordLayout, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let header = bytes.get(at..)?.first_chunk::<PCAP_HEADER_LEN>()?;
    let word = |place| layout.order.u32(header, place);
    let (caplen, len) = (word(8), word(12));
    let is_plausible =
        u64::from(word(4)) * layout.tick_ns < 1_000_000_000 && are_lengths(layout, caplen, len);
    is_plausible.then(|| (word(0), at + PCAP_HEADER_LEN + caplen as usize))
}

#[inline]
fn block_header(layout: RecordLayout, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let header = bytes.get(at..)?.first_chunk::<BLOCK_HEADER_LEN>()?;
    let word = |place| layout.order.u32(header, place);
    let (block_len, caplen, len) = (word(4), word(20), word(24));
    let is_plausible = word(0) == RecordLayout::ENHANCED_PACKET
        && word(8) == 0
        && block_len.is_multiple_of(4)
        && block_len.checked_sub(caplen).is_some_and(|extra| BLOCK_EXTRA_LEN.contains(&extra))
        && are_lengths(layout, caplen, len);
    let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
    let seconds = ticks / (1_000_000_000 / layout.tick_ns);
    is_plausible.then(|| (seconds as u32, at + block_len as usize))
}

/// Whether what stands at the end of a record says that it begins at a place.
fn ends_at(layout: RecordLayout, bytes: &[u8], at: usize, end: usize) -> bool {
    match layout.framing {
        Framing::Pcap => true,
        Framing::EnhancedPacket => bytes
            .get(end - 4..end)
            .is_some_and(|tail| layout.order.u32(tail, 0) as usize == end - at),
    }
}
