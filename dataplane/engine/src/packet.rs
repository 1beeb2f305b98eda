//! A packet as a backend sees it: the bytes and what is known about them.

use wt_catalog::Value;
use wt_catalog::protocol::Meta;
use wt_trace::Meanwhile;
use wt_wire::{Direction, RecordRef};

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

/// Consecutive packets of one interface and link type.
#[derive(Clone, Copy, Debug)]
pub struct PacketBatch<'a> {
    /// The buffer that holds the bytes of all packets.
    pub data: &'a [u8],
    /// The packets; their bytes lie in `data`.
    pub records: &'a [RecordRef],
    /// LINKTYPE_ number.
    pub link_type: u16,
    /// Interface name, a string value.
    pub interface: &'a Value,
    /// Interface index.
    pub ifindex: u32,
    /// What the reader goes on with while the packets are worked on; nobody has to.
    pub meanwhile: Option<Meanwhile<'a>>,
}

impl<'a> PacketBatch<'a> {
    /// A packet of this batch.
    #[inline]
    pub fn packet(&self, record: &RecordRef) -> Packet<'a> {
        Packet {
            timestamp_ns: record.timestamp_ns,
            len: record.len,
            link_type: self.link_type,
            interface: self.interface,
            ifindex: self.ifindex,
            direction: match record.direction {
                Direction::Unknown => 0,
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            },
            data: &self.data[record.at as usize..][..record.caplen as usize],
        }
    }
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
