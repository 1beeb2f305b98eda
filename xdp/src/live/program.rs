//! A program of an interface's queries in the kernel, and what has come of it.

use std::hash::{BuildHasher, Hasher, RandomState};

use wt_engine::ledger::{PacketCounters, TupleCounters};
use wt_engine::live::DriverCounters;
use wt_engine::{LftaSetup, Memory, Message, ReferenceLfta, Tuple};

use super::feed::Feed;
use super::ordered::Ordered;
use super::{INBOUND, XdpError, XdpOptions};
use crate::clock;
use crate::codegen::spec::{
    ActionLayout, ProgramSpec, QueryLayout, control_words, packet_counters, query_counters,
};
use crate::codegen::{self, Disposition, FeedBy, HostQuery, Options, value_words};
use crate::decode::{self, Record, total};
use crate::loader::{Entry, Loaded, MapAccess};
use crate::packet_socket::snap_bytes;

/// What words of group keys are hashed with, which senders of packets must not guess: the standard library seeds its hashers from the kernel's
/// generator.
fn secret() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A query in the driver.
pub(super) struct Query {
    layout: QueryLayout,
    /// Tuples or partial groups sent on.
    output: u64,
    /// Partial groups that had to leave for another one.
    ejected: u64,
    /// Tuples that its table had taken before the half at hand was filled.
    taken_before: u64,
    /// Of a query without keys: tuples in the groups that were taken.
    tuples_taken: u64,
}

impl Query {
    /// Tuples that its table has taken: the number never falls.
    fn taken(&self, frames: &[Vec<u64>]) -> u64 {
        let counter = |counter: u32| total(frames, self.layout.counters + counter);
        counter(query_counters::MATCHED) + counter(query_counters::LOST)
    }
}

/// A program in the kernel, and what has come of it.
pub(super) struct Program {
    pub(super) loaded: Loaded,
    pub(super) control: Vec<u64>,
    queries: Vec<Query>,
    pub(super) numbers: Vec<u32>,
    pub(super) on_host: Vec<HostQuery>,
    /// Sees no packets: says what follows from bounds of times.
    pub(super) bounds: ReferenceLfta,
    /// As they were read last.
    frames: Vec<Vec<u64>>,
    /// The last turn whose groups were taken.
    turn_taken: u64,
    /// Packets given to the host.
    pub(super) given: u64,
    /// Bytes that it keeps of packets.
    pub(super) snap_bytes: u32,
    /// The number that its frames carry.
    pub(super) number: u32,
    /// Packets that came by sockets.
    pub(super) received: u64,
    /// Packets that sockets had dropped before its own, and by now.
    pub(super) dropped_before: u64,
    pub(super) dropped: u64,
    /// It sees no packets any more, and all that it sent has been taken.
    is_settled: bool,
}

/// A program that is not in the kernel yet.
pub(super) struct Made {
    spec: ProgramSpec,
    host: Vec<HostQuery>,
    bounds: ReferenceLfta,
    control: Vec<u64>,
    snap_bytes: u32,
    number: u32,
}

impl Made {
    /// Makes the program of an interface's queries. Nothing when none of them has code.
    pub(super) fn new(
        setup: &LftaSetup<'_>,
        options: &XdpOptions,
        device: (&str, u32),
        feed: &mut Feed,
    ) -> Result<Option<Self>, XdpError> {
        let LftaSetup { program, params, fixed_hash, .. } = *setup;
        // Partial groups that are seen depend on which slots they have.
        let all = program.queries.len() as u32;
        let is_fixed = |query: &u32| fixed_hash.get(*query as usize).copied().unwrap_or(false);
        let kept: Vec<u32> = (0..all).filter(is_fixed).collect();
        let snap_bytes = snap_bytes(program).max(options.keep_bytes);
        let mut code = Options {
            disposition: options.disposition,
            ring_bytes: options.ring_bytes.next_power_of_two(),
            feed_bytes: Some(snap_bytes),
            // A port that only mirrors traffic has nobody else to see what its program does not send to the host.
            feeds_alone: options.disposition == Disposition::Drop,
            has_block_list: options.blocks.is_some(),
            ..Options::default()
        };
        let mut made = codegen::compile_except(program, &kept, params, &code)?;
        if made.spec.as_ref().is_some_and(|spec| !spec.layout.host.is_empty()) {
            code.feed_by = feed.by(device, options, snap_bytes);
            if code.feed_by != FeedBy::Ring {
                made = codegen::compile_except(program, &kept, params, &code)?;
            }
        }
        let Some(spec) = made.spec else { return Ok(None) };
        let mut control = vec![0; spec.layout.control_words as usize];
        for (value, at) in params.iter().zip(&spec.layout.params) {
            for (i, word) in value_words(value).into_iter().enumerate() {
                control[*at as usize + i] = word;
            }
        }
        for word in spec.layout.secrets.clone() {
            control[word as usize] = secret() | 1;
        }
        control[control_words::TURN as usize] = control_words::FIRST_TURN;
        control[control_words::DIRECTION as usize] = INBOUND;
        control[control_words::TICK_NS as usize] = clock::tick_ns();
        let number = feed.next_number();
        if let Some(sockets) = &spec.layout.sockets {
            control[sockets.number as usize] = number.into();
        }
        let bounds = ReferenceLfta::new(program, params, fixed_hash, &mut Memory::new(None))?;
        Ok(Some(Self { spec, host: made.host, bounds, control, snap_bytes, number }))
    }

    /// Loads it.
    pub(super) fn load(self, options: &XdpOptions) -> Result<Program, XdpError> {
        let Self { spec, host, bounds, control, snap_bytes, number } = self;
        let loaded = match &options.broker {
            Some(broker) => Loaded::load_by(broker, &spec)?,
            None => Loaded::load_blocking(&spec, options.blocks.as_deref())?,
        };
        let query =
            |layout| Query { layout, output: 0, ejected: 0, taken_before: 0, tuples_taken: 0 };
        let queries: Vec<Query> = spec.layout.queries.into_iter().map(query).collect();
        Ok(Program {
            frames: loaded.frames(),
            loaded,
            control,
            numbers: queries.iter().map(|query| query.layout.query).collect(),
            queries,
            on_host: host,
            bounds,
            turn_taken: 0,
            given: 0,
            snap_bytes,
            number,
            received: 0,
            dropped_before: 0,
            dropped: 0,
            is_settled: false,
        })
    }
}

impl Program {
    /// Whether it sends packets by sockets.
    pub(super) fn has_sockets(&self) -> bool {
        self.loaded.spec().layout.sockets.is_some()
    }

    /// Packets that it has given to sockets.
    pub(super) fn redirected(&self) -> u64 {
        if self.has_sockets() { self.total(packet_counters::SENT) } else { 0 }
    }

    /// Packets that it has given to sockets and that did not come: once it is settled, all of them; before, those that the kernel says it
    /// has dropped.
    pub(super) fn lost_in_sockets(&self) -> u64 {
        let missing = self.redirected().saturating_sub(self.received);
        match self.is_settled {
            true => missing,
            false => self.dropped.saturating_sub(self.dropped_before).min(missing),
        }
    }

    /// Says that it sees no packets any more, and that all that it sent has been taken.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Tells the program what it cannot know.
    pub(super) fn set(&mut self, offset_ns: u64, ifindex: u32) -> Result<(), MapAccess> {
        self.control[control_words::CLOCK_OFFSET_NS as usize] = offset_ns;
        self.control[control_words::IFINDEX as usize] = u64::from(ifindex);
        self.loaded.set_control(&self.control)
    }

    /// Takes what the ring has; how many records.
    pub(super) fn drain(
        &mut self,
        ordered: &mut Ordered,
        ready: &mut Vec<(u32, Message)>,
        words: &mut Vec<u64>,
    ) -> usize {
        let Self { loaded, queries, .. } = self;
        let mut records = 0;
        loaded.drain_ring(|bytes| {
            records += 1;
            let record = decode::read(bytes, words);
            let number = match record {
                Some(Record::Packet(packet)) => return ordered.packet(&packet),
                Some(Record::Tuple { query, .. } | Record::Group { query, .. }) => query,
                None => return,
            };
            let index = queries.iter().position(|q| q.layout.query == number);
            let Some(query) = index.map(|index| &mut queries[index]) else { return };
            query.output += 1;
            match (record, &query.layout.action) {
                (Some(Record::Group { words, .. }), ActionLayout::Groups(groups)) => {
                    query.ejected += 1;
                    let tuple = decode::group(&query.layout, &groups.states, words);
                    ready.push((number, Message::Tuple(tuple)));
                }
                (Some(Record::Tuple { words, .. }), _) => {
                    ordered.tuple(number, decode::tuple(&query.layout, words));
                }
                _ => {}
            }
        });
        records
    }

    /// Lets the halves of tables, and of the groups of queries without keys, change places. The half that was filled is to be taken, once no program
    /// that began before still runs.
    pub(super) fn turn(&mut self) -> Result<u32, MapAccess> {
        let filled = self.control[control_words::TURN as usize] & 1;
        self.control[control_words::TURN as usize] += 1;
        self.loaded.set_control(&self.control)?;
        Ok(filled as u32)
    }

    /// Empties a half of the tables, which no program fills; of those that have taken tuples, by the frames as they are now. Of queries without
    /// keys it takes the groups of all turns that are over; once the program is `done`, of the one at hand too.
    pub(super) fn take_groups(
        &mut self,
        half: u32,
        done: bool,
        ready: &mut Vec<(u32, Message)>,
    ) -> Result<(), MapAccess> {
        self.frames = self.loaded.frames();
        let turn = self.control[control_words::TURN as usize];
        let over = if done { turn } else { turn - 1 };
        for (index, query) in self.queries.iter_mut().enumerate() {
            let mut tuples: Vec<Tuple> = match &query.layout.action {
                ActionLayout::Select => continue,
                ActionLayout::Groups(groups) => {
                    if query.taken(&self.frames) == query.taken_before {
                        continue;
                    }
                    // Where groups can be, in the turn that is over; everywhere once there are no more turns.
                    let used = self.frames.iter().map(|frame| groups.used(frame, over));
                    let used = if done { u64::MAX } else { used.fold(0, |all, used| all | used) };
                    let entries = self.loaded.take_groups(index, half, used, |_| true)?;
                    let entries = entries.iter().map(|Entry { words }| &words[..]);
                    entries
                        .map(|words| decode::group(&query.layout, &groups.states, words))
                        .collect()
                }
                ActionLayout::Totals(totals) => {
                    let turns = self.turn_taken + 1..=over;
                    let entries: Vec<&[u64]> =
                        decode::totals(totals, &self.frames, turns).collect();
                    query.tuples_taken += entries.iter().map(|words| words[0]).sum::<u64>();
                    let group = |words| decode::group(&query.layout, &totals.states, words);
                    entries.into_iter().map(group).collect()
                }
            };
            query.output += tuples.len() as u64;
            tuples.sort_by_key(|tuple| tuple.ordinal);
            let number = query.layout.query;
            ready.extend(tuples.into_iter().map(|tuple| (number, Message::Tuple(tuple))));
        }
        self.turn_taken = over;
        Ok(())
    }

    /// Reads what it has counted.
    pub(super) fn read_frames(&mut self) {
        self.frames = self.loaded.frames();
    }

    /// Packets that the host may have wanted, for which there was no way to it.
    pub(super) fn not_sent(&self) -> u64 {
        self.total(packet_counters::UNSENT) + self.total(packet_counters::OVERSIZE)
    }

    pub(super) fn total(&self, word: u32) -> u64 {
        total(&self.frames, word)
    }

    /// Remembers what the tables had taken when these frames were read.
    pub(super) fn remember(&mut self, frames: &[Vec<u64>]) {
        for query in &mut self.queries {
            query.taken_before = query.taken(frames);
        }
    }

    /// What it has counted of packets.
    pub(super) fn counters(&self) -> DriverCounters {
        let total = |word| self.total(word);
        DriverCounters {
            packets: PacketCounters {
                packets: total(packet_counters::PACKETS),
                malformed: total(packet_counters::MALFORMED),
                too_deep: total(packet_counters::TOO_DEEP),
                unknown_link_type: 0,
            },
            bytes: total(packet_counters::BYTES),
            given: self.given,
            lost: self.not_sent() + self.lost_in_sockets(),
            blocked: self.loaded.spec().layout.blocks.map_or(0, |b| total(b.counter)),
        }
    }

    /// Tuples that a query has taken.
    fn matched(&self, query: &Query) -> u64 {
        match &query.layout.action {
            ActionLayout::Totals(totals) => {
                let filled = decode::totals(totals, &self.frames, self.turn_taken + 1..=u64::MAX);
                query.tuples_taken + filled.map(|words| words[0]).sum::<u64>()
            }
            _ => self.total(query.layout.counters + query_counters::MATCHED),
        }
    }

    /// What became of the tuples of a query.
    pub(super) fn tuples(&self, query: u32) -> TupleCounters {
        let Some(query) = self.queries.iter().find(|q| q.layout.query == query) else {
            return TupleCounters::default();
        };
        let Query { layout, output, ejected, .. } = query;
        let count = |counter: u32| self.total(layout.counters + counter);
        let offered = self.total(packet_counters::PACKETS);
        let (matched, late) = (self.matched(query), count(query_counters::LATE));
        let (absent, failed) = (count(query_counters::ABSENT), count(query_counters::FAILED));
        let lost = count(query_counters::LOST) + self.total(packet_counters::OVERSIZE);
        TupleCounters {
            offered,
            matched,
            filtered: offered.saturating_sub(matched + absent + failed + late + lost),
            absent,
            failed,
            late,
            lost,
            merged: matched.saturating_sub(*output),
            ejected: *ejected,
            output: *output,
            held: 0,
        }
    }
}
