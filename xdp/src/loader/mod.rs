//! Programs in the kernel: loaded, attached, replaced, tried on single packets, and read.
//!
//! Attachment is by a link that this process holds: when it ends, however it ends, the program is gone from the interface. Nothing is pinned.

mod error;
mod memory;
mod sys;

use std::os::fd::AsFd;

use aya::maps::{Map, MapData, RingBuf};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

pub use self::error::{AttachError, LoadError, MapAccess};
pub use self::memory::Entry;
use crate::asm::MapId;
use crate::codegen::spec::{ActionLayout, GroupLayout, ProgramSpec};
use crate::object;

/// How a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    ebpf: Ebpf,
    spec: ProgramSpec,
    /// By [`MapId`].
    maps: Vec<MapData>,
    ring: RingBuf<MapData>,
    link: Option<XdpLinkId>,
    /// CPUs that there may be: values of maps per CPU have one part each.
    cpus: usize,
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
        let bytes = object::write(spec)?;
        let load = |level: VerifierLogLevel| {
            let mut ebpf = EbpfLoader::new()
                .btf(None)
                .verifier_log_level(level)
                .load(&bytes)
                .map_err(|e| LoadError::of(&e, spec))?;
            xdp(&mut ebpf, &spec.name)?.load().map_err(|e| LoadError::of_program(e, spec))?;
            Ok(ebpf)
        };
        let mut ebpf = match load(VerifierLogLevel::STATS) {
            // Only a longer log names the instruction. That of a program too large would be longer than is of use.
            Err(LoadError::Refused { reason, at: None, .. }) if !reason.contains("too large") => {
                load(VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS)?
            }
            other => other?,
        };
        let mut maps = Vec::with_capacity(spec.maps.len());
        let mut ring = None;
        for map in &spec.maps {
            let missing = || LoadError::Incomplete { what: map.name.clone() };
            match ebpf.take_map(&map.name).ok_or_else(missing)? {
                Map::Array(data) | Map::PerCpuArray(data) => maps.push(data),
                found @ Map::RingBuf(_) => {
                    let Map::RingBuf(data) = &found else { return Err(missing()) };
                    let fd = data.fd().as_fd().try_clone_to_owned().map_err(LoadError::Other)?;
                    maps.push(MapData::from_fd(fd).map_err(|_| missing())?);
                    ring = Some(RingBuf::try_from(found).map_err(|_| missing())?);
                }
                _ => return Err(missing()),
            }
        }
        let ring = ring.ok_or(LoadError::Incomplete { what: "ring".into() })?;
        let cpus = aya::util::nr_cpus().map_err(|(_, e)| LoadError::Other(e))?;
        let loaded = Self { ebpf, spec: spec.clone(), maps, ring, link: None, cpus };
        loaded.begin().map_err(|e| LoadError::Other(e.source))?;
        Ok(loaded)
    }

    /// What was loaded.
    pub fn spec(&self) -> &ProgramSpec {
        &self.spec
    }

    /// Instructions that the verifier went through; nothing on kernels that do not tell.
    pub fn verified_instructions(&mut self) -> Option<u32> {
        let program = xdp(&mut self.ebpf, &self.spec.name).ok()?;
        program.info().ok()?.verified_instruction_count()
    }

    /// Attaches to an interface: in the driver, or where that has no place for it, in the stack.
    ///
    /// # Errors
    /// No such interface, another program is attached, no privilege.
    pub fn attach(&mut self, interface: &str) -> Result<Attachment, AttachError> {
        let program = xdp(&mut self.ebpf, &self.spec.name)
            .map_err(|_| AttachError::NotLoaded { interface: interface.to_owned() })?;
        let refused = match program.attach(interface, XdpMode::Driver) {
            Ok(link) => {
                self.link = Some(link);
                return Ok(Attachment::Native);
            }
            Err(error) => AttachError::of(error, interface),
        };
        let AttachError::Other { source, .. } = refused else { return Err(refused) };
        match program.attach(interface, XdpMode::Skb) {
            Ok(link) => {
                self.link = Some(link);
                Ok(Attachment::Generic { reason: source.to_string() })
            }
            Err(error) => Err(AttachError::of(error, interface)),
        }
    }

    /// Takes the place of another program on its interface. No packet passes between: each is seen by the one or the other. The other's
    /// maps stay to be drained.
    ///
    /// # Errors
    /// The other is not attached, or the kernel refuses.
    pub fn replace(&mut self, other: &mut Loaded) -> Result<(), AttachError> {
        let link = other.take_link()?;
        let program = xdp(&mut self.ebpf, &self.spec.name)
            .map_err(|_| AttachError::NotLoaded { interface: String::new() })?;
        let link = program.attach_to_link(link).map_err(|e| AttachError::of(e, ""))?;
        self.link = Some(link);
        Ok(())
    }

    fn take_link(&mut self) -> Result<XdpLink, AttachError> {
        let not_attached = || AttachError::NotLoaded { interface: String::new() };
        let id = self.link.take().ok_or_else(not_attached)?;
        let program = xdp(&mut self.ebpf, &self.spec.name).map_err(|_| not_attached())?;
        program.take_link(id).map_err(|e| AttachError::of(e, ""))
    }

    /// Takes the program off its interface.
    ///
    /// # Errors
    /// It is not attached.
    pub fn detach(&mut self) -> Result<(), AttachError> {
        self.take_link().map(drop)
    }

    /// Runs the program on one packet that is not on any interface.
    ///
    /// # Errors
    /// A packet outside [`TRIED_BYTES`].
    pub fn try_packet(&mut self, packet: &[u8], repeat: u32) -> Result<Tried, ProgramError> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let program = self.ebpf.program_mut(&self.spec.name);
        let program: &mut Xdp = program.ok_or(ProgramError::NotLoaded)?.try_into()?;
        let run = program.test_run(options)?;
        let duration_ns = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Tried { action: run.return_value, duration_ns })
    }

    /// Gives the first values that are not 0 to the frames of all CPUs.
    fn begin(&self) -> Result<(), MapAccess> {
        if self.spec.layout.frame_init.is_empty() {
            return Ok(());
        }
        let words = self.spec.layout.frame_words as usize;
        let mut frame = vec![0; words];
        for (word, value) in &self.spec.layout.frame_init {
            frame[*word as usize] = *value;
        }
        self.update(self.spec.layout.frame, 0, &frame.repeat(self.cpus))
    }

    /// Writes the words of the control map.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_control(&self, words: &[u64]) -> Result<(), MapAccess> {
        self.update(self.spec.layout.control, 0, words)
    }

    /// The frames, one per CPU.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn frames(&self) -> Result<Vec<Vec<u64>>, MapAccess> {
        let words = self.spec.layout.frame_words as usize;
        let mut all = vec![0; words * self.cpus];
        self.lookup(self.spec.layout.frame, 0, &mut all)?;
        Ok(all.chunks(words).map(<[u64]>::to_vec).collect())
    }

    /// Writes the frames, one per CPU. What a program counts meanwhile is overwritten: for programs that do not run.
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
            ActionLayout::Select => None,
        }
    }

    /// Waits until no program on any CPU still runs that began before: what they wrote is there, and they see what was written before.
    ///
    /// # Errors
    /// The kernel has no such barrier (on machines with CPUs that never tick).
    pub fn quiesce() -> std::io::Result<()> {
        sys::wait_for_readers()
    }

    fn map(&self, map: MapId) -> std::os::fd::BorrowedFd<'_> {
        self.maps[map.0 as usize].fd().as_fd()
    }
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, LoadError> {
    let missing = || LoadError::Incomplete { what: name.to_owned() };
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
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
