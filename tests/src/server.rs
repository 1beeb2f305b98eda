//! The server in tests: a process of its own, on a database of its own, and callers with tokens.

use std::process::{Child, Stdio};

use crate::database::Database;
use crate::http::Http;
use crate::live::{Guarded, Stream, wait_until};
use crate::netns::signal;
use crate::program::{Outcome, outcome, run, wiretable};

/// A server on a database of its own.
pub struct Server {
    process: Option<Guarded>,
    stderr: Option<Stream>,
    /// An administrator.
    pub admin: Http,
    /// The database.
    pub database: Database,
}

impl Server {
    /// Starts one; nothing where Postgres is not installed.
    pub fn start() -> Option<Self> {
        let database = Database::start()?;
        let (process, stderr, address) = serve(&database);
        let token = token(&database, "admin", None);
        let admin = Http { address, token: Some(token) };
        Some(Self { process: Some(process), stderr: Some(stderr), admin, database })
    }

    /// A caller with this role.
    pub fn caller(&self, role: &str, tenant: Option<&str>) -> Http {
        self.admin.with(&token(&self.database, role, tenant))
    }

    /// Ends it as SIGTERM does.
    ///
    /// # Panics
    /// When it does not end, or has ended already.
    pub fn end(&mut self) -> Outcome {
        let mut process = self.process.take().unwrap();
        signal(process.0.id(), 15).unwrap();
        let mut status = None;
        wait_until("the server ends", || {
            status = process.0.try_wait().unwrap();
            status.is_some()
        });
        let stderr = self.stderr.take().unwrap().end().into_bytes();
        outcome(std::process::Output { status: status.unwrap(), stdout: Vec::new(), stderr })
    }
}

/// Starts a server; its process, what it says, and where it listens.
///
/// # Panics
/// When it does not start.
pub fn serve(database: &Database) -> (Guarded, Stream, String) {
    let file = database.path("address");
    let _ = std::fs::remove_file(&file);
    let mut command =
        wiretable(["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url]);
    command.arg("--address-file").arg(&file).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("wiretable starts");
    let stderr = Stream::of(child.stderr.take().unwrap());
    let mut process = Guarded(child);
    let mut address = String::new();
    wait_until("the server listens", || {
        let ended = process.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", stderr.text());
        address = std::fs::read_to_string(&file).unwrap_or_default();
        address.ends_with('\n')
    });
    (process, stderr, address.trim().to_owned())
}

/// Makes a token.
///
/// # Panics
/// When the database refuses.
pub fn token(database: &Database, role: &str, tenant: Option<&str>) -> String {
    let label = format!("{role} of {}", tenant.unwrap_or("the house"));
    let mut arguments = vec!["token", "create", "--role", role, "--label", &label];
    arguments.extend(tenant.iter().flat_map(|tenant| ["--tenant", tenant]));
    arguments.extend(["--database-url", &database.url]);
    run(arguments).expect_status(0).stdout.trim().to_owned()
}
