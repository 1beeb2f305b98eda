//! `calibrate`: what each kind of work costs on this machine, from runs of small queries.
//!
//! `wiretable explain --analyze --json` tells of a run how much work of each kind there was, and what the run took. The costs are fitted to
//! that; nothing here knows what the kinds mean.

pub mod fit;
pub mod queries;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::calibrate::fit::{Equation, fit};
use crate::generate::amplify::Amplify;
use crate::generate::{Amount, Profile, Spec};
use crate::statistics::Sample;
use crate::trace::{Source, Trace};

/// Why there are no costs.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The command could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// It refused a query.
    #[error("`{query}` fails: {said}")]
    Refused {
        /// The query.
        query: String,
        /// Its complaint.
        said: String,
    },
    /// It said something else than expected.
    #[error("what `explain --analyze --json` says of `{query}` is not understood: {source}")]
    Answer {
        /// The query.
        query: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What the command says of a run; the parts that matter here.
#[derive(Clone, Debug, Deserialize)]
pub struct Analysis {
    /// Costs by rule of thumb, by kind, ns.
    pub guess: BTreeMap<String, f64>,
    /// The fixed run of self-calibration, ns per packet.
    pub yardstick_ns: f64,
    /// What it predicts from the tuples that there were.
    pub predicted: Predicted,
    /// What the run took.
    pub measured: Taken,
}

/// A prediction.
#[derive(Clone, Debug, Deserialize)]
pub struct Predicted {
    /// Amounts by kind, per packet.
    pub work: BTreeMap<String, f64>,
}

/// A measurement.
#[derive(Clone, Debug, Deserialize)]
pub struct Taken {
    /// Processor time, ns.
    pub ns_per_packet: f64,
}

/// Runs a query over a trace.
///
/// # Errors
/// [`CalibrateError`].
pub fn analyze(wiretable: &Path, query: &str, trace: &Path) -> Result<Analysis, CalibrateError> {
    let output = Command::new(wiretable)
        .args(["explain", "--analyze", "--json", "--memory", "4GiB", "-r"])
        .arg(trace)
        .arg(query)
        .output()
        .map_err(|source| CalibrateError::Start {
            program: wiretable.display().to_string(),
            source,
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CalibrateError::Refused { query: query.to_owned(), said });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|source| CalibrateError::Answer { query: query.to_owned(), source })
}

/// A query that is to be run on a trace.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Its name in reports.
    pub name: &'a str,
    /// The query.
    pub query: &'a str,
    /// The trace.
    pub trace: &'a Trace,
}

/// A query on a trace, run several times.
#[derive(Clone, Debug)]
pub struct Run {
    /// The query, or its name.
    pub name: String,
    /// Name of the trace.
    pub trace: String,
    /// Amounts by kind.
    pub work: BTreeMap<String, f64>,
    /// Processor time per packet, ns: the median.
    pub ns: f64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By job.
    pub runs: Vec<Run>,
    /// Costs by rule of thumb, by kind, ns.
    pub guess: BTreeMap<String, f64>,
    /// The fixed run, ns per packet: the median.
    pub yardstick_ns: f64,
}

/// The costs.
#[derive(Clone, Debug)]
pub struct Costs {
    /// By kind, ns.
    pub ns: BTreeMap<String, f64>,
    /// The fixed run, ns per packet.
    pub yardstick_ns: f64,
}

/// Runs jobs in turns, so that a noisy moment hits all. Each time is taken beside that of the fixed run a moment before, and told as it would be
/// in a moment of middling speed: a machine that is shared is now faster, now slower, by a third and more.
///
/// # Errors
/// [`CalibrateError`].
pub fn measure(wiretable: &Path, jobs: &[Job], repeat: u32) -> Result<Measured, CalibrateError> {
    let mut relative = vec![Sample::default(); jobs.len()];
    let mut works = vec![BTreeMap::new(); jobs.len()];
    let mut yardstick = Sample::default();
    let mut guess = BTreeMap::new();
    for _ in 0..repeat {
        for (i, job) in jobs.iter().enumerate() {
            let analysis = analyze(wiretable, job.query, &job.trace.path)?;
            relative[i].push(analysis.measured.ns_per_packet / analysis.yardstick_ns);
            works[i] = analysis.predicted.work;
            yardstick.push(analysis.yardstick_ns);
            guess = analysis.guess;
        }
    }
    let yardstick_ns = yardstick.median();
    let run = |((job, relative), work): ((&Job, &Sample), BTreeMap<String, f64>)| Run {
        name: job.name.to_owned(),
        trace: job.trace.name.clone(),
        work,
        ns: relative.median() * yardstick_ns,
    };
    let runs = jobs.iter().zip(&relative).zip(works).map(run).collect();
    Ok(Measured { runs, guess, yardstick_ns })
}

/// Fits costs to runs.
pub fn costs(runs: &[Run], guess: &BTreeMap<String, f64>, yardstick_ns: f64) -> Costs {
    let kinds: Vec<&String> = guess.keys().collect();
    let equations: Vec<Equation> = runs
        .iter()
        .map(|run| Equation {
            amounts: kinds.iter().map(|k| run.work.get(*k).copied().unwrap_or(0.0)).collect(),
            took: run.ns,
        })
        .collect();
    let known: Vec<f64> = guess.values().copied().collect();
    let fitted = fit(&equations, &known);
    let ns = kinds.into_iter().cloned().zip(fitted).collect();
    Costs { ns, yardstick_ns }
}

impl Costs {
    /// What a run costs by them.
    pub fn predict(&self, run: &Run) -> f64 {
        run.work
            .iter()
            .map(|(kind, amount)| amount * self.ns.get(kind).copied().unwrap_or(0.0))
            .sum()
    }

    /// As `--calibration` reads it.
    pub fn toml(&self, machine: &str) -> String {
        let mut text = format!(
            "# What each kind of work costs, in ns. Written by `wt-bench calibrate`.\n\
             machine = {machine:?}\n\
             yardstick_ns = {:.1}\n\n[ns]\n",
            self.yardstick_ns
        );
        for (kind, ns) in &self.ns {
            let _ = writeln!(text, "{kind} = {ns:.4}");
        }
        text
    }
}

/// A trace that costs are fitted on.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Its name.
    pub name: &'static str,
    /// What it is made of.
    pub source: Source,
    /// Words of the queries that are run on it; none: all queries.
    pub about: &'static [&'static str],
}

/// The traces that costs are fitted on: sizes of packets and numbers of groups differ. `captures` is the folder of the carried captures.
pub fn traces(packets: u64, captures: &Path) -> Vec<Fitted> {
    let amount = Amount::Packets(packets);
    // A few seconds of trace time: windows of a second are closed.
    let base = Spec { amount, rate: packets / 4, ..Spec::default() };
    let flows = u32::try_from(packets / 3).unwrap_or(u32::MAX);
    let repeated = |name: &str| {
        Source::Amplified(Amplify {
            inputs: vec![captures.join(name)],
            amount,
            rate: Some(packets / 4),
            fill: true,
        })
    };
    let single: &[&str] =
        &["count(*) FROM", "sum(len) FROM ip", "sum(len), max", "data,", "SELECT len"];
    vec![
        Fitted {
            name: "mixed",
            source: Source::Generated(Spec { flows: 20_000, ..base }),
            about: &[],
        },
        Fitted {
            name: "flows",
            source: Source::Generated(Spec { profile: Profile::Flows, flows, ..base }),
            about: &["GROUP BY"],
        },
        Fitted { name: "small", source: repeated("generated/tcp-flags.pcap"), about: single },
        Fitted { name: "large", source: repeated("iperf.pcap"), about: single },
    ]
}
