//! `wiretable query`.

use std::mem::ManuallyDrop;
use std::path::PathBuf;

use wt_catalog::Catalog;
use wt_plan::Compiled;
use wt_plan::capacity::Machine;
use wt_plan::physical::Output;

use crate::capacity::admit_batch;
use crate::cli::{AdmissionArgs, CaptureWay, Format, QueryArgs};
use crate::db::connect::is_database_url;
use crate::execute::{RunSettings, execute};
use crate::failure::Failure;
use crate::live::{self, LiveInterface, LiveSettings};
use crate::output::{Route, Target, choose_format};
use crate::session::{self, CompileOptions, NamedText, Traces};
use crate::sink::{PostgresSink, replay_digest};

/// Compiles the text, runs it over the traces and writes the rows.
pub fn query(args: &QueryArgs) -> Result<(), Failure> {
    let text = NamedText::from_args(&args.text)?;
    let catalog = session::catalog(&args.text.protocols)?;
    let stores = session::parse_stores(&args.text.stores)?;
    let mut traces = session::parse_traces(&args.read);
    let live = live::parse_interfaces(&args.interface, &args.capture, CaptureWay::Socket)?;
    let names = live.iter().map(|live| live.interface.as_str());
    session::refuse_same_names(&stores, names.chain(traces.iter().map(|t| t.interface.as_str())))?;
    if live.is_empty() {
        traces.extend(stores.iter().cloned());
    }
    let mut interfaces: Vec<_> = traces.iter().map(Traces::interface_info).collect();
    interfaces.extend(live.iter().map(LiveInterface::interface_info));
    if !live.is_empty() {
        interfaces.extend(stores.iter().map(Traces::interface_info));
    }
    live::refuse_until_of_traces(&live, &args.until)?;
    live::refuse_blocks_of_traces(&live, &args.control)?;
    live::refuse_idle_dpdk_args(&live, &args.capture)?;
    let options = CompileOptions {
        params: &args.text.params,
        watchlists: &[],
        sets: &args.text.sets,
        library: args.text.library.as_deref(),
        finite: live.is_empty() || args.until.is_given(),
    };
    // The process ends with the query: giving back one by one what a plan is made of would take part of a millisecond.
    let compiled = ManuallyDrop::new(session::compile(&catalog, &text, &interfaces, &options)?);
    let replay = replay_digest(
        &text.text,
        &args.text.params,
        &args.text.protocols,
        &traces,
        args.limits.report.lenient,
    );
    // Interfaces give other packets each time.
    let replay = replay.filter(|_| live.is_empty());
    let routes = routes(&compiled.physical.outputs, args, replay)?;
    let machine =
        Machine { cores: args.limits.report.cores(), memory_bytes_max: args.limits.memory };
    admit_batch(&args.admission, &AdmissionArgs::default(), machine, &compiled, &catalog)?;
    let settings = RunSettings {
        memory_bytes_max: args.limits.memory,
        lenient: args.limits.report.lenient,
        ledger: args.limits.report.ledger,
        progress: !args.limits.report.no_progress,
        backend: args.limits.report.backend.into(),
        cores: args.limits.report.cores(),
        index: !args.limits.report.no_index,
    };
    if live.is_empty() {
        return execute(&compiled, &text, &traces, routes, &settings);
    }
    let admission = args.admission.clone();
    let admit = move |compiled: &Compiled, catalog: &Catalog| {
        admit_batch(&admission, &AdmissionArgs::default(), machine, compiled, catalog)
    };
    let setting = live::Setting {
        catalog: catalog.into_owned(),
        interfaces,
        params: args.text.params.clone(),
        sets: args.text.sets.clone(),
        library: args.text.library.clone(),
        finite: args.until.is_given(),
    };
    let no_socket = |path: &PathBuf| path.as_os_str() == "none";
    let live_settings = LiveSettings {
        until: args.until,
        operator_cpu: None,
        stores,
        title: text.name.clone(),
        control: args.control.control.clone().filter(|path| !no_socket(path)),
        metrics: args.control.metrics,
        blocklist: args.control.blocklist.clone(),
        dpdk_args: args.capture.dpdk_args.clone(),
        setting,
        admit: Box::new(admit),
    };
    live::execute(&compiled, &text, &live, routes, &settings, live_settings)
}

fn routes(
    outputs: &[Output],
    args: &QueryArgs,
    replay: Option<u64>,
) -> Result<Vec<Route>, Failure> {
    for name in &args.result {
        if !outputs.iter().any(|o| o.query == *name) {
            let known: Vec<_> = outputs.iter().map(|o| o.query.as_str()).collect();
            return Err(Failure::Input(format!(
                "--result {name} names no query of the text; there are: {}",
                known.join(", ")
            )));
        }
    }
    let chosen = |o: &Output| {
        if args.result.is_empty() { o.is_result } else { args.result.contains(&o.query) }
    };
    let chosen_ones = || outputs.iter().enumerate().filter(|(_, o)| chosen(o));
    if let Some(url) = args.output.as_ref().and_then(|o| o.to_str()).filter(|o| is_database_url(o))
    {
        if let Some(format) = args.format {
            return Err(Failure::Input(format!(
                "rows for Postgres have no format, and --format {} is given\n  help: leave it out",
                format.name()
            )));
        }
        let sink = PostgresSink::of_url(url, &args.sink)?;
        return chosen_ones().map(|(i, o)| postgres_route(i, o, &sink, replay)).collect();
    }
    if let Some(option) = args.sink.given() {
        return Err(Failure::Input(format!(
            "{option} is for rows that go to Postgres\n  help: name a database with -o postgres://…, or leave it out"
        )));
    }
    let count = chosen_ones().count();
    if let Some(path) = &args.output
        && count > 1
        && !path.to_string_lossy().contains("{query}")
    {
        return Err(Failure::Input(format!(
            "{count} results cannot share the file {}; put {{query}} into its name, e.g. -o '{{query}}.csv', or choose one with --result",
            path.display()
        )));
    }
    Ok(chosen_ones().map(|(index, o)| route(index, o, args.output.as_ref(), args.format)).collect())
}

/// The route of one result into Postgres.
pub fn postgres_route(
    index: usize,
    output: &Output,
    sink: &PostgresSink,
    replay: Option<u64>,
) -> Result<Route, Failure> {
    let target = Target::Postgres(Box::new(sink.target(&output.query, replay)?));
    Ok(Route {
        output: index,
        query: output.query.clone(),
        schema: output.schema.clone(),
        format: choose_format(None, &target),
        target,
    })
}

/// Where one result goes.
pub fn route(
    index: usize,
    output: &Output,
    path: Option<&PathBuf>,
    format: Option<Format>,
) -> Route {
    let target = match path {
        Some(path) => {
            Target::File(PathBuf::from(path.to_string_lossy().replace("{query}", &output.query)))
        }
        None => Target::Stdout,
    };
    let format = choose_format(format, &target);
    Route {
        output: index,
        query: output.query.clone(),
        schema: output.schema.clone(),
        format,
        target,
    }
}
