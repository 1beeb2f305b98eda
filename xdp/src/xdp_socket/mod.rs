//! AF_XDP sockets, one per receive queue: the frames that a program redirects to them, in memory that the kernel and this process share.
//!
//! The kernel copies a frame once, into the memory (UMEM), also in drivers that could do without: a frame then costs the same wherever it comes from, and each one
//! that finds no room is counted (`XDP_STATISTICS`). A socket receives, and never sends.

mod error;
mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XdpStatistics, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

pub use self::error::SocketError;
use self::sys::{FillRing, Frames, ReceiveRing, Received};
use crate::broker::Broker;
use crate::codegen::spec::frame_head;
use crate::decode::PacketRecord;

/// Sizes of frames, bytes: the kernel knows powers of two from 2,048 to a page.
const FRAME_BYTES: [u32; 2] = [2048, 4096];
/// Bytes of a frame that the kernel keeps for itself.
const HEADROOM_BYTES: u32 = 256;
/// Fewest and most frames of a queue.
const FRAMES: std::ops::RangeInclusive<u32> = 64..=1 << 20;
/// Entries of the ring of frames that were sent: the kernel asks for one, though nothing is sent.
const COMPLETION_ENTRIES: u32 = 64;

/// How often a queue that is taken is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many packets before it is read a packet is fetched: each lies in a frame of its own, where no processor looks by itself.
const AHEAD: u32 = 4;
/// How many frames are given back to the kernel at once.
const RELEASE_EVERY: u32 = 64;

/// What sockets are opened with.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Receive queues of the interface.
    pub(crate) queues: u32,
    /// Memory for frames of all queues, bytes.
    pub(crate) bytes: u64,
    /// Bytes that are looked at of a packet.
    pub(crate) snap_bytes: u32,
}

/// What the kernel has counted of all sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Frames dropped as none was free to copy them into, or as they are longer than one.
    pub(crate) no_frame: u64,
    /// Frames dropped as the ring of received ones was full.
    pub(crate) ring_full: u64,
}

impl Statistics {
    /// Frames dropped.
    pub(crate) fn dropped(self) -> u64 {
        self.no_frame + self.ring_full
    }

    fn add(&mut self, of_socket: XdpStatistics) {
        // That the fill ring was empty is why a frame was dropped, and counted there.
        self.no_frame += of_socket.rx_dropped;
        self.ring_full += of_socket.rx_ring_full.unwrap_or(0);
    }
}

/// An AF_XDP socket without memory or interface, opened by this process.
pub(crate) fn raw() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// The socket of a queue.
struct Socket {
    fd: OwnedFd,
    frames: Frames,
    frame_bytes: u32,
    received: ReceiveRing,
    fill: FillRing,
    /// The beginning of a packet whose end has not been read.
    begun: Vec<u8>,
}

impl Socket {
    /// Binds a socket to a queue; whether packets may lie in several frames. There are fewer frames where fewer may be locked in memory.
    fn open(
        fd: OwnedFd,
        (ifindex, queue): (u32, u32),
        frame_bytes: u32,
        mut frames: u32,
    ) -> Result<(Self, bool), SocketError> {
        let failed = |what| move |error: Errno| SocketError::of(queue, what, error);
        let system =
            |what| move |error: io::Error| SocketError::System { queue, what, source: error };
        let memory = loop {
            let len = u64::from(frame_bytes) * u64::from(frames);
            let bytes = usize::try_from(len).map_err(|e| system("memory")(io::Error::other(e)))?;
            let memory = Frames::new(bytes).map_err(system("memory"))?;
            let umem = XdpUmemReg {
                addr: memory.address(),
                len,
                chunk_size: frame_bytes,
                headroom: 0,
                flags: XdpUmemRegFlags::empty(),
                tx_metadata_len: 0,
            };
            match sockopt::set_xdp_umem_reg(&fd, umem) {
                Ok(()) => break memory,
                Err(Errno::NOBUFS) if frames > *FRAMES.start() => frames /= 2,
                Err(error) => return Err(failed("memory for frames")(error)),
            }
        };
        sockopt::set_xdp_umem_fill_ring_size(&fd, frames).map_err(failed("ring"))?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, COMPLETION_ENTRIES)
            .map_err(failed("ring"))?;
        sockopt::set_xdp_rx_ring_size(&fd, frames).map_err(failed("ring"))?;
        let offsets = sockopt::xdp_mmap_offsets(&fd).map_err(failed("places of rings"))?;
        let received = ReceiveRing::map(&fd, &offsets.rx, frames).map_err(system("ring"))?;
        let mut fill = FillRing::map(&fd, &offsets.fr, frames).map_err(system("ring"))?;
        (0..frames).for_each(|frame| fill.write(u64::from(frame) * u64::from(frame_bytes)));
        fill.release();
        let to = |flags| bind(&fd, &SocketAddrXdp::new(flags, ifindex, queue));
        let several = SocketAddrXdpFlags::XDP_COPY | SocketAddrXdpFlags::XDP_USE_SG;
        let has_several = match to(several) {
            Ok(()) => true,
            // Kernels before 6.6 do not know it.
            Err(Errno::INVAL) => {
                to(SocketAddrXdpFlags::XDP_COPY).map_err(failed("bind"))?;
                false
            }
            Err(error) => return Err(failed("bind")(error)),
        };
        let socket = Self { fd, frames: memory, frame_bytes, received, fill, begun: Vec::new() };
        Ok((socket, has_several))
    }

    /// Takes what has been received; how many packets.
    fn drain(&mut self, take: &mut impl FnMut(u32, &PacketRecord<'_>)) -> usize {
        let ready = self.received.ready();
        let mut packets = 0;
        for count in 1..=ready {
            if ready - count >= AHEAD {
                let (at, len) = self.received.place_ahead(AHEAD);
                self.frames.prefetch(at as usize, len as usize);
            }
            let Received { at, len, goes_on } = self.received.read();
            let bytes = self.frames.bytes(at as usize, len as usize).unwrap_or_default();
            if goes_on || !self.begun.is_empty() {
                self.begun.extend_from_slice(bytes);
            }
            if !goes_on {
                let whole = if self.begun.is_empty() { bytes } else { &self.begun };
                if let Some((number, packet)) = read(whole) {
                    packets += 1;
                    take(number, &packet);
                }
                self.begun.clear();
            }
            self.fill.write(at & !u64::from(self.frame_bytes - 1));
            if count.is_multiple_of(RELEASE_EVERY) || count == ready {
                self.received.release();
                self.fill.release();
            }
        }
        packets
    }
}

/// The number of the program that sent a frame, and the packet in it.
fn read(frame: &[u8]) -> Option<(u32, PacketRecord<'_>)> {
    let (head, data) = frame.split_first_chunk::<{ frame_head::BYTES }>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (low, high) = (word(frame_head::TIMESTAMP_NS), word(frame_head::TIMESTAMP_NS + 4));
    let timestamp_ns = u64::from(high) << 32 | u64::from(low);
    let len = word(frame_head::LEN);
    Some((
        word(frame_head::NUMBER),
        PacketRecord { timestamp_ns, ordinal: timestamp_ns, len, data },
    ))
}

/// The sockets of an interface, by queue.
pub(crate) struct Sockets {
    sockets: Vec<Socket>,
    /// Most bytes of a packet that they take.
    bytes_max: u32,
}

impl Sockets {
    /// Binds a socket to each queue of an interface. A queue that is taken is waited for: the kernel frees one some time after its socket is closed.
    ///
    /// # Errors
    /// No privilege, a queue that stays taken, an interface that is down, no memory.
    pub(crate) fn open(
        ifindex: u32,
        shape: &Shape,
        broker: Option<&Broker>,
        patience: Duration,
    ) -> Result<Self, SocketError> {
        let begin = Instant::now();
        let longest = FRAME_BYTES.map(|bytes| bytes - HEADROOM_BYTES - frame_head::BYTES as u32);
        let is_small = shape.snap_bytes <= longest[0];
        let (frame_bytes, in_one) =
            if is_small { (FRAME_BYTES[0], longest[0]) } else { (FRAME_BYTES[1], longest[1]) };
        let queues = shape.queues.max(1);
        let wanted = shape.bytes / u64::from(queues) / u64::from(frame_bytes);
        let wanted =
            u32::try_from(wanted).unwrap_or(u32::MAX).clamp(*FRAMES.start(), *FRAMES.end());
        let frames = 1 << wanted.ilog2();
        let mut all = Self { sockets: Vec::new(), bytes_max: u32::MAX };
        for queue in 0..queues {
            let (socket, has_several) = loop {
                let fd = broker.map_or_else(raw, Broker::xdp_socket);
                let fd = fd.map_err(|source| SocketError::opening(queue, source))?;
                match Socket::open(fd, (ifindex, queue), frame_bytes, frames) {
                    Err(SocketError::Busy { .. }) if begin.elapsed() < patience => {
                        std::thread::sleep(LOOK_EVERY);
                    }
                    opened => break opened?,
                }
            };
            if !has_several {
                all.bytes_max = in_one;
            }
            all.sockets.push(socket);
        }
        Ok(all)
    }

    /// Most bytes of a packet that they take.
    pub(crate) fn bytes_max(&self) -> u32 {
        self.bytes_max
    }

    /// By queue: the socket.
    pub(crate) fn by_queue(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        (0..).zip(self.sockets.iter().map(|socket| socket.fd.as_fd()))
    }

    /// Takes what has been received, queue by queue, each packet with the number of the program that sent it; how many.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(u32, &PacketRecord<'_>)) -> usize {
        self.sockets.iter_mut().map(|socket| socket.drain(&mut take)).sum()
    }

    /// As [`Self::drain`]; each packet with its queue and the number of the program that sent it.
    pub(crate) fn drain_queues(
        &mut self,
        mut take: impl FnMut(u32, u32, &PacketRecord<'_>),
    ) -> usize {
        let sockets = (0..).zip(&mut self.sockets);
        let of_queue = |(queue, socket): (u32, &mut Socket)| {
            socket.drain(&mut |number, packet| take(queue, number, packet))
        };
        sockets.map(of_queue).sum()
    }

    /// What the kernel has counted.
    pub(crate) fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        // The socket is open and the option known, so this cannot fail.
        let of_sockets = self.sockets.iter().map(|socket| sockopt::xdp_statistics(&socket.fd));
        of_sockets.flatten().for_each(|of_socket| statistics.add(of_socket));
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_packet_behind_its_head() {
        let mut frame = vec![8, 7, 6, 5, 4, 3, 2, 1, 0xdc, 5, 0, 0, 9, 0, 0, 0];
        assert!(read(&frame[..15]).is_none());
        frame.extend(*b"packet");
        let (number, packet) = read(&frame).unwrap();
        assert_eq!((number, packet.len, packet.data), (9, 1500, &b"packet"[..]));
        assert_eq!(packet.timestamp_ns, 0x0102_0304_0506_0708);
    }
}
