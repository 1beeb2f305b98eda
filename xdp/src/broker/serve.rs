//! The end with the privileges.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::message::{self, AttachFault, Fault, LoadFault, Reply, Request, Specification};
use super::vet::vet;
use crate::codegen::spec::{Layout, ProgramSpec};
use crate::loader::{AttachError, BlockMaps, Held};
use crate::{host, packet_socket, xdp_socket};

/// Programs that are held for a run, and the interfaces that it may attach them to.
struct Holding<'a> {
    interfaces: &'a [String],
    programs: HashMap<u64, Held>,
    blocks: Option<BlockMaps>,
    next: u64,
}

/// Does what a run asks for until it ends. Programs can be attached to these interfaces only.
///
/// # Errors
/// The stream fails, or carries something else than requests.
pub fn serve(stream: &UnixStream, interfaces: &[String]) -> io::Result<()> {
    let mut holding = Holding { interfaces, programs: HashMap::new(), blocks: None, next: 1 };
    loop {
        let request = match message::receive::<Request<'static>>(stream) {
            Ok((request, _)) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let (reply, fds) =
            holding.answer(request).unwrap_or_else(|fault| (Reply::Failed(fault), Vec::new()));
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        message::send(stream, &reply, &fds)?;
    }
}

impl Holding<'_> {
    fn answer(&mut self, request: Request<'_>) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        let attach = |error: AttachError| Fault::Attach(AttachFault::from(error));
        let reply = match request {
            Request::Load(spec) => return self.load(spec),
            Request::Attach { number, interface } => {
                if !self.interfaces.iter().any(|known| *known == interface) {
                    let known = self.interfaces.join(", ");
                    let refused = format!("this run was started for {known}");
                    return Err(Fault::Attach(AttachFault::Other(refused)));
                }
                Reply::Attached(self.program(number)?.attach(&interface).map_err(attach)?)
            }
            Request::Replace { number, other } => {
                let mut program = self.programs.remove(&number).ok_or_else(unknown)?;
                let replaced = self.program(other).map(|other| program.replace(other));
                self.programs.insert(number, program);
                replaced?.map_err(attach)?;
                Reply::Done
            }
            Request::Detach { number } => {
                self.program(number)?.detach().map_err(attach)?;
                Reply::Done
            }
            Request::Unload { number } => {
                self.programs.remove(&number);
                Reply::Done
            }
            Request::BlockMaps => {
                let blocks = match self.blocks.take() {
                    Some(blocks) => blocks,
                    None => BlockMaps::create().map_err(system)?,
                };
                let fds = self.blocks.insert(blocks).descriptors().map_err(system)?;
                return Ok((Reply::Done, fds));
            }
            Request::XdpSocket => {
                return Ok((Reply::Done, vec![xdp_socket::raw().map_err(system)?]));
            }
            Request::StampByCard { interface } => {
                if !self.interfaces.iter().any(|known| *known == interface) {
                    return Err(Fault::System(libc::EPERM));
                }
                host::stamp_by_card(&interface).map_err(system)?;
                Reply::Done
            }
            Request::PacketSocket { is_cooked } => {
                let socket = packet_socket::raw(is_cooked);
                return Ok((Reply::Done, vec![socket.map_err(system)?]));
            }
        };
        Ok((reply, Vec::new()))
    }

    fn load(&mut self, spec: Specification<'_>) -> Result<(Reply, Vec<OwnedFd>), Fault> {
        vet(&spec)
            .map_err(|unacceptable| Fault::Load(LoadFault::Other(unacceptable.to_string())))?;
        let Specification { name, code, maps } = spec;
        let spec = ProgramSpec {
            name: name.into_owned(),
            code: code.into_owned(),
            maps: maps.into_owned(),
            layout: Layout::default(),
        };
        let (held, maps) =
            Held::load(&spec, self.blocks.as_ref()).map_err(|e| Fault::Load(LoadFault::from(e)))?;
        let number = self.next;
        self.next += 1;
        self.programs.insert(number, held);
        Ok((Reply::Loaded { number }, maps))
    }

    fn program(&mut self, number: u64) -> Result<&mut Held, Fault> {
        self.programs.get_mut(&number).ok_or_else(unknown)
    }
}

fn system(error: io::Error) -> Fault {
    Fault::System(error.raw_os_error().unwrap_or(libc::EIO))
}

fn unknown() -> Fault {
    Fault::Attach(AttachFault::NotLoaded)
}
