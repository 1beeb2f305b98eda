//! One input on several cores: each takes ranges of it, and one folds what ranges come to, in their order.
//!
//! A range is scanned without knowing what precedes it: its groups stay in tables of their own, its tuples are kept, and the
//! punctuation of its groups says which windows it has reached. Folding then does what the packets themselves would have done. A
//! window that was closed before the range began is late as a whole, and one that the range itself has passed is late in both;
//! windows close where the range has passed them, before the tuples that follow. So the messages and the books are those of one core.

use super::groups::{Window, WordGroups, updated};
use super::plan::{Body, QueryPlan, Use};
use super::table::{WordHasher, WordTable};
use super::{CompiledLfta, Query, Sink};
use crate::ledger::{PacketCounters, TupleCounters};
use crate::lfta::AheadCounters;
use crate::memory::{Memory, MemoryExceeded};
use crate::tuple::{Message, Tuple};

/// What scanning a range changes; the rest of a backend is the same for all packets.
pub(super) struct RangeState {
    queries: Vec<Query>,
    unmatched: Vec<usize>,
    packets: PacketCounters,
    /// Frame words of totals, query by query.
    totals: Vec<u64>,
}

/// What a range of packets comes to.
pub(crate) struct Scanned {
    packets: PacketCounters,
    queries: Vec<ScannedQuery>,
    /// What queries send, ordinals counted from the start of the range.
    messages: Vec<(u32, Message)>,
}

/// Bits of an ordinal within a range.
const WITHIN_BITS: u32 = 40;

/// The ordinal of a range's first packet, for whoever scans several: that of all packets is not known there.
pub(crate) fn kept_ordinal(range: u64) -> u64 {
    range << WITHIN_BITS
}

/// What ordinals that threads have kept are among those of all packets.
#[derive(Clone, Copy)]
pub(crate) enum Ordinals<'a> {
    /// The same: one thread has scanned everything.
    Same,
    /// They are by [`kept_ordinal`]: that of each range's first packet.
    ByRange(&'a [u64]),
}

impl Ordinals<'_> {
    pub(super) fn of(self, kept: u64) -> u64 {
        match self {
            Self::Same => kept,
            Self::ByRange(firsts) => {
                let within = kept & ((1 << WITHIN_BITS) - 1);
                firsts[(kept >> WITHIN_BITS) as usize] + within
            }
        }
    }

    /// Gives the groups of a table their ordinals among all packets.
    pub(super) fn renumber(self, table: &mut WordTable) {
        if let Self::ByRange(_) = self {
            table.renumber(|kept| self.of(kept));
        }
    }
}

/// What ranges that leave nothing but totals had come to.
pub(crate) struct SavedTotals {
    packets: PacketCounters,
    words: Vec<u64>,
    queries: Vec<(AheadCounters, TupleCounters, Option<u64>)>,
    unmatched: Vec<usize>,
}

struct ScannedQuery {
    ahead: AheadCounters,
    counters: TupleCounters,
    /// Frame words of totals.
    totals: Vec<u64>,
    first_ordinal: Option<u64>,
    windows: Vec<Window>,
}

impl QueryPlan {
    /// The frame words of totals: absent, failed, matched, then the states.
    fn totals(&self) -> impl Iterator<Item = usize> {
        let (absent, failed) = (self.absent, self.failed);
        let totals = match &self.body {
            Body::Totals(totals) => Some(totals),
            Body::Rows(_) => None,
        };
        totals.into_iter().flat_map(move |totals| {
            let states = totals.states.iter().map(|state| state.at);
            [absent, failed, totals.matched].into_iter().chain(states)
        })
    }
}

impl CompiledLfta {
    /// What decides the places of groups in tables.
    pub(crate) fn hasher(&self) -> WordHasher {
        self.hasher
    }

    /// Makes it a scanner of ranges too, for a backend that places groups by `hasher`.
    pub(crate) fn scans_ranges(&mut self, hasher: WordHasher) {
        let query = |(query, plan): (&Query, &QueryPlan)| {
            let sink = match (&query.sink, &plan.body) {
                (Sink::Groups(groups), Body::Rows(rows)) => match &rows.use_ {
                    Use::Groups(plan) => {
                        Sink::Groups(Box::new(WordGroups::of_range(groups.name(), plan, hasher)))
                    }
                    _ => Sink::Kept,
                },
                (Sink::Values(_), _) => Sink::Kept,
                (Sink::Totals, _) => Sink::Totals,
                _ => Sink::Select,
            };
            Query { block: query.block.clone(), ..Query::with(vec![0; query.rows.len()], sink) }
        };
        let queries = self.queries.iter().zip(&self.plans).map(query).collect();
        let totals = self.plans.iter().flat_map(QueryPlan::totals).count();
        self.range = Some(Box::new(RangeState {
            queries,
            unmatched: Vec::new(),
            packets: PacketCounters::default(),
            totals: vec![0; totals],
        }));
    }

    /// Whether ranges send nothing, and leave nothing but totals and groups that stay open to the end: then it does not matter which of them are scanned
    /// together.
    pub(crate) fn keeps_all(&self) -> bool {
        self.plans.iter().all(|plan| match &plan.body {
            Body::Totals(_) => true,
            Body::Rows(rows) => match &rows.use_ {
                Use::Groups(plan) => plan.window.is_none() && plan.groups_max.is_none(),
                Use::Select | Use::Values { .. } => false,
            },
        })
    }

    /// Whether packets of a range may come in any order: what it leaves is totals, or is asked for in no order by whatever reads those of
    /// `free`: tuples, and groups that stay open, so that none of their tuples is late.
    pub(crate) fn takes_any_order(&self, free: &[bool]) -> bool {
        self.plans.iter().zip(free).all(|(plan, is_free)| match &plan.body {
            Body::Totals(_) => true,
            Body::Rows(rows) => match &rows.use_ {
                Use::Select => *is_free,
                Use::Groups(plan) => *is_free && plan.window.is_none() && plan.groups_max.is_none(),
                Use::Values { .. } => false,
            },
        })
    }

    /// Whether ranges leave nothing but totals.
    pub(crate) fn keeps_totals(&self) -> bool {
        self.plans.iter().all(|plan| matches!(plan.body, Body::Totals(_)))
    }

    /// What ranges have come to, where they leave nothing but totals: for [`Self::restore`].
    pub(crate) fn saved(&self) -> SavedTotals {
        let words = self.plans.iter().flat_map(QueryPlan::totals);
        SavedTotals {
            packets: self.packets,
            words: words.map(|at| self.frame.words[at]).collect(),
            queries: self
                .queries
                .iter()
                .map(|query| (query.ahead, query.counters, query.first_ordinal))
                .collect(),
            unmatched: self.unmatched.clone(),
        }
    }

    /// Forgets what ranges have come to since.
    pub(crate) fn restore(&mut self, saved: SavedTotals) {
        self.packets = saved.packets;
        let words = self.plans.iter().flat_map(QueryPlan::totals);
        for (at, word) in words.zip(saved.words) {
            self.frame.words[at] = word;
        }
        for (query, (ahead, counters, first)) in self.queries.iter_mut().zip(saved.queries) {
            (query.ahead, query.counters, query.first_ordinal) = (ahead, counters, first);
        }
        self.unmatched = saved.unmatched;
    }

    /// Groups that it holds at the moment.
    pub(crate) fn groups_held(&self) -> u64 {
        let held = self.queries.iter().map(|query| match &query.sink {
            Sink::Groups(groups) => groups.held(),
            _ => 0,
        });
        held.sum()
    }

    /// Puts the state of a range in the place of that of the whole input, or back.
    fn swap(&mut self) {
        let Some(range) = &mut self.range else { return };
        std::mem::swap(&mut self.queries, &mut range.queries);
        std::mem::swap(&mut self.unmatched, &mut range.unmatched);
        std::mem::swap(&mut self.packets, &mut range.packets);
        let words = self.plans.iter().flat_map(QueryPlan::totals);
        for (word, at) in range.totals.iter_mut().zip(words) {
            std::mem::swap(word, &mut self.frame.words[at]);
        }
    }

    /// Forgets what packets before had as window: what moves it is said anew.
    fn forget_windows(&mut self) {
        for plan in &self.plans {
            let Body::Rows(rows) = &plan.body else { continue };
            for component in rows.moves.iter().flat_map(|moves| &moves.components) {
                self.frame.words[component.last] = 0;
            }
        }
    }

    /// Scans a range: `packets` gives it batch after batch, from ordinal 0 on, and what it returns is returned too.
    pub(crate) fn scan<R, E>(
        &mut self,
        memory: &mut Memory,
        packets: impl FnOnce(&mut Self, &mut Memory, &mut dyn FnMut(u32, Message)) -> Result<R, E>,
    ) -> Result<(Scanned, R), E> {
        self.swap();
        self.forget_windows();
        self.unmatched = (0..self.queries.len()).collect();
        let mut messages = Vec::new();
        let scanned = packets(self, memory, &mut |query, message| messages.push((query, message)));
        let queries = self.queries.iter_mut().zip(&self.plans).map(|(query, plan)| ScannedQuery {
            ahead: std::mem::take(&mut query.ahead),
            counters: std::mem::take(&mut query.counters),
            totals: plan.totals().map(|at| self.frame.take(at)).collect(),
            first_ordinal: query.first_ordinal.take(),
            windows: match &mut query.sink {
                Sink::Groups(groups) => groups.end_range(memory),
                _ => Vec::new(),
            },
        });
        let queries = queries.collect();
        let packets = std::mem::take(&mut self.packets);
        self.swap();
        scanned.map(|read| (Scanned { packets, queries, messages }, read))
    }

    /// Takes in what the next range comes to. `ordinal` is that of its first packet.
    pub(crate) fn fold(
        &mut self,
        scanned: Scanned,
        ordinal: u64,
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), MemoryExceeded> {
        self.count(&scanned);
        let queries = self.queries.iter_mut().zip(&self.plans).zip(scanned.queries);
        for (number, ((query, plan), part)) in (0u32..).zip(queries) {
            let counters = &mut query.counters;
            match &mut query.sink {
                Sink::Totals => {
                    fold_totals(plan, &mut self.frame.words, &part.totals);
                    let first = part.first_ordinal.map(|first| first + ordinal);
                    query.first_ordinal = query.first_ordinal.or(first);
                }
                Sink::Groups(groups) => {
                    let mut send = |_, message| out(number, message);
                    groups.fold(part.windows, ordinal, counters, memory, &mut send)?;
                }
                Sink::Select => {
                    counters.matched += part.counters.matched;
                    counters.output += part.counters.output;
                }
                // Counted as they are taken in.
                Sink::Values(_) | Sink::Kept => {}
            }
        }
        for (number, message) in scanned.messages {
            self.follow(number, message, ordinal, out);
        }
        Ok(())
    }

    /// Takes in what threads have kept of all ranges so far, which are `ordinals`; groups come to be in the order of their first packets, unless they may
    /// be in any.
    pub(crate) fn fold_kept(
        &mut self,
        mut kept: Vec<Scanned>,
        ordinals: Ordinals<'_>,
        any_order: bool,
        memory: &mut Memory,
    ) -> Result<(), MemoryExceeded> {
        kept.iter().for_each(|scanned| self.count(scanned));
        for (number, (query, plan)) in self.queries.iter_mut().zip(&self.plans).enumerate() {
            let parts = kept.iter_mut().map(|scanned| &mut scanned.queries[number]);
            match &mut query.sink {
                Sink::Totals => {
                    for part in parts {
                        fold_totals(plan, &mut self.frame.words, &part.totals);
                        let first = part.first_ordinal.map(|first| ordinals.of(first));
                        query.first_ordinal = query.first_ordinal.into_iter().chain(first).min();
                    }
                }
                Sink::Groups(groups) => {
                    let windows = parts.flat_map(|part| std::mem::take(&mut part.windows));
                    let windows = windows.collect();
                    let counters = &mut query.counters;
                    groups.fold_kept(windows, ordinals, any_order, counters, memory)?;
                }
                // They keep nothing.
                Sink::Select | Sink::Kept | Sink::Values(_) => {}
            }
        }
        Ok(())
    }

    /// Enters packets, and tuples that came to nothing.
    fn count(&mut self, scanned: &Scanned) {
        self.packets.packets += scanned.packets.packets;
        self.packets.malformed += scanned.packets.malformed;
        self.packets.too_deep += scanned.packets.too_deep;
        self.packets.unknown_link_type += scanned.packets.unknown_link_type;
        for (query, part) in self.queries.iter_mut().zip(&scanned.queries) {
            query.ahead.filtered += part.ahead.filtered;
            query.ahead.absent += part.ahead.absent;
            query.ahead.failed += part.ahead.failed;
            query.counters.absent += part.counters.absent;
            query.counters.failed += part.counters.failed;
            query.counters.late += part.counters.late;
        }
    }

    /// Does what a message of a range asks for.
    fn follow(
        &mut self,
        number: u32,
        message: Message,
        ordinal: u64,
        out: &mut dyn FnMut(u32, Message),
    ) {
        let index = number as usize;
        let Query { sink, counters, .. } = &mut self.queries[index];
        match (sink, message) {
            (Sink::Groups(groups), Message::Punctuation(reached)) => {
                let reached = reached.first().map(|(_, value)| value);
                groups.reach(reached, counters, &mut |_, message| out(number, message));
            }
            (Sink::Values(aggregate), Message::Tuple(tuple)) => {
                let Body::Rows(rows) = &self.plans[index].body else { return };
                let Use::Values { keys } = rows.use_ else { return };
                let mut values = tuple.values.into_vec();
                let args = values.split_off(keys);
                let mut send = |message| out(number, message);
                aggregate.take_values(
                    values.into_iter(),
                    args.into_iter(),
                    ordinal + tuple.ordinal,
                    counters,
                    &mut send,
                );
            }
            (Sink::Values(aggregate), Message::Punctuation(moved)) => {
                // By component, as the range has put it.
                let mut known = Vec::new();
                for (component, value) in moved {
                    known.resize(component as usize, None);
                    known.push(Some(value));
                }
                aggregate.move_to(&known, counters, &mut |message| out(number, message));
            }
            (_, Message::Tuple(tuple)) => {
                out(number, Message::Tuple(Tuple { ordinal: ordinal + tuple.ordinal, ..tuple }));
            }
            (_, Message::Block(block)) => out(number, Message::Block(block.moved_on(ordinal))),
            (_, message) => out(number, message),
        }
    }
}

/// Adds the totals of later packets.
fn fold_totals(plan: &QueryPlan, words: &mut [u64], later: &[u64]) {
    let (Body::Totals(totals), [absent, failed, matched, states @ ..]) = (&plan.body, later) else {
        return;
    };
    words[plan.absent] += absent;
    words[plan.failed] += failed;
    if *matched == 0 {
        return;
    }
    let is_new = words[totals.matched] == 0;
    words[totals.matched] += matched;
    for (state, later) in totals.states.iter().zip(states) {
        let word = &mut words[state.at];
        *word = updated(state.kind, state.ty, *word, *later, is_new);
    }
}
