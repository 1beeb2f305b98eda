//! The tasks that keep a few numbers: all packets (T1), web ports (T2), HTTP in payloads (T5).

use std::io::{self, Write};

use memchr::memmem::Finder;

use super::capture::{Record, Task};
use super::packet;

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub packets: u64,
    /// Sum of their lengths on the wire.
    pub bytes: u64,
}

impl Totals {
    /// Counts one.
    #[inline(always)]
    pub fn add(&mut self, len: u32) {
        self.packets += 1;
        self.bytes += u64::from(len);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// T1: all packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct All(Totals);

impl Task for All {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        self.0.add(record.len);
    }

    fn merge(&mut self, later: Self) {
        self.0.merge(later.0);
    }

    fn finish(self, output: &mut dyn Write) -> io::Result<()> {
        writeln!(output, "packets,bytes\n{},{}", self.0.packets, self.0.bytes)
    }
}

/// T2: TCP with port 80 or 443.
#[derive(Clone, Copy, Debug, Default)]
pub struct Web(Totals);

impl Task for Web {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let Some(tcp) = packet::ip(record.data, record.len).and_then(|ip| ip.tcp()) else { return };
        if tcp.has_port(80) || tcp.has_port(443) {
            self.0.add(record.len);
        }
    }

    fn merge(&mut self, later: Self) {
        self.0.merge(later.0);
    }

    fn finish(self, output: &mut dyn Write) -> io::Result<()> {
        writeln!(output, "packets,bytes\n{},{}", self.0.packets, self.0.bytes)
    }
}

/// T5: TCP port 80, and how much of it has `HTTP/1` in its payload.
///
/// That is what `^[^\n]*HTTP/1.*` asks where `^` stands after each newline too, as it does for `str_regex_match`: without an automaton.
#[derive(Clone, Debug)]
pub struct Http {
    port80: Totals,
    http: Totals,
    needle: Finder<'static>,
}

impl Default for Http {
    fn default() -> Self {
        Self { port80: Totals::default(), http: Totals::default(), needle: Finder::new("HTTP/1") }
    }
}

impl Task for Http {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        let Some(tcp) = packet::ip(record.data, record.len).and_then(|ip| ip.tcp()) else { return };
        if !tcp.has_port(80) {
            return;
        }
        self.port80.add(record.len);
        if self.needle.find(tcp.payload).is_some() {
            self.http.add(record.len);
        }
    }

    fn merge(&mut self, later: Self) {
        self.port80.merge(later.port80);
        self.http.merge(later.http);
    }

    fn finish(self, output: &mut dyn Write) -> io::Result<()> {
        for (name, totals) in [("port80", self.port80), ("http", self.http)] {
            let Totals { packets, bytes } = totals;
            writeln!(output, r#"{{"query":"{name}","packets":{packets},"bytes":{bytes}}}"#)?;
        }
        Ok(())
    }
}
