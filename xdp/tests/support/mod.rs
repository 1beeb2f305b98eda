//! What the tests of generated programs share.

use wt_catalog::{Catalog, Value};
use wt_plan::ir::LftaProgram;
use wt_plan::{CompileInput, InterfaceInfo};

/// The LFTA program of a batch on an interface `eth0`, and its parameters.
pub fn program(text: &str) -> (LftaProgram, Vec<Value>) {
    let catalog = Catalog::builtin();
    let interfaces =
        [InterfaceInfo { name: "eth0".into(), properties: vec![("Name".into(), "eth0".into())] }];
    let compiled = wt_plan::compile(&CompileInput {
        catalog: &catalog,
        text,
        file_name: "test",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    });
    let compiled = compiled
        .unwrap_or_else(|errors| panic!("{}", wt_lang::render(&errors, "test", text, false)));
    let values = compiled.physical.params.iter().map(|param| param.value.clone()).collect();
    (compiled.physical.interfaces[0].program.clone(), values)
}
