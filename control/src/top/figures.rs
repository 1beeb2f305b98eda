//! Two readings of the books as tables of rates and totals.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The books at a time.
pub struct Reading {
    pub at: Instant,
    pub status: Value,
}

/// A table: its columns, of which the first says what it is of, and a row per account.
pub struct Section {
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// A row; `alarm` tells that something was lost.
pub struct Row {
    pub cells: Vec<String>,
    pub alarm: bool,
}

/// What is shown of two readings.
pub struct Figures {
    pub title: String,
    pub lasted: Duration,
    pub sections: Vec<Section>,
}

/// A column: its head, the number of an account, and whether it is shown per second.
type Column = (&'static str, &'static str, Per);

/// How a number is shown.
#[derive(Clone, Copy, PartialEq)]
enum Per {
    /// As it has grown, per second.
    Second,
    /// The same of bytes, in bits.
    SecondBits,
    /// As it stands.
    Total,
    /// As it stands; more than none is a loss.
    Loss,
}

/// A kind of account, how it is named, and its columns.
struct Shape {
    kind: &'static str,
    title: &'static str,
    name: fn(&Value) -> String,
    /// A number without which there is nothing to be said of an account.
    needs: Option<&'static str>,
    columns: &'static [Column],
}

fn label(account: &Value, name: &str) -> String {
    account[name].as_str().unwrap_or("").to_owned()
}

const SHAPES: [Shape; 5] = [
    Shape {
        kind: "interface",
        title: "interface",
        name: |account| label(account, "interface"),
        needs: None,
        columns: &[
            ("packets/s", "records", Per::Second),
            ("bit/s", "wire_bytes", Per::SecondBits),
            ("packets", "records", Per::Total),
            ("kernel dropped", "kernel_dropped", Per::Loss),
            ("malformed", "malformed", Per::Total),
            ("ring full", "ring_full", Per::Total),
            ("gaps", "gaps", Per::Loss),
        ],
    },
    // Packets that end in the driver and go to the host by AF_XDP.
    Shape {
        kind: "interface",
        title: "sockets",
        name: |account| label(account, "interface"),
        needs: Some("redirected"),
        columns: &[
            ("redirected/s", "redirected", Per::Second),
            ("received/s", "socket_received", Per::Second),
            ("redirected", "redirected", Per::Total),
            ("received", "socket_received", Per::Total),
            ("no frame", "socket_no_frame", Per::Loss),
            ("ring full", "socket_ring_full", Per::Loss),
        ],
    },
    Shape {
        kind: "query",
        title: "query",
        name: |account| format!("{} @ {}", label(account, "query"), label(account, "interface")),
        needs: None,
        columns: &[
            ("matched/s", "matched", Per::Second),
            ("sent/s", "output", Per::Second),
            ("matched", "matched", Per::Total),
            ("groups", "held", Per::Total),
            ("ejected", "ejected", Per::Total),
            ("late", "late", Per::Loss),
            ("lost", "lost", Per::Loss),
            ("shed", "shed", Per::Loss),
        ],
    },
    Shape {
        kind: "operator",
        title: "operator",
        name: |account| format!("{} ({})", label(account, "operator"), label(account, "kind")),
        needs: None,
        columns: &[
            ("in/s", "input", Per::Second),
            ("out/s", "output", Per::Second),
            ("in", "input", Per::Total),
            ("held", "held", Per::Total),
            ("late", "late", Per::Loss),
        ],
    },
    Shape {
        kind: "result",
        title: "result",
        name: |account| label(account, "query"),
        needs: None,
        columns: &[
            ("rows/s", "rows", Per::Second),
            ("rows", "rows", Per::Total),
            ("unsent", "unsent", Per::Loss),
        ],
    },
];

impl Section {
    /// Characters of the widest cell of each column.
    pub fn widths(&self) -> Vec<usize> {
        let cells = |at: usize| self.rows.iter().map(move |row| row.cells[at].chars().count());
        let heads = self.columns.iter().enumerate();
        heads.map(|(at, head)| cells(at).chain([head.len()]).max().unwrap_or(0)).collect()
    }
}

impl Figures {
    /// What happened between two readings.
    pub fn new(before: &Reading, now: &Reading) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let section = |shape: &Shape| {
            let of_kind = |status: &Value| -> Vec<Value> {
                let accounts = status["accounts"].as_array().cloned().unwrap_or_default();
                let is_shown = |account: &Value| {
                    let has = |number: &str| account[number].as_u64().unwrap_or(0) > 0;
                    account["kind_of"] == shape.kind && shape.needs.is_none_or(has)
                };
                accounts.into_iter().filter(is_shown).collect()
            };
            let (old, new) = (of_kind(&before.status), of_kind(&now.status));
            let rows = new.iter().map(|account| {
                let name = (shape.name)(account);
                let old = old.iter().find(|old| (shape.name)(old) == name);
                row(name, account, old, shape.columns, seconds)
            });
            let rows = rows.collect();
            let heads = shape.columns.iter().map(|(head, ..)| *head);
            let columns = std::iter::once(shape.title).chain(heads).collect();
            Section { columns, rows }
        };
        Self {
            title: label(&now.status, "title"),
            lasted: Duration::from_millis(now.status["lasted_ms"].as_u64().unwrap_or(0)),
            sections: SHAPES.iter().map(section).filter(|s| !s.rows.is_empty()).collect(),
        }
    }

    /// The first line.
    pub fn headline(&self) -> String {
        let seconds = self.lasted.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{}  up {hours}:{minutes:02}:{seconds:02}", self.title)
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for section in &self.sections {
            let Section { columns, rows } = section;
            let widths = section.widths();
            let line = |cells: &mut dyn Iterator<Item = &str>| {
                let mut line = String::new();
                for (at, cell) in cells.enumerate() {
                    let width = widths[at];
                    let _ = match at {
                        0 => write!(line, "{cell:<width$}"),
                        _ => write!(line, "  {cell:>width$}"),
                    };
                }
                line.trim_end().to_owned()
            };
            let _ = writeln!(text, "{}", line(&mut columns.iter().copied()));
            for row in rows {
                let _ = writeln!(text, "{}", line(&mut row.cells.iter().map(String::as_str)));
            }
        }
        text
    }
}

fn row(
    name: String,
    account: &Value,
    old: Option<&Value>,
    columns: &[Column],
    seconds: f64,
) -> Row {
    let mut row = Row { cells: vec![name], alarm: false };
    for (_, number, per) in columns {
        let now = account[number].as_u64().unwrap_or(0);
        let before = old.and_then(|old| old[number].as_u64()).unwrap_or(0);
        let rate = now.saturating_sub(before) as f64 / seconds;
        row.alarm |= *per == Per::Loss && now > 0;
        row.cells.push(match per {
            Per::Second => short(rate),
            Per::SecondBits => short(8.0 * rate),
            Per::Total | Per::Loss => now.to_string(),
        });
    }
    row
}

/// A rate with three digits or so, and the letter of its thousands.
fn short(rate: f64) -> String {
    const LETTERS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut rate, mut at) = (rate, 0);
    while rate >= 999.5 && at + 1 < LETTERS.len() {
        rate /= 1000.0;
        at += 1;
    }
    let letter = LETTERS[at];
    match rate {
        rate if at == 0 && rate.fract() < 1e-9 => format!("{rate:.0}"),
        rate if rate < 9.995 => format!("{rate:.2}{letter}"),
        rate if rate < 99.95 => format!("{rate:.1}{letter}"),
        rate => format!("{rate:.0}{letter}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_short() {
        let shown = [0.0, 7.0, 7.25, 12.34, 123.4, 1234.0, 999_999.0, 5.9e6, 1.2e10].map(short);
        assert_eq!(shown, ["0", "7", "7.25", "12.3", "123", "1.23k", "1.00M", "5.90M", "12.0G"]);
    }

    #[test]
    fn sockets_are_shown_where_packets_went_to_them() {
        let reading = |redirected: u64| Reading {
            at: Instant::now(),
            status: json!({"title": "edge", "lasted_ms": 1000, "accounts": [
                {"kind_of": "interface", "interface": "eth0", "records": 9, "redirected": redirected,
                 "socket_received": 4, "socket_no_frame": redirected / 6, "socket_ring_full": 0},
            ]}),
        };
        let titles = |figures: &Figures| -> Vec<&str> {
            figures.sections.iter().map(|section| section.columns[0]).collect()
        };
        assert_eq!(titles(&Figures::new(&reading(0), &reading(0))), ["interface"]);
        let figures = Figures::new(&reading(0), &reading(6));
        assert_eq!(titles(&figures), ["interface", "sockets"]);
        let row = &figures.sections[1].rows[0];
        assert_eq!(row.cells[3..], ["6", "4", "1", "0"]);
        assert!(row.alarm);
    }

    #[test]
    fn rates_are_between_two_readings() {
        let at = Instant::now();
        let status = |records: u64, dropped: u64| {
            json!({"title": "edge", "lasted_ms": 3_723_000, "accounts": [
                {"kind_of": "interface", "interface": "eth0", "records": records, "wire_bytes": 100 * records, "kernel_dropped": dropped},
                {"kind_of": "operator", "operator": "q", "kind": "aggregate", "input": 3, "held": 2},
            ]})
        };
        let before = Reading { at, status: status(1000, 0) };
        let now = Reading { at: at + Duration::from_secs(2), status: status(3000, 5) };
        let figures = Figures::new(&before, &now);
        assert_eq!(figures.headline(), "edge  up 1:02:03");
        let interfaces = &figures.sections[0];
        assert_eq!(interfaces.rows[0].cells[..5], ["eth0", "1.00k", "800k", "3000", "5"]);
        assert!(interfaces.rows[0].alarm);
        let text = figures.text();
        assert!(text.contains("q (aggregate)     0      0   3     2     0\n"), "{text}");
    }
}
