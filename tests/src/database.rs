//! A private Postgres for a suite, made by the command itself (`wiretable db start`), and removed with its owner.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::corpus::Scratch;
use crate::program::{Outcome, outcome, run, wiretable};

/// A cluster of one test.
#[derive(Debug)]
pub struct Database {
    /// Its URL.
    pub url: String,
    data_dir: PathBuf,
    scratch: Scratch,
}

impl Database {
    /// Starts one; `None`, and a loud word, where Postgres is not installed. `WT_REQUIRE_POSTGRES=1`, which `make test` sets, makes that a failure.
    ///
    /// # Panics
    /// When it does not start though Postgres is there, or is required.
    pub fn start() -> Option<Self> {
        let scratch = Scratch::new().expect("a scratch folder");
        let data_dir = scratch.path("db");
        let started = start(&data_dir);
        if started.status == 2 && started.stderr.contains("no PostgreSQL") {
            assert!(
                std::env::var_os("WT_REQUIRE_POSTGRES").is_none_or(|v| v != "1"),
                "Postgres is required and not installed: run .ci/setup\n{}",
                started.stderr
            );
            eprintln!(
                "SKIPPED: Postgres is not installed, nothing of the database was tested; .ci/setup installs it"
            );
            return None;
        }
        let started = started.expect_status(0);
        Some(Self { url: started.stdout.trim().to_owned(), data_dir, scratch })
    }

    /// A path beside the cluster.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// `wiretable db SUBCOMMAND … --data-dir …`.
    pub fn command(&self, arguments: &[&str]) -> Outcome {
        let dir = self.data_dir.display().to_string();
        run([&["db"], arguments, &["--data-dir", &dir]].concat())
    }

    /// The answer of psql: rows as lines, columns separated by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).expect_status(0).stdout.trim_end().to_owned()
    }

    /// What psql did with a statement.
    ///
    /// # Panics
    /// When psql does not start.
    pub fn try_sql(&self, statement: &str) -> Outcome {
        let mut command = self.psql();
        command.args(["-v", "ON_ERROR_STOP=1", "-c", statement]);
        outcome(command.output().expect("psql starts: .ci/setup installs it"))
    }

    /// psql on the database, without the user's settings.
    pub fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        command
            .args(["-XAtq", &self.url])
            .stdin(Stdio::null())
            .env("PGOPTIONS", "-c client_min_messages=warning");
        command
    }

    /// Kills the server as a power cut would.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&self) {
        let file = self.data_dir.join("pg/postmaster.pid");
        let text = std::fs::read_to_string(&file).expect("the server runs");
        let pid = text.lines().next().expect("a process id").trim();
        let killed = Command::new("kill").args(["-9", pid]).status().expect("kill");
        assert!(killed.success());
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&self) {
        start(&self.data_dir).expect_status(0);
    }
}

fn start(data_dir: &Path) -> Outcome {
    let mut command = wiretable(["db", "start", "--data-dir"]);
    command.arg(data_dir).env_remove("WIRETABLE_DATABASE_URL");
    outcome(command.output().expect("wiretable starts"))
}

impl Drop for Database {
    fn drop(&mut self) {
        // Stopped at once: nobody needs its data. A cluster that a test has killed is not running, which is as good.
        let _ = self.command(&["stop"]);
    }
}
