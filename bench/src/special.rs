//! What is not a task on a trace: start-up, memory over a long stream, memory by number of flows.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agree::compare;
use crate::bound::TaskName;
use crate::compare::Setting;
use crate::generate::Spec;
use crate::program::{Program, ProgramError};
use crate::sys;
use crate::task;

/// What a stream through a pipe took.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// Wall time.
    pub wall: Duration,
    /// Processor time of wiretable alone.
    pub cpu: Duration,
    /// Its largest resident set, bytes.
    pub resident_bytes_max: u64,
    /// Rows that it printed.
    pub rows: usize,
}

/// Why a stream could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SpecialError {
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A child could not be run.
    #[error("{what}: {source}")]
    Child {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// wiretable failed.
    #[error("wiretable ended with status {status} {after}")]
    Status {
        /// Its status.
        status: i32,
        /// On what.
        after: String,
    },
    /// A shorter stream of the same seed is answered differently than by the hand-written program.
    #[error("wiretable does not answer what the hand-written program answers:\n{differences}")]
    Disagreement {
        /// Both.
        differences: String,
    },
}

/// The arguments of `wt-bench generate` for a specification of default shares.
fn generator(spec: &Spec, bytes: u64) -> Vec<String> {
    [
        "generate".into(),
        "-o".into(),
        "-".into(),
        format!("--bytes={bytes}"),
        format!("--seed={}", spec.seed),
        format!("--flows={}", spec.flows),
        format!("--rate={}", spec.rate),
    ]
    .into()
}

/// Runs a task of wiretable over a generated stream that is never on disk. The generator is on another core if there is one.
///
/// # Errors
/// [`SpecialError`].
pub fn stream(
    setting: &Setting,
    wiretable: &Path,
    task: TaskName,
    bytes: u64,
) -> Result<Streamed, SpecialError> {
    let failed = |what| move |source| SpecialError::Child { what, source };
    let query = task::query(task);
    let spec = Spec::default();
    let other = usize::from(setting.core == 0);
    // A machine of one core has no other.
    let _ = sys::pin(&[other]);
    let mut source = Command::new(&setting.this)
        .args(generator(&spec, bytes))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("starting the generator"))?;
    let pipe = source.stdout.take().map(Stdio::from).unwrap_or_else(Stdio::null);
    sys::pin(&[setting.core]).map_err(failed("pinning to a core"))?;
    let begin = Instant::now();
    let mut child = Command::new(wiretable)
        .args(["query", &query.text, "-r", "-", "--no-progress", "--format", "csv"])
        .args(&setting.wiretable_arguments)
        .stdin(pipe)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("starting wiretable"))?;
    let rows = child.stdout.take().map_or(0, count_lines);
    let usage = sys::wait(&mut child).map_err(failed("waiting for wiretable"))?;
    let wall = begin.elapsed();
    sys::wait(&mut source).map_err(failed("waiting for the generator"))?;
    if usage.status != 0 {
        return Err(SpecialError::Status {
            status: usage.status,
            after: format!("on a stream of {bytes} bytes"),
        });
    }
    Ok(Streamed {
        wall,
        cpu: usage.user + usage.system,
        resident_bytes_max: usage.resident_bytes_max,
        rows,
    })
}

fn count_lines(mut output: impl std::io::Read) -> usize {
    let mut buffer = [0; 1 << 16];
    let mut lines = 0;
    // An error ends it as the end does; the exit status tells the rest.
    while let Ok(n @ 1..) = output.read(&mut buffer) {
        lines += memchr::memchr_iter(b'\n', &buffer[..n]).count();
    }
    lines
}

/// Checks that two programs print the same rows.
///
/// # Errors
/// [`SpecialError`].
pub fn agree(task: TaskName, reference: &Program, other: &Program) -> Result<(), SpecialError> {
    compare(task, &reference.answer()?.output, &other.answer()?.output)
        .map_err(|differences| SpecialError::Disagreement { differences })
}
