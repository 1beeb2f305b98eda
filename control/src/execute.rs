//! Runs a plan over traces: progress, Ctrl-C, damage, the books.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use wt_engine::{Backend, EngineError, Progress, RunEnd, RunOptions, RunReport};
use wt_plan::Compiled;
use wt_trace::store::Findings;

use crate::blame;
use crate::failure::Failure;
use crate::indexed::Need;
use crate::output::{Results, Route};
use crate::session::{self, NamedText, Traces};

/// How a run is bounded and reported.
#[derive(Clone, Copy, Debug)]
pub struct RunSettings {
    /// Bound on query state.
    pub memory_bytes_max: u64,
    /// Damage in traces is no failure.
    pub lenient: bool,
    /// Print the books.
    pub ledger: bool,
    /// Show a progress bar when standard error is a terminal.
    pub progress: bool,
    /// What runs LFTA programs.
    pub backend: Backend,
    /// Threads that scan one large file.
    pub cores: usize,
    /// Indices say what need not be read.
    pub index: bool,
}

/// Runs the plan and writes its results. Damage in a trace is reported on standard error and fails the command, unless lenient,
/// after the rows of the records before it are written.
pub fn execute(
    compiled: &Compiled,
    text: &NamedText,
    traces: &[Traces],
    routes: Vec<Route>,
    settings: &RunSettings,
) -> Result<(), Failure> {
    let plan = &compiled.physical;
    let need = settings.index.then(|| Need::of(plan, traces));
    let opened = session::open_sources(traces, settings.lenient, need.as_ref())?;
    let mut results = Results::open(plan.outputs.len(), routes, false)?;

    let cancel = cancelled_by_signal();
    results.watch(&cancel);
    let bar = progress_bar(settings.progress);
    let on_progress = |progress: &Progress| {
        if let Some(bar) = &bar {
            match progress.bytes_total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(progress.bytes_read);
            bar.set_message(format!("{} packets", progress.packets));
        }
    };
    let options = RunOptions {
        memory_bytes_max: Some(settings.memory_bytes_max),
        backend: settings.backend,
        batch_packets_max: None,
        cores: settings.cores,
        range_bytes: None,
        operators_apart: false,
        progress: bar.as_ref().map(|_| &on_progress as &dyn Fn(&Progress)),
        cancel: Some(&cancel),
        make_lfta: None,
    };
    for skipped in blame::skipped_lines(compiled) {
        eprintln!("wiretable: {skipped}");
    }
    let outcome = wt_engine::run(plan, opened.sources, &options, &mut results);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let report = outcome.map_err(|error| engine_failure(error, compiled, text))?;
    if report.end == RunEnd::Cancelled {
        eprintln!("wiretable: interrupted; the rows above are those of the packets read so far");
    }
    finish(&report, &said_of_inputs(opened.unreadable, &opened.findings), settings)
}

/// What is said of traces that are not whole. That a segment was not closed is said too, but is no damage.
pub fn said_of_inputs(unreadable: Vec<String>, findings: &[Findings]) -> Vec<String> {
    let (losses, notes): (Vec<_>, Vec<_>) =
        findings.iter().flat_map(Findings::all).partition(|finding| finding.is_loss());
    notes.iter().for_each(|note| eprintln!("wiretable: {note}"));
    unreadable.into_iter().chain(losses.iter().map(ToString::to_string)).collect()
}

/// Ctrl-C and the requests to end.
pub const END_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// A flag that Ctrl-C, or a request to end, sets. The second one ends the process at once.
///
/// No thread waits for them: starting one, and allocating with locks ever after, takes some tenths of a millisecond before the first packet.
pub fn cancelled_by_signal() -> Arc<AtomicBool> {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in END_SIGNALS {
        // Where a handler cannot be set, the signal ends the process as it ends others. The order matters: the flag is looked at
        // before it is set.
        let _ = flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&cancel));
        let _ = flag::register(signal, Arc::clone(&cancel));
    }
    cancel
}

/// Exit status of a process that was interrupted: 128 and SIGINT.
const INTERRUPTED: i32 = 130;

/// Says what a user must know of a run, prints the books when asked to, and checks that they balance.
pub fn finish(
    report: &RunReport,
    unreadable: &[String],
    settings: &RunSettings,
) -> Result<(), Failure> {
    if settings.ledger {
        eprint!("{}", report.ledger);
    }
    let mut damage: Vec<String> = unreadable.to_vec();
    for (_, d) in report.ledger.damage() {
        damage.push(format!("capture `{}`: {}", d.capture, d.damage));
    }
    for message in &damage {
        eprintln!("wiretable: {message}");
    }
    if let Some(late) = late_warning(report) {
        eprintln!("wiretable: {late}");
    }
    if let Err(imbalance) = report.ledger.check() {
        return Err(Failure::Environment(format!(
            "the books do not balance, which is a fault of this program: {imbalance}"
        )));
    }
    if damage.is_empty() || settings.lenient {
        return Ok(());
    }
    Err(Failure::Input(
        "what is not damaged was used, of captures what stands before the damage; --lenient makes this no failure".to_owned(),
    ))
}

/// Late tuples change an answer silently, so they are said even without `--ledger`.
fn late_warning(report: &RunReport) -> Option<String> {
    let late = report.ledger.late();
    let sessions = report.ledger.operators.iter().filter(|operator| operator.kind == "session");
    let of_sessions: u64 = sessions.map(|operator| operator.tuples.late).sum();
    (late > 0).then(|| {
        let (noun, were) = if late == 1 { ("tuple", "was") } else { ("tuples", "were") };
        if of_sessions == late {
            return format!(
                "{late} {noun} stepped back by more than the gap of SESSION and {were} left out; \
                 a longer gap takes more, --ledger shows where"
            );
        }
        format!(
            "{late} {noun} came after their window had closed and {were} left out (time stamps that step back); \
             DEFINE {{ max_lfta_disorder N; }} keeps N windows open, --ledger shows where"
        )
    })
}

/// Why a run failed, with its place in the query text where it has one.
pub fn engine_failure(error: EngineError, compiled: &Compiled, text: &NamedText) -> Failure {
    if let EngineError::Setup(setup) = &error
        && let Some(diagnostic) = blame::of_start(compiled, setup, error.hint())
    {
        return Failure::Query(session::render(&[diagnostic], &text.name, &text.text));
    }
    let help = error.hint().map_or_else(String::new, |hint| format!("\n  help: {hint}"));
    let message = format!("{error}{help}");
    match error {
        EngineError::Sink { .. }
        | EngineError::Capture { .. }
        | EngineError::Backend { .. }
        | EngineError::Thread { .. } => Failure::Environment(message),
        _ => Failure::Input(message),
    }
}

/// A bar on standard error, if it is wanted and there is a terminal.
pub fn progress_bar(wanted: bool) -> Option<ProgressBar> {
    if !wanted || !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::no_length().with_style(style);
    bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(10));
    Some(bar)
}
