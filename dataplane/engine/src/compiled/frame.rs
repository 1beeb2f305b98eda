//! The frame: the words that compiled code and the host share.

use super::sys::Words;

/// Address of zeros that stand for an absent header.
pub(super) const ZEROS: usize = 0;
/// Address of the [`super::host::Host`].
pub(super) const HOST: usize = 1;
/// Words of the frame.
pub(super) const WORDS: usize = 2;
/// Interface index of the batch.
pub(super) const IFINDEX: usize = 3;
/// Address and length of the batch's interface name.
pub(super) const INTERFACE: usize = 4;
/// Records whose path ended above a malformed header.
pub(super) const MALFORMED: usize = 6;
/// Records whose path ended at a depth limit.
pub(super) const TOO_DEEP: usize = 7;
/// Not 0 when a query has rejected the packet at hand for a lack.
pub(super) const LACKED: usize = 8;
/// Address behind the bytes of the batch.
pub(super) const DATA_END: usize = 9;
/// Not 0 when a record of the batch lies outside of these.
pub(super) const OUTSIDE: usize = 10;
/// Words of a cache line.
const LINE_WORDS: usize = 8;
/// First word free for the program.
const FREE: usize = 11;

/// Bytes of zeros behind [`ZEROS`]; loads of an absent header at a constant offset stay inside.
pub(super) const ZERO_BYTES: usize = 4096;

/// Hands out words of a frame.
#[derive(Clone, Copy)]
pub(super) struct FrameLayout {
    words: usize,
}

impl FrameLayout {
    pub(super) fn new() -> Self {
        Self { words: FREE }
    }

    /// The first of `count` words that nothing else uses.
    pub(super) fn take(&mut self, count: usize) -> usize {
        let first = self.words;
        self.words += count;
        first
    }

    /// The same, from a cache line on.
    pub(super) fn take_lines(&mut self, count: usize) -> usize {
        self.words = self.words.next_multiple_of(LINE_WORDS);
        self.take(count)
    }

    /// Words handed out.
    pub(super) fn words(&self) -> usize {
        self.words
    }
}

/// The words.
pub(super) struct Frame {
    pub(super) words: Words,
    /// What [`ZEROS`] points at.
    _zeros: Vec<u64>,
}

impl Frame {
    /// A frame without words.
    pub(super) fn new() -> Self {
        let zeros = vec![0u64; ZERO_BYTES / 8];
        let mut words = Words::at_line();
        words.append(FREE);
        words[ZEROS] = zeros.as_ptr() as u64;
        Self { words, _zeros: zeros }
    }

    /// Makes room for a layout.
    pub(super) fn fit(&mut self, layout: &FrameLayout) {
        self.words.append(layout.words() - self.words.len());
        self.words[WORDS] = layout.words() as u64;
    }

    /// The value of a counter, which is 0 afterwards.
    pub(super) fn take(&mut self, at: usize) -> u64 {
        std::mem::take(&mut self.words[at])
    }
}
