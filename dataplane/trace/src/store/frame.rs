//! Frames: what a segment's blocks are checked by.
//!
//! A segment is ordinary pcapng. Between its blocks stand blocks of a type that pcapng reserves for local use, which other programs step over. Each
//! says how many bytes of blocks follow that belong to it, how many packets they hold, the sequence number of the first, and two checksums, of
//! itself and of what follows. A reader of the store takes nothing that does not agree with them, and finds the next frame behind damage.
//!
//! ```text
//!  0  block type 0x80575446        40  earliest stamp, ns
//!  4  block length 80              48  latest stamp, ns
//!  8  "wt-frame"                   56  packets
//! 16  id of the store              60  interfaces described before
//! 24  sequence of first packet     64  kind: 0 packets, 1 interfaces, 2 statistics, 3 end
//! 32  bytes that follow            68  CRC-32 of the bytes that follow
//!                                  72  CRC-32 of bytes 0 to 72
//!                                  76  block length 80
//! ```
//!
//! Numbers are little-endian, as all of a segment. The frame at the end of a segment that was closed sums it up: the sequence of its first
//! packet, all packets, earliest and latest stamp, its length before this frame in the place of the bytes that follow.

/// Bytes of a frame's own block.
pub(crate) const FRAME_LEN: usize = 80;

/// Most bytes that follow.
pub(crate) const BODY_LEN_MAX: u64 = 8 << 20;

/// Local use (draft-ietf-opsawg-pcapng, 11.1).
const BLOCK_TYPE: u32 = 0x8057_5446;
const MAGIC: [u8; 8] = *b"wt-frame";
const CRC_AT: usize = 72;

/// How every frame begins.
pub(crate) const PREFIX: [u8; 16] = {
    let mut prefix = [0; 16];
    let (kind, len) = (BLOCK_TYPE.to_le_bytes(), (FRAME_LEN as u32).to_le_bytes());
    let mut at = 0;
    while at < 4 {
        prefix[at] = kind[at];
        prefix[4 + at] = len[at];
        prefix[8 + at] = MAGIC[at];
        prefix[12 + at] = MAGIC[4 + at];
        at += 1;
    }
    prefix
};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Enhanced packet blocks.
    Packets = 0,
    /// Interface description blocks.
    Interfaces = 1,
    /// Interface statistics blocks.
    Statistics = 2,
    /// Nothing: it sums up the segment, which was closed.
    End = 3,
}

/// What the block of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) store: u64,
    pub(crate) sequence: u64,
    /// Bytes that follow; of the end, the length of the segment before it.
    pub(crate) bytes: u64,
    pub(crate) min_ns: u64,
    pub(crate) max_ns: u64,
    /// Packets in these bytes; of the end, those of the segment.
    pub(crate) packets: u64,
    /// Interfaces described before.
    pub(crate) interfaces: u32,
    pub(crate) crc: u32,
}

impl Frame {
    /// The block.
    pub(crate) fn encode(&self) -> [u8; FRAME_LEN] {
        let mut block = [0; FRAME_LEN];
        block[..16].copy_from_slice(&PREFIX);
        let words = [self.store, self.sequence, self.bytes, self.min_ns, self.max_ns];
        for (at, word) in (16..).step_by(8).zip(words) {
            block[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        // Segments end long before they have that many packets.
        let packets = u32::try_from(self.packets).unwrap_or(u32::MAX);
        for (at, word) in
            (56..).step_by(4).zip([packets, self.interfaces, self.kind as u32, self.crc])
        {
            block[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let crc = crc32fast::hash(&block[..CRC_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block[CRC_AT + 4..].copy_from_slice(&(FRAME_LEN as u32).to_le_bytes());
        block
    }

    /// The frame that begins here, if its checksum holds and it is of this store.
    pub(crate) fn decode(bytes: &[u8], store: u64) -> Option<Self> {
        let block = bytes.first_chunk::<FRAME_LEN>()?;
        let quad = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| block[at + i]));
        let word = |at: usize| u64::from(quad(at + 4)) << 32 | u64::from(quad(at));
        let is_whole = block[..16] == PREFIX
            && quad(CRC_AT) == crc32fast::hash(&block[..CRC_AT])
            && quad(CRC_AT + 4) == FRAME_LEN as u32;
        if !is_whole || word(16) != store {
            return None;
        }
        let kind = match quad(64) {
            0 => Kind::Packets,
            1 => Kind::Interfaces,
            2 => Kind::Statistics,
            3 => Kind::End,
            _ => return None,
        };
        let frame = Self {
            kind,
            store,
            sequence: word(24),
            bytes: word(32),
            min_ns: word(40),
            max_ns: word(48),
            packets: u64::from(quad(56)),
            interfaces: quad(60),
            crc: quad(68),
        };
        (kind == Kind::End || frame.bytes <= BODY_LEN_MAX).then_some(frame)
    }

    /// Bytes of blocks that follow.
    pub(crate) fn body_len(&self) -> usize {
        if self.kind == Kind::End { 0 } else { self.bytes as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_no_other_does() {
        let frame = Frame {
            kind: Kind::Packets,
            store: 7,
            sequence: 1 << 40,
            bytes: 1000,
            min_ns: 1,
            max_ns: u64::MAX,
            packets: 12,
            interfaces: 3,
            crc: 0xdead_beef,
        };
        let block = frame.encode();
        assert_eq!(Frame::decode(&block, 7), Some(frame));
        assert_eq!(Frame::decode(&block, 8), None);
        assert_eq!(Frame::decode(&block[..79], 7), None);
        for bit in 0..FRAME_LEN * 8 {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&damaged, 7), None, "bit {bit}");
        }
    }
}
