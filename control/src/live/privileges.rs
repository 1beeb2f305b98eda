//! What the processes of a live run may still do once it has begun: the broker opens interfaces, the run itself nothing.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::confine;
use crate::failure::Failure;

/// First kernel on which maps can be read and written by whoever has their descriptors.
const KERNEL_OF_OPEN_MAPS: (u32, u32) = (6, 0);

/// Keeps what interfaces are opened with and programs are loaded with, and lets go of all else, for good.
pub fn keep_brokers() -> Result<(), Failure> {
    let of_programs = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
    keep(CapabilitySet::NET_RAW | of_programs)
}

/// Lets frames of AF_XDP sockets be locked in memory without limit, where this process may say so. Where it may not, opening the sockets tells.
pub fn unlimit_frames() {
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Lets go of all privileges, for good. Threads started later have none either. Older kernels want one for the maps of programs (`in_driver`). A store that
/// another user writes to (`reads_of_others`) has segments to come that only that user may read: of reading, the run keeps what it had.
pub fn keep_least(in_driver: bool, reads_of_others: bool) -> Result<(), Failure> {
    let mut kept = of_maps(in_driver);
    kept.set(CapabilitySet::DAC_READ_SEARCH, reads_of_others);
    keep(kept)
}

/// Lets go of all privileges but that of writing to files of others: a recorder goes on to make files in a directory that need not be its user's. For
/// `in_driver` see [`keep_least`].
pub fn keep_files(in_driver: bool) -> Result<(), Failure> {
    keep(CapabilitySet::DAC_OVERRIDE | of_maps(in_driver))
}

/// What older kernels want for the maps of programs.
fn of_maps(in_driver: bool) -> CapabilitySet {
    let is_old = wt_xdp::host::version().is_none_or(|version| version < KERNEL_OF_OPEN_MAPS);
    if in_driver && is_old { CapabilitySet::BPF } else { CapabilitySet::empty() }
}

/// Lets go of starting programs and of whatever else a run never does, and with `folders` of writing files elsewhere; what is open stays open.
pub fn confine(folders: Option<&Vec<PathBuf>>) -> Result<(), Failure> {
    let refused = |what: &str, error: &dyn std::fmt::Display| {
        Failure::Environment(format!("cannot let go of {what}: {error}"))
    };
    let folders: Option<Vec<&Path>> =
        folders.map(|folders| folders.iter().map(PathBuf::as_path).collect());
    confine::to_reading(folders.as_deref()).map_err(|e| refused("files", &e))?;
    confine_calls()
}

/// Lets go of starting programs and of whatever else a run never does.
pub fn confine_calls() -> Result<(), Failure> {
    confine::from_calls_never_made()
        .map_err(|error| Failure::Environment(format!("cannot let go of system calls: {error}")))
}

fn keep(kept: CapabilitySet) -> Result<(), Failure> {
    let refused = |error: rustix::io::Errno| {
        Failure::Environment(format!("cannot let go of privileges: {error}"))
    };
    let have = rustix::thread::capabilities(None).map_err(refused)?;
    let sets = CapabilitySets {
        effective: have.effective & kept,
        permitted: have.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(refused)?;
    rustix::thread::set_no_new_privs(true).map_err(refused)
}
