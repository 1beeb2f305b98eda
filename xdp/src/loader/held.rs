//! A program that this process holds: loaded, attached, replaced and tried through aya.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::Map;
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::{AttachError, Attachment, BlockMaps, LoadError, Tried, sys};
use crate::asm::MapId;
use crate::codegen::spec::{MapKind, MapSpec, ProgramSpec};
use crate::object;

/// A program in the kernel.
pub(crate) struct Held {
    ebpf: Ebpf,
    name: String,
    link: Option<XdpLinkId>,
}

impl Held {
    /// Loads a program; its maps, by number.
    /// Those that it has in common with others are given and do not come back.
    pub(crate) fn load(
        spec: &ProgramSpec,
        blocks: Option<&BlockMaps>,
    ) -> Result<(Self, Vec<OwnedFd>), LoadError> {
        let mut made = parts(&spec.maps).map_err(LoadError::of_map)?;
        let mut given = blocks.map_or_else(Vec::new, |blocks| blocks.of(&spec.maps));
        given.extend(made.iter().map(|(id, map)| (*id, map.as_raw_fd())));
        let bytes = object::write_given(spec, &given)?;
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
        for (id, map) in (0..).map(MapId).zip(&spec.maps) {
            if map.kind.is_shared() {
                continue;
            }
            if let Some(at) = made.iter().position(|(known, _)| *known == id) {
                maps.push(made.swap_remove(at).1);
                continue;
            }
            let missing = || LoadError::Incomplete { what: map.name.clone() };
            let found = ebpf.take_map(&map.name).ok_or_else(missing)?;
            let (Map::Array(data)
            | Map::PerCpuArray(data)
            | Map::RingBuf(data)
            | Map::XskMap(data)) = &found
            else {
                return Err(missing());
            };
            maps.push(data.fd().as_fd().try_clone_to_owned().map_err(LoadError::Other)?);
        }
        Ok((Self { ebpf, name: spec.name.clone(), link: None }, maps))
    }

    fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        xdp(&mut self.ebpf, &self.name)
    }

    /// Instructions that the verifier went through.
    pub(super) fn verified_instructions(&mut self) -> Option<u32> {
        self.program().ok()?.info().ok()?.verified_instruction_count()
    }

    /// Attaches to an interface, in the driver or else in the stack.
    pub(crate) fn attach(&mut self, interface: &str) -> Result<Attachment, AttachError> {
        let not_loaded = || AttachError::NotLoaded { interface: interface.to_owned() };
        let program = self.program().map_err(|_| not_loaded())?;
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

    /// Takes the place of another program on its interface.
    pub(crate) fn replace(&mut self, other: &mut Held) -> Result<(), AttachError> {
        let link = other.take_link()?;
        let program = self.program().map_err(|_| not_attached())?;
        let link = program.attach_to_link(link).map_err(|e| AttachError::of(e, ""))?;
        self.link = Some(link);
        Ok(())
    }

    fn take_link(&mut self) -> Result<XdpLink, AttachError> {
        let id = self.link.take().ok_or_else(not_attached)?;
        let program = self.program().map_err(|_| not_attached())?;
        program.take_link(id).map_err(|e| AttachError::of(e, ""))
    }

    /// Takes the program off its interface.
    pub(crate) fn detach(&mut self) -> Result<(), AttachError> {
        self.take_link().map(drop)
    }

    /// Runs the program on one packet.
    pub(super) fn try_packet(&mut self, packet: &[u8], repeat: u32) -> Result<Tried, ProgramError> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let program = self.ebpf.program_mut(&self.name);
        let program: &mut Xdp = program.ok_or(ProgramError::NotLoaded)?.try_into()?;
        let run = program.test_run(options)?;
        let duration_ns = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(Tried { action: run.return_value, duration_ns })
    }
}

/// Maps with a part for each CPU. They are made here, as they are to be mapped.
fn parts(maps: &[MapSpec]) -> std::io::Result<Vec<(MapId, OwnedFd)>> {
    let parts = object::parts()?;
    let is_it = |(_, map): &(MapId, &MapSpec)| map.kind == MapKind::PartPerCpu;
    let make = |(id, map): (MapId, &MapSpec)| {
        let bytes = map.bytes.checked_mul(parts).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok((id, sys::create(sys::kind::ARRAY, 4, bytes, 1, &map.name)?))
    };
    (0..).map(MapId).zip(maps).filter(is_it).map(make).collect()
}

fn not_attached() -> AttachError {
    AttachError::NotLoaded { interface: String::new() }
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, LoadError> {
    let missing = || LoadError::Incomplete { what: name.to_owned() };
    ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|_| missing())
}
