//! The frames of a segment one after the other, over whatever is damaged.

use std::io::{self, Read};
use std::ops::Range;

use memchr::memmem;

use super::frame::{FRAME_LEN, Frame, Kind, PREFIX};

/// How much is asked for at a time.
const READ_LEN: usize = 1 << 20;

/// A section header is shorter.
const SECTION_LEN_MAX: usize = 1 << 16;

/// Bytes of a segment that were left out, as they are not what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Where they begin in the segment.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Packets that they held, as far as the sequence numbers around them tell.
    pub packets: u64,
}

/// A frame from which a segment is read on.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    /// Where it stands.
    pub(crate) offset: u64,
    /// Number of its first packet.
    pub(crate) sequence: u64,
    /// Interfaces described before, and the blocks that describe them.
    pub(crate) interfaces: u32,
    pub(crate) described: Vec<u8>,
}

/// Reads frames.
pub(crate) struct Scan<R> {
    source: R,
    store: u64,
    buffer: Vec<u8>,
    start: usize,
    /// Where the blocks of the last frame lie.
    body: Range<usize>,
    ended: bool,
    /// Offset of `buffer[start]` in the segment.
    offset: u64,
    /// Sequence number of the next packet.
    pub(crate) next: u64,
    /// Interfaces described so far.
    interfaces: u32,
    /// Bytes left out since the last frame.
    skipping: Option<Skipped>,
    /// The segment says that it was closed.
    pub(crate) is_closed: bool,
    begun: bool,
    /// It says that it is of another store.
    says_other: bool,
    has_frame: bool,
}

/// What stands before the store's number in the comment of a segment.
const STORE_WORD: &[u8] = b"wiretable store=";

fn quad(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes.get(at + i).copied().unwrap_or(0)))
}

/// Bytes of the section header that begins here, if one does.
pub(super) fn section_len(head: &[u8]) -> Option<usize> {
    let (kind, len) = (quad(head, 0), quad(head, 4) as usize);
    let is_header = head.len() >= 12 && kind == 0x0a0d_0d0a && quad(head, 8) == 0x1a2b_3c4d;
    let is_len = (28..=SECTION_LEN_MAX).contains(&len) && len.is_multiple_of(4);
    (is_header && is_len).then_some(len)
}

/// The store that a segment says it is of, in the bytes of its section header.
fn store_said(section: &[u8]) -> Option<u64> {
    let at = memmem::find(section, STORE_WORD)? + STORE_WORD.len();
    let digits = std::str::from_utf8(section.get(at..at + 16)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

impl<R: Read> Scan<R> {
    /// Scans a segment of a store whose first packet has this number.
    pub(crate) fn new(source: R, store: u64, first: u64) -> Self {
        Self {
            source,
            store,
            buffer: Vec::new(),
            start: 0,
            body: 0..0,
            ended: false,
            offset: 0,
            next: first,
            interfaces: 0,
            skipping: None,
            is_closed: false,
            begun: false,
            says_other: false,
            has_frame: false,
        }
    }

    /// Scans the frames of a segment from one on.
    pub(crate) fn from(source: R, store: u64, at: &Begin) -> Self {
        let Begin { offset, sequence, interfaces, .. } = *at;
        let new = Self::new(source, store, sequence);
        Self { offset, interfaces, begun: true, ..new }
    }

    /// Whether nothing in it is of this store, and it says itself that it is of another one.
    pub(crate) fn is_foreign(&self) -> bool {
        self.says_other && !self.has_frame
    }

    /// The next frame and the blocks that belong to it; nothing at the end. `skipped` is called with what lies before it and is damaged.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn next(
        &mut self,
        skipped: &mut dyn FnMut(Skipped),
    ) -> io::Result<Option<(Frame, &[u8])>> {
        if !self.begun {
            // Of one that is being made there may be nothing yet.
            if self.fill(12)? == 0 {
                return Ok(None);
            }
            self.begun = true;
            self.section()?;
        }
        loop {
            if self.is_closed || self.fill(FRAME_LEN)? == 0 {
                return Ok(None);
            }
            let Some(frame) = self.expected() else {
                self.seek()?;
                continue;
            };
            let body_len = frame.body_len();
            // With the next frame's own block, so that hardly anything has to be moved.
            if self.fill_with(FRAME_LEN + body_len, FRAME_LEN)? < FRAME_LEN + body_len {
                let rest = self.buffer.len() - self.start;
                self.skip(rest);
                continue;
            }
            let at = self.start + FRAME_LEN;
            let described = frame.kind == Kind::End || frame.interfaces == self.interfaces;
            if !described || crc32fast::hash(&self.buffer[at..at + body_len]) != frame.crc {
                self.skip(FRAME_LEN + body_len);
                continue;
            }
            if let Some(mut found) = self.skipping.take() {
                // Of the end this is the number of the segment's first packet.
                let next = if frame.kind == Kind::End {
                    frame.sequence + frame.packets
                } else {
                    frame.sequence
                };
                found.packets = next.saturating_sub(self.next);
                skipped(found);
            }
            // Behind what was left out, whatever stands there says which packet is next.
            match frame.kind {
                Kind::Packets => self.next = frame.sequence + frame.packets,
                Kind::Interfaces => {
                    self.next = frame.sequence;
                    self.interfaces = frame.interfaces + frame.packets as u32;
                }
                Kind::Statistics => self.next = frame.sequence,
                Kind::End => self.is_closed = true,
            }
            self.has_frame = true;
            self.consume(FRAME_LEN + body_len);
            self.body = at..at + body_len;
            return Ok(Some((frame, self.body())));
        }
    }

    /// The blocks of the frame that [`Self::next`] gave last.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// What was left out behind the last frame: the tail of a segment that was not closed, or damage of one that was.
    /// `next` is the number of the packet that follows, where something does.
    pub(crate) fn tail(&mut self, next: Option<u64>) -> Option<Skipped> {
        let skipped = self.skipping.take()?;
        let packets = next.map_or(skipped.packets, |next| next.saturating_sub(self.next));
        Some(Skipped { packets, ..skipped })
    }

    /// Reads on behind what was the end.
    pub(crate) fn go_on(&mut self) {
        self.ended = false;
    }

    /// Where the last frame ended.
    pub(crate) fn offset(&self) -> u64 {
        self.skipping.as_ref().map_or(self.offset, |skipping| skipping.offset)
    }

    /// The frame that begins here, if it can be the next one. One of an older copy of the store, within a packet, cannot.
    fn expected(&self) -> Option<Frame> {
        let frame = Frame::decode(&self.buffer[self.start..], self.store)?;
        let is_end = frame.kind == Kind::End;
        let follows = match self.skipping {
            None if is_end => frame.sequence + frame.packets == self.next,
            None => frame.sequence == self.next,
            Some(_) if is_end => frame.sequence + frame.packets >= self.next,
            Some(_) => frame.sequence >= self.next,
        };
        (follows && (!is_end || frame.bytes == self.offset)).then_some(frame)
    }

    /// Steps over the section header.
    fn section(&mut self) -> io::Result<()> {
        self.fill(12)?;
        if let Some(len) = section_len(&self.buffer[self.start..])
            && self.fill(len)? >= len
            && quad(&self.buffer[self.start..], len - 4) as usize == len
        {
            let said = store_said(&self.buffer[self.start..self.start + len]);
            self.says_other = said.is_some_and(|said| said != self.store);
            self.consume(len);
        }
        Ok(())
    }

    /// Leaves out what lies before the next place that may be a frame.
    fn seek(&mut self) -> io::Result<()> {
        let window = &self.buffer[self.start..];
        let found = window.get(1..).and_then(|rest| memmem::find(rest, &PREFIX));
        let step = match found {
            Some(at) => at + 1,
            // The beginning of one may be at hand.
            None if self.ended => window.len(),
            None => window.len().saturating_sub(PREFIX.len() - 1).max(1),
        };
        self.skip(step);
        self.fill(FRAME_LEN)?;
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        let offset = self.offset;
        let skipping = self.skipping.get_or_insert(Skipped { offset, bytes: 0, packets: 0 });
        skipping.bytes += bytes as u64;
        self.consume(bytes);
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Has `need` bytes at hand, if there are so many; says how many there are.
    fn fill(&mut self, need: usize) -> io::Result<usize> {
        self.fill_with(need, READ_LEN.saturating_sub(need))
    }

    /// As [`Self::fill`]; where something is read, `more` behind it too.
    fn fill_with(&mut self, need: usize, more: usize) -> io::Result<usize> {
        if self.buffer.len() - self.start < need && !self.ended {
            self.buffer.drain(..self.start);
            (self.start, self.body) = (0, 0..0);
            while self.buffer.len() < need && !self.ended {
                let wanted = (need + more - self.buffer.len()) as u64;
                let count = self.source.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
                self.ended = (count as u64) < wanted;
            }
        }
        Ok(self.buffer.len() - self.start)
    }
}
