//! The command `http-share`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use wt_bench::live::books::Summary;
use wt_bench::live::discard;
use wt_bench::live::frames::Frames;
use wt_bench::live::http_share::{Mix, QUERIES, Share, read, read_tcpdump};
use wt_bench::live::lab::{End, FAR, Lab, NEAR};
use wt_bench::live::packets;
use wt_bench::live::receiver::Ended;
use wt_bench::live::sweep::{Outcome, Sweep, sweep};
use wt_bench::live::trial::{Place, Sender, Trial, books};
use wt_bench::peers;
use wt_bench::report::Report;
use wt_bench::statistics::Sample;
use wt_bench::svg;

use super::live::{Bench, curve, served, trace_path};
use crate::cli::HttpShareArgs;

/// Packets of a cycle.
const MIX_PACKETS: usize = 60_000;

/// What the sender is taken to reach, packets per second, until it was seen what it does.
const FASTEST: f64 = 1.8e6;

/// The four ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Dump,
    Discard,
    Host,
    Driver,
}

const WAYS: [Way; 4] = [Way::Dump, Way::Discard, Way::Host, Way::Driver];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump to disk (tcpdump -w)",
            Self::Discard => "discard (libpcap)",
            Self::Host => "LFTA on the host (socket)",
            Self::Driver => "LFTA in the driver (XDP)",
        }
    }

    fn command(self, bench: &Bench, lab: &Lab, this: &Path) -> Command {
        let cores = [bench.core];
        match self {
            Self::Dump => {
                let mut command = lab.command(End::Near, "tcpdump", &cores);
                let kib = (discard::RING_BYTES / 1024).to_string();
                command.args(["-n", "-Z", "root", "-i", NEAR, "-B", &kib, "-w"]);
                command.arg(bench.scratch.path("dump.pcap"));
                command
            }
            Self::Discard => {
                let mut command = lab.command(End::Near, this, &cores);
                command.args(["discard", NEAR]);
                command
            }
            Self::Host | Self::Driver => {
                let mut command = lab.command(End::Near, &bench.wiretable, &cores);
                let capture = if self == Self::Host { "socket" } else { "xdp" };
                // Results without a window need a run that has an end; Ctrl-C is an earlier one.
                command.args(["query", QUERIES, "-i", NEAR, "--for", "1h"]);
                command.args(["--format", "ndjson", "--ledger"]);
                command.args(["--no-progress", "--disposition", "drop", "--capture", capture]);
                command
            }
        }
    }

    /// The books of a way that has none are what its program says at its end.
    fn books(self, ended: &Ended) -> (Summary, Result<(), String>) {
        let counted = match self {
            Self::Host | Self::Driver => return books(ended),
            Self::Dump => read_tcpdump(&ended.error),
            Self::Discard => discard::read(&ended.output),
        };
        match counted {
            Some((records, dropped)) => {
                let seen = records + dropped;
                (Summary { seen, records, dropped, ..Summary::default() }, Ok(()))
            }
            None => (Summary::default(), Err("it does not say what it saw".into())),
        }
    }
}

/// A trial, with what was asked and answered.
#[derive(Clone, Debug)]
struct Answered {
    trial: Trial,
    mean_bytes: f64,
    sent: Share,
    /// None of a program that gives none.
    answer: Option<Share>,
}

impl Answered {
    fn megabits(&self) -> f64 {
        self.trial.rate() * self.mean_bytes * 8.0 / 1e6
    }
}

impl Outcome for Answered {
    fn rate(&self) -> f64 {
        self.trial.rate()
    }

    /// Lost packets, or where it is more, packets of port 80 that the answer lacks.
    fn loss(&self) -> f64 {
        let lacks = |answer: Share| {
            let lacking = self.sent.port80.saturating_sub(answer.port80);
            let http = self.sent.http.saturating_sub(answer.http);
            let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
            share(lacking, self.sent.port80).max(share(http, self.sent.http))
        };
        self.trial.loss().max(self.answer.map_or(0.0, lacks))
    }
}

/// Runs the experiment.
pub fn http_share(args: &HttpShareArgs) -> Result<()> {
    if peers::find("tcpdump").is_none() {
        bail!("tcpdump is not here: `wt-bench peers --install` installs it");
    }
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let bench = Bench::new(&args.live)?;
    let lab = Lab::new(1)?;
    let receiver_cpu = args.receiver_cpu.unwrap_or(bench.core);
    let napi = Some(lab.receive_on(receiver_cpu)?);
    let read = |trace: &str| -> Result<Vec<Vec<u8>>> {
        Ok(packets::of_capture(&trace_path(trace, &args.live.dir)?)?)
    };
    let is_web = |frame: &Vec<u8>| Share::of(frame).port80 == 1;
    let web: Vec<_> = read(&args.web)?.into_iter().filter(is_web).collect();
    let others: Vec<_> = read(&args.background)?.into_iter().filter(|f| !is_web(f)).collect();
    if web.is_empty() || others.is_empty() {
        bail!("{} has no packet of port 80, or {} no other", args.web, args.background);
    }
    let web_bytes = web.iter().map(Vec::len).sum::<usize>() as f64 / web.len() as f64;
    let web_rate = f64::from(args.port80) * 1e6 / 8.0 / web_bytes;
    let place = Place {
        lab: &lab,
        pairs: 1,
        sender_core: args.live.sender_core,
        napi,
        duration: bench.duration,
    };
    let mut all: Vec<(Way, Vec<Sweep<Answered>>)> = WAYS.map(|way| (way, Vec::new())).into();
    for round in 1..=args.rounds {
        for (way, sweeps) in &mut all {
            eprintln!("round {round}: {}", way.name());
            sweeps.push(sweep(args.sweep.loss, args.sweep.steps, |rate| {
                let share = web_rate / rate.unwrap_or(FASTEST);
                let mix = Mix::new(&web, &others, share, MIX_PACKETS);
                let frames = lab.inside(End::Far, || Frames::replay(FAR, &mix.packets))?;
                let sender = Sender::Frames(frames);
                let command = way.command(&bench, &lab, &this);
                let trial = place.trial(&sender, command, rate, |ended| way.books(ended))?;
                let answer = way.answer(&bench, &trial)?;
                let sent = mix.sent(trial.sent.frames);
                let answered = Answered { trial, mean_bytes: mix.mean_bytes(), sent, answer };
                eprintln!(
                    "  {:.0} packets/s, {:.2}% lost",
                    answered.rate(),
                    100.0 * answered.loss()
                );
                anyhow::Ok(answered)
            })?);
        }
    }
    let mut report = bench.begin("HTTP's share of port 80, four ways");
    report.line(&format!(
        "\n{} Mbit/s of port 80 ({:.0} packets/s of {web_bytes:.0} bytes) from `{}`, beside it `{}` at rising rates. {} The program that captures runs on core {}. \
         Loss is the greater of: packets that were sent and not seen by the program; packets of port 80, or of HTTP, that its answer lacks. At most {:.1}% is borne. \
         {} rounds in turns, {} s each rate.\n",
        args.port80,
        web_rate,
        args.web,
        args.background,
        served(Some(receiver_cpu), args.live.sender_core),
        bench.core,
        100.0 * args.sweep.loss,
        args.rounds,
        args.live.seconds,
    ));
    summary(&mut report, &all);
    let curves: Vec<_> = all
        .iter()
        .map(|(way, sweeps)| {
            let trials: Vec<Answered> = sweeps.iter().flat_map(|s| s.trials.clone()).collect();
            curve(way.name(), &trials)
        })
        .collect();
    for (way, sweeps) in &all {
        trials(&mut report, *way, sweeps);
    }
    let axes = ["packets per second", "lost, percent"];
    let title = "Loss by rate: HTTP's share of port 80";
    bench.finish(
        report,
        "http-share",
        &svg::plot(title, axes, &curves, Some(100.0 * args.sweep.loss)),
    )
}

impl Way {
    /// What it answers, after a query over the file if that is its way.
    fn answer(self, bench: &Bench, trial: &Trial) -> Result<Option<Share>> {
        match self {
            Self::Discard => Ok(None),
            Self::Host | Self::Driver => Ok(Some(read(&trial.receiver.output))),
            Self::Dump => {
                let file = bench.scratch.path("dump.pcap");
                let output = Command::new(&bench.wiretable)
                    .args(["query", QUERIES, "--format", "ndjson", "--no-progress", "--lenient"])
                    .arg("-r")
                    .arg(&file)
                    .output()
                    .context("cannot run wiretable")?;
                if !output.status.success() {
                    bail!("wiretable: {}", String::from_utf8_lossy(&output.stderr).trim());
                }
                std::fs::remove_file(&file).context("cannot remove the dump")?;
                Ok(Some(read(&String::from_utf8_lossy(&output.stdout))))
            }
        }
    }
}

fn summary(report: &mut Report, all: &[(Way, Vec<Sweep<Answered>>)]) {
    let rates = |sweeps: &[Sweep<Answered>], of: fn(&Answered) -> f64| {
        let mut sample = Sample::default();
        sweeps.iter().for_each(|s| sample.push(s.best().map_or(0.0, of)));
        sample
    };
    let fastest = all.iter().map(|(_, s)| rates(s, Outcome::rate).median()).fold(0.0, f64::max);
    report.line("| way | highest rate, packets/s | spread | Mbit/s | of the fastest | limit | share of HTTP |");
    report.line("|---|---:|---:|---:|---:|---|---:|");
    for (way, sweeps) in all {
        let rate = rates(sweeps, Outcome::rate);
        let by_sender = sweeps.iter().filter(|s| s.is_limited_by_sender).count();
        let limit = match by_sender {
            0 => "its own".to_owned(),
            n if n == sweeps.len() => "the sender's".to_owned(),
            n => format!("the sender's in {n} of {} rounds", sweeps.len()),
        };
        let answers =
            sweeps.iter().filter_map(|s| s.best()?.answer).fold(Share::default(), Share::plus);
        let asked =
            sweeps.iter().filter_map(|s| Some(s.best()?.sent)).fold(Share::default(), Share::plus);
        let share = match (way, answers.port80) {
            (Way::Discard, _) => "not asked".to_owned(),
            (_, 0) => "–".to_owned(),
            _ => format!("{:.2}%, sent {:.2}%", 100.0 * answers.share(), 100.0 * asked.share()),
        };
        report.line(&format!(
            "| {} | {:.0} | {:.0}–{:.0} | {:.0} | {:.2} | {limit} | {share} |",
            way.name(),
            rate.median(),
            rate.least(),
            rate.greatest(),
            rates(sweeps, Answered::megabits).median(),
            rate.median() / fastest.max(1.0),
        ));
    }
}

fn trials(report: &mut Report, way: Way, sweeps: &[Sweep<Answered>]) {
    report.line(&format!("\n## {}\n", way.name()));
    report.line("| round | sent/s | Mbit/s | sent | lost on link | in kernel | tuples | port 80: sent | answered | HTTP: sent | answered | loss | receiver s | kernel threads s | books |");
    report.line("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|");
    for (round, sweep) in sweeps.iter().enumerate() {
        let mut trials: Vec<&Answered> = sweep.trials.iter().collect();
        trials.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        for a in trials {
            let t = &a.trial;
            let of = |get: fn(Share) -> u64| a.answer.map_or("–".into(), |s| get(s).to_string());
            report.line(&format!(
                "| {} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2}% | {:.2} | {:.2} | {} |",
                round + 1,
                t.rate(),
                a.megabits(),
                t.sent.frames,
                t.lost_on_link() + t.unexplained(),
                t.summary.dropped,
                t.summary.lost + t.summary.shed,
                a.sent.port80,
                of(|s| s.port80),
                a.sent.http,
                of(|s| s.http),
                100.0 * a.loss(),
                t.receiver.cpu.as_secs_f64(),
                t.interfaces.as_secs_f64(),
                t.balance.as_ref().map_or_else(|why| format!("DO NOT BALANCE: {why}"), |()| match way {
                    Way::Dump | Way::Discard => "of its own".into(),
                    _ => "balance".into(),
                }),
            ));
        }
    }
}
