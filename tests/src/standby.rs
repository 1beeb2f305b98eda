//! A streaming standby of a private cluster, made by Postgres's own tools, which takes over when it is told to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::database::Database;
use crate::live::wait_until;

/// A standby that runs.
pub struct Standby {
    /// A URL of both: whoever of them takes writes is connected to.
    pub url: String,
    bin: PathBuf,
    data: PathBuf,
    account: (u32, u32),
    run_dir: String,
    port: u16,
}

impl Standby {
    /// Makes one of a primary, whose commits wait for it from then on.
    ///
    /// # Panics
    /// When Postgres does not play along.
    pub fn of(primary: &Database) -> Self {
        let data_dir = PathBuf::from(primary.sql("SHOW data_directory"));
        let owner = fs::metadata(&data_dir).expect("the cluster");
        let account = (owner.uid(), owner.gid());
        let run_dir = primary.sql("SHOW unix_socket_directories").trim_matches('"').to_owned();
        let port = primary.sql("SHOW port");
        // Replication is a database of its own in this file.
        let hba = data_dir.join("pg_hba.conf");
        let text = fs::read_to_string(&hba).expect("pg_hba.conf");
        fs::write(&hba, format!("{text}local replication all trust\n")).expect("pg_hba.conf");
        primary.sql("SELECT pg_reload_conf()");
        let mut standby = Self {
            url: String::new(),
            bin: programs(primary),
            data: data_dir.with_file_name("standby"),
            account,
            run_dir: run_dir.clone(),
            port: free_port(),
        };
        // Made beside the cluster, where its account may not make anything by itself.
        fs::create_dir(&standby.data).expect("a folder");
        chown(&standby.data, Some(account.0), Some(account.1)).expect("it is given away");
        fs::set_permissions(&standby.data, fs::Permissions::from_mode(0o700)).expect("closed");
        let folder = standby.data.display().to_string();
        standby.run(
            "pg_basebackup",
            &["-h", &run_dir, "-p", &port, "-U", "postgres", "-D", &folder, "-R", "-c", "fast"],
        );
        standby.start();
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.sql("SELECT pg_reload_conf()");
        wait_until("the standby follows", || {
            primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
        });
        let host = run_dir.replace('/', "%2F");
        standby.url = format!(
            "postgresql://postgres@/wiretable?host={host},{host}&port={port},{}&target_session_attrs=read-write",
            standby.port
        );
        standby
    }

    fn start(&self) {
        // Nobody follows it, so its commits must wait for nobody.
        let options = format!("-p {} -c synchronous_standby_names=", self.port);
        let (folder, log) = (self.data.display().to_string(), self.data.with_extension("log"));
        fs::write(&log, "").expect("a log");
        chown(&log, Some(self.account.0), Some(self.account.1)).expect("it is given away");
        let log = log.display().to_string();
        self.run("pg_ctl", &["start", "-w", "-s", "-D", &folder, "-l", &log, "-o", &options]);
    }

    /// Takes over.
    ///
    /// # Panics
    /// When it does not.
    pub fn promote(&self) {
        let folder = self.data.display().to_string();
        self.run("pg_ctl", &["promote", "-w", "-s", "-D", &folder]);
    }

    /// The answer of psql, as [`Database::sql`].
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "wiretable", "-h"]);
        psql.args([&*self.run_dir, "-p", &self.port.to_string(), "-c", statement]);
        let done = psql.stdin(Stdio::null()).output().expect("psql starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let done = self.command(program).args(arguments).status().expect("Postgres's programs");
        assert!(done.success(), "{program} {arguments:?}: {done}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        let me = fs::metadata("/proc/self").map_or(0, |process| process.uid());
        if me == 0 {
            command.gid(self.account.1).uid(self.account.0);
        }
        command
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let folder = self.data.display().to_string();
        let mut stop = self.command("pg_ctl");
        let _ = stop.args(["stop", "-m", "immediate", "-s", "-D", &folder]).status();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// Where the programs of the server lie that runs.
fn programs(primary: &Database) -> PathBuf {
    let folder = PathBuf::from(primary.sql("SHOW data_directory"));
    let text = fs::read_to_string(folder.join("postmaster.opts")).expect("how it was started");
    let program = text.split_whitespace().next().expect("a program");
    Path::new(program).parent().expect("a folder").to_owned()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
