//! The control plane's database: a private Postgres, or one that is given; its schema lies in `sql/`.
//!
//! | file | is |
//! |---|---|
//! | `programs` | finds Postgres's programs |
//! | `account` | runs them as somebody who is not root |
//! | `cluster` | a private cluster in a data directory: made, started, stopped |
//! | `connect` | connections, and what their errors mean |
//! | `migrate` | brings the schema up to date, forward only |
//!
//! DBNet §3.2: the server starts Postgres itself and connects to it.

pub mod account;
pub mod cluster;
pub mod connect;
pub mod migrate;
pub mod programs;
pub mod tls;

use std::path::PathBuf;

use crate::failure::Failure;

/// Why the database is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Postgres is not installed, or is too old.
    #[error(
        "no PostgreSQL {minimum} or later found ({looked})\n  help: install it (Debian: apt-get install postgresql-15), \
         or name the folder of its programs in WIRETABLE_PG_BIN, or use --database-url"
    )]
    NoPrograms {
        /// Oldest major version that will do.
        minimum: u32,
        /// Where was looked.
        looked: String,
    },
    /// The user to run Postgres as does not exist or is root.
    #[error("Postgres cannot run as `{user}`: {why}\n  help: name another user with --db-user")]
    Account {
        /// Its name.
        user: String,
        /// What is wrong with it.
        why: String,
    },
    /// Only root can run things as somebody else.
    #[error(
        "--db-user {user} needs root; you are `{me}`\n  help: leave it out, and Postgres runs as you"
    )]
    NotRoot {
        /// Who was asked for.
        user: String,
        /// Who asks.
        me: String,
    },
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder is out of the database user's reach.
    #[error(
        "user `{user}` cannot write to {}\n  help: a folder above it may be closed to others; choose another with --data-dir", path.display()
    )]
    OutOfReach {
        /// Who.
        user: String,
        /// Where.
        path: PathBuf,
    },
    /// The path of a Unix socket is short by nature.
    #[error(
        "the path of the socket, {}, has {bytes} bytes; the system allows {limit}\n  help: choose a shorter --data-dir", path.display()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The most there can be.
        limit: usize,
    },
    /// The folder holds something else.
    #[error("{} is not empty and holds no database of ours\n  help: choose another --data-dir", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// The cluster was made by another version.
    #[error(
        "the database in {} is of PostgreSQL {found}; the programs found are of {have}\n  help: install postgresql-{found}, \
         or move the data with pg_upgrade", path.display()
    )]
    Version {
        /// The data directory.
        path: PathBuf,
        /// Major version of the data.
        found: u32,
        /// Major version of the programs.
        have: u32,
    },
    /// There is no cluster.
    #[error("there is no database in {}\n  help: make it with `wiretable db start --data-dir {}`", path.display(), path.display())]
    Absent {
        /// The data directory.
        path: PathBuf,
    },
    /// The cluster does not run.
    #[error("the database in {} is not running\n  help: start it with `wiretable db start --data-dir {}`", path.display(), path.display())]
    Stopped {
        /// The data directory.
        path: PathBuf,
    },
    /// One of Postgres's programs failed.
    #[error("{program} failed ({status})\n{said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: String,
        /// What it said last, indented.
        said: String,
    },
    /// The URL is none.
    #[error(
        "`{url}` is no database URL: {why}\n  help: write postgres://USER@HOST:PORT/DATABASE, or postgres://USER@/DATABASE?host=/FOLDER for a socket"
    )]
    Url {
        /// What was given, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// No connection.
    #[error("cannot connect to {url}: {why}\n  help: {hint}")]
    Connect {
        /// Where, without the password.
        url: String,
        /// What was said.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server refused a statement.
    #[error("{what}: {said}")]
    Statement {
        /// What was tried.
        what: String,
        /// What the server said, with its detail and hint.
        said: String,
    },
    /// The server is too old.
    #[error("the server at {url} is PostgreSQL {found}; {minimum} or later is needed")]
    OldServer {
        /// Where.
        url: String,
        /// Its version.
        found: u32,
        /// What is needed.
        minimum: u32,
    },
    /// Migrations need rights that the login lacks.
    #[error(
        "`{login}` is no superuser, which the schema's event triggers and roles need\n  help: migrate once as a superuser; \
         everything else runs as roles without such rights"
    )]
    NotSuperuser {
        /// The login.
        login: String,
    },
    /// The database has been changed by something else.
    #[error("{what}\n  help: {hint}")]
    History {
        /// What differs.
        what: String,
        /// What to do.
        hint: &'static str,
    },
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Url { .. } | DbError::NotRoot { .. } => Failure::Input(error.to_string()),
            _ => Failure::Environment(error.to_string()),
        }
    }
}

/// Wraps an I/O error with what was tried.
fn path_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> DbError {
    move |source| DbError::Path { action, path: path.to_owned(), source }
}

/// A folder of ours: below /var/lib for root, else where the user's data or state goes.
pub fn state_folder(name: &str, variable: &str, below_home: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/wiretable").join(name);
    }
    let base = std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
    base.unwrap_or_else(|| home().join(below_home)).join("wiretable").join(name)
}
