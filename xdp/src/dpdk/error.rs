//! Why DPDK gives no packets, and what to do about it.

use std::fmt::Write;
use std::io;

use wt_lang::suggest::nearest;

use super::Device;
use crate::host;
use crate::packet_socket::interface_names;

/// DPDK that does not start, or a device that it does not open.
#[derive(Debug, thiserror::Error)]
pub enum DpdkError {
    /// An argument for the EAL that would not start it, or that no string of C holds.
    #[error("DPDK cannot be given `{word}`")]
    Argument {
        /// The argument.
        word: String,
    },
    /// The EAL was started before; it starts once in a process.
    #[error("DPDK was started in this process before")]
    Again,
    /// The EAL does not start.
    #[error("DPDK does not start: {source}{}", said(log))]
    Init {
        /// What it returned.
        #[source]
        source: io::Error,
        /// What it logged.
        log: Vec<String>,
        /// What it was told.
        arguments: String,
    },
    /// There is no such device, or its driver refuses it.
    #[error("DPDK has no port for `{device}`{}{}", because(source), said(log))]
    Probe {
        /// The device.
        device: Box<Device>,
        /// What DPDK returned.
        #[source]
        source: io::Error,
        /// What it logged.
        log: Vec<String>,
    },
    /// The packets of a capture are no frames of Ethernet.
    #[error("packets of `{file}` have link type {link_type}; DPDK reads Ethernet (1) alone")]
    LinkType {
        /// The capture.
        file: String,
        /// LINKTYPE_ number.
        link_type: u16,
    },
    /// The device does not let packets in.
    #[error("DPDK cannot capture from `{device}` ({step}){}{}", because(source), said(log))]
    Start {
        /// The device.
        device: Box<Device>,
        /// What was tried.
        step: &'static str,
        /// What DPDK returned.
        #[source]
        source: io::Error,
        /// What it logged.
        log: Vec<String>,
    },
    /// The thread that has the ports could not be started, or has ended.
    #[error("the thread that has DPDK's ports: {source}")]
    Keeper {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Lines of DPDK's log that are shown.
const LINES_MAX: usize = 12;

/// DPDK's own words, below ours.
fn said(log: &[String]) -> String {
    let from = log.len().saturating_sub(LINES_MAX);
    log[from..].iter().fold(String::new(), |mut text, line| {
        let _ = write!(text, "\n  {line}");
        text
    })
}

/// What a driver returned. Many return -1 whatever it was, which looks like EPERM and tells nothing.
fn because(source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(libc::EPERM) => String::new(),
        _ => format!(": {source}"),
    }
}

/// How a device is written.
const HOW: &str = "Write a device as DPDK does: net_af_xdp0,iface=eth0, net_pcap0,rx_pcap=FILE, or the PCI address of a card that is bound to vfio-pci.";

impl DpdkError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Argument { .. } => {
                "DPDK's documentation lists the arguments of its EAL.".to_owned()
            }
            Self::LinkType { file, .. } => format!("Read it without DPDK: -r {file}."),
            Self::Again | Self::Keeper { .. } => return None,
            Self::Init { source, arguments, .. } => match source.raw_os_error() {
                Some(libc::EACCES | libc::EPERM) => {
                    "Run it as root, or without huge pages: --dpdk-args --no-huge.".to_owned()
                }
                _ => format!("It was told: {arguments}; --dpdk-args says more, or otherwise."),
            },
            Self::Probe { device, source, .. } => of_device(device, source, false),
            Self::Start { device, source, .. } => of_device(device, source, true),
        })
    }
}

/// What to do about a device that is not opened.
fn of_device(device: &Device, source: &io::Error, has_port: bool) -> String {
    if let Some(interface) = device.interface() {
        let known = interface_names();
        if !known.iter().any(|name| name == interface) {
            let near = nearest(interface, known.iter().map(String::as_str), 1);
            return match near.first() {
                Some(near) => {
                    format!("There is no interface `{interface}`; did you mean `{near}`?")
                }
                None => {
                    format!("There is no interface `{interface}`; `ip link` shows those there are.")
                }
            };
        }
    }
    if let Some(file) = device.capture()
        && let Err(error) = std::fs::File::open(file)
    {
        return format!("The capture `{file}` cannot be opened: {error}.");
    }
    if device.is_pci() {
        let name = device.name();
        return format!(
            "See whether it is bound to a driver for DPDK (dpdk-devbind.py --status), and bind it: dpdk-devbind.py --bind=vfio-pci {name}. The kernel then has it no longer."
        );
    }
    let facts = host::host();
    match source.raw_os_error() {
        _ if device.interface().is_some() && !(facts.may_attach && facts.may_capture) => {
            "Run it as root: its driver is part of this process.".to_owned()
        }
        Some(libc::EFAULT) if !has_port => format!("DPDK knows no such driver. {HOW}"),
        Some(libc::EINVAL) if !has_port => {
            format!("See whether its driver has these arguments. {HOW}")
        }
        Some(libc::ENOMEM) => {
            "Ask for fewer buffers (--ring 8MiB), or give DPDK more memory (--dpdk-args '-m 512')."
                .to_owned()
        }
        _ if device.driver() == Some("net_af_xdp") => {
            let interface = device.interface().unwrap_or("IF");
            format!(
                "Root may open it, while no other program has an AF_XDP socket on its queues or a program on it: `ip link show {interface}` shows one, `ip link set dev {interface} xdp off` takes it off."
            )
        }
        _ => HOW.to_owned(),
    }
}
