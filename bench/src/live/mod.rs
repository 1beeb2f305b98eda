//! Live traffic: a pair of interfaces in two namespaces, senders of packets on one end, programs that capture on the other, and the
//! books of both ends.
//!
//! The namespaces have no names: they end with this process, however it ends, and so do the programs that are started in them.

pub mod books;
pub mod cpu;
pub mod discard;
pub mod flood;
pub mod frames;
pub mod http_share;
mod insn;
pub mod lab;
pub mod object;
pub mod packets;
pub mod receiver;
pub mod sweep;
mod sys;
pub mod tcpreplay;
pub mod trial;
pub mod xdp_cost;
pub mod xdp_rate;

pub use sys::is_root;

/// As long as it lives, what this session runs comes before what else the machine does: the kernel weighs sessions against each other
/// (autogroups) before it looks at `nice`. Where it does not, the value does nothing.
#[derive(Debug)]
pub struct First {
    before: Option<String>,
}

const AUTOGROUP: &str = "/proc/self/autogroup";

impl First {
    /// Puts this session first.
    pub fn begin() -> Self {
        // `/autogroup-7354 nice 0`
        let text = std::fs::read_to_string(AUTOGROUP).unwrap_or_default();
        let before = text.trim().rsplit(' ').next().unwrap_or("").to_owned();
        let done = std::fs::write(AUTOGROUP, sys::NICE_SESSION.to_string());
        Self { before: done.ok().map(|()| before) }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The session ends with its last program; so does what it was given.
            let _ = std::fs::write(AUTOGROUP, before);
        }
    }
}
