//! What only the machine can do: mapping files, surviving their truncation, prefetching.
#![expect(unsafe_code, reason = "mappings, a signal handler and prefetches have no safe interface")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Mappings start at a multiple of this, so that the kernel can map huge pages as such.
const HUGE_PAGE_LEN: usize = 2 << 20;
/// Smallest unit of a mapping.
const PAGE_LEN: usize = 4096;
/// What the kernel maps around a fault, if it is in the page cache (`fault_around_bytes`, which has this value everywhere).
const FAULT_AROUND_LEN: usize = 64 << 10;
/// Mappings that can be guarded at a time; further files are read instead.
const GUARDS_MAX: usize = 64;

/// Asks for the cache line at an index, which may lie outside: it is used at once.
#[inline(always)]
pub(crate) fn prefetch(bytes: &[u8], at: usize) {
    prefetch_to::<true>(bytes, at);
}

/// Asks for the cache line at an index, which may lie outside: it is used when as much as the first-level cache holds has been asked for.
#[inline(always)]
pub(crate) fn prefetch_for_later(bytes: &[u8], at: usize) {
    prefetch_to::<false>(bytes, at);
}

#[inline(always)]
fn prefetch_to<const FIRST_LEVEL: bool>(bytes: &[u8], at: usize) {
    let place = bytes.as_ptr().wrapping_add(at);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if FIRST_LEVEL {
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T1>(place.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Processor time that this thread has used: unlike the time of day it does not count what other
/// processes do meanwhile.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of the right type. A clock that is not there leaves it 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Addresses in which files can be mapped beside each other. Where none is, there are zeroes.
#[derive(Debug)]
pub(crate) struct Space {
    reserved: usize,
    reserved_len: usize,
    base: usize,
    len: usize,
    /// Bytes given away.
    taken: AtomicUsize,
}

impl Space {
    /// Room for files of so many bytes.
    pub(crate) fn new(lens: impl Iterator<Item = usize>) -> io::Result<Self> {
        let len = lens.map(Self::taken_by).sum::<usize>();
        let reserved_len = len.checked_add(HUGE_PAGE_LEN).ok_or(io::ErrorKind::OutOfMemory)?;
        let reserve = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel picks addresses that nothing uses.
        let reserved =
            unsafe { libc::mmap(ptr::null_mut(), reserved_len, libc::PROT_READ, reserve, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reserved = reserved as usize;
        let base = reserved.next_multiple_of(HUGE_PAGE_LEN);
        Ok(Self { reserved, reserved_len, base, len, taken: AtomicUsize::new(0) })
    }

    /// Bytes that a file of so many takes, so that the next one can be mapped in huge pages, too.
    fn taken_by(len: usize) -> usize {
        len.next_multiple_of(HUGE_PAGE_LEN)
    }

    /// The address of room for a file of so many bytes, which nobody else is given.
    fn take(&self, len: usize) -> Option<usize> {
        let more = |taken: usize| taken.checked_add(Self::taken_by(len)).filter(|t| *t <= self.len);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(self.base + taken)
    }

    /// All of it. What lies where a file is mapped others may change, as [`Mapping::bytes`].
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the range stays readable as long as `self` lives: what is mapped over a part of it is, too, and stays mapped as long.
        unsafe { std::slice::from_raw_parts(self.base as *const u8, self.len) }
    }

    /// Where bytes lie in it, if they do.
    pub(crate) fn offset_of(&self, bytes: &[u8]) -> Option<usize> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.base)?;
        (offset + bytes.len() <= self.len).then_some(offset)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the range was reserved by this value, and no borrow of it is left.
        unsafe { libc::munmap(self.reserved as *mut libc::c_void, self.reserved_len) };
    }
}

/// A file mapped for reading, from its start.
///
/// Where the file is truncated while it is mapped, its bytes become zeroes and
/// [`Self::is_damaged`] says so; the process goes on.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The addresses of which it has a part.
    space: Arc<Space>,
    base: usize,
    len: usize,
    guard: &'static Guard,
}

/// A range of addresses that the handler of SIGBUS knows.
#[derive(Debug)]
struct Guard {
    taken: AtomicBool,
    base: AtomicUsize,
    /// 0 while the range is not valid.
    len: AtomicUsize,
    damaged: AtomicBool,
}

static GUARDS: [Guard; GUARDS_MAX] = [const {
    Guard {
        taken: AtomicBool::new(false),
        base: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        damaged: AtomicBool::new(false),
    }
}; GUARDS_MAX];

/// What handled SIGBUS before.
static PREVIOUS: OnceLock<Previous> = OnceLock::new();

struct Previous(libc::sigaction);

impl Mapping {
    /// Maps the first `len` bytes of a file into a space.
    pub(crate) fn new(file: &File, len: usize, space: Arc<Space>) -> io::Result<Self> {
        install_handler()?;
        let free = |guard: &&Guard| {
            let swap = (Ordering::AcqRel, Ordering::Relaxed);
            guard.taken.compare_exchange(false, true, swap.0, swap.1).is_ok()
        };
        let guard = GUARDS.iter().find(free).ok_or(io::ErrorKind::QuotaExceeded)?;
        // From here on, dropping gives the guard back.
        let mut mapping = Self { base: 0, len: 0, guard, space };
        let whole_len = len.next_multiple_of(PAGE_LEN);
        let base = mapping.space.take(len).ok_or(io::ErrorKind::OutOfMemory)?;
        (mapping.base, mapping.len) = (base, len);
        guard.damaged.store(false, Ordering::Relaxed);
        guard.base.store(base, Ordering::Relaxed);
        let (place, fixed) = (base as *mut libc::c_void, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: the space has given the range to nobody else; reading it before was reading zeroes.
        let mapped =
            unsafe { libc::mmap(place, whole_len, libc::PROT_READ, fixed, file.as_raw_fd(), 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        guard.len.store(whole_len, Ordering::Release);
        mapping.advise(0, whole_len, libc::MADV_SEQUENTIAL)?;
        // What is not in the page cache is read into huge pages, where the file system can hold it so: they are mapped in no time, now and by whoever reads it next.
        // A kernel without them refuses.
        let _ = mapping.advise(0, whole_len, libc::MADV_HUGEPAGE);
        Ok(mapping)
    }

    /// The bytes of the file. Other processes may change them: what decides about memory must be
    /// copied before it is checked.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the range stays mapped and readable as long as `self` lives, also past the end
        // of a truncated file, where the handler puts zeroes.
        unsafe { std::slice::from_raw_parts(self.base as *const u8, self.len) }
    }

    /// Makes bytes of the file accessible without further faults, as far as they are in the page cache, and fails where the file
    /// has no such bytes any more.
    ///
    /// One fault maps what lies around it. `MADV_POPULATE_READ` takes the same faults, and looks for each page between them: a
    /// tenth of the time of a query that counts packets in small pages.
    pub(crate) fn populate(&self, file: &File, at: usize, len: usize) -> io::Result<()> {
        let end = (at + len).min(self.len);
        if file.metadata()?.len() < end as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = self.bytes();
        let mut at = at / FAULT_AROUND_LEN * FAULT_AROUND_LEN;
        while at < end {
            // SAFETY: the place lies within the mapping; it is read as it is, whoever writes there.
            unsafe { ptr::read_volatile(&raw const bytes[at]) };
            at += FAULT_AROUND_LEN;
        }
        Ok(())
    }

    /// Gives page tables back; the bytes stay readable.
    pub(crate) fn release(&self, at: usize, len: usize) -> io::Result<()> {
        self.advise(at, len, libc::MADV_DONTNEED)
    }

    /// Whether bytes were asked for that the file had lost.
    #[inline]
    pub(crate) fn is_damaged(&self) -> bool {
        self.guard.damaged.load(Ordering::Acquire)
    }

    fn advise(&self, at: usize, len: usize, advice: libc::c_int) -> io::Result<()> {
        let end = (at + len).next_multiple_of(PAGE_LEN).min(self.len.next_multiple_of(PAGE_LEN));
        let at = at / PAGE_LEN * PAGE_LEN;
        let Some(len) = end.checked_sub(at).filter(|len| *len > 0) else { return Ok(()) };
        // SAFETY: the range lies within the mapping; no advice in use changes what a mapped file holds.
        let done = unsafe { libc::madvise((self.base + at) as *mut libc::c_void, len, advice) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard.len.store(0, Ordering::Release);
        // The space stays while others have a part of it: without the pages of this file, which would go on to count as memory of the process.
        if self.base != 0 && Arc::strong_count(&self.space) > 1 {
            let zeroes =
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
            let (place, len) =
                (self.base as *mut libc::c_void, self.len.next_multiple_of(PAGE_LEN));
            // SAFETY: the range was given to this value alone, and no borrow of it is left; failing leaves the file there.
            unsafe { libc::mmap(place, len, libc::PROT_READ, zeroes, -1, 0) };
        }
        self.guard.taken.store(false, Ordering::Release);
    }
}

/// Installs the handler of SIGBUS, once.
fn install_handler() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: all zeroes is a value of this C structure.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the pointers are null or valid; this only asks.
        let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
        if asked != 0 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        }
        // Known before the handler runs for the first time.
        let _ = PREVIOUS.set(Previous(previous));
        let mut action = previous;
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does only what is
        // safe in a handler.
        let set = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
        if set != 0 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        }
        Ok(())
    });
    (*installed).map_err(io::Error::from_raw_os_error)
}

/// Puts zeroes where a guarded file has lost its bytes; anything else goes where it went before.
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid structure, which for SIGBUS has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    for guard in &GUARDS {
        let len = guard.len.load(Ordering::Acquire);
        let base = guard.base.load(Ordering::Relaxed);
        if !(base..base + len).contains(&address) {
            continue;
        }
        // The file ends before this page, so nothing behind it is there either.
        let page = address / PAGE_LEN * PAGE_LEN;
        let zeroes =
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let (place, len) = (page as *mut libc::c_void, base + len - page);
        // SAFETY: the range lies within a live mapping of ours that is only read; the call is a
        // plain system call and safe in a handler.
        let put = unsafe { libc::mmap(place, len, libc::PROT_READ, zeroes, -1, 0) };
        if put != libc::MAP_FAILED {
            guard.damaged.store(true, Ordering::Release);
            return;
        }
    }
    pass_on(signal, info, context);
}

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(Previous(previous)) = PREVIOUS.get() else { return };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The instruction runs again and ends the process as it would have without us.
            // SAFETY: the structure was filled in by the kernel.
            unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: with SA_SIGINFO the address is that of such a function.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the address is that of such a function.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
