#![expect(
    unsafe_code,
    reason = "system calls on maps of which only the kernel knows the sizes, and on the CPUs of a thread"
)]
//! System calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
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

/// Argument of the command that makes a map.
#[repr(C)]
struct NewMap {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
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

fn bpf<T>(command: libc::c_long, argument: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of the argument, which is borrowed for the call. The addresses in it are
    // of slices that the callers borrow for the call and whose lengths they have matched with the map's sizes.
    let code = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(argument), size_of::<T>())
    };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Kinds of maps that are made without a program.
pub(super) mod kind {
    /// One entry.
    pub(crate) const ARRAY: u32 = 2;
    /// Prefixes: a lookup finds the longest that holds its key.
    pub(crate) const LPM_TRIE: u32 = 11;
}

/// A trie takes memory as it grows; the kernel knows no other.
const BPF_F_NO_PREALLOC: u32 = 1;
/// Its one entry can be mapped into a process.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Makes a map; it is gone with its last descriptor and the last program that uses it. The name has at most 15 bytes. An array can be mapped ([`Words`]).
pub(super) fn create(
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let flags = if kind == kind::LPM_TRIE { BPF_F_NO_PREALLOC } else { BPF_F_MMAPABLE };
    let mut bytes = [0; 16];
    let taken = name.len().min(15);
    bytes[..taken].copy_from_slice(&name.as_bytes()[..taken]);
    let mut argument = NewMap {
        kind,
        key_bytes,
        value_bytes,
        entries,
        flags,
        inner_map_fd: 0,
        numa_node: 0,
        name: bytes,
    };
    let fd = bpf(BPF_MAP_CREATE, &mut argument)?;
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Reads an entry of a map whose keys are bytes; nothing when there is none.
pub(super) fn lookup_bytes<const WORDS: usize>(
    map: BorrowedFd<'_>,
    key: &[u8],
) -> io::Result<Option<[u64; WORDS]>> {
    let mut value = [0; WORDS];
    let map_fd = map.as_raw_fd() as u32;
    let mut argument =
        OneEntry { map_fd, pad: 0, key: key.as_ptr() as u64, value: address(&mut value), flags: 0 };
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut argument) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes an entry of a map whose keys are bytes.
pub(super) fn update_bytes(map: BorrowedFd<'_>, key: &[u8], value: &[u64]) -> io::Result<()> {
    let map_fd = map.as_raw_fd() as u32;
    let (key, value) = (key.as_ptr() as u64, value.as_ptr() as u64);
    let mut argument = OneEntry { map_fd, pad: 0, key, value, flags: 0 };
    bpf(BPF_MAP_UPDATE_ELEM, &mut argument).map(drop)
}

/// Removes an entry of a map whose keys are bytes; whether there was one.
pub(super) fn delete_bytes(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let map_fd = map.as_raw_fd() as u32;
    let mut argument = OneEntry { map_fd, pad: 0, key: key.as_ptr() as u64, value: 0, flags: 0 };
    match bpf(BPF_MAP_DELETE_ELEM, &mut argument) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn address<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

/// Writes an entry.
pub(super) fn update(map: BorrowedFd<'_>, key: u32, value: &[u64]) -> io::Result<()> {
    let mut key = [key];
    let map_fd = map.as_raw_fd() as u32;
    let mut argument =
        OneEntry { map_fd, pad: 0, key: address(&mut key), value: value.as_ptr() as u64, flags: 0 };
    bpf(BPF_MAP_UPDATE_ELEM, &mut argument).map(drop)
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

/// The words of an array's one entry, as they are while programs write them.
pub(super) struct Words {
    first: NonNull<u64>,
    count: usize,
}

// SAFETY: the mapping belongs to this value alone, and its words are only read, each as a whole.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Those of an array that has as many.
    pub(super) fn of(map: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        let (access, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        let fd = map.as_raw_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), 8 * count, access, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { first, count })
    }

    /// What they are, the first one read first: whoever stores a word behind what it vouches for is not seen to have stored it before.
    pub(super) fn read(&self) -> Vec<u64> {
        let word = |at: usize| {
            // SAFETY: inside the mapping, which lives as long as this value, and aligned; programs write words as a whole.
            let word = unsafe { AtomicU64::from_ptr(self.first.add(at).as_ptr()) };
            word.load(Ordering::Acquire)
        };
        (0..self.count).map(word).collect()
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more. It can only fail for a range that is no mapping.
        unsafe { libc::munmap(self.first.as_ptr().cast(), 8 * self.count) };
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
