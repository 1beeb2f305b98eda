//! The broker: a small process that keeps the privileges of a live run, so that the one which parses packets has none.
//!
//! ```text
//! a run ─ Broker ══ a pair of sockets ══ serve ─ kernel
//!   program specifications, names of interfaces ─▶
//!                       ◀─ descriptors of maps, packet sockets and AF_XDP sockets
//! ```
//!
//! The broker loads programs, attaches them to the interfaces that it was started for, puts one in the place of another, opens sockets, and lets cards stamp packets; it holds programs and links. What it reads is vetted first ([`vet`]): a program may only call what generated ones call, and has no maps
//! but of the kinds they have. Maps need no privilege to be read and written once there is a descriptor (Linux 6.0 and later). It ends when the
//! run does, however that ends, and its links end with it.

mod message;
mod serve;
mod vet;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use self::message::{Fault, Reply, Request, Specification};
use crate::codegen::spec::ProgramSpec;
use crate::loader::{AttachError, Attachment, LoadError};

pub use self::serve::serve;
pub use self::vet::Unacceptable;

/// The way to a broker; copies lead to the same one.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Mutex<UnixStream>>);

impl Broker {
    /// A broker that serves the other end of this stream.
    pub fn over(stream: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    fn ask(&self, request: &Request<'_>) -> io::Result<(Reply, Vec<OwnedFd>)> {
        // Whoever panicked in between has left no half of a message behind that another could read: the next answer fails.
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => is_gone(),
            _ => error,
        };
        message::send(&stream, request, &[]).map_err(gone)?;
        message::receive(&stream).map_err(gone)
    }

    /// Says whether the broker is still there.
    ///
    /// # Errors
    /// It is not: its programs are off their interfaces.
    pub(crate) fn check(&self) -> io::Result<()> {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It says nothing unasked, so there is something to read only at the end.
        match recv(&*stream, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::CONNRESET) => Err(is_gone()),
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn load(&self, spec: &ProgramSpec) -> Result<(u64, Vec<OwnedFd>), LoadError> {
        match self.ask(&Request::Load(Specification::of(spec))) {
            Ok((Reply::Loaded { number }, maps)) => Ok((number, maps)),
            Ok((Reply::Failed(Fault::Load(fault)), _)) => Err(fault.error(spec)),
            Ok(_) => Err(LoadError::Other(out_of_turn())),
            Err(error) => Err(LoadError::Other(error)),
        }
    }

    fn ask_to_attach(&self, request: &Request<'_>, interface: &str) -> Result<Reply, AttachError> {
        let other = |source| AttachError::Other { interface: interface.to_owned(), source };
        match self.ask(request) {
            Ok((Reply::Failed(Fault::Attach(fault)), _)) => Err(fault.error(interface)),
            Ok((reply @ (Reply::Attached(_) | Reply::Done), _)) => Ok(reply),
            Ok(_) => Err(other(out_of_turn())),
            Err(error) => Err(other(error)),
        }
    }

    pub(crate) fn attach(&self, number: u64, interface: &str) -> Result<Attachment, AttachError> {
        match self
            .ask_to_attach(&Request::Attach { number, interface: interface.into() }, interface)?
        {
            Reply::Attached(attachment) => Ok(attachment),
            _ => Err(AttachError::NotLoaded { interface: interface.to_owned() }),
        }
    }

    pub(crate) fn replace(&self, number: u64, other: u64) -> Result<(), AttachError> {
        self.ask_to_attach(&Request::Replace { number, other }, "").map(drop)
    }

    pub(crate) fn detach(&self, number: u64) -> Result<(), AttachError> {
        self.ask_to_attach(&Request::Detach { number }, "").map(drop)
    }

    pub(crate) fn unload(&self, number: u64) {
        // A broker that is gone holds no program any more.
        let _ = self.ask(&Request::Unload { number });
    }

    /// The maps of the block list that the programs of this broker consult, which makes them when it is first asked.
    pub(crate) fn block_maps(&self) -> io::Result<Vec<OwnedFd>> {
        match self.ask(&Request::BlockMaps)? {
            (Reply::Done, fds) => Ok(fds),
            (Reply::Failed(Fault::System(code)), _) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(out_of_turn()),
        }
    }

    /// A packet socket that no packet reaches yet. `is_cooked`: packets come without their link headers.
    pub(crate) fn packet_socket(&self, is_cooked: bool) -> io::Result<OwnedFd> {
        self.socket(&Request::PacketSocket { is_cooked })
    }

    /// An AF_XDP socket without memory or interface.
    pub(crate) fn xdp_socket(&self) -> io::Result<OwnedFd> {
        self.socket(&Request::XdpSocket)
    }

    /// Lets the card of an interface stamp packets.
    pub(crate) fn stamp_by_card(&self, interface: &str) -> io::Result<()> {
        match self.ask(&Request::StampByCard { interface: interface.into() })? {
            (Reply::Done, _) => Ok(()),
            (Reply::Failed(Fault::System(code)), _) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(out_of_turn()),
        }
    }

    fn socket(&self, request: &Request<'_>) -> io::Result<OwnedFd> {
        match self.ask(request)? {
            (Reply::Done, fds) => fds.into_iter().next().ok_or_else(out_of_turn),
            (Reply::Failed(Fault::System(code)), _) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(out_of_turn()),
        }
    }
}

fn is_gone() -> io::Error {
    let what =
        "the process that keeps the privileges of this run is gone, and its programs with it";
    io::Error::new(io::ErrorKind::BrokenPipe, what)
}

fn out_of_turn() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the broker answered something else; please report it",
    )
}
