#![expect(unsafe_code, reason = "prefetches have no safe interface")]
//! What only the processor can do.

/// Bytes that come into a cache at once.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the line of an address, which may be any, into the nearest cache.
#[inline]
pub(crate) fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
