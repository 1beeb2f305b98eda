//! Opens what is extracted from, as far as it may have what is wanted.

use std::path::Path;

use wt_engine::IndexedPart;
use wt_trace::index::{Index, Taken};
use wt_trace::store::{Findings, Pieces, Store};
use wt_wire::MergedCaptures;

use crate::cli::index::ExtractArgs;
use crate::failure::Failure;
use crate::indexed::{self, Within};
use crate::record::failure;
use crate::session;

/// What is open.
pub(super) struct Inputs {
    pub(super) captures: MergedCaptures,
    /// The same in pieces, where that is one store of one writer, large enough for the threads that may read it.
    pub(super) pieces: Option<Pieces>,
    /// What is said of files that are no captures at all (lenient only).
    pub(super) unreadable: Vec<String>,
    pub(super) findings: Vec<Findings>,
    /// By name: how much is read, and where the bytes of a trace stand of which a part is.
    pub(super) parts: Vec<IndexedPart>,
}

impl Inputs {
    /// Whether all that there is will be read.
    pub(super) fn is_whole(&self) -> bool {
        let taken = self.taken();
        taken.bytes.0 == taken.bytes.1
    }

    /// How much is read, so far.
    pub(super) fn taken(&self) -> Taken {
        let mut total = Taken::default();
        self.parts.iter().for_each(|part| total.add(&part.reading.taken()));
        total
    }
}

/// Opens all inputs.
pub(super) fn inputs(args: &ExtractArgs, within: &Within) -> Result<Inputs, Failure> {
    let files: Vec<_> = args.read.iter().chain(&args.store).cloned().collect();
    let within = (!args.no_index).then_some(within);
    let opened = session::open_readers(&files, args.lenient, within)?;
    let mut parts = opened.parts;
    if args.no_index {
        parts.extend(files.iter().map(|file| indexed::whole_part(file)));
    }
    let is_large = |pieces: &Pieces| pieces.bytes() >= wt_engine::CUT_BYTES_MIN;
    let pieces = opened.pieces.filter(|pieces| args.cores() > 1 && is_large(pieces));
    let pieces = pieces.map(|mut pieces| {
        pieces.begin(wt_engine::RANGE_BYTES);
        pieces
    });
    Ok(Inputs {
        captures: MergedCaptures::new(opened.readers),
        pieces,
        unreadable: opened.unreadable,
        findings: opened.findings,
        parts,
    })
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
        for mut reader in
            session::open_readers(std::slice::from_ref(path), args.lenient, None)?.readers
        {
            // Damage ends it, and is told when it is extracted from.
            while let Ok(Some(record)) = reader.next() {
                widen(record.timestamp_ns, record.timestamp_ns);
            }
        }
    }
    Ok(range)
}
