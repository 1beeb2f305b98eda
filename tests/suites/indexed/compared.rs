//! Answers by index and without, which are the same.

use std::path::PathBuf;

use wt_catalog::Catalog;
use wt_engine::{Capture, Captures, IndexedPart, RunOptions, Source, index_wanted};
use wt_plan::Compiled;
use wt_plan::wanted::{self, Condition};
use wt_tests::answers::{Answers, ValueSink};
use wt_tests::run::{Backend, Setup};
use wt_trace::index::{Index, Reading};
use wt_trace::store::Store;
use wt_trace::{Opened, TraceFile};
use wt_wire::CaptureReader;

use crate::made::text;

/// How much was read of how many bytes.
#[derive(Debug, Default)]
pub(super) struct Bytes(pub(super) u64, pub(super) u64);

/// The captures of an interface: all, or what may have what is wanted.
pub(super) fn captures(files: &[PathBuf], need: Option<(&Condition, bool)>) -> Captures {
    let (condition, keeps_order) = match need {
        Some((Condition::Any, _)) | None => (None, false),
        Some((condition, keeps_order)) => (Some(index_wanted(condition)), keeps_order),
    };
    if let [file] = files
        && !file.is_dir()
        && let Opened::Plain(trace) = TraceFile::open(file).unwrap()
    {
        let chosen = condition
            .as_ref()
            .and_then(|wanted| Index::open(file).ok()?.choose(wanted, keeps_order));
        return match chosen {
            Some(chosen) => Capture::PlainIndexed(trace, chosen).into(),
            None => Capture::Plain(trace).into(),
        };
    }
    if let [dir] = files
        && dir.is_dir()
    {
        let wanted = condition.as_ref().map(|wanted| (wanted, keeps_order));
        let captured = Store::open(dir).unwrap().captured(wanted).unwrap();
        let reading = captured.reading;
        let part = IndexedPart { reading, name: text(dir), places: None };
        let parts = condition.map(|_| part).into_iter().collect();
        let pieces = captured.pieces;
        return Captures { parts, pieces, ..captured.readers.into() };
    }
    let mut readers = Vec::new();
    let mut parts = Vec::new();
    for file in files {
        let name = text(file);
        if file.is_dir() {
            let store = Store::open(file).unwrap();
            match &condition {
                Some(wanted) => {
                    let (of_store, _, reading) =
                        store.captures_within(wanted, keeps_order).unwrap();
                    readers.extend(of_store);
                    parts.push(IndexedPart { reading, name, places: None });
                }
                None => readers.extend(store.captures().unwrap().0),
            }
            continue;
        }
        let mut index = Index::open(file).ok();
        let chosen =
            condition.as_ref().and_then(|wanted| index.as_mut()?.choose(wanted, keeps_order));
        match (index, chosen) {
            (Some(index), Some(chosen)) => {
                let reading = Reading::new(chosen.taken());
                let selected = index.selected(chosen, reading.clone()).unwrap();
                let places = Some(selected.places());
                readers.push(CaptureReader::from_reader(&name, selected).unwrap());
                parts.push(IndexedPart { reading, name, places });
            }
            _ => readers.push(CaptureReader::open(file).unwrap()),
        }
    }
    match parts.is_empty() || parts.len() < files.len() {
        // The books of some need those of all.
        true => readers.into(),
        false => Captures { parts, ..readers.into() },
    }
}

pub(super) fn answers(
    compiled: &Compiled,
    setup: &Setup,
    options: &RunOptions<'_>,
    by_index: bool,
) -> (Answers, Bytes) {
    let plan = &compiled.physical;
    let needs = wanted::wanted(plan, true);
    let files: usize = setup.traces.iter().map(|(_, files)| files.len()).sum();
    let keeps_order = files > 1 || wanted::depends_on_arrival(plan);
    let source = |(interface, files): &(String, Vec<PathBuf>)| {
        let need = needs.iter().find(|need| need.interface == *interface).filter(|_| by_index);
        let captures = captures(files, need.map(|need| (&need.condition, keeps_order)));
        Source { interface: interface.clone(), captures }
    };
    let sources = setup.traces.iter().map(source).collect();
    let mut sink = ValueSink::new(plan);
    let report = wt_engine::run(plan, sources, options, &mut sink).expect("it runs");
    assert_eq!(report.ledger.check(), Ok(()));
    let mut bytes = Bytes::default();
    for index in report.ledger.interfaces.iter().filter_map(|i| i.index.as_ref()) {
        bytes = Bytes(bytes.0 + index.bytes.0, bytes.1 + index.bytes.1);
    }
    (sink.into_answers(plan, report), bytes)
}

/// Compiles a text and compares what it answers by index and without; how much was read by index.
pub(super) fn compare(setup: &Setup, catalog: &Catalog, text: &str, backend: Backend) -> Bytes {
    let compiled = setup.compile(catalog, text, true).unwrap_or_else(|e| panic!("{text}\n{e}"));
    let options = backend.options();
    let (all, _) = answers(&compiled, setup, &options, false);
    let (by_index, bytes) = answers(&compiled, setup, &options, true);
    for (name, answer) in &all.results {
        assert_eq!(
            by_index.rows(name),
            answer.rows,
            "{name} of {text} over {:?} on {}",
            setup.traces,
            backend.name()
        );
    }
    assert_eq!(by_index.report.ledger.late(), all.report.ledger.late(), "{text}");
    bytes
}
