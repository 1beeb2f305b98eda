//! Which LFTAs of a plan can run next to the driver. The planner decides by the values and operators of a query; what else keeps it on the
//! host, such as its size, shows when code is made.

use wt_catalog::Value;
use wt_plan::Compiled;

use crate::codegen::{self, CodegenError, Options};

/// Makes the program of each interface, and has the plan's notes say what EXPLAIN is to tell: a query is host only, with the reason, unless
/// there is code for it.
///
/// # Errors
/// A fault of the generator.
pub fn place(
    compiled: &mut Compiled,
    options: &Options,
) -> Result<Vec<codegen::Compiled>, CodegenError> {
    let params: Vec<Value> = compiled.physical.params.iter().map(|p| p.value.clone()).collect();
    let mut programs = Vec::with_capacity(compiled.physical.interfaces.len());
    for (plan, notes) in compiled.physical.interfaces.iter().zip(&mut compiled.report.lftas) {
        let made = codegen::compile(&plan.program, &params, options)?;
        for (query, note) in (0u32..).zip(notes) {
            match made.host.iter().find(|host| host.query == query) {
                None => note.host_only.clear(),
                Some(host) if note.host_only.is_empty() => {
                    note.host_only.push(host.reason.clone());
                }
                Some(_) => {}
            }
        }
        programs.push(made);
    }
    Ok(programs)
}
