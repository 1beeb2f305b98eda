//! `explain --capacity` and `explain --analyze`.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use wt_catalog::Catalog;
use wt_plan::Compiled;
use wt_plan::capacity::{self, Flows, Kind, Machine, Prediction, Work, show};
use wt_plan::physical::Output;

use crate::capacity::measure::{Measured, measure};
use crate::capacity::{Costs, count};
use crate::cli::{ExplainArgs, Format, cores_or_all};
use crate::execute::engine_failure;
use crate::failure::Failure;
use crate::indexed::{self, Need};
use crate::output::{Results, Route, Target};
use crate::session::{self, NamedText, Traces};

/// What follows the plan. Text that is printed even when the batch is refused, and whether it is.
pub fn capacity(
    args: &ExplainArgs,
    compiled: &Compiled,
    catalog: &Catalog,
    text: &NamedText,
    traces: &[Traces],
    need: Option<&Need>,
) -> Result<(String, Result<(), Failure>), Failure> {
    let costs = Costs::new(args.model.calibration.as_deref())?;
    let traffic = args.model.traffic.traffic();
    let estimated = capacity::estimate(&compiled.physical, catalog, &traffic);
    let run = match traces {
        [] => None,
        // What a rate costs follows from all packets, not from those that an index leaves.
        traces => Some(run(args, compiled, text, traces, need.filter(|_| args.analyze))?),
    };
    let count =
        |run: &Measured| count::flows(compiled, &run.report.ledger, &run.windows, &estimated);
    let counted = run.as_ref().map(count);
    let flows = counted.as_ref().unwrap_or(&estimated);
    let prediction = capacity::predict(compiled, flows, &costs.table);
    let cores = cores_or_all(args.cores);
    let rate = args.rate.or(args.capacity.flatten());
    let machine = Machine { cores, memory_bytes_max: args.memory };
    let admitted = match args.capacity.flatten() {
        Some(rate) => capacity::admit(&prediction, rate, machine)
            .map_err(|refusal| Failure::Input(refusal.to_string())),
        None => Ok(()),
    };
    if args.json {
        let before = before(compiled, &estimated, counted.as_ref(), &costs);
        return Ok((as_json(&costs, &before, &prediction, run.as_ref()), admitted));
    }
    let mut out = String::from("\ncapacity\n");
    match (&run, args.analyze) {
        (Some(run), true) => {
            let before = before(compiled, &estimated, counted.as_ref(), &costs);
            let packets = run.report.ledger.records();
            out += &show::comparison(&before, &prediction, packets as f64);
            out.push('\n');
            out += &read(run);
            out += &measured(run, &before, &prediction);
            out += &show::memory(&prediction);
            let _ = writeln!(
                out,
                "            measured: {} at most",
                show::size(run.report.memory_peak_bytes as f64)
            );
            let _ = writeln!(out, "estimated   from {}", show::assumptions(&traffic));
        }
        (run, _) => {
            out += &show::prediction(&prediction, rate, cores);
            match run {
                Some(run) => {
                    let packets = show::number(run.report.ledger.records() as f64);
                    let _ = writeln!(out, "counted     sizes and tuples of {packets} packets");
                }
                None => {
                    let _ = writeln!(out, "assumed     {}", show::assumptions(&traffic));
                }
            }
        }
    }
    let _ = writeln!(out, "costs       {}", costs.source);
    Ok((out, admitted))
}

/// What would have been predicted before the run, but for the sizes of the packets.
fn before(
    compiled: &Compiled,
    estimated: &Flows,
    counted: Option<&Flows>,
    costs: &Costs,
) -> Prediction {
    let mut flows = estimated.clone();
    if let Some(counted) = counted {
        flows.wire_bytes = counted.wire_bytes;
        flows.captured_bytes = counted.captured_bytes;
    }
    capacity::predict(compiled, &flows, &costs.table)
}

fn run(
    args: &ExplainArgs,
    compiled: &Compiled,
    text: &NamedText,
    traces: &[Traces],
    need: Option<&Need>,
) -> Result<Measured, Failure> {
    let opened = session::open_sources(traces, false, need)?;
    let outputs = &compiled.physical.outputs;
    let route = |(index, output): (usize, &Output)| Route {
        output: index,
        query: output.query.clone(),
        schema: output.schema.clone(),
        format: Format::Csv,
        target: Target::Nowhere,
    };
    let results = outputs.iter().enumerate().filter(|(_, output)| output.is_result);
    let mut sink = Results::open(outputs.len(), results.map(route).collect(), false)?;
    let run = measure(&compiled.physical, opened.sources, Some(args.memory), &mut sink)
        .map_err(|error| engine_failure(error, compiled, text))?;
    for (_, damage) in run.report.ledger.damage() {
        eprintln!("wiretable: capture `{}`: {}", damage.capture, damage.damage);
    }
    let skipped = run.report.ledger.interfaces.iter().filter_map(|i| i.index.as_ref());
    if run.report.ledger.records() == 0 && skipped.map(|index| index.skipped).sum::<u64>() == 0 {
        return Err(Failure::Input(
            "the traces have no packets, so there is nothing to measure".to_owned(),
        ));
    }
    Ok(run)
}

/// What indices left of the traces.
fn read(run: &Measured) -> String {
    let mut text = String::new();
    for interface in &run.report.ledger.interfaces {
        let Some(index) = &interface.index else { continue };
        let _ = writeln!(
            text,
            "read        {}: {}; {} packets left out",
            interface.name,
            indexed::amounts_booked(index),
            index.skipped
        );
    }
    text
}

fn measured(run: &Measured, before: &Prediction, counted: &Prediction) -> String {
    let Some(ns) = run.ns_per_packet else { return String::new() };
    let packets = show::number(run.report.ledger.records() as f64);
    let start = match run.with_start {
        true => ", start-up included: too few packets to leave it out",
        false => ", without start-up",
    };
    let mut text = format!(
        "measured    {ns:.1} ns of processor time per packet, over {packets} packets{start}\n\
         ratio       predicted/measured: {:.2} with the tuples counted, {:.2} with those estimated\n",
        counted.ns() / ns,
        before.ns() / ns,
    );
    for (interface, why) in &run.report.not_compiled {
        let _ = writeln!(text, "interpreted {interface}: there is no code for {why}");
    }
    text
}

fn as_json(
    costs: &Costs,
    before: &Prediction,
    prediction: &Prediction,
    run: Option<&Measured>,
) -> String {
    let mut all = json!({
        "machine": costs.table.machine,
        "table": by_kind(|kind| costs.table.ns(kind)),
        "guess": by_kind(Kind::guess_ns),
        "costs": costs.source,
        "yardstick_ns": costs.yardstick_ns,
        "predicted": predicted(prediction),
    });
    if let Some(run) = run {
        let index = run.report.ledger.interfaces.iter().filter_map(|interface| {
            let index = interface.index.as_ref()?;
            Some(json!({
                "interface": interface.name,
                "segments": index.segments,
                "blocks": index.blocks,
                "bytes": index.bytes,
                "packets_skipped": index.skipped,
            }))
        });
        all["index"] = index.collect::<Vec<_>>().into();
        all["estimated"] = predicted(before);
        all["measured"] = json!({
            "packets": run.report.ledger.records(),
            "ns_per_packet": run.ns_per_packet,
            "with_start": run.with_start,
            "memory_peak_bytes": run.report.memory_peak_bytes,
        });
    }
    format!("{all:#}\n")
}

fn predicted(p: &Prediction) -> Json {
    let nodes = p.nodes.iter().map(|node| {
        json!({
            "node": node.label,
            "query": node.query,
            "ns_per_packet": node.ns,
            "tuples_per_packet": node.rows,
            "work": work(&node.work),
        })
    });
    let memory = p.memory.iter().map(|node| {
        json!({
            "node": node.name,
            "fixed_bytes": node.fixed_bytes,
            "entry_bytes": node.entry_bytes,
            "entries": node.entries,
        })
    });
    json!({
        "ns_per_packet": p.ns(),
        "packets_per_second": p.packets_per_second(),
        "packet_bytes": p.packet_bytes,
        "memory_bytes": p.memory_bytes(),
        "work": work(&p.work()),
        "nodes": nodes.collect::<Vec<_>>(),
        "memory": memory.collect::<Vec<_>>(),
    })
}

/// A number by kind.
fn by_kind(of: impl Fn(Kind) -> f64) -> Json {
    let kinds = Kind::ALL.iter().map(|kind| (kind.name().to_owned(), Json::from(of(*kind))));
    kinds.collect::<serde_json::Map<_, _>>().into()
}

/// The kinds of work that there are.
fn work(work: &Work) -> Json {
    let kinds = Kind::ALL.iter().filter(|kind| work.of(**kind) > 0.0);
    kinds
        .map(|kind| (kind.name().to_owned(), work.of(*kind).into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
