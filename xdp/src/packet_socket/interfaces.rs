//! The interfaces of this host, as the calling thread's network namespace has them.

use std::os::fd::OwnedFd;

use wt_engine::live::Link;

use super::sys;

/// Names of all interfaces, sorted.
pub fn names() -> Vec<String> {
    // Unlike sysfs this follows the namespace of the thread, whatever is mounted.
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    names
}

/// The index of an interface.
pub(crate) fn index(name: &str) -> Option<u32> {
    sys::index_of(name)
}

/// Whether the interface of this name is still the one with this index, and up. `fd` is any socket of the namespace.
pub(crate) fn link(fd: &OwnedFd, name: &str, ifindex: u32) -> Link {
    if sys::index_of(name) != Some(ifindex) {
        return Link::Gone;
    }
    match sys::flags_of(fd, name) {
        Ok(flags) if is_up(flags) && flags & libc::IFF_RUNNING as u32 != 0 => Link::Up,
        Ok(_) => Link::Down,
        Err(_) => Link::Gone,
    }
}

/// Whether flags say that an interface is up.
pub(super) fn is_up(flags: u32) -> bool {
    flags & libc::IFF_UP as u32 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback() {
        assert!(names().contains(&"lo".to_owned()));
    }
}
