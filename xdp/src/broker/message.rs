//! What passes between a run and its broker: a length of 4 bytes, JSON, and descriptors beside single bytes that follow.

use std::borrow::Cow;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::asm::Code;
use crate::codegen::spec::{MapSpec, ProgramSpec};
use crate::loader::{AttachError, Attachment, LoadError};

/// Longest message, bytes: a million instructions, which the kernel allows at most, and their listing is not among them.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Descriptors beside one byte.
const FDS_AT_ONCE: usize = 64;

/// What a run asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    /// Load a program; its maps come back.
    Load(Specification<'a>),
    /// Attach a program.
    Attach { number: u64, interface: Cow<'a, str> },
    /// Put a program in the place of another.
    Replace { number: u64, other: u64 },
    /// Take a program off its interface.
    Detach { number: u64 },
    /// Forget a program.
    Unload { number: u64 },
    /// Make a block list, or give the one that was made.
    BlockMaps,
    /// Open a packet socket.
    PacketSocket { is_cooked: bool },
    /// Open an AF_XDP socket.
    XdpSocket,
    /// Let the card of an interface stamp packets.
    StampByCard { interface: Cow<'a, str> },
}

/// A program, without what only its reader needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Specification<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) code: Cow<'a, Code>,
    pub(super) maps: Cow<'a, [MapSpec]>,
}

impl<'a> Specification<'a> {
    pub(super) fn of(spec: &'a ProgramSpec) -> Self {
        Self {
            name: Cow::Borrowed(&spec.name),
            code: Cow::Borrowed(&spec.code),
            maps: Cow::Borrowed(&spec.maps),
        }
    }
}

/// What the broker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Loaded { number: u64 },
    Attached(Attachment),
    Done,
    Failed(Fault),
}

/// Why something was not done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    Load(LoadFault),
    Attach(AttachFault),
    /// What the operating system says.
    System(i32),
}

/// A [`LoadError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum LoadFault {
    NoPrivilege,
    Refused { reason: String, log: String },
    Incomplete { what: String },
    Other(String),
}

impl From<LoadError> for LoadFault {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NoPrivilege => Self::NoPrivilege,
            LoadError::Refused { reason, log, .. } => Self::Refused { reason, log },
            LoadError::Incomplete { what } => Self::Incomplete { what },
            LoadError::Object(error) => Self::Other(error.to_string()),
            LoadError::Other(error) => Self::Other(error.to_string()),
        }
    }
}

impl LoadFault {
    pub(super) fn error(self, spec: &ProgramSpec) -> LoadError {
        match self {
            Self::NoPrivilege => LoadError::NoPrivilege,
            Self::Refused { reason, log } => LoadError::refused(reason, log, spec),
            Self::Incomplete { what } => LoadError::Incomplete { what },
            Self::Other(text) => LoadError::Other(io::Error::other(text)),
        }
    }
}

/// An [`AttachError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum AttachFault {
    NoInterface,
    Busy,
    NoPrivilege,
    NotLoaded,
    System(i32),
    Other(String),
}

impl From<AttachError> for AttachFault {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::NoInterface { .. } => Self::NoInterface,
            AttachError::Busy { .. } => Self::Busy,
            AttachError::NoPrivilege { .. } => Self::NoPrivilege,
            AttachError::NotLoaded { .. } => Self::NotLoaded,
            AttachError::Other { source, .. } => match source.raw_os_error() {
                Some(code) => Self::System(code),
                None => Self::Other(source.to_string()),
            },
        }
    }
}

impl AttachFault {
    pub(super) fn error(self, interface: &str) -> AttachError {
        let interface = interface.to_owned();
        match self {
            Self::NoInterface => AttachError::NoInterface { interface },
            Self::Busy => AttachError::Busy { interface },
            Self::NoPrivilege => AttachError::NoPrivilege { interface },
            Self::NotLoaded => AttachError::NotLoaded { interface },
            Self::System(code) => {
                AttachError::Other { interface, source: io::Error::from_raw_os_error(code) }
            }
            Self::Other(text) => AttachError::Other { interface, source: io::Error::other(text) },
        }
    }
}

/// Sends a message, and descriptors with it.
pub(super) fn send(
    mut stream: &UnixStream,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let head = [(body.len() as u32).to_le_bytes(), (fds.len() as u32).to_le_bytes()].concat();
    stream.write_all(&head)?;
    stream.write_all(&body)?;
    for some in fds.chunks(FDS_AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        beside.push(SendAncillaryMessage::ScmRights(some));
        sendmsg(stream, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives a message, and the descriptors that come with it.
pub(super) fn receive<T: DeserializeOwned>(
    mut stream: &UnixStream,
) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut head = [[0; 4]; 2];
    stream.read_exact(head.as_flattened_mut())?;
    let [len, count] = head.map(|bytes| u32::from_le_bytes(bytes) as usize);
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    if len > MESSAGE_BYTES_MAX {
        return Err(wrong("a message that is too long"));
    }
    let mut body = Vec::new();
    stream.take(len as u64).read_to_end(&mut body)?;
    if body.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    while fds.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        let got = recvmsg(stream.as_fd(), into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let before = fds.len();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        if got.bytes == 0 || fds.len() == before {
            return Err(wrong("descriptors are missing: too many files are open"));
        }
    }
    Ok((serde_json::from_slice(&body)?, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_with_their_message() {
        let (here, there) = UnixStream::pair().unwrap();
        // More than go beside one byte.
        let files: Vec<_> = (0..150).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send(&here, &Request::Detach { number: 7 }, &fds).unwrap();
        send(&here, &Request::PacketSocket { is_cooked: true }, &[]).unwrap();
        let (request, fds) = receive::<Request<'_>>(&there).unwrap();
        assert!(matches!(request, Request::Detach { number: 7 }) && fds.len() == 150);
        let (request, fds) = receive::<Request<'_>>(&there).unwrap();
        assert!(matches!(request, Request::PacketSocket { is_cooked: true }) && fds.is_empty());
    }

    #[test]
    fn nonsense_is_an_error_and_not_memory() {
        for bytes in [&b"\xff\xff\xff\xff\0\0\0\0"[..], b"\x02\0\0\0\0\0\0\0{]", b"\x02\0", b""] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(bytes).unwrap();
            drop(here);
            assert!(receive::<Request<'_>>(&there).is_err(), "{bytes:?}");
        }
    }
}
