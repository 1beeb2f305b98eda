//! What the standard library has no words for: mapped files, pinned threads, resources of a child, prefetching.
#![expect(unsafe_code, reason = "system calls and a prefetch instruction that std does not wrap")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::process::Child;
use std::time::Duration;

/// A whole file, mapped for reading.
#[derive(Debug)]
pub struct Map {
    start: *const u8,
    len: usize,
}

// SAFETY: the mapping is read-only and private to this process; nothing in it is tied to a thread.
unsafe impl Send for Map {}
// SAFETY: as above; shared reads of memory that nobody writes.
unsafe impl Sync for Map {}

impl Map {
    /// Maps a file. A trace that another process shortens meanwhile ends this one with SIGBUS: the traces are ours.
    ///
    /// # Errors
    /// What `mmap` says; an empty file is mapped as no bytes.
    pub fn new(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self { start: std::ptr::NonNull::dangling().as_ptr(), len });
        }
        // SAFETY: the kernel chooses the place, the descriptor is open, and the result is checked.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = Self { start: start.cast::<u8>().cast_const(), len };
        map.advise(libc::MADV_SEQUENTIAL);
        Ok(map)
    }

    /// Asks for the pages of a part at once, instead of by one fault for each few; only a hint.
    pub fn populate(&self, from: usize, len: usize) {
        const PAGE: usize = 4096;
        let from = from.min(self.len) / PAGE * PAGE;
        let len = len.min(self.len - from);
        if len > 0 {
            // SAFETY: the range lies inside the mapping; the advice reads pages and changes nothing.
            unsafe {
                libc::madvise(
                    self.start.wrapping_add(from).cast_mut().cast(),
                    len,
                    libc::MADV_POPULATE_READ,
                )
            };
        }
    }

    /// Has what is not in the page cache read into huge pages; only a hint.
    pub fn ask_for_huge_pages(&self) {
        self.advise(libc::MADV_HUGEPAGE);
    }

    fn advise(&self, advice: libc::c_int) {
        // SAFETY: the range is the mapping; the advice changes how it is read ahead, not what is read.
        unsafe { libc::madvise(self.start.cast_mut().cast(), self.len, advice) };
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` bytes as long as the mapping lives, which the borrow of self ensures.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: this is the range that mmap returned, unmapped once.
            unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
        }
    }
}

/// Has the page cache forget a file, as far as it is on the disk.
///
/// # Errors
/// What `posix_fadvise` says.
pub fn leave_cache(file: &File) -> io::Result<()> {
    file_advice(file, libc::POSIX_FADV_DONTNEED)
}

/// Has what is read through this descriptor come page by page, and nothing beyond it.
///
/// # Errors
/// What `posix_fadvise` says.
pub fn read_at_random(file: &File) -> io::Result<()> {
    file_advice(file, libc::POSIX_FADV_RANDOM)
}

fn file_advice(file: &File, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open; the advice changes what is cached, not what is read.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Asks for the cache line of a value; it costs nothing when it is there.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect on memory; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(value).cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Pins the calling thread, and what it starts from now on, to these cores.
///
/// # Errors
/// What `sched_setaffinity` says, e.g. of a core that is not there.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let bits = 8 * size_of::<libc::cpu_set_t>();
    for &core in cores {
        if core >= bits {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the pointer is to a set of the size that is given; 0 is the calling thread.
    let status =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a process used up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Exit status, or 128 + the signal that ended it.
    pub status: i32,
    /// Time in user mode.
    pub user: Duration,
    /// Time in the kernel.
    pub system: Duration,
    /// Largest resident set, bytes. Never below what this process had when it started the child.
    pub resident_bytes_max: u64,
}

/// Waits for a child and tells what it used.
///
/// # Errors
/// What `wait4` says.
pub fn wait(child: &mut Child) -> io::Result<Usage> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the types that wait4 fills.
        let got = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if got == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        status: if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            128 + libc::WTERMSIG(status)
        },
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        resident_bytes_max: usage.ru_maxrss.unsigned_abs() * 1024,
    })
}

/// Sets this process's largest resident set back to the present one, as far as the kernel lets it: a child begins with that of the
/// process that starts it, and answers held for comparison would be counted as the child's.
pub fn forget_peak() {
    const PEAK: &str = "5";
    // Without it, the resident sets of small programs are reported too large, as the field says.
    let _ = std::fs::write("/proc/self/clear_refs", PEAK);
}

/// Makes a pipe as wide as is allowed, so that writer and reader change places less often. No effect on other files.
pub fn widen_pipe(file: &impl AsRawFd) {
    const PIPE_BYTES: libc::c_int = 1 << 20;
    // SAFETY: the descriptor is open while it is borrowed; a file that is no pipe is refused without effect.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
}
