//! What is done with arbitrary bytes, one file per target: plain functions that panic when something does not hold.
//!
//! cargo-fuzz drives them (`tests/fuzz`), and the suite `replay` runs them over the committed corpus and over damage to it in
//! every ordinary test run. [`backends`] stands apart: it makes its own programs, queries and packets.

pub mod backends;
mod bpf;
mod captures;
mod compile;
mod ddl;
mod functions;
mod gsql;
mod packets;
mod pcap_filter;
mod run;

use std::sync::OnceLock;

use wt_catalog::Catalog;
use wt_wire::{ByteOrder, LinkType, PcapVariant, PcapWriter};

/// A target: the name of its corpus folder, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the folder below `tests/fuzz/corpus` and of the cargo-fuzz binary.
    pub name: &'static str,
    /// Takes any bytes; TRUE when they went all the way, past whatever refuses what makes no sense.
    pub run: fn(&[u8]) -> bool,
    /// Mutations of its corpus in an ordinary test run: targets that compile queries are slower.
    pub mutations: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "captures", run: captures::run, mutations: 4000 },
    Target { name: "ddl", run: ddl::run, mutations: 1000 },
    Target { name: "gsql", run: gsql::run, mutations: 4000 },
    Target { name: "compile", run: compile::run, mutations: 1000 },
    Target { name: "packets", run: packets::run, mutations: 4000 },
    Target { name: "bpf", run: bpf::run, mutations: 4000 },
    Target { name: "pcap_filter", run: pcap_filter::run, mutations: 1000 },
    Target { name: "functions", run: functions::run, mutations: 4000 },
    Target { name: "run", run: run::run, mutations: 1000 },
];

/// A target by name.
///
/// # Panics
/// When there is none.
pub fn target(name: &str) -> Target {
    *TARGETS.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no target `{name}`"))
}

/// The built-in catalog, made once.
fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(Catalog::builtin)
}

/// Bytes as text; what is no UTF-8 becomes the replacement character, so that every input says something.
fn text_of(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// Takes a text up to a zero byte, and what follows.
fn split(data: &[u8]) -> (String, &[u8]) {
    match data.iter().position(|b| *b == 0) {
        Some(at) => (text_of(&data[..at]), &data[at + 1..]),
        None => (text_of(data), &[]),
    }
}

/// A capture of one packet.
fn capture_of(link_type: u16, wire_len: u32, packet: &[u8]) -> Vec<u8> {
    let snap_len = 262_144;
    let made = PcapWriter::new(
        Vec::new(),
        PcapVariant::Nano,
        ByteOrder::Little,
        LinkType(link_type),
        snap_len,
    )
    .and_then(|mut writer| {
        let packet = &packet[..packet.len().min(snap_len as usize)];
        writer.write(1_700_000_000_000_000_001, wire_len, packet)?;
        Ok(writer.into_inner())
    });
    made.unwrap_or_else(|e| panic!("a capture of one packet is written: {e}"))
}

/// Reads numbers off the front of the input; 0 when it is used up.
#[derive(Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
