//! What of a store is read for what is wanted: segments by their ends, blocks by their indices.

use std::collections::VecDeque;

use super::findings::{Finding, Findings};
use super::read::Part;
use super::{Segment, Store, Summary};
use crate::index::{Index, IndexError, Reading, Taken, Unit, Wanted, keep_order};

/// A segment as it is decided on.
struct Candidate {
    part: Part,
    bytes: u64,
    /// Of one that was closed.
    summary: Option<Summary>,
    /// With the whole of it indexed.
    index: Option<Index>,
    /// Its units among those of the writer.
    units: std::ops::Range<usize>,
}

impl Candidate {
    fn new(store: &Store, part: Part, segment: &Segment) -> Self {
        let summary = match part.limit {
            None => store.summary(segment),
            Some(_) => None,
        };
        Self { part, bytes: segment.bytes, summary, index: None, units: 0..0 }
    }

    fn range_ns(&self) -> Option<(u64, u64)> {
        self.summary.and_then(|summary| summary.range_ns)
    }

    fn has_no_packet(&self) -> bool {
        self.summary.is_some_and(|summary| summary.packets == 0)
    }

    /// The blocks of its index, where it has one for all of it.
    fn find_index(&mut self, wanted: &Wanted, findings: &Findings) -> Option<Vec<Unit>> {
        if self.part.name.is_compressed || self.summary.is_none() {
            return None;
        }
        let message = match Index::open(&self.part.path) {
            Ok(index) if index.covered().0 == index.covered().1 => match index.units(wanted) {
                Ok(units) => {
                    self.index = Some(index);
                    return Some(units);
                }
                Err(damaged) => damaged.to_string(),
            },
            Ok(_) => "the index is not whole".to_owned(),
            Err(IndexError::Absent) => return None,
            Err(error) => error.to_string(),
        };
        let segment = self.part.name.to_string();
        findings.add(Finding::NotIndexed { segment, message });
        None
    }

    /// All of it is left out.
    fn skipped(&self) -> Taken {
        let packets = self.summary.map_or(0, |summary| summary.packets);
        let blocks = self.index.as_ref().map_or(0, |index| index.len() as u64);
        Taken {
            segments: (0, 1),
            blocks: (0, blocks),
            bytes: (0, self.bytes),
            packets_skipped: packets,
            packets,
            uncounted: 0,
        }
    }

    /// All of it is read.
    fn whole(&self) -> Taken {
        let blocks = self.index.as_ref().map_or(0, |index| index.len() as u64);
        let packets = self.summary.map(|summary| summary.packets);
        Taken {
            segments: (1, 1),
            blocks: (blocks, blocks),
            bytes: (self.bytes, self.bytes),
            packets_skipped: 0,
            packets: packets.unwrap_or(0),
            uncounted: u64::from(packets.is_none()),
        }
    }
}

/// Decides what of the segments of a writer is read. What is found odd about indices is added to the findings.
pub(super) fn choose(
    store: &Store,
    segments: Vec<(Part, Segment)>,
    wanted: &Wanted,
    keeps_order: bool,
    reading: &Reading,
    findings: &Findings,
) -> VecDeque<Part> {
    let mut candidates: Vec<Candidate> =
        segments.into_iter().map(|(part, segment)| Candidate::new(store, part, &segment)).collect();
    let mut units: Vec<Unit> = Vec::new();
    for candidate in &mut candidates {
        let begin = units.len();
        if !candidate.has_no_packet() {
            let range_ns = candidate.range_ns();
            let is_in_time = range_ns.is_none_or(|range| wanted.may_be_in(range, None));
            let indexed = match is_in_time {
                true => candidate.find_index(wanted, findings),
                false => None,
            };
            match indexed {
                Some(blocks) => units.extend(blocks),
                // One that is being written may hold any stamp.
                None => units
                    .push(Unit { range_ns: Some(range_ns.unwrap_or((0, 0))), is_read: is_in_time }),
            }
        }
        candidate.units = begin..units.len();
    }
    if keeps_order {
        keep_order(&mut units);
    }
    let mut parts = VecDeque::new();
    let mut total = Taken::default();
    for candidate in candidates {
        let is_read = units[candidate.units.clone()].iter().map(|unit| unit.is_read);
        let is_read: Vec<bool> = is_read.collect();
        if !is_read.contains(&true) {
            total.add(&candidate.skipped());
            continue;
        }
        let mut part = candidate.part.clone();
        part.chosen = candidate.index.as_ref().and_then(|index| index.chosen_of(&is_read));
        total.add(&match &part.chosen {
            Some(chosen) => Taken { segments: (1, 1), ..chosen.taken() },
            None => candidate.whole(),
        });
        parts.push_back(part);
    }
    reading.change(|taken| taken.add(&total));
    parts
}
