//! The books as aligned text.

use std::fmt;

use wt_catalog::display::show;
use wt_catalog::{Type, Value};

use super::{Ledger, PortCounters};

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_packets(f)?;
        self.write_live(f)?;
        self.write_index(f)?;
        self.write_queries(f)?;
        self.write_operators(f)?;
        self.write_outputs(f)?;
        self.damage().try_for_each(|(interface, damage)| {
            writeln!(f, "damage: {interface}: {}: {}", damage.capture, damage.damage)
        })?;
        for interface in &self.interfaces {
            for gap in interface.live.iter().flat_map(|live| &live.gaps_listed) {
                let [from, to] = [gap.from_ns, gap.to_ns]
                    .map(|ns| show(&Value::Time(ns), Type::Time).to_string());
                writeln!(f, "no link: {}: from {from} to {to}", interface.name)?;
            }
        }
        Ok(())
    }
}

impl Ledger {
    fn write_packets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&[
            "packets",
            "records",
            "wire bytes",
            "captured bytes",
            "processed",
            "malformed",
            "too deep",
            "unknown link",
            "truncated",
            "damaged files",
        ]);
        for interface in &self.interfaces {
            let packets = &interface.packets;
            grid.row(
                interface.name.clone(),
                &[
                    interface.records,
                    interface.wire_bytes,
                    interface.captured_bytes,
                    interface.processed,
                    packets.malformed,
                    packets.too_deep,
                    packets.unknown_link_type,
                    interface.truncated,
                    interface.damage.len() as u64,
                ],
            );
        }
        grid.write(f)
    }

    fn write_live(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&[
            "live",
            "seen",
            "records",
            "unread",
            "kernel dropped",
            "restamped",
            "ring full",
            "gaps",
            "gap ms",
            "blocked",
        ]);
        for interface in &self.interfaces {
            let Some(live) = &interface.live else { continue };
            grid.row(
                interface.name.clone(),
                &[
                    live.seen,
                    interface.records,
                    live.unread,
                    live.kernel_dropped,
                    live.restamped,
                    live.ring_full,
                    live.gaps,
                    live.gap_ns / 1_000_000,
                    live.blocked,
                ],
            );
        }
        grid.write(f)?;
        let mut grid =
            Grid::new(&["sockets", "redirected", "received", "no frame", "ring full", "under way"]);
        for interface in &self.interfaces {
            let redirected = interface.live.as_ref().map(|live| live.redirected);
            if let Some(r) = redirected.filter(|redirected| redirected.packets > 0) {
                let numbers = [r.packets, r.received, r.no_frame, r.ring_full, r.under_way()];
                grid.row(interface.name.clone(), &numbers);
            }
        }
        grid.write(f)?;
        let mut grid = Grid::new(&["port", "received", "missed", "errors", "no buffer", "left"]);
        for interface in &self.interfaces {
            if let Some(port) = interface.live.as_ref().and_then(|live| live.port) {
                let PortCounters { received, missed, errors, no_buffer, left } = port;
                grid.row(interface.name.clone(), &[received, missed, errors, no_buffer, left]);
            }
        }
        grid.write(f)
    }

    fn write_index(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&[
            "index",
            "records",
            "skipped",
            "segments read",
            "of",
            "blocks read",
            "of",
            "bytes read",
            "of",
        ]);
        for interface in &self.interfaces {
            let Some(index) = &interface.index else { continue };
            let (segments, blocks, bytes) = (index.segments, index.blocks, index.bytes);
            grid.row(
                interface.name.clone(),
                &[
                    interface.records,
                    index.skipped,
                    segments.0,
                    segments.1,
                    blocks.0,
                    blocks.1,
                    bytes.0,
                    bytes.1,
                ],
            );
        }
        grid.write(f)
    }

    fn write_queries(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&[
            "queries", "offered", "matched", "filtered", "absent", "failed", "late", "merged",
            "ejected", "output", "held",
        ]);
        for query in &self.queries {
            let t = &query.tuples;
            grid.row(
                format!("{} @ {}", query.name, query.interface),
                &[
                    t.offered, t.matched, t.filtered, t.absent, t.failed, t.late, t.merged,
                    t.ejected, t.output, t.held,
                ],
            );
        }
        grid.write(f)?;
        let mut grid = Grid::new(&["shed", "outside", "lost", "sent", "arrived", "shed"]);
        if self.interfaces.iter().any(|interface| interface.live.is_some()) {
            for query in &self.queries {
                let name = format!("{} @ {}", query.name, query.interface);
                let t = &query.tuples;
                grid.row(name, &[query.outside, t.lost, t.output, query.carried, query.shed]);
            }
        }
        grid.write(f)
    }

    fn write_operators(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&[
            "operators",
            "in",
            "expanded",
            "filtered",
            "absent",
            "failed",
            "late",
            "merged",
            "limited",
            "out",
            "held",
        ]);
        for operator in &self.operators {
            let t = &operator.tuples;
            grid.row(
                format!("{} ({})", operator.name, operator.kind),
                &[
                    t.input, t.expanded, t.filtered, t.absent, t.failed, t.late, t.merged,
                    t.limited, t.output, t.held,
                ],
            );
        }
        grid.write(f)
    }

    fn write_outputs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new(&["results", "rows", "unsent"]);
        for output in &self.outputs {
            grid.row(output.query.clone(), &[output.rows, output.unsent]);
        }
        grid.write(f)
    }
}

/// Rows of a name and numbers, columns aligned.
struct Grid<'a> {
    head: &'a [&'a str],
    rows: Vec<Vec<String>>,
}

impl<'a> Grid<'a> {
    fn new(head: &'a [&'a str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    fn row(&mut self, name: String, numbers: &[u64]) {
        let numbers = numbers.iter().map(u64::to_string);
        self.rows.push(std::iter::once(name).chain(numbers).collect());
    }

    /// Writes head and rows; nothing when there are no rows.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head = self.head.iter().map(|s| (*s).to_owned()).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let row: &Vec<String> = row;
            write!(f, "{:<width$}", row[0], width = widths[0])?;
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::{InterfaceLedger, Ledger, OutputLedger};

    #[test]
    fn numbers_are_aligned_under_their_heads() {
        let outputs = [("q", 7), ("longer_name", 12_345)];
        let outputs = outputs.map(|(query, rows)| OutputLedger {
            query: query.to_owned(),
            fed: rows,
            rows,
            unsent: 0,
        });
        let ledger = Ledger { outputs: outputs.to_vec(), ..Default::default() };
        assert_eq!(
            ledger.to_string(),
            "results       rows  unsent\nq                7       0\nlonger_name  12345       0\n"
        );
    }

    #[test]
    fn an_interface_has_one_line() {
        let interface =
            InterfaceLedger { name: "eth0".to_owned(), records: 3, ..Default::default() };
        let ledger = Ledger { interfaces: vec![interface], ..Default::default() };
        let text = ledger.to_string();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("eth0")));
    }
}
