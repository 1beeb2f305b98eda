//! What code generation gives: instructions, the maps they use, and where to find what they count.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use wt_catalog::Type;
use wt_catalog::layout::Column;
use wt_plan::ir::AggKind;

use crate::asm::{Code, MapId};

/// A program as it is to be loaded. The same LFTA program gives the same specification on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramSpec {
    /// Its name in the kernel, at most 15 bytes.
    pub name: String,
    /// Instructions.
    pub code: Code,
    /// Maps by [`MapId`].
    pub maps: Vec<MapSpec>,
    /// What lies where.
    pub layout: Layout,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSpec {
    /// Its name in the kernel, at most 15 bytes.
    pub name: String,
    /// What it is.
    pub kind: MapKind,
    /// Bytes of an entry, or of a part of it; of a ring, its size.
    pub bytes: u32,
    /// Entries.
    pub entries: u32,
}

/// Kinds of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapKind {
    /// One entry for all CPUs, whose address instructions name.
    Data,
    /// One entry for all CPUs, whose address instructions name, with a part of so many bytes for each.
    PartPerCpu,
    /// An array per CPU.
    PerCpuArray,
    /// A ring buffer of all CPUs.
    Ring,
    /// AF_XDP sockets, one per receive queue.
    Sockets,
    /// Prefixes of addresses, made before the program and shared by several.
    SharedPrefixes,
    /// One entry for all CPUs, made before the program and shared by several; instructions name its address.
    SharedData,
}

impl MapKind {
    /// Whether the loader is given the map instead of making it.
    pub const fn is_shared(self) -> bool {
        matches!(self, MapKind::SharedPrefixes | MapKind::SharedData)
    }

    /// Whether instructions name the address of its one entry, rather than the map.
    pub const fn is_addressed(self) -> bool {
        matches!(self, MapKind::Data | MapKind::PartPerCpu | MapKind::SharedData)
    }
}

/// Where a program keeps what. Offsets are in words of 8 bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The map with a frame for each CPU: counters, windows, and what is computed for the packet at hand.
    pub frame: MapId,
    /// The map that user space writes.
    pub control: MapId,
    /// The map through which tuples and ejected groups leave.
    pub ring: MapId,
    /// Words of a frame.
    pub frame_words: u32,
    /// Words of the frame that begin with another value than 0.
    pub frame_init: Vec<(u32, u64)>,
    /// By parameter: its first word in the control map.
    pub params: Vec<u32>,
    /// Words of the control map with secrets that group keys are hashed with: odd, one for each word of the longest key.
    pub secrets: Range<u32>,
    /// Words of the control map.
    pub control_words: u32,
    /// The queries it runs.
    pub queries: Vec<QueryLayout>,
    /// The others, when the packets that they may want are sent to the host: indices among the queries of the LFTA program.
    pub host: Vec<u32>,
    /// The block list, when the program consults one.
    pub blocks: Option<BlockLayout>,
    /// The sockets, when packets are sent to the host by them.
    pub sockets: Option<SocketLayout>,
}

/// How packets are sent to the host by AF_XDP sockets: [`frame_head`], then the packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketLayout {
    /// The map: by receive queue, its socket.
    pub map: MapId,
    /// Word of the control map with the number that each frame carries, so that frames of programs one after another are told apart.
    pub number: u32,
}

/// What precedes a packet's bytes in the frame of a socket, by its first byte.
pub mod frame_head {
    /// Time stamp, ns since the epoch, 8 bytes; it is the ordinal too.
    pub const TIMESTAMP_NS: usize = 0;
    /// Length on the wire, 4 bytes.
    pub const LEN: usize = 8;
    /// Number of the program, 4 bytes.
    pub const NUMBER: usize = 12;
    /// Bytes of all these.
    pub const BYTES: usize = 16;
}

/// A block list: prefixes of source addresses whose packets are dropped, after they were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// The prefixes: see [`block_words`].
    pub prefixes: MapId,
    /// One word: how many prefixes there are. At 0 they are not looked for.
    pub active: MapId,
    /// Word of the frame with the packets dropped.
    pub counter: u32,
}

/// Words of a prefix of the block list. Its key is a length in bits, of 32 bits, and an IPv6 address; IPv4 addresses lie in ::ffff:0:0/96.
pub mod block_words {
    /// When it ends, by the kernel's monotonic clock, ns; 0: never.
    pub const EXPIRES_NS: u32 = 0;
    /// Packets dropped.
    pub const PACKETS: u32 = 1;
    /// Their bytes.
    pub const BYTES: u32 = 2;
    /// When the first was dropped, by the kernel's monotonic clock, ns; 0: none yet.
    pub const FIRST_NS: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
    /// Bytes of a key.
    pub const KEY_BYTES: u32 = 20;
}

/// Words of the frame with counts of packets.
pub mod packet_counters {
    /// Packets seen.
    pub const PACKETS: u32 = 0;
    /// Above a header that is cut off or fails its checks, the path ended.
    pub const MALFORMED: u32 = 1;
    /// The path ended at a depth limit.
    pub const TOO_DEEP: u32 = 2;
    /// More contiguous bytes than offsets reach: passed on unseen.
    pub const OVERSIZE: u32 = 3;
    /// Bytes of all packets.
    pub const BYTES: u32 = 4;
    /// Packets sent to the host's queries: put into the ring, or given to a socket, which may have no room.
    pub const SENT: u32 = 5;
    /// Packets that the host's queries may have wanted, for which there was no room in the ring, or no socket.
    pub const UNSENT: u32 = 6;
    /// How many there are.
    pub const COUNT: u32 = 7;
}

/// Words of the control map.
pub mod control_words {
    /// How often the halves of group tables have changed places, from [`FIRST_TURN`] on: its lowest bit says which half is filled. See also
    /// [`TotalsLayout`](super::TotalsLayout).
    pub const TURN: u32 = 0;
    /// From one tick of the kernel to the next, ns; at 0 ticks are not relied on.
    pub const TICK_NS: u32 = 1;
    /// The longest there is, at 100 a second: one that is taken for longer than it is has the clock read too often, and no window wrong.
    pub const TICK_MAX_NS: u64 = 10_000_000;
    /// Added to the kernel's monotonic clock: nanoseconds since the epoch.
    pub const CLOCK_OFFSET_NS: u32 = 2;
    /// Given time stamp, nanoseconds since the epoch.
    pub const TIMESTAMP_NS: u32 = 3;
    /// Given length on the wire, bytes.
    pub const LEN: u32 = 4;
    /// Given interface index.
    pub const IFINDEX: u32 = 5;
    /// Given direction.
    pub const DIRECTION: u32 = 6;
    /// Given ordinal.
    pub const ORDINAL: u32 = 7;
    /// How many there are; parameters and secrets follow.
    pub const COUNT: u32 = 8;
    /// The first turn: no group has been filled in one before.
    pub const FIRST_TURN: u64 = 2;
}

/// Words of a query's counters, from [`QueryLayout::counters`] on.
pub mod query_counters {
    /// Qualified and taken. Not counted of a query without keys, whose group has the number.
    pub const MATCHED: u32 = 0;
    /// A referenced field is not in the packet.
    pub const ABSENT: u32 = 1;
    /// A partial operation failed.
    pub const FAILED: u32 = 2;
    /// Behind the window by more than the tolerance.
    pub const LATE: u32 = 3;
    /// Partial groups that left through the ring.
    pub const EJECTED: u32 = 4;
    /// Tuples lost because the ring was full, those in lost groups among them.
    pub const LOST: u32 = 5;
    /// How many there are.
    pub const COUNT: u32 = 6;
}

/// A query of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryLayout {
    /// Index among the queries of the LFTA program; records in the ring carry it.
    pub query: u32,
    /// Stream name.
    pub name: String,
    /// Its first counter in the frame.
    pub counters: u32,
    /// Columns of a selection, or keys of a group.
    pub columns: Vec<Column>,
    /// Words that the columns take.
    pub column_words: u32,
    /// What is done with tuples.
    pub action: ActionLayout,
}

/// What a query does with a qualified tuple.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionLayout {
    /// A record per tuple: head, ordinal, columns.
    Select,
    /// Groups in a table; a record per ejected group: head, then the entry.
    Groups(GroupLayout),
    /// One group, in the frame: the query has no keys.
    Totals(TotalsLayout),
}

impl ActionLayout {
    /// Whether keys are hashed.
    pub(super) fn is_hashed(&self) -> bool {
        matches!(self, ActionLayout::Groups(groups) if groups.slots > 1)
    }
}

/// The one group of a query without keys, twice in each frame. In turn *n* the one is filled whose number is the lowest bit of *n*. Each begins
/// with the number of the turn in which it was filled last; an entry as in a table follows ([`GroupLayout`]). In a turn after that the
/// program begins it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalsLayout {
    /// Word of the frame where the first begins.
    pub first: u32,
    /// Words of an entry.
    pub entry_words: u32,
    /// Aggregates in order.
    pub states: Vec<StateLayout>,
}

impl TotalsLayout {
    /// The word with the number of the turn.
    pub(crate) const TURN: u32 = 0;
    /// The entry's first word: tuples.
    pub(crate) const TUPLES: u32 = 1;
    /// The entry's second word: the ordinal of the first tuple.
    pub(crate) const ORDINAL: u32 = 2;

    /// Words from one to the other.
    pub const fn stride(&self) -> u32 {
        Self::TUPLES + self.entry_words
    }
}

/// A group table. An entry is: tuples (0: the slot is free), ordinal of the first, keys, states.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLayout {
    /// Its map: twice `slots` entries, a half for turns of either parity.
    pub table: MapId,
    /// Slots of a half, a power of two.
    pub slots: u32,
    /// Words of an entry.
    pub entry_words: u32,
    /// Aggregates in order.
    pub states: Vec<StateLayout>,
    /// Ordered keys.
    pub windows: Vec<WindowLayout>,
    /// First of four words of the frame, two per half: the turn in which a group came to it last, and a bit for each [`USED_PARTS`]th of its
    /// slots, or each slot, to which one came in that turn.
    pub used: u32,
}

/// Parts of a half that it is known of whether groups came to them.
pub const USED_PARTS: u32 = 64;

impl GroupLayout {
    /// By part of a half, a bit: whether groups came to it in a turn, on a CPU with this frame.
    pub fn used(&self, frame: &[u64], turn: u64) -> u64 {
        let first = self.used as usize + 2 * (turn & 1) as usize;
        match frame[first] == turn {
            true => frame[first + 1],
            false => 0,
        }
    }

    /// Slots of a part.
    pub const fn part_slots(&self) -> u32 {
        if self.slots > USED_PARTS { self.slots / USED_PARTS } else { 1 }
    }
}

/// Words of an entry before its keys.
pub const ENTRY_HEAD_WORDS: u32 = 2;

/// Words of a record before what it carries.
pub const RECORD_HEAD_WORDS: u32 = 1;

/// Words of a record with a packet before the packet's bytes: head; time stamp, ns; length on the wire and bytes that follow, 32 bits each;
/// ordinal.
pub const PACKET_HEAD_WORDS: u32 = RECORD_HEAD_WORDS + 3;

/// An aggregate of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLayout {
    /// Which.
    pub kind: AggKind,
    /// Type of its result.
    pub ty: Type,
    /// Its word in the entry; COUNT is the number of tuples.
    pub word: u32,
}

/// An ordered key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLayout {
    /// Index among the keys.
    pub key: u32,
    /// Its type.
    pub ty: Type,
    /// Decreasing rather than increasing.
    pub decreasing: bool,
    /// How far behind the newest value stays open, in units of the key.
    pub tolerance: u64,
    /// Word of the frame with the bound behind which tuples are late.
    pub bound: u32,
    /// Word of the frame that says whether any bound is known.
    pub known: u32,
}
