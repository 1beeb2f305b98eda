#![expect(
    unsafe_code,
    reason = "requests to drivers (SIOCETHTOOL, SIOCSHWTSTAMP), their clocks, and sockets of the kernel's configuration (netlink)"
)]
//! System calls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;

fn check(code: c_int) -> io::Result<c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket to ask drivers with.
pub(super) fn driver_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

/// A socket to ask the kernel with: `protocol` is `NETLINK_ROUTE` or `NETLINK_GENERIC`.
pub(super) fn netlink_socket(protocol: c_int) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    let patience = libc::timeval { tv_sec: 2, tv_usec: 0 };
    let len = size_of::<libc::timeval>() as libc::socklen_t;
    let address = std::ptr::from_ref(&patience).cast::<libc::c_void>();
    // SAFETY: the kernel reads `len` bytes of the value, which lives until the end of the call.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, address, len)
    })?;
    Ok(fd)
}

/// Whether the kernel has sockets of a family at all (`AF_XDP`, `AF_PACKET`), or what it says.
pub(super) fn try_socket(family: c_int) -> io::Result<()> {
    socket(family, libc::SOCK_RAW, 0).map(drop)
}

/// Sends a message to the kernel.
pub(super) fn send(fd: &OwnedFd, message: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of the message, which is borrowed for the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives a message; its length.
pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes of the buffer, which is borrowed for the call.
    let got = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Asks an interface's driver (`ethtool`): `words` is the request, its command first, and becomes the answer.
pub(super) fn ethtool(fd: &OwnedFd, interface: &str, words: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: callers give `words` room for the whole of the command's structure (see `ethtool.rs`).
    unsafe { request(fd, interface, SIOCETHTOOL, words.as_mut_ptr().cast()) }
}

/// Reads, or sets, which packets an interface's card stamps: a `struct hwtstamp_config`, which becomes the answer.
pub(super) fn stamps(
    fd: &OwnedFd,
    interface: &str,
    is_set: bool,
    config: &mut [u32; 3],
) -> io::Result<()> {
    const SIOCSHWTSTAMP: libc::Ioctl = 0x89b0;
    const SIOCGHWTSTAMP: libc::Ioctl = 0x89b1;
    let code = if is_set { SIOCSHWTSTAMP } else { SIOCGHWTSTAMP };
    // SAFETY: the structure is three words, and so is the array.
    unsafe { request(fd, interface, code, config.as_mut_ptr().cast()) }
}

/// A request to an interface's driver.
///
/// # Safety
/// `data` points to as many bytes as the request reads and writes, for the whole call.
unsafe fn request(
    fd: &OwnedFd,
    interface: &str,
    code: libc::Ioctl,
    data: *mut libc::c_char,
) -> io::Result<()> {
    // SAFETY: integers and pointers of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One zero stays at the end.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data;
    // SAFETY: the kernel reads the name, which is borrowed for the call, and the data, which the caller answers for.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), code, &mut request) }).map(drop)
}

/// The time that a clock shows which is a file (`/dev/ptp0`).
pub(super) fn read_clock(file: BorrowedFd<'_>) -> io::Result<Duration> {
    // FD_TO_CLOCKID of linux/posix-timers.h.
    const CLOCKFD: libc::clockid_t = 3;
    let clock = (!(file.as_raw_fd() as libc::clockid_t) << 3) | CLOCKFD;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value that the call fills; the file is open for the whole call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)))
}
