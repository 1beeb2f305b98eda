//! Predictions as text.

use std::fmt::Write as _;

use super::traffic::scaled;
use super::{NodeCost, Prediction, Rate, Traffic};
use crate::explain::bytes;

/// The nodes with their costs, and what follows for rate, cores and memory.
pub fn prediction(p: &Prediction, rate: Option<Rate>, cores: usize) -> String {
    let mut rows = vec![head(&["ns/packet", "share", "tuples/packet", "node"])];
    for node in &p.nodes {
        rows.push(vec![
            format!("{:.1}", node.ns),
            format!("{:.0}%", 100.0 * node.ns / p.ns()),
            node.rows.map_or_else(String::new, per_packet),
            node.label.clone(),
        ]);
    }
    rows.push(vec![format!("{:.1}", p.ns()), "100%".into(), String::new(), "in all".into()]);
    let mut text = table(&rows);
    let one = p.packets_per_second();
    let _ = writeln!(
        text,
        "\none core    {}, {} of {:.0}-byte packets",
        scaled(one, "pps"),
        scaled(8.0 * one * p.packet_bytes, "bit/s"),
        p.packet_bytes
    );
    if cores > 1 {
        let many = one * cores as f64;
        let _ = writeln!(
            text,
            "{:<12}{}, {}",
            format!("{cores} cores"),
            scaled(many, "pps"),
            scaled(8.0 * many * p.packet_bytes, "bit/s")
        );
    }
    if let Some(rate) = rate {
        let packets = rate.packets_per_second(p.packet_bytes);
        let _ = writeln!(
            text,
            "{:<12}{:.2} cores: {:.1} ns × {} packets/s ÷ 10⁹",
            rate.to_string(),
            p.cores(rate),
            p.ns(),
            number(packets)
        );
    }
    text.push_str(&memory(p));
    text
}

/// What is kept, with the arithmetic.
pub fn memory(p: &Prediction) -> String {
    let mut text = String::new();
    for (i, node) in p.memory.iter().enumerate() {
        let label = if i == 0 { "memory" } else { "" };
        let fixed = match node.fixed_bytes {
            0.0 => String::new(),
            n if node.entry_bytes == 0.0 => format!("{} fixed", bytes(n as u64)),
            n => format!("{} fixed + ", bytes(n as u64)),
        };
        let growing = match node.entry_bytes {
            0.0 => String::new(),
            n => format!("{n:.0} B × {} = {}", number(node.entries), bytes(node.bytes() as u64)),
        };
        let _ = writeln!(text, "{label:<12}{}: {fixed}{growing}", node.name);
    }
    match p.memory.len() {
        0 => text.push_str("memory      none\n"),
        1 => {}
        _ => {
            let _ = writeln!(text, "            in all: {}", bytes(p.memory_bytes() as u64));
        }
    }
    text
}

/// What is assumed, in a line.
pub fn assumptions(traffic: &Traffic) -> String {
    let matched = match traffic.matched {
        Some(share) => format!("{:.3}% of the packets match", 100.0 * share),
        None => "conditions let through what they do by rule".to_owned(),
    };
    format!(
        "packets of {:.0} bytes, {} packets and {} groups in a window; {matched}",
        traffic.packet_bytes,
        number(traffic.window_packets),
        number(traffic.groups),
    )
}

/// A run beside its prediction, node by node: `estimated` from assumptions, `counted` from the tuples that there were.
pub fn comparison(estimated: &Prediction, counted: &Prediction, packets: f64) -> String {
    let mut rows = vec![head(&["ns/packet", "(estimated)", "tuples", "(estimated)", "node"])];
    let tuples =
        |node: &NodeCost| node.rows.map_or_else(String::new, |r| number((r * packets).round()));
    for (before, after) in estimated.nodes.iter().zip(&counted.nodes) {
        rows.push(vec![
            format!("{:.1}", after.ns),
            format!("{:.1}", before.ns),
            tuples(after),
            tuples(before),
            after.label.clone(),
        ]);
    }
    rows.push(vec![
        format!("{:.1}", counted.ns()),
        format!("{:.1}", estimated.ns()),
        String::new(),
        String::new(),
        "in all".into(),
    ]);
    table(&rows)
}

fn head(titles: &[&str]) -> Vec<String> {
    titles.iter().map(|t| (*t).to_owned()).collect()
}

/// Lines of columns: all are aligned to the right but the last.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            match c + 1 == row.len() {
                true => line.push_str(cell),
                false => {
                    let pad = widths[c] - cell.chars().count();
                    line.extend(std::iter::repeat_n(' ', pad));
                    line.push_str(cell);
                    line.push_str("  ");
                }
            }
        }
        text.push_str("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Tuples per packet, with as many digits as tell something.
fn per_packet(rows: f64) -> String {
    match rows {
        0.0 => "0".to_owned(),
        rows if rows < 1e-6 => format!("{rows:.0e}"),
        rows => {
            let places = (2.0 - rows.log10().floor()).clamp(0.0, 9.0) as usize;
            let text = format!("{rows:.places$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

/// A size in bytes.
pub fn size(n: f64) -> String {
    bytes(n as u64)
}

/// A number in full, in groups of three digits.
pub fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(999.0), "999");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(per_packet(1.0), "1");
        assert_eq!(per_packet(0.012_345), "0.0123");
        assert_eq!(per_packet(2e-7), "2e-7");
        assert_eq!(per_packet(12.0), "12");
    }
}
