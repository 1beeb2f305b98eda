//! The command `record`: recorders at the end of a link, at rates that all of them keep up with and as fast as the sender can.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use wt_bench::live::books::Summary;
use wt_bench::live::frames::Frames;
use wt_bench::live::lab::{End, FAR, Lab, NEAR};
use wt_bench::live::packets;
use wt_bench::live::receiver::Ended;
use wt_bench::live::trial::{Place, Sender, Trial};
use wt_bench::peers;
use wt_bench::statistics::Sample;
use wt_bench::svg::{self, Curve};

use super::live::{Bench, served, trace_path};
use crate::cli::RecordArgs;

/// Ring that the kernel shares with each recorder, KiB: what tcpdump is given by `-B 65536`.
const RING_KIB: u32 = 65_536;

/// A program that writes packets of an interface to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorder {
    Wiretable,
    Tcpdump,
    NetsniffNg,
}

impl Recorder {
    const ALL: [Self; 3] = [Self::Wiretable, Self::Tcpdump, Self::NetsniffNg];

    fn program(self) -> &'static str {
        match self {
            Self::Wiretable => "wiretable",
            Self::Tcpdump => "tcpdump",
            Self::NetsniffNg => "netsniff-ng",
        }
    }

    /// The command that is measured, as the report shows it.
    fn line(self) -> String {
        match self {
            Self::Wiretable => {
                format!("wiretable record -i {NEAR} -w DIR --ring {RING_KIB}KiB --ledger")
            }
            Self::Tcpdump => format!("tcpdump -i {NEAR} -B {RING_KIB} -Z root -w FILE"),
            Self::NetsniffNg => {
                format!("netsniff-ng --in {NEAR} --out FILE --ring-size {RING_KIB}KiB --silent")
            }
        }
    }

    fn command(self, bench: &Bench, lab: &Lab, out: &Path) -> Command {
        let mut command = match self {
            Self::Wiretable => lab.command(End::Near, &bench.wiretable, &[bench.core]),
            other => lab.command(End::Near, other.program(), &[bench.core]),
        };
        let ring = format!("{RING_KIB}KiB");
        match self {
            Self::Wiretable => {
                command.args(["record", "-i", NEAR, "--ring", &ring, "--ledger", "-w"])
            }
            Self::Tcpdump => {
                command.args(["-i", NEAR, "-B", &RING_KIB.to_string(), "-Z", "root", "-w"])
            }
            Self::NetsniffNg => {
                command.args(["--in", NEAR, "--ring-size", &ring, "--silent", "--out"])
            }
        };
        command.arg(out);
        command
    }

    /// What it says became of the packets.
    fn books(self, ended: &Ended) -> (Summary, Result<(), String>) {
        match self {
            Self::Wiretable => books_of_wiretable(&ended.error),
            Self::Tcpdump => {
                let number = |end: &str| number_before(&ended.error, end);
                let (captured, dropped) =
                    (number(" packets captured"), number(" packets dropped by kernel"));
                books(captured, dropped)
            }
            Self::NetsniffNg => {
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
    per_cpu_all: Sample,
    cpu_ns: Sample,
    imbalance: Option<String>,
}

impl Row {
    fn add(&mut self, trial: &Trial) {
        let records = trial.summary.records as f64;
        let cpu = trial.receiver.cpu.as_secs_f64().max(1e-9);
        self.sent.push(trial.sent.rate());
        self.written.push(100.0 * records / trial.sent.frames.max(1) as f64);
        self.per_cpu.push(records / cpu / 1e6);
        self.per_cpu_all.push(trial.packets_per_cpu());
        self.cpu_ns.push(1e9 * cpu / records.max(1.0));
        if let Err(why) = &trial.balance {
            self.imbalance.get_or_insert(why.clone());
        }
    }
}

/// Measures recorders in turns.
pub fn record(args: &RecordArgs) -> Result<()> {
    let bench = Bench::new(&args.live)?;
    let lab = Lab::new(1)?;
    let napi = args.receiver_cpu.map(|core| lab.receive_on(core)).transpose()?;
    let path = trace_path(&args.trace, &args.live.dir)?;
    let packets = packets::of_capture(&path)?;
    let (here, absent): (Vec<_>, Vec<_>) = Recorder::ALL.into_iter().partition(|recorder| {
        *recorder == Recorder::Wiretable || peers::find(recorder.program()).is_some()
    });
    if here.len() < 2 {
        bail!("tcpdump is not here: `wt-bench peers --install` installs it");
    }
    let sender = Sender::Frames(lab.inside(End::Far, || Frames::replay(FAR, &packets))?);
    let place = Place {
        lab: &lab,
        pairs: 1,
        sender_core: args.live.sender_core,
        napi,
        duration: bench.duration,
    };
    let rates: Vec<Option<f64>> = args.rates.iter().map(|rate| Some(*rate)).chain([None]).collect();
    let mut rows: Vec<Vec<Row>> = Vec::new();
    for rate in &rates {
        let mut of_rate: Vec<Row> = here.iter().map(|_| Row::default()).collect();
        for round in 0..args.rounds {
            for (row, recorder) in of_rate.iter_mut().zip(&here) {
                let out = bench.scratch.path("recording");
                let command = recorder.command(&bench, &lab, &out);
                let trial = place.trial(&sender, command, *rate, |ended| recorder.books(ended));
                remove(&out)?;
                let trial = trial?;
                eprintln!(
                    "{} round {round}: {:.0} packets/s, {} of {} written, {:.2} s",
                    recorder.program(),
                    trial.sent.rate(),
                    trial.summary.records,
                    trial.sent.frames,
                    trial.receiver.cpu.as_secs_f64()
                );
                row.add(&trial);
            }
        }
        rows.push(of_rate);
    }
    let mut report = bench.begin("Recording");
    let mean = packets.iter().map(Vec::len).sum::<usize>() as f64 / packets.len() as f64;
    report.line(&format!(
        "\nLive frames of {} packets of `{}`, {mean:.0} bytes each, again and again into a link; a recorder at its other end, on core {}, writes them to the disk. {} \
         M/cpu-s: millions of packets written per second of processor time, of the recorder with all its threads, and of recorder, sender and what serves the interfaces together (softirq is in theirs). \
         Medians of {} rounds in turns, {} s each; between the dots the least and the greatest.\n",
        packets.len(),
        args.trace,
        bench.core,
        served(args.receiver_cpu, args.live.sender_core),
        args.rounds,
        args.live.seconds,
    ));
    report.line("| asked/s | recorder | sent/s | written | M/cpu-s, recorder | … | ns per packet, recorder | M/cpu-s, all | ratio to tcpdump | books |");
    report.line("|---:|---|---:|---:|---:|---|---:|---:|---:|---|");
    let mut curves: Vec<Curve> = here
        .iter()
        .map(|recorder| Curve { name: recorder.program().to_owned(), points: Vec::new() })
        .collect();
    for (rate, of_rate) in rates.iter().zip(&rows) {
        let base = here.iter().position(|recorder| *recorder == Recorder::Tcpdump);
        let base = base.map_or(0.0, |at| of_rate[at].per_cpu.median());
        for ((recorder, row), curve) in here.iter().zip(of_rate).zip(&mut curves) {
            curve.points.push((row.sent.median(), row.per_cpu.median()));
            let books = row
                .imbalance
                .as_ref()
                .map_or_else(|| "balance".to_owned(), |why| format!("DO NOT BALANCE: {why}"));
            report.line(&format!(
                "| {} | {} | {:.0} | {:.2}% | {:.2} | {:.2}–{:.2} | {:.0} | {:.2} | {:.2} | {books} |",
                rate.map_or("all".to_owned(), |rate| format!("{rate:.0}")),
                recorder.program(),
                row.sent.median(),
                row.written.median(),
                row.per_cpu.median(),
                row.per_cpu.least(),
                row.per_cpu.greatest(),
                row.cpu_ns.median(),
                row.per_cpu_all.median(),
                row.per_cpu.median() / base.max(1e-9),
            ));
        }
    }
    report.line("");
    here.iter().for_each(|recorder| report.line(&format!("- `{}`", recorder.line())));
    absent.iter().for_each(|recorder| report.line(&format!("- Not here: {}.", recorder.program())));
    let axes = ["packets sent per second", "M packets written per CPU-second of the recorder"];
    bench.finish(report, "record", &svg::plot("Recording", axes, &curves, None))
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

    #[test]
    fn what_recorders_say_is_read() {
        let said = "tcpdump: listening on near\n10 packets captured\n12 packets received by filter\n2 packets dropped by kernel\n";
        let ended = Ended { error: said.to_owned(), ..Ended::default() };
        let (summary, balance) = Recorder::Tcpdump.books(&ended);
        assert_eq!((summary.seen, summary.records, summary.dropped), (12, 10, 2));
        assert!(balance.is_ok());
        let said = "writer  received  kernel dropped  captured  written  filtered  lost (buffer)  lost (disk)\n\
                    near          12               1        11       10         0              1            0\n";
        let ended = Ended { error: said.to_owned(), ..Ended::default() };
        let (summary, balance) = Recorder::Wiretable.books(&ended);
        assert_eq!((summary.seen, summary.records, summary.dropped, summary.lost), (12, 10, 1, 1));
        assert!(balance.is_ok());
        assert!(Recorder::Wiretable.books(&Ended::default()).1.is_err());
    }
}
