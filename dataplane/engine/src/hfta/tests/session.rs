//! Sessions, message by message and against models.

use std::collections::BTreeMap;

use super::*;
use wt_plan::physical::Session;

const GAP: u64 = 10;

/// `SELECT k, count(*), min(c0), max(c0), sum(v) … GROUP BY SESSION(10), c1 AS k`: columns are time, key and value.
fn session() -> Session {
    let (dag, columns) = inputs(3);
    let (post, outputs) = inputs(5);
    Session {
        group: Aggregate {
            exprs: dag.0,
            keys: vec![columns[1]],
            key_types: vec![Type::Uint],
            ordered: Vec::new(),
            patterns: vec![0b1],
            aggs: vec![
                basic(AggKind::Count, vec![]),
                basic(AggKind::Min, vec![columns[0]]),
                basic(AggKind::Max, vec![columns[0]]),
                basic(AggKind::Sum, vec![columns[2]]),
            ],
            post: post.0,
            outputs,
            ordered_outputs: Vec::new(),
            ..aggregate()
        },
        time: 0,
        gap: Value::Uint(GAP),
        gap_text: GAP.to_string(),
        time_text: "c0".to_owned(),
        ended_outputs: vec![(3, 2)],
    }
}

fn bench(session: Session) -> Bench {
    Bench::new(HftaOp::Session(Box::new(session)), 1)
}

#[test]
fn a_session_ends_when_its_key_is_silent_for_more_than_the_gap() {
    let mut bench = bench(session());
    assert_eq!(bench.tuple(0, &[100, 1, 5]), "");
    assert_eq!(bench.tuple(0, &[105, 2, 1]), "");
    // A gap behind exactly still belongs.
    assert_eq!(bench.tuple(0, &[110, 1, 7]), "");
    assert_eq!(bench.tuple(0, &[115, 3, 1]), "");
    assert_eq!(bench.tuple(0, &[116, 3, 1]), "2,1,105,105,1");
    assert_eq!(bench.tuple(0, &[121, 2, 4]), "1,2,100,110,12");
    assert_eq!(bench.end(0), "3,2,115,116,2 2,1,121,121,4 end");
    assert_eq!(bench.memory.used_bytes(), 0);
    assert!(bench.memory.peak_bytes() > 0);
}

#[test]
fn sessions_that_end_at_once_leave_by_last_time_then_first_packet() {
    let mut bench = bench(session());
    for tuple in [[100, 4, 1], [101, 3, 1], [102, 2, 1], [103, 3, 1], [103, 1, 1], [103, 4, 1]] {
        assert_eq!(bench.tuple(0, &tuple), "");
    }
    assert_eq!(
        bench.tuple(0, &[500, 9, 1]),
        "2,1,102,102,1 4,2,100,103,2 3,2,101,103,2 1,1,103,103,1"
    );
}

#[test]
fn a_tuple_a_gap_behind_is_taken_and_further_behind_it_is_late() {
    let mut bench = bench(session());
    bench.tuple(0, &[100, 1, 1]);
    // Its key's session was not there yet: it begins one.
    assert_eq!(bench.tuple(0, &[90, 2, 1]), "");
    assert_eq!(bench.tuple(0, &[89, 2, 1]), "");
    assert_eq!(bench.counters().late, 1);
    // It belongs to the session that began after it.
    assert_eq!(bench.tuple(0, &[95, 1, 1]), "");
    assert_eq!(bench.tuple(0, &[101, 3, 1]), "2,1,90,90,1");
    assert_eq!(bench.end(0), "1,2,95,100,2 3,1,101,101,1 end");
}

#[test]
fn punctuation_ends_sessions_and_is_passed_on_as_the_least_end_to_come() {
    let mut bench = bench(session());
    bench.tuple(0, &[100, 1, 1]);
    // Of another column it says nothing.
    assert_eq!(bench.bound(0, 1, 500), "3>=90");
    assert_eq!(bench.bound(0, 0, 110), "3>=100");
    assert_eq!(bench.bound(0, 0, 111), "1,1,100,100,1 3>=101");
    assert_eq!(bench.tuple(0, &[100, 1, 1]), "");
    assert_eq!(bench.counters().late, 1);
    assert_eq!(bench.bound(0, 0, 5), "3>=101");
}

#[test]
fn a_flush_ends_all_sessions_and_later_tuples_begin_new_ones() {
    let mut bench = bench(session());
    bench.tuple(0, &[100, 1, 1]);
    bench.tuple(0, &[101, 2, 1]);
    assert_eq!(bench.flush(), "1,1,100,100,1 2,1,101,101,1 flush");
    bench.tuple(0, &[102, 1, 1]);
    assert_eq!(bench.end(0), "1,1,102,102,1 end");
    assert_eq!(bench.memory.used_bytes(), 0);
}

#[test]
fn having_suppresses_sessions_and_patterns_have_their_own() {
    let mut plan = session();
    let mut post = Dag(plan.group.post);
    let two = post.uint(2);
    plan.group.having = vec![post.compare(CmpOp::Ge, plan.group.outputs[1], two)];
    plan.group.post = post.0;
    plan.group.patterns = vec![0b1, 0b0];
    let mut bench = bench(plan);
    bench.tuple(0, &[100, 1, 1]);
    // Key 1 is silent until 112, all keys together are not.
    bench.tuple(0, &[106, 2, 1]);
    assert_eq!(bench.tuple(0, &[112, 1, 1]), "");
    assert_eq!(bench.counters().filtered, 1);
    assert_eq!(bench.end(0), "0,3,100,112,3 end");
    let counters = bench.counters();
    assert_eq!((counters.expanded, counters.filtered, counters.merged), (3, 3, 2));
}

#[test]
fn under_real_time_tuples_that_fail_the_quals_move_the_clock() {
    let with_quals = |real_time| {
        let mut plan = session();
        let mut dag = Dag(plan.group.exprs);
        let wanted = dag.equals(plan.group.keys[0], 1);
        plan.group.quals = vec![qual(wanted)];
        plan.group.exprs = dag.0;
        plan.group.real_time = real_time;
        bench(plan)
    };
    let mut lazy = with_quals(false);
    lazy.tuple(0, &[100, 1, 1]);
    assert_eq!(lazy.tuple(0, &[200, 2, 1]), "");
    assert_eq!(lazy.end(0), "1,1,100,100,1 end");
    let mut prompt = with_quals(true);
    prompt.tuple(0, &[100, 1, 1]);
    assert_eq!(prompt.tuple(0, &[200, 2, 1]), "1,1,100,100,1");
    assert_eq!(prompt.counters().filtered, 1);
}

#[test]
fn times_at_the_ends_of_their_range_are_times() {
    let mut bench = bench(session());
    bench.tuple(0, &[0, 1, 1]);
    assert_eq!(bench.bound(0, 0, 0), "3>=0");
    assert_eq!(bench.tuple(0, &[u64::MAX, 2, 1]), "1,1,0,0,1");
    assert_eq!(bench.tuple(0, &[u64::MAX - GAP, 2, 1]), "");
    assert_eq!(bench.end(0), format!("2,2,{},{},2 end", u64::MAX - GAP, u64::MAX));
}

#[test]
fn sessions_beyond_the_memory_limit_name_the_query() {
    let mut bench = bench(session());
    bench.memory = Memory::new(Some(10_000));
    let error = (0..1000).find_map(|key| {
        let tuple = Tuple { ordinal: key, values: uints(&[10, key, 1]).into() };
        bench.message(0, Message::Tuple(tuple)).err()
    });
    assert_eq!(error.unwrap().query, "q");
    // Sessions that end make room: any number may come one after the other.
    let mut bench = self::bench(session());
    bench.memory = Memory::new(Some(10_000));
    for key in 0..1000 {
        let tuple = Tuple { ordinal: key, values: uints(&[20 * key, key, 1]).into() };
        bench.message(0, Message::Tuple(tuple)).unwrap();
    }
    assert_eq!(bench.counters().held, 1);
}

impl Bench {
    fn rows(&mut self, message: Message) -> Vec<Vec<u64>> {
        let messages = self.message(0, message).unwrap();
        let row = |message| match message {
            Message::Tuple(Tuple { values, .. }) => {
                Some(values.iter().map(|v| v.as_u64().unwrap()).collect())
            }
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }
}

/// A session of a model: its key and its tuples, each as arrival number and time.
#[derive(Clone, Debug)]
struct Naive {
    key: u64,
    tuples: Vec<(u64, u64)>,
}

impl Naive {
    fn last(&self) -> u64 {
        self.tuples.iter().map(|t| t.1).max().unwrap()
    }

    fn row(&self) -> Vec<u64> {
        let first = self.tuples.iter().map(|t| t.1).min().unwrap();
        let sum = self.tuples.iter().map(|t| t.0).sum();
        vec![self.key, self.tuples.len() as u64, first, self.last(), sum]
    }
}

/// By last time, then by first packet.
fn in_order(mut sessions: Vec<Naive>) -> Vec<Vec<u64>> {
    sessions.sort_by_key(|s| (s.last(), s.tuples[0].0));
    sessions.iter().map(Naive::row).collect()
}

/// What the definition says when no tuple steps back: each key's tuples, cut where a gap is.
fn cut_at_gaps(tuples: &[(u64, u64)]) -> Vec<Vec<u64>> {
    let mut by_key: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (i, &(time, key)) in tuples.iter().enumerate() {
        by_key.entry(key).or_default().push((i as u64, time));
    }
    let cut = |(key, tuples): (u64, Vec<(u64, u64)>)| {
        let runs = tuples.chunk_by(|a, b| b.1 - a.1 <= GAP);
        runs.map(|run| Naive { key, tuples: run.to_vec() }).collect::<Vec<_>>()
    };
    in_order(by_key.into_iter().flat_map(cut).collect())
}

/// The rule for tuples that step back, tuple by tuple over a list of all sessions; and how many were late.
fn by_clock(tuples: &[(u64, u64)]) -> (Vec<Vec<u64>>, u64) {
    let (mut open, mut over): (Vec<Naive>, Vec<Naive>) = (Vec::new(), Vec::new());
    let (mut clock, mut late) = (0, 0);
    for (i, &(time, key)) in tuples.iter().enumerate() {
        if time + GAP < clock {
            late += 1;
            continue;
        }
        clock = clock.max(time);
        let (ended, kept) = open.into_iter().partition(|s: &Naive| s.last() + GAP < clock);
        open = kept;
        over.extend::<Vec<_>>(ended);
        let mut of_key = open.iter_mut().filter(|s| s.key == key);
        match (of_key.next(), of_key.next()) {
            (None, _) => open.push(Naive { key, tuples: vec![(i as u64, time)] }),
            (Some(session), None) => session.tuples.push((i as u64, time)),
            _ => panic!("two open sessions of key {key}"),
        }
    }
    over.extend(open);
    (in_order(over), late)
}

fn message(i: usize, (time, key): (u64, u64)) -> Message {
    Message::Tuple(Tuple { ordinal: i as u64, values: uints(&[time, key, i as u64]).into() })
}

proptest! {
    #[test]
    fn in_order_sessions_are_the_runs_without_a_gap(
        steps in prop::collection::vec((prop_oneof![6 => 0u64..4, 2 => 8u64..14, 1 => 15u64..60], 0u64..4), 0..150),
    ) {
        let mut time = 50;
        let tuples: Vec<_> = steps.iter().map(|&(step, key)| { time += step; (time, key) }).collect();
        let mut bench = bench(session());
        let mut rows: Vec<_> =
            tuples.iter().enumerate().flat_map(|(i, &t)| bench.rows(message(i, t))).collect();
        rows.extend(bench.rows(Message::End));
        prop_assert_eq!(rows, cut_at_gaps(&tuples));
        prop_assert_eq!(bench.counters().late, 0);
        prop_assert_eq!(bench.memory.used_bytes(), 0);
    }

    /// Tuples that step back; and punctuation, which moves the clock to where the next tuple would, changes no row.
    #[test]
    fn disordered_sessions_follow_the_clock(
        steps in prop::collection::vec((prop_oneof![6 => 0i64..4, 2 => -15i64..0, 1 => 8i64..40], 0u64..4, any::<bool>()), 0..150),
    ) {
        let mut time = 500i64;
        let tuples: Vec<_> =
            steps.iter().map(|&(step, key, _)| { time = (time + step).max(0); (time as u64, key) }).collect();
        let (expected, late) = by_clock(&tuples);
        for punctuated in [false, true] {
            let mut bench = bench(session());
            let (mut rows, mut newest) = (Vec::new(), 0);
            for (i, (&tuple, &(.., here))) in tuples.iter().zip(&steps).enumerate() {
                if punctuated && here && tuple.0 > newest {
                    rows.extend(bench.rows(Message::Punctuation(vec![(0, Value::Uint(tuple.0))])));
                }
                newest = newest.max(tuple.0);
                rows.extend(bench.rows(message(i, tuple)));
            }
            rows.extend(bench.rows(Message::End));
            prop_assert_eq!(&rows, &expected);
            prop_assert_eq!(bench.counters().late, late);
            prop_assert_eq!(bench.memory.used_bytes(), 0);
        }
    }
}
