//! Several threads read the pieces of a store of one writer; what they keep is written in order.
//!
//! Of n threads each has every n-th piece, and a queue with room for a few parts of what it keeps. So none waits for another one's piece, however much is kept
//! of that, and memory is bounded.

use std::ops::Range;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use wt_trace::store::{Findings, Pieces};
use wt_wire::{CaptureError, RecordRef};

use super::{BATCH_PACKETS, Described, Extraction, Known};
use crate::failure::Failure;
use crate::record::filter::{Condition, Judge};

/// Bytes of packets that are handed over at once, about.
const PART_BYTES: usize = 1 << 20;
/// Parts of a thread that wait to be written.
const PARTS_AHEAD: usize = 4;

/// Packets that are kept, in order.
#[derive(Default)]
struct Part {
    data: Vec<u8>,
    /// Each with its interface, by its place in what is described.
    records: Vec<(usize, RecordRef)>,
    described: Vec<Described>,
    /// Earliest and latest stamp of what was read for it.
    range_ns: Option<(u64, u64)>,
}

/// What a thread says.
enum Told {
    Part(Part),
    /// A piece ends: what was found in it, and where it cannot be read on.
    Piece(Findings, Option<CaptureError>),
    /// There are no more pieces.
    End,
    Failed(Failure),
}

/// What every thread goes by.
#[derive(Clone, Copy)]
struct Job<'a> {
    pieces: &'a Pieces,
    condition: Option<&'a Condition>,
    times: &'a Range<u64>,
}

/// Writes what is wanted of all pieces; what cannot be read. `goes_on` is asked after each part.
pub(super) fn run(
    extraction: &mut Extraction<'_>,
    pieces: &Pieces,
    threads: usize,
    mut goes_on: impl FnMut(u64) -> bool,
) -> Result<Vec<CaptureError>, Failure> {
    // No more than there are pieces, about.
    let threads = threads.min(pieces.bytes().div_ceil(wt_engine::RANGE_BYTES).max(1) as usize);
    let job = Job { pieces, condition: extraction.condition, times: extraction.times };
    thread::scope(|scope| {
        let queues: Vec<Receiver<Told>> = (0..threads)
            .map(|first| {
                let (tell, told) = mpsc::sync_channel(PARTS_AHEAD);
                scope.spawn(move || job.work(first, threads, &tell));
                told
            })
            .collect();
        let mut damage = Vec::new();
        let mut turn = 0;
        // A queue whose thread is gone without a word: it has panicked, which the end of the scope tells.
        while let Ok(told) = queues[turn].recv() {
            match told {
                Told::Part(part) => extraction.write_part(&part)?,
                Told::Piece(findings, error) => {
                    pieces.found(&findings);
                    damage.extend(error);
                    turn = (turn + 1) % threads;
                }
                Told::End => break,
                Told::Failed(failure) => return Err(failure),
            }
            if !goes_on(extraction.packets) {
                break;
            }
        }
        // Threads that have more to say see that nobody listens.
        Ok(damage)
    })
}

impl Job<'_> {
    /// Reads every `step`-th piece from `first` on, until there are no more or nobody listens.
    fn work(self, first: usize, step: usize, tell: &SyncSender<Told>) {
        let mut judge = Judge::new(self.condition);
        for number in (first..).step_by(step) {
            let told = match self.read(number, &mut judge, tell) {
                Ok(Some(end)) => end,
                Ok(None) => Told::End,
                Err(failure) => Told::Failed(failure),
            };
            let is_last = !matches!(told, Told::Piece(..));
            if tell.send(told).is_err() || is_last {
                return;
            }
        }
    }

    /// Reads a piece, if there is one; how it ends.
    fn read(
        self,
        number: usize,
        judge: &mut Judge<'_>,
        tell: &SyncSender<Told>,
    ) -> Result<Option<Told>, Failure> {
        let (mut reader, findings) = match self.pieces.open(number) {
            None => return Ok(None),
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return Ok(Some(Told::Piece(Findings::default(), Some(error)))),
        };
        let (mut part, mut records) = (Part::default(), Vec::new());
        // By interface of the piece.
        let mut known: Vec<Option<Known>> = Vec::new();
        let error = loop {
            let batch = match reader.next_batch(&mut records, BATCH_PACKETS) {
                Ok(Some(batch)) => batch,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            let (interface, link_type) = (batch.interface as usize, batch.link_type);
            match known.get(interface) {
                Some(Some(known)) => {
                    self.keep(&mut part, judge, batch.data, batch.records, known)?;
                }
                _ => {
                    // The reader that knows the interface is lent out with the batch: keep the bytes, then look.
                    let (data, records) = (batch.data.to_vec(), batch.records.to_vec());
                    let new = Known::new(0, link_type, reader.interfaces().get(interface));
                    known.resize(known.len().max(interface + 1), None);
                    let new = known[interface].insert(new);
                    self.keep(&mut part, judge, &data, &records, new)?;
                }
            }
            if part.data.len() >= PART_BYTES
                && tell.send(Told::Part(std::mem::take(&mut part))).is_err()
            {
                return Ok(Some(Told::End));
            }
        };
        // Whether anybody listens, the end of the piece finds out.
        let _ = tell.send(Told::Part(part));
        Ok(Some(Told::Piece(findings, error)))
    }

    /// Adds the packets of a batch that are wanted.
    fn keep(
        self,
        part: &mut Part,
        judge: &mut Judge<'_>,
        data: &[u8],
        records: &[RecordRef],
        known: &Known,
    ) -> Result<(), Failure> {
        let (in_time, range_ns) = super::in_time(records, self.times);
        part.range_ns = super::wider(part.range_ns, range_ns);
        if in_time.is_empty() {
            return Ok(());
        }
        let passing = known.passing(judge, data, &in_time)?;
        if passing.is_empty() {
            return Ok(());
        }
        let described = &known.described;
        let place = part.described.iter().position(|other| other == described);
        let place = place.unwrap_or_else(|| {
            part.described.push(described.clone());
            part.described.len() - 1
        });
        for record in passing {
            let at = part.data.len() as u32;
            part.data.extend_from_slice(super::bytes_of(data, record));
            part.records.push((place, RecordRef { at, ..*record }));
        }
        Ok(())
    }
}

impl Extraction<'_> {
    fn write_part(&mut self, part: &Part) -> Result<(), Failure> {
        self.range_ns = super::wider(self.range_ns, part.range_ns);
        // Interfaces are described before their first packet, as by one thread.
        let mut numbers: Vec<Option<u32>> = vec![None; part.described.len()];
        for (place, record) in &part.records {
            let number = match numbers[*place] {
                Some(number) => number,
                None => *numbers[*place].insert(self.number(&part.described[*place])?),
            };
            self.packet(number, record, super::bytes_of(&part.data, record))?;
        }
        Ok(())
    }
}
