//! Live runs over sources that play what a test gives them.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use wt_wire::{Direction, RecordRef};

use super::*;
use crate::packet::PacketBatch;
use crate::sink::SinkError;
use crate::testing::{plan_over, udp_packet};
use crate::tuple::Tuple;

const S: u64 = 1_000_000_000;

/// What a source plays next.
enum Step {
    /// Packets at these times, all alike.
    Packets(Vec<u64>),
    /// Nothing had come by this time.
    Idle(u64),
    /// The same without a link.
    Down(u64),
    /// Nothing, until a row has left.
    UntilRow,
    /// The way on is lost.
    Fails,
}

struct Script {
    steps: VecDeque<Step>,
    rows: Arc<Mutex<Rows>>,
    last: u64,
    given: u64,
    link: Link,
    stopped: bool,
    /// Stops the run when all is played.
    ends: Option<Arc<AtomicBool>>,
}

#[derive(Default)]
struct Rows {
    rows: Vec<(usize, Vec<Value>)>,
    ended: bool,
}

struct Sink {
    rows: Arc<Mutex<Rows>>,
    delay: Duration,
    rows_max: usize,
}

impl RowSink for Sink {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        thread::sleep(self.delay);
        let mut taken = self.rows.lock().unwrap();
        if taken.rows.len() == self.rows_max {
            return Err(SinkError::Closed);
        }
        taken.rows.push((output, tuple.values.to_vec()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        self.rows.lock().unwrap().ended = true;
        Ok(())
    }
}

impl LiveSource for Script {
    fn link_type(&self) -> u16 {
        1
    }

    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut TakePackets<'_>,
    ) -> Result<Polled, EngineError> {
        if self.stopped {
            return Ok(Polled::Ended);
        }
        match self.steps.front() {
            Some(Step::UntilRow) if self.rows.lock().unwrap().rows.is_empty() => {}
            _ => match self.steps.pop_front() {
                Some(Step::Packets(times)) => {
                    self.link = Link::Up;
                    self.packets(&times, take)?;
                    return Ok(Polled::Packets);
                }
                Some(Step::Idle(as_of_ns)) => {
                    self.last = as_of_ns;
                    self.link = Link::Up;
                    return Ok(Polled::Idle { as_of_ns });
                }
                Some(Step::Down(as_of_ns)) => {
                    self.last = as_of_ns;
                    self.link = Link::Down;
                    return Ok(Polled::Idle { as_of_ns });
                }
                Some(Step::Fails) => {
                    let source = io::Error::other("played out");
                    return Err(EngineError::Capture { interface: "x".to_owned(), source });
                }
                Some(Step::UntilRow) => {}
                None => {
                    if let Some(ends) = &self.ends {
                        ends.store(true, Ordering::Relaxed);
                    }
                }
            },
        }
        thread::sleep(timeout);
        Ok(Polled::Idle { as_of_ns: self.last })
    }

    fn link(&mut self) -> Link {
        self.link
    }

    fn stop(&mut self) -> io::Result<()> {
        self.stopped = true;
        Ok(())
    }

    fn counters(&mut self) -> SourceCounters {
        SourceCounters { seen: self.given, ..Default::default() }
    }
}

impl Script {
    fn packets(&mut self, times: &[u64], take: &mut TakePackets<'_>) -> Result<(), EngineError> {
        let data = udp_packet(7, 53);
        let len = data.len() as u32;
        let record = |&timestamp_ns: &u64| RecordRef {
            timestamp_ns,
            at: 0,
            caplen: len,
            len,
            direction: Direction::Inbound,
        };
        let records: Vec<_> = times.iter().map(record).collect();
        self.given += records.len() as u64;
        take(&PacketBatch {
            data: &data,
            records: &records,
            link_type: 1,
            interface: &Value::bytes("x"),
            ifindex: 1,
            meanwhile: None,
        })
    }
}

/// A run of scripts, and what came of it.
struct Played {
    report: Result<RunReport, EngineError>,
    rows: Vec<(usize, Vec<Value>)>,
    ended: bool,
}

#[derive(Default)]
struct Setting {
    packets_max: Option<u64>,
    duration: Option<Duration>,
    delay: Duration,
    rows_max: Option<usize>,
    memory: Option<u64>,
}

fn play(plan: &PhysicalPlan, scripts: Vec<(&str, Vec<Step>)>, setting: &Setting) -> Played {
    let rows = Arc::new(Mutex::new(Rows::default()));
    let cancel = Arc::new(AtomicBool::new(false));
    let input = |(index, (name, steps)): (usize, (&str, Vec<Step>))| LiveInput {
        interface: name.to_owned(),
        source: Box::new(Script {
            steps: steps.into(),
            rows: Arc::clone(&rows),
            last: 0,
            given: 0,
            link: Link::Up,
            stopped: false,
            ends: (index == 0).then(|| Arc::clone(&cancel)),
        }),
        cpu: None,
        skew_ns: S / 10,
    };
    let inputs = scripts.into_iter().enumerate().map(input).collect();
    let options = LiveOptions {
        memory_bytes_max: setting.memory,
        duration: setting.duration,
        packets_max: setting.packets_max,
        cancel: Some(&cancel),
        ..Default::default()
    };
    let rows_max = setting.rows_max.unwrap_or(usize::MAX);
    let mut sink = Sink { rows: Arc::clone(&rows), delay: setting.delay, rows_max };
    let report = run_live(plan, inputs, &options, &mut sink);
    if let Ok(report) = &report {
        assert_eq!(report.ledger.check(), Ok(()), "{}", report.ledger);
    }
    let Rows { rows, ended } = std::mem::take(&mut *rows.lock().unwrap());
    Played { report, rows, ended }
}

fn numbers(rows: &[(usize, Vec<Value>)]) -> Vec<Vec<u64>> {
    rows.iter().map(|(_, row)| row.iter().filter_map(Value::as_u64).collect()).collect()
}

const COUNTS: &str = "SELECT tb, count(*) FROM packet GROUP BY time/1 AS tb";

#[test]
fn windows_close_by_packets_and_the_last_at_the_end() {
    let plan = plan_over(COUNTS, &["a"], false);
    let steps = vec![Step::Packets(vec![S, S, 2 * S]), Step::Packets(vec![2 * S, 3 * S])];
    let played = play(&plan, vec![("a", steps)], &Setting::default());
    assert_eq!(numbers(&played.rows), [[1, 2], [2, 2], [3, 1]]);
    let report = played.report.unwrap();
    assert_eq!((report.end, played.ended), (RunEnd::Cancelled, true));
    assert_eq!(report.ledger.interfaces[0].records, 5);
    assert_eq!(report.ledger.interfaces[0].live.as_ref().map(|live| live.seen), Some(5));
}

#[test]
fn a_window_of_a_silent_interface_closes_by_the_clock() {
    let plan = plan_over(COUNTS, &["a"], false);
    // Nothing after the first packet but the clock: the row must come by itself, or the script never ends.
    let steps = vec![
        Step::Packets(vec![S]),
        Step::Idle(3 * S),
        Step::UntilRow,
        // Behind what the clock has closed.
        Step::Packets(vec![S + S / 2, 5 * S]),
    ];
    let played = play(&plan, vec![("a", steps)], &Setting::default());
    assert_eq!(numbers(&played.rows), [[1, 1], [5, 1]]);
    assert_eq!(played.report.unwrap().ledger.late(), 1);
}

#[test]
fn a_merge_with_a_silent_interface_does_not_stall() {
    let text = "DEFINE { query_name b; } SELECT timestamp, len FROM busy.packet; \
                DEFINE { query_name q; } SELECT timestamp, len FROM quiet.packet; \
                DEFINE { query_name m; } MERGE b.timestamp : q.timestamp FROM b, q";
    let plan = plan_over(text, &["busy", "quiet"], false);
    let busy = vec![Step::Packets(vec![S, 2 * S]), Step::UntilRow, Step::Idle(9 * S)];
    let quiet = vec![Step::Idle(9 * S)];
    let played = play(&plan, vec![("busy", busy), ("quiet", quiet)], &Setting::default());
    let merged = plan.outputs.iter().position(|output| output.query == "m").unwrap();
    let rows = played.rows.iter().filter(|(output, _)| *output == merged).count();
    assert_eq!(rows, 2);
    played.report.unwrap();
}

#[test]
fn a_run_ends_at_its_number_of_packets_to_the_packet() {
    let plan = plan_over("SELECT count(*) FROM packet", &["a"], true);
    let setting = Setting { packets_max: Some(5), ..Default::default() };
    let steps = vec![Step::Packets(vec![S; 3]), Step::Packets(vec![S; 4]), Step::UntilRow];
    let played = play(&plan, vec![("a", steps)], &setting);
    assert_eq!(numbers(&played.rows), [[5]]);
    let report = played.report.unwrap();
    assert_eq!(report.end, RunEnd::Complete);
    assert_eq!(report.ledger.interfaces[0].live.as_ref().map(|live| live.unread), Some(2));
}

#[test]
fn a_run_ends_at_its_time() {
    let plan = plan_over("SELECT count(*) FROM packet", &["a"], true);
    let setting = Setting { duration: Some(Duration::from_millis(30)), ..Default::default() };
    let played = play(&plan, vec![("a", vec![Step::UntilRow])], &setting);
    assert_eq!(numbers(&played.rows), [[0]]);
    assert_eq!(played.report.unwrap().end, RunEnd::Complete);
}

#[test]
fn a_slow_sink_costs_tuples_and_never_packets() {
    let plan = plan_over("SELECT timestamp FROM packet", &["a"], false);
    const PACKETS: usize = 200_000;
    let setting = Setting { delay: Duration::from_micros(2), ..Default::default() };
    let steps = (0..PACKETS / 1000).map(|_| Step::Packets(vec![S; 1000])).collect();
    let played = play(&plan, vec![("a", steps)], &setting);
    let ledger = played.report.unwrap().ledger;
    assert_eq!(ledger.interfaces[0].records, PACKETS as u64);
    assert!(ledger.shed() > 0, "{ledger}");
    assert_eq!(played.rows.len() as u64 + ledger.shed(), PACKETS as u64);
}

#[test]
fn a_sink_that_nobody_reads_ends_the_run() {
    let plan = plan_over("SELECT timestamp FROM packet", &["a"], false);
    let setting = Setting { rows_max: Some(3), ..Default::default() };
    let mut steps: Vec<_> = (0..10).map(|i| Step::Packets(vec![S + i])).collect();
    steps.push(Step::Packets(vec![S; 100]));
    let played = play(&plan, vec![("a", steps)], &setting);
    let report = played.report.unwrap();
    assert_eq!((report.end, played.rows.len()), (RunEnd::SinkClosed { output: 0 }, 3));
    assert_eq!(report.ledger.outputs[0].rows, 3);
}

#[test]
fn gaps_are_in_the_books() {
    let plan = plan_over(COUNTS, &["a"], false);
    let steps = vec![
        Step::Packets(vec![S]),
        Step::Down(2 * S),
        Step::Down(3 * S),
        Step::Packets(vec![5 * S]),
    ];
    let played = play(&plan, vec![("a", steps)], &Setting::default());
    let ledger = played.report.unwrap().ledger;
    let live = ledger.interfaces[0].live.clone().unwrap();
    assert_eq!((live.gaps, live.gap_ns), (1, 3 * S));
    assert!(ledger.to_string().contains("no link: a: from 1970-01-01T00:00:02"), "{ledger}");
}

#[test]
fn one_failure_ends_all_threads() {
    let text = "DEFINE { query_name one; } SELECT timestamp FROM a.packet; \
                DEFINE { query_name two; } SELECT timestamp FROM b.packet";
    let plan = plan_over(text, &["a", "b"], false);
    let scripts = vec![("a", vec![Step::UntilRow]), ("b", vec![Step::Fails])];
    let played = play(&plan, scripts, &Setting::default());
    let error = played.report.unwrap_err();
    assert!(error.to_string().contains("played out"), "{error}");
    assert!(!played.ended);
}

#[test]
fn the_memory_limit_is_that_of_all_threads() {
    // Keys that tell no order: no group closes before the end.
    let text = "SELECT t, count(*) FROM packet GROUP BY time % 100000 AS t";
    let plan = plan_over(&format!("DEFINE {{ no_temporal_aggr yes; }} {text}"), &["a"], false);
    let steps = vec![Step::Packets((1..50_000).map(|s| s * S).collect()), Step::UntilRow];
    let setting = Setting { memory: Some(1 << 20), ..Default::default() };
    let played = play(&plan, vec![("a", steps)], &setting);
    let report = played.report;
    assert!(matches!(report, Err(EngineError::Memory(_) | EngineError::Setup(_))), "{report:?}");
}
