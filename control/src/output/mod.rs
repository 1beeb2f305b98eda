//! Result formats. A [`Writer`] takes the rows of one run and writes them; one file per format.

#[cfg(feature = "columnar")]
mod columnar;
mod csv;
mod json;
mod lines;
mod postgres;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wt_catalog::Value;
use wt_engine::{RowSink, SinkError, Tuple};
use wt_plan::physical::Schema;

use crate::cli::Format;
use crate::failure::Failure;

pub use lines::text;
pub use postgres::{PostgresTarget, digest, relation_of};

/// Writes the rows of one result.
pub trait Writer: Send {
    /// Takes one row.
    fn row(&mut self, values: &[Value]) -> io::Result<()>;
    /// A window is complete: a reader of a stream may want to see it now.
    fn window(&mut self) -> io::Result<()>;
    /// Nothing comes at present.
    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// No more rows.
    fn finish(&mut self) -> io::Result<()>;
    /// Takes the flag that is set when the run is interrupted, for those to whom half a result is not half of one.
    fn watch(&mut self, _cancel: &Arc<AtomicBool>) {}
    /// Takes what tells how much a live run has lost so far, for those who note it beside their rows.
    fn account(&mut self, _lost: &Lost) {}
}

/// Tells what a live run has lost so far: causes, and packets or tuples.
pub type Lost = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Where rows go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
    /// A table in Postgres.
    Postgres(Box<PostgresTarget>),
    /// Nowhere: rows are made and thrown away, for measurements.
    Nowhere,
}

/// Standard output, shared by the results that go there: each writes whole lines.
#[derive(Clone)]
struct SharedStdout(Arc<Mutex<BufWriter<io::Stdout>>>);

impl SharedStdout {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(BufWriter::with_capacity(1 << 16, io::stdout()))))
    }

    fn lock(&self) -> MutexGuard<'_, BufWriter<io::Stdout>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for SharedStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

impl Target {
    fn open(&self, stdout: &SharedStdout) -> Result<Box<dyn Write + Send>, Failure> {
        match self {
            Target::Stdout => Ok(Box::new(stdout.clone())),
            // Rows for Postgres do not go through a stream.
            Target::Nowhere | Target::Postgres(_) => Ok(Box::new(io::sink())),
            Target::File(path) => {
                if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                    std::fs::create_dir_all(parent)
                        .map_err(|e| Failure::path("create the folder", parent, &e))?;
                }
                let file = File::create(path).map_err(|e| Failure::path("write", path, &e))?;
                Ok(Box::new(BufWriter::new(file)))
            }
        }
    }
}

/// A writer of text that is no JSON: a table, or else CSV.
pub fn text_writer(
    sink: Box<dyn Write + Send>,
    schema: &Schema,
    format: Format,
) -> Box<dyn Writer> {
    match format {
        Format::Table => Box::new(table::Table::new(sink, schema, None)),
        _ => Box::new(csv::Csv::new(sink, schema)),
    }
}

/// The format for a target: what the user asked for, else what the file name says, else a table for a terminal and CSV
/// for everything else.
pub fn choose_format(asked: Option<Format>, target: &Target) -> Format {
    if let Some(format) = asked {
        return format;
    }
    match target {
        Target::File(path) => by_extension(path).unwrap_or(Format::Csv),
        Target::Stdout if io::stdout().is_terminal() => Format::Table,
        Target::Stdout | Target::Nowhere | Target::Postgres(_) => Format::Csv,
    }
}

fn by_extension(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "txt" => Some(Format::Table),
        "csv" => Some(Format::Csv),
        "json" => Some(Format::Json),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        #[cfg(feature = "columnar")]
        "parquet" => Some(Format::Parquet),
        #[cfg(feature = "columnar")]
        "arrow" | "arrows" => Some(Format::Arrow),
        _ => None,
    }
}

/// A result of the plan and where it goes.
pub struct Route {
    /// Index into the plan's outputs.
    pub output: usize,
    /// Query name, shown where several results share a stream.
    pub query: String,
    /// Columns.
    pub schema: Schema,
    /// Format.
    pub format: Format,
    /// Target.
    pub target: Target,
}

/// The sink of a run: rows by output number to their writers.
pub struct Results {
    writers: Vec<Option<Box<dyn Writer>>>,
    more: MoreResults,
    /// Set when the run is interrupted.
    cancel: Option<Arc<AtomicBool>>,
    lost: Option<Lost>,
}

/// A result that was added: its number, and its writer.
type Added = (usize, Box<dyn Writer>);

/// Results that are added while a run goes on.
#[derive(Clone)]
pub struct MoreResults {
    stdout: SharedStdout,
    /// The format of those on standard output, while all there tell rows apart.
    on_stdout: Option<Format>,
    added: Arc<Mutex<Vec<Added>>>,
}

impl MoreResults {
    /// Adds a result under a number of its own.
    ///
    /// # Errors
    /// Its file cannot be written, or standard output is not for several results.
    pub fn add(&self, number: usize, route: Route) -> Result<(), Failure> {
        let mut route = route;
        let on_stdout = matches!(route.target, Target::Stdout);
        if on_stdout {
            route.format = match self.on_stdout {
                Some(format @ (Format::Table | Format::Ndjson)) => format,
                None if matches!(route.format, Format::Table | Format::Ndjson) => route.format,
                _ => {
                    return Err(Failure::Input(format!(
                        "the rows of `{}` cannot share standard output with others; give them a file (-o), or run with --format ndjson or table",
                        route.query
                    )));
                }
            };
        }
        let writer = route.open(&self.stdout, on_stdout)?;
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push((number, writer));
        Ok(())
    }
}

/// Folders in which results make files while they are written.
pub fn spools(routes: &[Route]) -> Vec<PathBuf> {
    let spool = |route: &Route| match &route.target {
        Target::Postgres(target) => Some(target.spool.clone()),
        Target::Stdout | Target::File(_) | Target::Nowhere => None,
    };
    routes.iter().filter_map(spool).collect()
}

impl Route {
    /// Opens the target. A `tagged` result names its query with its rows.
    fn open(self, stdout: &SharedStdout, tagged: bool) -> Result<Box<dyn Writer>, Failure> {
        if let Target::Postgres(target) = self.target {
            return Ok(Box::new(postgres::PostgresWriter::open(*target, &self.schema)?));
        }
        let tag = tagged.then(|| self.query.clone());
        let sink = self.target.open(stdout)?;
        Ok(match self.format {
            Format::Table => Box::new(table::Table::new(sink, &self.schema, tag)),
            Format::Csv => Box::new(csv::Csv::new(sink, &self.schema)),
            Format::Json => Box::new(json::Json::array(sink, &self.schema)),
            Format::Ndjson => Box::new(json::Json::lines(sink, &self.schema, tag)),
            #[cfg(feature = "columnar")]
            Format::Parquet => Box::new(columnar::Parquet::new(sink, &self.schema)?),
            #[cfg(feature = "columnar")]
            Format::Arrow => Box::new(columnar::ArrowStream::new(sink, &self.schema)?),
        })
    }
}

impl Results {
    /// Opens every target. Results that share standard output must be of a format that can tell them apart; those of a run that may get more name
    /// their query from the beginning.
    pub fn open(outputs: usize, routes: Vec<Route>, may_grow: bool) -> Result<Self, Failure> {
        let on_stdout = routes.iter().filter(|r| matches!(r.target, Target::Stdout)).count();
        if on_stdout > 1
            && let Some(route) = routes.iter().find(|r| {
                matches!(r.target, Target::Stdout)
                    && !matches!(r.format, Format::Table | Format::Ndjson)
            })
        {
            let names: Vec<_> = routes.iter().map(|r| r.query.as_str()).collect();
            return Err(Failure::Input(format!(
                "{on_stdout} results ({}) cannot share one {} stream\n  help: choose one with --result {}, write each to its own file with -o \
                 '{{query}}.{}', or use --format ndjson or table",
                names.join(", "),
                route.format.name(),
                names[0],
                route.format.name(),
            )));
        }
        let stdout = SharedStdout::new();
        let mut writers: Vec<Option<Box<dyn Writer>>> = Vec::new();
        writers.resize_with(outputs, || None);
        let to_stdout = |route: &&Route| matches!(route.target, Target::Stdout);
        let formats = routes.iter().find(to_stdout).map(|route| route.format);
        for route in routes {
            let tagged = (on_stdout > 1 || may_grow) && to_stdout(&&route);
            let output = route.output;
            writers[output] = Some(route.open(&stdout, tagged)?);
        }
        let more = MoreResults { stdout, on_stdout: formats, added: Arc::default() };
        Ok(Self { writers, more, cancel: None, lost: None })
    }

    /// The way to add results.
    pub fn more(&self) -> MoreResults {
        self.more.clone()
    }

    /// The writer of an output, if its rows go anywhere.
    fn writer(&mut self, output: usize) -> Option<&mut Box<dyn Writer>> {
        if output >= self.writers.len() {
            self.take_added();
        }
        self.writers.get_mut(output)?.as_mut()
    }

    fn take_added(&mut self) {
        let mut added = self.more.added.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, mut writer) in added.drain(..) {
            if let Some(cancel) = &self.cancel {
                writer.watch(cancel);
            }
            if let Some(lost) = &self.lost {
                writer.account(lost);
            }
            if number >= self.writers.len() {
                self.writers.resize_with(number + 1, || None);
            }
            self.writers[number] = Some(writer);
        }
    }

    /// Gives every writer the flag that is set when the run is interrupted.
    pub fn watch(&mut self, cancel: &Arc<AtomicBool>) {
        for writer in self.writers.iter_mut().flatten() {
            writer.watch(cancel);
        }
        self.cancel = Some(Arc::clone(cancel));
    }

    /// Gives every writer what tells how much the run has lost so far.
    pub fn account(&mut self, lost: &Lost) {
        for writer in self.writers.iter_mut().flatten() {
            writer.account(lost);
        }
        self.lost = Some(Arc::clone(lost));
    }
}

impl Format {
    /// The name given to `--format`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            #[cfg(feature = "columnar")]
            Format::Parquet => "parquet",
            #[cfg(feature = "columnar")]
            Format::Arrow => "arrow",
        }
    }
}

impl RowSink for Results {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        match self.writer(output) {
            Some(writer) => Ok(writer.row(&tuple.values)?),
            None => Ok(()),
        }
    }

    fn window(&mut self, output: usize) -> Result<(), SinkError> {
        match self.writer(output) {
            Some(writer) => Ok(writer.window()?),
            None => Ok(()),
        }
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.writers.iter_mut().flatten().try_for_each(|writer| writer.idle())?;
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        self.take_added();
        for writer in self.writers.iter_mut().flatten() {
            writer.finish()?;
        }
        Ok(())
    }
}
