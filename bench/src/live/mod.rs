//! Live traffic: a pair of interfaces in two namespaces, senders of packets on one end, programs that capture on the other, and the
//! books of both ends.
//!
//! The namespaces have no names: they end with this process, however it ends, and so do the programs that are started in them.

pub mod books;
pub mod cpu;
pub mod frames;
mod insn;
pub mod lab;
pub mod object;
pub mod packets;
pub mod receiver;
pub mod sweep;
mod sys;
pub mod tcpreplay;
pub mod trial;

pub use sys::is_root;

/// Puts the calling thread before what else the machine does, as programs that are started in the namespaces are.
///
/// # Errors
/// The user may not.
pub fn put_first() -> std::io::Result<()> {
    sys::set_nice(0, sys::NICE)
}
