//! Why an interface cannot be captured from by a program in its driver.

use std::io;

use crate::codegen::CodegenError;
use crate::loader::{AttachError, BlockError, LoadError, MapAccess};
use crate::xdp_socket::SocketError;

/// An interface that cannot be captured from this way.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// There is no interface of this name.
    #[error("there is no interface `{device}`")]
    NoInterface {
        /// The name.
        device: String,
    },
    /// No query of an interface has code for the driver.
    #[error("no query of `{interface}` has code for the driver")]
    NoCode {
        /// The interface.
        interface: String,
    },
    /// A fault of the generator.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The kernel refuses the program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The interface refuses the program.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A map cannot be read or written.
    #[error(transparent)]
    Map(#[from] MapAccess),
    /// The block list cannot be written.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// The interpreter cannot be set up.
    #[error(transparent)]
    Setup(#[from] wt_engine::SetupError),
    /// There can be no sockets, which the packets should come by.
    #[error("there are no AF_XDP sockets: {0}")]
    Sockets(#[source] SocketError),
    /// Something else.
    #[error("the kernel refuses what capturing in the driver needs: {0}")]
    System(#[source] io::Error),
}

impl XdpError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoInterface { .. } => Some("`ip link` lists the interfaces."),
            Self::NoCode { .. } => Some("`wiretable explain` says why."),
            Self::Sockets(SocketError::Down) => Some("Bring it up: ip link set IF up."),
            Self::Sockets(SocketError::Memory { .. }) => {
                Some("Ask for less memory (--ring 4MiB), or raise the limit (ulimit -l).")
            }
            Self::Load(error) => Some(error.hint()),
            Self::Attach(error) => Some(error.hint()),
            Self::Codegen(_)
            | Self::Map(_)
            | Self::Blocks(_)
            | Self::Setup(_)
            | Self::Sockets(_)
            | Self::System(_) => None,
        }
    }
}
