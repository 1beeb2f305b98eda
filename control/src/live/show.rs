//! A live run as text: for people, for Prometheus, for other programs.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use wt_engine::Ledger;

/// The queries: name, then text.
pub fn list(queries: &[(String, String)]) -> String {
    let width = queries.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    queries.iter().fold(String::new(), |mut text, (name, query)| {
        let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{name:<width$}  {query}");
        text
    })
}

/// Records of a watchlist, as lines of its file.
pub fn records(records: &[String]) -> String {
    records.iter().fold(String::new(), |text, record| text + record + "\n")
}

/// Groups of numbers of the books: what they are of, by which labels, and by name.
struct Account {
    kind: &'static str,
    labels: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, u64)>,
}

/// All accounts of the books.
fn accounts(ledger: &Ledger) -> Vec<Account> {
    let mut all = Vec::new();
    for interface in &ledger.interfaces {
        let packets = &interface.packets;
        let mut numbers = vec![
            ("records", interface.records),
            ("wire_bytes", interface.wire_bytes),
            ("processed", interface.processed),
            ("malformed", packets.malformed),
            ("too_deep", packets.too_deep),
            ("truncated", interface.truncated),
        ];
        if let Some(live) = &interface.live {
            numbers.extend([
                ("seen", live.seen),
                ("kernel_dropped", live.kernel_dropped),
                ("unread", live.unread),
                ("restamped", live.restamped),
                ("ring_full", live.ring_full),
                ("gaps", live.gaps),
                ("gap_nanoseconds", live.gap_ns),
                ("blocked", live.blocked),
                ("redirected", live.redirected.packets),
                ("socket_received", live.redirected.received),
                ("socket_no_frame", live.redirected.no_frame),
                ("socket_ring_full", live.redirected.ring_full),
            ]);
            if let Some(port) = live.port {
                numbers.extend([
                    ("port_received", port.received),
                    ("port_missed", port.missed),
                    ("port_errors", port.errors),
                    ("port_no_buffer", port.no_buffer),
                    ("port_left", port.left),
                ]);
            }
        }
        let labels = vec![("interface", interface.name.clone())];
        all.push(Account { kind: "interface", labels, numbers });
    }
    for query in &ledger.queries {
        let t = &query.tuples;
        let numbers = vec![
            ("offered", t.offered),
            ("matched", t.matched),
            ("filtered", t.filtered),
            ("absent", t.absent),
            ("failed", t.failed),
            ("late", t.late),
            ("lost", t.lost),
            ("merged", t.merged),
            ("ejected", t.ejected),
            ("output", t.output),
            ("held", t.held),
            ("outside", query.outside),
            ("arrived", query.carried),
            ("shed", query.shed),
        ];
        let labels = vec![("query", query.name.clone()), ("interface", query.interface.clone())];
        all.push(Account { kind: "query", labels, numbers });
    }
    for operator in &ledger.operators {
        let t = &operator.tuples;
        let numbers = vec![
            ("input", t.input),
            ("expanded", t.expanded),
            ("output", t.output),
            ("held", t.held),
            ("late", t.late),
            ("merged", t.merged),
            ("filtered", t.filtered),
            ("absent", t.absent),
            ("failed", t.failed),
            ("limited", t.limited),
        ];
        let labels = vec![("operator", operator.name.clone()), ("kind", operator.kind.to_owned())];
        all.push(Account { kind: "operator", labels, numbers });
    }
    for output in &ledger.outputs {
        let numbers = vec![("rows", output.rows), ("unsent", output.unsent)];
        let labels = vec![("query", output.query.clone())];
        all.push(Account { kind: "result", labels, numbers });
    }
    all
}

/// What tells how much there is now, rather than how much there has been.
const GAUGES: [&str; 1] = ["held"];

/// The books as Prometheus text (exposition format 0.0.4).
pub fn prometheus(ledger: &Ledger) -> String {
    let accounts = accounts(ledger);
    let mut families: Vec<(&str, &str)> = Vec::new();
    for account in &accounts {
        for (name, _) in &account.numbers {
            if !families.contains(&(account.kind, name)) {
                families.push((account.kind, name));
            }
        }
    }
    let mut text = String::new();
    for (kind, name) in families {
        let is_gauge = GAUGES.contains(&name);
        let (suffix, shape) = if is_gauge { ("", "gauge") } else { ("_total", "counter") };
        let _ = writeln!(text, "# TYPE wiretable_{kind}_{name}{suffix} {shape}");
        for account in accounts.iter().filter(|account| account.kind == kind) {
            let Some((_, number)) = account.numbers.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let labels: Vec<_> =
                account.labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
            let labels = labels.join(",");
            let _ = writeln!(text, "wiretable_{kind}_{name}{suffix}{{{labels}}} {number}");
        }
    }
    text
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The books as JSON: a list of accounts, each with what it is of (`kind_of`), labels and numbers.
pub fn status(title: &str, lasted: Duration, ledger: &Ledger) -> String {
    let account = |account: &Account| {
        let mut object = serde_json::Map::new();
        object.insert("kind_of".to_owned(), Value::from(account.kind));
        for (label, value) in &account.labels {
            object.insert((*label).to_owned(), Value::from(value.as_str()));
        }
        for (name, number) in &account.numbers {
            object.insert((*name).to_owned(), Value::from(*number));
        }
        Value::Object(object)
    };
    let accounts: Vec<Value> = accounts(ledger).iter().map(account).collect();
    let lasted_ms = lasted.as_millis() as u64;
    let mut text =
        json!({"title": title, "lasted_ms": lasted_ms, "accounts": accounts}).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use wt_engine::ledger::{InterfaceLedger, OutputLedger};

    use super::*;

    fn ledger() -> Ledger {
        let interface =
            InterfaceLedger { name: "a\"b".to_owned(), records: 7, ..Default::default() };
        let output = OutputLedger { query: "q".to_owned(), rows: 3, fed: 3, unsent: 0 };
        Ledger { interfaces: vec![interface], outputs: vec![output], ..Default::default() }
    }

    #[test]
    fn metrics_have_types_and_labels() {
        let text = prometheus(&ledger());
        assert!(text.contains("# TYPE wiretable_interface_records_total counter\n"), "{text}");
        assert!(
            text.contains("wiretable_interface_records_total{interface=\"a\\\"b\"} 7\n"),
            "{text}"
        );
        assert!(text.contains("wiretable_result_rows_total{query=\"q\"} 3\n"), "{text}");
    }

    #[test]
    fn status_is_a_list_of_accounts() {
        let text = status("t", Duration::from_millis(1500), &ledger());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["title"], &value["lasted_ms"]), (&json!("t"), &json!(1500)));
        assert_eq!(value["accounts"][0]["records"], json!(7));
        assert_eq!(value["accounts"][1]["kind_of"], json!("result"));
    }
}
