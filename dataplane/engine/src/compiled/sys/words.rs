//! Memory of words that grows without being copied once it is large.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};
use std::{fmt, slice};

/// Bytes of a cache line, at which the memory begins.
const LINE_BYTES: usize = 64;
/// Smallest memory that begins at a line, bytes: less is a copy of some rows, or of a table's first ones, and an allocator gives that at once only if no
/// line is asked for.
const ALIGNED_BYTES_MIN: usize = 1024;
/// Bytes of a huge page; a mapping takes whole ones.
const HUGE_BYTES: usize = 2 << 20;
/// Smallest memory that is a mapping of its own, bytes: it grows by its page table, and no page of it is copied or cleared twice. Where
/// memory is used all over, finding the addresses of small pages takes longer than the access.
const MAPPED_BYTES_MIN: usize = HUGE_BYTES;
/// Smallest memory that is made accessible at once where all of it is used soon, bytes: page by page it takes several times as long.
const POPULATED_BYTES_MIN: usize = 64 << 10;
/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// Words that begin at a cache line where they are many.
pub(crate) struct Words {
    start: NonNull<u64>,
    len: usize,
    capacity: usize,
}

// SAFETY: the memory is owned, as that of a vector is.
unsafe impl Send for Words {}
// SAFETY: as above; nothing is changed behind a shared borrow.
unsafe impl Sync for Words {}

impl Words {
    /// No words yet, and no memory.
    pub(crate) const fn new() -> Self {
        Self { start: NonNull::dangling(), len: 0, capacity: 0 }
    }

    /// No words yet, and memory that begins at a line however few they will be.
    pub(crate) fn at_line() -> Self {
        Self::with_capacity(ALIGNED_BYTES_MIN / 8)
    }

    /// No words yet, and room for so many.
    pub(crate) fn with_capacity(words: usize) -> Self {
        let mut memory = Self::new();
        memory.reserve(words);
        memory
    }

    /// So many words that are 0, all of which are used soon.
    pub(crate) fn zeros(words: usize) -> Self {
        let mut memory = Self::with_capacity(words);
        memory.populate();
        memory.begin_zeros(words)
    }

    /// The same, where they are used bit by bit: memory is taken then.
    pub(crate) fn zeros_unused(words: usize) -> Self {
        Self::with_capacity(words).begin_zeros(words)
    }

    fn begin_zeros(self, words: usize) -> Self {
        let mut memory = self;
        if memory.bytes() < MAPPED_BYTES_MIN {
            memory.append(words);
        } else {
            // A mapping just made reads as 0.
            memory.len = words;
        }
        memory
    }

    /// Words that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Words that there is room for beside those that are there.
    pub(crate) fn spare(&self) -> usize {
        self.capacity - self.len
    }

    /// Takes so many words for its own, and gives them, which compiled code has written behind those that were there: each of them, as no entry is half written
    /// when code returns.
    pub(crate) fn adopt(&mut self, words: usize) -> &mut [u64] {
        assert!(words <= self.spare(), "compiled code has written beyond the room lent to it");
        let first = self.len;
        self.len += words;
        &mut self[first..]
    }

    /// Makes room for so many more words, at least doubling it where there is not enough.
    pub(crate) fn reserve(&mut self, more: usize) {
        if self.spare() < more {
            self.grow(more);
        }
    }

    /// Adds so many words that are 0, and gives them.
    #[inline]
    pub(crate) fn append(&mut self, words: usize) -> &mut [u64] {
        self.reserve(words);
        // SAFETY: there is room for `words` behind the first `len`, which nothing else borrows; they are written before they are given.
        let added = unsafe {
            let start = self.start.add(self.len);
            start.write_bytes(0, words);
            slice::from_raw_parts_mut(start.as_ptr(), words)
        };
        self.len += words;
        added
    }

    /// Asks for the cache lines in which so many words more will be appended, as far as there is room for them.
    #[inline]
    pub(crate) fn prefetch_room(&self, words: usize) {
        let end = self.capacity.min(self.len + words);
        for at in (self.len..end).step_by(LINE_BYTES / 8) {
            super::prefetch_at(self.start.as_ptr().wrapping_add(at));
        }
    }

    /// Forgets all words; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let words = self.len.checked_add(more).expect("words fit the address space");
        let bytes = words.max(2 * self.capacity).max(LINE_BYTES / 8) * 8;
        let is_mapped = bytes >= MAPPED_BYTES_MIN;
        let bytes = bytes.next_multiple_of(if is_mapped { HUGE_BYTES } else { LINE_BYTES });
        let old = self.bytes();
        let start = match (old >= MAPPED_BYTES_MIN, is_mapped) {
            // SAFETY: `start` is a mapping of `old` bytes, which is given up for the one returned.
            (true, _) => unsafe {
                libc::mremap(self.start.as_ptr().cast(), old, bytes, libc::MREMAP_MAYMOVE)
            },
            // SAFETY: memory of the process alone, at an address that the kernel chooses.
            (false, true) => unsafe {
                let protection = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(
                    null_mut(),
                    bytes,
                    protection,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            },
            // SAFETY: the layout is not empty.
            (false, false) => unsafe { alloc(layout(bytes)).cast() },
        };
        let start = NonNull::new(start.cast::<u64>()).filter(|start| start.as_ptr() as isize != -1);
        let Some(start) = start else { handle_alloc_error(layout(bytes)) };
        if is_mapped {
            // SAFETY: the whole mapping just made, so that it stays one; the advice changes what pages back it, and may be refused.
            unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        if old < MAPPED_BYTES_MIN {
            // SAFETY: the first `len` words are written, the new memory has room for them, and the old one is given up.
            unsafe { start.copy_from_nonoverlapping(self.start, self.len) };
            self.free();
        }
        (self.start, self.capacity) = (start, bytes / 8);
    }

    /// Makes the memory accessible at once, but for what does not fill a page.
    fn populate(&mut self) {
        let start = (self.start.as_ptr() as usize).next_multiple_of(PAGE_BYTES);
        let end = (self.start.as_ptr() as usize + self.bytes()) / PAGE_BYTES * PAGE_BYTES;
        if end.saturating_sub(start) >= POPULATED_BYTES_MIN {
            let (start, len) = (start as *mut libc::c_void, end - start);
            // SAFETY: whole pages inside memory that is owned; the advice does not change what it holds. It may be refused, and then nothing changes.
            unsafe { libc::madvise(start, len, libc::MADV_POPULATE_WRITE) };
        }
    }

    /// Bytes of the memory.
    fn bytes(&self) -> usize {
        self.capacity * 8
    }

    /// Gives the memory back.
    fn free(&mut self) {
        let bytes = self.bytes();
        match bytes {
            0 => {}
            // SAFETY: `start` was allocated with this layout.
            1..MAPPED_BYTES_MIN => unsafe { dealloc(self.start.as_ptr().cast(), layout(bytes)) },
            // SAFETY: `start` is a mapping of so many bytes, which nothing borrows any more.
            _ => unsafe {
                libc::munmap(self.start.as_ptr().cast(), bytes);
            },
        }
        self.capacity = 0;
    }
}

fn layout(bytes: usize) -> Layout {
    let align = if bytes < ALIGNED_BYTES_MIN { align_of::<u64>() } else { LINE_BYTES };
    Layout::from_size_align(bytes, align).expect("memory fits the address space")
}

impl Drop for Words {
    fn drop(&mut self) {
        self.free();
    }
}

impl Deref for Words {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: the first `len` words are written, and belong to this value.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Words {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `deref`; the borrow is the only one.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl From<&[u64]> for Words {
    fn from(words: &[u64]) -> Self {
        let mut memory = Self::new();
        memory.append(words.len()).copy_from_slice(words);
        memory
    }
}

impl Clone for Words {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Words {}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_while_the_memory_grows_and_begin_at_a_line() {
        let mut words = Words::new();
        assert!(words.is_empty());
        // Through all sizes, to where a mapping has grown twice.
        let end = 5 * MAPPED_BYTES_MIN / 8;
        for n in (0..end as u64).step_by(8) {
            let added = words.append(8);
            assert_eq!(added, [0; 8]);
            added[7] = n;
            let is_aligned = (words.as_ptr() as usize).is_multiple_of(LINE_BYTES);
            assert!(is_aligned || 8 * words.capacity() < ALIGNED_BYTES_MIN);
        }
        assert_eq!((words.len(), words.capacity() >= end), (end, true));
        assert!(words.iter().skip(7).step_by(8).copied().eq((0..end as u64).step_by(8)));
        let copy = words.clone();
        assert_eq!(copy, words);
    }

    #[test]
    fn zeros_are_as_many_as_asked_for() {
        for words in [1, 1 << 10, 1 << 15, MAPPED_BYTES_MIN / 8, MAPPED_BYTES_MIN / 8 + 1] {
            // Memory that has been used.
            drop(Words::from(&vec![u64::MAX; words][..]));
            let mut memory =
                if words % 3 == 1 { Words::zeros(words) } else { Words::zeros_unused(words) };
            assert_eq!(memory.len(), words);
            assert!(memory.iter().all(|word| *word == 0), "{words}");
            memory.append(1)[0] = 1;
            assert_eq!((memory[words - 1], memory[words]), (0, 1));
        }
    }

    #[test]
    fn room_is_made_once() {
        for size in [1, 1 << 10, MAPPED_BYTES_MIN / 8] {
            let mut words = Words::with_capacity(size);
            let start = words.as_ptr();
            words.append(size)[0] = 1;
            assert_eq!((words.as_ptr(), words[0], words.len()), (start, 1, size));
        }
    }
}
