//! What the kernel says of an interface: route netlink (rtnetlink(7)) for the link, generic netlink's family `netdev` for what its driver can do
//! with XDP (Linux 6.3 and later).

use std::io;
use std::os::fd::OwnedFd;

use super::sys;
use super::{Attached, XdpFeatures};

const HEADER_BYTES: usize = 16;
const GENERIC_HEADER_BYTES: usize = 4;
const IFINFO_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
/// Attribute types carry two flags on top.
const TYPE_MASK: u16 = 0x3fff;

const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Do not count the addresses of virtual functions and so on: a short answer.
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// A link, as route netlink has it.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkFacts {
    /// `ARPHRD_ETHER` …
    pub(super) hardware: u16,
    /// `IFF_UP` …
    pub(super) flags: u32,
    pub(super) mtu: Option<u32>,
    pub(super) queues: Option<u32>,
    /// `veth`, `bond` …; nothing for hardware.
    pub(super) kind: Option<String>,
    pub(super) attached: Option<Attached>,
}

/// A request, growing.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
        Self(bytes)
    }

    fn generic(kind: u16, command: u8) -> Self {
        Self::new(kind).with(&[command, 1, 0, 0])
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn attribute(self, kind: u16, value: &[u8]) -> Self {
        let len = (value.len() + 4) as u16;
        self.with(&[len.to_ne_bytes(), kind.to_ne_bytes()].concat()).with(value)
    }

    /// Asks the kernel; what follows the header of its answer.
    fn ask(mut self, socket: &OwnedFd) -> io::Result<Vec<u8>> {
        let len = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        sys::send(socket, &self.0)?;
        let mut buffer = vec![0; 32 << 10];
        let got = sys::receive(socket, &mut buffer)?;
        buffer.truncate(got);
        answer(&buffer).map(<[u8]>::to_vec)
    }
}

/// The body of a message.
fn answer(message: &[u8]) -> io::Result<&[u8]> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short answer of netlink");
    let len = u32_at(message, 0).ok_or_else(short)? as usize;
    let kind = u16_at(message, 4).ok_or_else(short)?;
    let body = message.get(HEADER_BYTES..len).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let code = u32_at(body, 0).ok_or_else(short)?.cast_signed();
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(body)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Attributes: (type, value).
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Asks for a link.
pub(super) fn link(ifindex: u32) -> io::Result<LinkFacts> {
    let socket = sys::netlink_socket(libc::NETLINK_ROUTE)?;
    let mut info = [0; IFINFO_BYTES];
    info[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let request = Message::new(libc::RTM_GETLINK).with(&info);
    let request = request.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    parse_link(&request.ask(&socket)?)
}

fn parse_link(body: &[u8]) -> io::Result<LinkFacts> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short answer of netlink");
    let rest = body.get(IFINFO_BYTES..).ok_or_else(short)?;
    let attached = find(rest, IFLA_XDP).and_then(|xdp| {
        let mode = *find(xdp, IFLA_XDP_ATTACHED)?.first()?;
        let id = find(xdp, IFLA_XDP_PROG_ID).and_then(|id| u32_at(id, 0));
        (mode != 0).then_some(Attached { program: id })
    });
    Ok(LinkFacts {
        hardware: u16_at(body, 2).ok_or_else(short)?,
        flags: u32_at(body, 8).ok_or_else(short)?,
        mtu: find(rest, IFLA_MTU).and_then(|v| u32_at(v, 0)),
        queues: find(rest, IFLA_NUM_RX_QUEUES).and_then(|v| u32_at(v, 0)),
        kind: find(rest, IFLA_LINKINFO).and_then(|i| find(i, IFLA_INFO_KIND)).map(text),
        attached,
    })
}

/// Asks what an interface's driver can do with XDP. Nothing where the kernel cannot tell (before 6.3).
pub(super) fn xdp_features(ifindex: u32) -> Option<XdpFeatures> {
    let socket = sys::netlink_socket(libc::NETLINK_GENERIC).ok()?;
    let request = Message::generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    let family = request.attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0").ask(&socket).ok()?;
    let id = u16_at(find(family.get(GENERIC_HEADER_BYTES..)?, CTRL_ATTR_FAMILY_ID)?, 0)?;
    let request = Message::generic(id, NETDEV_CMD_DEV_GET);
    let device =
        request.attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes()).ask(&socket).ok()?;
    let features = find(device.get(GENERIC_HEADER_BYTES..)?, NETDEV_A_DEV_XDP_FEATURES)?;
    let features = u64::from_ne_bytes(features.get(..8)?.try_into().ok()?);
    Some(XdpFeatures { native: features & 1 != 0, zero_copy: features & 1 << 3 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_their_bytes_do() {
        let message = Message::new(1).attribute(7, b"abc").attribute(8 | 0x8000, &[1, 2, 3, 4]);
        let bytes = &message.0[HEADER_BYTES..];
        let found: Vec<_> = attributes(bytes).collect();
        assert_eq!(found, [(7, &b"abc"[..]), (8, &[1, 2, 3, 4][..])]);
        // Each cut gives fewer, and no panic.
        for len in 0..bytes.len() {
            assert!(attributes(&bytes[..len]).count() < 2, "{len}");
        }
        // Lengths that lie.
        assert_eq!(attributes(&[3, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[0; 4]).count(), 0);
    }

    #[test]
    fn an_error_is_the_kernels() {
        let mut message = Message::new(NLMSG_ERROR).with(&(-libc::ENODEV).to_ne_bytes()).0;
        let len = message.len() as u32;
        message[..4].copy_from_slice(&len.to_ne_bytes());
        let error = answer(&message).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert!(answer(&message[..10]).is_err());
    }

    #[test]
    fn the_loopback_is_a_link_without_a_program() {
        let index = crate::packet_socket::interface_index("lo").expect("lo");
        let facts = link(index).expect("a link");
        assert_eq!(facts.hardware, libc::ARPHRD_LOOPBACK);
        assert_eq!(facts.attached, None);
        assert!(facts.mtu.is_some());
        assert_eq!(link(u32::MAX >> 1).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
