//! Why an interface cannot be captured from, and what to do about it.

use std::io;

use crate::host::StampError;

/// An interface that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no interface of this name.
    #[error("there is no interface `{name}`; there are: {}", known.join(", "))]
    NoSuchInterface {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
        /// One that is nearly the same.
        similar: Option<String>,
    },
    /// This user may not capture.
    #[error("no privilege to capture from interface `{name}`")]
    NotPermitted {
        /// The interface.
        name: String,
    },
    /// The interface is down.
    #[error("interface `{name}` is down")]
    Down {
        /// The interface.
        name: String,
    },
    /// There is no memory for the ring.
    #[error("no memory for a ring of {ring_bytes} bytes for interface `{name}`")]
    RingTooLarge {
        /// The interface.
        name: String,
        /// Size asked for, bytes.
        ring_bytes: usize,
    },
    /// The card does not stamp packets.
    #[error(transparent)]
    Stamps(#[from] StampError),
    /// Something else.
    #[error("cannot capture from interface `{name}` ({what}): {source}")]
    Other {
        /// The interface.
        name: String,
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoSuchInterface { similar: Some(similar), .. } => {
                format!("Did you mean `{similar}`?")
            }
            Self::NoSuchInterface { .. } => {
                "`ip link` shows the interfaces; `any` is all of them.".to_owned()
            }
            Self::NotPermitted { .. } => {
                "Run it as root, or give the program the capability: setcap cap_net_raw=ep $(command -v wiretable)."
                    .to_owned()
            }
            Self::Down { name } => format!("Bring it up: ip link set {name} up."),
            Self::RingTooLarge { .. } => {
                "Ask for a smaller ring: --ring 4MiB, or ring = \"4MiB\" in the configuration."
                    .to_owned()
            }
            Self::Stamps(error) => error.hint(),
            Self::Other { .. } => return None,
        })
    }

    /// The error of a system call that was part of opening an interface.
    pub(super) fn of(name: &str, ring_bytes: usize, what: &'static str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { name },
            Some(libc::ENETDOWN) => Self::Down { name },
            Some(libc::ENOMEM) => Self::RingTooLarge { name, ring_bytes },
            _ => Self::Other { name, what, source },
        }
    }
}
