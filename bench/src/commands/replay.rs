//! The command `replay`: a batch or a query at the end of a link, and a link that gets fuller.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wt_bench::live::frames::Frames;
use wt_bench::live::lab::{End, FAR, Lab, NEAR, name};
use wt_bench::live::sweep::{Outcome, Sweep, sweep};
use wt_bench::live::trial::{Place, Sender, Trial, books};
use wt_bench::live::{packets, tcpreplay};
use wt_bench::report::Report;
use wt_bench::svg;

use super::live::{Bench, curve, served, trace_path};
use crate::cli::{ReplayArgs, SenderName};

/// Sweeps the rate for each sender.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    let bench = Bench::new(&args.live)?;
    let subject = Subject::of(args)?;
    let lab = Lab::new(subject.interfaces.len())?;
    let napi = args.receiver_cpu.map(|core| lab.receive_on(core)).transpose()?;
    let path = trace_path(&args.trace, &args.live.dir)?;
    let packets = packets::of_capture(&path)?;
    let place = Place {
        lab: &lab,
        pairs: subject.interfaces.len(),
        sender_core: args.live.sender_core,
        napi,
        duration: bench.duration,
    };
    let mut report = bench.begin(&format!("Replay: {}", subject.title));
    let mean = packets.iter().map(Vec::len).sum::<usize>() as f64 / packets.len() as f64;
    report.line(&format!(
        "\n{} over {}, capture {}, disposition {}; {} packets of `{}` again and again, {mean:.0} bytes each. {}\n",
        subject.title,
        NEAR,
        args.capture.name(),
        args.disposition.name(),
        packets.len(),
        args.trace,
        served(args.receiver_cpu, args.live.sender_core),
    ));
    report.line(BOOKS);
    let mut curves = Vec::new();
    for &sender in &args.senders {
        let sender = match sender {
            SenderName::Frames => {
                Sender::Frames(lab.inside(End::Far, || Frames::replay(FAR, &packets))?)
            }
            SenderName::Tcpreplay => {
                if !tcpreplay::is_available() {
                    bail!("tcpreplay is not here: `wt-bench peers --install` installs it");
                }
                let path = bench.scratch.path("replay.pcap");
                tcpreplay::write_trace(&path, &packets)?;
                Sender::Tcpreplay(path)
            }
        };
        eprintln!("{}", sender.name());
        let swept = sweep(args.sweep.loss, args.sweep.steps, |rate| {
            let command = subject.command(&bench, &lab, args);
            let trial = place.trial(&sender, command, rate, books)?;
            eprintln!("  {:.0} packets/s, {:.2}% lost", trial.rate(), 100.0 * trial.loss());
            anyhow::Ok(trial)
        })?;
        section(&mut report, &sender, &swept, args.sweep.loss);
        curves.push(curve(sender.name(), &swept.trials));
    }
    let plot = svg::plot(
        "Loss by rate",
        ["packets per second", "lost, percent"],
        &curves,
        Some(100.0 * args.sweep.loss),
    );
    bench.finish(report, "replay", &plot)
}

/// How the columns of [`section`] are to be read.
const BOOKS: &str = "Lost on the link: the receiving interface had no room (`tx_queue_0_xdp_xmit_errors` and drops). In the kernel: the ring of the socket was full. \
     Tuples: lost between driver and host, or given up. Unexplained: sent, and in nobody's books. M/cpu-s: millions of packets that reached the queries, per second of processor time of \
     sender, receiver and the kernel's threads that serve interfaces; softirq is in theirs. `/proc/stat`: the whole machine, with whatever else it did; softirq of it.";

/// The table of a sweep.
fn section(report: &mut Report, sender: &Sender, swept: &Sweep<Trial>, loss_max: f64) {
    report.line(&format!("\n## {}\n", sender.name()));
    report.line("| asked/s | sent/s | sent | seen | lost on link | in kernel | tuples | unexplained | loss | M/cpu-s | sender s | receiver s | kernel threads s | /proc/stat s | softirq s | books |");
    report.line("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    let mut trials: Vec<&Trial> = swept.trials.iter().collect();
    trials.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    for t in trials {
        let seconds = |d: Duration| format!("{:.2}", d.as_secs_f64());
        report.line(&format!(
            "| {} | {:.0} | {} | {} | {} | {} | {} | {} | {:.2}% | {:.2} | {} | {} | {} | {} | {} | {} |",
            t.asked.map_or("all".to_owned(), |rate| format!("{rate:.0}")),
            t.rate(),
            t.sent.frames,
            t.summary.seen,
            t.lost_on_link(),
            t.summary.dropped,
            t.summary.lost + t.summary.shed,
            t.unexplained(),
            100.0 * t.loss(),
            t.packets_per_cpu(),
            seconds(t.sent.cpu),
            seconds(t.receiver.cpu),
            seconds(t.interfaces),
            seconds(t.machine.busy),
            seconds(t.machine.softirq),
            t.balance.as_ref().map_or_else(|why| format!("DO NOT BALANCE: {why}"), |()| "balance".into()),
        ));
    }
    report.line("");
    report.line(&match swept.best() {
        Some(best) if swept.is_limited_by_sender => format!(
            "As fast as the sender can, {:.2} M packets/s, {:.2}% are lost: the limit is the sender's.",
            best.rate() / 1e6,
            100.0 * best.loss()
        ),
        Some(best) => format!(
            "Highest rate with at most {:.1}% lost: {:.2} M packets/s.",
            100.0 * loss_max,
            best.rate() / 1e6
        ),
        None => format!("More than {:.1}% were lost at every rate.", 100.0 * loss_max),
    });
}

/// What is run.
struct Subject {
    title: String,
    /// Their names in queries.
    interfaces: Vec<String>,
    /// The batch, if it is one.
    batch: Option<PathBuf>,
}

impl Subject {
    fn of(args: &ReplayArgs) -> Result<Self> {
        let Some(batch) = &args.batch else {
            let title = format!("`{}`", args.query);
            return Ok(Self { title, interfaces: vec![NEAR.to_owned()], batch: None });
        };
        let cannot = || format!("cannot read {}", batch.display());
        let text = fs::read_to_string(batch).with_context(cannot)?;
        let parsed: toml::Table = text.parse().with_context(cannot)?;
        let sources = parsed.get("source").and_then(toml::Value::as_array);
        let named = sources.into_iter().flatten().map(|source| {
            let name = source.get("interface").and_then(toml::Value::as_str);
            name.unwrap_or("default").to_owned()
        });
        let interfaces: Vec<String> = named.collect();
        if interfaces.is_empty() {
            bail!("{} has no [[source]]: name one, e.g. interface = \"eth0\"", batch.display());
        }
        let file = batch.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            title: format!("the batch {file}"),
            interfaces,
            batch: Some(batch.canonicalize().with_context(cannot)?),
        })
    }

    fn command(&self, bench: &Bench, lab: &Lab, args: &ReplayArgs) -> Command {
        let mut command = lab.command(End::Near, &bench.wiretable, &[bench.core]);
        match &self.batch {
            Some(batch) => command.arg("run").arg(batch),
            None => command.args(["query", &args.query, "--format", "csv"]),
        };
        for (i, interface) in self.interfaces.iter().enumerate() {
            command.args(["-i", &format!("{interface}={}", name(NEAR, i))]);
        }
        command.args(["--capture", args.capture.name(), "--ledger", "--no-progress"]);
        command.args(["--disposition", args.disposition.name()]);
        // Where sinks write.
        command.current_dir(bench.scratch.dir());
        command
    }
}
