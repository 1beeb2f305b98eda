//! Result formats. A [`Writer`] takes the rows of one run and writes them; one file per format.

#[cfg(feature = "columnar")]
mod columnar;
mod csv;
mod json;
mod postgres;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wt_catalog::{Type, Value};
use wt_engine::{RowSink, SinkError, Tuple};
use wt_plan::physical::Schema;

use crate::cli::Format;
use crate::failure::Failure;

pub use postgres::{PostgresTarget, digest, relation_of};

/// Writes the rows of one result.
pub trait Writer {
    /// Takes one row.
    fn row(&mut self, values: &[Value]) -> io::Result<()>;
    /// A window is complete: a reader of a stream may want to see it now.
    fn window(&mut self) -> io::Result<()>;
    /// No more rows.
    fn finish(&mut self) -> io::Result<()>;
    /// Takes the flag that is set when the run is interrupted, for those to whom half a result is not half of one.
    fn watch(&mut self, _cancel: &Arc<AtomicBool>) {}
}

/// The text of a value in every text format.
pub fn text(value: &Value, ty: Type) -> String {
    wt_catalog::display::show(value, ty).to_string()
}

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

/// The sink of a run: rows by output index to their writers.
pub struct Results {
    writers: Vec<Option<Box<dyn Writer>>>,
}

impl Results {
    /// Opens every target. Results that share standard output must be of a format that can tell them apart.
    pub fn open(outputs: usize, routes: Vec<Route>) -> Result<Self, Failure> {
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
        for route in routes {
            if let Target::Postgres(target) = route.target {
                let writer = postgres::PostgresWriter::open(*target, &route.schema)?;
                writers[route.output] = Some(Box::new(writer));
                continue;
            }
            let tag = (on_stdout > 1 && matches!(route.target, Target::Stdout))
                .then(|| route.query.clone());
            let sink = route.target.open(&stdout)?;
            let writer: Box<dyn Writer> = match route.format {
                Format::Table => Box::new(table::Table::new(sink, &route.schema, tag)),
                Format::Csv => Box::new(csv::Csv::new(sink, &route.schema)),
                Format::Json => Box::new(json::Json::array(sink, &route.schema)),
                Format::Ndjson => Box::new(json::Json::lines(sink, &route.schema, tag)),
                #[cfg(feature = "columnar")]
                Format::Parquet => Box::new(columnar::Parquet::new(sink, &route.schema)?),
                #[cfg(feature = "columnar")]
                Format::Arrow => Box::new(columnar::ArrowStream::new(sink, &route.schema)?),
            };
            writers[route.output] = Some(writer);
        }
        Ok(Self { writers })
    }
}

impl Results {
    /// Gives every writer the flag that is set when the run is interrupted.
    pub fn watch(&mut self, cancel: &Arc<AtomicBool>) {
        for writer in self.writers.iter_mut().flatten() {
            writer.watch(cancel);
        }
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
        match self.writers.get_mut(output) {
            Some(Some(writer)) => Ok(writer.row(&tuple.values)?),
            _ => Ok(()),
        }
    }

    fn window(&mut self, output: usize) -> Result<(), SinkError> {
        match self.writers.get_mut(output) {
            Some(Some(writer)) => Ok(writer.window()?),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), SinkError> {
        for writer in self.writers.iter_mut().flatten() {
            writer.finish()?;
        }
        Ok(())
    }
}
