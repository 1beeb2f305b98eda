#![expect(
    unsafe_code,
    reason = "system calls on maps of which only the kernel knows the sizes, and on the CPUs of a thread"
)]
//! System calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;

/// Argument of the commands for one entry.
#[repr(C)]
struct OneEntry {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Argument of the commands for many.
#[repr(C)]
struct ManyEntries {
    after: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    entry_flags: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_long, argument: &mut T) -> io::Result<()> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of the argument, which is borrowed for the call. The addresses in it are
    // of slices that the callers borrow for the call and whose lengths they have matched with the map's sizes.
    let code = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(argument), size_of::<T>())
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn address<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

/// Reads an entry: for maps per CPU, its words of each CPU in turn.
pub(super) fn lookup(map: BorrowedFd<'_>, key: u32, out: &mut [u64]) -> io::Result<()> {
    let mut key = [key];
    let map_fd = map.as_raw_fd() as u32;
    let mut argument =
        OneEntry { map_fd, pad: 0, key: address(&mut key), value: address(out), flags: 0 };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut argument)
}

/// Writes an entry.
pub(super) fn update(map: BorrowedFd<'_>, key: u32, value: &[u64]) -> io::Result<()> {
    let mut key = [key];
    let map_fd = map.as_raw_fd() as u32;
    let mut argument =
        OneEntry { map_fd, pad: 0, key: address(&mut key), value: value.as_ptr() as u64, flags: 0 };
    bpf(BPF_MAP_UPDATE_ELEM, &mut argument)
}

/// Reads as many entries as `keys` has room for, from the one behind `after` on (from the first when there is none); how many.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    after: Option<u32>,
    keys: &mut [u32],
    values: &mut [u64],
) -> io::Result<usize> {
    let (mut from, mut next) = ([after.unwrap_or(0)], [0u32]);
    let mut argument = ManyEntries {
        after: if after.is_some() { address(&mut from) } else { 0 },
        next: address(&mut next),
        keys: address(keys),
        values: address(values),
        count: keys.len() as u32,
        map_fd: map.as_raw_fd() as u32,
        entry_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut argument) {
        // The end of the map was met; what was read before counts.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(argument.count as usize),
    }
}

/// Waits until every program that runs now has ended: the barrier waits for the readers of RCU, and a program is one from its first
/// instruction to its last.
pub(super) fn wait_for_readers() -> io::Result<()> {
    // SAFETY: no memory is passed.
    let code = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The CPUs that a thread may run on.
pub(super) struct Affinity(libc::cpu_set_t);

/// Those of this thread.
pub(super) fn affinity() -> io::Result<Affinity> {
    // SAFETY: a CPU set is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given into the set, which is borrowed for the call.
    let code = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(Affinity(set)) }
}

/// The one that this thread runs on now.
pub(super) fn current_cpu() -> io::Result<Affinity> {
    // SAFETY: no memory is passed.
    let cpu = unsafe { libc::sched_getcpu() };
    let cpu = usize::try_from(cpu).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: a CPU set is an array of integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is borrowed, and a number beyond it is left out by the macro.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    Ok(Affinity(set))
}

/// Sets those of this thread.
pub(super) fn set_affinity(set: &Affinity) -> io::Result<()> {
    // SAFETY: the kernel reads the set, which is borrowed for the call.
    let code =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set.0) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
