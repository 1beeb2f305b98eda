//! LFTAs in the NIC driver: the shared IR as XDP programs.
//!
//! ```text
//! LftaProgram ─ codegen ─▶ ProgramSpec (instructions, maps, row layouts) ─ object ─▶ ELF in memory ─ loader ─▶ kernel
//! ```
//!
//! `asm`, `codegen` and `object` are pure: the same program gives the same bytes on every machine. What looks at the kernel is `loader`,
//! `packet_socket` and `dpdk` (a feature), which capture for LFTAs on the host, `xdp_socket`, by which programs send packets to the host, and `host`, which says what a machine can do.

pub mod asm;
pub mod broker;
mod clock;
pub mod codegen;
mod decode;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod host;
pub mod live;
pub mod loader;
pub mod object;
pub mod packet_socket;
mod placement;
mod sys;
mod tried;
mod xdp_socket;

pub use placement::place;
pub use tried::{TriedError, TriedLfta};
pub use xdp_socket::SocketError;
