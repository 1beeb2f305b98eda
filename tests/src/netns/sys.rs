#![expect(unsafe_code, reason = "namespaces and packet sockets have no safe interface in std")]
//! System calls.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

fn check(code: libc::c_int) -> io::Result<libc::c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Whether the user is root.
pub(super) fn is_root() -> bool {
    // SAFETY: takes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Puts the calling thread into a network namespace.
pub(super) fn enter(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Sends a signal to a process that the test has started.
pub fn signal(process: u32, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(process as libc::pid_t, signal) }).map(drop)
}

/// Sends frames into an interface as they are.
#[derive(Debug)]
pub struct Sender {
    fd: OwnedFd,
    ifindex: libc::c_int,
}

impl Sender {
    /// A sender into an interface of the calling thread's namespace.
    pub(super) fn new(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: a string that ends in a zero, borrowed for the call.
        let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if ifindex == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: takes no pointers.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, ifindex: ifindex as libc::c_int })
    }

    /// Sends a frame; waits while there is no room.
    ///
    /// # Errors
    /// The interface does not take it: too long, or down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: 0,
            sll_ifindex: self.ifindex,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        let address = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
        let (bytes, count) = (frame.as_ptr().cast(), frame.len());
        // SAFETY: the kernel reads the frame and the address, which live until the end of the call.
        let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), bytes, count, 0, address, len) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
