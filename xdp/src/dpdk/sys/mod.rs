#![expect(unsafe_code, reason = "DPDK is a library of C")]
//! DPDK behind a few functions of C (`shim.c`): ports are numbers, packets leave its memory as copies.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Lines of DPDK's log that are kept.
const LOG_LINES_MAX: usize = 400;

/// The last lines of DPDK's log.
static LOG: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Whether the EAL has started.
static IS_STARTED: AtomicBool = AtomicBool::new(false);

/// A packet that was received.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    /// The driver's stamp, in its units; 0: none.
    pub(super) stamp: u64,
    /// Where its bytes begin.
    pub(super) at: u32,
    /// How many there are.
    pub(super) captured: u32,
    /// Its length, bytes.
    pub(super) len: u32,
}

/// What a driver has counted (`rte_eth_stats`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// `ipackets`
    pub(super) received: u64,
    /// `imissed`
    pub(super) missed: u64,
    /// `ierrors`
    pub(super) errors: u64,
    /// `rx_nombuf`
    pub(super) no_buffer: u64,
}

/// Where packets carry stamps of drivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    at: c_int,
    flag: u64,
}

unsafe extern "C" {
    fn wt_dpdk_init(
        argc: c_int,
        argv: *mut *mut c_char,
        log: extern "C" fn(*const u8, usize),
        overhear: extern "C" fn(*const u8, usize),
    ) -> c_int;
    fn wt_dpdk_probe(device: *const c_char, name: *const c_char, port: *mut u16) -> c_int;
    fn wt_dpdk_start(
        port: u16,
        queues: u16,
        buffers: c_uint,
        is_virtual: c_int,
        promiscuous: c_int,
        step: *mut *const c_char,
    ) -> c_int;
    fn wt_dpdk_receive(
        port: u16,
        queue: u16,
        snap: u32,
        stamp_at: c_int,
        stamp_flag: u64,
        to: *mut u8,
        packets: *mut Received,
        max: c_uint,
    ) -> c_uint;
    fn wt_dpdk_stamps(at: *mut c_int, flag: *mut u64);
    fn wt_dpdk_stats(port: u16, out: *mut Stats) -> c_int;
    fn wt_dpdk_is_up(port: u16) -> c_int;
    fn wt_dpdk_close(port: u16, queues: u16, is_virtual: c_int) -> c_int;
    fn rte_eal_cleanup() -> c_int;
    fn rte_version() -> *const c_char;
}

/// What the shim says, as text.
fn text(bytes: *const u8, len: usize) -> String {
    if bytes.is_null() {
        return String::new();
    }
    // SAFETY: the shim gives so many bytes, which stay there until the callback that asks here has returned.
    String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(bytes, len) }).into_owned()
}

/// Keeps a line of the log.
fn keep(line: &str) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == LOG_LINES_MAX {
        log.pop_front();
    }
    log.push_back(line.trim().to_owned());
}

/// Keeps what DPDK logs.
extern "C" fn log(bytes: *const u8, len: usize) {
    let text = text(bytes, len);
    text.lines().filter(|line| !line.trim().is_empty()).for_each(keep);
}

/// Keeps what libraries of drivers, and the EAL while it starts, have written to standard error. What others have written goes on.
extern "C" fn overhear(bytes: *const u8, len: usize) {
    let is_theirs = |line: &str| {
        !IS_STARTED.load(Ordering::Relaxed)
            || ["libbpf: ", "libxdp: "].iter().any(|name| line.starts_with(name))
    };
    for line in text(bytes, len).lines() {
        match is_theirs(line) {
            true => keep(line),
            false => eprintln!("{line}"),
        }
    }
}

/// Takes the last lines that DPDK, or a library of its drivers, has said.
pub(super) fn take_log() -> Vec<String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
}

/// What a function of the shim says: 0, or an error number below.
fn done(code: c_int) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// DPDK's version: `DPDK 22.11.11`.
pub(super) fn version() -> String {
    // SAFETY: it answers with a string that is never freed, whether the EAL was started or not.
    let version = unsafe { CStr::from_ptr(rte_version()) };
    version.to_string_lossy().into_owned()
}

/// Starts the EAL, once in a process.
pub(super) fn init(arguments: Vec<CString>) -> io::Result<()> {
    let count = c_int::try_from(arguments.len()).map_err(io::Error::other)?;
    // The EAL keeps some of them.
    let arguments: &'static mut [*mut c_char] = arguments
        .into_iter()
        .map(CString::into_raw)
        .chain([std::ptr::null_mut()])
        .collect::<Vec<_>>()
        .leak();
    // SAFETY: as many strings as are said, a null pointer behind them, all of them there for good.
    done(unsafe { wt_dpdk_init(count, arguments.as_mut_ptr(), log, overhear) })?;
    IS_STARTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Ends what [`init`] began, when all ports are closed.
pub(super) fn cleanup() {
    // SAFETY: called once, by the thread that started the EAL, which has no port open any more.
    let _ = unsafe { rte_eal_cleanup() };
}

/// The port of a device.
pub(super) fn probe(device: &CStr, name: &CStr) -> io::Result<u16> {
    let mut port = 0;
    // SAFETY: two strings and a place for a number, none of which is kept.
    done(unsafe { wt_dpdk_probe(device.as_ptr(), name.as_ptr(), &mut port) })?;
    Ok(port)
}

/// Starts a port with so many queues, and so many buffers for each; what was tried, when it fails.
pub(super) fn start(
    port: u16,
    queues: u16,
    buffers: u32,
    is_virtual: bool,
    is_promiscuous: bool,
) -> Result<(), (&'static str, io::Error)> {
    let mut step: *const c_char = c"".as_ptr();
    // SAFETY: numbers, and a place for a pointer.
    let code = unsafe {
        let (is_virtual, promiscuous) = (is_virtual.into(), is_promiscuous.into());
        wt_dpdk_start(port, queues, buffers, is_virtual, promiscuous, &mut step)
    };
    // SAFETY: a literal of the shim, or the one above.
    let step: &'static CStr = unsafe { CStr::from_ptr(step) };
    done(code).map_err(|error| (step.to_str().unwrap_or_default(), error))
}

/// Copies packets of a queue into `to`, `snap` bytes of each at most; how many came. A packet is not split: `to` has room for as many as `packets` has places.
pub(super) fn receive(
    port: u16,
    queue: u16,
    snap: u32,
    stamps: Stamps,
    to: &mut [u8],
    packets: &mut [Received],
) -> usize {
    let fitting = to.len().checked_div(snap as usize).unwrap_or(packets.len());
    let max = packets.len().min(fitting) as c_uint;
    let (at, flag) = (stamps.at, stamps.flag);
    // SAFETY: at most `max` packets come, of at most `snap` bytes each, for which both slices have room.
    let count = unsafe {
        wt_dpdk_receive(port, queue, snap, at, flag, to.as_mut_ptr(), packets.as_mut_ptr(), max)
    };
    count as usize
}

/// Where packets of the drivers that are there now carry stamps.
pub(super) fn stamps() -> Stamps {
    let mut stamps = Stamps { at: -1, flag: 0 };
    // SAFETY: places for two numbers.
    unsafe { wt_dpdk_stamps(&mut stamps.at, &mut stamps.flag) };
    stamps
}

/// What the driver of a port has counted.
pub(super) fn stats(port: u16) -> io::Result<Stats> {
    let mut stats = Stats::default();
    // SAFETY: a place for the numbers.
    done(unsafe { wt_dpdk_stats(port, &mut stats) })?;
    Ok(stats)
}

/// Whether the link of a port is up.
pub(super) fn is_up(port: u16) -> bool {
    // SAFETY: a number; DPDK judges whether there is such a port.
    unsafe { wt_dpdk_is_up(port) != 0 }
}

/// Stops a port and lets go of its device.
pub(super) fn close(port: u16, queues: u16, is_virtual: bool) -> io::Result<()> {
    // SAFETY: numbers; nobody holds memory of the port's buffers, as packets are copied.
    done(unsafe { wt_dpdk_close(port, queues, is_virtual.into()) })
}
