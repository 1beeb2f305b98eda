//! Answers are compared before anything is timed.

use crate::bound::TaskName;
use crate::task;

/// Two programs that answer differently.
#[derive(Debug, thiserror::Error)]
#[error("{task} on {trace}: {other} does not answer what {reference} answers\n{differences}")]
pub struct Disagreement {
    /// Task.
    pub task: &'static str,
    /// Trace.
    pub trace: String,
    /// The program that is believed.
    pub reference: String,
    /// The other.
    pub other: String,
    /// Both, where they differ.
    pub differences: String,
}

/// Rows in an order that does not depend on which query of a batch ends first.
fn rows(task: TaskName, said: &str) -> Vec<&str> {
    let mut rows: Vec<&str> = said.lines().collect();
    if task::query(task).batch {
        rows.sort_unstable();
    }
    rows
}

/// As [`compare`], where rows may come in any order.
///
/// # Errors
/// The rows that differ, the first few of them.
pub fn compare_in_any_order(task: TaskName, reference: &str, other: &str) -> Result<(), String> {
    let (mut ours, mut theirs) = (rows(task, reference), rows(task, other));
    ours.sort_unstable();
    theirs.sort_unstable();
    differences(&ours, &theirs)
}

/// Compares two answers, row by row; rows of one query also in their order.
///
/// # Errors
/// The rows that differ, the first few of them.
pub fn compare(task: TaskName, reference: &str, other: &str) -> Result<(), String> {
    differences(&rows(task, reference), &rows(task, other))
}

fn differences(ours: &[&str], theirs: &[&str]) -> Result<(), String> {
    const SHOWN: usize = 6;
    if ours == theirs {
        return Ok(());
    }
    let count = ours.len().max(theirs.len());
    let mut differences =
        format!("  {} rows against {}; the first that differ:\n", ours.len(), theirs.len());
    let none = "(no row)";
    let differing = (0..count).filter(|&i| ours.get(i) != theirs.get(i));
    for i in differing.take(SHOWN) {
        let (a, b) = (ours.get(i).unwrap_or(&none), theirs.get(i).unwrap_or(&none));
        differences.push_str(&format!("  row {}: {a}\n      not: {b}\n", i + 1));
    }
    Err(differences)
}

/// What the hand-written programs found in a trace: peers that count other things are held to these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// T1.
    pub packets: u64,
    /// T1, bytes on the wire.
    pub bytes: u64,
    /// T2.
    pub web_packets: u64,
    /// T4.
    pub tcp_packets: u64,
    /// T5.
    pub http_packets: u64,
    /// T8, packets of each filter.
    pub filters: Vec<u64>,
}

impl Facts {
    /// Takes what an answer tells.
    pub fn learn(&mut self, task: TaskName, answer: &str) {
        let last_row: Vec<u64> =
            answer.lines().last().unwrap_or("").split(',').filter_map(|n| n.parse().ok()).collect();
        match (task, &last_row[..]) {
            (TaskName::T1, &[packets, bytes]) => (self.packets, self.bytes) = (packets, bytes),
            (TaskName::T2, &[packets, _]) => self.web_packets = packets,
            (TaskName::T4, &[_, packets, _]) => self.tcp_packets = packets,
            (TaskName::T5, _) => {
                self.http_packets = answer.lines().last().and_then(packets_of).unwrap_or(0);
            }
            (TaskName::T8, _) => self.filters = answer.lines().filter_map(packets_of).collect(),
            _ => {}
        }
    }
}

/// `…"packets":17,…`
fn packets_of(row: &str) -> Option<u64> {
    let rest = row.split_once(r#""packets":"#)?.1;
    rest.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_counts_within_a_query_only() {
        assert!(compare(TaskName::T3, "h\n1\n2\n", "h\n1\n2\n").is_ok());
        let said = compare(TaskName::T3, "h\n1\n2\n", "h\n2\n1\n").expect_err("another order");
        assert!(said.contains("row 2: 1\n      not: 2"), "{said}");
        let in_any_order = |other| compare_in_any_order(TaskName::T3, "h\n1\n2\n", other);
        assert!(in_any_order("h\n2\n1\n").is_ok() && in_any_order("h\n2\n2\n").is_err());
        assert!(compare(TaskName::T8, "a\nb\n", "b\na\n").is_ok());
        let said = compare(TaskName::T8, "a\nb\n", "a\n").expect_err("a row less");
        assert!(said.contains("2 rows against 1") && said.contains("(no row)"), "{said}");
    }

    #[test]
    fn facts_are_read_from_answers() {
        let mut facts = Facts::default();
        facts.learn(TaskName::T1, "packets,bytes\n3,180\n");
        facts.learn(TaskName::T4, "flows,packets,bytes\n1,2,120\n");
        let rows = "{\"query\":\"port80\",\"packets\":9,\"bytes\":1}\n{\"query\":\"http\",\"packets\":4,\"bytes\":1}\n";
        facts.learn(TaskName::T5, rows);
        facts.learn(TaskName::T8, rows);
        let expected = Facts {
            packets: 3,
            bytes: 180,
            tcp_packets: 2,
            http_packets: 4,
            filters: vec![9, 4],
            ..Facts::default()
        };
        assert_eq!(facts, expected);
    }
}
