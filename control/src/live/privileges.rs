//! What a live run may still do once its interfaces are open.

use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::failure::Failure;

/// Keeps the one capability that an interface which comes back is opened with, and lets go of all others, for good. Threads started
/// later have no more than this one.
pub fn keep_capture_only() -> Result<(), Failure> {
    let refused = |error: rustix::io::Errno| {
        Failure::Environment(format!("cannot let go of privileges: {error}"))
    };
    let have = rustix::thread::capabilities(None).map_err(refused)?;
    let keep = CapabilitySet::NET_RAW;
    let sets = CapabilitySets {
        effective: have.effective & keep,
        permitted: have.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(refused)?;
    rustix::thread::set_no_new_privs(true).map_err(refused)
}
