//! Why an interface has no AF_XDP sockets.

use std::io;

use rustix::io::Errno;

/// Sockets that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// This user may not open them.
    #[error("no privilege to open AF_XDP sockets (CAP_NET_RAW)")]
    NoPrivilege,
    /// The kernel has none.
    #[error("this kernel has no AF_XDP sockets")]
    Unknown,
    /// Somebody else's socket is bound to a queue.
    #[error("queue {queue} has an AF_XDP socket of another program")]
    Busy {
        /// Which queue.
        queue: u32,
    },
    /// The interface is down.
    #[error("the interface is down")]
    Down,
    /// The memory for frames is more than the user may lock.
    #[error("no memory for frames of queue {queue} may be locked (RLIMIT_MEMLOCK)")]
    Memory {
        /// Which queue.
        queue: u32,
    },
    /// Something else.
    #[error("AF_XDP socket of queue {queue} ({what}): {source}")]
    System {
        /// Which queue.
        queue: u32,
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    /// What the system said when a socket was asked for.
    pub(super) fn opening(queue: u32, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NoPrivilege,
            Some(libc::EAFNOSUPPORT) => Self::Unknown,
            _ => Self::System { queue, what: "socket", source },
        }
    }

    /// What it said of something that was tried with a socket.
    pub(super) fn of(queue: u32, what: &'static str, error: Errno) -> Self {
        match error {
            Errno::PERM | Errno::ACCESS => Self::NoPrivilege,
            Errno::BUSY => Self::Busy { queue },
            Errno::NETDOWN => Self::Down,
            Errno::NOBUFS | Errno::NOMEM => Self::Memory { queue },
            error => Self::System { queue, what, source: error.into() },
        }
    }
}
