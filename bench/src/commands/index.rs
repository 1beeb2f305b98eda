//! The command `index`: one second and one rare host out of stores and traces of several sizes, by indices of several ratios, against scans.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wt_bench::bound::capture::{FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN};
use wt_bench::bound::resync;
use wt_bench::compare::Setting;
use wt_bench::generate::{Amount, START_NS, Spec};
use wt_bench::program::{Program, Step};
use wt_bench::report::Report;
use wt_bench::statistics::Sample;
use wt_bench::svg::{self, Group};
use wt_bench::trace::{self, Source};
use wt_bench::{peers, sys};
use wt_wire::CaptureReader;

use super::{begin, finish, needed, setting};
use crate::cli::IndexArgs;

/// The host that is looked for: of documentation, so that no other packet has it.
const RARE: [u8; 4] = [192, 0, 2, 77];
const RARE_TEXT: &str = "192.0.2.77";
/// Where its packets are: parts of the trace.
const RARE_AT: [f64; 3] = [0.13, 0.5, 0.81];

const S: u64 = 1_000_000_000;

/// A program, its output, and what it took.
struct Row {
    program: Program,
    output: PathBuf,
    wall_ms: Sample,
    cpu_ms: Sample,
}

impl Row {
    fn new(name: &str, core: usize, output: &Path, step: Step) -> Self {
        let program = Program { name: name.to_owned(), steps: vec![step], cores: vec![core] };
        let output = output.to_owned();
        Self { program, output, wall_ms: Sample::default(), cpu_ms: Sample::default() }
    }

    fn run(&mut self) -> Result<()> {
        let measured = self.program.measure()?;
        self.wall_ms.push(measured.wall.as_secs_f64() * 1e3);
        self.cpu_ms.push(measured.cpu.as_secs_f64() * 1e3);
        Ok(())
    }

    /// Refuses an answer of other packets than expected.
    fn check(&self, expected: &[(u64, u32)]) -> Result<()> {
        let found = packets(&self.output, 0, u64::MAX)?;
        if found != expected {
            bail!("{} finds {} packets, not {}", self.program.name, found.len(), expected.len());
        }
        Ok(())
    }
}

/// Stamps and lengths of the packets of a capture within a time.
fn packets(path: &Path, from_ns: u64, to_ns: u64) -> Result<Vec<(u64, u32)>> {
    let mut reader = CaptureReader::open(path)?;
    let mut found = Vec::new();
    while let Some(record) = reader.next()? {
        if (from_ns..to_ns).contains(&record.timestamp_ns) {
            found.push((record.timestamp_ns, record.len));
        }
    }
    Ok(found)
}

/// Gives a few packets of a generated trace a source address that no other has.
fn add_rare(trace: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(trace)?;
    let len = file.metadata()?.len();
    let header = FileHeader { nanoseconds: true, snap_len: 65_535 };
    for part in RARE_AT {
        let at = ((len as f64 * part) as u64).max(FILE_HEADER_LEN as u64);
        let mut window = vec![0; 256 << 10];
        let count = file.read_at(&mut window, at)?;
        let place = resync::boundary(&window[..count], 0, &header).filter(|place| *place < count);
        let place = place.with_context(|| format!("no packet at byte {at} of the trace"))?;
        // Ethernet, then IPv4 without tags, of which the generated trace is.
        file.write_all_at(&RARE, at + (place + RECORD_HEADER_LEN + 14 + 12) as u64)?;
    }
    Ok(())
}

/// What was measured of one size.
struct Size {
    bytes: u64,
    packets: u64,
    /// Of the answer, and of its packets.
    answer: (u64, usize),
    copy_ms: Sample,
    ratios: Vec<Ratio>,
    /// One second: tools and programs.
    second: Vec<Row>,
    /// The rare host.
    rare: Vec<Row>,
    recording: [Sample; 2],
}

/// What was measured of one ratio.
struct Ratio {
    ratio: u64,
    index_bytes: u64,
    build_cpu_s: f64,
    rows: [Row; 3],
    /// Blocks and bytes read, and all, as `extract` says: of the second, of the host.
    read: [[u64; 4]; 2],
}

/// The numbers that an extract tells: blocks read, of, bytes read, of.
fn told(row: &Row) -> Result<[u64; 4]> {
    let said = row.program.answer()?;
    let line = said.error.lines().find(|line| line.contains("indexed blocks"));
    let numbers = line.unwrap_or("").split(|c: char| !c.is_ascii_digit() && c != '.');
    let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        // Behind the packets, and the segments of a store.
        [.., read, of, bytes, of_bytes] => Ok([read, of, bytes, of_bytes]),
        _ => bail!("extract does not say what it has read: {}", said.error),
    }
}

struct Bench<'a> {
    args: &'a IndexArgs,
    setting: Setting,
    wiretable: PathBuf,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.setting.scratch.join(name)
    }

    fn row(&self, name: &str, output: &str, program: &str, arguments: &[&str]) -> Row {
        let output = self.path(output);
        let out = output.display().to_string();
        let arguments =
            arguments.iter().map(|a| if *a == "OUT" { out.clone() } else { (*a).into() });
        let step = Step::new(program, arguments.collect::<Vec<String>>());
        Row::new(name, self.setting.core, &output, step)
    }

    fn extract(&self, name: &str, output: &str, from: [&str; 2], more: &[&str]) -> Row {
        let fixed = ["extract", from[0], from[1], "-o", "OUT", "--no-progress"];
        self.row(name, output, &self.wiretable.display().to_string(), &[&fixed, more].concat())
    }

    /// Processor time of one run of wiretable, s.
    fn wiretable_s(&self, arguments: &[&str]) -> Result<f64> {
        let step = Step::new(&self.wiretable, arguments.iter().copied());
        let program =
            Program { name: "wiretable".into(), steps: vec![step], cores: vec![self.setting.core] };
        Ok(program.measure()?.cpu.as_secs_f64())
    }

    fn size(&self, bytes: u64) -> Result<Size> {
        let spec = Spec { amount: Amount::Bytes(bytes), rate: self.args.rate, ..Spec::default() };
        let name = format!("index-{}M", bytes / 1_000_000);
        let made = trace::prepare(&name, &Source::Generated(spec), &self.args.measure.dir)?;
        let store = self.path(&format!("{name}-store"));
        let measured = add_rare(&made.path).and_then(|()| self.of(&made.path, &store, bytes));
        // They are large, and made again as they were.
        remove(&store);
        for path in [made.path.clone(), PathBuf::from(format!("{}.wti", made.path.display()))] {
            remove(&path);
        }
        measured
    }

    fn of(&self, trace: &Path, store: &Path, bytes: u64) -> Result<Size> {
        let text = |path: &Path| path.display().to_string();
        let (trace_text, store_text) = (text(trace), text(store));
        // From half a second on, in the middle.
        let all = packets(trace, 0, u64::MAX)?;
        let last_ns = all.last().map_or(START_NS, |(at, _)| *at);
        let from_ns = START_NS + (last_ns - START_NS) / (2 * S) * S + S / 2;
        let to_ns = from_ns + S;
        let of_second: Vec<_> =
            all.iter().filter(|(at, _)| (from_ns..to_ns).contains(at)).copied().collect();
        let packets = all.len() as u64;
        drop(all);
        let seconds = |ns: u64| format!("{}.{:09}", ns / S, ns % S);
        let (from, to) = (seconds(from_ns), seconds(to_ns));
        let range = ["--from", &from, "--to", &to];
        let host = ["--filter", &format!("host {RARE_TEXT}")];
        eprintln!("  recording");
        let mut recording = [Sample::default(), Sample::default()];
        let rounds = if bytes < 2_000_000_000 { self.args.scans } else { 1 };
        for _ in 0..rounds {
            for (sample, more) in recording.iter_mut().zip([&["--no-index"][..], &[]]) {
                remove(store);
                let fixed = ["record", "-r", &trace_text, "-w", &store_text, "--no-progress"];
                sample.push(self.wiretable_s(&[&fixed, more].concat())?);
            }
        }
        // What is measured is warm.
        let warm = |path: &Path| -> Result<()> {
            std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
            Ok(())
        };
        warm(trace)?;
        let segments = || -> Result<Vec<PathBuf>> {
            let files = fs::read_dir(store)?.map(|entry| Ok(entry?.path()));
            files.collect()
        };
        segments()?.iter().try_for_each(|path| warm(path))?;
        let mut second = vec![self.row(
            "bisecting program",
            "bound.pcap",
            &text(&self.setting.this),
            &["slice", &trace_text, &from_ns.to_string(), &to_ns.to_string(), "OUT"],
        )];
        if peers::find("tcpslice").is_some() {
            // It takes microseconds, and its end is included.
            let microseconds = |ns: u64| format!("{}.{:06}", ns / S, ns % S / 1000);
            let (first, last) = (microseconds(from_ns), microseconds(to_ns - 1000));
            let arguments = ["-w", "OUT", &first, &last, &trace_text];
            second.push(self.row("tcpslice", "tcpslice.pcap", "tcpslice", &arguments));
        }
        let mut scans = vec![self.extract(
            "wiretable, all is read",
            "scan.pcapng",
            ["-r", &trace_text],
            &[&range[..], &["--no-index"]].concat(),
        )];
        if peers::find("editcap").is_some() {
            let arguments = ["-A", &from, "-B", &to, &trace_text, "OUT"];
            scans.push(self.row("editcap", "editcap.pcap", "editcap", &arguments));
        }
        let mut rare = vec![self.extract(
            "wiretable, all is read",
            "rare-scan.pcapng",
            ["-r", &trace_text],
            &[&host[..], &["--no-index"]].concat(),
        )];
        if peers::find("tcpdump").is_some() {
            let arguments = ["-Z", "root", "-r", &trace_text, "-w", "OUT", host[1]];
            rare.push(self.row("tcpdump", "rare-tcpdump.pcap", "tcpdump", &arguments));
        }
        eprintln!("  scans");
        for round in 0..self.args.scans {
            for row in scans.iter_mut().chain(&mut rare) {
                row.run()?;
                if round == 0 && !row.output.to_string_lossy().contains("rare") {
                    row.check(&of_second)?;
                }
            }
        }
        let of_rare = packets_of(&rare[0].output)?;
        if of_rare.len() != RARE_AT.len() {
            bail!("{} packets of {RARE_TEXT} are found, not {}", of_rare.len(), RARE_AT.len());
        }
        rare.iter().try_for_each(|row| row.check(&of_rare))?;
        let mut copy_ms = Sample::default();
        let mut ratios = Vec::new();
        for &ratio in &self.args.ratios {
            eprintln!("  R = {}", short(ratio));
            let ratio_text = ratio.to_string();
            let build = |of: &str| {
                let fixed = ["index", "build", "--no-progress", "--index-ratio", &ratio_text];
                self.wiretable_s(&[&fixed[..], &[of]].concat())
            };
            build(&store_text)?;
            let build_cpu_s = build(&trace_text)?;
            let mut rows = [
                self.extract("store", "second.pcapng", ["-w", &store_text], &range),
                self.extract("trace", "trace.pcapng", ["-r", &trace_text], &range),
                self.extract("host", "rare.pcapng", ["-w", &store_text], &host),
            ];
            let read = [told(&rows[0])?, told(&rows[2])?];
            let answer = text(&rows[0].output);
            let mut copy = self.row("cp", "copy.pcapng", "cp", &[&answer, "OUT"]);
            for _ in 0..self.args.measure.repeat {
                rows.iter_mut().chain(&mut second).chain([&mut copy]).try_for_each(Row::run)?;
            }
            rows[..2].iter().chain(&second).try_for_each(|row| row.check(&of_second))?;
            rows[2].check(&of_rare)?;
            copy_ms.push(copy.wall_ms.median());
            let sidecars =
                segments()?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "wti"));
            let index_bytes = sidecars.map(|path| fs::metadata(path).map_or(0, |m| m.len())).sum();
            ratios.push(Ratio { ratio, index_bytes, build_cpu_s, rows, read });
        }
        second.extend(scans);
        let answer = (fs::metadata(&ratios[0].rows[0].output)?.len(), of_second.len());
        Ok(Size { bytes, packets, answer, copy_ms, ratios, second, rare, recording })
    }
}

fn packets_of(path: &Path) -> Result<Vec<(u64, u32)>> {
    packets(path, 0, u64::MAX)
}

fn remove(path: &Path) {
    // Most of the time it is not there.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn short(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Measures indices.
pub fn index(args: &IndexArgs) -> Result<()> {
    let setting = setting(&args.measure)?;
    let wiretable = needed(&setting)?.to_owned();
    if args.ratios.is_empty() || args.sizes.is_empty() {
        bail!("there is nothing to measure without a size and a ratio");
    }
    sys::pin(&[setting.core])?;
    let bench = Bench { args, setting, wiretable };
    let mut sizes = Vec::new();
    for &bytes in &args.sizes {
        eprintln!("{}", gigabytes(bytes));
        sizes.push(bench.size(bytes)?);
    }
    let mut report = begin("Indices", &args.measure.dir, &bench.setting);
    write(&mut report, args, &sizes);
    let name = args.measure.name.as_deref().unwrap_or("index");
    let file = format!("{name}.svg");
    report.line(&format!("\n![Wall time over that of the indexed store]({file})"));
    fs::create_dir_all(&args.measure.results)?;
    let title = "One second: wall time over that out of the indexed store, R = 1 MiB (logarithmic)";
    fs::write(args.measure.results.join(&file), svg::chart(title, &groups(&sizes)))?;
    finish(&report, &args.measure, "index")
}

/// The ratio that is shown where there is room for one only.
fn usual(size: &Size) -> &Ratio {
    let usual = size.ratios.iter().find(|ratio| ratio.ratio == 1 << 20);
    usual.unwrap_or(&size.ratios[0])
}

fn groups(sizes: &[Size]) -> Vec<Group> {
    let of = |size: &Size| {
        let usual = usual(size);
        let base = usual.rows[0].wall_ms.median();
        let bar = |name: &str, row: &Row| (name.to_owned(), row.wall_ms.median() / base);
        let mut bars = vec![
            bar("wiretable, indexed store", &usual.rows[0]),
            bar("wiretable, indexed trace", &usual.rows[1]),
        ];
        bars.extend(size.second.iter().map(|row| bar(&row.program.name, row)));
        Group { title: gigabytes(size.bytes), bars }
    };
    sizes.iter().map(of).collect()
}

fn spread(sample: &Sample) -> String {
    format!("{:.1} | {:.1}–{:.1}", sample.median(), sample.least(), sample.greatest())
}

fn write(report: &mut Report, args: &IndexArgs, sizes: &[Size]) {
    report.line(&format!(
        "\nGenerated traces, IMIX of 100,000 flows, {} packets a second of trace time, recorded into stores of segments of 256 MiB; all in the page cache, all programs on one core. \
         Medians of {} runs in turns (scans: {}); between the dots the least and the greatest. All answers are compared before: they are of the same packets.",
        args.rate, args.measure.repeat, args.scans
    ));
    report.line("\n## One second out of a store\n\nTime of the whole command `wiretable extract -w STORE --from A --to B -o FILE`, its start included. Copy: `cp` of the answer.\n");
    report.line("| store | R | wall ms | … | CPU ms | blocks read | bytes read | answer | copy ms | beyond the copy, ms |");
    report.line("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in sizes {
        for Ratio { ratio, rows, read, .. } in &size.ratios {
            let [blocks, all, bytes, _] = read[0];
            let copy = size.copy_ms.median();
            report.line(&format!(
                "| {} | {} | {} | {:.1} | {blocks} of {all} | {:.1} MB | {:.1} MB | {copy:.1} | {:.1} |",
                gigabytes(size.bytes),
                short(*ratio),
                spread(&rows[0].wall_ms),
                rows[0].cpu_ms.median(),
                bytes as f64 / 1e6,
                size.answer.0 as f64 / 1e6,
                rows[0].wall_ms.median() - copy,
            ));
        }
    }
    report.line("\n## T7: one second out of a trace\n\nThe trace is a pcap of the same packets. `wiretable` reads it by its index of R = 1 MiB.\n");
    report.line("| trace | packets found | program | wall ms | … | CPU ms | ratio to tcpslice |\n|---:|---:|---|---:|---:|---:|---:|");
    for size in sizes {
        let base = size.second.iter().find(|row| row.program.name == "tcpslice");
        let base = base.unwrap_or(&size.second[0]).wall_ms.median();
        let own = [("wiretable", &usual(size).rows[1])];
        let others = size.second.iter().map(|row| (row.program.name.as_str(), row));
        for (name, row) in own.into_iter().chain(others) {
            report.line(&format!(
                "| {} | {} | {name} | {} | {:.1} | {:.2} |",
                gigabytes(size.bytes),
                size.answer.1,
                spread(&row.wall_ms),
                row.cpu_ms.median(),
                row.wall_ms.median() / base
            ));
        }
    }
    if !sizes[0].second.iter().any(|row| row.program.name == "tcpslice") {
        report.line("\nNot here: tcpslice; ratios are to the bisecting program.");
    }
    report.line(&format!("\n## A rare host\n\n`host {RARE_TEXT}`, of which {} packets are in the whole trace, over all of it.\n", RARE_AT.len()));
    report.line("| size | by | wall ms | … | CPU ms | blocks read | bytes read | less data, times |\n|---:|---|---:|---:|---:|---:|---:|---:|");
    for size in sizes {
        for Ratio { ratio, rows, read, .. } in &size.ratios {
            let [blocks, all, bytes, of] = read[1];
            report.line(&format!(
                "| {} | index, R = {} | {} | {:.1} | {blocks} of {all} | {:.1} MB | {:.0} |",
                gigabytes(size.bytes),
                short(*ratio),
                spread(&rows[2].wall_ms),
                rows[2].cpu_ms.median(),
                bytes as f64 / 1e6,
                of as f64 / bytes.max(1) as f64
            ));
        }
        for row in &size.rare {
            report.line(&format!(
                "| {} | {} | {} | {:.1} | all | {:.1} MB | 1 |",
                gigabytes(size.bytes),
                row.program.name,
                spread(&row.wall_ms),
                row.cpu_ms.median(),
                size.bytes as f64 / 1e6
            ));
        }
    }
    report.line("\n## What indices take\n\nBuilding: processor time of `wiretable index build` on the trace. Recording: that of `wiretable record -r TRACE`, with an index of R = 1 MiB made on the way, and without.\n");
    report.line("| size | R | index, share of the store | building, CPU s | ns per packet |\n|---:|---:|---:|---:|---:|");
    for size in sizes {
        for Ratio { ratio, index_bytes, build_cpu_s, read, .. } in &size.ratios {
            report.line(&format!(
                "| {} | {} | {:.2}% | {build_cpu_s:.2} | {:.0} |",
                gigabytes(size.bytes),
                short(*ratio),
                100.0 * *index_bytes as f64 / read[0][3].max(1) as f64,
                build_cpu_s * 1e9 / size.packets as f64
            ));
        }
    }
    report.line("\n| size | recording without, CPU s | … | with, CPU s | … | more |\n|---:|---:|---:|---:|---:|---:|");
    for size in sizes {
        let [without, with] = &size.recording;
        let s = |sample: &Sample| {
            format!("{:.2} | {:.2}–{:.2}", sample.median(), sample.least(), sample.greatest())
        };
        report.line(&format!(
            "| {} | {} | {} | {:.1}% |",
            gigabytes(size.bytes),
            s(without),
            s(with),
            100.0 * (with.median() / without.median() - 1.0)
        ));
    }
}
