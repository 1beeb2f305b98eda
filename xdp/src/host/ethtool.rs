//! What drivers say of an interface: `ethtool`'s requests (linux/ethtool.h).

use std::io;
use std::os::fd::OwnedFd;

use super::sys;
use super::{Channels, Rings, Stamps};

/// struct ethtool_drvinfo: 196 bytes.
const DRVINFO_WORDS: usize = 49;
const GDRVINFO: u32 = 0x03;
const GRINGPARAM: u32 = 0x10;
const GFLAGS: u32 = 0x25;
const GGRO: u32 = 0x2b;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;
const GET_TS_INFO: u32 = 0x41;

/// struct ethtool_channels: cmd, max_rx, max_tx, max_other, max_combined, rx, tx, other, combined.
const CHANNEL_WORDS: usize = 9;

/// ETH_FLAG_RXVLAN: the card takes VLAN tags out of the frame.
const FLAG_RXVLAN: u32 = 1 << 8;
/// ETH_FLAG_LRO.
const FLAG_LRO: u32 = 1 << 15;
/// SOF_TIMESTAMPING_RX_HARDWARE.
const STAMPS_RX_HARDWARE: u32 = 1 << 2;
/// SOF_TIMESTAMPING_RX_SOFTWARE.
const STAMPS_RX_SOFTWARE: u32 = 1 << 3;
/// SOF_TIMESTAMPING_RAW_HARDWARE: stamps come as the card's clock shows them.
const STAMPS_RAW_HARDWARE: u32 = 1 << 6;
/// HWTSTAMP_FILTER_ALL, as a bit.
const FILTERS_ALL: u32 = 1 << 1;

/// Asks the driver of one interface. What a driver does not answer is `None`.
pub(super) struct Driver<'a> {
    pub(super) socket: &'a OwnedFd,
    pub(super) interface: &'a str,
}

impl Driver<'_> {
    fn ask<const N: usize>(&self, command: u32) -> io::Result<[u32; N]> {
        let mut words = [0; N];
        words[0] = command;
        sys::ethtool(self.socket, self.interface, &mut words)?;
        Ok(words)
    }

    fn value(&self, command: u32) -> Option<u32> {
        self.ask::<2>(command).ok().map(|[_, value]| value)
    }

    /// Its name.
    pub(super) fn name(&self) -> Option<String> {
        let words = self.ask::<DRVINFO_WORDS>(GDRVINFO).ok()?;
        let bytes = words[1..9].iter().flat_map(|word| word.to_ne_bytes());
        let name: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        String::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// Slots of the receive ring: now, and at most.
    pub(super) fn rings(&self) -> Option<Rings> {
        // cmd, rx_max, rx_mini_max, rx_jumbo_max, tx_max, rx, rx_mini, rx_jumbo, tx.
        let words = self.ask::<9>(GRINGPARAM).ok()?;
        Some(Rings { receive: words[5], receive_max: words[1] })
    }

    /// Receive queues: now, and at most.
    pub(super) fn channels(&self) -> Option<Channels> {
        let words = self.ask::<CHANNEL_WORDS>(GCHANNELS).ok()?;
        Some(Channels { receive: words[5] + words[8], receive_max: words[1] + words[4] })
    }

    /// Sets the number of receive queues.
    pub(super) fn set_channels(&self, receive: u32) -> io::Result<()> {
        let mut words = self.ask::<CHANNEL_WORDS>(GCHANNELS)?;
        words[0] = SCHANNELS;
        // Cards whose queues receive and send have no others, but for some that have both kinds.
        match words[4] {
            0 => words[5] = receive,
            _ => words[8] = receive.saturating_sub(words[5]),
        }
        sys::ethtool(self.socket, self.interface, &mut words)
    }

    /// Generic receive offload: the stack joins packets of a stream.
    pub(super) fn gro(&self) -> Option<bool> {
        self.value(GGRO).map(|on| on != 0)
    }

    /// Large receive offload, and VLAN tags taken out by the card.
    pub(super) fn lro_and_vlan(&self) -> (Option<bool>, Option<bool>) {
        let flags = self.value(GFLAGS);
        (flags.map(|f| f & FLAG_LRO != 0), flags.map(|f| f & FLAG_RXVLAN != 0))
    }

    /// Who can stamp received packets.
    pub(super) fn stamps(&self) -> Option<Stamps> {
        // cmd, so_timestamping, phc_index, tx_types, reserved × 3, rx_filters, reserved × 3.
        let words = self.ask::<11>(GET_TS_INFO).ok()?;
        Some(Stamps {
            by_card: words[1] & STAMPS_RX_HARDWARE != 0 && words[1] & STAMPS_RAW_HARDWARE != 0,
            by_kernel: words[1] & STAMPS_RX_SOFTWARE != 0,
            of_all: words[7] & FILTERS_ALL != 0,
            clock: u32::try_from(words[2].cast_signed()).ok(),
        })
    }
}
