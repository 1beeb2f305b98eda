//! The share of a window's packets that were seen.

use std::collections::BTreeMap;

use super::*;
use wt_plan::physical::Seen;

/// The aggregation of [`aggregate`] with the share behind its columns, over `interfaces` inputs and as many that tell of packets.
fn with_share(over_partials: bool, interfaces: usize) -> Bench {
    let mut plan = aggregate();
    let mut post = Dag(plan.post);
    plan.outputs.push(post.node(Op::Input(4), Type::Float));
    plan.post = post.0;
    plan.over_partials = over_partials;
    plan.seen = Some(Seen { first_input: interfaces as u32, tolerance: 0 });
    bench(plan, 2 * interfaces)
}

impl Bench {
    /// A packet of a window, told at `port`.
    fn packet(&mut self, port: usize, window: u64, seen: bool) -> String {
        let values = vec![Value::Uint(window), Value::Bool(seen)];
        let tuple = Tuple { ordinal: self.ordinal, values: values.into() };
        show(&self.message(port, Message::Tuple(tuple)).unwrap())
    }

    fn broke_off(&mut self, port: usize, captures: u64) {
        let mut out = Vec::new();
        let mut cx = Context { memory: &mut self.memory, out: &mut out };
        self.operator.broke_off(port, captures, &mut cx).unwrap();
        assert!(out.is_empty());
    }
}

#[test]
fn what_is_cut_and_what_is_late_is_lost() {
    let mut bench = with_share(false, 1);
    bench.tuple(0, &[11, 1, 5]);
    bench.packet(1, 1, true);
    // Of packets that FROM and WHERE leave out there is no tuple.
    bench.packet(1, 1, false);
    assert_eq!(bench.tuple(0, &[20, 1, 1]), "1,1,1,5,0.5");
    bench.packet(1, 2, true);
    // Its window has left: lost in the interval in which it came, and the tuple is late.
    assert_eq!(bench.packet(1, 1, true), "");
    assert_eq!(bench.tuple(0, &[11, 1, 5]), "");
    assert_eq!(bench.counters().late, 1);
    bench.packet(1, 2, true);
    bench.packet(1, 2, true);
    // A packet alone closes a window too.
    assert_eq!(bench.packet(1, 3, true), "2,1,1,1,0.75");
    assert_eq!(bench.end(0), "0>=3");
    assert_eq!(bench.end(1), "end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn partial_groups_wait_for_both_their_punctuation_and_the_packets() {
    let mut bench = with_share(true, 1);
    bench.tuple(0, &[11, 1, 5]);
    bench.packet(1, 1, true);
    assert_eq!(bench.packet(1, 2, true), "");
    bench.tuple(0, &[12, 1, 6]);
    assert_eq!(bench.bound(0, 0, 20), "1,1,2,11,1 0>=2");
    assert_eq!(bench.bound(0, 0, 30), "0>=2");
    assert_eq!(bench.packet(1, 3, true), "0>=3");
    // A bound of the packets, when an operator above asks for one.
    assert_eq!(bench.bound(0, 0, 40), "0>=3");
    assert_eq!(bench.bound(1, 0, 4), "0>=4");
    bench.end(1);
    assert_eq!(bench.end(0), "end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn a_late_packet_is_laid_to_its_window_while_another_interface_holds_it_open() {
    let mut bench = with_share(false, 2);
    bench.tuple(0, &[11, 1, 1]);
    bench.packet(2, 1, true);
    bench.packet(3, 1, true);
    bench.packet(2, 2, true);
    bench.packet(2, 1, true);
    assert_eq!(bench.packet(3, 2, true), format!("1,1,1,1,{}", 2.0 / 3.0));
    bench.tuple(1, &[21, 1, 1]);
    for port in 0..3 {
        bench.end(port);
    }
    assert_eq!(bench.end(3), "2,1,1,1,1 end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn a_capture_that_breaks_off_loses_a_record_of_the_window_at_hand() {
    let mut bench = with_share(false, 1);
    // Before the first packet there is no window.
    bench.broke_off(1, 1);
    bench.tuple(0, &[11, 1, 5]);
    bench.packet(1, 1, true);
    bench.broke_off(0, 1);
    bench.broke_off(1, 3);
    bench.end(1);
    assert_eq!(bench.end(0), "1,1,1,5,0.25 end");
}

#[test]
fn the_row_over_nothing_has_the_share_of_what_came() {
    let over_nothing = || {
        let mut plan = without_keys(3);
        plan.seen = Some(Seen { first_input: 1, tolerance: 0 });
        bench(plan, 2)
    };
    let mut none = over_nothing();
    none.end(0);
    assert_eq!(none.end(1), "0,0,1 end");
    let mut half = over_nothing();
    for seen in [true, false] {
        half.message(1, Message::Tuple(Tuple { ordinal: 0, values: [Value::Bool(seen)].into() }))
            .unwrap();
    }
    half.end(0);
    assert_eq!(half.end(1), "0,0,0.5 end");
    assert_eq!(half.memory.used_bytes(), 0);
}

proptest! {
    /// Whole aggregation and partial groups, and either order of a packet and its tuple, against a count by window.
    #[test]
    fn shares_follow_the_packets(
        steps in prop::collection::vec((prop_oneof![5 => Just(0i64), 2 => Just(1), 1 => -3i64..0], any::<bool>()), 1..80),
        packet_first in any::<bool>(),
    ) {
        let mut window = 10i64;
        let packets: Vec<_> = steps
            .iter()
            .map(|&(step, seen)| { window = (window + step).max(0); (window as u64, seen) })
            .collect();
        // Seen, lost, and tuples taken.
        let mut windows: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
        let mut newest = 0;
        for &(window, seen) in &packets {
            let is_late = window < newest;
            newest = newest.max(window);
            let (in_time, lost, taken) = windows.entry(newest).or_default();
            *in_time += u64::from(seen && !is_late);
            *lost += u64::from(!seen || is_late);
            *taken += u64::from(!is_late);
        }
        let expected: Vec<_> = windows
            .iter()
            .map(|(window, &(seen, lost, taken))| {
                format!("{window},1,{taken},{taken},{}", seen as f64 / (seen + lost) as f64)
            })
            .collect();
        let mut bench = with_share(false, 1);
        let mut rows = Vec::new();
        for &(window, seen) in &packets {
            if packet_first {
                rows.push(bench.packet(1, window, seen));
            }
            rows.push(bench.tuple(0, &[10 * window, 1, 1]));
            if !packet_first {
                rows.push(bench.packet(1, window, seen));
            }
        }
        rows.push(bench.end(0));
        rows.push(bench.end(1));
        let rows = rows.join(" ");
        let rows: Vec<_> = rows.split_whitespace().filter(|row| row.contains(',')).collect();
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(bench.memory.used_bytes(), 0);
    }
}
