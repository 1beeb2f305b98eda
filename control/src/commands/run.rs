//! `wiretable run`: a batch from a configuration file.

use std::path::PathBuf;

use wt_catalog::Catalog;
use wt_plan::Compiled;
use wt_plan::capacity::Machine;
use wt_plan::physical::Output;

use crate::batch::{Batch, Place};
use crate::capacity::admit_batch;
use crate::cli::{CaptureWay, RunArgs};
use crate::commands::query::{postgres_route, route};
use crate::execute::{RunSettings, execute};
use crate::failure::Failure;
use crate::live::{self, LiveInterface, LiveSettings, control};
use crate::output::Route;
use crate::session::{self, CompileOptions, Traces};
use crate::sink::replay_digest;

/// Compiles the batch as one, runs it in one pass and writes each result to its sink.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let batch = Batch::load(&args.config)?;
    let catalog = session::catalog(&batch.protocols)?;
    let mut stores = session::parse_stores(&args.stores)?;
    let of_batch = batch.stores.iter();
    let of_batch = of_batch.filter(|s| stores.iter().all(|other| other.interface != s.interface));
    stores.extend(of_batch.cloned().collect::<Vec<_>>());
    let (mut traces, live) = match (args.read.is_empty(), args.interface.is_empty()) {
        (true, true) => {
            let mut live = batch.interfaces.clone();
            live.iter_mut().for_each(|live| live.take(&args.capture));
            (batch.traces.clone(), live)
        }
        (false, _) => (session::parse_traces(&args.read), Vec::new()),
        (true, false) => {
            let live = live::parse_interfaces(&args.interface, &args.capture, CaptureWay::Auto)?;
            (Vec::new(), live)
        }
    };
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
    let params: Vec<String> = batch.params.iter().chain(&args.params).cloned().collect();
    let options = CompileOptions {
        params: &params,
        watchlists: &[],
        sets: &batch.sets,
        library: batch.library.as_deref(),
        finite: live.is_empty() || args.until.is_given(),
    };
    let compiled = session::compile(&catalog, &batch.text, &interfaces, &options)?;
    let lenient = args.report.lenient || batch.lenient;
    let replay = replay_digest(&batch.text.text, &params, &batch.protocols, &traces, lenient);
    // Interfaces give other packets each time.
    let replay = replay.filter(|_| live.is_empty());
    let routes = routes(&compiled.physical.outputs, &batch, replay)?;
    let machine = Machine { cores: args.report.cores(), memory_bytes_max: batch.memory_bytes_max };
    admit_batch(&args.admission, &batch.admission, machine, &compiled, &catalog)?;
    let settings = RunSettings {
        memory_bytes_max: batch.memory_bytes_max,
        lenient,
        ledger: args.report.ledger,
        progress: !args.report.no_progress,
        backend: args.report.backend.into(),
        cores: args.report.cores(),
        index: !args.report.no_index,
    };
    if live.is_empty() {
        return execute(&compiled, &batch.text, &traces, routes, &settings);
    }
    let (admission, of_batch) = (args.admission.clone(), batch.admission.clone());
    let admit = move |compiled: &Compiled, catalog: &Catalog| {
        admit_batch(&admission, &of_batch, machine, compiled, catalog)
    };
    let setting = live::Setting {
        catalog: catalog.into_owned(),
        interfaces,
        params,
        sets: batch.sets.clone(),
        library: batch.library.clone(),
        finite: args.until.is_given(),
    };
    let live_settings = LiveSettings {
        until: args.until,
        operator_cpu: batch.cpu,
        stores,
        title: batch.text.name.clone(),
        control: control_socket(args),
        metrics: args.control.metrics,
        blocklist: args.control.blocklist.clone().or(batch.blocklist.clone()),
        dpdk_args: args.capture.dpdk_args.clone(),
        setting,
        admit: Box::new(admit),
    };
    live::execute(&compiled, &batch.text, &live, routes, &settings, live_settings)
}

/// The socket of a run: the one asked for, or one that is named after the batch.
fn control_socket(args: &RunArgs) -> Option<PathBuf> {
    match &args.control.control {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(path.clone()),
        None => Some(control::folder().join(args.config.file_stem()?).with_extension("sock")),
    }
}

/// Every query with a sink goes there, read by others or not; a result without one goes to the batch's sink, or is printed.
fn routes(outputs: &[Output], batch: &Batch, replay: Option<u64>) -> Result<Vec<Route>, Failure> {
    for sink in &batch.sinks {
        if !outputs.iter().any(|o| o.query == sink.query) {
            let known: Vec<_> = outputs.iter().map(|o| o.query.as_str()).collect();
            return Err(Failure::Input(format!(
                "{}: a sink is given for `{}`, which is none of the batch's queries: {}",
                batch.text.name,
                sink.query,
                known.join(", ")
            )));
        }
    }
    let mut routes = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let sinks = batch.sinks.iter().filter(|s| s.query == output.query);
        let before = routes.len();
        for sink in sinks {
            routes.push(match &sink.place {
                Place::File { path, format } => route(index, output, Some(path), *format),
                Place::Postgres(sink) => postgres_route(index, output, sink, replay)?,
            });
        }
        if routes.len() == before && output.is_result {
            routes.push(match &batch.sink {
                Some(sink) => postgres_route(index, output, sink, replay)?,
                None => route(index, output, None, None),
            });
        }
    }
    Ok(routes)
}
