//! The end of a writer that packets are given to. It encodes them into chunks, and never waits for the disk unless it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wt_wire::{Direction, RecordRef};

use super::books::{Account, Books, add};
use super::encode::{self, Interface, PACKET_EXTRA_MAX};
use super::segment::Buffer;
use crate::store::frame::{BODY_LEN_MAX, FRAME_LEN};

/// Bytes of a chunk: what is written at once.
pub(super) const CHUNK_LEN: usize = 1 << 20;

/// Most bytes of a packet, as wt-wire reads them.
const PACKET_LEN_MAX: usize = wt_wire::CAPLEN_MAX as usize;
const _: () = assert!((CHUNK_LEN + PACKET_LEN_MAX + PACKET_EXTRA_MAX) as u64 <= BODY_LEN_MAX);

/// How long packets may wait in a chunk that is not full.
const CHUNK_AGE_MAX: Duration = Duration::from_millis(100);

/// Packets as blocks, on their way to the disk.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Enhanced packet blocks.
    pub(super) buffer: Buffer,
    /// Where they would stand in a file in which there were nothing but chunks.
    pub(super) at: u64,
    pub(super) packets: u64,
    pub(super) packet_bytes: u64,
    pub(super) min_ns: u64,
    pub(super) max_ns: u64,
    /// Interfaces that the blocks may refer to.
    pub(super) interfaces: u32,
    /// No packet behind these was stamped before, ns since the epoch; 0: nothing is known.
    pub(super) as_of_ns: u64,
}

impl Chunk {
    fn new() -> Self {
        Self {
            buffer: Buffer::new(FRAME_LEN, CHUNK_LEN),
            at: 0,
            packets: 0,
            packet_bytes: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            interfaces: 0,
            as_of_ns: 0,
        }
    }

    /// Empties it. Its frame would stand at `at` among chunks, and is expected at `place` in the file.
    fn clear(&mut self, at: u64, place: u64) {
        self.buffer.clear(place);
        self.at = at;
        (self.packets, self.packet_bytes) = (0, 0);
        (self.min_ns, self.max_ns) = (u64::MAX, 0);
        self.as_of_ns = 0;
    }
}

/// What the feed and the writing thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) account: Account,
    /// All interfaces described so far. They are few.
    pub(super) interfaces: Mutex<Vec<Interface>>,
    /// How far the file is behind [`Chunk::at`], modulo the alignment of writes: chunks are laid out for it, so that they need not be moved.
    pub(super) shift: AtomicU64,
}

/// What the writing thread is given.
pub(super) enum Order {
    /// Packets to be written.
    Chunk(Chunk),
    /// No packet is on its way that was stamped before this time.
    Idle {
        /// ns since the epoch.
        as_of_ns: u64,
    },
    /// Nothing follows.
    End,
}

/// Takes the packets of one writer.
pub struct Feed {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Sender<Order>,
    /// Chunks that were written.
    pub(super) written: Receiver<Chunk>,
    /// Those of them that came back. The last is taken first: it is the likeliest to be in a cache.
    pub(super) free: Vec<Chunk>,
    pub(super) chunk: Option<Chunk>,
    /// Chunks that there may be besides those that there are.
    pub(super) chunks_left: usize,
    pub(super) chunk_since: Option<Instant>,
    pub(super) interfaces: Vec<Interface>,
    /// Bytes kept of a packet.
    pub(super) snap_len: u32,
    /// The source can wait: a file.
    pub(super) waits: bool,
    /// Bytes of chunks and frames so far.
    pub(super) at: u64,
}

impl Feed {
    /// A feed of a thread that takes orders and gives chunks back, of which so many bytes may be on their way.
    pub(super) fn new(
        shared: Arc<Shared>,
        (orders, written): (Sender<Order>, Receiver<Chunk>),
        buffer_bytes: u64,
        snap_len: u32,
        waits: bool,
    ) -> Self {
        let chunks = (buffer_bytes / CHUNK_LEN as u64).max(2);
        Self {
            shared,
            orders,
            written,
            free: Vec::new(),
            chunk: None,
            chunks_left: usize::try_from(chunks).unwrap_or(usize::MAX),
            chunk_since: None,
            interfaces: Vec::new(),
            snap_len,
            waits,
            at: 0,
        }
    }

    /// The number of an interface, which is described if it is new.
    pub fn interface(&mut self, interface: &Interface) -> u32 {
        let known = self.interfaces.iter().position(|known| known == interface);
        known.unwrap_or_else(|| {
            self.interfaces.push(interface.clone());
            let mut shared = self.shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
            shared.push(interface.clone());
            self.interfaces.len() - 1
        }) as u32
    }

    /// Takes packets of an interface, in order; their bytes lie in `data`.
    pub fn packets(&mut self, interface: u32, data: &[u8], records: &[RecordRef]) {
        add(&self.shared.account.captured, records.len() as u64);
        for record in records {
            let bytes = &data[record.at as usize..][..record.caplen as usize];
            self.encode(interface, record.timestamp_ns, record.len, record.direction, bytes);
        }
    }

    /// Bytes kept of a packet.
    pub fn snap_len(&self) -> u32 {
        self.snap_len
    }

    /// Counts packets that were looked at and are not wanted.
    pub fn filtered(&mut self, packets: u64) {
        add(&self.shared.account.captured, packets);
        add(&self.shared.account.filtered, packets);
    }

    /// Takes a packet of an interface.
    #[inline]
    pub fn packet(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        len: u32,
        direction: Direction,
        data: &[u8],
    ) {
        add(&self.shared.account.captured, 1);
        self.encode(interface, timestamp_ns, len, direction, data);
    }

    #[inline]
    fn encode(
        &mut self,
        interface: u32,
        timestamp_ns: u64,
        len: u32,
        direction: Direction,
        data: &[u8],
    ) {
        // Longer ones are no packets, and no reader would take them.
        let kept = data.len().min(PACKET_LEN_MAX).min(self.snap_len as usize);
        let data = &data[..kept];
        let need = data.len() + PACKET_EXTRA_MAX;
        if self.chunk.as_ref().is_some_and(|chunk| chunk.buffer.len() + need > CHUNK_LEN) {
            self.hand_over();
        }
        let interfaces = self.interfaces.len() as u32;
        let Some(chunk) = self.room() else {
            add(&self.shared.account.lost_buffer, 1);
            return;
        };
        chunk.interfaces = interfaces;
        chunk.packets += 1;
        chunk.packet_bytes += data.len() as u64;
        chunk.min_ns = chunk.min_ns.min(timestamp_ns);
        chunk.max_ns = chunk.max_ns.max(timestamp_ns);
        encode::packet(chunk.buffer.bytes(), interface, timestamp_ns, len, direction, data);
    }

    /// A chunk with room for a packet, if there is one.
    #[inline]
    fn room(&mut self) -> Option<&mut Chunk> {
        if self.chunk.is_none() {
            self.chunk = self.empty();
            self.chunk_since = None;
        }
        self.chunk.as_mut()
    }

    #[cold]
    fn empty(&mut self) -> Option<Chunk> {
        self.free.extend(self.written.try_iter());
        let mut chunk = match self.free.pop() {
            Some(chunk) => chunk,
            None if self.chunks_left > 0 => {
                self.chunks_left -= 1;
                Chunk::new()
            }
            // The writing thread gives back every chunk, also those that it cannot write.
            None if self.waits => self.written.recv().ok()?,
            None => return None,
        };
        chunk.clear(self.at, self.at.wrapping_add(self.shared.shift.load(Ordering::Relaxed)));
        Some(chunk)
    }

    fn hand_over(&mut self) {
        self.chunk_since = None;
        let Some(chunk) = self.chunk.take() else { return };
        let packets = chunk.packets;
        self.at = self.at.wrapping_add((FRAME_LEN + chunk.buffer.len()) as u64);
        if self.orders.send(Order::Chunk(chunk)).is_err() {
            // The thread is gone, which is a fault of ours; the books say so.
            add(&self.shared.account.lost_buffer, packets);
        }
    }

    /// Lets packets that have waited long enough go. Call it often. `as_of_ns` is a time before which no packet that is still to come was
    /// stamped, if one is known.
    pub fn tick(&mut self, as_of_ns: Option<u64>) {
        let is_empty = self.chunk.as_ref().is_none_or(|chunk| chunk.packets == 0);
        let since = *self.chunk_since.get_or_insert_with(Instant::now);
        if since.elapsed() < CHUNK_AGE_MAX {
            return;
        }
        self.chunk_since = None;
        if let (false, Some(chunk)) = (is_empty, &mut self.chunk) {
            chunk.as_of_ns = as_of_ns.unwrap_or(0);
            self.hand_over();
        } else if let Some(as_of_ns) = as_of_ns {
            let _ = self.orders.send(Order::Idle { as_of_ns });
        }
    }

    /// Enters what the kernel has counted since the beginning.
    pub fn counted(&self, received: u64, os_dropped: u64) {
        self.shared.account.received.store(received, Ordering::Relaxed);
        self.shared.account.os_dropped.store(os_dropped, Ordering::Relaxed);
    }

    /// Whether nothing more can be written: the disk has failed, or is full and the recording was to stop then.
    pub fn has_failed(&self) -> bool {
        self.shared.account.has_failed.load(Ordering::Relaxed)
    }

    /// The books so far.
    pub fn books(&self) -> Books {
        self.shared.account.books()
    }

    /// Hands over the rest. The writer closes its segment when the feed is gone.
    pub fn finish(mut self) {
        self.hand_over();
        let _ = self.orders.send(Order::End);
    }
}
