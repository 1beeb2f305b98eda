//! Several captures as one source, in time order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::batch::{Batch, RecordRef};
use super::error::CaptureError;
use super::reader::{CaptureReader, Record, RecordMeta};

/// A record of one of several captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcedRecord<'a> {
    /// Index of its capture, in the order given.
    pub source: usize,
    /// The record; its `interface` counts within that capture.
    pub record: Record<'a>,
}

/// A batch of one of several captures.
#[derive(Debug, Clone, Copy)]
pub struct SourcedBatch<'a> {
    /// Index of its capture, in the order given.
    pub source: usize,
    /// The batch; its `interface` counts within that capture.
    pub batch: Batch<'a>,
}

/// Which of several sources comes next: the one whose head record has the earliest time, of equal
/// times the source given first.
#[derive(Debug)]
pub struct Heads {
    /// Time and index of every source with a head, earliest on top.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// Sources whose head is to be read, last first.
    pending: Vec<usize>,
}

impl Heads {
    /// Those of so many sources, all of which are to be read.
    pub fn new(sources: usize) -> Self {
        Self { heads: BinaryHeap::with_capacity(sources), pending: (0..sources).rev().collect() }
    }

    /// A source whose head is to be read: all of them at first, then those that were [`Self::taken`].
    pub fn to_read(&mut self) -> Option<usize> {
        self.pending.pop()
    }

    /// Whether the head of a source is still to be read.
    pub fn is_to_read(&self, source: usize) -> bool {
        self.pending.contains(&source)
    }

    /// Enters the time of a head that was read. A source without one has ended.
    #[inline]
    pub fn put(&mut self, source: usize, time_ns: u64) {
        self.heads.push(Reverse((time_ns, source)));
    }

    /// The earliest head's source, whose head is no longer there.
    #[inline]
    pub fn take(&mut self) -> Option<usize> {
        self.heads.pop().map(|Reverse((_, source))| source)
    }

    /// Enters that the head of a source was used.
    #[inline]
    pub fn taken(&mut self, source: usize) {
        self.pending.push(source);
    }

    /// The latest time up to which records of a source come before the heads of all others, if its
    /// own head does, which is not among them.
    #[inline]
    pub fn last_ns(&self, source: usize) -> u64 {
        match self.heads.peek() {
            // Nothing underflows: a head of time 0 that stands behind this one belongs to a later
            // source.
            Some(&Reverse((time_ns, other))) if other < source => time_ns - 1,
            Some(&Reverse((time_ns, _))) => time_ns,
            None => u64::MAX,
        }
    }
}

/// Merges captures by the timestamps of their head records. Each keeps its own order, also where
/// its clock steps back; of equal times the capture given first comes first.
#[derive(Debug)]
pub struct MergedCaptures {
    sources: Vec<Source>,
    heads: Heads,
}

#[derive(Debug)]
struct Source {
    reader: CaptureReader,
    head: Option<RecordMeta>,
}

impl MergedCaptures {
    /// Merges captures that are open. No record is read yet.
    pub fn new(readers: Vec<CaptureReader>) -> Self {
        let sources: Vec<_> =
            readers.into_iter().map(|reader| Source { reader, head: None }).collect();
        Self { heads: Heads::new(sources.len()), sources }
    }

    /// The next record in time order, or nothing when all captures have ended.
    ///
    /// # Errors
    /// The damage of a capture, once, where its next record was to be looked at; the error names
    /// the capture. That capture has then ended, and the others go on with the next call.
    #[expect(clippy::should_implement_trait, reason = "records borrow the buffer: a lending next")]
    pub fn next(&mut self) -> Result<Option<SourcedRecord<'_>>, CaptureError> {
        let Some((source, meta)) = self.take_head()? else { return Ok(None) };
        Ok(Some(SourcedRecord { source, record: self.sources[source].reader.record(&meta) }))
    }

    /// The next records, at most `max`, all of one capture, or nothing when all captures have
    /// ended: what that many calls of [`Self::next`] would give. A batch ends as one of
    /// [`CaptureReader::next_batch`] does, and where another capture's head comes first.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_batch<'a>(
        &'a mut self,
        records: &'a mut Vec<RecordRef>,
        max: usize,
    ) -> Result<Option<SourcedBatch<'a>>, CaptureError> {
        let Some((source, first)) = self.take_head()? else { return Ok(None) };
        let last_ns = self.heads.last_ns(source);
        let batch = self.sources[source].reader.batch(&first, last_ns, records, max);
        Ok(Some(SourcedBatch { source, batch }))
    }

    /// Takes the earliest head, whose bytes stay readable until its capture's next one is read.
    fn take_head(&mut self) -> Result<Option<(usize, RecordMeta)>, CaptureError> {
        self.prime()?;
        let source = match self.sources.len() {
            1 => 0,
            _ => match self.heads.take() {
                Some(source) => source,
                None => return Ok(None),
            },
        };
        let head = self.sources.get_mut(source).and_then(|state| state.head.take());
        if head.is_some() {
            self.heads.taken(source);
        }
        Ok(head.map(|meta| (source, meta)))
    }

    /// Reads the heads that are missing: those of all captures at first, then that of the capture
    /// which delivered last. Called by [`Self::next`]; call it before [`Self::head_timestamp_ns`].
    ///
    /// # Errors
    /// As [`Self::next`]; call again for the remaining captures.
    pub fn prime(&mut self) -> Result<(), CaptureError> {
        // A single capture needs no comparison.
        let is_alone = self.sources.len() == 1;
        while let Some(source) = self.heads.to_read() {
            let Source { reader, head } = &mut self.sources[source];
            *head = reader.advance()?;
            if let Some(meta) = head
                && !is_alone
            {
                self.heads.put(source, meta.timestamp_ns);
            }
        }
        Ok(())
    }

    /// Time of the record that `source` delivers next, in nanoseconds; nothing when it has ended
    /// or its head has not been read since it last delivered ([`Self::prime`]).
    pub fn head_timestamp_ns(&self, source: usize) -> Option<u64> {
        Some(self.sources.get(source)?.head?.timestamp_ns)
    }

    /// Whether `source` has delivered its last record.
    pub fn has_ended(&self, source: usize) -> bool {
        self.sources.get(source).is_none_or(|state| state.head.is_none())
            && !self.heads.is_to_read(source)
    }

    /// Number of captures.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are no captures at all.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The reader of a capture, for its interfaces, progress and damage.
    pub fn reader(&self, source: usize) -> Option<&CaptureReader> {
        self.sources.get(source).map(|state| &state.reader)
    }

    /// All readers, in the order given.
    pub fn readers(&self) -> impl ExactSizeIterator<Item = &CaptureReader> {
        self.sources.iter().map(|state| &state.reader)
    }
}
