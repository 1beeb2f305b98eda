//! Programs that are measured: one or more commands, one after the other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bound::{Method, TaskName};
use crate::sys::{self, Usage};
use crate::task::{self, Query};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is run.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads as standard input.
    pub input: Option<PathBuf>,
    /// Whether a report needs what it prints; the others' words are noise.
    pub answers: bool,
}

impl Step {
    /// A command whose output counts.
    pub fn new<S: Into<String>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, input: None, answers: true }
    }

    /// With a file as standard input.
    pub fn with_input(mut self, path: &Path) -> Self {
        self.input = Some(path.to_owned());
        self
    }

    /// Without an answer.
    pub fn silent(mut self) -> Self {
        self.answers = false;
        self
    }

    fn command(&self) -> Result<Command, ProgramError> {
        let mut command = Command::new(&self.program);
        // The peers print their own words; nothing of the user's surroundings may change them.
        command.args(&self.arguments).env("LC_ALL", "C").env("TZ", "UTC");
        match &self.input {
            Some(path) => command.stdin(File::open(path).map_err(|source| self.failed(source))?),
            None => command.stdin(Stdio::null()),
        };
        Ok(command)
    }

    fn failed(&self, source: io::Error) -> ProgramError {
        ProgramError::Start { program: self.program.display().to_string(), source }
    }
}

/// Why a program gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{program} failed with status {status}: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// Exit status.
        status: i32,
        /// The end of its complaint.
        said: String,
    },
}

/// A program with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// As a report calls it.
    pub name: String,
    /// What it runs.
    pub steps: Vec<Step>,
    /// Cores that it may use.
    pub cores: Vec<usize>,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// From start to end.
    pub wall: Duration,
    /// In user mode and in the kernel.
    pub cpu: Duration,
    /// Largest resident set of a step, bytes.
    pub resident_bytes_max: u64,
}

impl Program {
    /// Runs it and keeps what it says: standard output, and standard error behind it.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn answer(&self) -> Result<Said, ProgramError> {
        let mut all = Said::default();
        for step in &self.steps {
            let output = step.command()?.output().map_err(|source| step.failed(source))?;
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                return Err(ProgramError::Failed {
                    program: step.program.display().to_string(),
                    status: output.status.code().unwrap_or(-1),
                    said: error.lines().rev().take(5).collect::<Vec<_>>().join(" / "),
                });
            }
            if step.answers {
                all.output.push_str(&String::from_utf8_lossy(&output.stdout));
                all.error.push_str(&error);
            }
        }
        Ok(all)
    }

    /// Runs it with its output thrown away and measures.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn measure(&self) -> Result<Measured, ProgramError> {
        let mut total = Measured::default();
        for step in &self.steps {
            let mut command = step.command()?;
            command.stdout(Stdio::null()).stderr(Stdio::null());
            sys::pin(&self.cores).map_err(|source| step.failed(source))?;
            let begin = Instant::now();
            let mut child = command.spawn().map_err(|source| step.failed(source))?;
            let usage: Usage = sys::wait(&mut child).map_err(|source| step.failed(source))?;
            total.wall += begin.elapsed();
            total.cpu += usage.user + usage.system;
            total.resident_bytes_max = total.resident_bytes_max.max(usage.resident_bytes_max);
            if usage.status != 0 {
                return Err(ProgramError::Failed {
                    program: step.program.display().to_string(),
                    status: usage.status,
                    said: "while it was measured".into(),
                });
            }
        }
        Ok(total)
    }
}

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub error: String,
}

/// A hand-written program.
pub fn bound(
    this: &Path,
    task: TaskName,
    method: Method,
    cores: &[usize],
    trace: &Path,
) -> Program {
    let (label, argument) = match method {
        Method::Read => ("read, one cursor", "read"),
        Method::Mmap => ("mmap, one cursor", "mmap"),
        Method::Ahead => ("mmap, all asked ahead", "ahead"),
        Method::Cursors => ("mmap, eight cursors", "cursors"),
        Method::Pcap => ("libpcap loop", "pcap"),
    };
    let several = if cores.len() > 1 { format!(", {} cores", cores.len()) } else { String::new() };
    let arguments = [
        "bound".to_owned(),
        task::short(task).to_owned(),
        trace.display().to_string(),
        format!("--method={argument}"),
        format!("--cores={}", cores.len()),
    ];
    Program {
        name: format!("bound: {label}{several}"),
        steps: vec![Step::new(this, arguments)],
        cores: cores.to_vec(),
    }
}

/// The copy of all bytes, by dd.
pub fn dd(cores: &[usize], trace: &Path) -> Program {
    let arguments = [format!("if={}", trace.display()), "of=/dev/null".into(), "bs=256k".into()];
    Program {
        name: "dd bs=256k".into(),
        steps: vec![Step::new("dd", arguments).silent()],
        cores: cores.to_vec(),
    }
}

/// wiretable. `more` are further arguments.
pub fn wiretable(
    binary: &Path,
    query: &Query,
    cores: &[usize],
    trace: &str,
    more: &[&str],
) -> Program {
    let format = if query.batch { "ndjson" } else { "csv" };
    let mut arguments: Vec<String> =
        ["query", &query.text, "-r", trace, "--format", format, "--no-progress"]
            .map(Into::into)
            .into();
    arguments.extend(more.iter().map(|&m| m.to_owned()));
    let several = if cores.len() > 1 { format!(", {} cores", cores.len()) } else { String::new() };
    Program {
        name: format!("wiretable{several}"),
        steps: vec![Step::new(binary, arguments)],
        cores: cores.to_vec(),
    }
}
