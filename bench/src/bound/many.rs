//! Many filters in one pass: T8 and the wide batch. The headers are read once, and a packet's filters are the bits of a mask or
//! the entries of a table.

use std::io::{self, Write};

use super::capture::{Record, Task};
use super::count::Totals;
use super::packet::{self, Addresses, ICMP};
use crate::filters::{self, WIDE_BAND_LEN, WIDE_BANDS, WIDE_NETS, WIDE_TCP_PORTS, WIDE_UDP_PORTS};

const FILTERS: usize = 20;

/// T8: the filters of [`filters::twenty`], by hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Twenty([Totals; FILTERS]);

impl Task for Twenty {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let mut mask = u32::from(record.len >= 1001) << 14 | u32::from(record.len <= 128) << 15;
        if let Some(ip) = packet::ip(record.data, record.len) {
            mask |= ip_mask(&ip, record.data);
        }
        while mask != 0 {
            self.0[mask.trailing_zeros() as usize % 32 % FILTERS].add(record.len);
            mask &= mask - 1;
        }
    }

    fn merge(&mut self, later: Self) {
        self.0.iter_mut().zip(later.0).for_each(|(mine, other)| mine.merge(other));
    }

    fn finish(self, output: &mut dyn Write) -> io::Result<()> {
        write_rows(&self.0, output)
    }
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

#[inline(always)]
fn ip_mask(ip: &packet::Ip<'_>, frame: &[u8]) -> u32 {
    let bit = |number: u32, on: bool| u32::from(on) << number;
    let mut mask = 0;
    let v4 = match ip.addresses {
        Addresses::V4(&[net, _, _, _, to, to2, _, _]) => {
            mask |= bit(12, net == 10) | bit(13, to == 198 && to2 == 18);
            mask |= ipv4_mask(frame);
            true
        }
        Addresses::V6(_) => {
            mask |= bit(3, true);
            false
        }
    };
    if let Some(tcp) = ip.tcp() {
        let (from, to, flags) = (tcp.source(), tcp.destination(), tcp.flags());
        mask |= bit(0, true)
            | bit(4, to == 80)
            | bit(5, to == 443)
            | bit(6, from == 443)
            | bit(8, from == 22 || to == 22)
            | bit(10, v4 && flags & (SYN | ACK) == SYN)
            | bit(11, v4 && flags & RST != 0)
            | bit(16, (1..=1023).contains(&to))
            | bit(19, from == 25 || from == 8080 || to == 25 || to == 8080);
    } else if let Some((from, to)) = ip.udp() {
        mask |= bit(1, true) | bit(7, from == 53 || to == 53) | bit(9, from == 443 || to == 443);
    } else if ip.protocol == ICMP && v4 && !ip.later_fragment && ip.rest.len() >= 8 {
        mask |= bit(2, true);
    }
    mask
}

/// Time to live and the don't-fragment bit; the header's place is known to be inside the frame.
#[inline(always)]
fn ipv4_mask(frame: &[u8]) -> u32 {
    let mut at = 14;
    while matches!(frame.get(at - 2..at), Some([0x81, 0] | [0x88, 0xa8] | [0x91, 0])) {
        at += 4;
    }
    let Some(head) = frame.get(at..).and_then(|b| b.first_chunk::<20>()) else { return 0 };
    u32::from(head[8] < 64) << 17 | u32::from(head[6] & 0x40 != 0) << 18
}

const WIDE: usize = 100;
/// Where the parts of the wide batch begin, in the order of [`filters::hundred`].
const UDP_AT: usize = WIDE_TCP_PORTS.len();
const NETS_AT: usize = UDP_AT + WIDE_UDP_PORTS.len();
const BANDS_AT: usize = NETS_AT + WIDE_NETS as usize;
const _: () = assert!(BANDS_AT + WIDE_BANDS as usize == WIDE);

/// The wide batch: tables, as no one tests a hundred conditions one by one.
#[derive(Clone, Debug)]
pub struct Hundred {
    totals: [Totals; WIDE],
    /// Number of the filter by TCP port, or `WIDE`.
    tcp: Box<[u8; 1 << 16]>,
    udp: Box<[u8; 1 << 16]>,
}

impl Default for Hundred {
    fn default() -> Self {
        let table = |ports: &[u16], at: usize| {
            let mut table = Box::new([WIDE as u8; 1 << 16]);
            ports
                .iter()
                .enumerate()
                .for_each(|(i, &port)| table[usize::from(port)] = (at + i) as u8);
            table
        };
        Self {
            totals: [Totals::default(); WIDE],
            tcp: table(&WIDE_TCP_PORTS, 0),
            udp: table(&WIDE_UDP_PORTS, UDP_AT),
        }
    }
}

impl Hundred {
    #[inline(always)]
    fn add(&mut self, filter: usize, len: u32) {
        if let Some(totals) = self.totals.get_mut(filter) {
            totals.add(len);
        }
    }
}

impl Task for Hundred {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let band = record.len / WIDE_BAND_LEN;
        if band < WIDE_BANDS {
            self.add(BANDS_AT + band as usize, record.len);
        }
        let Some(ip) = packet::ip(record.data, record.len) else { return };
        if let Addresses::V4(&[10, net @ 0..WIDE_NETS, ..]) = ip.addresses {
            self.add(NETS_AT + usize::from(net), record.len);
        }
        if let Some(tcp) = ip.tcp() {
            self.add(usize::from(self.tcp[usize::from(tcp.destination())]), record.len);
        } else if let Some((_, to)) = ip.udp() {
            self.add(usize::from(self.udp[usize::from(to)]), record.len);
        }
    }

    fn merge(&mut self, later: Self) {
        self.totals.iter_mut().zip(later.totals).for_each(|(mine, other)| mine.merge(other));
    }

    fn finish(self, output: &mut dyn Write) -> io::Result<()> {
        write_rows(&self.totals, output)
    }
}

/// One row for each filter.
pub(super) fn write_rows(totals: &[Totals], output: &mut dyn Write) -> io::Result<()> {
    for (index, Totals { packets, bytes }) in totals.iter().enumerate() {
        let name = filters::name(index);
        writeln!(output, r#"{{"query":"{name}","packets":{packets},"bytes":{bytes}}}"#)?;
    }
    Ok(())
}
