//! The buffered byte stream under the parsers: contiguous looks ahead, bounded growth.

use std::io::{self, Read};

use super::error::DamageKind;

/// Buffer of a stream before any record asks for more, bytes.
pub(crate) const BUFFER_LEN: usize = 256 * 1024;

/// Bytes of a capture after decompression, with a sliding window of those not yet consumed.
pub(crate) struct Stream {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Stream offset of `buffer[start]`.
    offset: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl Stream {
    /// A stream whose buffer has `buffer_len` bytes at first.
    pub(crate) fn new(source: Box<dyn Read + Send>, buffer_len: usize) -> Self {
        let buffer = vec![0; buffer_len];
        Self { source, buffer, start: 0, end: 0, offset: 0, ended: false, failure: None }
    }

    /// A stream that goes on at `offset` of what another one began.
    pub(crate) fn continued(source: Box<dyn Read + Send>, buffer_len: usize, offset: u64) -> Self {
        Self { offset, ..Self::new(source, buffer_len) }
    }

    /// Bytes consumed so far: the stream offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Tries to have `need` bytes in the window and returns those that are there: fewer only when
    /// the stream ends before.
    #[inline]
    pub(crate) fn peek(&mut self, need: usize) -> &[u8] {
        if self.end - self.start < need {
            self.fill(need);
        }
        &self.buffer[self.start..self.end]
    }

    /// Moves past `count` bytes of the window, and says where they lie for [`Self::slice`].
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) -> usize {
        debug_assert!(count <= self.end - self.start);
        let at = self.start;
        self.start += count;
        self.offset += count as u64;
        at
    }

    /// Bytes consumed last; they stay in place until the next call that reads.
    #[inline]
    pub(crate) fn slice(&self, at: usize, len: usize) -> &[u8] {
        &self.buffer[at..at + len]
    }

    /// The bytes at hand that are not yet consumed, without asking for more.
    #[inline]
    pub(crate) fn window(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where [`Self::window`] lies in [`Self::buffer`].
    #[inline]
    pub(crate) fn window_at(&self) -> usize {
        self.start
    }

    /// All bytes at hand, consumed ones too: what [`Self::slice`] counts in.
    #[inline]
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer[..self.end]
    }

    /// Stream offset of the first byte of [`Self::buffer`].
    #[inline]
    pub(crate) fn buffer_offset(&self) -> u64 {
        self.offset - self.start as u64
    }

    /// Takes back the last `count` bytes consumed.
    #[inline]
    pub(crate) fn put_back(&mut self, count: usize) {
        self.start -= count;
        self.offset -= count as u64;
    }

    /// Discards up to `count` bytes, in the window or not, and returns how many there were.
    pub(crate) fn skip(&mut self, count: u64) -> u64 {
        let mut left = count;
        loop {
            let window = self.end - self.start;
            let step = usize::try_from(left).map_or(window, |left| left.min(window));
            self.consume(step);
            left -= step as u64;
            if left == 0 || self.peek(1).is_empty() {
                return count - left;
            }
        }
    }

    /// The fault of the source that ended the stream, if it was not a plain end.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    #[cold]
    fn fill(&mut self, need: usize) {
        // Fewer than `need` bytes move, and every read gets the whole rest of the buffer.
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end - self.start < need && !self.ended {
            if self.end == self.buffer.len() {
                // Grows only when full of real bytes: a lying length costs at most twice what the
                // file has.
                let grown = (self.buffer.len() * 2).clamp(4096, need.max(4096));
                self.buffer.reserve_exact(grown - self.buffer.len());
                self.buffer.resize(grown, 0);
            }
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
    }
}

/// A parser's finding: where the stream stops making sense, and how.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) offset: u64,
    pub(crate) kind: DamageKind,
}

impl Fault {
    pub(crate) fn new(offset: u64, kind: DamageKind) -> Box<Self> {
        Box::new(Self { offset, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time.
    struct Drip(Vec<u8>);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            out[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn window_slides_grows_and_ends() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut stream = Stream::new(Box::new(Drip(bytes.clone())), 8);
        assert_eq!(stream.peek(3), &bytes[..3]);
        let at = stream.consume(2);
        assert_eq!(stream.slice(at, 2), &bytes[..2]);
        assert_eq!(stream.peek(20), &bytes[2..22]);
        assert_eq!(stream.skip(30), 30);
        assert_eq!(stream.offset(), 32);
        assert_eq!(stream.peek(1)[0], 32);
        assert_eq!(stream.peek(1000), &bytes[32..]);
        assert_eq!(stream.skip(u64::MAX), 68);
        assert!(stream.peek(1).is_empty());
        assert!(stream.failure().is_none());
    }

    #[test]
    fn a_lying_length_costs_what_is_there() {
        let mut stream = Stream::new(Box::new(io::Cursor::new(vec![7; 100_000])), 4096);
        assert_eq!(stream.peek(1 << 30).len(), 100_000);
        assert!(stream.buffer.len() <= 1 << 18);
    }

    #[test]
    fn a_fault_of_the_source_is_kept() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut stream = Stream::new(Box::new(io::Cursor::new([1, 2]).chain(Broken)), 16);
        assert_eq!(stream.peek(3), [1, 2]);
        assert_eq!(stream.failure().map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
    }
}
