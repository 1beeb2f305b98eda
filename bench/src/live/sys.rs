//! What the standard library has no words for: namespaces, programs in the kernel, and what a thread has used.
#![expect(unsafe_code, reason = "system calls that std does not wrap")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sys;

/// Place of what takes part before what else the machine does.
pub(super) const NICE: libc::c_int = -10;

/// Place of a session before others.
pub(super) const NICE_SESSION: libc::c_int = -20;

fn check(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Whether the user is root: namespaces and programs in the kernel need it.
pub fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Gives the calling thread a network namespace of its own.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Puts the calling thread into a network namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Lets a command run in a network namespace and on some cores, and end with the thread that starts it.
pub(super) fn confine(command: &mut Command, namespace: RawFd, cores: Vec<usize>) {
    let confined = move || {
        // SAFETY: takes no pointers.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: takes no pointers; the descriptor is the parent's, which the child has inherited.
        check(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) })?;
        set_nice(0, NICE)?;
        if cores.is_empty() { Ok(()) } else { sys::pin(&cores) }
    };
    // SAFETY: between fork and exec it makes system calls only; nothing is allocated or locked.
    unsafe { command.pre_exec(confined) };
}

/// Sends a signal to a process that this one has started.
pub(super) fn signal(process: u32, signal: libc::c_int) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(process, signal) }).map(drop)
}

/// Puts a process or thread of the kernel on one core.
pub(super) fn pin_process(process: u32, core: usize) -> io::Result<()> {
    // SAFETY: a CPU set is plain bits, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if core >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a set of the size that is given.
    check(unsafe { libc::sched_setaffinity(process, size_of_val(&set), &raw const set) }).map(drop)
}

/// Gives a process or thread (0: the calling thread) a place before or behind others, as `nice` does.
pub(super) fn set_nice(process: u32, nice: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, process, nice) }).map(drop)
}

/// Lets a thread of the kernel run before all programs, as interrupts do.
pub(super) fn run_first(thread: u32) -> io::Result<()> {
    let thread = libc::pid_t::try_from(thread).map_err(io::Error::other)?;
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live value that the call reads.
    check(unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) })
        .map(drop)
}

/// Index of an interface of the calling thread's namespace.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a string that ends in a zero, borrowed for the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C be noted instead of ending this process.
pub(super) fn note_interrupts() -> io::Result<()> {
    extern "C" fn note(_: libc::c_int) {
        IS_INTERRUPTED.store(true, Ordering::Release);
    }
    // SAFETY: an action is plain numbers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = note as *const () as usize;
    // SAFETY: the action is live; its handler stores a flag, which is safe at any moment.
    check(unsafe { libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut()) })
        .map(drop)
}

/// Whether there was a Ctrl-C since.
pub(super) fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(Ordering::Acquire)
}

/// Processor time of the calling thread, what the kernel did in its context included.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value that the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PERCPU_ARRAY: u32 = 6;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

fn bpf<T>(command: libc::c_long, argument: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of the argument, which is borrowed for the call. The addresses in it are
    // of slices that the callers borrow for the call, with their lengths.
    let code = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(argument), size_of::<T>())
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Argument of the command that makes a map.
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// One word per processor, which programs in the kernel look up as entry 0 of an array.
#[derive(Debug)]
pub(super) struct PerCpu {
    fd: OwnedFd,
    processors: usize,
}

impl PerCpu {
    /// Makes it, all zero.
    pub(super) fn new() -> io::Result<Self> {
        let kind = BPF_MAP_TYPE_PERCPU_ARRAY;
        let mut create = Create { kind, key_size: 4, value_size: 8, entries: 1, flags: 0 };
        let fd = owned(bpf(BPF_MAP_CREATE, &mut create)?)?;
        // Those that there may be, as `0-7` or `0`.
        let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
        let last = possible.trim().rsplit(['-', ',']).next().and_then(|n| n.parse::<usize>().ok());
        let last = last.ok_or_else(|| io::Error::other(format!("processors {possible:?}")))?;
        Ok(Self { fd, processors: last + 1 })
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The sum of all words.
    pub(super) fn sum(&self) -> io::Result<u64> {
        #[repr(C)]
        struct Lookup {
            map: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let (key, mut words) = (0u32, vec![0u64; self.processors]);
        let map = self.fd() as u32;
        let (key, value) = (std::ptr::from_ref(&key) as u64, words.as_mut_ptr() as u64);
        bpf(BPF_MAP_LOOKUP_ELEM, &mut Lookup { map, pad: 0, key, value, flags: 0 })?;
        Ok(words.iter().sum())
    }
}

/// An array that programs in the kernel and this process share.
#[derive(Debug)]
pub(super) struct Shared {
    fd: OwnedFd,
    start: *mut u64,
    words: usize,
}

// SAFETY: the mapping belongs to the value and is not tied to a thread.
unsafe impl Send for Shared {}
// SAFETY: through a shared reference words are read and written as volatile single words only.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes an array of values, all zero.
    pub(super) fn new(value_words: usize, entries: usize) -> io::Result<Self> {
        let words = value_words * entries;
        let mut create = Create {
            kind: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: u32::try_from(8 * value_words).map_err(io::Error::other)?,
            entries: u32::try_from(entries).map_err(io::Error::other)?,
            flags: BPF_F_MMAPABLE,
        };
        let fd = owned(bpf(BPF_MAP_CREATE, &mut create)?)?;
        // SAFETY: the kernel chooses the place, the descriptor is open, and the result is checked; the map is as long as is mapped.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8 * words,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd, start: start.cast(), words })
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Reads a word.
    pub(super) fn get(&self, word: usize) -> u64 {
        assert!(word < self.words, "word {word} of {}", self.words);
        // SAFETY: the word lies in the mapping, which is aligned to pages; programs write it meanwhile, hence volatile.
        unsafe { self.start.add(word).read_volatile() }
    }

    /// Writes a word.
    pub(super) fn set(&self, word: usize, value: u64) {
        assert!(word < self.words, "word {word} of {}", self.words);
        // SAFETY: as for reading.
        unsafe { self.start.add(word).write_volatile(value) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this is the range that mmap returned, unmapped once.
        unsafe { libc::munmap(self.start.cast(), 8 * self.words) };
    }
}

/// Loads an XDP program; the kernel's words are in the error.
pub(super) fn load_xdp(instructions: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        rest: [u64; 8],
    }
    let license = c"GPL";
    let mut log = vec![0u8; 1 << 16];
    let mut load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        rest: [0; 8],
    };
    match bpf(BPF_PROG_LOAD, &mut load) {
        Ok(fd) => owned(fd),
        Err(error) => {
            let said = String::from_utf8_lossy(&log);
            let said = said.trim_end_matches('\0').trim();
            Err(io::Error::new(error.kind(), format!("{error}: {said}")))
        }
    }
}

/// Attaches a program to an interface of the calling thread's namespace, in the driver, as long as the link is open.
pub(super) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: libc::c_long = 28;
    const BPF_XDP: u32 = 37;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    #[repr(C)]
    struct Link {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let program = program.as_raw_fd() as u32;
    let mut link = Link { program, ifindex, attach_type: BPF_XDP, flags: XDP_FLAGS_DRV_MODE };
    owned(bpf(BPF_LINK_CREATE, &mut link)?)
}

/// A run of a program by `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

fn test_run(program: BorrowedFd<'_>, data: &[u8], mut run: TestRun) -> io::Result<TestRun> {
    run.program = program.as_raw_fd() as u32;
    run.data_in = data.as_ptr() as u64;
    run.data_size_in = u32::try_from(data.len()).map_err(io::Error::other)?;
    bpf(BPF_PROG_TEST_RUN, &mut run)?;
    Ok(run)
}

/// Longest wait for the first frame of [`run_live`].
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// Runs a program on live frames for a while: what it redirects is sent. The calling thread's namespace is that of the interfaces. How long it took.
///
/// The time begins with the first frame, as `has_begun` tells: on a busy machine the kernel takes seconds to prepare its buffers.
pub(super) fn run_live(
    program: BorrowedFd<'_>,
    frame: &[u8],
    batch: u32,
    duration: Duration,
    has_begun: &(dyn Fn() -> bool + Sync),
) -> io::Result<Duration> {
    extern "C" fn nothing(_: libc::c_int) {}
    let interruption = libc::SIGRTMIN() + 3;
    // SAFETY: an action is plain numbers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the action is live; its handler does nothing, which is safe at any moment.
    check(unsafe { libc::sigaction(interruption, &raw const action, std::ptr::null_mut()) })?;
    // SAFETY: takes nothing.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    let run = TestRun {
        repeat: u32::MAX,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: batch,
        ..TestRun::default()
    };
    let has_ended = AtomicBool::new(false);
    let called = Instant::now();
    let (ran, took) = std::thread::scope(|scope| {
        let timer = scope.spawn(|| {
            let is_early = || !has_ended.load(Ordering::Acquire) && called.elapsed() < BEGIN_MAX;
            while is_early() && !has_begun() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let begun = Instant::now();
            std::thread::sleep(duration);
            // Again and again: the first may come before the call does.
            while !has_ended.load(Ordering::Acquire) {
                // SAFETY: takes no pointers; the thread waits for this one, so that its id is its own.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, interruption) };
                std::thread::sleep(Duration::from_millis(10));
            }
            begun
        });
        let ran = test_run(program, frame, run);
        let ended = Instant::now();
        has_ended.store(true, Ordering::Release);
        let begun = timer.join().unwrap_or(called);
        (ran, ended.saturating_duration_since(begun))
    });
    match ran {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(took),
    }
}

/// Runs a program again and again on one packet that is on no interface; what it returned.
pub(super) fn run_on_packet(
    program: BorrowedFd<'_>,
    packet: &[u8],
    repeat: u32,
) -> io::Result<u32> {
    test_run(program, packet, TestRun { repeat, ..TestRun::default() }).map(|run| run.returned)
}
