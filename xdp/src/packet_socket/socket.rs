//! A packet socket with its ring, bound to one interface as it is now.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use wt_engine::live::{Link, StampOrder};
use wt_lang::suggest::nearest;
use wt_plan::bpf;
use wt_wire::RecordRef;

use super::block::{Packets, RESERVE_BYTES, Received};
use super::error::OpenError;
use super::{Options, filter, interfaces, sys};
use crate::broker::Broker;
use crate::host::{StampError, check_stamps, stamp_by_card};

/// A block of the ring: the kernel gives it over when it is full, or some time after its first packet.
const BLOCK_BYTES: usize = 256 << 10;
/// When the kernel gives over a block that is not full.
const BLOCK_RETIRE_MS: u32 = 10;
/// Only its divisibility matters in this version of the ring.
const FRAME_BYTES: usize = 2048;
const _: () = assert!(BLOCK_BYTES.is_multiple_of(FRAME_BYTES));

/// Option of packet sockets: which stamps the ring has (linux/if_packet.h).
const PACKET_TIMESTAMP: libc::c_int = 17;
/// SOF_TIMESTAMPING_RAW_HARDWARE: the card's stamp as it is, the kernel's where there is none.
const STAMPS_RAW_HARDWARE: libc::c_int = 1 << 6;

/// The pseudo interface of all interfaces.
pub(super) const ANY: &str = "any";
const LOOPBACK: &str = "lo";

const LINKTYPE_ETHERNET: u16 = 1;
const LINKTYPE_RAW: u16 = 101;
const LINKTYPE_LINUX_SLL2: u16 = 276;

// Kinds of interfaces (if_arp.h).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_NONE: u16 = 0xfffe;

/// The packets of a block, and the interface of each.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) records: Vec<RecordRef>,
    pub(super) ifindexes: Vec<u32>,
}

pub(super) struct Socket {
    fd: OwnedFd,
    ring: sys::Ring,
    blocks: usize,
    /// The block that comes next.
    next: usize,
    pub(super) ifindex: u32,
    /// The loopback, whose packets come twice here.
    loopback: Option<u32>,
    /// What the kernel copies: a compiled filter, or everything.
    wanted: Option<Vec<[u32; 4]>>,
    pub(super) link_type: u16,
    /// Packets that the kernel had for this socket, those it dropped, and those that were read.
    pub(super) seen: u64,
    pub(super) dropped: u64,
    pub(super) read: u64,
}

impl Socket {
    /// Opens a socket and lets packets in.
    pub(super) fn open(name: &str, options: &Options) -> Result<Self, OpenError> {
        let blocks = (options.ring_bytes / BLOCK_BYTES).max(2);
        let ring_bytes = blocks.saturating_mul(BLOCK_BYTES);
        let fail = |what| move |error| OpenError::of(name, ring_bytes, what, error);
        let mut ifindex = 0;
        if name != ANY {
            ifindex = sys::index_of(name).ok_or_else(|| {
                let known = interfaces::names();
                let near = nearest(name, known.iter().map(String::as_str), 1);
                let similar = near.first().map(|&near| near.to_owned());
                OpenError::NoSuchInterface { name: name.to_owned(), known, similar }
            })?;
        }
        let mut fd = super::open(false, options.broker.as_ref()).map_err(fail("socket"))?;
        let link_type = match name {
            ANY => LINKTYPE_LINUX_SLL2,
            _ => link_type(sys::hardware_of(&fd, name).map_err(fail("kind of the interface"))?),
        };
        if name != ANY && !interfaces::is_up(sys::flags_of(&fd, name).map_err(fail("flags"))?) {
            return Err(OpenError::Down { name: name.to_owned() });
        }
        if link_type == LINKTYPE_LINUX_SLL2 {
            fd = super::open(true, options.broker.as_ref()).map_err(fail("socket"))?;
        }
        let (blocks_u32, frames) = (blocks as u32, (ring_bytes / FRAME_BYTES) as u32);
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: blocks_u32,
            tp_frame_size: FRAME_BYTES as u32,
            tp_frame_nr: frames,
            tp_retire_blk_tov: BLOCK_RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        let version = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        sys::set_number(&fd, libc::PACKET_VERSION as libc::c_int, version)
            .map_err(fail("ring version"))?;
        sys::set_number(&fd, libc::PACKET_RESERVE as libc::c_int, RESERVE_BYTES as libc::c_int)
            .map_err(fail("room before packets"))?;
        // Packets of a bond name the member that they came by.
        sys::set_number(&fd, libc::PACKET_ORIGDEV as libc::c_int, 1)
            .map_err(fail("original device"))?;
        if let Some(most) = options.stamps_by_card {
            ask_for_stamps(name, options.broker.as_ref(), most)?;
            sys::set_number(&fd, PACKET_TIMESTAMP, STAMPS_RAW_HARDWARE)
                .map_err(fail("stamps of the card"))?;
        }
        sys::set_ring(&fd, &request).map_err(fail("ring"))?;
        let ring = sys::Ring::map(&fd, BLOCK_BYTES, blocks).map_err(fail("mapping of the ring"))?;
        let loopback = matches!(name, ANY | LOOPBACK).then(|| sys::index_of(LOOPBACK)).flatten();
        // Of cooked packets the kernel's filters see what stands behind the header.
        let expression = options.filter.as_deref().filter(|_| link_type != LINKTYPE_LINUX_SLL2);
        let wanted = expression.and_then(|text| bpf::instructions(text, link_type).ok());
        sys::set_filter(&fd, &filter::keep(options.snap_bytes, loopback, wanted.as_deref()))
            .map_err(fail("filter"))?;
        if options.is_promiscuous && name != ANY {
            sys::set_promiscuous(&fd, ifindex).map_err(fail("promiscuous mode"))?;
        }
        sys::bind(&fd, ifindex).map_err(fail("bind"))?;
        if let Some(group) = options.fanout {
            let by_flow = libc::PACKET_FANOUT_HASH << 16;
            let group = libc::c_int::from(group) | by_flow as libc::c_int;
            sys::set_number(&fd, libc::PACKET_FANOUT as libc::c_int, group)
                .map_err(fail("group of sockets"))?;
        }
        Ok(Self {
            fd,
            ring,
            blocks,
            next: 0,
            ifindex,
            loopback,
            wanted,
            link_type,
            seen: 0,
            dropped: 0,
            read: 0,
        })
    }

    /// Keeps so many bytes of packets from now on.
    pub(super) fn keep(&mut self, snap_bytes: u32) -> io::Result<()> {
        sys::set_filter(&self.fd, &filter::keep(snap_bytes, self.loopback, self.wanted.as_deref()))
    }

    /// Waits for the next block; whether it is there.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.ring.block(self.next).is_some() {
            return Ok(true);
        }
        if sys::wait(&self.fd, timeout)? && self.ring.block(self.next).is_none() {
            // Not a block, so an error: the link went down, which the flags tell too.
            sys::take_error(&self.fd)?;
        }
        Ok(self.ring.block(self.next).is_some())
    }

    /// Whether packets lie in the block that the kernel is filling.
    pub(super) fn is_filling(&self) -> bool {
        self.ring.is_filling(self.next)
    }

    /// Whether no packet lies in the ring.
    pub(super) fn is_empty(&mut self) -> bool {
        self.ring.block(self.next).is_none() && !self.is_filling()
    }

    /// Reads the next block, if it is there, and gives its bytes and packets to `take`.
    pub(super) fn block<E>(
        &mut self,
        noted: &mut Noted,
        stamps: &mut StampOrder,
        take: impl FnOnce(&[u8], &Noted) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_cooked = self.link_type == LINKTYPE_LINUX_SLL2;
        let Some(block) = self.ring.block(self.next) else { return Ok(()) };
        noted.records.clear();
        noted.ifindexes.clear();
        let mut packets = Packets::new(block, is_cooked);
        while let Some(Received { mut record, ifindex }) = packets.next(block) {
            stamps.apply(&mut record);
            noted.records.push(record);
            noted.ifindexes.push(ifindex);
        }
        self.read += noted.records.len() as u64;
        let taken = take(block, noted);
        self.ring.release(self.next);
        self.next = (self.next + 1) % self.blocks;
        taken
    }

    /// Lets nothing more in.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        sys::set_filter(&self.fd, &filter::nothing())
    }

    /// Brings the kernel's counts up to date.
    pub(super) fn count(&mut self) {
        // The socket is open and the option known, so this cannot fail.
        if let Ok((seen, dropped)) = sys::statistics(&self.fd) {
            self.seen += u64::from(seen);
            self.dropped += u64::from(dropped);
        }
    }

    /// Whether all packets that were let in have been read.
    pub(super) fn is_drained(&mut self) -> bool {
        self.count();
        self.seen - self.dropped == self.read
    }

    /// Whether the interface of this name is still the one of this socket, and up.
    pub(super) fn link(&self, name: &str) -> Link {
        if name == ANY { Link::Up } else { interfaces::link(&self.fd, name, self.ifindex) }
    }
}

/// Lets the card stamp packets, if its clock can be believed.
fn ask_for_stamps(name: &str, broker: Option<&Broker>, most: Duration) -> Result<(), StampError> {
    check_stamps(name, most)?;
    let asked = match broker {
        Some(broker) => broker.stamp_by_card(name),
        None => stamp_by_card(name),
    };
    asked.map_err(|source| StampError::Refused { interface: name.to_owned(), source })
}

/// The LINKTYPE_ number of packets of an interface of this kind. Those of kinds that are not known come with a cooked header.
fn link_type(hardware: u16) -> u16 {
    match hardware {
        ARPHRD_ETHER | ARPHRD_LOOPBACK => LINKTYPE_ETHERNET,
        ARPHRD_NONE | ARPHRD_RAWIP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT => LINKTYPE_RAW,
        _ => LINKTYPE_LINUX_SLL2,
    }
}
