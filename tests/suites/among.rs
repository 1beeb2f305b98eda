//! Captures of several interfaces, and several of one: rows, their order over all queries, and the books do not depend on how many packets a
//! backend is given at once, nor on how files are read.

use std::path::PathBuf;

use proptest::prelude::*;
use wt_catalog::{Catalog, Value};
use wt_engine::{Backend, Capture, Captures, RowSink, RunOptions, SinkError, Source, Tuple};
use wt_plan::Compiled;
use wt_tests::answers::batch_text;
use wt_tests::corpus::Scratch;
use wt_tests::run::Setup;
use wt_tests::synthetic::Datagram;
use wt_trace::{MapFile, Opened, TraceFile, Tuning};
use wt_wire::{
    ByteOrder, CaptureReader, Direction, LinkType, PcapNgWriter, PcapVariant, PcapWriter,
    TimeResolution,
};

const INTERFACES: [&str; 3] = ["eth0", "eth1", "eth2"];

const QUERIES: [(&str, &str); 9] = [
    ("rows", "SELECT timestamp, destPort, ttl FROM eth0.udp WHERE ttl > 1"),
    ("others", "SELECT timestamp, destPort, ttl FROM eth1.udp WHERE ttl > 1"),
    ("a", "SELECT tb, count(*) AS n, sum(len) AS bytes FROM eth0.udp GROUP BY time/2 AS tb"),
    ("b", "SELECT tb, count(*) AS n, sum(len) AS bytes FROM eth1.udp GROUP BY time/2 AS tb"),
    ("merged", "MERGE a.tb : b.tb FROM a, b"),
    ("added", "SELECT tb, sum(n) AS n, sum(bytes) AS bytes FROM merged GROUP BY tb"),
    (
        "flows",
        "SELECT tb, srcIP, destPort, count(*) AS n, max(ttl) AS most FROM [all].udp GROUP BY time/3 AS tb, srcIP, destPort",
    ),
    // No column is ordered: tuples come as packets do.
    ("arriving", "SELECT ttl, destPort, len FROM [all].udp WHERE destPort < 3"),
    (
        "named",
        "SELECT interface, ifindex, count(*) AS n, sum(caplen) AS bytes FROM [all].packet GROUP BY interface, ifindex",
    ),
];

/// Of one interface whose streams do not meet.
const ALONE: [(&str, &str); 6] = [
    ("rows", "SELECT timestamp, destPort, ttl FROM udp WHERE ttl > 1"),
    (
        "totals",
        "SELECT count(*) AS n, sum(len) AS bytes, max(timestamp) AS last FROM udp WHERE ttl = 3",
    ),
    (
        "flows",
        "SELECT tb, srcIP, destPort, count(*) AS n, max(ttl) AS most FROM udp GROUP BY time/3 AS tb, srcIP, destPort",
    ),
    ("kept", "SELECT srcIP, count(*) AS n, min(timestamp) AS first FROM udp GROUP BY srcIP"),
    (
        "named",
        "SELECT interface, ifindex, count(*) AS n, sum(caplen) AS bytes FROM packet GROUP BY interface, ifindex",
    ),
    (
        "means",
        "SELECT tb, avg(len) AS mean, count_distinct(srcIP) AS hosts FROM udp GROUP BY time/5 AS tb",
    ),
];

/// Rows of which do not depend on the order of packets.
const ADDED_UP: [(&str, &str); 3] = [
    ALONE[1],
    ("all", "SELECT count(*) AS n, sum(caplen) AS bytes, min(timestamp) AS first FROM packet"),
    (
        "groups",
        "SELECT count(*) AS groups, sum(n) AS n, max(most) AS most FROM \
         (SELECT srcIP, destPort, count(*) AS n, max(ttl) AS most FROM udp GROUP BY srcIP, destPort) AS flow",
    ),
];

/// How the packets of a capture are kept.
#[derive(Clone, Copy, Debug)]
enum Form {
    Pcap,
    /// Broken off in the last record.
    Damaged,
    /// With two named interfaces, the second of which has packets of odd ports.
    PcapNg,
}

/// A capture of an interface by its number.
#[derive(Clone, Debug)]
struct Made {
    interface: usize,
    form: Form,
    datagrams: Vec<Datagram>,
}

/// Packets of a capture: mostly a little later than the one before, now and then a little earlier, some of them many at once.
fn made() -> impl Strategy<Value = Made> {
    let form =
        prop_oneof![4 => Just(Form::Pcap), 1 => Just(Form::Damaged), 2 => Just(Form::PcapNg)];
    let step =
        (-1_i64..5, 0_u16..6, 0_u8..4, 0_u16..40, prop_oneof![6 => 1..3_usize, 1 => 3..40_usize]);
    (0..INTERFACES.len(), form, 0_i64..20, prop::collection::vec(step, 0..60)).prop_map(
        |(interface, form, start, steps)| {
            let mut quarter = 4_000 + start;
            let mut datagrams = Vec::new();
            for (step, port, ttl, payload, count) in steps {
                quarter += step;
                let timestamp_ns = quarter as u64 * 250_000_000;
                let source = [10, 0, 0, (port + u16::from(ttl)) as u8].into();
                let datagram = Datagram { timestamp_ns, source, port, ttl, payload };
                datagrams.extend(std::iter::repeat_n(datagram, count));
            }
            Made { interface, form, datagrams }
        },
    )
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        if let Form::PcapNg = self.form {
            let mut writer = PcapNgWriter::new(Vec::new(), ByteOrder::Little).expect("a header");
            let mut interface = |name| {
                writer
                    .interface(Some(name), LinkType::ETHERNET, 0, TimeResolution::NANO)
                    .expect("an interface")
            };
            let interfaces = [interface("left"), interface("right")];
            for datagram in &self.datagrams {
                let (frame, of) = (datagram.frame(), interfaces[usize::from(datagram.port % 2)]);
                let (stamp, len) = (datagram.timestamp_ns, frame.len() as u32);
                writer.write(of, stamp, len, Direction::Unknown, &frame).expect("a record");
            }
            return writer.into_inner();
        }
        let (nano, order) = (PcapVariant::Nano, ByteOrder::Little);
        let mut writer =
            PcapWriter::new(Vec::new(), nano, order, LinkType::ETHERNET, 65_535).expect("a header");
        for datagram in &self.datagrams {
            let frame = datagram.frame();
            writer.write(datagram.timestamp_ns, frame.len() as u32, &frame).expect("a record");
        }
        let mut bytes = writer.into_inner();
        if matches!(self.form, Form::Damaged) && !self.datagrams.is_empty() {
            bytes.pop();
        }
        bytes
    }
}

/// All rows in the order in which they came.
#[derive(Debug, Default, PartialEq)]
struct Rows(Vec<(usize, u64, Vec<Value>)>);

impl RowSink for Rows {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        self.0.push((output, tuple.ordinal, tuple.values.to_vec()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Rows {
    /// Those of each query in their order.
    fn by_query(mut self) -> Self {
        self.0.sort_by_key(|(output, ..)| *output);
        self
    }
}

impl Rows {
    /// Without the places of the packets that began them.
    fn unnumbered(self) -> Vec<(usize, Vec<Value>)> {
        self.0.into_iter().map(|(output, _, values)| (output, values)).collect()
    }
}

/// How files are read.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// Record by record.
    Records,
    /// Plain ones as such: mapped, so that they lie beside each other, or not.
    Files(MapFile),
}

/// Where captures lie, and the interfaces they are of.
struct Files {
    interfaces: Vec<String>,
    /// Each with the number of its interface.
    captures: Vec<(usize, PathBuf)>,
    _scratch: Scratch,
}

impl Files {
    fn new(interfaces: &[&str], all: &[Made]) -> Self {
        let scratch = Scratch::new().expect("a folder");
        let capture = |(number, made): (usize, &Made)| {
            let path = scratch.path(&format!("{number}.pcap"));
            std::fs::write(&path, made.bytes()).expect("written");
            (made.interface % interfaces.len(), path)
        };
        Self {
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            captures: all.iter().enumerate().map(capture).collect(),
            _scratch: scratch,
        }
    }

    fn plan(&self, queries: &[(&str, &str)]) -> Compiled {
        let traces = self.interfaces.iter().map(|name| (name.clone(), Vec::new())).collect();
        let sets = vec![("all".to_owned(), self.interfaces.clone())];
        let setup = Setup { traces, sets, ..Setup::default() };
        let text = batch_text(queries.iter().copied());
        setup.compile(&Catalog::builtin(), &text, true).expect("a plan")
    }

    /// What a plan answers, and what the books say of its interfaces.
    fn answers(&self, plan: &Compiled, as_: Read, options: &RunOptions<'_>) -> (Rows, String) {
        let capture = |path: &PathBuf| match (TraceFile::open(path).expect("a capture"), as_) {
            (Opened::Plain(trace), Read::Files(map)) => {
                Capture::Plain(trace.tuned(Tuning { map, ..Tuning::default() }))
            }
            _ => Capture::from(CaptureReader::open(path).expect("a capture")),
        };
        let source = |(number, interface): (usize, &String)| {
            let of_it = self.captures.iter().filter(|(of, _)| *of == number);
            let several = of_it.map(|(_, path)| capture(path)).collect();
            let captures = Captures { several, ..Captures::default() };
            Source { interface: interface.clone(), captures }
        };
        let sources = self.interfaces.iter().enumerate().map(source).collect();
        let mut rows = Rows::default();
        let report = wt_engine::run(&plan.physical, sources, options, &mut rows).expect("a run");
        report.ledger.check().expect("books that balance");
        let mut books = report.ledger.interfaces;
        // They are entered as they are met.
        books.iter_mut().for_each(|books| books.damage.sort_by(|a, b| a.capture.cmp(&b.capture)));
        (rows, format!("{books:#?}"))
    }
}

/// Compares what comes of all ways with what comes packet by packet.
fn compare(
    files: &Files,
    plan: &Compiled,
    seen: impl Fn(Rows) -> Rows,
) -> Result<usize, TestCaseError> {
    let on = |backend, batch_packets_max| RunOptions {
        backend,
        batch_packets_max,
        ..RunOptions::default()
    };
    let (rows, books) = files.answers(plan, Read::Records, &on(Backend::Interpreter, Some(1)));
    let one_by_one = seen(rows);
    for (backend, size, as_) in [
        (Backend::Interpreter, None, Read::Files(MapFile::Always)),
        (Backend::Compiled, None, Read::Records),
        (Backend::Compiled, None, Read::Files(MapFile::Never)),
        (Backend::Compiled, None, Read::Files(MapFile::Always)),
        (Backend::Tiered, Some(7), Read::Files(MapFile::Always)),
    ] {
        let (rows, other_books) = files.answers(plan, as_, &on(backend, size));
        let rows = seen(rows);
        let differs = rows.0.iter().zip(&one_by_one.0).find(|(a, b)| a != b);
        prop_assert_eq!(differs, None, "{:?} {:?} {:?}", backend, size, as_);
        prop_assert_eq!(rows.0.len(), one_by_one.0.len());
        prop_assert_eq!(&other_books, &books);
    }
    Ok(one_by_one.0.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_of_several_interfaces_come_as_if_packets_came_one_by_one(
        all in prop::collection::vec(made(), 1..6),
    ) {
        let files = Files::new(&INTERFACES, &all);
        compare(&files, &files.plan(&QUERIES), |rows| rows)?;
    }

    #[test]
    fn rows_of_several_captures_come_as_if_packets_came_one_by_one(
        all in prop::collection::vec(made(), 2..5),
    ) {
        let files = Files::new(&["default"], &all);
        compare(&files, &files.plan(&ALONE), Rows::by_query)?;
        // Without what keeps packets from being taken capture by capture.
        compare(&files, &files.plan(&ALONE[..4]), Rows::by_query)?;
        compare(&files, &files.plan(&ALONE[2..4]), Rows::by_query)?;
    }

    #[test]
    fn captures_are_read_one_after_the_other_where_order_does_not_matter(
        all in prop::collection::vec(made(), 2..5),
    ) {
        let files = Files::new(&["default"], &all);
        for queries in [&ADDED_UP[..2], &ADDED_UP] {
            let plan = files.plan(queries);
            let on = |backend, cores, range_bytes| RunOptions {
                backend,
                cores,
                range_bytes,
                ..RunOptions::default()
            };
            let (rows, books) =
                files.answers(&plan, Read::Records, &on(Backend::Interpreter, 1, None));
            let one_by_one = rows.by_query().unnumbered();
            for (cores, range_bytes) in [(1, 300), (1, 1 << 20), (2, 300), (3, 2_000)] {
                let options = on(Backend::Compiled, cores, Some(range_bytes));
                let as_ = Read::Files(MapFile::Always);
                let (rows, other_books) = files.answers(&plan, as_, &options);
                prop_assert_eq!(&rows.by_query().unnumbered(), &one_by_one, "{} {}", cores, range_bytes);
                prop_assert_eq!(&other_books, &books);
            }
        }
    }
}
