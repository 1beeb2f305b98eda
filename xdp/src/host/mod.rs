//! What a host and its interfaces can do for captures: facts, read without changing anything and without privileges where the kernel lets
//! everybody read them. What they mean is the caller's to say. Only [`serve_on`], [`set_queues`] and what asks for the card's stamps change something.

mod ethtool;
mod kernel;
mod netlink;
mod serving;
mod stamps;
mod sys;

use std::io;

use crate::packet_socket::interface_index;

pub(crate) use kernel::last_core;
pub use kernel::{Card, Host, HugePages, read as host, version};
pub use serving::{Moved, ServingError, serve_on};
pub(crate) use stamps::stamp_by_card;
pub use stamps::{StampError, check_stamps};

/// An interface, as the kernel and its driver describe it. `None` is what they do not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// It is Ethernet (`ARPHRD_ETHER`).
    pub is_ethernet: bool,
    /// Somebody has set it up.
    pub is_up: bool,
    /// It has a carrier.
    pub has_carrier: bool,
    /// The driver.
    pub driver: Option<String>,
    /// `veth`, `bond` …; nothing for hardware.
    pub kind: Option<String>,
    /// Largest packet above the link layer, in bytes.
    pub mtu: Option<u32>,
    /// The XDP program that is attached.
    pub attached: Option<Attached>,
    /// What the driver can do with XDP; kernels before 6.3 do not tell.
    pub xdp: Option<XdpFeatures>,
    /// Receive queues.
    pub channels: Option<Channels>,
    /// Slots of a receive ring.
    pub rings: Option<Rings>,
    /// Generic receive offload is on.
    pub gro: Option<bool>,
    /// Large receive offload is on.
    pub lro: Option<bool>,
    /// The card takes VLAN tags out of frames.
    pub vlan_offload: Option<bool>,
    /// Who can stamp packets.
    pub stamps: Option<Stamps>,
    /// The memory node that the card is next to.
    pub node: Option<u32>,
    /// Its interrupts, and the cores that serve each.
    pub interrupts: Vec<Interrupt>,
}

/// An XDP program that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's number of the program.
    pub program: Option<u32>,
}

/// What a driver can do with XDP (the kernel's `netdev_xdp_act`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Programs run in the driver.
    pub native: bool,
    /// AF_XDP without copies.
    pub zero_copy: bool,
}

/// Receive queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// In use.
    pub receive: u32,
    /// At most.
    pub receive_max: u32,
}

/// Slots of a receive ring, in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Now.
    pub receive: u32,
    /// At most.
    pub receive_max: u32,
}

/// Who can stamp received packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The card.
    pub by_card: bool,
    /// The kernel.
    pub by_kernel: bool,
    /// The card stamps packets of all kinds, not only those of the precision time protocol.
    pub of_all: bool,
    /// Number of the card's clock: `/dev/ptp0`.
    pub clock: Option<u32>,
}

impl Interface {
    /// Whose time stamps captured packets carry.
    pub fn stamped_by(&self) -> &'static str {
        match self.stamps {
            Some(stamps) if stamps.by_card && stamps.of_all => {
                "by the kernel; by the card for captures by a socket that ask for it (--stamps card)"
            }
            Some(stamps) if stamps.by_card => {
                "by the kernel; the card stamps packets of the precision time protocol only"
            }
            Some(_) | None => "by the kernel",
        }
    }
}

/// An interrupt of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// Cores that may serve it, as the kernel lists them: `0-3`.
    pub cores: String,
    /// The queue that it is of; none of what tells of the link or the card.
    pub queue: Option<u32>,
}

/// Reads an interface of the calling thread's network namespace.
///
/// # Errors
/// No such interface (`ENODEV`), or no netlink.
pub fn interface(name: &str) -> io::Result<Interface> {
    let no_device = || io::Error::from_raw_os_error(libc::ENODEV);
    let index = interface_index(name).ok_or_else(no_device)?;
    let link = netlink::link(index)?;
    let socket = sys::driver_socket()?;
    let driver = ethtool::Driver { socket: &socket, interface: name };
    let (lro, vlan_offload) = driver.lro_and_vlan();
    let queues = link.queues.map(|n| Channels { receive: n, receive_max: n });
    let has = |flag: libc::c_int| link.flags & flag as u32 != 0;
    Ok(Interface {
        name: name.to_owned(),
        is_ethernet: link.hardware == libc::ARPHRD_ETHER,
        is_up: has(libc::IFF_UP),
        has_carrier: has(libc::IFF_RUNNING),
        driver: driver.name(),
        kind: link.kind,
        mtu: link.mtu,
        attached: link.attached,
        xdp: netlink::xdp_features(index),
        channels: driver.channels().or(queues),
        rings: driver.rings(),
        gro: driver.gro(),
        lro,
        vlan_offload,
        stamps: driver.stamps(),
        node: kernel::node_of(name),
        interrupts: kernel::interrupts_of(name),
    })
}

/// Gives an interface so many receive queues; how many it had, if that is another number. It stays so when the process ends.
///
/// # Errors
/// No such interface, a driver that cannot tell or set it (`EOPNOTSUPP`), a number that it does not take (`EINVAL`), no privilege.
pub fn set_queues(interface: &str, receive: u32) -> io::Result<Option<u32>> {
    let socket = sys::driver_socket()?;
    let driver = ethtool::Driver { socket: &socket, interface };
    let had = driver.channels().map(|channels| channels.receive);
    if had == Some(receive) {
        return Ok(None);
    }
    driver.set_channels(receive)?;
    Ok(had)
}
