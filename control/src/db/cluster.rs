//! A private cluster in a data directory.
//!
//! ```text
//! DIR/pg     the cluster (PGDATA)
//! DIR/run    its socket; only its account can enter, and root where root has made it, so the socket asks for no password
//! DIR/log    what the server said
//! DIR/lock   held while the cluster is made, started or stopped
//! ```
//!
//! It is reached through its socket alone, unless it is started with an address to listen on; there, a password is asked for (SCRAM).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::account::Account;
use super::connect::{DatabaseUrl, reason};
use super::programs::Programs;
use super::{DbError, path_error};

/// The superuser of a private cluster.
const SUPERUSER: &str = "postgres";
/// The database in it.
pub const DATABASE: &str = "wiretable";
/// `sun_path` without its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest wait for the server to start or stop: recovery after a crash may take long.
const WAIT_S: &str = "120";
/// How long a server that was killed, or is being started by somebody else, is given to settle.
const SETTLE: Duration = Duration::from_secs(30);
const SETTLE_STEP: Duration = Duration::from_millis(100);
/// Lines of the log that an error shows.
const LOG_LINES: usize = 8;

/// A private cluster, made or not.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    account: Account,
}

/// What a running cluster is.
#[derive(Clone, Debug)]
pub struct Running {
    /// Process id of the server.
    pub pid: u32,
    /// Port: part of the socket's name, and where it listens if it does.
    pub port: u16,
}

/// What `start` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was running.
    Already,
    /// It was stopped.
    Woken,
    /// It did not exist.
    Created,
}

impl Cluster {
    /// The cluster of a data directory. Nothing is touched yet.
    ///
    /// # Errors
    /// When the account is not to be had, or the path is too long for a socket.
    pub fn new(dir: &Path, user: Option<&str>) -> Result<Self, DbError> {
        let dir = std::path::absolute(dir).map_err(path_error("find", dir))?;
        let cluster = Self { dir, account: Account::choose(user)? };
        let socket = cluster.run_dir().join(".s.PGSQL.65535");
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(DbError::SocketPath { path: socket, bytes, limit: SOCKET_PATH_BYTES_MAX });
        }
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("pg")
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Where the server writes what it has to say.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The URL of the database. The cluster must have been made.
    ///
    /// # Errors
    /// [`DbError::Absent`].
    pub fn url(&self) -> Result<String, DbError> {
        let port = self.port()?;
        let host = percent_encoded(&self.run_dir().display().to_string());
        Ok(format!("postgresql://{SUPERUSER}@/{DATABASE}?host={host}&port={port}"))
    }

    /// The server, if it runs.
    ///
    /// # Errors
    /// [`DbError::Absent`].
    pub fn running(&self) -> Result<Option<Running>, DbError> {
        let port = self.port()?;
        let programs = self.programs()?;
        let output = self.pg_ctl(&programs, &["status"]).output();
        let output = output.map_err(path_error("run", &programs.path("pg_ctl")))?;
        if !output.status.success() {
            return Ok(None);
        }
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        Ok(pid.lines().next().and_then(|l| l.trim().parse().ok()).map(|pid| Running { pid, port }))
    }

    /// Makes the cluster if there is none, starts it if it does not run, and makes the database.
    ///
    /// # Errors
    /// Any of [`DbError`]; nothing half made is left behind.
    pub fn start(&self, listen: Option<&str>) -> Result<Started, DbError> {
        self.prepare_folder()?;
        let _lock = self.lock()?;
        let created = !self.is_made();
        if created {
            self.create()?;
        }
        if self.answers()? {
            self.create_database()?;
            return Ok(Started::Already);
        }
        self.write_settings(listen)?;
        self.launch()?;
        self.create_database()?;
        Ok(if created { Started::Created } else { Started::Woken })
    }

    /// Stops the server; running transactions are rolled back. Returns whether it ran.
    ///
    /// # Errors
    /// When there is no cluster, or it does not stop.
    pub fn stop(&self) -> Result<bool, DbError> {
        if !self.is_made() {
            return Err(DbError::Absent { path: self.dir.clone() });
        }
        let _lock = self.lock()?;
        if self.running()?.is_none() {
            return Ok(false);
        }
        let programs = self.programs()?;
        let command = self.pg_ctl(&programs, &["stop", "-m", "fast", "-w", "-t", WAIT_S, "-s"]);
        self.run(command, "pg_ctl stop")?;
        Ok(true)
    }

    /// Whether the server runs and takes connections. One that is being started, or whose remains have not gone yet after a kill, is
    /// given time to become one or the other.
    fn answers(&self) -> Result<bool, DbError> {
        let url = DatabaseUrl::parse(&self.url()?)?;
        let until = Instant::now() + SETTLE;
        loop {
            if self.running()?.is_none() {
                return Ok(false);
            }
            match url.connect_to(Some("postgres")) {
                Ok(_) => return Ok(true),
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(SETTLE_STEP),
            }
        }
    }

    /// Starts the server. After a kill its backends may outlive it for a moment; they are waited for.
    fn launch(&self) -> Result<(), DbError> {
        let programs = self.programs()?;
        let until = Instant::now() + SETTLE;
        loop {
            let mut command = self.pg_ctl(&programs, &["start", "-w", "-t", WAIT_S, "-s", "-l"]);
            command.arg(self.log());
            match self.run(command, "pg_ctl start") {
                Err(DbError::Program { said, .. })
                    if said.contains("still in use") && Instant::now() < until =>
                {
                    std::thread::sleep(SETTLE_STEP);
                }
                outcome => return outcome,
            }
        }
    }

    fn is_made(&self) -> bool {
        self.data().join("PG_VERSION").is_file()
    }

    /// The programs for this cluster's version, or for a new one.
    fn programs(&self) -> Result<Programs, DbError> {
        let version = fs::read_to_string(self.data().join("PG_VERSION")).ok();
        let wanted = version.and_then(|v| v.trim().parse().ok());
        let programs = Programs::find(wanted)?;
        match wanted {
            Some(found) if found != programs.major => {
                Err(DbError::Version { path: self.dir.clone(), found, have: programs.major })
            }
            _ => Ok(programs),
        }
    }

    fn port(&self) -> Result<u16, DbError> {
        if !self.is_made() {
            return Err(DbError::Absent { path: self.dir.clone() });
        }
        let path = self.data().join("wiretable.conf");
        let text = fs::read_to_string(&path).map_err(path_error("read", &path))?;
        let line = text.lines().find_map(|l| l.strip_prefix("port = "));
        line.and_then(|p| p.trim().parse().ok()).ok_or(DbError::Foreign { path })
    }

    fn prepare_folder(&self) -> Result<(), DbError> {
        if self.dir.is_dir() {
            let entries = fs::read_dir(&self.dir).map_err(path_error("read", &self.dir))?;
            let ours = ["pg", "pg.new", "run", "log", "lock"];
            let foreign = entries.flatten().any(|e| !ours.iter().any(|o| e.file_name() == *o));
            if foreign {
                return Err(DbError::Foreign { path: self.dir.clone() });
            }
        }
        for folder in [self.dir.clone(), self.run_dir()] {
            fs::create_dir_all(&folder).map_err(path_error("create", &folder))?;
            self.account.own_folder(&folder)?;
        }
        self.account.check_reach(&self.dir)
    }

    fn lock(&self) -> Result<File, DbError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(path_error("write", &path))?;
        self.account.own(&path)?;
        file.lock().map_err(path_error("lock", &path))?;
        Ok(file)
    }

    /// Makes the cluster beside its place and moves it there when it is complete.
    fn create(&self) -> Result<(), DbError> {
        let programs = Programs::find(None)?;
        let new = self.dir.join("pg.new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(path_error("remove", &new))?;
        }
        let mut command = self.account.command(programs.path("initdb"));
        command.args(["-N", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "-A", "trust"]);
        command.args(["-U", SUPERUSER, "-D"]).arg(&new);
        self.run(command, "initdb")?;
        let hba = "# The socket's folder is closed to all but the owner; others come over the network with a password.\n\
                   local all all trust\nhost all all all scram-sha-256\n";
        self.write(&new.join("pg_hba.conf"), hba)?;
        let port = free_port().map_err(path_error("find a free port for", &self.dir))?;
        self.write(&new.join("wiretable.conf"), &self.settings(port, None))?;
        let conf = new.join("postgresql.conf");
        let append = || {
            OpenOptions::new().append(true).open(&conf)?.write_all(b"include 'wiretable.conf'\n")
        };
        append().map_err(path_error("write", &conf))?;
        fs::rename(&new, self.data()).map_err(path_error("put in place", &new))
    }

    fn write_settings(&self, listen: Option<&str>) -> Result<(), DbError> {
        let port = self.port()?;
        self.write(&self.data().join("wiretable.conf"), &self.settings(port, listen))
    }

    fn settings(&self, port: u16, listen: Option<&str>) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        format!(
            "# Written by wiretable at each start.\n\
             port = {port}\n\
             listen_addresses = {}\n\
             unix_socket_directories = {}\n\
             # Its folder decides who comes to the socket.\n\
             unix_socket_permissions = 0777\n\
             password_encryption = 'scram-sha-256'\n\
             max_connections = 100\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %q%u '\n\
             # Result batches: fewer, larger checkpoints.\n\
             max_wal_size = '4GB'\n",
            quoted(listen.unwrap_or("")),
            // A list: a comma in the path needs quotes of its own.
            quoted(&format!("\"{}\"", self.run_dir().display())),
        )
    }

    /// Writes a file of the cluster's account.
    fn write(&self, path: &Path, text: &str) -> Result<(), DbError> {
        fs::write(path, text).map_err(path_error("write", path))?;
        self.account.own(path)
    }

    fn create_database(&self) -> Result<(), DbError> {
        let url = DatabaseUrl::parse(&self.url()?)?;
        let mut client = url.connect_to(Some("postgres"))?;
        let failed = |e: postgres::Error| DbError::Statement {
            what: "cannot make the database".to_owned(),
            said: reason(&e),
        };
        let there = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&DATABASE]);
        if there.map_err(failed)?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).map_err(failed)?;
        }
        Ok(())
    }

    fn pg_ctl(&self, programs: &Programs, arguments: &[&str]) -> Command {
        let mut command = self.account.command(programs.path("pg_ctl"));
        command.arg("-D").arg(self.data()).args(arguments);
        command
    }

    /// Runs a program of Postgres. Its output goes to a file, as the server would keep a pipe open.
    fn run(&self, mut command: Command, program: &'static str) -> Result<(), DbError> {
        let path = PathBuf::from(command.get_program());
        let said = tempfile_like(&self.dir).map_err(path_error("write into", &self.dir))?;
        let other = said.1.try_clone().map_err(path_error("write into", &self.dir))?;
        let status =
            command.stdin(std::process::Stdio::null()).stdout(said.1).stderr(other).status();
        let text = fs::read_to_string(&said.0).unwrap_or_default();
        let _ = fs::remove_file(&said.0);
        let status = status.map_err(path_error("run", &path))?;
        if status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().chain(log.lines()).filter(|l| !l.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        let said = last.iter().map(|l| format!("  | {l}")).collect::<Vec<_>>().join("\n");
        Err(DbError::Program { program, status: status.to_string(), said })
    }
}

/// A file for a program's output, in the lock's care.
fn tempfile_like(dir: &Path) -> std::io::Result<(PathBuf, File)> {
    let path = dir.join("run").join(format!("said.{}", std::process::id()));
    let file = File::create(&path)?;
    Ok((path, file))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let long = format!("/var/{}", "x".repeat(120));
        let error = Cluster::new(Path::new(&long), None).unwrap_err().to_string();
        assert!(error.contains("shorter --data-dir"), "{error}");
    }

    #[test]
    fn paths_in_urls_are_encoded() {
        assert_eq!(percent_encoded("/a b/ä&c"), "/a%20b/%C3%A4%26c");
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("wt-foreign-{}", std::process::id()));
        fs::create_dir_all(dir.join("precious")).unwrap();
        let error = Cluster::new(&dir, None).and_then(|c| c.start(None).map(|_| ()));
        fs::remove_dir_all(&dir).unwrap();
        assert!(error.unwrap_err().to_string().contains("holds no database of ours"));
    }
}
