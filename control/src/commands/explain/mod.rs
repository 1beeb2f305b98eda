//! `wiretable explain`.

mod capacity;
mod code;

use wt_plan::explain::ExplainOptions;
use wt_xdp::codegen;

use crate::blame;
use crate::cli::{CodeArg, ExplainArgs};
use crate::commands::shell::print;
use crate::failure::Failure;
use crate::indexed::Need;
use crate::session::{self, CompileOptions, NamedText, Traces};

/// Of interfaces that are devices of this host: whose time stamps their packets carry, as `wiretable doctor` tells too.
fn stamps(interfaces: &[String]) -> String {
    let of = |name: &String| {
        let facts = wt_xdp::host::interface(name).ok()?;
        Some(format!("stamps      {name}: {}\n", facts.stamped_by()))
    };
    interfaces.iter().filter_map(of).collect()
}

/// Prints the plan of a text.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let text = NamedText::from_args(&args.text)?;
    let catalog = session::catalog(&args.text.protocols)?;
    let names = if args.interfaces.is_empty() {
        vec![session::DEFAULT_INTERFACE.to_owned()]
    } else {
        args.interfaces.clone()
    };
    let wants_capacity = args.wants_capacity();
    if args.analyze && args.read.is_empty() && args.text.stores.is_empty() {
        return Err(Failure::Input(
            "--analyze runs the text over traces, and none is given; name one with -r, or a store with --store"
                .to_owned(),
        ));
    }
    let traces = session::parse_traces(&args.read);
    let stores = session::parse_stores(&args.text.stores)?;
    let mut interfaces: Vec<_> = match &traces[..] {
        [] => names
            .into_iter()
            .map(|interface| {
                Traces { interface, files: Vec::new(), properties: Vec::new() }.interface_info()
            })
            .collect(),
        traces => traces.iter().map(Traces::interface_info).collect(),
    };
    session::refuse_same_names(&stores, interfaces.iter().map(|i| i.name.as_str()))?;
    interfaces.extend(stores.iter().map(Traces::interface_info));
    let read: Vec<Traces> = traces.into_iter().chain(stores).collect();
    let options = CompileOptions {
        params: &args.text.params,
        watchlists: &[],
        sets: &args.text.sets,
        library: args.text.library.as_deref(),
        finite: !args.live,
    };
    let mut compiled = session::compile(&catalog, &text, &interfaces, &options)?;
    if let Some(diagnostic) = blame::of_plan(&compiled) {
        return Err(Failure::Query(session::render(&[diagnostic], &text.name, &text.text)));
    }
    let programs = wt_xdp::place(&mut compiled, &codegen::Options::default())
        .map_err(|fault| Failure::Environment(fault.to_string()))?;
    if let Some(file) = &args.emit {
        code::emit(&compiled, &programs, file)?;
    }
    let need = (!args.no_index).then(|| Need::of(&compiled.physical, &read));
    let (capacity, admitted) = match wants_capacity {
        true => capacity::capacity(args, &compiled, &catalog, &text, &read, need.as_ref())?,
        false => (String::new(), Ok(())),
    };
    if args.json {
        print(capacity.as_bytes())?;
        return admitted;
    }
    let options = ExplainOptions { verbose: args.verbose, code: args.code.contains(&CodeArg::Ir) };
    let mut text = wt_plan::explain::explain(&compiled, &catalog, options);
    text += &stamps(&args.interfaces);
    if args.code.contains(&CodeArg::Xdp) {
        text += &code::xdp(&compiled, &programs);
    }
    if args.code.contains(&CodeArg::Machine) {
        text += &code::machine(&compiled)?;
    }
    match &need {
        // What was read is told by the run.
        Some(need) if !read.is_empty() && !args.analyze => text += &need.explain(&read)?,
        _ => {}
    }
    text += &capacity;
    print(text.as_bytes())?;
    admitted
}
