//! Live runs in tests: a command in a namespace, the frames it is sent, its books.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wt_wire::CaptureReader;

use crate::capture;
use crate::netns::{Netns, signal};
use crate::program::{Outcome, outcome};

/// How long anything is waited for: only a failure takes so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `is_so`.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Suspends a process, and waits until each of its threads has stopped: a signal is sent to one of them, and the others run on until that one has a processor.
///
/// # Panics
/// When it is gone.
#[track_caller]
pub fn suspend(process: u32) {
    signal(process, 19).expect("a signal");
    wait_until("all threads stop", || {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
        threads.flatten().all(|thread| {
            // A thread that has ended meanwhile runs no more, either.
            std::fs::read_to_string(thread.path().join("stat"))
                .map_or(true, |stat| is_stopped(&stat))
        })
    });
}

/// Whether a thread is stopped: the state is the letter behind its name in parentheses (proc_pid_stat(5)).
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Lets a suspended process go on.
///
/// # Panics
/// When it is gone.
#[track_caller]
pub fn resume(process: u32) {
    signal(process, 18).expect("a signal");
}

/// A command at work, and what it has written so far.
pub struct Running {
    /// The process.
    pub child: Guarded,
    /// What it prints.
    pub stdout: Stream,
    /// What it says.
    pub stderr: Stream,
}

/// A process that a failed test does not leave behind.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// What was read of a pipe.
pub struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    /// Reads a pipe until its end.
    pub fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// Reads a pipe until its end, and gives each line, without its end, to `keeps`, which says whether it is kept: a test of millions of rows looks at
    /// most of them as they come.
    pub fn of_lines(
        pipe: impl Read + Send + 'static,
        mut keeps: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::with_capacity(1 << 16, pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                if keeps(line.trim_ascii_end()) {
                    sink.lock().unwrap().extend_from_slice(&line);
                }
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// What was read so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// All that was read, once the pipe has ended.
    pub fn end(mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

impl Running {
    /// Starts a command, and waits until it captures from so many interfaces.
    pub fn start(netns: &Netns, arguments: &[&str], interfaces: usize) -> Self {
        Self::spawn(netns, netns.wiretable().args(arguments), interfaces)
    }

    /// As [`Self::start`], for a command made by the test.
    pub fn spawn(netns: &Netns, command: &mut Command, interfaces: usize) -> Self {
        Self::spawn_reading(netns, command, interfaces, Stream::of)
    }

    /// As [`Self::spawn`], with another way to read what it prints.
    pub fn spawn_reading(
        netns: &Netns,
        command: &mut Command,
        interfaces: usize,
        read: impl FnOnce(ChildStdout) -> Stream,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Guarded(command.spawn().expect("wiretable starts"));
        let stdout = read(child.0.stdout.take().unwrap());
        let stderr = Stream::of(child.0.stderr.take().unwrap());
        let mut running = Self { child, stdout, stderr };
        wait_until("the capture begins", || {
            let ended = running.child.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", running.stderr.text());
            capturing(netns) == interfaces
        });
        running
    }

    /// Sends a signal.
    pub fn signal(&self, number: i32) {
        signal(self.child.0.id(), number).unwrap();
    }

    /// Suspends all of its threads.
    pub fn suspend(&self) {
        suspend(self.child.0.id());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        resume(self.child.0.id());
    }

    /// Waits for the end.
    pub fn end(mut self) -> Outcome {
        let mut status = None;
        wait_until("the command ends", || {
            status = self.child.0.try_wait().unwrap();
            status.is_some()
        });
        let output = std::process::Output {
            status: status.unwrap(),
            stdout: self.stdout.end().into_bytes(),
            stderr: self.stderr.end().into_bytes(),
        };
        outcome(output)
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(self) -> Outcome {
        self.signal(2);
        self.end().expect_status(0)
    }
}

/// Both ways to capture, as arguments.
pub const WAYS: [[&str; 2]; 2] = [["--capture", "socket"], ["--capture", "xdp"]];

/// Captures of the namespace: packet sockets that packets reach, and programs in drivers.
pub fn capturing(netns: &Netns) -> usize {
    sockets(netns) + programs(netns)
}

/// Interfaces with a program in the driver.
pub fn programs(netns: &Netns) -> usize {
    let shown = netns.command("ip").args(["-details", "link", "show"]).output().unwrap();
    String::from_utf8_lossy(&shown.stdout).matches("prog/xdp").count()
}

/// Packet sockets of the namespace that packets reach.
pub fn sockets(netns: &Netns) -> usize {
    let table = netns.inside(|| std::fs::read_to_string("/proc/thread-self/net/packet"));
    // Columns: sk, references, type, protocol, interface, running …
    let is_capture = |line: &&str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        cells.get(3) == Some(&"0003") && cells.get(5) == Some(&"1")
    };
    table.unwrap().lines().filter(is_capture).count()
}

/// The frames of a carried capture; whole ones that a link of usual size carries.
pub fn frames(name: &str) -> Vec<Vec<u8>> {
    let mut reader = CaptureReader::open(&capture(name)).unwrap();
    let mut frames = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        assert!(record.data.len() == record.len as usize && record.len <= 1514, "{name}");
        frames.push(record.data.to_vec());
    }
    frames
}

/// Sends frames into an interface.
pub fn send(netns: &Netns, interface: &str, frames: &[Vec<u8>]) {
    let sender = netns.sender(interface).unwrap();
    for frame in frames {
        sender.send(frame).unwrap();
    }
}

/// Capabilities that the threads of a process have or could get: the status of each thread, and a set.
pub fn privileges(process: u32, check: impl Fn(&str, u64)) {
    for task in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let kinds = ["CapInh", "CapPrm", "CapEff"];
        let of_kinds = |line: &&str| kinds.iter().any(|kind| line.starts_with(kind));
        for line in status.lines().filter(of_kinds) {
            let mask = line.split_whitespace().nth(1).unwrap();
            check(&status, u64::from_str_radix(mask, 16).unwrap());
        }
    }
}

/// The lines of a text, sorted.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The numbers of a line of the books: of the table `head`, under `name`.
#[track_caller]
pub fn booked(ledger: &str, head: &str, name: &str) -> Vec<(String, u64)> {
    let mut lines = ledger.lines().skip_while(|line| !line.starts_with(head));
    let split = |line: &str| -> Vec<String> {
        line.split("  ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    let columns = split(lines.next().unwrap_or_else(|| panic!("no {head} in\n{ledger}")));
    let cells = lines.map(split).find(|cells| cells[0] == name);
    let cells = cells.unwrap_or_else(|| panic!("no {name} under {head} in\n{ledger}"));
    let numbers = cells[1..].iter().map(|cell| cell.parse().unwrap());
    columns[1..].iter().cloned().zip(numbers).collect()
}

/// Fails unless the books have these numbers.
#[track_caller]
pub fn expect_booked(ledger: &str, head: &str, name: &str, expected: &[(&str, u64)]) {
    let booked = booked(ledger, head, name);
    for (column, number) in expected {
        let found = booked.iter().find(|(name, _)| name == column);
        assert_eq!(found.map(|(_, n)| *n), Some(*number), "{column} of {name}\n{ledger}");
    }
}
