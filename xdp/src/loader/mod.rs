//! Programs in the kernel: loaded, attached, replaced, tried on single packets, and read.
//!
//! Attachment is by a link that this process holds, or the broker that it has started (`crate::broker`): when they end, however they end, the
//! program is gone from the interface. Nothing is pinned.

mod blocks;
mod error;
mod held;
mod memory;
mod sys;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::{Map, MapData, RingBuf};
use aya::programs::ProgramError;
use serde::{Deserialize, Serialize};

pub(crate) use self::blocks::BlockMaps;
pub use self::blocks::{BlockError, BlockList, Blocked, Prefix, PrefixError};
pub use self::error::{AttachError, LoadError, MapAccess};
pub(crate) use self::held::Held;
pub use self::memory::Entry;
use crate::asm::MapId;
use crate::broker::Broker;
use crate::codegen::spec::{ActionLayout, GroupLayout, MapKind, ProgramSpec};
use crate::object::parts;

/// How a program is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attachment {
    /// In the driver.
    Native,
    /// In the stack, behind the allocation of a socket buffer: two to three times the cost per packet.
    Generic {
        /// Why not in the driver.
        reason: String,
    },
}

/// A program in the kernel, with its maps.
pub struct Loaded {
    held: Holder,
    spec: ProgramSpec,
    /// By [`MapId`].
    maps: Vec<OwnedFd>,
    ring: RingBuf<MapData>,
    /// CPUs that there may be: values of maps per CPU have one part each.
    cpus: usize,
    /// The frames.
    frames: sys::Words,
}

/// Who holds the program, and attaches it.
enum Holder {
    /// This process.
    Here(Held),
    /// Another, which has the privileges.
    Broker {
        broker: Broker,
        /// Its number of the program.
        number: u64,
    },
}

/// What one packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What the program returned.
    pub action: u32,
    /// Nanoseconds per run, as the kernel counts them.
    pub duration_ns: u64,
}

/// Bytes of a packet that can be tried on a program: at least an Ethernet header, at most what one page holds beside the kernel's own.
pub const TRIED_BYTES: std::ops::RangeInclusive<usize> = 14..=3400;

impl Loaded {
    /// Loads a program, with empty maps.
    ///
    /// # Errors
    /// No privilege, or the verifier refuses the program.
    pub fn load(spec: &ProgramSpec) -> Result<Self, LoadError> {
        Self::load_blocking(spec, None)
    }

    /// Loads a program, with empty maps but for the block list that it has in common with others.
    ///
    /// # Errors
    /// As [`Self::load`]; the program consults a block list, and none is given.
    pub fn load_blocking(
        spec: &ProgramSpec,
        blocks: Option<&BlockList>,
    ) -> Result<Self, LoadError> {
        let (held, maps) = Held::load(spec, blocks.map(BlockList::maps))?;
        Self::of(Holder::Here(held), maps, spec)
    }

    /// Has a program loaded by a process that has the privileges, with empty maps but for the block list that it has made ([`BlockList::by`]).
    ///
    /// # Errors
    /// As [`Self::load`], and that the broker is gone or refuses what no query is compiled to.
    pub fn load_by(broker: &Broker, spec: &ProgramSpec) -> Result<Self, LoadError> {
        let (number, maps) = broker.load(spec)?;
        Self::of(Holder::Broker { broker: broker.clone(), number }, maps, spec)
    }

    fn of(held: Holder, maps: Vec<OwnedFd>, spec: &ProgramSpec) -> Result<Self, LoadError> {
        let missing = |what: &str| LoadError::Incomplete { what: what.to_owned() };
        let at = spec.maps.iter().position(|map| map.kind == MapKind::Ring);
        let ring = at.and_then(|at| maps.get(at)).ok_or_else(|| missing("ring"))?;
        let ring = MapData::from_fd(ring.try_clone().map_err(LoadError::Other)?);
        let ring = ring.and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
        let ring = ring.map_err(|error| LoadError::Other(std::io::Error::other(error)))?;
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| LoadError::Other(e))?;
        let map = maps.get(spec.layout.frame.0 as usize).ok_or_else(|| missing("frame"))?;
        let words = spec.layout.frame_words * parts().map_err(LoadError::Other)?;
        let frames = sys::Words::of(map.as_fd(), words as usize).map_err(LoadError::Other)?;
        let loaded = Self { held, spec: spec.clone(), maps, ring, cpus, frames };
        loaded.begin().map_err(|e| LoadError::Other(e.source))?;
        Ok(loaded)
    }

    /// What was loaded.
    pub fn spec(&self) -> &ProgramSpec {
        &self.spec
    }

    /// Instructions that the verifier went through; nothing on kernels that do not tell, and of programs that another process holds.
    pub fn verified_instructions(&mut self) -> Option<u32> {
        match &mut self.held {
            Holder::Here(held) => held.verified_instructions(),
            Holder::Broker { .. } => None,
        }
    }

    /// Attaches to an interface: in the driver, or where that has no place for it, in the stack.
    ///
    /// # Errors
    /// No such interface, another program is attached, no privilege.
    pub fn attach(&mut self, interface: &str) -> Result<Attachment, AttachError> {
        match &mut self.held {
            Holder::Here(held) => held.attach(interface),
            Holder::Broker { broker, number } => broker.attach(*number, interface),
        }
    }

    /// Takes the place of another program on its interface. No packet passes between: each is seen by the one or the other. The other's
    /// maps stay to be drained.
    ///
    /// # Errors
    /// The other is not attached, or the kernel refuses.
    pub fn replace(&mut self, other: &mut Loaded) -> Result<(), AttachError> {
        match (&mut self.held, &mut other.held) {
            (Holder::Here(held), Holder::Here(other)) => held.replace(other),
            (Holder::Broker { broker, number }, Holder::Broker { number: other, .. }) => {
                broker.replace(*number, *other)
            }
            // Two processes cannot share a link.
            _ => Err(AttachError::NotLoaded { interface: String::new() }),
        }
    }

    /// Takes the program off its interface.
    ///
    /// # Errors
    /// It is not attached.
    pub fn detach(&mut self) -> Result<(), AttachError> {
        match &mut self.held {
            Holder::Here(held) => held.detach(),
            Holder::Broker { broker, number } => broker.detach(*number),
        }
    }

    /// Runs the program on one packet that is not on any interface.
    ///
    /// # Errors
    /// A packet outside [`TRIED_BYTES`], or a program that another process holds.
    pub fn try_packet(&mut self, packet: &[u8], repeat: u32) -> Result<Tried, ProgramError> {
        match &mut self.held {
            Holder::Here(held) => held.try_packet(packet, repeat),
            Holder::Broker { .. } => Err(ProgramError::NotLoaded),
        }
    }

    /// Gives the first values that are not 0 to the frames of all CPUs.
    fn begin(&self) -> Result<(), MapAccess> {
        if self.spec.layout.frame_init.is_empty() {
            return Ok(());
        }
        let mut frames = self.frames();
        for frame in &mut frames {
            for (word, value) in &self.spec.layout.frame_init {
                frame[*word as usize] = *value;
            }
        }
        self.set_frames(&frames)
    }

    /// Writes the words of the control map.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_control(&self, words: &[u64]) -> Result<(), MapAccess> {
        self.update(self.spec.layout.control, 0, words)
    }

    /// Gives a receive queue the socket that its packets are sent to.
    ///
    /// # Errors
    /// The program has no sockets, or the kernel refuses.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapAccess> {
        let Some(sockets) = self.spec.layout.sockets else {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(MapAccess { map: "sockets".to_owned(), what: "write", source });
        };
        // Values have four bytes, those of a word that lie first.
        self.update(sockets.map, queue, &[u64::from(socket.as_raw_fd() as u32).to_le()])
    }

    /// The frames, by the number of their CPU; those of numbers that none has are as they began.
    pub fn frames(&self) -> Vec<Vec<u64>> {
        let words = self.spec.layout.frame_words as usize;
        self.frames.read().chunks(words).map(<[u64]>::to_vec).collect()
    }

    /// Writes the frames, as many as [`Self::frames`] gives. What a program counts meanwhile is overwritten: for programs that do not run.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_frames(&self, frames: &[Vec<u64>]) -> Result<(), MapAccess> {
        self.update(self.spec.layout.frame, 0, &frames.concat())
    }

    /// Hands every record of the ring to `take`, oldest first.
    pub fn drain_ring(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.ring.next() {
            take(&record);
        }
    }

    /// The group table of a query of the program.
    fn groups(&self, query: usize) -> Option<&GroupLayout> {
        match &self.spec.layout.queries.get(query)?.action {
            ActionLayout::Groups(groups) => Some(groups),
            ActionLayout::Select | ActionLayout::Totals(_) => None,
        }
    }

    /// Waits until no program on any CPU still runs that began before: what they wrote is there, and they see what was written before.
    ///
    /// # Errors
    /// The kernel has no such barrier (on machines with CPUs that never tick).
    pub fn quiesce() -> std::io::Result<()> {
        sys::wait_for_readers()
    }

    fn map(&self, map: MapId) -> BorrowedFd<'_> {
        self.maps[map.0 as usize].as_fd()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Holder::Broker { broker, number } = self {
            broker.unload(*number);
        }
    }
}

/// Keeps this thread on the CPU it runs on, as long as the value lives: programs tried from it then count in one frame.
pub struct OnOneCpu(sys::Affinity);

impl OnOneCpu {
    /// Pins the thread.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pin() -> std::io::Result<Self> {
        let before = sys::affinity()?;
        sys::set_affinity(&sys::current_cpu()?)?;
        Ok(Self(before))
    }
}

impl Drop for OnOneCpu {
    fn drop(&mut self) {
        // The thread goes on where it is when this fails.
        let _ = sys::set_affinity(&self.0);
    }
}
