//! Runs `.slt` records.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wt_catalog::Catalog;
use wt_engine::{Capture, Captures, RowSink, RunOptions, RunReport, SinkError, Source, Tuple};
use wt_plan::explain::ExplainOptions;
use wt_plan::{CompileInput, Compiled, InterfaceInfo};
use wt_trace::{Opened, TraceFile};
use wt_wire::CaptureError;

use crate::slt::{Item, Kind, Record, Suite};

/// What executes LFTA programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The reference interpreter.
    Interpreter,
    /// Compiled code, in batches of many packets.
    Compiled,
    /// Compiled code, in batches of a few packets, so that windows and groups cross their borders.
    CompiledInSevens,
    /// Compiled code, packet by packet.
    CompiledOneByOne,
    /// Compiled code for likely header paths only.
    Tiered,
    /// Compiled code on two cores, in ranges of a few packets.
    TwoCores,
    /// Compiled code on eight cores, in ranges of some hundred packets.
    EightCores,
    /// Compiled code, and operators on a thread of their own.
    OperatorsApart,
    /// A generated XDP program in the kernel, packet by packet, where all packets of an interface can be given to it.
    Xdp,
}

/// Every backend that a suite runs on.
pub const BACKENDS: &[Backend] = &[
    Backend::Interpreter,
    Backend::Compiled,
    Backend::CompiledInSevens,
    Backend::CompiledOneByOne,
    Backend::Tiered,
    Backend::TwoCores,
    Backend::EightCores,
    Backend::OperatorsApart,
    Backend::Xdp,
];

impl Backend {
    /// Name in test listings.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Interpreter => "interpreter",
            Backend::Compiled => "compiled",
            Backend::CompiledInSevens => "compiled_7",
            Backend::CompiledOneByOne => "compiled_1",
            Backend::Tiered => "tiered",
            Backend::TwoCores => "two_cores",
            Backend::EightCores => "eight_cores",
            Backend::OperatorsApart => "operators_apart",
            Backend::Xdp => "xdp",
        }
    }
}

impl Backend {
    /// Files as it reads them: plain ones in mapped windows, but for those that take records as they are given.
    fn captures(self, files: &[PathBuf]) -> Result<Captures, CaptureError> {
        let is_mapped =
            !matches!(self, Backend::Interpreter | Backend::OperatorsApart | Backend::Xdp);
        let several = files.iter().map(|file| match TraceFile::open(file)? {
            Opened::Plain(trace) if is_mapped => Ok(Capture::Plain(trace)),
            Opened::Plain(trace) => Ok(trace.capture()?.into()),
            Opened::Other(reader) => Ok(Capture::Any(reader)),
        });
        let several = several.collect::<Result<_, CaptureError>>()?;
        Ok(Captures { several, ..Captures::default() })
    }

    /// How the engine runs it.
    pub fn options(self) -> RunOptions<'static> {
        let (backend, batch_packets_max) = match self {
            Backend::Interpreter => (wt_engine::Backend::Interpreter, None),
            Backend::Compiled => (wt_engine::Backend::Compiled, None),
            Backend::CompiledInSevens | Backend::OperatorsApart => {
                (wt_engine::Backend::Compiled, Some(7))
            }
            Backend::CompiledOneByOne => (wt_engine::Backend::Compiled, Some(1)),
            Backend::TwoCores | Backend::EightCores => (wt_engine::Backend::Compiled, None),
            Backend::Tiered => (wt_engine::Backend::Tiered, None),
            // Windows close between packets, as those of the reference do.
            Backend::Xdp => (wt_engine::Backend::Interpreter, Some(1)),
        };
        let (cores, range_bytes) = match self {
            Backend::TwoCores => (2, Some(2 << 10)),
            Backend::EightCores => (8, Some(64 << 10)),
            Backend::OperatorsApart => (2, None),
            _ => (1, None),
        };
        let operators_apart = self == Backend::OperatorsApart;
        RunOptions {
            backend,
            batch_packets_max,
            cores,
            range_bytes,
            operators_apart,
            ..RunOptions::default()
        }
    }
}

/// What the directives of a suite say.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Interface and trace files.
    pub traces: Vec<(String, Vec<PathBuf>)>,
    /// Parameters.
    pub params: Vec<(String, String)>,
    /// Interface sets by name.
    pub sets: Vec<(String, Vec<String>)>,
    /// DDL files.
    pub protocols: Vec<PathBuf>,
}

impl Setup {
    /// One interface `default` that reads these carried captures.
    pub fn of_captures(names: &[&str]) -> Self {
        let files = names.iter().map(|n| crate::capture(n)).collect();
        Self { traces: vec![("default".to_owned(), files)], ..Self::default() }
    }

    /// Takes a directive.
    pub fn apply(&mut self, word: &str, arguments: &[String]) {
        match word {
            "traces" => {
                self.traces.clear();
                for argument in arguments {
                    let (interface, file) =
                        argument.split_once('=').unwrap_or(("default", argument.as_str()));
                    let file = crate::capture(file);
                    match self.traces.iter_mut().find(|(name, _)| name == interface) {
                        Some((_, files)) => files.push(file),
                        None => self.traces.push((interface.to_owned(), vec![file])),
                    }
                }
            }
            "params" => self.params = pairs(arguments),
            "sets" => {
                let split = |m: String| m.split(',').map(str::to_owned).collect();
                self.sets = pairs(arguments).into_iter().map(|(n, m)| (n, split(m))).collect();
            }
            _ => {
                let dir = crate::tests_dir().join("slt");
                self.protocols = arguments.iter().map(|a| dir.join(a)).collect();
            }
        }
    }

    /// The catalog with the suite's protocols.
    pub fn catalog(&self) -> Result<Catalog, String> {
        let mut catalog = Catalog::builtin();
        for path in &self.protocols {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{path:?}: {e}"))?;
            catalog
                .add_ddl(&text, "suite.ddl")
                .map_err(|errors| wt_lang::render(&errors, "suite.ddl", &text, false))?;
        }
        Ok(catalog)
    }

    /// Compiles a text; the error is the rendered diagnostics.
    pub fn compile(&self, catalog: &Catalog, text: &str, finite: bool) -> Result<Compiled, String> {
        let names: Vec<&str> = if self.traces.is_empty() {
            vec!["default"]
        } else {
            self.traces.iter().map(|(name, _)| name.as_str()).collect()
        };
        let interfaces: Vec<InterfaceInfo> = names
            .iter()
            .map(|name| InterfaceInfo {
                name: (*name).to_owned(),
                properties: vec![
                    ("Name".to_owned(), (*name).to_owned()),
                    ("Host".to_owned(), "localhost".to_owned()),
                ],
            })
            .collect();
        let sets: Vec<(String, Vec<usize>)> = self
            .sets
            .iter()
            .map(|(name, members)| {
                let index = |m: &String| names.iter().position(|n| n == m);
                (name.clone(), members.iter().filter_map(index).collect())
            })
            .collect();
        let input = CompileInput {
            catalog,
            text,
            file_name: "suite",
            interfaces: &interfaces,
            interface_sets: &sets,
            params: &self.params,
            watchlists: &[],
            finite,
            library: &library,
        };
        wt_plan::compile(&input).map_err(|errors| wt_lang::render(&errors, "query", text, false))
    }

    /// Runs a plan over the traces.
    pub fn run(
        &self,
        compiled: &Compiled,
        backend: Backend,
        sink: &mut (dyn RowSink + Send),
    ) -> Result<RunReport, String> {
        let mut sources = Vec::new();
        for (interface, files) in &self.traces {
            let captures = backend.captures(files).map_err(|e| e.to_string())?;
            sources.push(Source { interface: interface.clone(), captures });
        }
        let in_kernel = |setup: &wt_engine::LftaSetup<'_>| {
            let files = self.traces.iter().find(|(name, _)| name == setup.interface);
            match files {
                Some((_, files)) if crate::kernel::takes(files) => crate::kernel::make(setup),
                _ => Ok(None),
            }
        };
        let mut options = backend.options();
        if backend == Backend::Xdp {
            options.make_lfta = Some(&in_kernel);
        }
        let report = wt_engine::run(&compiled.physical, sources, &options, sink)
            .map_err(|e| e.to_string())?;
        report.ledger.check().map_err(|e| format!("the books do not balance: {e}"))?;
        Ok(report)
    }
}

/// Library queries of the suites lie below `tests/slt`.
fn library(path: &str) -> Option<String> {
    std::fs::read_to_string(crate::tests_dir().join("slt").join(path).with_extension("gsql")).ok()
}

fn pairs(arguments: &[String]) -> Vec<(String, String)> {
    arguments
        .iter()
        .filter_map(|a| a.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Rows as CSV lines, per output.
#[derive(Debug, Default)]
pub struct CsvSink {
    /// One text per output of the plan.
    pub outputs: Vec<String>,
    types: Vec<Vec<wt_catalog::Type>>,
}

impl CsvSink {
    /// A sink for the outputs of a plan, each beginning with its header line.
    pub fn new(compiled: &Compiled) -> Self {
        let outputs = &compiled.physical.outputs;
        let header = |o: &wt_plan::physical::Output| {
            let names: Vec<_> = o.schema.columns.iter().map(|c| c.name.as_str()).collect();
            format!("{}\n", names.join(","))
        };
        Self {
            types: outputs
                .iter()
                .map(|o| o.schema.columns.iter().map(|c| c.ty).collect())
                .collect(),
            outputs: outputs.iter().map(header).collect(),
        }
    }
}

impl RowSink for CsvSink {
    fn row(&mut self, output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        let cells: Vec<String> = tuple
            .values
            .iter()
            .zip(&self.types[output])
            .map(|(value, ty)| wt_catalog::display::show(value, *ty).to_string())
            .collect();
        let _ = writeln!(self.outputs[output], "{}", cells.join(","));
        Ok(())
    }

    fn window(&mut self, _: usize) -> Result<(), SinkError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs one suite file on a backend; `UPDATE=1` rewrites it instead of failing.
pub fn run_suite(path: &Path, backend: Backend) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path:?}: {e}"))?;
    let mut suite = Suite::parse(&text).map_err(|e| format!("{path:?}: {e}"))?;
    let mut setup = Setup::default();
    let mut failures = String::new();
    let update = crate::update_mode();
    for item in &mut suite.items {
        match item {
            Item::Verbatim(_) => {}
            Item::Directive { word, arguments } => setup.apply(word, arguments),
            Item::Record(record) => {
                let actual =
                    answer(&setup, record, backend).unwrap_or_else(|e| format!("FAILED: {e}"));
                let actual = actual.trim_end().to_owned();
                if update {
                    record.expected = actual;
                } else if actual != record.expected.trim_end() {
                    let _ = writeln!(
                        failures,
                        "{}:{}\n{}\n---- expected\n{}\n---- got\n{actual}\n",
                        path.display(),
                        record.line,
                        record.text,
                        record.expected.trim_end(),
                    );
                }
            }
        }
    }
    if update {
        let printed = suite.print();
        if printed != text {
            std::fs::write(path, printed).map_err(|e| format!("{path:?}: {e}"))?;
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn answer(setup: &Setup, record: &Record, backend: Backend) -> Result<String, String> {
    let has = |flag: &str| record.flags.iter().any(|f| f == flag);
    let catalog = match (setup.catalog(), record.kind) {
        (Ok(catalog), _) => catalog,
        // Wrong declarations are diagnosed before the query is read.
        (Err(rendered), Kind::Error) => return Ok(rendered),
        (Err(rendered), _) => return Err(rendered),
    };
    let compiled = setup.compile(&catalog, &record.text, !has("live"));
    match record.kind {
        Kind::Error => match compiled {
            // A table or pattern is read when the run begins.
            Ok(compiled) => match setup.run(&compiled, backend, &mut CsvSink::new(&compiled)) {
                Ok(_) => Err("the text was accepted".to_owned()),
                Err(message) => Ok(message),
            },
            Err(rendered) => Ok(rendered),
        },
        Kind::Explain => {
            let mut compiled = compiled?;
            wt_xdp::place(&mut compiled, &wt_xdp::codegen::Options::default())
                .map_err(|e| e.to_string())?;
            let options = ExplainOptions { verbose: has("verbose"), code: has("code") };
            Ok(wt_plan::explain::explain(&compiled, &catalog, options))
        }
        Kind::Rows => {
            let compiled = compiled?;
            let mut sink = CsvSink::new(&compiled);
            setup.run(&compiled, backend, &mut sink)?;
            let outputs = &compiled.physical.outputs;
            let chosen = |o: &wt_plan::physical::Output| match record.flags.first() {
                Some(name) => o.query == *name,
                None => o.is_result,
            };
            let texts: Vec<&str> = (0..outputs.len())
                .filter(|&i| chosen(&outputs[i]))
                .map(|i| sink.outputs[i].trim_end())
                .collect();
            Ok(texts.join("\n"))
        }
        Kind::Ledger => {
            let compiled = compiled?;
            let mut sink = CsvSink::new(&compiled);
            let report = setup.run(&compiled, backend, &mut sink)?;
            Ok(report.ledger.to_string())
        }
    }
}
