//! Two network namespaces with pairs of interfaces between them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use super::sys;
use crate::peers;

/// The interface that is captured from.
pub const NEAR: &str = "near";
/// The interface that is sent into.
pub const FAR: &str = "far";

/// How long packets wait for others before an interface of its own core is served, ns: network cards do the same with interrupts.
pub const MODERATION_NS: u32 = 20_000;

/// Why there is no place to measure.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Not root.
    #[error(
        "network namespaces and programs in drivers need root: run it as root, or with sudo -E"
    )]
    NotRoot,
    /// A tool is not there.
    #[error(
        "{0} is not here: `wt-bench peers --install` installs it (ip: the package iproute2, unshare: util-linux)"
    )]
    NoTool(&'static str),
    /// A step of making it failed.
    #[error("{step}: {said}")]
    Step {
        /// What was done.
        step: String,
        /// What was said.
        said: String,
    },
    /// The kernel refuses.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Which end of the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where packets are captured.
    Near,
    /// Where they are sent.
    Far,
}

/// The namespaces. They are gone when the value is dropped and the last program in them has ended.
#[derive(Debug)]
pub struct Lab {
    near: OwnedFd,
    far: OwnedFd,
}

/// What the interfaces of the first pair have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames that a program in the kernel has handed to the sending interface.
    pub frames_sent: u64,
    /// Those of them for which the receiving interface had no room.
    pub frames_refused: u64,
    /// Packets that the stack of the sending interface has handed over.
    pub packets_sent: u64,
    /// Those for which there was no room.
    pub packets_refused: u64,
    /// Packets that the receiving interface has taken from its ring.
    pub received: u64,
    /// Packets that the receiving interface could not make buffers for.
    pub receive_drops: u64,
}

impl LinkCounters {
    /// What was counted since.
    pub fn since(self, before: Self) -> Self {
        Self {
            frames_sent: self.frames_sent - before.frames_sent,
            frames_refused: self.frames_refused - before.frames_refused,
            packets_sent: self.packets_sent - before.packets_sent,
            packets_refused: self.packets_refused - before.packets_refused,
            received: self.received - before.received,
            receive_drops: self.receive_drops - before.receive_drops,
        }
    }

    /// What was lost on the link, by any cause that the interfaces count.
    pub fn lost(self) -> u64 {
        self.frames_refused + self.packets_refused + self.receive_drops
    }
}

impl Lab {
    /// Makes the namespaces with `pairs` pairs: `near` and `far`, `near1` and `far1`, and so on. Nothing but the caller sends there.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn new(pairs: usize) -> Result<Self, LabError> {
        if !sys::is_root() {
            return Err(LabError::NotRoot);
        }
        for tool in ["ip", "ethtool", "unshare"] {
            if peers::find(tool).is_none() {
                return Err(LabError::NoTool(tool));
            }
        }
        let lab = Self { near: namespace()?, far: namespace()? };
        // Interfaces that come up would ask for addresses and routers.
        for end in [End::Near, End::Far] {
            lab.inside(end, || std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))
                .ok();
        }
        let far = format!("/proc/{}/fd/{}", std::process::id(), lab.far.as_raw_fd());
        for pair in 0..pairs {
            let (near_name, far_name) = (name(NEAR, pair), name(FAR, pair));
            let link = ["link", "add", &near_name, "type", "veth", "peer", "name", &far_name];
            lab.run(End::Near, "ip", &[&link[..], &["netns", &far]].concat())?;
            for (end, name) in [(End::Near, &near_name), (End::Far, &far_name)] {
                lab.run(end, "ip", &["link", "set", name, "arp", "off", "up"])?;
            }
            // Without it frames from programs in the kernel vanish uncounted when no program is attached here.
            lab.run(End::Near, "ethtool", &["-K", &near_name, "gro", "on"])?;
            // But packets that it would make one of several must be counted as they were sent.
            lab.run(End::Near, "ip", &["link", "set", "dev", &near_name, "gro_max_size", "1"])?;
        }
        Ok(lab)
    }

    fn end(&self, end: End) -> BorrowedFd<'_> {
        match end {
            End::Near => self.near.as_fd(),
            End::Far => self.far.as_fd(),
        }
    }

    /// A command in a namespace, on these cores (any if there are none). It is killed when the calling thread ends.
    pub fn command(&self, end: End, program: impl AsRef<Path>, cores: &[usize]) -> Command {
        let program = program.as_ref();
        let found = program.to_str().and_then(peers::find);
        let mut command = Command::new(found.as_deref().unwrap_or(program));
        command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("NO_COLOR");
        sys::confine(&mut command, self.end(end).as_raw_fd(), cores.to_vec());
        command
    }

    /// Runs a command to its end; what it printed.
    ///
    /// # Errors
    /// It cannot be run or fails.
    pub fn run(&self, end: End, program: &str, arguments: &[&str]) -> Result<String, LabError> {
        let output = self.command(end, program, &[]).args(arguments).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(LabError::Step {
            step: format!("{program} {}", arguments.join(" ")),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs `work` on a thread that is in a namespace.
    pub fn inside<T: Send>(&self, end: End, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.end(end);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // Checked when the namespace was made.
                sys::enter(namespace).expect("a namespace of this process is entered");
                work()
            });
            thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// Lets the first pair's receiving interface be served by a thread of the kernel on a core of its own, instead of by whoever sends; the
    /// process id of that thread. GRO must be on, or a program attached: without, the kernel refuses.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn receive_on(&self, core: usize) -> Result<u32, LabError> {
        let script = format!(
            "mount -t sysfs sysfs /sys && cd /sys/class/net/{NEAR} && echo {MODERATION_NS} > gro_flush_timeout && \
             echo 1 > napi_defer_hard_irqs && echo 1 > threaded && cat threaded"
        );
        let said = self.run(End::Near, "unshare", &["--mount", "sh", "-c", &script])?;
        let failed = |said: &str| LabError::Step {
            step: format!("letting a thread of the kernel serve {NEAR}"),
            said: said.to_owned(),
        };
        if said.trim() != "1" {
            return Err(failed(&said));
        }
        let thread = napi_threads().into_iter().max();
        let thread = thread.ok_or_else(|| failed("there is no such thread"))?;
        sys::pin_process(thread, core)?;
        sys::run_first(thread)?;
        Ok(thread)
    }

    /// What the first pair has counted.
    ///
    /// # Errors
    /// The tools do not say.
    pub fn counters(&self) -> Result<LinkCounters, LabError> {
        let far = self.run(End::Far, "ethtool", &["-S", FAR])?;
        let near = self.run(End::Near, "ethtool", &["-S", NEAR])?;
        let link = self.run(End::Far, "ip", &["-j", "-s", "link", "show", "dev", FAR])?;
        let link: serde_json::Value = serde_json::from_str(&link).map_err(io::Error::other)?;
        let tx = &link[0]["stats64"]["tx"];
        let tx = |name: &str| tx[name].as_u64().unwrap_or(0);
        let (frames_sent, frames_refused) =
            (sum(&far, "_xdp_xmit:"), sum(&far, "_xdp_xmit_errors:"));
        Ok(LinkCounters {
            frames_sent,
            frames_refused,
            // The interface counts frames among its packets.
            packets_sent: tx("packets").saturating_sub(frames_sent),
            packets_refused: tx("dropped").saturating_sub(frames_refused),
            received: sum(&near, "_xdp_packets:"),
            receive_drops: sum(&near, "_drops:") - sum(&near, "_xdp_drops:"),
        })
    }
}

/// The numbers of all lines whose name ends so.
fn sum(text: &str, end: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.trim().split_once(' '));
    lines.filter(|(name, _)| name.ends_with(end)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum()
}

/// The name of an interface of a pair.
pub fn name(stem: &str, pair: usize) -> String {
    if pair == 0 { stem.to_owned() } else { format!("{stem}{pair}") }
}

fn namespace() -> io::Result<OwnedFd> {
    std::thread::spawn(|| {
        sys::unshare_network()?;
        std::fs::File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
    })
    .join()
    .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

/// Threads of the kernel that serve interfaces of that name; the newest is ours.
fn napi_threads() -> Vec<u32> {
    let stem = format!("napi/{NEAR}-");
    super::cpu::processes().filter(|(_, name)| name.starts_with(&stem)).map(|(id, _)| id).collect()
}
