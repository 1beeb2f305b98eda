//! What plans say that an entry of an operator takes is what the run is charged for it.

use wt_catalog::layout::word_value;

use super::*;

const ENTRIES: u64 = 1000;

/// The expressions over the input of an operator, and the column that its last key is, where it has keys.
fn last_key(op: &HftaOp) -> (Exprs, Option<u32>) {
    let plan = match op {
        HftaOp::Aggregate(plan) => plan,
        HftaOp::Session(plan) => &plan.group,
        _ => return (Exprs::default(), None),
    };
    let key = plan.keys.last().unwrap();
    match plan.exprs.nodes[key.0 as usize].op {
        Op::Input(column) => (plan.exprs.clone(), Some(column)),
        _ => panic!("a key that is a column is expected"),
    }
}

#[test]
fn groups_sessions_and_rows_are_charged_as_planned() {
    for text in [
        "SELECT tb, srcIP, count(*), sum(len), max(ttl) FROM ip GROUP BY time/60 AS tb, srcIP",
        "SELECT srcIP, destPort, min(len) FROM tcp GROUP BY srcIP, destPort",
        "SELECT srcIP, count(*) FROM tcp GROUP BY SESSION(10s), srcIP",
        "SELECT DISTINCT time/60 AS tb, srcIP FROM tcp",
    ] {
        let plan = plan(text);
        let node = plan.nodes.last().unwrap();
        let (exprs, key) = last_key(&node.op);
        let operator = operator(node, &[], false).unwrap();
        let mut bench = Bench { operator, memory: Memory::new(None), ordinal: 0 };
        for entry in 0..ENTRIES {
            let value = |column| {
                let read = exprs.nodes.iter().find(|node| node.op == Op::Input(column));
                let word = if column == key.unwrap_or(1) { entry } else { 7 };
                word_value(word, read.map_or(Type::Uint, |node| node.ty)).unwrap()
            };
            // A row that is kept as it comes has the columns of the node.
            let width = if key.is_some() { 8 } else { node.schema.columns.len() as u32 };
            let values = (0..width).map(value).collect();
            bench.message(0, Message::Tuple(Tuple { ordinal: entry, values })).unwrap();
        }
        let charged = bench.memory.used_bytes();
        assert_eq!(bench.counters().late, 0, "{text}");
        assert_eq!(charged, ENTRIES * node.memory.per_entry_bytes, "{text}");
    }
}
