//! What commands share: the catalog with the user's protocols, the named traces, the compiled text.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wt_catalog::Catalog;
use wt_engine::{Capture, Captures, IndexedPart, Source};
use wt_lang::Diagnostic;
use wt_plan::watchlist::Entries;
use wt_plan::{CompileInput, Compiled, INTERFACE_TYPE, InterfaceInfo, STORE_TYPE};
use wt_trace::store::{Findings, Pieces};
use wt_trace::{Opened as OpenedTrace, TraceFile};
use wt_wire::{CaptureError, CaptureReader};

use crate::cli::TextArgs;
use crate::failure::Failure;
use crate::indexed::{self, Need, Within};
use crate::sets;

/// Interface name of traces that are given without one.
pub const DEFAULT_INTERFACE: &str = "default";

/// The traces of one interface.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Interface name.
    pub interface: String,
    /// Files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Further interface properties (`@Name` and `@Host` are always there).
    pub properties: Vec<(String, String)>,
}

impl Traces {
    /// A store, under a name.
    pub fn store(name: &str, dir: PathBuf) -> Self {
        let kind = (INTERFACE_TYPE.to_owned(), STORE_TYPE.to_owned());
        Self { interface: name.to_owned(), files: vec![dir], properties: vec![kind] }
    }

    /// The interface as the planner sees it.
    pub fn interface_info(&self) -> InterfaceInfo {
        interface_info(&self.interface, &self.properties)
    }
}

/// An interface of a name and further properties.
pub fn interface_info(name: &str, further: &[(String, String)]) -> InterfaceInfo {
    let mut properties =
        vec![("Name".to_owned(), name.to_owned()), ("Host".to_owned(), "localhost".to_owned())];
    properties.extend(further.iter().cloned());
    InterfaceInfo { name: name.to_owned(), properties }
}

/// Groups `-r` arguments by interface, in order of first mention. An existing file whose name has a `=` is that file.
pub fn parse_traces(arguments: &[String]) -> Vec<Traces> {
    let mut all: Vec<Traces> = Vec::new();
    for argument in arguments {
        let (interface, file) = match argument.split_once('=') {
            Some((name, file)) if is_name(name) && !Path::new(argument).exists() => {
                (name, PathBuf::from(file))
            }
            _ => (DEFAULT_INTERFACE, PathBuf::from(argument)),
        };
        match all.iter_mut().find(|t| t.interface == interface) {
            Some(traces) => traces.files.push(file),
            None => all.push(Traces {
                interface: interface.to_owned(),
                files: vec![file],
                properties: Vec::new(),
            }),
        }
    }
    all
}

/// Stores by name, as `--store` arguments and configurations give them: each is an interface.
pub fn parse_stores(arguments: &[String]) -> Result<Vec<Traces>, Failure> {
    let mut stores: Vec<Traces> = Vec::new();
    for argument in arguments {
        let Some((name, dir)) = argument.split_once('=').filter(|(name, _)| is_name(name)) else {
            return Err(Failure::Input(format!(
                "`--store {argument}` names no store; write NAME=DIR, and FROM NAME.tcp in the query"
            )));
        };
        if stores.iter().any(|known| known.interface == name) {
            return Err(Failure::Input(format!("store `{name}` is given twice")));
        }
        stores.push(Traces::store(name, PathBuf::from(dir)));
    }
    Ok(stores)
}

/// Refuses a store that is called as an interface is.
pub fn refuse_same_names<'a>(
    stores: &[Traces],
    interfaces: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    for name in interfaces {
        if stores.iter().any(|store| store.interface == name) {
            return Err(Failure::Input(format!(
                "`{name}` is a store and an interface; give each a name of its own: --store NAME=DIR"
            )));
        }
    }
    Ok(())
}

pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.as_bytes()[0].is_ascii_digit()
}

/// Opened traces.
pub struct Opened {
    /// One per interface.
    pub sources: Vec<Source>,
    /// What is said of files that are no captures at all (lenient runs only).
    pub unreadable: Vec<String>,
    /// What is found of stores while they are read.
    pub findings: Vec<Findings>,
}

/// Captures of an interface.
pub struct OpenedReaders {
    /// In the order given; a store has one per writer.
    pub readers: Vec<CaptureReader>,
    /// As in [`Opened`].
    pub unreadable: Vec<String>,
    /// As in [`Opened`].
    pub findings: Vec<Findings>,
    /// What is counted of those of which an index leaves something out.
    pub parts: Vec<IndexedPart>,
    /// The one store in pieces, where nothing else is read and it has one writer.
    pub pieces: Option<Pieces>,
}

/// Files that are open beside traces: sockets, sinks, indices.
const OTHER_FILES: u64 = 64;

/// Lets as many traces be open as are given, as far as this process may say so: all are open at a time, and 1,024 files are the usual limit. Where it may
/// not, opening one tells.
fn allow_files(count: usize) {
    let (limit, wanted) = (getrlimit(Resource::Nofile), count as u64 + OTHER_FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

/// Opens traces, each as a capture; a directory is a store. Of those with indices, only what may be wanted, where something is said of that.
pub fn open_readers(
    files: &[PathBuf],
    lenient: bool,
    within: Option<&Within>,
) -> Result<OpenedReaders, Failure> {
    allow_files(files.len());
    let mut opened = OpenedReaders {
        readers: Vec::new(),
        unreadable: Vec::new(),
        findings: Vec::new(),
        parts: Vec::new(),
        pieces: None,
    };
    for file in files {
        if file.is_dir() {
            let (captured, part) = indexed::store(file, within)?;
            // Those of several writers are in no order.
            let is_in_order = files.len() == 1 && captured.pieces.len() == 1;
            opened.pieces = captured.pieces.into_iter().next().filter(|_| is_in_order);
            opened.readers.extend(captured.readers);
            opened.findings.push(captured.findings);
            opened.parts.extend(part);
            continue;
        }
        let chosen = within.and_then(|within| indexed::chosen(file, within));
        if let Some((reader, part)) = chosen.and_then(|chosen| indexed::capture(file, chosen)) {
            opened.readers.push(reader);
            opened.parts.push(part);
            continue;
        }
        let reader = match file.as_os_str() == "-" {
            true => CaptureReader::from_reader("-", std::io::stdin()),
            false => CaptureReader::open(file),
        };
        match reader {
            Ok(reader) => {
                if within.is_some() {
                    opened.parts.push(indexed::whole_part(file));
                }
                opened.readers.push(reader);
            }
            Err(error) => opened.unreadable.extend(refused(&error, lenient)?),
        }
    }
    Ok(opened)
}

/// What is said of a trace that cannot be opened, if that is no failure.
fn refused(error: &CaptureError, lenient: bool) -> Result<Option<String>, Failure> {
    match error {
        CaptureError::Open { .. } => Err(Failure::Environment(error.to_string())),
        error if lenient => Ok(Some(error.to_string())),
        error => Err(Failure::Input(format!("{error}\n  help: {}", error.hint()))),
    }
}

/// Opens the traces as sources, one per interface. A file that is no capture is refused before anything runs, or left
/// out and reported when lenient. What a plan does not need is left out where indices tell, if its need is said.
pub fn open_sources(all: &[Traces], lenient: bool, need: Option<&Need>) -> Result<Opened, Failure> {
    let stdin = all.iter().flat_map(|t| &t.files).filter(|f| f.as_os_str() == "-").count();
    if stdin > 1 {
        return Err(Failure::Input(format!(
            "standard input is given {stdin} times; it can be read once"
        )));
    }
    allow_files(all.iter().map(|traces| traces.files.len()).sum());
    let mut opened = Opened { sources: Vec::new(), unreadable: Vec::new(), findings: Vec::new() };
    for traces in all {
        let within = need.and_then(|need| need.within(&traces.interface));
        let captures = open_captures(&traces.files, lenient, within.as_ref(), &mut opened)?;
        opened.sources.push(Source { interface: traces.interface.clone(), captures });
    }
    Ok(opened)
}

/// Opens the captures of an interface: plain files are read as fast as the machine allows.
fn open_captures(
    files: &[PathBuf],
    lenient: bool,
    within: Option<&Within>,
    opened: &mut Opened,
) -> Result<Captures, Failure> {
    let is_alone = files.len() == 1;
    let mut captures = Captures::default();
    for file in files {
        if file.is_dir() {
            let (captured, part) = indexed::store(file, within)?;
            opened.findings.push(captured.findings);
            captures.several.extend(captured.readers.into_iter().map(Capture::from));
            captures.parts.extend(part);
            if is_alone {
                captures.pieces = captured.pieces;
            }
            continue;
        }
        let trace = match file.as_os_str() == "-" {
            true => CaptureReader::from_reader("-", std::io::stdin())
                .map(|reader| OpenedTrace::Other(Box::new(reader))),
            false => TraceFile::open(file),
        };
        let trace = match trace {
            Ok(trace) => trace,
            Err(error) => {
                opened.unreadable.extend(refused(&error, lenient)?);
                continue;
            }
        };
        let mut chosen = within.and_then(|within| indexed::chosen(file, within));
        if let OpenedTrace::Plain(trace) = &trace
            && let Some(chosen) = chosen.take_if(|chosen| trace.is_plain_in(chosen))
        {
            captures.several.push(Capture::PlainIndexed(trace.clone(), chosen));
            continue;
        }
        if let Some((reader, part)) = chosen.and_then(|chosen| indexed::capture(file, chosen)) {
            captures.several.push(reader.into());
            captures.parts.push(part);
            continue;
        }
        // The books of some need those of all.
        if within.is_some() && !is_alone {
            captures.parts.push(indexed::whole_part(file));
        }
        captures.several.push(match trace {
            OpenedTrace::Plain(trace) => Capture::Plain(trace),
            OpenedTrace::Other(reader) => Capture::Any(reader),
        });
    }
    Ok(captures)
}

/// The built-in catalog with the protocols of DDL files added.
pub fn catalog(ddl_files: &[PathBuf]) -> Result<Cow<'static, Catalog>, Failure> {
    let mut catalog = Cow::Borrowed(Catalog::builtin_ref());
    for path in ddl_files {
        let text = read_text(path)?;
        let name = path.display().to_string();
        match catalog.to_mut().add_ddl(&text, &name) {
            Ok(warnings) => eprint!("{}", render(&warnings, &name, &text)),
            Err(errors) => return Err(Failure::Query(render(&errors, &name, &text))),
        }
    }
    Ok(catalog)
}

/// Reads a text file; `-` is standard input.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = if path.as_os_str() == "-" {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::io::stdin().take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    }
    .map_err(|e| Failure::path("read", path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        Failure::Input(format!(
            "{} is not text: byte {} is not UTF-8",
            path.display(),
            e.utf8_error().valid_up_to()
        ))
    })
}

/// Longest text taken from standard input, bytes; the parser's own limit is below it.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// A text with the name messages use for it.
#[derive(Clone, Debug)]
pub struct NamedText {
    /// File name, or `query`.
    pub name: String,
    /// File base name up to the first dot: the default name of its first query.
    pub base_name: String,
    /// The text.
    pub text: String,
}

impl NamedText {
    /// The text of the command line or of its file.
    pub fn from_args(args: &TextArgs) -> Result<Self, Failure> {
        match (&args.text, &args.file) {
            (_, Some(path)) => Self::from_file(path),
            (Some(text), None) => Ok(Self::inline(text)),
            (None, None) => Err(Failure::Input("no query text is given".to_owned())),
        }
    }

    /// The text of a file.
    pub fn from_file(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)?;
        let file = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let base_name = match file.split('.').next() {
            Some(base) if is_name(base) => base.to_owned(),
            _ => String::new(),
        };
        Ok(Self { name: path.display().to_string(), base_name, text })
    }

    /// A text without a file.
    pub fn inline(text: &str) -> Self {
        Self { name: "query".to_owned(), base_name: String::new(), text: text.to_owned() }
    }
}

/// What is compiled besides the text.
pub struct CompileOptions<'a> {
    /// `NAME=VALUE` of `-p`.
    pub params: &'a [String],
    /// What watchlists have in the place of their files' records, by name.
    pub watchlists: &'a [(String, Entries)],
    /// Definitions of `--set`.
    pub sets: &'a [String],
    /// Library directory.
    pub library: Option<&'a Path>,
    /// All sources end.
    pub finite: bool,
}

/// Compiles a text; prints its warnings.
pub fn compile(
    catalog: &Catalog,
    text: &NamedText,
    interfaces: &[InterfaceInfo],
    options: &CompileOptions<'_>,
) -> Result<Compiled, Failure> {
    let params = pairs(options.params, "-p", "name=value")?;
    let interface_sets = sets::interface_sets(options.sets, interfaces)?;
    let library = |path: &str| -> Option<String> {
        let relative = Path::new(path);
        let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let file = options.library?.join(relative).with_extension("gsql");
        if plain { std::fs::read_to_string(file).ok() } else { None }
    };
    let input = CompileInput {
        catalog,
        text: &text.text,
        file_name: &text.base_name,
        interfaces,
        interface_sets: &interface_sets,
        params: &params,
        watchlists: options.watchlists,
        finite: options.finite,
        library: &library,
    };
    match wt_plan::compile(&input) {
        Ok(compiled) => {
            eprint!("{}", render(&compiled.warnings, &text.name, &text.text));
            Ok(compiled)
        }
        Err(errors) => {
            let mut message = render(&errors, &text.name, &text.text);
            let finite = CompileInput { finite: true, ..input };
            if !options.finite && wt_plan::compile(&finite).is_ok() {
                message.push_str(
                    "  = help: With --for 10s or --packets 1000 the capture has an end, and then this has a result.\n",
                );
            }
            Err(Failure::Query(message))
        }
    }
}

fn pairs(
    arguments: &[String],
    option: &str,
    shape: &str,
) -> Result<Vec<(String, String)>, Failure> {
    arguments
        .iter()
        .map(|argument| match argument.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.to_owned())),
            None => Err(Failure::Input(format!("`{option} {argument}` has no `=`; write {shape}"))),
        })
        .collect()
}

/// Diagnostics with carets; coloured when standard error is a terminal that wants colour.
pub fn render(diagnostics: &[Diagnostic], name: &str, text: &str) -> String {
    wt_lang::render(diagnostics, name, text, stderr_colour())
}

/// Whether to colour standard error (`NO_COLOR` is honoured).
pub fn stderr_colour() -> bool {
    use std::io::IsTerminal;
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_group_by_interface() {
        let traces = parse_traces(&[
            "eth0=a.pcap".into(),
            "b.pcap".into(),
            "eth0=c.pcap".into(),
            "odd-name=d.pcap".into(),
        ]);
        assert_eq!(traces.len(), 2);
        assert_eq!(traces[0].interface, "eth0");
        assert_eq!(traces[0].files, [PathBuf::from("a.pcap"), PathBuf::from("c.pcap")]);
        assert_eq!(traces[1].interface, DEFAULT_INTERFACE);
        assert_eq!(traces[1].files, [PathBuf::from("b.pcap"), PathBuf::from("odd-name=d.pcap")]);
    }

    #[test]
    fn a_pair_without_a_value_is_refused() {
        assert!(pairs(&["x".into()], "-p", "name=value").is_err());
    }
}
