//! Memory whose neighbours cannot be read.
#![expect(
    unsafe_code,
    reason = "mapping memory and taking away access to it have no safe interface"
)]

use std::ptr;

/// A run of bytes between two pages that nobody may touch.
pub(super) struct Guarded {
    /// Start of the mapping: the first page without access.
    base: *mut u8,
    page_len: usize,
    /// Bytes between the pages.
    len: usize,
}

impl Guarded {
    /// Maps at least `len` bytes, a multiple of the page size.
    ///
    /// # Panics
    /// When the system gives no memory.
    pub(super) fn new(len: usize) -> Self {
        // SAFETY: asks for a number; no memory is passed.
        let page_len = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let len = len.next_multiple_of(page_len);
        let (access, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping at an address that the kernel chooses touches nothing that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), len + 2 * page_len, access, flags, -1, 0) };
        assert!(base != libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let base: *mut u8 = base.cast();
        let open = base.wrapping_add(page_len).cast();
        // SAFETY: the range lies inside the mapping made above, which nothing else knows.
        let changed = unsafe { libc::mprotect(open, len, libc::PROT_READ | libc::PROT_WRITE) };
        assert!(changed == 0, "{}", std::io::Error::last_os_error());
        Self { base, page_len, len }
    }

    /// The bytes between the guards.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let start = self.base.wrapping_add(self.page_len);
        // SAFETY: `len` bytes from there on are mapped for reading and writing (`new`) until `self` is dropped, and borrowed through it alone.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, whole, with no borrow left.
        unsafe { libc::munmap(self.base.cast(), self.len + 2 * self.page_len) };
    }
}
