//! What the commands that send live share.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use wt_bench::live::First;
use wt_bench::live::lab::MODERATION_NS;
use wt_bench::live::sweep::Outcome;
use wt_bench::machine;
use wt_bench::report::Report;
use wt_bench::svg::Curve;
use wt_bench::trace;

use crate::cli::LiveArgs;

/// Packets of a made trace: they are sent again and again.
const TRACE_PACKETS: u64 = 100_000;

/// Where things are, and the report.
pub(super) struct Bench {
    pub wiretable: PathBuf,
    pub core: usize,
    pub duration: Duration,
    pub scratch: Scratch,
    machine: Vec<(&'static str, String)>,
    results: PathBuf,
    name: Option<String>,
    _first: First,
}

impl Bench {
    pub fn new(args: &LiveArgs) -> Result<Self> {
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        let wiretable = args.wiretable.clone().unwrap_or_else(|| this.with_file_name("wiretable"));
        let wiretable = wiretable.canonicalize().with_context(|| {
            format!(
                "{} is not there: build it with `cargo build --release -p wiretable`, or name another with --wiretable",
                wiretable.display()
            )
        })?;
        let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
        let scratch = Scratch::new(&args.dir)
            .with_context(|| format!("cannot write to {}", args.dir.display()))?;
        Ok(Self {
            core: args.core.unwrap_or(last),
            duration: Duration::from_secs_f64(args.seconds),
            scratch,
            machine: machine::describe(&args.dir, &wiretable),
            results: args.results.clone(),
            name: args.name.clone(),
            _first: First::begin(),
            wiretable,
        })
    }

    pub fn begin(&self, title: &str) -> Report {
        Report::new(title, &self.machine)
    }

    /// Writes the report with its plot.
    pub fn finish(&self, mut report: Report, name: &str, plot: &str) -> Result<()> {
        let name = self.name.as_deref().unwrap_or(name);
        let cannot = || format!("cannot write to {}", self.results.display());
        fs::create_dir_all(&self.results).with_context(cannot)?;
        let file = format!("{name}.svg");
        report.line(&format!("\n![{name}]({file})"));
        fs::write(self.results.join(&file), plot).with_context(cannot)?;
        let path = report.write(&self.results, name).with_context(cannot)?;
        println!("{}", report.text());
        eprintln!("written to {}", path.display());
        Ok(())
    }
}

/// A folder that goes with the command.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> std::io::Result<Self> {
        let dir = dir.join(format!("live-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Self(dir.canonicalize()?))
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is a folder of this process, under the user's own; what stays is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loss over rate.
pub(super) fn curve<T: Outcome>(name: &str, trials: &[T]) -> Curve {
    let mut points: Vec<(f64, f64)> =
        trials.iter().map(|trial| (trial.rate(), 100.0 * trial.loss())).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Curve { name: name.to_owned(), points }
}

/// Who takes packets out of the interface.
pub(super) fn served(receiver_cpu: Option<usize>, sender_core: usize) -> String {
    match receiver_cpu {
        Some(core) => format!(
            "A thread of the kernel on core {core} serves the interface before programs run, at most {} µs after a packet has come; core {sender_core} sends.",
            MODERATION_NS / 1000
        ),
        None => format!(
            "The interface is served on the sender's core, {sender_core}: what it takes slows the sender down."
        ),
    }
}

/// The capture that a trace of that name is, made if it must be.
pub(super) fn trace_path(given: &str, dir: &Path) -> Result<PathBuf> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    if Path::new(given).is_file() {
        return Ok(given.into());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let source = trace::named(given, Some(TRACE_PACKETS), &captures)?;
    Ok(trace::prepare(&format!("live-{given}"), &source, dir)?.path)
}
