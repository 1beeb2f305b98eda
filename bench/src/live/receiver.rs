//! Programs that capture from `near`: started, waited for until packets reach them, and ended as Ctrl-C does.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cpu;
use super::lab::{End, Lab, LabError};
use super::sys;
use crate::sys::wait;

/// How long a program may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a program did not capture.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// It could not be run, or did not end.
    #[error("cannot run {program}: {source}")]
    System {
        /// Its name.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It ended by itself, or failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// It does not begin or does not end.
    #[error("{program} took longer than {} s to {what}: {said}", PATIENCE.as_secs())]
    Late {
        /// Its name.
        program: String,
        /// What it was to do.
        what: &'static str,
        /// The end of what it said.
        said: String,
    },
    /// The interfaces cannot be asked.
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// A program that captures.
#[derive(Debug)]
pub struct Receiver {
    program: String,
    child: Child,
    has_ended: bool,
    stdout: Stream,
    stderr: Stream,
}

/// What a program has said and used.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub error: String,
    /// Processor time since [`Receiver::cpu`] was asked the first time, or since it began.
    pub cpu: Duration,
}

impl Receiver {
    /// Starts a command that is in the namespace `near`, and waits until it captures from so many interfaces.
    ///
    /// # Errors
    /// [`ReceiverError`].
    pub fn start(lab: &Lab, command: Command, interfaces: usize) -> Result<Self, ReceiverError> {
        Self::start_at(lab, End::Near, command, interfaces)
    }

    /// As [`Self::start`], for a command in the namespace of either end; interfaces that others capture from there count, too.
    ///
    /// # Errors
    /// [`ReceiverError`].
    pub fn start_at(
        lab: &Lab,
        end: End,
        mut command: Command,
        interfaces: usize,
    ) -> Result<Self, ReceiverError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let program = program.rsplit('/').next().unwrap_or(&program).to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| ReceiverError::System { program: program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let stdout = Stream::of(child.stdout.take());
        let stderr = Stream::of(child.stderr.take());
        let mut receiver = Self { program, child, has_ended: false, stdout, stderr };
        let begin = Instant::now();
        // Programs open their sockets first, and are ready to be interrupted after that.
        while receiver.capturing(lab, end)? < interfaces || !receiver.catches_interrupts() {
            match receiver.child.try_wait() {
                Ok(None) => {}
                Ok(Some(_)) => {
                    receiver.has_ended = true;
                    return Err(receiver.failed());
                }
                Err(source) => return Err(receiver.system(source)),
            }
            if begin.elapsed() > PATIENCE {
                return Err(receiver.late("begin"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(receiver)
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        cpu::of_process(self.child.id())
    }

    /// Ends it; `cpu` is subtracted from what it has used.
    ///
    /// # Errors
    /// It does not end, or fails.
    pub fn interrupt(mut self, cpu: Duration) -> Result<Ended, ReceiverError> {
        sys::signal(self.child.id(), libc::SIGINT).map_err(|e| self.system(e))?;
        let begin = Instant::now();
        // Its threads are gone when it has ended; so are their times, but for their sum.
        while !is_zombie(self.child.id()) {
            if begin.elapsed() > PATIENCE {
                return Err(self.late("end"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let usage = wait(&mut self.child).map_err(|e| self.system(e))?;
        self.has_ended = true;
        self.stdout.join();
        self.stderr.join();
        if usage.status != 0 {
            return Err(self.failed());
        }
        let cpu = (usage.user + usage.system).saturating_sub(cpu);
        Ok(Ended { output: self.stdout.text(), error: self.stderr.text(), cpu })
    }

    /// Packet sockets of the namespace that packets reach, and interfaces with a program in the driver.
    fn capturing(&self, lab: &Lab, end: End) -> Result<usize, ReceiverError> {
        let table = std::fs::read_to_string(format!("/proc/{}/net/packet", self.child.id()));
        // Columns: sk, references, type, protocol, interface, running …
        let is_capture = |line: &&str| {
            let cells: Vec<_> = line.split_whitespace().collect();
            cells.get(3) == Some(&"0003") && cells.get(5) == Some(&"1")
        };
        let sockets = table.unwrap_or_default().lines().filter(is_capture).count();
        let links = lab.run(end, "ip", &["-details", "link", "show"])?;
        Ok(sockets + links.matches("prog/xdp").count())
    }

    /// Whether SIGINT would be caught, instead of ending it on the spot.
    fn catches_interrupts(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & 1 << (libc::SIGINT - 1) != 0)
    }

    fn said(&self) -> String {
        let text = self.stderr.text();
        let last = text.lines().rev().take(3).collect::<Vec<_>>();
        last.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }

    fn failed(&mut self) -> ReceiverError {
        self.stderr.join();
        ReceiverError::Failed { program: self.program.clone(), said: self.said() }
    }

    fn late(&self, what: &'static str) -> ReceiverError {
        ReceiverError::Late { program: self.program.clone(), what, said: self.said() }
    }

    fn system(&self, source: io::Error) -> ReceiverError {
        ReceiverError::System { program: self.program.clone(), source }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.has_ended {
            // It is ours, and nothing more is wanted of it.
            let _ = self.child.kill().and_then(|()| self.child.wait());
        }
    }
}

fn is_zombie(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z') || rest.is_empty())
}

/// What was read of a pipe: a program must not wait for us to read.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    sink.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&buffer[..count]);
                }
            })
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader does not panic; what it has read is there.
            let _ = reader.join();
        }
    }
}
