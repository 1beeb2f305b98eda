//! What a live run may still do once its interfaces are open.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::failure::Failure;

/// Keeps the capabilities that an interface which comes back is opened with, and lets go of all others, for good. Threads started later have no
/// more than these. Sockets need one, programs in drivers (`in_driver`) three more.
pub fn keep_capture_only(in_driver: bool) -> Result<(), Failure> {
    let of_programs = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    keep(match in_driver {
        true => CapabilitySet::NET_RAW | of_programs,
        false => CapabilitySet::NET_RAW,
    })
}

/// Keeps these capabilities, as far as they are there, and lets go of all others, for good.
pub fn keep(keep: CapabilitySet) -> Result<(), Failure> {
    let refused = |error: rustix::io::Errno| {
        Failure::Environment(format!("cannot let go of privileges: {error}"))
    };
    let have = rustix::thread::capabilities(None).map_err(refused)?;
    let sets = CapabilitySets {
        effective: have.effective & keep,
        permitted: have.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(refused)?;
    rustix::thread::set_no_new_privs(true).map_err(refused)
}
