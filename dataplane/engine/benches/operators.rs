//! Hot operators one by one, over packets in memory: `cargo bench -p wt-engine`. Times of single operators say where a change acts; what
//! a user gets is measured by `wt-bench`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use wt_catalog::{Catalog, Value};
use wt_engine::{
    Backend, CompiledLfta, LftaBackend, Memory, PacketBatch, PathsWanted, Readers, ReferenceLfta,
    RowSink, RunOptions, SinkError, Source, Tuple, functions,
};
use wt_plan::ir::LftaProgram;
use wt_plan::physical::PhysicalPlan;
use wt_plan::{CompileInput, InterfaceInfo, compile};
use wt_wire::{CaptureReader, Direction, RecordRef};

fn main() {
    divan::main();
}

const ETHERNET: u16 = 1;
/// Packets of a batch.
const PACKETS: usize = 1024;

const QUERIES: [(&str, &str); 5] = [
    ("count", "SELECT count(*) AS packets, sum(len) AS bytes FROM packet"),
    (
        "filter",
        "SELECT count(*) AS packets, sum(len) AS bytes FROM tcp WHERE destPort IN (80, 443)",
    ),
    (
        "flows",
        "SELECT srcIP, destIP, srcPort, destPort, count(*) AS packets, sum(len) AS bytes FROM tcp GROUP BY srcIP, destIP, srcPort, destPort",
    ),
    ("select", "SELECT time, srcIP, destIP, len FROM tcp WHERE destPort = 80"),
    (
        "regex",
        "SELECT count(*) AS http FROM tcp WHERE destPort = 80 AND str_regex_match[data, '^GET [^ ]* HTTP/1']",
    ),
];

const OPERATORS: [(&str, &str); 5] = [
    (
        "super-aggregate",
        "SELECT second, srcIP, count(*) AS packets FROM tcp GROUP BY time AS second, srcIP",
    ),
    (
        "cube",
        "SELECT second, a, destPort, count(*) AS packets FROM tcp GROUP BY time AS second, CUBE(srcPort % 8 AS a, destPort)",
    ),
    (
        "sort",
        "SELECT second, srcIP, count(*) AS packets FROM tcp GROUP BY time AS second, srcIP ORDER BY packets DESC LIMIT 10",
    ),
    ("distinct", "SELECT DISTINCT time, destPort FROM tcp"),
    ("selection", "SELECT time, srcIP, str_regex_match[data, 'HTTP'] AS http FROM tcp"),
];

/// TCP segments of a thousand hosts, every fourth to port 80, with a request in it.
struct Packets {
    data: Vec<u8>,
    records: Vec<RecordRef>,
}

impl Packets {
    fn new() -> Self {
        let (mut data, mut records) = (Vec::new(), Vec::new());
        let mut state = 1u64;
        for number in 0..PACKETS as u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let host = (state >> 40) as u16 % 1000;
            let port: u16 = if number % 4 == 0 { 80 } else { 1024 + (state >> 56) as u16 };
            let at = data.len() as u32;
            data.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
            let payload = b"GET /index.html HTTP/1.1\r\nHost: example.org\r\n\r\n";
            let len = 40 + payload.len() as u16;
            data.extend([0x45, 0]);
            data.extend(len.to_be_bytes());
            data.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0]);
            data.extend(host.to_be_bytes());
            data.extend([192, 0, 2, 80]);
            data.extend((1024 + host).to_be_bytes());
            data.extend(port.to_be_bytes());
            data.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 16, 0, 0, 0, 0, 0]);
            data.extend(payload);
            let caplen = data.len() as u32 - at;
            let timestamp_ns = 1_000_000_000 * (1_700_000_000 + number / 256);
            let direction = Direction::Unknown;
            records.push(RecordRef { timestamp_ns, at, caplen, len: caplen, direction });
        }
        Self { data, records }
    }

    /// The packets as a little-endian pcap with nanoseconds.
    fn capture(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, u32::from(ETHERNET)] {
            bytes.extend(u32::to_le_bytes(word));
        }
        for record in &self.records {
            let seconds = (record.timestamp_ns / 1_000_000_000) as u32;
            for word in [seconds, 0, record.caplen, record.len] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(&self.data[record.at as usize..][..record.caplen as usize]);
        }
        bytes
    }
}

fn plan(text: &str) -> PhysicalPlan {
    let catalog = Catalog::builtin();
    let interfaces = [InterfaceInfo { name: "default".to_owned(), properties: Vec::new() }];
    let input = CompileInput {
        catalog: &catalog,
        text,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    };
    compile(&input).expect("a query that compiles").physical
}

fn text(all: &[(&str, &'static str)], name: &str) -> &'static str {
    all.iter().find(|(known, _)| *known == name).expect("a known name").1
}

fn names(all: &'static [(&'static str, &'static str)]) -> impl Iterator<Item = &'static str> {
    all.iter().map(|(name, _)| *name)
}

fn compiled(program: &LftaProgram) -> CompiledLfta {
    let memory = &mut Memory::new(None);
    let paths = PathsWanted::Seen(Vec::new());
    CompiledLfta::new(program, &[], Readers::default(), paths, ETHERNET, memory).expect("code")
}

/// What an LFTA takes per packet, in the second-level cache.
fn lfta(bencher: Bencher<'_, '_>, mut backend: Box<dyn LftaBackend>) {
    let packets = Packets::new();
    let interface = Value::bytes("default");
    let batch = PacketBatch {
        data: &packets.data,
        records: &packets.records,
        link_type: ETHERNET,
        interface: &interface,
        ifindex: 0,
        meanwhile: None,
    };
    let mut memory = Memory::new(None);
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        let out = &mut |_, message| {
            black_box(message);
        };
        backend.batch(&batch, 0, &mut memory, out).expect("within memory");
    });
}

#[divan::bench(args = names(&QUERIES))]
fn lfta_compiled(bencher: Bencher<'_, '_>, query: &str) {
    let program = &plan(text(&QUERIES, query)).interfaces[0].program;
    lfta(bencher, Box::new(compiled(program)));
}

#[divan::bench(args = names(&QUERIES))]
fn lfta_interpreted(bencher: Bencher<'_, '_>, query: &str) {
    let program = &plan(text(&QUERIES, query)).interfaces[0].program;
    let backend = ReferenceLfta::new(program, &[], &[], &mut Memory::new(None));
    lfta(bencher, Box::new(backend.expect("a program that can be set up")));
}

/// From text to plan.
#[divan::bench(args = names(&QUERIES))]
fn planning(bencher: Bencher<'_, '_>, query: &str) {
    bencher.bench_local(|| plan(text(&QUERIES, query)));
}

/// From LFTA program to machine code.
#[divan::bench(args = names(&QUERIES))]
fn machine_code(bencher: Bencher<'_, '_>, query: &str) {
    let plan = plan(text(&QUERIES, query));
    bencher.bench_local(|| compiled(&plan.interfaces[0].program));
}

struct Discard;

impl RowSink for Discard {
    fn row(&mut self, _output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        black_box(tuple);
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Whole runs whose HFTA has most of the work; code is made in each.
#[divan::bench(args = names(&OPERATORS))]
fn hfta(bencher: Bencher<'_, '_>, operator: &str) {
    let plan = plan(text(&OPERATORS, operator));
    let capture = Packets::new().capture();
    let options = RunOptions { backend: Backend::Interpreter, ..RunOptions::default() };
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        let reader = CaptureReader::from_reader("memory", std::io::Cursor::new(capture.clone()));
        let captures = vec![reader.expect("a capture")].into();
        let source = Source { interface: "default".to_owned(), captures };
        wt_engine::run(&plan, vec![source], &options, &mut Discard).expect("a run")
    });
}

#[divan::bench(args = ["HTTP/1", "^[^\n]*HTTP/1.*", "(GET|POST) [^ ]* HTTP", "[0-9]+[.][0-9]+"])]
fn regex(bencher: Bencher<'_, '_>, pattern: &str) {
    let handle = functions::prepare("str_regex_match", &Value::bytes(pattern)).expect("a pattern");
    let call = functions::scalar("str_regex_match").expect("a function");
    let subject = "GET /index.html HTTP/1.1\r\nHost: example.org\r\nAccept: text/html\r\n\r\n";
    let args = [Value::bytes(subject), Value::bytes(pattern)];
    bencher.bench_local(|| call(black_box(&args), Some(&handle)));
}
