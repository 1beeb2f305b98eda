#![expect(
    unsafe_code,
    reason = "memory that the kernel shares with this process: frames, and rings of their places"
)]
//! The shared memory of an AF_XDP socket (`linux/if_xdp.h`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::net::xdp::XdpRingOffset;

use crate::sys::{LINE_BYTES, prefetch};

/// A part of this process's memory.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread it is on.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Memory of a socket's, from a place that stands for one of its rings; without a socket, memory of nobody else's.
    fn new(socket: Option<&OwnedFd>, len: usize, place: u64) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let (flags, fd) = match socket {
            Some(socket) => (libc::MAP_SHARED | libc::MAP_POPULATE, socket.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
        };
        let place = libc::off_t::try_from(place).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, place) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, len })
    }

    /// The address of `bytes` bytes that lie in it, aligned to so many.
    fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
        assert!(offset.is_multiple_of(bytes), "{offset} is not a multiple of {bytes}");
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.len));
        // SAFETY: inside the mapping, by the comparison above.
        unsafe { self.base.add(offset) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        let address = self.at(offset, 4).cast::<u32>();
        // SAFETY: inside the mapping and aligned; lives as long as the mapping; the kernel and we read and write it as a whole.
        unsafe { AtomicU32::from_ptr(address.as_ptr()) }
    }

    fn double_word(&self, offset: usize) -> &AtomicU64 {
        let address = self.at(offset, 8).cast::<u64>();
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(address.as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more. It can only fail for a range that is no mapping.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Bytes of a packet that are fetched before it is read, at most: behind them the processor has seen where this leads.
const FETCHED_MAX: usize = 512;

/// Memory for frames (the UMEM).
#[derive(Debug)]
pub(super) struct Frames(Mapping);

impl Frames {
    /// Memory in huge pages where there are some: packets lie all over it, and few small ones are known to a processor at a time.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let memory = Mapping::new(None, bytes, 0)?;
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE] {
            // SAFETY: the mapping is ours and nobody has looked at it. Without huge pages it has small ones, and what is not there now comes when it is used.
            unsafe { libc::madvise(memory.base.as_ptr().cast(), memory.len, advice) };
        }
        Ok(Self(memory))
    }

    /// Where it begins, as the kernel is told.
    pub(super) fn address(&self) -> u64 {
        self.0.base.as_ptr() as u64
    }

    /// Bytes of a frame that the kernel has given to us, and gets back by `&mut self` of the ring only when the caller is done with them.
    pub(super) fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.0.len)?;
        debug_assert!(at <= end);
        // SAFETY: inside the mapping, by the comparison above.
        let address = unsafe { self.0.base.add(at) };
        // SAFETY: initialised, as anonymous memory is; the kernel leaves the frames alone that are ours. `Socket::drain` gives a frame back behind the last
        // use of its bytes.
        Some(unsafe { std::slice::from_raw_parts(address.as_ptr(), len) })
    }
}

impl Frames {
    /// Has the processor fetch a packet that is read soon, or the beginning of a long one; `at` may be anywhere.
    #[inline]
    pub(super) fn prefetch(&self, at: usize, len: usize) {
        let place = self.0.base.as_ptr().wrapping_add(at);
        for line in (0..len.min(FETCHED_MAX)).step_by(LINE_BYTES) {
            prefetch(place.wrapping_add(line));
        }
    }
}

/// Places of the rings among a socket's memory.
const RX: u64 = 0;
const FILL: u64 = 0x1_0000_0000;

/// Bytes of an entry of the receive ring: address, length, flags.
const RECEIVED_BYTES: usize = 16;
/// Where the length of a packet stands in it.
const LEN_AT: usize = 8;
/// Bytes of an entry of the fill ring: an address.
const FILLED_BYTES: usize = 8;

/// An entry of the receive ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Where its bytes lie among the frames.
    pub(super) at: u64,
    pub(super) len: u32,
    /// `XDP_PKT_CONTD`: the packet goes on in the next entry.
    pub(super) goes_on: bool,
}

const XDP_PKT_CONTD: u32 = 1;

/// A ring with one end in the kernel.
#[derive(Debug)]
struct Ring {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    entries: usize,
    mask: u32,
}

impl Ring {
    fn map(
        socket: &OwnedFd,
        place: u64,
        offsets: &XdpRingOffset,
        entries: u32,
        entry_bytes: usize,
    ) -> io::Result<Self> {
        assert!(entries.is_power_of_two());
        let at = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let first = at(offsets.desc)?;
        let memory = Mapping::new(Some(socket), first + entries as usize * entry_bytes, place)?;
        let (producer, consumer) = (at(offsets.producer)?, at(offsets.consumer)?);
        Ok(Self { memory, producer, consumer, entries: first, mask: entries - 1 })
    }

    fn entry(&self, index: u32, bytes: usize) -> usize {
        self.entries + (index & self.mask) as usize * bytes
    }
}

/// What the kernel has received: it writes, we read.
#[derive(Debug)]
pub(super) struct ReceiveRing {
    ring: Ring,
    next: u32,
}

impl ReceiveRing {
    pub(super) fn map(socket: &OwnedFd, offsets: &XdpRingOffset, entries: u32) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, RX, offsets, entries, RECEIVED_BYTES)?, next: 0 })
    }

    /// Entries that can be read.
    pub(super) fn ready(&self) -> u32 {
        let producer = self.ring.memory.word(self.ring.producer).load(Ordering::Acquire);
        producer.wrapping_sub(self.next)
    }

    /// The next entry, of those that are ready.
    pub(super) fn read(&mut self) -> Received {
        let entry = self.ring.entry(self.next, RECEIVED_BYTES);
        self.next = self.next.wrapping_add(1);
        let memory = &self.ring.memory;
        Received {
            at: memory.double_word(entry).load(Ordering::Relaxed),
            len: memory.word(entry + LEN_AT).load(Ordering::Relaxed),
            goes_on: memory.word(entry + 12).load(Ordering::Relaxed) & XDP_PKT_CONTD != 0,
        }
    }

    /// Where the packet lies that is so many behind the next one, of those that are ready, and its bytes.
    #[inline]
    pub(super) fn place_ahead(&self, by: u32) -> (u64, u32) {
        let entry = self.ring.entry(self.next.wrapping_add(by), RECEIVED_BYTES);
        let memory = &self.ring.memory;
        let at = memory.double_word(entry).load(Ordering::Relaxed);
        (at, memory.word(entry + LEN_AT).load(Ordering::Relaxed))
    }

    /// Gives the entries that were read back to the kernel.
    pub(super) fn release(&mut self) {
        self.ring.memory.word(self.ring.consumer).store(self.next, Ordering::Release);
    }
}

/// Frames that the kernel may fill: we write, it reads.
#[derive(Debug)]
pub(super) struct FillRing {
    ring: Ring,
    next: u32,
}

impl FillRing {
    pub(super) fn map(socket: &OwnedFd, offsets: &XdpRingOffset, entries: u32) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, FILL, offsets, entries, FILLED_BYTES)?, next: 0 })
    }

    /// Gives a frame. There are no more frames than entries, so there is room.
    pub(super) fn write(&mut self, at: u64) {
        let entry = self.ring.entry(self.next, FILLED_BYTES);
        self.next = self.next.wrapping_add(1);
        self.ring.memory.double_word(entry).store(at, Ordering::Relaxed);
    }

    /// Lets the kernel see what was given.
    pub(super) fn release(&mut self) {
        self.ring.memory.word(self.ring.producer).store(self.next, Ordering::Release);
    }
}
