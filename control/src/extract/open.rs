//! Opens what is extracted from, as far as it may have what is wanted.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::PoisonError;

use wt_trace::index::{Index, Key, Places, Taken};
use wt_trace::store::{Findings, Reading, Store};
use wt_wire::{CaptureReader, MergedCaptures};

use crate::cli::index::ExtractArgs;
use crate::failure::Failure;
use crate::record::failure;
use crate::session;

/// How much is read, of all inputs.
#[derive(Default)]
pub(super) struct AllTaken {
    traces: Taken,
    /// Of stores: while they are read.
    stores: Vec<Reading>,
}

impl AllTaken {
    /// So far.
    pub(super) fn total(&self) -> Taken {
        let mut total = self.traces;
        for store in &self.stores {
            total.add(&store.lock().unwrap_or_else(PoisonError::into_inner));
        }
        total
    }
}

/// What is open.
pub(super) struct Inputs {
    pub(super) captures: MergedCaptures,
    /// What is said of files that are no captures at all (lenient only).
    pub(super) unreadable: Vec<String>,
    pub(super) findings: Vec<Findings>,
    pub(super) taken: AllTaken,
    /// By name: where the bytes of a trace stand of which a part is read.
    pub(super) places: HashMap<String, Places>,
}

/// Opens all inputs.
pub(super) fn inputs(
    args: &ExtractArgs,
    times: &Range<u64>,
    keys: &[Vec<Key>],
) -> Result<Inputs, Failure> {
    let mut readers = Vec::new();
    let (mut unreadable, mut findings) = (Vec::new(), Vec::new());
    let mut taken = AllTaken::default();
    let mut places = HashMap::new();
    for path in args.read.iter().chain(&args.store) {
        if args.no_index || !path.is_dir() {
            if let Some(reader) = selected(args, path, times, keys, &mut taken.traces)? {
                let (reader, of_part) = reader;
                places.insert(reader.name().to_owned(), of_part);
                readers.push(reader);
                continue;
            }
            let opened = session::open_readers(std::slice::from_ref(path), args.lenient)?;
            let len = len_of(path);
            taken.traces.add(&Taken { bytes: (len, len), ..Taken::default() });
            readers.extend(opened.readers);
            unreadable.extend(opened.unreadable);
            findings.extend(opened.findings);
            continue;
        }
        let store = Store::open(path).map_err(failure)?;
        let (of_store, found, counted) =
            store.captures_within(times.clone(), keys).map_err(failure)?;
        readers.extend(of_store);
        findings.push(found);
        taken.stores.push(counted);
    }
    let captures = MergedCaptures::new(readers);
    Ok(Inputs { captures, unreadable, findings, taken, places })
}

/// Bytes of a trace, or of a store's segments.
fn len_of(path: &Path) -> u64 {
    match Store::open(path).and_then(|store| store.segments()) {
        Ok(segments) => segments.iter().map(|segment| segment.bytes).sum(),
        Err(_) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
    }
}

/// The wanted part of a trace, where there is a good index that tells which it is.
fn selected(
    args: &ExtractArgs,
    path: &Path,
    times: &Range<u64>,
    keys: &[Vec<Key>],
    taken: &mut Taken,
) -> Result<Option<(CaptureReader, Places)>, Failure> {
    if args.no_index || path == Path::new("-") {
        return Ok(None);
    }
    // Without a good index the trace is read as a whole.
    let Ok(index) = Index::open(path) else { return Ok(None) };
    let selected = index.select(times, keys).map_err(|e| Failure::path("read", path, &e))?;
    let Some(selected) = selected else { return Ok(None) };
    taken.add(&selected.taken);
    let name = path.to_string_lossy();
    let places = selected.places.clone();
    // A head that was indexed is one of a capture.
    Ok(CaptureReader::from_reader(&name, selected).ok().map(|reader| (reader, places)))
}

/// The first and the last time in the data, ns: by indices and ends of segments where there are, else by reading.
pub(super) fn range_of_data(args: &ExtractArgs) -> Result<Option<(u64, u64)>, Failure> {
    let mut range: Option<(u64, u64)> = None;
    let mut widen = |from_ns: u64, to_ns: u64| {
        range = Some(range.map_or((from_ns, to_ns), |(a, b)| (a.min(from_ns), b.max(to_ns))));
    };
    for path in args.read.iter().chain(&args.store) {
        if path == Path::new("-") {
            return Err(Failure::Input(
                "times that count from the data need a file that can be read twice, not standard input"
                    .to_owned(),
            ));
        }
        if path.is_dir() {
            let store = Store::open(path).map_err(failure)?;
            let segments = store.segments().map_err(failure)?;
            let summaries: Vec<_> = segments.iter().map(|segment| store.summary(segment)).collect();
            if summaries.iter().all(Option::is_some) {
                let ranges = summaries.iter().flatten().filter_map(|summary| summary.range_ns);
                ranges.for_each(|(from_ns, to_ns)| widen(from_ns, to_ns));
                continue;
            }
        } else if let Ok(index) = Index::open(path)
            && index.covered().0 == index.covered().1
            && let Some((from_ns, to_ns)) = index.range_ns()
        {
            widen(from_ns, to_ns);
            continue;
        }
        for mut reader in session::open_readers(std::slice::from_ref(path), args.lenient)?.readers {
            // Damage ends it, and is told when it is extracted from.
            while let Ok(Some(record)) = reader.next() {
                widen(record.timestamp_ns, record.timestamp_ns);
            }
        }
    }
    Ok(range)
}
