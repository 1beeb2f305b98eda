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

/// The index of an interface.
fn index_of(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a string that ends in a zero, borrowed for the call.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if ifindex == 0 { Err(io::Error::last_os_error()) } else { Ok(ifindex) }
}

/// Frames of the socket's memory.
const XDP_FRAMES: usize = 64;
const XDP_FRAME_BYTES: usize = 2048;

/// An AF_XDP socket that is bound to the first queue of an interface and has no frames to receive into.
pub(super) fn xdp_socket(interface: &str) -> io::Result<OwnedFd> {
    let ifindex = index_of(interface)?;
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = XDP_FRAMES * XDP_FRAME_BYTES;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address that the kernel chooses. The socket lives on it, so it is never unmapped.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // xdp_umem_reg: address, length, size of frames and headroom, flags.
    let umem = [memory as u64, len as u64, XDP_FRAME_BYTES as u64, 0];
    let entries = [XDP_FRAMES as u32];
    let set = |option: libc::c_int, value: *const libc::c_void, len: usize| {
        let len = len as libc::socklen_t;
        // SAFETY: the kernel reads `len` bytes of the value, which the callers borrow for the call.
        let done = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, len) };
        check(done)
    };
    set(libc::XDP_UMEM_REG, umem.as_ptr().cast(), size_of_val(&umem))?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
        set(ring, entries.as_ptr().cast(), size_of_val(&entries))?;
    }
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    let address = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: the kernel reads `len` bytes of the address, which lives until the end of the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), address, len) })?;
    Ok(fd)
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
        let ifindex = index_of(interface)?;
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
