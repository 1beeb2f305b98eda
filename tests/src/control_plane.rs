//! The control plane in tests: `wiretable serve` over a private database, and live runs that it drives.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::database::Database;
use crate::live::{Guarded, PATIENCE, Stream, resume, suspend, wait_until};
use crate::netns::signal;
use crate::program::{Outcome, outcome, wiretable};

/// `wiretable serve` at work.
pub struct Serving {
    child: Guarded,
    /// What it says.
    pub stderr: Stream,
}

impl Serving {
    /// Starts it with this configuration (TOML), and waits until it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(database: &Database, config: &str) -> Self {
        let path = database.path(&format!("serve-{}.toml", next()));
        std::fs::write(&path, config).expect("a file is written");
        let mut command =
            wiretable(["serve", "--listen", "none", "--database-url", &database.url, "--config"]);
        command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Guarded(command.spawn().expect("wiretable starts"));
        let stderr = Stream::of(child.0.stderr.take().expect("a pipe"));
        let mut serving = Self { child, stderr };
        wait_until("it serves", || {
            let ended = serving.child.0.try_wait().expect("a status");
            assert!(ended.is_none(), "{ended:?}: {}", serving.stderr.text());
            serving.stderr.text().contains("serving")
        });
        serving
    }

    /// Suspends all of its threads.
    ///
    /// # Panics
    /// When it is gone.
    pub fn suspend(&self) {
        suspend(self.child.0.id());
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is gone.
    pub fn resume(&self) {
        resume(self.child.0.id());
    }

    /// Kills it as a power cut would.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.0.kill().and_then(|()| self.child.0.wait()).expect("it is killed");
    }

    /// Ends it as Ctrl-C does.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn interrupt(mut self) -> Outcome {
        signal(self.child.0.id(), 2).expect("a signal");
        let status = ended(&mut self.child.0);
        let stderr = self.stderr.end().into_bytes();
        outcome(std::process::Output { status, stdout: Vec::new(), stderr }).expect_status(0)
    }
}

fn ended(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    wait_until("it ends", || {
        status = child.try_wait().expect("a status");
        status.is_some()
    });
    status.expect("a status")
}

fn next() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A configuration with short times: tests wait for what happens, not for clocks.
pub fn quick(more: &str) -> String {
    format!("[proxy]\nlease = '2s'\npoll = '50ms'\ncheck = '300ms'\ntimeout = '1s'\n{more}\n")
}

/// Wants an object of a device to be in a state (SQL literal of jsonb, or NULL).
pub fn want(database: &Database, device: &str, kind: &str, name: &str, body: &str) {
    database.sql(&format!(
        "INSERT INTO net.object AS o (device, kind, name, tenant, desired) VALUES ('{device}', '{kind}', '{name}', 'system', {body}) \
         ON CONFLICT (device, kind, name) DO UPDATE SET desired = excluded.desired"
    ));
}

/// Waits until nothing is under way to a device (or those of a pattern of LIKE), nothing has failed, and all objects are as wanted.
///
/// # Panics
/// When that takes too long; it shows what is left.
#[track_caller]
pub fn wait_settled(database: &Database, device: &str, what: &str) {
    let begin = Instant::now();
    loop {
        let open = database.sql(&format!(
            "SELECT string_agg(x, E'\\n') FROM (SELECT 'drift: ' || d::text AS x FROM net.drift d WHERE device LIKE '{device}' \
             UNION ALL SELECT 'command: ' || k::text FROM north.command k WHERE device LIKE '{device}' AND state IN ('pending', 'leased', 'failed')) s"
        ));
        if open.is_empty() {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "still waiting until all is as wanted: {what}\n{open}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until an object is as wanted: its newest generation was applied, and is observed.
#[track_caller]
pub fn wait_as_wanted(database: &Database, device: &str, name: &str) {
    wait_until(&format!("{device} {name} is as wanted"), || {
        database.sql(&format!(
            "SELECT count(*) FROM net.drift WHERE device = '{device}' AND name = '{name}'"
        )) == "0"
    });
}

/// The path of a scratch file beside a database, as text.
pub fn beside(database: &Database, name: &str) -> (PathBuf, String) {
    let path = database.path(name);
    let text = path.display().to_string();
    (path, text)
}
