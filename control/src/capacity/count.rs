//! Flows that a run has counted: the books as tuples per packet.

use wt_engine::Ledger;
use wt_engine::ledger::{OperatorCounters, OperatorLedger};
use wt_plan::Compiled;
use wt_plan::capacity::{Flows, LftaFlow, NodeFlow};
use wt_plan::ir::LftaAction;
use wt_plan::physical::{HftaNode, HftaOp};
use wt_plan::shape;

/// The flows of a plan as its books have them. `windows` were closed, by output. The books enter packets without a query's headers with those
/// that fail its quals: how many they are is taken from what was `estimated`. Nothing was read: all is 0.
pub fn flows(compiled: &Compiled, ledger: &Ledger, windows: &[u64], estimated: &Flows) -> Flows {
    let plan = &compiled.physical;
    let records = ledger.records().max(1) as f64;
    let sum = |of: fn(&wt_engine::ledger::InterfaceLedger) -> u64| {
        ledger.interfaces.iter().map(of).sum::<u64>() as f64 / records
    };
    let windows_of = |query: &str| {
        let of_query = plan.outputs.iter().zip(windows).filter(|(o, _)| o.query == query);
        // The last one closes with the input.
        of_query.map(|(_, n)| n + 1).max().unwrap_or(1) as f64
    };
    let mut flows = Flows {
        wire_bytes: sum(|i| i.wire_bytes),
        captured_bytes: sum(|i| i.captured_bytes),
        ..Flows::default()
    };
    let mut books = ledger.queries.iter();
    for (i, interface) in plan.interfaces.iter().enumerate() {
        let of_it = ledger.interfaces.iter().find(|ledger| ledger.name == interface.name);
        let share = of_it.map_or(0.0, |ledger| ledger.records as f64 / records);
        flows.shares.push(share);
        let mut queries = Vec::new();
        for (q, query) in interface.program.queries.iter().enumerate() {
            let tuples = books.next().map(|book| book.tuples).unwrap_or_default();
            let windows = windows_of(&compiled.report.lftas[i][q].query);
            let kept = match &query.action {
                LftaAction::Select { .. } => 0.0,
                LftaAction::Aggregate { tolerance, values, .. } => {
                    let most = shape::groups_max(*values).map_or(f64::INFINITY, f64::from);
                    (tuples.output as f64 / windows * (1.0 + *tolerance as f64)).min(most)
                }
            };
            let (matched, sent) = (tuples.matched as f64 / records, tuples.output as f64 / records);
            let by_rule = estimated.lftas[i][q].present / estimated.shares[i];
            let present = matched.max(share * by_rule);
            queries.push(LftaFlow { present, matched, sent, kept });
        }
        flows.lftas.push(queries);
    }
    for (n, (node, book)) in plan.nodes.iter().zip(&ledger.operators).enumerate() {
        let windows = windows_of(&compiled.report.hftas[n].query);
        flows.nodes.push(operator(node, book, records, windows));
    }
    flows
}

fn operator(node: &HftaNode, book: &OperatorLedger, records: f64, windows: f64) -> NodeFlow {
    let OperatorCounters { input, output, filtered, absent, failed, merged, late, .. } =
        book.tuples;
    let rejected = filtered + absent + failed;
    // What fails HAVING is entered with what fails a qual: of an operator that has both, quals are taken to be it.
    let (has_quals, has_having) = match &node.op {
        HftaOp::Select { .. } => (true, false),
        HftaOp::Aggregate(a) => (!a.quals.is_empty(), !a.having.is_empty()),
        HftaOp::Session(s) => (!s.group.quals.is_empty(), !s.group.having.is_empty()),
        _ => (false, false),
    };
    let taken = if has_quals || !has_having { input - rejected } else { input };
    let is_grouping =
        matches!(node.op, HftaOp::Aggregate(_) | HftaOp::Session(_) | HftaOp::Distinct { .. });
    let having = if has_quals { 0 } else { filtered };
    let groups = if is_grouping { output + having } else { 0 };
    let kept = match &node.op {
        HftaOp::Sort { limit, .. } => {
            let rows = input as f64 / windows;
            limit.map_or(rows, |limit| rows.min(limit as f64))
        }
        HftaOp::Aggregate(a) if merged + late > 0 || a.patterns.len() > 1 => {
            groups as f64 / windows * (1.0 + a.tolerance as f64)
        }
        HftaOp::Session(_) | HftaOp::Distinct { .. } => groups as f64 / windows,
        _ => 0.0,
    };
    let per = |n: u64| n as f64 / records;
    NodeFlow {
        input: per(input),
        taken: per(taken),
        groups: per(groups),
        output: per(output),
        kept,
    }
}
