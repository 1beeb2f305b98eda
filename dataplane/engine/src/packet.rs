//! A packet as a backend sees it: the bytes and what is known about them.

use wt_catalog::Value;
use wt_catalog::protocol::Meta;

/// One captured packet with its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Capture time, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Length on the wire, bytes.
    pub len: u32,
    /// LINKTYPE_ number.
    pub link_type: u16,
    /// Interface name, a string value.
    pub interface: &'a Value,
    /// Interface index.
    pub ifindex: u32,
    /// 0 unknown, 1 in, 2 out.
    pub direction: u8,
    /// Captured bytes.
    pub data: &'a [u8],
}

/// Nanoseconds in a second.
pub(crate) const NS_PER_S: u64 = 1_000_000_000;

impl Packet<'_> {
    /// A piece of metadata as an unsigned number; the interface name has none.
    #[inline]
    pub(crate) fn meta(&self, meta: Meta) -> Option<u64> {
        Some(match meta {
            Meta::Time => self.timestamp_ns / NS_PER_S,
            Meta::Timestamp => self.timestamp_ns,
            Meta::Len => u64::from(self.len),
            Meta::CapLen => self.data.len() as u64,
            Meta::IfIndex => u64::from(self.ifindex),
            Meta::Direction => u64::from(self.direction),
            Meta::LinkType => u64::from(self.link_type),
            Meta::Interface => return None,
        })
    }
}
