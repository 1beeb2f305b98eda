//! Programs for tests.

use crate::bind::InterfaceInfo;
use crate::compile::{CompileInput, compile};
use crate::ir::LftaProgram;

/// The program of queries that begin alike and go on as they say.
pub(crate) fn program(begin: &str, queries: &[String]) -> LftaProgram {
    let queries: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(i, rest)| format!("DEFINE {{ query_name q{i}; }} {begin} {rest}"))
        .collect();
    let catalog = wt_catalog::Catalog::builtin();
    let interface = InterfaceInfo { name: "default".to_owned(), properties: Vec::new() };
    let mut compiled = compile(&CompileInput {
        catalog: &catalog,
        text: &queries.join(";\n"),
        file_name: "",
        interfaces: &[interface],
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    })
    .unwrap();
    compiled.physical.interfaces.remove(0).program
}
