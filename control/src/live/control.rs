//! The control socket of a live run: a request a line, an answer a line, both JSON. Only the user who runs it may speak.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wt_engine::live::Handle;

use super::device::{Device, NO_RECORDER, ObjectName, Wanted};
use super::queries::{LiveQueries, NewQuery};
use super::show;
use super::watchlists::WatchlistChange;
use crate::cli::Format;
use crate::failure::Failure;

/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

/// How long a client may take to say its request.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// What a client asks for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Names and texts of the queries.
    List,
    /// The books as a table.
    Ledger,
    /// The books as JSON, with the time that the run has lasted.
    Status,
    /// The books as Prometheus text.
    Metrics,
    /// Close open windows.
    Flush,
    /// Add a query.
    Add(Query),
    /// Put a query in the place of the one of its name.
    Replace(Query),
    /// Remove a query.
    Remove {
        /// Its name.
        name: String,
    },
    /// Set parameters.
    Set {
        /// `name=value`.
        params: Vec<String>,
    },
    /// The records of a watchlist; others for it.
    Watch {
        /// Its name.
        name: String,
        /// What it is to have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<WatchlistChange>,
    },
    /// Of a recorder: save the packets of a time.
    Save {
        /// What they are called.
        name: String,
        /// From this time on, ns since the epoch.
        from_ns: u64,
        /// Up to this time, which may be still to come.
        to_ns: u64,
    },
    /// Block a prefix.
    Block {
        /// It.
        prefix: String,
        /// For so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lasts_ms: Option<u64>,
    },
    /// Lift the block of a prefix.
    Unblock {
        /// It.
        prefix: String,
    },
    /// Prefixes that are blocked.
    Blocks {
        /// As JSON.
        json: bool,
    },
    /// Bring an object to a state, unless a newer one was asked for already.
    Apply(Wanted),
    /// What an object is.
    Observe(ObjectName),
    /// All objects that were brought to a state.
    Objects,
}

/// A query as a client gives it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Its text.
    pub text: String,
    /// Its name, when the text does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// File of its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// Format of its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// What a client gets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is done; what there is to show.
    Ok(String),
    /// It is not; why, and the exit status of the command.
    Refused {
        /// Why.
        message: String,
        /// 1: the request, 2: the environment.
        status: u8,
    },
}

/// How many clients are answered at a time; others wait.
const CLIENTS_MAX: usize = 16;

/// The run as clients reach it.
pub struct Control {
    /// What is driven from outside, object by object.
    pub device: Device,
    pub handle: Arc<Handle>,
    pub queries: Mutex<LiveQueries>,
    /// What it is called.
    pub title: String,
    pub began: Instant,
}

/// What can be asked.
pub trait Answers: Send + Sync {
    /// Does what is asked.
    fn answer(&self, request: &Request) -> Answer;
}

/// The answer that says what was done, or why not.
pub fn answer_of(done: Result<String, Failure>) -> Answer {
    match done {
        Ok(text) => Answer::Ok(text),
        Err(failure) => {
            Answer::Refused { status: failure.exit_status(), message: failure.to_string() }
        }
    }
}

impl Answers for Control {
    fn answer(&self, request: &Request) -> Answer {
        answer_of(self.done(request))
    }
}

impl Control {
    fn done(&self, request: &Request) -> Result<String, Failure> {
        let done = Instant::now();
        let handle = &self.handle;
        // Blocks do not wait for a change of queries.
        match request {
            Request::Block { prefix, lasts_ms } => return self.device.block(prefix, *lasts_ms),
            Request::Unblock { prefix } => return self.device.unblock(prefix),
            Request::Blocks { json } => return self.device.blocks(*json),
            Request::Apply(wanted) => return self.device.apply(wanted, handle, &self.queries),
            Request::Observe(name) => return self.device.observe(name, &self.queries),
            Request::Objects => return self.device.objects(&self.queries),
            _ => {}
        }
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let took = |what: String| Ok(format!("{what} ({} ms)\n", done.elapsed().as_millis()));
        match request {
            Request::List => Ok(show::list(queries.list())),
            Request::Ledger => Ok(handle.ledger().to_string()),
            Request::Status => {
                Ok(show::status(&self.title, self.began.elapsed(), &handle.ledger()))
            }
            Request::Metrics => Ok(show::prometheus(&handle.ledger())),
            Request::Flush => {
                queries.flush(handle)?;
                took("flushed".to_owned())
            }
            Request::Add(query) => {
                let name = queries.add(handle, &query.parsed()?)?;
                took(format!("added {name}"))
            }
            Request::Replace(query) => {
                let name = queries.replace(handle, &query.parsed()?)?;
                took(format!("replaced {name}"))
            }
            Request::Remove { name } => {
                queries.remove(handle, name)?;
                took(format!("removed {name}"))
            }
            Request::Set { params } => {
                queries.set(handle, params)?;
                took(format!("set {}", params.join(", ")))
            }
            Request::Watch { name, change: None } => Ok(show::records(&queries.watched(name)?)),
            Request::Watch { name, change: Some(change) } => {
                match queries.watch(handle, name, change)? {
                    Some(count) => took(format!("{name} has {count} entries now")),
                    None => took(format!("{name} has these entries already")),
                }
            }
            Request::Save { .. } => Err(Failure::Input(NO_RECORDER.to_owned())),
            // Answered above.
            Request::Block { .. }
            | Request::Unblock { .. }
            | Request::Blocks { .. }
            | Request::Apply(_)
            | Request::Observe(_)
            | Request::Objects => Ok(String::new()),
        }
    }
}

impl Query {
    pub(super) fn parsed(&self) -> Result<NewQuery, Failure> {
        let format = self.format.as_deref().map(|name| {
            <Format as clap::ValueEnum>::from_str(name, true)
                .map_err(|_| Failure::Input(format!("there is no format `{name}`")))
        });
        Ok(NewQuery {
            text: self.text.clone(),
            name: self.name.clone(),
            output: self.output.clone(),
            format: format.transpose()?,
        })
    }
}

/// The folder of the sockets of this user's runs.
pub fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join("wiretable"),
        None if rustix::process::getuid().is_root() => PathBuf::from("/run/wiretable"),
        None => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("wiretable-{user}"))
        }
    }
}

/// A socket that clients speak through; it goes with the value.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    /// Makes the socket. One that a run has left behind is taken over.
    ///
    /// # Errors
    /// Another run listens there, or the folder cannot be written.
    pub fn bind(path: &Path) -> Result<Self, Failure> {
        let failed = |e: io::Error| Failure::path("listen on", path, &e);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Err(Failure::Environment(format!(
                        "another run listens on {}\n  help: give this one a socket of its own: --control PATH",
                        path.display()
                    )));
                }
                fs::remove_file(path).map_err(failed)?;
                UnixListener::bind(path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// Answers clients, each on a thread of its own: one that is slow to speak keeps nobody else waiting.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn serve(&self, control: Arc<dyn Answers>) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::path("listen on", &self.path, &e);
        let listener = self.listener.try_clone().map_err(failed)?;
        let serve = move || {
            let clients = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming().flatten() {
                while clients.load(Ordering::Acquire) >= CLIENTS_MAX {
                    std::thread::sleep(Duration::from_millis(1));
                }
                clients.fetch_add(1, Ordering::AcqRel);
                let (control, left) = (Arc::clone(&control), Arc::clone(&clients));
                let client = move || {
                    // A client that goes away has no use for an answer.
                    let _ = answer(&stream, &*control);
                    left.fetch_sub(1, Ordering::AcqRel);
                };
                if std::thread::Builder::new().name("client".to_owned()).spawn(client).is_err() {
                    clients.fetch_sub(1, Ordering::AcqRel);
                }
            }
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(serve).map_err(failed)?;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn answer(stream: &UnixStream, control: &dyn Answers) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => control.answer(&request),
        Err(error) => Answer::Refused { message: format!("no request: {error}"), status: 1 },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    let mut stream = stream;
    stream.write_all(text.as_bytes())
}

/// Asks a run.
///
/// # Errors
/// It is not there, or refuses.
pub fn ask(path: &Path, request: &Request) -> Result<String, Failure> {
    ask_on(path, request, None)
}

/// Asks a run that must answer in time.
///
/// # Errors
/// As [`ask`]; it does not.
pub fn ask_within(path: &Path, request: &Request, timeout: Duration) -> Result<String, Failure> {
    ask_on(path, request, Some(timeout))
}

fn ask_on(path: &Path, request: &Request, timeout: Option<Duration>) -> Result<String, Failure> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock => Failure::path("reach the run at", path, &"no answer in time"),
        _ => Failure::path("reach the run at", path, &e),
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_read_timeout(timeout).map_err(failed)?;
    stream.set_write_timeout(timeout).map_err(failed)?;
    let mut text = serde_json::to_string(request).map_err(|e| failed(e.into()))?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(failed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(failed)?;
    match serde_json::from_str(&line).map_err(|e| failed(e.into()))? {
        Answer::Ok(text) => Ok(text),
        Answer::Refused { message, status } => {
            // The run's own words, which this command begins its own with, too.
            let bare = message.strip_prefix("wiretable: ").map(str::to_owned);
            Err(match (bare, status) {
                (Some(bare), 1) => Failure::Input(bare),
                (None, 1) => Failure::Query(message),
                (bare, _) => Failure::Environment(bare.unwrap_or(message)),
            })
        }
    }
}
