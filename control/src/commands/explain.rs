//! `wiretable explain`.

use wt_plan::explain::ExplainOptions;

use crate::blame;
use crate::cli::ExplainArgs;
use crate::commands::shell::print;
use crate::failure::Failure;
use crate::session::{self, CompileOptions, NamedText, Traces};

/// Prints the plan of a text.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let text = NamedText::from_args(&args.text)?;
    let catalog = session::catalog(&args.text.protocols)?;
    let names = if args.interfaces.is_empty() {
        vec![session::DEFAULT_INTERFACE.to_owned()]
    } else {
        args.interfaces.clone()
    };
    let interfaces: Vec<_> = names
        .into_iter()
        .map(|interface| {
            Traces { interface, files: Vec::new(), properties: Vec::new() }.interface_info()
        })
        .collect();
    let options = CompileOptions {
        params: &args.text.params,
        sets: &args.text.sets,
        library: args.text.library.as_deref(),
        finite: !args.live,
    };
    let compiled = session::compile(&catalog, &text, &interfaces, &options)?;
    if let Some(diagnostic) = blame::of_plan(&compiled) {
        return Err(Failure::Query(session::render(&[diagnostic], &text.name, &text.text)));
    }
    let options = ExplainOptions { verbose: args.verbose, code: args.code };
    print(wt_plan::explain::explain(&compiled, &catalog, options).as_bytes())
}
