//! From text to plan: parse, bind, split.

use wt_catalog::Catalog;
use wt_lang::{Diagnostic, Severity, parse_gsql};

use crate::bind::{BindInput, InterfaceInfo, bind};
use crate::bpf;
use crate::logical::LogicalPlan;
use crate::lower::InterfaceEnv;
use crate::physical::PhysicalPlan;
use crate::split::{SplitInput, SplitReport, split};
use crate::watchlist::Entries;

/// A text and what surrounds it.
#[derive(Clone, Copy)]
pub struct CompileInput<'a> {
    /// Protocols, enumerations and functions.
    pub catalog: &'a Catalog,
    /// The query text.
    pub text: &'a str,
    /// Name of the file: up to its first dot it names the first query. May be empty.
    pub file_name: &'a str,
    /// Interfaces of the session, in order; the first is the default.
    pub interfaces: &'a [InterfaceInfo],
    /// Interface sets: name and members, as indexes into `interfaces`.
    pub interface_sets: &'a [(String, Vec<usize>)],
    /// Parameter values by name.
    pub params: &'a [(String, String)],
    /// What watchlists have in the place of their files' records, by name.
    pub watchlists: &'a [(String, Entries)],
    /// All sources end: files, closed ranges.
    pub finite: bool,
    /// Text of a library file by its path below the library directory, without `.gsql`.
    pub library: &'a dyn Fn(&str) -> Option<String>,
}

/// A batch that can run.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What was asked.
    pub logical: LogicalPlan,
    /// What runs.
    pub physical: PhysicalPlan,
    /// Texts and reasons of what runs, for EXPLAIN.
    pub report: SplitReport,
    /// What is probably not as meant.
    pub warnings: Vec<Diagnostic>,
    /// Rewrites in the order they were made.
    pub rewrites: Vec<String>,
    /// All sources end.
    pub finite: bool,
}

/// Compiles a query file.
///
/// # Errors
/// All messages of the first stage that found an error, warnings included, in text order.
pub fn compile(input: &CompileInput<'_>) -> Result<Compiled, Vec<Diagnostic>> {
    let parsed = parse_gsql(input.text);
    let wrong = parsed.diagnostics.iter().any(|d| d.severity == Severity::Error);
    let file = match parsed.tree {
        Some(file) if !wrong => file,
        _ => return Err(parsed.diagnostics),
    };
    let mut warnings = parsed.diagnostics;
    let (logical, bind_warnings) = bind(&BindInput {
        catalog: input.catalog,
        text: input.text,
        file: &file,
        file_name: input.file_name,
        interfaces: input.interfaces,
        interface_sets: input.interface_sets,
        params: input.params,
        watchlists: input.watchlists,
        finite: input.finite,
        library: input.library,
    })?;
    warnings.extend(bind_warnings);
    let interfaces = environments(input.interfaces);
    let (physical, report) = split(SplitInput {
        catalog: input.catalog,
        logical: &logical,
        interfaces: &interfaces,
        finite: input.finite,
    })?;
    let rewrites = logical.rewrites.iter().chain(&report.rewrites).cloned().collect();
    Ok(Compiled { logical, physical, report, warnings, rewrites, finite: input.finite })
}

/// Interfaces as expressions see them. Which link types a capture has is only known when it is open, so filters are
/// compiled for all, Ethernet first.
fn environments(interfaces: &[InterfaceInfo]) -> Vec<InterfaceEnv> {
    let ethernet = 1;
    let rest = bpf::KNOWN.into_iter().filter(|l| *l != ethernet);
    let link_types: Vec<u16> = std::iter::once(ethernet).chain(rest).chain([bpf::OTHER]).collect();
    interfaces
        .iter()
        .map(|i| {
            let mut properties = i.properties.clone();
            if !properties.iter().any(|(name, _)| name == "Name") {
                properties.push(("Name".to_owned(), i.name.clone()));
            }
            InterfaceEnv { name: i.name.clone(), properties, link_types: link_types.clone() }
        })
        .collect()
}
