//! The command `record`: recorders at the end of a link, at rates that all of them keep up with and as fast as the sender can.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use wt_bench::live::books::Summary;
use wt_bench::live::cpu;
use wt_bench::live::frames::Frames;
use wt_bench::live::lab::{End, FAR, Lab, NEAR};
use wt_bench::live::packets;
use wt_bench::live::receiver::Ended;
use wt_bench::live::trial::{Place, Sender, Trial};
use wt_bench::live::xdp_rate::{Counter, Counting};
use wt_bench::peers;
use wt_bench::program::{Program, Step};
use wt_bench::report::Report;
use wt_bench::statistics::Sample;
use wt_bench::svg::{self, Curve};

use super::live::{Bench, served, trace_path};
use crate::cli::RecordArgs;

/// Ring that the kernel shares with each recorder, KiB: what tcpdump is given by `-B 65536`.
const RING_KIB: u32 = 65_536;

/// A program that writes packets of an interface to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recorder {
    name: &'static str,
    kind: Kind,
    /// Beside what all of its kind are given.
    more: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wiretable,
    Tcpdump,
    NetsniffNg,
}

/// The recorders, in the order of the report. The first is compared with itself without an index.
const RECORDERS: [Recorder; 6] = [
    Recorder { name: "wiretable", kind: Kind::Wiretable, more: &[] },
    Recorder { name: "wiretable --no-index", kind: Kind::Wiretable, more: &["--no-index"] },
    Recorder { name: "wiretable drop", kind: Kind::Wiretable, more: &["--disposition", "drop"] },
    Recorder {
        name: "wiretable drop --no-index",
        kind: Kind::Wiretable,
        more: &["--disposition", "drop", "--no-index"],
    },
    Recorder { name: "tcpdump", kind: Kind::Tcpdump, more: &[] },
    Recorder { name: "netsniff-ng", kind: Kind::NetsniffNg, more: &[] },
];

impl Recorder {
    fn program(self) -> &'static str {
        match self.kind {
            Kind::Wiretable => "wiretable",
            Kind::Tcpdump => "tcpdump",
            Kind::NetsniffNg => "netsniff-ng",
        }
    }

    /// The command that is measured, as the report shows it.
    fn line(self) -> String {
        let line = match self.kind {
            Kind::Wiretable => {
                format!("wiretable record -i {NEAR} -w DIR --ring {RING_KIB}KiB --ledger")
            }
            Kind::Tcpdump => format!("tcpdump -i {NEAR} -B {RING_KIB} -Z root -w FILE"),
            Kind::NetsniffNg => {
                format!("netsniff-ng --in {NEAR} --out FILE --ring-size {RING_KIB}KiB --silent")
            }
        };
        [&[line.as_str()], self.more].concat().join(" ")
    }

    fn command(self, bench: &Bench, lab: &Lab, out: &Path) -> Command {
        let mut command = match self.kind {
            Kind::Wiretable => lab.command(End::Near, &bench.wiretable, &[bench.core]),
            _ => lab.command(End::Near, self.program(), &[bench.core]),
        };
        let ring = format!("{RING_KIB}KiB");
        match self.kind {
            Kind::Wiretable => command.args(["record", "-i", NEAR, "--ring", &ring, "--ledger"]),
            Kind::Tcpdump => command.args(["-i", NEAR, "-Z", "root"]),
            Kind::NetsniffNg => command.args(["--in", NEAR, "--ring-size", &ring, "--silent"]),
        };
        command.args(self.more);
        match self.kind {
            Kind::Wiretable => command.arg("-w"),
            Kind::Tcpdump => command.args(["-B", &RING_KIB.to_string(), "-w"]),
            Kind::NetsniffNg => command.arg("--out"),
        };
        command.arg(out);
        command
    }

    /// What it says became of the packets.
    fn books(self, ended: &Ended) -> (Summary, Result<(), String>) {
        match self.kind {
            Kind::Wiretable => books_of_wiretable(&ended.error),
            Kind::Tcpdump => {
                let number = |end: &str| number_before(&ended.error, end);
                let (captured, dropped) =
                    (number(" packets captured"), number(" packets dropped by kernel"));
                books(captured, dropped)
            }
            Kind::NetsniffNg => {
                let text = format!("{}\n{}", ended.output, ended.error);
                let number = |end: &str| number_before(&text, end);
                books(number("packets passed filter"), number("packets failed filter"))
            }
        }
    }
}

fn books(captured: Option<u64>, dropped: Option<u64>) -> (Summary, Result<(), String>) {
    match (captured, dropped) {
        (Some(captured), Some(dropped)) => {
            let seen = captured + dropped;
            (Summary { seen, records: captured, dropped, ..Summary::default() }, Ok(()))
        }
        _ => (Summary::default(), Err("it does not say what it has captured".to_owned())),
    }
}

/// The number that stands before a text, of the line that has it.
fn number_before(text: &str, end: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(end))?;
    line.split(end).next()?.split_whitespace().last()?.parse().ok()
}

/// The line of `near` in the books that `--ledger` prints.
fn books_of_wiretable(text: &str) -> (Summary, Result<(), String>) {
    let split = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    let head = text.lines().map(split).find(|cells| cells.first().is_some_and(|c| c == "writer"));
    let line = text.lines().map(split).find(|cells| cells.first().is_some_and(|c| c == NEAR));
    let (Some(head), Some(line)) = (head, line) else {
        return (Summary::default(), Err("it prints no books".to_owned()));
    };
    let of = |name: &str| -> u64 {
        let at = head.iter().position(|column| column == name);
        at.and_then(|at| line.get(at)?.parse().ok()).unwrap_or(0)
    };
    let lost = of("lost (buffer)") + of("lost (disk)");
    let summary = Summary {
        seen: of("received"),
        records: of("written"),
        dropped: of("kernel dropped"),
        lost,
        ..Summary::default()
    };
    let Summary { seen, records, dropped, .. } = summary;
    let balance = match seen == records + dropped + lost {
        true => Ok(()),
        false => Err(format!("received {seen}, written {records}, dropped {dropped}, lost {lost}")),
    };
    (summary, balance)
}

/// What was measured of a recorder at a rate.
#[derive(Debug, Default)]
struct Row {
    sent: Sample,
    written: Sample,
    per_cpu: Sample,
    per_cpu_served: Sample,
    /// Of recorder and interface, per packet written.
    served_ns: Sample,
    per_cpu_all: Sample,
    /// Of recorder, interfaces and sender, per packet written.
    all_ns: Sample,
    cpu_ns: Sample,
    /// Bytes of packets written per second of wall time and of processor time, MB.
    wall_mb: Sample,
    cpu_mb: Sample,
    imbalance: Option<String>,
}

impl Row {
    fn add(&mut self, trial: &Trial, mean_bytes: f64) {
        let records = trial.summary.records as f64;
        let per = |cpu: std::time::Duration| records / cpu.as_secs_f64().max(1e-9) / 1e6;
        self.sent.push(trial.sent.rate());
        self.written.push(100.0 * records / trial.sent.frames.max(1) as f64);
        self.per_cpu.push(per(trial.receiver.cpu));
        self.per_cpu_served.push(per(trial.receiver.cpu + trial.interfaces));
        let served = (trial.receiver.cpu + trial.interfaces).as_secs_f64();
        self.served_ns.push(1e9 * served / records.max(1.0));
        self.per_cpu_all.push(trial.packets_per_cpu());
        self.all_ns.push(1e9 * trial.cpu().as_secs_f64() / records.max(1.0));
        self.cpu_ns.push(1e9 * trial.receiver.cpu.as_secs_f64() / records.max(1.0));
        let mb = records * mean_bytes / 1e6;
        self.wall_mb.push(mb / trial.sent.took.as_secs_f64().max(1e-9));
        self.cpu_mb.push(mb / trial.receiver.cpu.as_secs_f64().max(1e-9));
        if let Err(why) = &trial.balance {
            self.imbalance.get_or_insert(why.clone());
        }
    }

    /// What is compared: with what serves the interface, where that is told apart.
    fn compared(&self, is_served: bool) -> f64 {
        if is_served { self.per_cpu_served.median() } else { self.per_cpu.median() }
    }
}

/// What was measured of a trace.
struct Sent {
    name: String,
    packets: usize,
    mean_bytes: f64,
    /// By rate and recorder.
    rows: Vec<Vec<Row>>,
    /// By rate: what a packet takes that a program in the driver counts and drops, ns; of the interface, or of the sender too where its core serves it.
    floors: Vec<Sample>,
}

impl Row {
    /// What is taken for a packet beyond counting it, ns: `floor` is what that takes. Nothing where it cannot be told: a sender that keeps a rate waits actively.
    fn beyond(&self, floor: &Sample, is_served: bool) -> Option<f64> {
        let all = if is_served { &self.served_ns } else { &self.all_ns };
        (!floor.is_empty()).then(|| (all.median() - floor.median()).max(1.0))
    }
}

/// What `dd` writes to measure the disk, MiB.
const DD_MIB: u32 = 512;

/// How fast the disk takes large writes past the page cache.
#[derive(Debug, Default)]
struct Disk {
    wall_mb: Sample,
    cpu_mb: Sample,
}

impl Disk {
    fn measure(bench: &Bench, rounds: u32) -> Result<Self> {
        let mut disk = Self::default();
        let out = bench.scratch.path("dd");
        for _ in 0..rounds {
            let of = format!("of={}", out.display());
            let count = format!("count={DD_MIB}");
            let step = Step::new(
                "dd",
                ["if=/dev/zero", &of, "bs=1M", &count, "oflag=direct", "status=none"],
            );
            let cores = vec![bench.core];
            let measured = Program { name: "dd".to_owned(), steps: vec![step], cores }.measure()?;
            remove(&out)?;
            let mb = f64::from(DD_MIB) * 1.048_576;
            disk.wall_mb.push(mb / measured.wall.as_secs_f64());
            disk.cpu_mb.push(mb / measured.cpu.as_secs_f64());
        }
        Ok(disk)
    }
}

/// Measures recorders in turns.
pub fn record(args: &RecordArgs) -> Result<()> {
    let bench = Bench::new(&args.live)?;
    let lab = Lab::new(1)?;
    let napi = args.receiver_cpu.map(|core| lab.receive_on(core)).transpose()?;
    let is_asked = |recorder: &Recorder| {
        args.recorders.is_empty() || args.recorders.iter().any(|name| recorder.name == name)
    };
    let (here, absent): (Vec<_>, Vec<_>) =
        RECORDERS.into_iter().filter(is_asked).partition(|recorder| {
            recorder.kind == Kind::Wiretable || peers::find(recorder.program()).is_some()
        });
    if here.is_empty() {
        bail!("none of the recorders is here: `wt-bench peers --install` installs them");
    }
    let rates: Vec<Option<f64>> = args.rates.iter().map(|rate| Some(*rate)).chain([None]).collect();
    let mut all = Vec::new();
    for trace in &args.traces {
        let bytes: Option<usize> = trace.parse().ok();
        let of = if bytes.is_some() { "imix" } else { trace.as_str() };
        let mut packets = packets::of_capture(&trace_path(of, &args.live.dir)?)?;
        if let Some(bytes) = bytes {
            packets = packets::of_size(&packets, bytes);
        }
        if packets.is_empty() {
            bail!("imix has no packet of {trace} bytes; it has some of 64, 576 and 1500");
        }
        let sender = Sender::Frames(lab.inside(End::Far, || Frames::replay(FAR, &packets))?);
        let place = Place {
            lab: &lab,
            pairs: 1,
            sender_core: args.live.sender_core,
            napi,
            duration: bench.duration,
        };
        let mean_bytes = packets.iter().map(Vec::len).sum::<usize>() as f64 / packets.len() as f64;
        let (mut rows, mut floors) = (Vec::new(), Vec::new());
        for rate in &rates {
            let mut floor = Sample::default();
            if napi.is_some() || rate.is_none() {
                for _ in 0..args.rounds {
                    floor.push(of_counting(&place, &sender, *rate)?);
                }
            }
            floors.push(floor);
            rows.push(measure(&bench, &place, (&sender, mean_bytes), *rate, args.rounds, &here)?);
        }
        let name = bytes.map_or_else(|| trace.clone(), |bytes| format!("{bytes} bytes"));
        all.push(Sent { name, packets: packets.len(), mean_bytes, rows, floors });
    }
    let is_served = napi.is_some();
    let disk = Disk::measure(&bench, args.rounds)?;
    let mut report = bench.begin("Recording");
    report.line(&format!(
        "\nLive frames of a trace, again and again into a link; a recorder at its other end, on core {}, writes them to the disk. {} \
         Nobody else takes the packets: behind a socket the stack throws them away, and with *drop* they end in the driver (AF_XDP). \
         M/cpu-s: millions of packets written per second of processor time: of the recorder with all its threads; of recorder and the thread of the kernel that serves the interface{}; and of these and the sender. \
         *Beyond counting*, ns per packet: without what {} for the same packets when a program in the driver does nothing but count them and let them go, which no recorder can be below; much of it is giving the sender its memory back. \
         Medians of {} rounds in turns, {} s each; between the dots the least and the greatest.",
        bench.core,
        served(args.receiver_cpu, args.live.sender_core),
        if is_served { " (softirq is in it)" } else { ", which is none here (softirq is in the sender's)" },
        if is_served { "that thread takes" } else { "all of these take" },
        args.rounds,
        args.live.seconds,
    ));
    let mut curves = Vec::new();
    for sent in &all {
        write(&mut report, sent, &rates, &here, is_served);
        for (at, recorder) in here.iter().enumerate() {
            let point = |row: &Row| (row.sent.median(), row.compared(is_served));
            let points = sent.rows.iter().map(|of_rate| point(&of_rate[at])).collect();
            curves.push(Curve { name: format!("{}: {}", sent.name, recorder.name), points });
        }
    }
    report.line(&format!(
        "\n`dd` of zeroes past the page cache (`bs=1M oflag=direct`, {} MiB) to the same disk: {:.0} MB/s ({:.0}–{:.0}), {:.0} MB per second of processor time.",
        DD_MIB, disk.wall_mb.median(), disk.wall_mb.least(), disk.wall_mb.greatest(), disk.cpu_mb.median()
    ));
    report.line("");
    here.iter()
        .for_each(|recorder| report.line(&format!("- {}: `{}`", recorder.name, recorder.line())));
    absent.iter().for_each(|recorder| report.line(&format!("- Not here: {}.", recorder.name)));
    let axes = ["packets sent per second", "M packets written per CPU-second"];
    bench.finish(report, "record", &svg::plot("Recording", axes, &curves, None))
}

/// What a packet takes that a program in the driver counts and drops, ns: of what serves the interface, or of the sender where that is its core.
fn of_counting(place: &Place<'_>, sender: &Sender, rate: Option<f64>) -> Result<f64> {
    let counter = Counter::attach(place.lab, Counting::OneWord)?;
    let before = cpu::of_interfaces(place.napi);
    let sent = sender.send(place.lab, place.sender_core, rate, place.duration)?;
    let served = cpu::of_interfaces(place.napi).saturating_sub(before);
    let took = if place.napi.is_some() { served } else { sent.cpu + served };
    Ok(1e9 * took.as_secs_f64() / counter.count()?.max(1) as f64)
}

/// Measures each recorder at a rate.
fn measure(
    bench: &Bench,
    place: &Place<'_>,
    (sender, mean_bytes): (&Sender, f64),
    rate: Option<f64>,
    rounds: u32,
    here: &[Recorder],
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = here.iter().map(|_| Row::default()).collect();
    for round in 0..rounds {
        for (row, recorder) in rows.iter_mut().zip(here) {
            let out = bench.scratch.path("recording");
            let command = recorder.command(bench, place.lab, &out);
            let trial = place.trial(sender, command, rate, |ended| recorder.books(ended));
            remove(&out)?;
            let trial = trial?;
            eprintln!(
                "{} round {round}: {:.0} packets/s, {} of {} written, {:.2} s and {:.2} s",
                recorder.name,
                trial.sent.rate(),
                trial.summary.records,
                trial.sent.frames,
                trial.receiver.cpu.as_secs_f64(),
                trial.interfaces.as_secs_f64()
            );
            row.add(&trial, mean_bytes);
        }
    }
    Ok(rows)
}

fn write(
    report: &mut Report,
    sent: &Sent,
    rates: &[Option<f64>],
    here: &[Recorder],
    is_served: bool,
) {
    report.line(&format!(
        "\n## {}\n\n{} packets, {:.0} bytes each.\n",
        sent.name, sent.packets, sent.mean_bytes
    ));
    report.line("| asked/s | recorder | sent/s | written | M/cpu-s, recorder | … | ns per packet, recorder | M/cpu-s, with the interface | ns per packet, with it | beyond counting | M/cpu-s, all | MB/s | MB/cpu-s, recorder | ratio to tcpdump, recorder | with the interface | beyond counting | books |");
    report.line(
        "|---:|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    );
    for ((rate, of_rate), floor) in rates.iter().zip(&sent.rows).zip(&sent.floors) {
        let base = here.iter().position(|recorder| recorder.kind == Kind::Tcpdump);
        let ratio = |value: &dyn Fn(&Row) -> f64, row: &Row| {
            let base = base.map_or(0.0, |at| value(&of_rate[at]));
            if base > 0.0 { format!("{:.2}", value(row) / base) } else { "–".to_owned() }
        };
        for (recorder, row) in here.iter().zip(of_rate) {
            let books = row
                .imbalance
                .as_ref()
                .map_or_else(|| "balance".to_owned(), |why| format!("DO NOT BALANCE: {why}"));
            let beyond = |row: &Row| row.beyond(floor, is_served).map_or(0.0, |ns| 1.0 / ns);
            let ns = row.beyond(floor, is_served);
            let ns = ns.map_or_else(|| "–".to_owned(), |ns| format!("{ns:.0}"));
            let served = match is_served {
                true => {
                    format!("{:.2} | {:.0}", row.per_cpu_served.median(), row.served_ns.median())
                }
                false => "– | –".to_owned(),
            };
            report.line(&format!(
                "| {} | {} | {:.0} | {:.2}% | {:.2} | {:.2}–{:.2} | {:.0} | {served} | {ns} | {:.2} | {:.0} | {:.0} | {} | {} | {} | {books} |",
                rate.map_or("all".to_owned(), |rate| format!("{rate:.0}")),
                recorder.name,
                row.sent.median(),
                row.written.median(),
                row.per_cpu.median(),
                row.per_cpu.least(),
                row.per_cpu.greatest(),
                row.cpu_ns.median(),
                row.per_cpu_all.median(),
                row.wall_mb.median(),
                row.cpu_mb.median(),
                ratio(&|row| row.per_cpu.median(), row),
                if is_served { ratio(&|row| row.compared(true), row) } else { "–".to_owned() },
                ratio(&beyond, row),
            ));
        }
        for pair in
            [("wiretable", "wiretable --no-index"), ("wiretable drop", "wiretable drop --no-index")]
        {
            let of = |name: &str| here.iter().position(|recorder| recorder.name == name);
            if let (Some(with), Some(without)) = (of(pair.0), of(pair.1)) {
                let (with, without) = (&of_rate[with], &of_rate[without]);
                let more = |with: Option<f64>, without: Option<f64>| match (with, without) {
                    (Some(with), Some(without)) => {
                        format!("{:+.1}%", 100.0 * (with / without - 1.0))
                    }
                    _ => "–".to_owned(),
                };
                let of_recorder = |row: &Row| Some(row.cpu_ns.median());
                let of_interface = |row: &Row| is_served.then(|| row.served_ns.median());
                let beyond = |row: &Row| row.beyond(floor, is_served);
                report.line(&format!(
                    "| | {}: more by the index | | | | | {} | | {} | {} | | | | | | | |",
                    pair.0,
                    more(of_recorder(with), of_recorder(without)),
                    more(of_interface(with), of_interface(without)),
                    more(beyond(with), beyond(without)),
                ));
            }
        }
    }
}

/// What a recorder has written is of no use any more.
fn remove(out: &PathBuf) -> Result<()> {
    if out.is_dir() {
        std::fs::remove_dir_all(out)?;
    } else if out.exists() {
        std::fs::remove_file(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCPDUMP: Recorder = Recorder { name: "tcpdump", kind: Kind::Tcpdump, more: &[] };

    #[test]
    fn what_recorders_say_is_read() {
        let said = "tcpdump: listening on near\n10 packets captured\n12 packets received by filter\n2 packets dropped by kernel\n";
        let ended = Ended { error: said.to_owned(), ..Ended::default() };
        let (summary, balance) = TCPDUMP.books(&ended);
        assert_eq!((summary.seen, summary.records, summary.dropped), (12, 10, 2));
        assert!(balance.is_ok());
        let said = "writer  received  kernel dropped  captured  written  filtered  lost (buffer)  lost (disk)\n\
                    near          12               1        11       10         0              1            0\n";
        let ended = Ended { error: said.to_owned(), ..Ended::default() };
        let (summary, balance) = RECORDERS[0].books(&ended);
        assert_eq!((summary.seen, summary.records, summary.dropped, summary.lost), (12, 10, 1, 1));
        assert!(balance.is_ok());
        assert!(RECORDERS[0].books(&Ended::default()).1.is_err());
    }
}
