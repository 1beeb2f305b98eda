//! Looks for the starts of chains before they are walked, a little at a time between other work.
//!
//! A search goes over bytes that nobody has touched, and would wait for each of them. So what one look asks of memory is looked at
//! when the other searches have had their turns, and all of it is done while the bytes before are walked.

use wt_wire::RecordLayout;

use crate::resync::Resync;
use crate::sys::prefetch;
use crate::walk::{CHAINS_MAX, Cut};

/// Bytes that are searched at a time.
const LOOK_LEN: usize = 512;
/// Bytes of a cache line.
const LINE_LEN: usize = 64;
/// Looks of a [`Scouts::step`].
const LOOKS: usize = 1;

/// The searches for the starts of the chains of one batch.
#[derive(Debug)]
pub(crate) struct Scouts {
    /// Knows records near those of the batch.
    resync: Option<Resync>,
    searches: [Search; CHAINS_MAX],
    count: usize,
    /// Whose turn it is.
    turn: usize,
    /// Searches that have not ended.
    open: usize,
}

/// The search for one start.
#[derive(Clone, Copy, Debug, Default)]
struct Search {
    /// Where it goes on, or the start that it has found.
    at: usize,
    /// A start lies before.
    end: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It has not had a turn.
    Waiting,
    /// The bytes at its place are on their way to the cache.
    Asked,
    /// A record seems to begin at its place; what follows it is on its way.
    Guessed,
    /// Another one follows there.
    Found,
    /// There is none.
    #[default]
    Nothing,
}

impl Scouts {
    pub(crate) fn new() -> Self {
        let searches = [Search::default(); CHAINS_MAX];
        Self { resync: None, searches, count: 0, turn: 0, open: 0 }
    }

    /// Begins to look for the starts of the chains that cut `len` bytes from `from` on, near in time to the record at the start of `bytes`. The
    /// first chain has its start.
    pub(crate) fn begin(
        &mut self,
        layout: RecordLayout,
        bytes: &[u8],
        (from, len): (usize, usize),
        cut: Cut,
    ) {
        if !self.resync.as_ref().is_some_and(|resync| resync.is_near(layout, bytes)) {
            match Resync::new(layout, bytes) {
                // A block without a packet tells no time: what was known of it still holds.
                None if bytes.len() >= layout.framing.header_len() => {}
                resync => self.resync = resync,
            }
        }
        let wanted = cut.chains.min(CHAINS_MAX).min(len / cut.segment_len.max(1));
        self.count = if self.resync.is_some() { wanted.saturating_sub(1) } else { 0 };
        for (number, search) in (1..).zip(&mut self.searches[..self.count]) {
            let at = from + number * cut.segment_len;
            let end = from + ((number + 1) * cut.segment_len).min(len);
            *search = Search { at, end, stage: Stage::Waiting };
        }
        (self.turn, self.open) = (0, self.count);
    }

    /// Goes on with bytes that begin so many later. Searches that have not come so far are given up.
    pub(crate) fn move_on(&mut self, by: usize) {
        for search in &mut self.searches[..self.count] {
            match (search.at.checked_sub(by), search.end.checked_sub(by)) {
                (Some(at), Some(end)) => (search.at, search.end) = (at, end),
                _ => search.stage = Stage::Nothing,
            }
        }
        self.open = self.searches[..self.count].iter().filter(|search| search.is_open()).count();
    }

    /// Goes on by a few looks; FALSE when all searches have ended.
    #[inline]
    pub(crate) fn step(&mut self, bytes: &[u8]) -> bool {
        if self.open > 0 {
            self.looks(bytes);
        }
        self.open > 0
    }

    fn looks(&mut self, bytes: &[u8]) {
        let Some(resync) = &self.resync else {
            self.open = 0;
            return;
        };
        let mut looks = 0;
        while looks < LOOKS && self.open > 0 {
            let search = &mut self.searches[self.turn];
            self.turn = (self.turn + 1) % self.count;
            if search.is_open() {
                search.look(resync, bytes);
                looks += 1;
                self.open -= usize::from(!search.is_open());
            }
        }
    }

    /// The starts found by searches that have ended, in order.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        let searches = self.searches[..self.count].iter();
        searches.filter(|search| search.stage == Stage::Found).map(|search| search.at)
    }
}

impl Search {
    fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Found | Stage::Nothing)
    }

    /// Asks for what is looked at next.
    fn ask(&self, bytes: &[u8]) {
        let end = self.end.min(self.at + LOOK_LEN);
        (self.at..end).step_by(LINE_LEN).for_each(|at| prefetch(bytes, at));
    }

    fn look(&mut self, resync: &Resync, bytes: &[u8]) {
        match self.stage {
            Stage::Waiting => self.go_on(bytes, self.at),
            Stage::Asked => {
                let to = self.end.min(self.at + LOOK_LEN);
                let candidate = resync.candidate(bytes, self.at, to);
                match candidate.and_then(|at| Some((at, resync.end(bytes, at)?))) {
                    Some((at, end)) => {
                        (self.at, self.stage) = (at, Stage::Guessed);
                        prefetch(bytes, end);
                    }
                    None => self.go_on(bytes, to),
                }
            }
            Stage::Guessed if resync.is_followed(bytes, self.at) => self.stage = Stage::Found,
            Stage::Guessed => self.go_on(bytes, self.at + 1),
            Stage::Found | Stage::Nothing => {}
        }
    }

    fn go_on(&mut self, bytes: &[u8], at: usize) {
        self.at = at;
        self.stage = if at < self.end { Stage::Asked } else { Stage::Nothing };
        self.ask(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wt_wire::{ByteOrder, Framing, LinkType};

    const CUT: Cut = Cut { chains: 4, segment_len: 2000 };

    fn layout() -> RecordLayout {
        let (framing, order, link_type) = (Framing::Pcap, ByteOrder::Little, LinkType(1));
        RecordLayout { framing, order, tick_ns: 1, caplen_max: 1 << 16, link_type, records_at: 24 }
    }

    /// Records of `caplen` zeros each.
    fn records(caplen: u32, count: usize) -> Vec<u8> {
        let record = |second: u32| {
            let words = [0x6928_0000 + second, 5, caplen, caplen];
            let header = words.into_iter().flat_map(u32::to_le_bytes);
            header.chain(std::iter::repeat_n(0, caplen as usize)).collect::<Vec<u8>>()
        };
        (0..count as u32).flat_map(record).collect()
    }

    #[test]
    fn the_first_record_of_each_chain_is_found_in_steps() {
        let bytes = records(884, 40);
        let mut scouts = Scouts::new();
        scouts.begin(layout(), &bytes, (8000, 8000), CUT);
        let mut steps = 0;
        while scouts.step(&bytes) {
            steps += 1;
        }
        assert!(steps > 3, "{steps}");
        assert_eq!(scouts.starts().collect::<Vec<_>>(), [10_800, 12_600, 14_400]);
    }

    #[test]
    fn searches_go_on_where_later_bytes_begin() {
        let bytes = records(884, 40);
        let mut scouts = Scouts::new();
        scouts.begin(layout(), &bytes, (8000, 8000), CUT);
        scouts.step(&bytes);
        // The record at 8100 begins what is walked next.
        scouts.move_on(8100);
        while scouts.step(&bytes[8100..]) {}
        assert_eq!(scouts.starts().collect::<Vec<_>>(), [2700, 4500, 6300]);
        // A long record reaches behind where two of the searches began.
        scouts.begin(layout(), &bytes, (8000, 8000), CUT);
        scouts.move_on(13_500);
        while scouts.step(&bytes[13_500..]) {}
        assert_eq!(scouts.starts().collect::<Vec<_>>(), [900]);
    }

    #[test]
    fn where_there_are_no_records_nothing_is_found() {
        let mut bytes = records(884, 9);
        bytes.resize(40_000, 0);
        let mut scouts = Scouts::new();
        for from in [8100, 20_000, 39_990] {
            scouts.begin(layout(), &bytes, (from, 8000), CUT);
            while scouts.step(&bytes) {}
            assert_eq!(scouts.starts().count(), 0, "{from}");
        }
        scouts.begin(layout(), &[], (0, 8000), CUT);
        assert!(!scouts.step(&[]));
        // The last record has nothing behind it that would show that it is one.
        let bytes = records(884, 9);
        scouts.begin(layout(), &bytes, (5100, 3000), Cut { chains: 2, segment_len: 1500 });
        while scouts.step(&bytes) {}
        assert_eq!(scouts.starts().count(), 0);
    }
}
