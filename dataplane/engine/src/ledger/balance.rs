//! Checks that the books balance.

use super::{
    IndexLedger, InterfaceLedger, Ledger, LiveLedger, OperatorCounters, PacketCounters,
    QueryLedger, TupleCounters,
};

/// Books that do not balance: a fault of the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the books of `{account}` do not balance: {left_text} is {left}, {right_text} is {right}")]
pub struct Imbalance {
    /// Interface, query or operator.
    pub account: String,
    /// What stands on the left.
    pub left_text: &'static str,
    /// Its value.
    pub left: u64,
    /// What stands on the right.
    pub right_text: &'static str,
    /// Its value.
    pub right: u64,
}

/// An equation of two sides.
struct Equation {
    left_text: &'static str,
    left: u64,
    right_text: &'static str,
    right: u64,
}

impl Ledger {
    /// Checks every equation of the books; also in the middle of a run, between packets.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), Imbalance> {
        for interface in &self.interfaces {
            require(&interface.name, packets(&interface.packets, interface))?;
            require(
                &interface.name,
                interface.live.iter().flat_map(|live| of_live(live, interface)),
            )?;
            require(
                &interface.name,
                interface.index.iter().filter_map(|i| of_index(i, interface)),
            )?;
        }
        for query in &self.queries {
            let of_interface = |i: &&InterfaceLedger| i.name == query.interface;
            let processed = self.interfaces.iter().find(of_interface).map_or(0, |i| i.processed);
            require(&query.name, tuples(&query.tuples, processed, query.outside))?;
            require(&query.name, [arrived(query)])?;
        }
        for operator in &self.operators {
            require(&operator.name, operator_tuples(&operator.tuples, operator.fed))?;
        }
        for output in &self.outputs {
            let rows = Equation {
                left_text: "stream output",
                left: output.fed,
                right_text: "rows + unsent",
                right: output.rows + output.unsent,
            };
            require(&output.query, [rows])?;
        }
        Ok(())
    }
}

fn require(account: &str, equations: impl IntoIterator<Item = Equation>) -> Result<(), Imbalance> {
    match equations.into_iter().find(|equation| equation.left != equation.right) {
        None => Ok(()),
        Some(Equation { left_text, left, right_text, right }) => {
            Err(Imbalance { account: account.to_owned(), left_text, left, right_text, right })
        }
    }
}

fn packets(counters: &PacketCounters, interface: &InterfaceLedger) -> [Equation; 2] {
    [
        Equation {
            left_text: "records",
            left: interface.records,
            right_text: "processed",
            right: interface.processed,
        },
        Equation {
            left_text: "processed",
            left: interface.processed,
            right_text: "packets",
            right: counters.packets,
        },
    ]
}

fn of_live(live: &LiveLedger, interface: &InterfaceLedger) -> [Equation; 5] {
    let redirected = &live.redirected;
    let by_kernel = (live.seen, live.kernel_dropped);
    let (seen, dropped) = live.port.map_or(by_kernel, |port| (port.seen(), port.dropped()));
    [
        Equation {
            left_text: "seen",
            left: live.seen,
            right_text: "records + unread + kernel dropped",
            right: interface.records + live.unread + live.kernel_dropped,
        },
        // Packets are dropped behind the queries, so each of them has been processed.
        Equation {
            left_text: "blocked",
            left: live.blocked,
            right_text: "blocked among processed",
            right: live.blocked.min(interface.processed),
        },
        Equation {
            left_text: "redirected",
            left: redirected.packets,
            right_text: "received + no frame + ring full + under way",
            right: redirected.received
                + redirected.no_frame
                + redirected.ring_full
                + redirected.under_way(),
        },
        Equation {
            left_text: "seen",
            left: live.seen,
            right_text: "received + missed + errors + no buffer",
            right: seen,
        },
        Equation {
            left_text: "dropped",
            left: live.kernel_dropped,
            right_text: "missed + errors + no buffer + left",
            right: dropped,
        },
    ]
}

fn of_index(index: &IndexLedger, interface: &InterfaceLedger) -> Option<Equation> {
    Some(Equation {
        left_text: "records + skipped",
        left: interface.records + index.skipped,
        right_text: "packets by the index",
        right: index.packets?,
    })
}

fn arrived(query: &QueryLedger) -> Equation {
    Equation {
        left_text: "output",
        left: query.tuples.output,
        right_text: "carried + shed",
        right: query.carried + query.shed,
    }
}

fn tuples(counters: &TupleCounters, processed: u64, outside: u64) -> [Equation; 3] {
    let TupleCounters { offered, matched, filtered, absent, failed, late, .. } = *counters;
    let TupleCounters { lost, merged, output, held, .. } = *counters;
    [
        Equation {
            left_text: "processed",
            left: processed,
            right_text: "offered + outside",
            right: offered + outside,
        },
        Equation {
            left_text: "offered",
            left: offered,
            right_text: "matched + filtered + absent + failed + late + lost",
            right: matched + filtered + absent + failed + late + lost,
        },
        Equation {
            left_text: "matched",
            left: matched,
            right_text: "output + held + merged",
            right: output + held + merged,
        },
    ]
}

fn operator_tuples(counters: &OperatorCounters, fed: u64) -> [Equation; 2] {
    let OperatorCounters { input, expanded, output, held, late, .. } = *counters;
    let OperatorCounters { merged, filtered, absent, failed, limited, .. } = *counters;
    [
        Equation { left_text: "fed", left: fed, right_text: "input", right: input },
        Equation {
            left_text: "input + expanded",
            left: input + expanded,
            right_text: "output + held + late + merged + filtered + absent + failed + limited",
            right: output + held + late + merged + filtered + absent + failed + limited,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{OperatorLedger, PortCounters};

    fn balanced() -> Ledger {
        let packets = PacketCounters { packets: 10, ..Default::default() };
        let interface = InterfaceLedger {
            name: "eth0".to_owned(),
            records: 10,
            processed: 10,
            packets,
            ..Default::default()
        };
        let tuples = TupleCounters {
            offered: 10,
            matched: 6,
            filtered: 2,
            absent: 1,
            late: 1,
            merged: 4,
            output: 2,
            ..Default::default()
        };
        let query = QueryLedger {
            name: "_fta_q".to_owned(),
            interface: "eth0".to_owned(),
            tuples,
            outside: 0,
            carried: 2,
            shed: 0,
        };
        let tuples = OperatorCounters { input: 2, output: 1, filtered: 1, ..Default::default() };
        let operator = OperatorLedger { name: "q".to_owned(), kind: "aggregate", fed: 2, tuples };
        Ledger {
            interfaces: vec![interface],
            queries: vec![query],
            operators: vec![operator],
            outputs: Vec::new(),
        }
    }

    #[test]
    fn every_lost_tuple_shows() {
        assert_eq!(balanced().check(), Ok(()));
        let mut ledger = balanced();
        ledger.interfaces[0].records += 1;
        assert_eq!(ledger.check().unwrap_err().left_text, "records");
        let mut ledger = balanced();
        ledger.queries[0].tuples.late = 0;
        assert_eq!(ledger.check().unwrap_err().left_text, "offered");
        ledger.queries[0].tuples.lost = 1;
        assert_eq!(ledger.check(), Ok(()));
        let mut ledger = balanced();
        ledger.queries[0].tuples.merged -= 1;
        assert_eq!(ledger.check().unwrap_err().left_text, "matched");
        let mut ledger = balanced();
        ledger.queries[0].carried -= 1;
        assert_eq!(ledger.check().unwrap_err().left_text, "output");
        ledger.queries[0].shed += 1;
        assert_eq!(ledger.check(), Ok(()));
        let mut ledger = balanced();
        let live = LiveLedger { seen: 13, kernel_dropped: 2, ..Default::default() };
        ledger.interfaces[0].live = Some(live);
        assert_eq!(ledger.check().unwrap_err().left_text, "seen");
        let port =
            PortCounters { received: 11, missed: 1, errors: 1, left: 1, ..Default::default() };
        let live =
            LiveLedger { seen: 13, kernel_dropped: 3, port: Some(port), ..Default::default() };
        ledger.interfaces[0].live = Some(live.clone());
        assert_eq!(ledger.check(), Ok(()));
        ledger.interfaces[0].live =
            Some(LiveLedger { port: Some(PortCounters { no_buffer: 1, ..port }), ..live });
        assert_eq!(
            ledger.check().unwrap_err().right_text,
            "received + missed + errors + no buffer"
        );
        let mut ledger = balanced();
        let index = IndexLedger { skipped: 5, packets: Some(16), ..Default::default() };
        ledger.interfaces[0].index = Some(index);
        assert_eq!(ledger.check().unwrap_err().left_text, "records + skipped");
        let mut ledger = balanced();
        ledger.operators[0].tuples.filtered = 0;
        let error = ledger.check().unwrap_err();
        assert_eq!((error.account.as_str(), error.left, error.right), ("q", 2, 1));
        let mut ledger = balanced();
        ledger.operators[0].fed = 3;
        assert_eq!(ledger.check().unwrap_err().left_text, "fed");
    }
}
