#![expect(
    unsafe_code,
    reason = "requests to drivers (SIOCETHTOOL), and sockets of the kernel's configuration (netlink)"
)]
//! System calls.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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
    // SAFETY: integers and pointers of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One zero stays at the end.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: the kernel reads the name, and reads and writes as many bytes of `words` as the command's structure has; callers give it room
    // for the whole of it (see `ethtool.rs`). Both are borrowed for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCETHTOOL, &mut request) }).map(drop)
}
