#![expect(
    unsafe_code,
    reason = "packet sockets, their options, and the ring that the kernel shares with this process"
)]
//! System calls, and the shared memory of a ring.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

const HDR_AT: usize = std::mem::offset_of!(libc::tpacket_block_desc, hdr);
const STATUS_AT: usize = HDR_AT + std::mem::offset_of!(libc::tpacket_hdr_v1, block_status);
const NUM_PACKETS_AT: usize = HDR_AT + std::mem::offset_of!(libc::tpacket_hdr_v1, num_pkts);

fn check(code: c_int) -> io::Result<c_int> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// A packet socket that no packet reaches yet. `is_cooked`: packets come without their link headers.
pub(super) fn socket(is_cooked: bool) -> io::Result<OwnedFd> {
    let kind = if is_cooked { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option whose value is plain data.
fn set<T: Copy>(fd: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let address = std::ptr::from_ref(value).cast::<c_void>();
    let len = size_of::<T>() as socklen_t;
    // SAFETY: the kernel reads `len` bytes of the value, which is borrowed for the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, address, len) }).map(drop)
}

/// Sets an option of packet sockets that is a number.
pub(super) fn set_number(fd: &OwnedFd, option: c_int, value: c_int) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, option, &value)
}

/// Asks for a receive ring.
pub(super) fn set_ring(fd: &OwnedFd, request: &libc::tpacket_req3) -> io::Result<()> {
    set(fd, libc::SOL_PACKET, libc::PACKET_RX_RING as c_int, request)
}

/// Receives what is for other stations too, until the socket is closed.
pub(super) fn set_promiscuous(fd: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: ifindex as c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP as c_int, &request)
}

/// Sets the filter program.
pub(super) fn set_filter(fd: &OwnedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let fprog = libc::sock_fprog {
        len: program.len() as u16,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &fprog)
}

/// Binds to an interface (0: all) and lets all packets in.
pub(super) fn bind(fd: &OwnedFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: ifindex as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as socklen_t;
    let address = std::ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: the kernel reads `len` bytes of the address, which lives until the end of the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), address, len) }).map(drop)
}

/// Reads an option whose value is plain integers.
fn get<T: Default + Copy>(fd: &OwnedFd, level: c_int, option: c_int) -> io::Result<T> {
    let mut value = T::default();
    let address = std::ptr::from_mut(&mut value).cast::<c_void>();
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of the value; `T` is integers, of which all bytes are values.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, address, &mut len) })?;
    Ok(value)
}

/// Packets that the kernel had for the socket and how many of these it dropped, since the last time.
pub(super) fn statistics(fd: &OwnedFd) -> io::Result<(u32, u32)> {
    // tpacket_stats_v3: packets, drops, freezes.
    let [packets, drops, _]: [u32; 3] =
        get(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS as c_int)?;
    Ok((packets, drops))
}

/// Takes the socket's pending error.
pub(super) fn take_error(fd: &OwnedFd) -> io::Result<c_int> {
    get(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

/// Waits until the socket has something; whether it has.
pub(super) fn wait(fd: &OwnedFd, timeout: Duration) -> io::Result<bool> {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: one entry, borrowed for the call.
    match check(unsafe { libc::poll(&mut polled, 1, timeout_ms) }) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error),
    }
}

/// The index of an interface.
pub(super) fn index_of(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends in a zero, borrowed for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The name of an interface.
pub(super) fn name_of(ifindex: u32) -> Option<String> {
    let mut name = [0_u8; libc::IF_NAMESIZE];
    // SAFETY: the call writes at most IF_NAMESIZE bytes, zero at the end.
    let found = unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr().cast()) };
    let len = name.iter().position(|byte| *byte == 0)?;
    (!found.is_null()).then(|| String::from_utf8_lossy(&name[..len]).into_owned())
}

/// An interface request for a name; nothing for a name that is too long.
fn request(name: &str) -> Option<libc::ifreq> {
    // SAFETY: integers and pointers of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One zero stays at the end.
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Some(request)
}

fn ioctl(fd: &OwnedFd, command: libc::Ioctl, name: &str) -> io::Result<libc::ifreq> {
    let mut request = request(name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: both commands read the name and write a member of the request, which is borrowed for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), command, &mut request) })?;
    Ok(request)
}

/// The flags of an interface (`IFF_UP` …).
pub(super) fn flags_of(fd: &OwnedFd, name: &str) -> io::Result<u32> {
    let request = ioctl(fd, libc::SIOCGIFFLAGS as libc::Ioctl, name)?;
    // SAFETY: the command has written this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(u32::from(flags as u16))
}

/// The kind of an interface (`ARPHRD_ETHER` …).
pub(super) fn hardware_of(fd: &OwnedFd, name: &str) -> io::Result<u16> {
    let request = ioctl(fd, libc::SIOCGIFHWADDR as libc::Ioctl, name)?;
    // SAFETY: the command has written this member.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// A ring of blocks that the kernel fills.
#[derive(Debug)]
pub(super) struct Ring {
    base: NonNull<u8>,
    block_bytes: usize,
    blocks: usize,
}

// SAFETY: the mapping belongs to this value alone, whichever thread it is on.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring of a socket that has one of this shape.
    pub(super) fn map(fd: &OwnedFd, block_bytes: usize, blocks: usize) -> io::Result<Self> {
        let len = block_bytes * blocks;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, block_bytes, blocks })
    }

    fn word(&self, block: usize, at: usize) -> &AtomicU32 {
        assert!(block < self.blocks && at + 4 <= self.block_bytes && at.is_multiple_of(4));
        let offset = block * self.block_bytes + at;
        // SAFETY: inside the mapping, by the comparison above.
        let address = unsafe { self.base.add(offset) };
        // SAFETY: aligned, as blocks are whole pages and `at` is a multiple of 4; lives as long as the mapping; the kernel and we write it
        // as a whole.
        unsafe { AtomicU32::from_ptr(address.as_ptr().cast()) }
    }

    fn is_ours(&self, block: usize) -> bool {
        self.word(block, STATUS_AT).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// A block that the kernel has given to us.
    pub(super) fn block(&mut self, block: usize) -> Option<&mut [u8]> {
        if !self.is_ours(block) {
            return None;
        }
        let offset = block * self.block_bytes;
        // SAFETY: inside the mapping: `is_ours` has compared the number.
        let address = unsafe { self.base.add(offset) };
        // SAFETY: the block's bytes, which the kernel leaves alone until it has the block back; that takes `&mut self`, so the
        // borrow has ended by then.
        Some(unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), self.block_bytes) })
    }

    /// Gives a block back to the kernel.
    pub(super) fn release(&mut self, block: usize) {
        self.word(block, NUM_PACKETS_AT).store(0, Ordering::Relaxed);
        self.word(block, STATUS_AT).store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }

    /// Whether the kernel has begun to fill a block that is its own.
    pub(super) fn is_filling(&self, block: usize) -> bool {
        self.word(block, NUM_PACKETS_AT).load(Ordering::Relaxed) > 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing borrows from it any more. It can only fail for a range that is no mapping.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.block_bytes * self.blocks) };
    }
}
