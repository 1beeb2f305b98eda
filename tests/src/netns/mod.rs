//! Network namespaces with a pair of interfaces, made and removed by the test that needs them, and a sender of frames.

mod sys;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::program::binary;

pub use sys::{Sender, signal};

/// Whether this user may make namespaces; tests that need them say that they are skipped otherwise.
pub fn may_make() -> bool {
    let may = sys::is_root();
    if !may {
        eprintln!("skipped: network namespaces need root");
    }
    may
}

/// A namespace, with the interfaces `near` (captured from) and `far` (sent into), which are each other's ends. Nothing but the test
/// sends there. It vanishes with its owner.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace.
    ///
    /// # Panics
    /// When the kernel or iproute2 does not play along.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let netns = Self { name: format!("wt-{}-{number}", std::process::id()) };
        ip(&["netns", "add", &netns.name]);
        // Interfaces that come up would ask for addresses and routers.
        netns.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")).ok();
        netns.add_pair();
        netns
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the pair of interfaces, up.
    pub fn add_pair(&self) {
        self.ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
        for interface in ["near", "far"] {
            self.ip(&["link", "set", interface, "arp", "off", "up"]);
        }
    }

    /// Makes a pair `wide` and `peer`, up, with room for two queues each way, so many of which `wide` receives by.
    pub fn add_wide_pair(&self, queues: &str) {
        let ends = ["numrxqueues", "2", "numtxqueues", "2"];
        let pair = [&["link", "add", "wide"][..], &ends, &["type", "veth", "peer", "name", "peer"]];
        self.ip(&[&pair.concat()[..], &ends].concat());
        for interface in ["wide", "peer"] {
            self.ip(&["link", "set", interface, "arp", "off", "up"]);
        }
        let channels = self.command("ethtool").args(["-L", "wide", "rx", queues]).output().unwrap();
        assert!(channels.status.success(), "{}", String::from_utf8_lossy(&channels.stderr));
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat());
    }

    /// A command in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command.current_dir(crate::program::root()).env_remove("NO_COLOR");
        command
    }

    /// The built `wiretable` in the namespace.
    pub fn wiretable(&self) -> Command {
        self.command(&binary().display().to_string())
    }

    /// Runs `work` on a thread that is in the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(&self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::enter(&path).expect("the namespace is entered");
                work()
            });
            thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// An AF_XDP socket on the first queue of an interface, as another program has it.
    ///
    /// # Errors
    /// There is no such interface, or the queue is taken.
    pub fn xdp_socket(&self, interface: &str) -> io::Result<OwnedFd> {
        self.inside(|| sys::xdp_socket(interface))
    }

    /// A sender of frames into an interface.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn sender(&self, interface: &str) -> io::Result<Sender> {
        self.inside(|| Sender::new(interface))
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn ip(arguments: &[&str]) {
    let Output { status, stderr, .. } =
        Command::new("ip").args(arguments).output().expect("ip runs: .ci/setup installs iproute2");
    assert!(status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&stderr));
}
