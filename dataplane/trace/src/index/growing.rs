//! The index of a segment, made while the segment is written: of what the writing thread has at hand, and with the checksum that the frame has anyway.
//!
//! Packets are looked at before they are written, as their frame needs the checksum of its bytes, and entered when they have been. Entries are appended some
//! at a time; then the header says how far they go. So the index is one of a trace that grows at any time: a recorder that is killed
//! leaves the beginning of one, and what no entry covers is read.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::block::Block;
use super::format::{Appending, HEADER_LEN, Header};
use super::seen::Seen;
use super::summary::Summary;
use super::{HEAD_LEN_MAX, changed_ns, path_of};

/// Bytes of an enhanced packet block before the packet.
const PACKET_HEAD_LEN: usize = 28;

/// Bytes that are looked at twice, for the checksum and for the headers, while they are in the nearest cache.
const PIECE_LEN: usize = 8 << 10;

/// Bytes of packets for which it pays to bring what has been seen into the cache.
const WARM_LEN: usize = 256 << 10;

/// Bytes of entries that are appended at once.
const PENDING_LEN: usize = 256 << 10;

/// An index on its way.
#[derive(Debug)]
pub(crate) struct Growing {
    file: File,
    path: PathBuf,
    header: Header,
    /// Bytes of the index that are written, and what is complete behind them: up to where in the trace.
    len: u64,
    pending: Vec<u8>,
    pending_end: u64,
    appending: Appending,
    /// Bytes of the trace so far, and its beginning.
    trace_len: u64,
    head: Vec<u8>,
    /// Link types of the interfaces described so far.
    link_types: Vec<u16>,
    seen: Seen,
    open: Option<Open>,
    looked: Looked,
}

/// The block at hand and the checksum of what the trace has of it.
#[derive(Clone, Debug)]
struct Open {
    block: Block,
    crc: Hasher,
}

/// What was found in packets that are not yet written.
#[derive(Debug, Default)]
struct Looked {
    /// The block as it was before them, and how many interfaces were described.
    before: Option<Open>,
    described: usize,
    /// Blocks that end among them, each with the checksum of its part of them.
    ended: Vec<(Block, Hasher)>,
    /// The checksum of those behind.
    rest: Hasher,
}

impl Growing {
    /// Begins the index of a trace that is empty.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn create(trace: &Path, ratio: u64) -> io::Result<Self> {
        let path = path_of(trace);
        let header = Header {
            ratio,
            trace_len: 0,
            changed_ns: 0,
            first_at: 0,
            head_len: 0,
            head_crc: 0,
            summary_len: Summary::len_at(ratio) as u32,
            entries: 0,
            earliest_ns: u64::MAX,
            fall_ns: 0,
        };
        let file = File::create(&path)?;
        file.write_all_at(&header.encode(), 0)?;
        Ok(Self {
            file,
            path,
            header,
            len: HEADER_LEN as u64,
            pending: Vec::new(),
            pending_end: 0,
            appending: Appending::new(),
            trace_len: 0,
            head: Vec::new(),
            link_types: Vec::new(),
            seen: Seen::new(),
            open: None,
            looked: Looked::default(),
        })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the trace that its entries cover, with what stands before the first.
    pub(crate) fn covered(&self) -> u64 {
        self.header.trace_len
    }

    /// Looks at packets that are to be written behind what there is and `before` bytes; gives the checksum of their blocks. `link_types` are those of all
    /// interfaces that they may refer to.
    ///
    /// # Errors
    /// The blocks are not such as the recorder writes.
    pub(crate) fn look(
        &mut self,
        before: u64,
        packets: &[u8],
        link_types: impl IntoIterator<Item = u16>,
    ) -> io::Result<u32> {
        let known = self.link_types.len();
        self.link_types.extend(link_types.into_iter().skip(known));
        self.looked.described = known;
        let start = self.trace_len + before;
        if let Some(open) = &mut self.open {
            open.block.settle(&mut self.seen);
        }
        self.looked.before.clone_from(&self.open);
        self.looked.ended.clear();
        // What describes interfaces stands before these packets, in the block of the last ones.
        if let Some(open) = &mut self.open {
            open.block.has_metadata |= self.link_types.len() > known;
        }
        if packets.len() >= WARM_LEN {
            self.seen.warm();
        }
        let mut rest = Hasher::new();
        // Where the next packet begins.
        let mut at = 0;
        let mut piece_at = 0;
        for piece in packets.chunks(PIECE_LEN) {
            let before_piece = rest.clone();
            rest.update(piece);
            let piece_end = piece_at + piece.len();
            // What the checksum up to this place is made of.
            let (mut from, mut upto) = (piece_at, before_piece);
            while at < piece_end {
                let offset = start + at as u64;
                match &mut self.open {
                    None => {
                        let mut block = Block::new(offset, self.header.summary_len as usize);
                        block.has_metadata = true;
                        self.open = Some(Open { block, crc: Hasher::new() });
                    }
                    Some(open) if offset - open.block.offset >= self.header.ratio => {
                        let next = Block::new(offset, self.header.summary_len as usize);
                        upto.update(&packets[from..at]);
                        let part = std::mem::replace(&mut upto, Hasher::new());
                        from = at;
                        rest = Hasher::new();
                        rest.update(&packets[at..piece_end]);
                        open.block.complete(&mut self.seen);
                        self.looked.ended.push((std::mem::replace(&mut open.block, next), part));
                    }
                    Some(_) => {}
                }
                let Some(open) = &mut self.open else { break };
                // Those that begin before the next block, and in this piece.
                let end = open.block.offset + self.header.ratio - start;
                let until = piece_end.min(end as usize);
                let entered =
                    enter(&mut open.block, packets, at..until, &self.link_types, &mut self.seen);
                at = entered.ok_or(io::ErrorKind::InvalidData)?;
            }
            piece_at = piece_end;
        }
        let mut all = Hasher::new();
        self.looked.ended.iter().for_each(|(_, part)| all.combine(part));
        all.combine(&rest);
        self.looked.rest = rest;
        Ok(all.finalize())
    }

    /// Forgets the packets looked at last: they could not be written.
    pub(crate) fn unlook(&mut self) {
        self.open = self.looked.before.take();
        self.looked.ended.clear();
        self.link_types.truncate(self.looked.described);
        // It has more than was written.
        self.seen.forget();
    }

    /// Enters what was written: `before` that, and the packets looked at last.
    ///
    /// # Errors
    /// The index cannot be written. What it has stays good; nothing more can be entered.
    pub(crate) fn written(&mut self, before: &[&[u8]], packets: &[u8]) -> io::Result<()> {
        let is_first = self.looked.before.take().is_none();
        let ended = std::mem::take(&mut self.looked.ended);
        before.iter().for_each(|part| self.advance(part));
        self.advance(packets);
        let Some(open) = &mut self.open else { return Ok(()) };
        if is_first {
            let first = ended.first().map_or(&open.block, |(block, _)| block);
            self.header.first_at = first.offset;
        } else {
            before.iter().for_each(|part| open.crc.update(part));
        }
        let nexts: Vec<u64> = ended.iter().skip(1).map(|(block, _)| block.offset).collect();
        let ends = nexts.into_iter().chain([open.block.offset]);
        for ((block, part), end) in ended.into_iter().zip(ends) {
            let mut crc = std::mem::replace(&mut open.crc, Hasher::new());
            crc.combine(&part);
            self.appending.entry(&block.end(end, crc.finalize()), &mut self.pending);
            self.pending_end = end;
        }
        open.crc.combine(&self.looked.rest);
        if self.pending.len() < PENDING_LEN {
            return Ok(());
        }
        self.flush()
    }

    /// Enters what was written and is no packet.
    pub(crate) fn written_besides(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.advance(part);
            if let Some(open) = &mut self.open {
                open.crc.update(part);
            }
        }
    }

    fn advance(&mut self, part: &[u8]) {
        let room = (HEAD_LEN_MAX as usize).saturating_sub(self.head.len());
        self.head.extend_from_slice(&part[..room.min(part.len())]);
        self.trace_len += part.len() as u64;
    }

    /// Writes entries that are complete, and how far they go.
    ///
    /// # Errors
    /// As of [`Self::written`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.pending, self.len)?;
        self.len += self.pending.len() as u64;
        self.pending.clear();
        self.put_header(self.pending_end)
    }

    fn put_header(&mut self, covered: u64) -> io::Result<()> {
        let head = &self.head[..self.head.len().min(covered as usize)];
        self.header.trace_len = covered;
        self.header.head_len = head.len() as u32;
        self.header.head_crc = crc32fast::hash(head);
        self.appending.put(&mut self.header);
        self.file.write_all_at(&self.header.encode(), 0)
    }

    /// Completes it: the trace is written, and will not be changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(mut self, trace: &Metadata) -> io::Result<()> {
        if trace.len() != self.trace_len {
            return Err(io::Error::other("the segment has not the bytes that were written"));
        }
        if let Some(Open { mut block, crc }) = self.open.take() {
            // What stands behind the last packet may be needed for what is appended.
            block.has_metadata = true;
            block.complete(&mut self.seen);
            let entry = block.end(trace.len(), crc.finalize());
            self.appending.entry(&entry, &mut self.pending);
            self.pending_end = trace.len();
        }
        self.flush()?;
        self.header.changed_ns = changed_ns(trace);
        self.put_header(trace.len())?;
        self.file.sync_data()
    }
}

/// Enters the packets that begin in a range of the bytes; where the next one begins, if all of these are packets.
fn enter(
    block: &mut Block,
    packets: &[u8],
    range: Range<usize>,
    link_types: &[u16],
    seen: &mut Seen,
) -> Option<usize> {
    let Block { tally: total, summary, .. } = block;
    // In registers, as far as these suffice.
    let mut tally = *total;
    let mut at = range.start;
    while at < range.end {
        let bytes = &packets[at..];
        let head = bytes.first_chunk::<PACKET_HEAD_LEN>()?;
        let quad = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| head[at + i]));
        let timestamp_ns = u64::from(quad(12)) << 32 | u64::from(quad(16));
        let data = bytes.get(PACKET_HEAD_LEN..PACKET_HEAD_LEN + quad(20) as usize)?;
        let link_type = *link_types.get(quad(8) as usize)?;
        tally.add(timestamp_ns, quad(24));
        summary.add_packet(link_type, data, seen);
        // Shorter ones would keep us here for ever.
        at += Some(quad(4) as usize).filter(|len| (32..=bytes.len()).contains(len))?;
    }
    *total = tally;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::{Index, scan};
    use super::*;
    use crate::record::{Interface, encode};
    use wt_wire::{Direction, LinkType};

    /// Packets of UDP, whatever a number makes of them.
    fn packets(count: u32, seed: u32, interface: u32) -> Vec<u8> {
        let mut blocks = Vec::new();
        for number in 0..count {
            let mut data = [0; 14 + 20 + 8].to_vec();
            data[12] = 8;
            data[14] = 0x45;
            data[23] = 17;
            data[26..30].copy_from_slice(&(seed * number).to_be_bytes());
            data[36..38].copy_from_slice(&(number as u16).to_be_bytes());
            data.resize(data.len() + (number * seed % 1400) as usize, 7);
            let at = u64::from(seed) << 32 | u64::from(number);
            encode::packet(&mut blocks, interface, at, 2000, Direction::Inbound, &data);
        }
        blocks
    }

    /// What could not be written leaves no trace in the index, and what was is indexed as if it were read again.
    #[test]
    fn it_is_the_index_that_a_scan_makes() {
        let dir = std::env::temp_dir().join(format!("wt-growing-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let trace = dir.join("a.pcapng");
        for ratio in [64 << 10, 256 << 10, 1 << 20] {
            let mut bytes = Vec::new();
            encode::section(&mut bytes, "a trace");
            let mut growing = Growing::create(&trace, ratio).unwrap();
            growing.written_besides(&[&bytes]);
            let interface = |number: u32| Interface {
                name: Some(format!("eth{number}").into()),
                link_type: LinkType(1),
                snap_len: 0,
            };
            for seed in 1..40_u32 {
                let mut describing = Vec::new();
                let described = (seed / 7).min(4);
                let is_new = seed == 1 || (seed % 7 == 0 && described > (seed - 1) / 7);
                if is_new {
                    encode::interface(&mut describing, &interface(described));
                }
                let types = vec![1; if is_new { described as usize + 1 } else { 0 }];
                let head = [0xaa, 0xaa, 0xaa, 0x8a, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0];
                let before = describing.len() as u64 + 16;
                // Something else first, which the disk has no room for.
                let given_up = packets(300, seed + 99, described);
                growing.look(before, &given_up, types.iter().copied()).unwrap();
                growing.unlook();
                let blocks = packets([5, 900, 2000][seed as usize % 3], seed, described);
                let crc = growing.look(before, &blocks, types).unwrap();
                assert_eq!(crc, crc32fast::hash(&blocks));
                growing.written(&[&describing, &head], &blocks).unwrap();
                bytes.extend([&describing[..], &head, &blocks].concat());
                if seed % 9 == 0 {
                    // A recorder that is killed here leaves the index of what was written.
                    growing.flush().unwrap();
                    std::fs::write(&trace, &bytes).unwrap();
                    let index = Index::open(&trace).unwrap();
                    let whole = scan(&trace, ratio, &mut |_| {}).unwrap();
                    let (entries, len) = (index.entries(), index.len());
                    assert_eq!((len + 1, &entries[..]), (whole.len(), &whole[..len]));
                }
            }
            let end = [0xbb, 0xaa, 0xaa, 0x8a, 12, 0, 0, 0, 12, 0, 0, 0];
            growing.written_besides(&[&end]);
            bytes.extend(end);
            std::fs::write(&trace, &bytes).unwrap();
            growing.finish(&std::fs::metadata(&trace).unwrap()).unwrap();
            let index = Index::open(&trace).unwrap();
            let len = bytes.len() as u64;
            assert_eq!((index.covered(), index.ratio()), ((len, len), ratio));
            assert!(index.entries() == scan(&trace, ratio, &mut |_| {}).unwrap(), "{ratio}");
            assert!(index.len() as u64 > len / ratio * 9 / 10, "{ratio}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let dir = std::env::temp_dir().join(format!("wt-growing-no-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let good = packets(3, 1, 0);
        for (at, value) in [(4, 0), (4, 255), (8, 9), (20, 200)] {
            let mut growing = Growing::create(&dir.join("a.pcapng"), 1 << 20).unwrap();
            let mut bad = good.clone();
            bad[at] = value;
            bad[at + 3] = if value == 0 { 0 } else { 1 };
            assert!(growing.look(0, &bad, [1]).is_err(), "{at}: {value}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
