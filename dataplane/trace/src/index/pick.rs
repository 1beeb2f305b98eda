//! What of a trace is read, by its entries.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::Index;
use super::choose::{Chosen, Gap, Run, Taken, Unit};
use super::entries::Damaged;
use super::format::Head;
use super::wanted::Wanted;

/// Bytes that are checked and read at once, unless a block has more.
const RUN_LEN_MAX: u64 = 16 << 20;

/// Entries by their numbers.
type Picked = BTreeMap<u64, Head>;

impl Index {
    /// The blocks of which packets are wanted, each as a unit.
    ///
    /// # Errors
    /// An entry is damaged.
    pub(crate) fn units(&self, wanted: &Wanted) -> Result<Vec<Unit>, Damaged> {
        let mut units = Vec::with_capacity(self.len());
        let all = 0..self.entries.count();
        self.entries.each(all, wanted.asks_summaries(), |head, summary| {
            let range_ns = head.range_ns();
            let is_read = range_ns.is_some_and(|range| wanted.may_be_in(range, summary));
            units.push(Unit { range_ns, is_read });
        })?;
        Ok(units)
    }

    /// What is to be read of the trace for all packets that are wanted; where `keeps_order`, so that their order among those of other
    /// captures stays, and when the capture ends. `None` when nothing can be left out. From the first damaged entry on that is met the
    /// index has none any more.
    pub fn choose(&mut self, wanted: &Wanted, keeps_order: bool) -> Option<Chosen> {
        if let Ok(chosen) = self.try_choose(wanted, keeps_order) {
            return chosen;
        }
        self.leave_damaged();
        // One that changes while it is looked at is of no use.
        self.try_choose(wanted, keeps_order).unwrap_or(None)
    }

    fn try_choose(&self, wanted: &Wanted, keeps_order: bool) -> Result<Option<Chosen>, Damaged> {
        let mut picked = Picked::new();
        if let Some(time) = wanted.time() {
            let numbers = self.entries.of_time(time)?;
            self.entries.each(numbers, wanted.asks_summaries(), |head, summary| {
                if head.range_ns().is_some_and(|range| wanted.may_be_in(range, summary)) {
                    picked.insert(head.number(), *head);
                }
            })?;
        }
        if keeps_order {
            self.keep_order(&mut picked)?;
        }
        self.chosen(picked)
    }

    /// Adds what the order of packets depends on: what [`super::keep_order`] does where all units are at hand.
    fn keep_order(&self, picked: &mut Picked) -> Result<(), Damaged> {
        let mut holders = Vec::new();
        // The latest stamp before, of what is read.
        let mut of_read = 0;
        for head in picked.values() {
            let before = head.before;
            if before.latest_ns > of_read && before.latest_ns > head.min_ns {
                holders.push(before.latest_in);
                of_read = before.latest_ns;
            }
            of_read = of_read.max(head.max_ns);
        }
        if self.sums.latest_ns > of_read {
            holders.push(self.sums.latest_in);
        }
        self.pick(holders.into_iter().map(u64::from), picked)
    }

    fn pick(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        picked: &mut Picked,
    ) -> Result<(), Damaged> {
        for number in numbers {
            if number >= self.entries.count() {
                return Err(Damaged);
            }
            if let Entry::Vacant(place) = picked.entry(number) {
                place.insert(self.entries.head(number)?);
            }
        }
        Ok(())
    }

    /// The part with these blocks, of all that there are, and those that describe interfaces to what follows. `None` when that is everything, or an
    /// entry is damaged.
    pub(crate) fn chosen_of(&self, is_read: &[bool]) -> Option<Chosen> {
        let mut picked = Picked::new();
        let numbers = (0..).zip(is_read).filter(|(_, is_read)| **is_read);
        self.pick(numbers.map(|(number, _)| number), &mut picked).ok()?;
        self.chosen(picked).unwrap_or(None)
    }

    fn chosen(&self, mut picked: Picked) -> Result<Option<Chosen>, Damaged> {
        let (len, covered) = self.covered();
        let last = match len > covered {
            true => self.entries.count(),
            false => picked.last_key_value().map_or(0, |(last, _)| last + 1),
        };
        let always = self.entries.always(last)?;
        // The first block is preceded by nothing, and behind the last one everything is read.
        let describes = always.iter().any(|n| (1..self.entries.count() - 1).contains(n));
        self.pick(always, &mut picked)?;
        let mut chosen = Chosen {
            head: self.header.first_at,
            runs: Vec::new(),
            rest: covered,
            describes,
            gaps: Vec::new(),
            taken: Taken {
                blocks: (0, self.entries.count()),
                bytes: (self.header.first_at + (len - covered), len),
                packets: self.sums.packets,
                packets_skipped: self.sums.packets,
                uncounted: u64::from(len > covered),
                ..Taken::default()
            },
        };
        // Behind what has been looked at: entries, bytes and packets.
        let (mut number, mut at, mut packets) = (0, self.header.first_at, 0);
        for (&of, head) in &picked {
            chosen.leave(of - number, at, head.offset, packets, head.before.packets)?;
            chosen.read(head);
            (number, at) = (of + 1, head.end());
            packets = head.before.packets + u64::from(head.packets);
        }
        chosen.leave(self.entries.count() - number, at, covered, packets, self.sums.packets)?;
        Ok((!chosen.gaps.is_empty()).then_some(chosen))
    }
}

impl Chosen {
    /// Leaves out so many blocks, from a place of the trace to another: those of the packets from a number to another.
    fn leave(&mut self, blocks: u64, at: u64, end: u64, from: u64, to: u64) -> Result<(), Damaged> {
        let bytes = end.checked_sub(at).ok_or(Damaged)?;
        let packets = to.checked_sub(from).ok_or(Damaged)?;
        match (blocks, bytes, packets) {
            (0, 0, 0) => {}
            // Blocks follow one another without gaps.
            (0, ..) => return Err(Damaged),
            _ => self.gaps.push(Gap { at, bytes, packets, blocks }),
        }
        Ok(())
    }

    /// Reads a block.
    fn read(&mut self, head: &Head) {
        self.taken.packets_skipped -= u64::from(head.packets);
        self.taken.blocks.0 += 1;
        self.taken.bytes.0 += head.len;
        let end = head.end();
        match self.runs.last_mut() {
            Some(run) if run.range.end == head.offset && end - run.range.start <= RUN_LEN_MAX => {
                run.range.end = end;
                run.blocks.push((end, head.crc));
            }
            _ => {
                let blocks = vec![(end, head.crc)];
                self.runs.push(Run { range: head.offset..end, blocks });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::super::choose::keep_order;
    use super::super::format::{Appending, Entry, HEADER_LEN, Header};
    use super::super::summary::{Key, Summary};
    use super::*;

    const SUMMARY_LEN: usize = 64;

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % below
        }
    }

    /// Blocks whose stamps rise, or overlap, or step back, by little or by much.
    fn entries(numbers: &mut Numbers, count: u64) -> Vec<Entry> {
        let steps = numbers.next(4);
        let mut clock = 1000;
        let mut at = 24;
        (0..count)
            .map(|_| {
                clock += numbers.next(50);
                match steps {
                    0 => {}
                    1 => clock -= numbers.next(8),
                    _ if numbers.next(30) == 0 => clock -= numbers.next(900).min(clock),
                    _ => {}
                }
                let packets = if numbers.next(9) == 0 { 0 } else { 1 + numbers.next(5) as u32 };
                let mut summary = Summary::new(SUMMARY_LEN);
                (0..3).for_each(|_| summary.add(Key::Port(numbers.next(90) as u16)));
                let (offset, len) = (at, 50 + numbers.next(50));
                at += len;
                let max_ns = clock + numbers.next(if steps == 3 { 60 } else { 1 });
                Entry {
                    offset,
                    len,
                    min_ns: if packets == 0 { 0 } else { clock },
                    max_ns: if packets == 0 { 0 } else { max_ns },
                    packets,
                    wire_bytes: 7,
                    is_in_order: true,
                    has_metadata: numbers.next(12) == 0,
                    crc: at as u32,
                    summary,
                }
            })
            .collect()
    }

    fn index_of(path: &Path, entries: &[Entry], more: u64) -> (Index, Vec<u8>) {
        let end = entries.last().map_or(24, |last| last.offset + last.len);
        let mut header = Header {
            ratio: 1 << 20,
            trace_len: end,
            changed_ns: 0,
            first_at: 24,
            head_len: 0,
            head_crc: 0,
            summary_len: SUMMARY_LEN as u32,
            entries: 0,
            earliest_ns: 0,
            fall_ns: 0,
        };
        let (mut appending, mut bytes) = (Appending::new(), vec![0; HEADER_LEN]);
        entries.iter().for_each(|entry| appending.entry(entry, &mut bytes));
        appending.put(&mut header);
        bytes[..HEADER_LEN].copy_from_slice(&header.encode());
        fs::write(path, &bytes).unwrap();
        let len = bytes.len() as u64;
        (Index::new(path, header, end + more, File::open(path).unwrap(), len), bytes)
    }

    fn wanted(numbers: &mut Numbers) -> Wanted {
        let mut one = || match numbers.next(6) {
            0 => Wanted::Has(Key::Port(numbers.next(90) as u16)),
            1 => Wanted::Between(0, numbers.next(3000)),
            _ => {
                let from_ns = numbers.next(3000);
                Wanted::Between(from_ns, from_ns + numbers.next(300))
            }
        };
        let parts = vec![one(), one()];
        match numbers.next(9) {
            0 => Wanted::Never,
            1 => Wanted::All(vec![Wanted::Any]),
            2 | 3 => Wanted::All(parts),
            4 | 5 => Wanted::OneOf(parts),
            _ => parts[0].clone(),
        }
    }

    /// Which entries are read, as all of them say.
    fn read_of(entries: &[Entry], wanted: &Wanted, keeps_order: bool, has_rest: bool) -> Vec<u64> {
        let unit = |entry: &Entry| {
            let range_ns = (entry.packets > 0).then_some((entry.min_ns, entry.max_ns));
            let may_be = |range| wanted.may_be_in(range, Some(&entry.summary));
            Unit { range_ns, is_read: range_ns.is_some_and(may_be) }
        };
        let mut units: Vec<Unit> = entries.iter().map(unit).collect();
        if has_rest {
            units.push(Unit { range_ns: Some((0, 0)), is_read: true });
        }
        if keeps_order {
            keep_order(&mut units);
        }
        let last = units.iter().rposition(|unit| unit.is_read).map_or(0, |last| last + 1);
        let is_read = |at: &usize| units[*at].is_read || entries[*at].has_metadata && *at < last;
        (0..entries.len()).filter(is_read).map(|at| at as u64).collect()
    }

    #[test]
    fn what_is_found_by_bisection_is_what_all_entries_say() {
        let dir = std::env::temp_dir().join(format!("wt-pick-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.wti");
        let mut numbers = Numbers(3);
        let mut parts = 0;
        for round in 0..600 {
            let count = numbers.next(if round % 9 == 0 { 2 } else { 120 });
            let entries = entries(&mut numbers, count);
            let more = if numbers.next(3) == 0 { 5 } else { 0 };
            let (mut index, _) = index_of(&path, &entries, more);
            assert_eq!(index.entries(), entries);
            for _ in 0..8 {
                let (wanted, keeps_order) = (wanted(&mut numbers), numbers.next(2) == 0);
                let read = read_of(&entries, &wanted, keeps_order, more > 0);
                let chosen = index.choose(&wanted, keeps_order);
                assert_eq!(chosen.is_none(), read.len() == entries.len(), "{wanted:?}");
                let Some(chosen) = chosen else { continue };
                parts += 1;
                let of = |number: &u64| &entries[*number as usize];
                let ends: Vec<(u64, u32)> =
                    read.iter().map(of).map(|e| (e.offset + e.len, e.crc)).collect();
                let blocks: Vec<(u64, u32)> =
                    chosen.runs.iter().flat_map(|run| run.blocks.clone()).collect();
                assert_eq!(blocks, ends, "{wanted:?} of {entries:?}");
                let of_read: u64 = read.iter().map(of).map(|e| e.len).sum();
                let packets = |entries: &mut dyn Iterator<Item = &Entry>| -> u64 {
                    entries.map(|e| u64::from(e.packets)).sum()
                };
                let all = packets(&mut entries.iter());
                let taken = Taken {
                    segments: (0, 0),
                    blocks: (read.len() as u64, count),
                    bytes: (24 + more + of_read, index.trace_len),
                    packets_skipped: all - packets(&mut read.iter().map(of)),
                    packets: all,
                    uncounted: u64::from(more > 0),
                };
                assert_eq!(chosen.taken(), taken);
                // What is left out and what is read is all that there is.
                let left: u64 = chosen.gaps.iter().map(|gap| gap.bytes).sum();
                assert_eq!(left + taken.bytes.0, taken.bytes.1);
                let blocks: u64 = chosen.gaps.iter().map(|gap| gap.blocks).sum();
                assert_eq!(blocks + taken.blocks.0, count);
                // A store decides by all entries.
                let mut flags = vec![false; entries.len()];
                read.iter().for_each(|number| flags[*number as usize] = true);
                assert_eq!(index.chosen_of(&flags).unwrap().taken(), taken);
            }
        }
        assert!(parts > 2000, "{parts}");
        fs::remove_dir_all(dir).unwrap();
    }

    /// What is not looked at may be anything; what is looked at is checked, and the entries before it still count.
    #[test]
    fn entries_are_checked_when_they_are_looked_at() {
        let dir = std::env::temp_dir().join(format!("wt-pick-damaged-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.wti");
        let mut numbers = Numbers(5);
        let entries: Vec<Entry> = (0..64)
            .map(|n| Entry {
                offset: 24 + 100 * n,
                len: 100,
                min_ns: 10 * n,
                max_ns: 10 * n + 9,
                packets: 2,
                ..entries(&mut numbers, 1)[0].clone()
            })
            .map(|entry| Entry { has_metadata: false, ..entry })
            .collect();
        let (_, good) = index_of(&path, &entries, 0);
        let stride = (good.len() - HEADER_LEN) / entries.len();
        let mut untouched = 0;
        for damaged in 0..64 {
            for at in [0, 40, stride - 1] {
                let (mut index, _) = index_of(&path, &entries, 0);
                let mut bad = good.clone();
                bad[HEADER_LEN + damaged * stride + at] ^= 1;
                fs::write(&path, &bad).unwrap();
                let chosen = index.choose(&Wanted::Between(305, 325), false);
                if index.is_whole() {
                    untouched += 1;
                    let chosen = chosen.unwrap();
                    assert_eq!(chosen.runs[0].range, 24 + 3000..24 + 3300, "{damaged}");
                    assert_eq!((chosen.rest, chosen.taken().blocks), (6424, (3, 64)));
                } else {
                    // All from the damaged one on is read.
                    assert_eq!(index.len(), damaged);
                    let rest = chosen.map_or(24, |chosen| chosen.rest);
                    assert_eq!(rest, 24 + 100 * damaged as u64);
                }
                let wants_ports = Wanted::Has(Key::Port(7));
                index.choose(&wants_ports, false);
                assert_eq!(index.len(), damaged, "a summary is asked of every entry");
                assert_eq!(index.checked().len(), damaged);
            }
        }
        assert!((120..185).contains(&untouched), "{untouched}");
        fs::remove_dir_all(dir).unwrap();
    }
}
