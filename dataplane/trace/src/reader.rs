//! The reader of a range of a file: mapped where that is faster, read otherwise, and record by
//! record where anything is odd.

use std::cell::RefCell;
use std::ops::Range;

use wt_wire::{
    Batch, CaptureError, CaptureReader, Damage, DamageKind, Framing, InterfaceInfo, LinkType,
    RecordRef,
};

use crate::far::FarChains;
use crate::file::TraceFile;
use crate::index::{self, Chosen, Reading};
use crate::mapped::{Mapped, Tuning};
use crate::sys::thread_time;
use crate::walk::{Chains, STEP_RECORDS, Stretch, walk};
use crate::window::Window;

/// Records per batch where the sequential reader has taken over.
const TAIL_BATCH_LEN: usize = 1024;
/// Reads the records that begin in a range of a file, in file order.
#[derive(Debug)]
pub struct TraceReader {
    file: TraceFile,
    range: Range<u64>,
    position: u64,
    tuning: Tuning,
    mapped: Mapped,
    window: Option<Window>,
    records: Vec<RecordRef>,
    /// The walk over the batch after the one handed out, as far as it has come.
    ahead: RefCell<Chains>,
    /// Walks where records may come in any order.
    far: Option<RefCell<FarChains>>,
    /// Walks of that kind that came to nothing.
    far_failures: u32,
    /// Whether `ahead` has begun, at [`Self::position`].
    is_ahead: bool,
    /// Reads on where anything is odd, so that damage is told as it always is.
    tail: Option<Box<CaptureReader>>,
    /// The tail has read beyond the range, which ends at [`Self::position`].
    is_cut: bool,
    /// Where the batch begins that was handed out last, if it is mapped.
    lent_from: Option<u64>,
    /// The batch that was handed out last.
    lent: Option<Lent>,
    ended: bool,
    /// The ranges that follow, where an index has chosen them.
    ranges: Option<index::Ranges>,
}

/// The walk over the records that come after a batch: it waits for memory, so that it is well done in pieces while the batch is
/// worked on.
#[derive(Debug, Clone, Copy)]
pub struct Meanwhile<'a> {
    walk: Ahead<'a>,
    bytes: &'a [u8],
}

/// What goes on meanwhile.
#[derive(Debug, Clone, Copy)]
enum Ahead<'a> {
    Near(&'a RefCell<Chains>),
    Far(&'a RefCell<FarChains>),
}

impl Meanwhile<'_> {
    /// Records that a step goes over.
    pub const STEP_RECORDS: usize = STEP_RECORDS;

    /// Goes on by a step. What steps have not done is done when the next batch is asked for.
    #[inline]
    pub fn step(&self) {
        match self.walk {
            Ahead::Near(chains) => {
                if let Ok(mut chains) = chains.try_borrow_mut() {
                    chains.step(self.bytes);
                }
            }
            Ahead::Far(chains) => {
                if let Ok(mut chains) = chains.try_borrow_mut() {
                    chains.step(self.bytes);
                }
            }
        }
    }
}

/// Bytes of a range that is walked in any order: all of it is mapped at once.
const FAR_LEN_MAX: u64 = 256 << 20;
/// Walks in any order that come to nothing before no more are tried: a file whose payloads look like records fools most of them.
const FAR_FAILURES_MAX: u32 = 2;

/// What a batch is made of, beside the records at hand.
#[derive(Debug, Clone, Copy)]
enum Lent {
    /// Their bytes are mapped, from this offset on.
    Mapped(u64),
    /// They are in the window.
    Window,
    /// The sequential reader has so many.
    Tail { count: usize, link_type: LinkType, interface: u32, data_offset: u64, header_len: u32 },
}

/// Where the records at hand lie.
enum Filled {
    Mapped,
    Read,
    /// Nothing at hand: the sequential reader decides.
    Odd,
    End,
}

impl TraceReader {
    pub(crate) fn new(file: TraceFile, range: Range<u64>, tuning: Tuning) -> Self {
        Self {
            mapped: Mapped::new(range.start),
            position: range.start,
            ahead: RefCell::new(Chains::new(file.layout())),
            far: None,
            far_failures: 0,
            file,
            range,
            tuning,
            window: None,
            records: Vec::new(),
            is_ahead: false,
            tail: None,
            is_cut: false,
            lent_from: None,
            lent: None,
            ended: false,
            ranges: None,
        }
    }

    /// A reader of what an index has chosen.
    pub(crate) fn of_chosen(
        file: TraceFile,
        chosen: Chosen,
        reading: Reading,
        tuning: Tuning,
    ) -> Self {
        let ranges = index::Ranges::new(chosen, reading);
        let head = ranges.head();
        Self { ranges: Some(ranges), ..Self::new(file, head..head, tuning) }
    }

    /// What is read of the file, where an index has chosen.
    pub fn chosen(&self) -> Option<&Chosen> {
        self.ranges.as_ref().map(index::Ranges::chosen)
    }

    /// Goes on with the next range, if there is one.
    fn go_on(&mut self) -> bool {
        let Some(ranges) = &mut self.ranges else { return false };
        let Some(range) = ranges.next(self.file.file()) else { return false };
        self.turn_to(range);
        true
    }

    /// Goes on with another range of the same file, as [`TraceFile::reader_of`] reads it; what this reader has found out about
    /// the file's speed is kept.
    pub fn turn_to(&mut self, range: Range<u64>) {
        self.mapped.turn_to(&self.file, range.start);
        self.position = range.start;
        self.range = range;
        self.is_ahead = false;
        self.tail = None;
        self.is_cut = false;
        self.lent_from = None;
        self.lent = None;
        self.ended = false;
    }

    /// The next records in file order, or nothing at the end of the range or file.
    ///
    /// # Errors
    /// As [`Self::next_with_more`].
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, CaptureError> {
        Ok(self.next_with_more()?.map(|(batch, _)| batch))
    }

    /// The next records in file order, or nothing at the end of the range or file, and the walk over those that come after
    /// them, where one has begun.
    ///
    /// # Errors
    /// [`CaptureError::Damaged`] once, behind the last good record; nothing follows it. When another
    /// process has cut the file off under the batch before, that is told here: the bytes of that
    /// batch are not to be trusted.
    pub fn next_with_more(
        &mut self,
    ) -> Result<Option<(Batch<'_>, Option<Meanwhile<'_>>)>, CaptureError> {
        self.lent = None;
        self.lent = self.next_lent()?;
        Ok(self.lent())
    }

    /// What [`Self::next_with_more`] gave last; nothing when that was no batch.
    pub fn lent(&self) -> Option<(Batch<'_>, Option<Meanwhile<'_>>)> {
        match self.lent? {
            Lent::Mapped(at) => Some(self.lent_of(self.mapped.bytes(&self.file, at), at)),
            Lent::Window => {
                let window = self.window.as_ref()?;
                Some(self.lent_of(window.bytes(), window.offset()))
            }
            Lent::Tail { count, link_type, interface, data_offset, header_len } => {
                let (data, records) = (self.tail.as_ref()?.buffer(), &self.records[..count]);
                let batch = Batch { data, records, link_type, interface, data_offset, header_len };
                Some((batch, None))
            }
        }
    }

    /// The records of [`Self::lent`].
    pub fn lent_records(&self) -> &[RecordRef] {
        match self.lent {
            None => &[],
            Some(Lent::Tail { count, .. }) => &self.records[..count],
            Some(Lent::Mapped(_) | Lent::Window) => &self.records,
        }
    }

    /// The records at hand, which lie in these bytes of the file.
    fn lent_of<'a>(
        &'a self,
        data: &'a [u8],
        data_offset: u64,
    ) -> (Batch<'a>, Option<Meanwhile<'a>>) {
        let more = self.is_ahead.then(|| Meanwhile {
            walk: Ahead::Near(&self.ahead),
            bytes: self.mapped.bytes(&self.file, self.mapped.offset()),
        });
        let layout = self.file.layout();
        let batch = Batch {
            data,
            records: &self.records,
            link_type: layout.link_type,
            interface: 0,
            data_offset,
            header_len: layout.framing.header_len() as u32,
        };
        (batch, more)
    }

    fn next_lent(&mut self) -> Result<Option<Lent>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        if self.tail.is_some() {
            return self.next_of_tail();
        }
        let lent_from = self.lent_from.take();
        let (begun, filled) = loop {
            let begun = self.position;
            match self.fill() {
                Filled::End if self.go_on() => {}
                filled => break (begun, filled),
            }
        };
        let at = self.mapped.offset();
        if let Filled::Mapped = filled {
            self.lent_from = Some(begun);
            self.go_ahead(begun);
        }
        self.check_mapping(lent_from.or(self.lent_from))?;
        match filled {
            Filled::Mapped => Ok(Some(Lent::Mapped(at))),
            Filled::Read => Ok(Some(Lent::Window)),
            Filled::Odd => self.next_of_tail(),
            Filled::End => {
                self.ended = true;
                match self.file.is_shorter_than(self.position) {
                    true => Err(truncated(&self.file, self.position)),
                    false => Ok(None),
                }
            }
        }
    }

    /// Gives the records of a range in no order, batch by batch, and says where the last one ends; the first begins where the range does. Of a
    /// file that grows they are those that it had when it was opened. Nothing where it cannot: the range is not mapped, or is odd, or one of the
    /// guesses on the way was wrong. Then what was given does not count, and [`Self::turn_to`] begins anew.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn in_any_order<E>(
        &mut self,
        range: Range<u64>,
        mut take: impl FnMut(&Batch<'_>, Meanwhile<'_>) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        self.turn_to(range.clone());
        if self.far_failures >= FAR_FAILURES_MAX {
            return Ok(None);
        }
        // What comes behind the length that the file had is read in order.
        let len = range.end.min(self.file.len()).saturating_sub(range.start);
        if len > FAR_LEN_MAX || !self.mapped.advance_far(&self.file, range.start, len, self.tuning)
        {
            return Ok(None);
        }
        let bytes = self.mapped.bytes(&self.file, range.start);
        let layout = self.file.layout();
        let far = self.far.get_or_insert_with(|| RefCell::new(FarChains::new(layout)));
        if !far.get_mut().begin(bytes, len as usize, self.tuning.far_cut()) {
            return Ok(None);
        }
        while far.get_mut().take(bytes, &mut self.records) {
            let batch = Batch {
                data: bytes,
                records: &self.records,
                link_type: layout.link_type,
                interface: 0,
                data_offset: range.start,
                header_len: layout.framing.header_len() as u32,
            };
            take(&batch, Meanwhile { walk: Ahead::Far(far), bytes })?;
        }
        match far.get_mut().met().filter(|_| !self.file.is_damaged()) {
            Some(end) => {
                self.position = range.start + end as u64;
                Ok(Some(self.position))
            }
            None => {
                self.far_failures += 1;
                Ok(None)
            }
        }
    }

    /// Offset at which the reader began.
    pub fn start(&self) -> u64 {
        self.range.start
    }

    /// Offset behind the last record delivered, and behind blocks without records that follow it as far as they were read: at the end of a range,
    /// where the next one must begin.
    pub fn position(&self) -> u64 {
        match &self.tail {
            Some(tail) if !self.is_cut => tail.offset(),
            _ => self.position,
        }
    }

    /// The file that is read.
    pub fn file(&self) -> &TraceFile {
        &self.file
    }

    /// The interfaces that records came from so far, as [`Batch::interface`] counts them: more than the one of the beginning where pcapng has
    /// described another one since, or has begun a section.
    pub fn interfaces(&self) -> &[InterfaceInfo] {
        match &self.tail {
            Some(tail) => tail.interfaces(),
            None => std::slice::from_ref(self.file.interface()),
        }
    }

    /// Bytes left of the range.
    fn left(&self) -> usize {
        let left = self.range.end.saturating_sub(self.position);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Begins the walk over the records at [`Self::position`], if they are mapped; bytes from `kept` on are still in use.
    fn go_ahead(&mut self, kept: u64) {
        let left = self.left();
        self.is_ahead =
            left > 0 && self.mapped.advance(&self.file, kept, self.position, self.tuning);
        if self.is_ahead {
            let offset = self.mapped.offset();
            let bytes = self.mapped.bytes(&self.file, offset);
            let (stop, next_stop) =
                (left.min(self.tuning.batch_len), left.min(2 * self.tuning.batch_len));
            let stretch = Stretch { bytes, offset, stop, next_stop };
            self.ahead.get_mut().begin(stretch, self.tuning.cut());
        }
    }

    /// Fills `records` with what comes next.
    fn fill(&mut self) -> Filled {
        loop {
            match self.walk_on() {
                // Blocks without packets.
                Filled::Mapped | Filled::Read if self.records.is_empty() => {}
                filled => return filled,
            }
        }
    }

    /// Walks over what comes next.
    fn walk_on(&mut self) -> Filled {
        let left = self.left();
        if left == 0 {
            return Filled::End;
        }
        let layout = self.file.layout();
        if !self.is_ahead {
            self.go_ahead(self.position);
        }
        let records = &mut self.records;
        if std::mem::take(&mut self.is_ahead) {
            let bytes = self.mapped.bytes(&self.file, self.mapped.offset());
            let walked = self.ahead.get_mut().finish(bytes, records);
            if walked > 0 {
                self.position += walked as u64;
                return Filled::Mapped;
            }
        }
        let window = self.window.get_or_insert_with(|| Window::new(self.position));
        window.go_to(self.position);
        let stop = left.min(self.tuning.read_batch_len);
        loop {
            let walked = walk(layout, window.bytes(), stop, records);
            if walked > 0 {
                self.position += walked as u64;
                return Filled::Read;
            }
            let begun = thread_time();
            let before = window.bytes().len();
            let came = window.read_on(&self.file);
            let read = window.bytes().len() - before;
            self.mapped.note_copy(thread_time().saturating_sub(begun), read as u64);
            match came {
                Ok(true) => {}
                Ok(false) if window.bytes().is_empty() => return Filled::End,
                Ok(false) | Err(_) => return Filled::Odd,
            }
            // More than the largest record is at hand now, or else the next read gives nothing.
            if walk(layout, window.bytes(), 1, records) == 0 && window.holds_any_record() {
                return Filled::Odd;
            }
        }
    }

    /// Tells when the file was cut off under records that were delivered, or that are about to be.
    fn check_mapping(&mut self, lent_from: Option<u64>) -> Result<(), CaptureError> {
        let Some(offset) = lent_from.filter(|_| self.file.is_damaged()) else { return Ok(()) };
        self.ended = true;
        Err(truncated(&self.file, offset))
    }

    fn next_of_tail(&mut self) -> Result<Option<Lent>, CaptureError> {
        // Something is odd: what an index says does not hold from there on, and what a block describes is needed for all that follows it.
        if let Some(ranges) = &mut self.ranges {
            ranges.end_at(self.position);
            self.range.end = u64::MAX;
        }
        if self.file.layout().framing == Framing::EnhancedPacket {
            self.range.end = u64::MAX;
        }
        let tail = match &mut self.tail {
            Some(tail) => tail,
            none => none.insert(Box::new(self.file.sequential(self.position)?)),
        };
        // Whatever comes of it unless it is a batch.
        self.ended = true;
        let end = tail.offset();
        let Some(batch) = tail.next_batch(&mut self.records, TAIL_BATCH_LEN)? else {
            return match self.file.is_shorter_than(end) {
                true => Err(truncated(&self.file, end)),
                false => Ok(None),
            };
        };
        let begins = |record: &RecordRef| {
            batch.data_offset + u64::from(record.at) - u64::from(batch.header_len)
        };
        let count = batch.records.partition_point(|record| begins(record) < self.range.end);
        match batch.records.get(count) {
            Some(behind) => (self.position, self.is_cut) = (begins(behind), true),
            None => self.ended = false,
        }
        let Batch { link_type, interface, data_offset, header_len, .. } = batch;
        let lent = Lent::Tail { count, link_type, interface, data_offset, header_len };
        Ok((count > 0).then_some(lent))
    }
}

/// The damage of a file whose bytes went while it was read.
fn truncated(file: &TraceFile, offset: u64) -> CaptureError {
    let kind = DamageKind::TruncatedWhileRead { len: file.len() };
    let damage = Damage { offset, compressed: false, kind };
    CaptureError::Damaged { name: file.name().into(), damage }
}
