//! Measures the ways to read a plain pcap on one core, each with a consumer that reads the first 60
//! bytes of every packet:
//!
//! ```text
//! taskset -c 1 cargo run --release -p wt-trace --example scan -- FILE [ROUNDS] [WAY…]
//! ```
//!
//! The ways take turns, so that what else the machine does hits all of them; the least and the
//! median time per record are printed.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use wt_trace::{MapFile, Meanwhile, Opened, TraceFile, Tuning};
use wt_wire::{Batch, CaptureReader};

type Error = Box<dyn std::error::Error>;

/// Records, and a sum that depends on lengths and headers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    records: u64,
    sum: u64,
}

impl Sum {
    #[inline(always)]
    fn add(&mut self, len: u32, data: &[u8]) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(u64::from(len));
        if let Some(head) = data.first_chunk::<60>() {
            for word in head.as_chunks::<4>().0 {
                self.sum = self.sum.wrapping_add(u64::from(u32::from_le_bytes(*word)));
            }
        }
    }

    fn add_batch(&mut self, batch: &Batch<'_>) {
        for record in batch.records {
            self.add(record.len, batch.bytes(record));
        }
    }
}

/// Only the copy out of the page cache.
fn read(path: &Path) -> Result<Sum, Error> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 256 << 10]);
    while file.read(&mut buffer)? > 0 {
        black_box(&buffer);
    }
    Ok(Sum::default())
}

/// The loop that anyone would write: one cursor over a buffer of 256 KiB, little-endian.
fn plain_loop(path: &Path) -> Result<Sum, Error> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 512 << 10];
    let (mut sum, mut start, mut end) = (Sum::default(), 0, 0);
    file.read_exact(&mut buffer[..24])?;
    loop {
        let room = end + (256 << 10);
        let count = file.read(&mut buffer[end..room])?;
        if count == 0 {
            return Ok(sum);
        }
        end += count;
        while let Some((header, body)) = buffer[start..end].split_first_chunk::<16>() {
            let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
            let Some(data) = body.get(..word(8) as usize) else { break };
            sum.add(word(12), data);
            start += 16 + data.len();
        }
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
    }
}

fn one_by_one(path: &Path) -> Result<Sum, Error> {
    let (mut reader, mut sum) = (CaptureReader::open(path)?, Sum::default());
    while let Some(record) = reader.next()? {
        sum.add(record.len, record.data);
    }
    Ok(sum)
}

fn batches(path: &Path) -> Result<Sum, Error> {
    let (mut reader, mut sum) = (CaptureReader::open(path)?, Sum::default());
    let mut records = Vec::new();
    while let Some(batch) = reader.next_batch(&mut records, 1024)? {
        sum.add_batch(&batch);
    }
    Ok(sum)
}

fn trace(path: &Path, tuning: Tuning) -> Result<Sum, Error> {
    let Opened::Plain(trace) = TraceFile::open(path)? else {
        return Err("not a plain pcap".into());
    };
    let (mut reader, mut sum) = (trace.tuned(tuning).reader(), Sum::default());
    while let Some((batch, meanwhile)) = reader.next_with_more()? {
        for records in batch.records.chunks(Meanwhile::STEP_RECORDS) {
            meanwhile.iter().for_each(Meanwhile::step);
            sum.add_batch(&Batch { records, ..batch });
        }
    }
    Ok(sum)
}

/// `trace`, `trace-read`, `read-KIBIBYTES`, or `map-CHAINS-KIBIBYTES`.
fn tuning(way: &str) -> Option<Tuning> {
    let mut parts = way.split('-');
    match (parts.next()?, parts.next(), parts.next()) {
        ("trace", None, None) => Some(Tuning::default()),
        ("trace", Some("read"), None) => Some(Tuning { map: MapFile::Never, ..Tuning::default() }),
        ("map", Some(chains), Some(kibibytes)) => Some(Tuning {
            map: MapFile::Always,
            chains: chains.parse().ok()?,
            batch_len: kibibytes.parse::<usize>().ok()? << 10,
            ..Tuning::default()
        }),
        ("read", Some(kibibytes), None) => Some(Tuning {
            map: MapFile::Never,
            read_batch_len: kibibytes.parse::<usize>().ok()? << 10,
            ..Tuning::default()
        }),
        _ => None,
    }
}

fn run(way: &str, path: &Path) -> Result<Sum, Error> {
    match way {
        "read" => read(path),
        "loop" => plain_loop(path),
        "next" => one_by_one(path),
        "batch" => batches(path),
        way => trace(path, tuning(way).ok_or_else(|| format!("unknown way `{way}`"))?),
    }
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give a pcap file")?;
    let path = Path::new(&path);
    let rounds: usize = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    let mut ways: Vec<String> = arguments.collect();
    if ways.is_empty() {
        let all =
            ["read", "loop", "next", "batch", "trace", "trace-read", "map-1-512", "map-16-512"];
        ways = all.map(String::from).to_vec();
    }
    let expected = one_by_one(path)?;
    let bytes = path.metadata()?.len();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            let begun = Instant::now();
            let sum = run(way, path)?;
            times.push(begun.elapsed().as_secs_f64());
            if sum != Sum::default() && sum != expected {
                return Err(format!("{way} gives {sum:?}, expected {expected:?}").into());
            }
        }
    }
    println!("{} records, {bytes} bytes, {rounds} rounds", expected.records);
    println!("{:14} {:>10} {:>10} {:>8}", "way", "least ns", "median ns", "GB/s");
    for (way, times) in ways.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[times.len() / 2]);
        let per_record = 1e9 / expected.records as f64;
        println!(
            "{way:14} {:10.2} {:10.2} {:8.2}",
            least * per_record,
            median * per_record,
            bytes as f64 / median / 1e9
        );
    }
    Ok(())
}
