//! The books of a writer: where every packet went.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What became of the packets of one writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Packets that the kernel had for the recorder; of traces, those read.
    pub received: u64,
    /// Of those, given up by the kernel for want of room.
    pub os_dropped: u64,
    /// Packets that reached the recorder.
    pub captured: u64,
    /// Of those, not wanted.
    pub filtered: u64,
    /// Of those, given up as the buffer was full: the disk is slower than the packets come.
    pub lost_buffer: u64,
    /// Of those, given up as the disk was full or failed.
    pub lost_disk: u64,
    /// Of those, written.
    pub written: u64,
    /// Lengths of the packets written, as kept, bytes.
    pub packet_bytes: u64,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// Segments begun.
    pub segments: u64,
    /// Segments that retention has deleted, of all writers.
    pub deleted: u64,
}

impl Books {
    /// Whether every packet is accounted for.
    pub fn balance(&self) -> bool {
        self.captured == self.written + self.filtered + self.lost_buffer + self.lost_disk
    }
}

impl std::ops::AddAssign for Books {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.os_dropped += other.os_dropped;
        self.captured += other.captured;
        self.filtered += other.filtered;
        self.lost_buffer += other.lost_buffer;
        self.lost_disk += other.lost_disk;
        self.written += other.written;
        self.packet_bytes += other.packet_bytes;
        self.segment_bytes += other.segment_bytes;
        self.segments += other.segments;
        self.deleted += other.deleted;
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { captured, written, filtered, lost_buffer, lost_disk, .. } = self;
        write!(
            f,
            "captured {captured} = written {written} + filtered {filtered} + lost (buffer) {lost_buffer} + lost (disk) {lost_disk}"
        )
    }
}

/// The books while they are written, by the thread that captures and the one that writes.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) received: AtomicU64,
    pub(super) os_dropped: AtomicU64,
    pub(super) captured: AtomicU64,
    pub(super) filtered: AtomicU64,
    pub(super) lost_buffer: AtomicU64,
    pub(super) lost_disk: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) packet_bytes: AtomicU64,
    pub(super) segment_bytes: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) deleted: AtomicU64,
    /// Nothing more can be written.
    pub(super) has_failed: AtomicBool,
}

impl Account {
    pub(super) fn books(&self) -> Books {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Books {
            received: of(&self.received),
            os_dropped: of(&self.os_dropped),
            captured: of(&self.captured),
            filtered: of(&self.filtered),
            lost_buffer: of(&self.lost_buffer),
            lost_disk: of(&self.lost_disk),
            written: of(&self.written),
            packet_bytes: of(&self.packet_bytes),
            segment_bytes: of(&self.segment_bytes),
            segments: of(&self.segments),
            deleted: of(&self.deleted),
        }
    }
}

/// Adds to a count that only this thread adds to.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
