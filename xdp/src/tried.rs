//! Captured packets through a program in the kernel, one by one, as a backend of the engine: what runs next to the driver is compared with
//! the reference on the same packets.
//!
//! Queries that have no code there run on the reference interpreter beside it, over the packets that the program sends them, as they run on the
//! host beside an attached program. The groups of a window leave when it has closed, or before when another took their slot; the operator above completes them.

use std::ops::RangeInclusive;

use wt_catalog::{Value, layout};
use wt_engine::ledger::{PacketCounters, TupleCounters};
use wt_engine::{
    EngineError, LftaBackend, LftaSetup, Memory, Message, PacketBatch, ReferenceLfta, Tuple,
};
use wt_wire::{Direction, RecordRef};

use crate::codegen::spec::{
    ActionLayout, QueryLayout, control_words, packet_counters, query_counters,
};
use crate::codegen::{self, Clock, CodegenError, Disposition, HostQuery, Options, value_words};
use crate::decode::{self, Record, total};
use crate::loader::{Entry, LoadError, Loaded, MapAccess, OnOneCpu, TRIED_BYTES};
use crate::packet_socket::snap_bytes;

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum TriedError {
    /// A fault of the generator.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The kernel refuses.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map cannot be read.
    #[error(transparent)]
    Map(#[from] MapAccess),
    /// The thread cannot stay on one CPU.
    #[error("cannot keep the thread on one CPU: {0}")]
    Affinity(#[source] std::io::Error),
    /// The interpreter cannot be set up.
    #[error(transparent)]
    Setup(#[from] wt_engine::SetupError),
    /// A packet cannot be given to the kernel.
    #[error("a packet of {bytes} bytes with link type {link_type} cannot be tried; Ethernet frames of {} to {} bytes can", TRIED_BYTES.start(), TRIED_BYTES.end())]
    Packet {
        /// Its captured bytes.
        bytes: usize,
        /// LINKTYPE_ number.
        link_type: u16,
    },
    /// The program did not run as it should.
    #[error("the kernel does not run the program: {0}")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Tuples were lost although the ring was drained.
    #[error("{lost} tuples of `{query}` found no room in the ring")]
    Lost {
        /// The query.
        query: String,
        /// How many.
        lost: u64,
    },
}

/// Turns of groups of queries without keys: halves never change places here.
const TURNS: RangeInclusive<u64> = control_words::FIRST_TURN..=control_words::FIRST_TURN;

/// A query of the program in the kernel.
struct Query {
    layout: QueryLayout,
    /// By window: the bound last sent.
    sent: Vec<Option<u64>>,
    /// Tuples or partial groups sent on.
    output: u64,
    /// Partial groups that had to leave before their window closed.
    ejected: u64,
}

/// A program in the kernel as a backend.
pub struct TriedLfta {
    interface: String,
    loaded: Loaded,
    control: Vec<u64>,
    queries: Vec<Query>,
    /// The queries that the program does not have, with their numbers.
    host: ReferenceLfta,
    host_queries: Vec<u32>,
    reasons: Vec<HostQuery>,
    /// Sees no packets: says what follows from bounds of times.
    bounds: ReferenceLfta,
    all: usize,
    /// Packets that the host's queries have been given.
    given: u64,
    /// Room for the words of a record.
    words: Vec<u64>,
    _cpu: OnOneCpu,
}

impl TriedLfta {
    /// Loads the program of an interface. Nothing when no query has code there.
    ///
    /// # Errors
    /// The kernel refuses, or the interpreter cannot be set up.
    pub fn new(setup: &LftaSetup<'_>, memory: &mut Memory) -> Result<Option<Self>, TriedError> {
        let LftaSetup { program, params, fixed_hash, .. } = *setup;
        let is_fixed = |query: usize| fixed_hash.get(query).copied().unwrap_or(false);
        // Partial groups that are seen depend on which slots they have.
        let all = program.queries.len() as u32;
        let kept: Vec<u32> = (0..all).filter(|query| is_fixed(*query as usize)).collect();
        let options = Options {
            clock: Clock::Given,
            disposition: Disposition::Drop,
            feed_bytes: Some(snap_bytes(program)),
            ..Options::default()
        };
        let made = codegen::compile_except(program, &kept, params, &options)?;
        let Some(mut spec) = made.spec else { return Ok(None) };
        let cpu = OnOneCpu::pin().map_err(TriedError::Affinity)?;
        let loaded = Loaded::load(&spec)?;
        let mut queries = Vec::with_capacity(spec.layout.queries.len());
        for layout in spec.layout.queries.drain(..) {
            let windows = match &layout.action {
                ActionLayout::Select | ActionLayout::Totals(_) => 0,
                ActionLayout::Groups(groups) => groups.windows.len(),
            };
            queries.push(Query { layout, sent: vec![None; windows], output: 0, ejected: 0 });
        }
        let host_queries = std::mem::take(&mut spec.layout.host);
        let on_host = program.of_queries(&host_queries);
        let fixed: Vec<bool> = host_queries.iter().map(|q| is_fixed(*q as usize)).collect();
        let mut control = vec![0; spec.layout.control_words as usize];
        for (value, at) in params.iter().zip(&spec.layout.params) {
            for (i, word) in value_words(value).into_iter().enumerate() {
                control[*at as usize + i] = word;
            }
        }
        for word in spec.layout.secrets.clone() {
            control[word as usize] = 0x5eed_0001_5eed_0001 + 2 * u64::from(word);
        }
        control[control_words::TURN as usize] = control_words::FIRST_TURN;
        Ok(Some(Self {
            interface: setup.interface.to_owned(),
            loaded,
            control,
            queries,
            host: ReferenceLfta::new(&on_host, params, &fixed, memory)?,
            host_queries,
            reasons: made.host,
            bounds: ReferenceLfta::new(program, params, fixed_hash, memory)?,
            all: program.queries.len(),
            given: 0,
            words: Vec::new(),
            _cpu: cpu,
        }))
    }

    /// Queries that run in the kernel.
    pub fn in_kernel(&self) -> usize {
        self.queries.len()
    }

    /// The queries that do not, and why.
    pub fn on_host(&self) -> &[HostQuery] {
        &self.reasons
    }

    /// Runs the packets of a batch, and takes what leaves at once.
    fn packets(
        &mut self,
        batch: &PacketBatch<'_>,
        first: u64,
        memory: &mut Memory,
        sent: &mut Vec<(u64, u32, Message)>,
    ) -> Result<(), EngineError> {
        for (record, ordinal) in batch.records.iter().zip(first..) {
            self.packet(batch, record, ordinal).map_err(|e| self.failed(e))?;
            self.records(batch, record.direction, memory, sent)?;
        }
        Ok(())
    }

    /// Runs a packet.
    fn packet(
        &mut self,
        batch: &PacketBatch<'_>,
        record: &RecordRef,
        ordinal: u64,
    ) -> Result<(), TriedError> {
        let data = &batch.data[record.at as usize..][..record.caplen as usize];
        if batch.link_type != 1 || !TRIED_BYTES.contains(&data.len()) {
            return Err(TriedError::Packet { bytes: data.len(), link_type: batch.link_type });
        }
        let direction = match record.direction {
            Direction::Unknown => 0,
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        let given = [
            (control_words::TIMESTAMP_NS, record.timestamp_ns),
            (control_words::LEN, u64::from(record.len)),
            (control_words::IFINDEX, u64::from(batch.ifindex)),
            (control_words::DIRECTION, direction),
            (control_words::ORDINAL, ordinal),
        ];
        for (word, value) in given {
            self.control[word as usize] = value;
        }
        self.loaded.set_control(&self.control)?;
        let tried = self.loaded.try_packet(data, 1).map_err(|e| TriedError::Run(e.into()))?;
        if tried.action != Disposition::Drop.action() {
            let what = format!("it returns {}", tried.action);
            return Err(TriedError::Run(what.into()));
        }
        Ok(())
    }

    /// Takes the records that a packet has left in the ring. A group that left for one of a later window was closed rather than ejected.
    fn records(
        &mut self,
        batch: &PacketBatch<'_>,
        direction: Direction,
        memory: &mut Memory,
        sent: &mut Vec<(u64, u32, Message)>,
    ) -> Result<(), EngineError> {
        let Self { loaded, queries, host, host_queries, words, given, .. } = self;
        let mut frames = None;
        let mut done = Ok(());
        let mut groups_left = Vec::new();
        loaded.drain_ring(|bytes| match decode::read(bytes, words) {
            Some(Record::Packet(packet)) => {
                *given += 1;
                let record = packet.at(0, direction);
                let one = PacketBatch {
                    records: std::slice::from_ref(&record),
                    data: packet.data,
                    ..*batch
                };
                let at = packet.ordinal;
                let mut keep = |query: u32, message| {
                    sent.push((at, host_queries[query as usize], message));
                };
                let run = host.batch(&one, at, memory, &mut keep);
                if done.is_ok() {
                    done = run;
                }
            }
            Some(Record::Tuple { query, words }) => {
                let Some(query) = queries.iter_mut().find(|q| q.layout.query == query) else {
                    return;
                };
                let tuple = decode::tuple(&query.layout, words);
                query.output += 1;
                sent.push((tuple.ordinal, query.layout.query, Message::Tuple(tuple)));
            }
            Some(Record::Group { query, words }) => groups_left.push((query, words.to_vec())),
            None => {}
        });
        done?;
        for (query, words) in groups_left {
            let Some(index) = self.queries.iter().position(|q| q.layout.query == query) else {
                continue;
            };
            let frames = frames.get_or_insert_with(|| self.loaded.frames());
            let query = &mut self.queries[index];
            let ActionLayout::Groups(groups) = &query.layout.action else { continue };
            let bounds = groups.windows.iter().map(|window| decode::latest(window, frames));
            let bounds: Vec<Option<u64>> = bounds.collect();
            let is_closed = decode::is_behind(&query.layout, groups, &words, &bounds);
            query.ejected += u64::from(!is_closed);
            query.output += 1;
            let tuple = decode::group(&query.layout, &groups.states, &words);
            sent.push((tuple.ordinal, query.layout.query, Message::Tuple(tuple)));
        }
        Ok(())
    }

    /// By window of a query: the bound, where one is known.
    fn frontier(&self, query: &Query, frames: &[Vec<u64>]) -> Vec<Option<u64>> {
        let ActionLayout::Groups(groups) = &query.layout.action else { return Vec::new() };
        groups.windows.iter().map(|window| decode::latest(window, frames)).collect()
    }

    /// Takes groups of a query out of its table: those of windows behind `bounds`, or all when there are none.
    fn take_groups(
        &mut self,
        index: usize,
        bounds: Option<&[Option<u64>]>,
    ) -> Result<Vec<(u32, Message)>, TriedError> {
        let query = &self.queries[index];
        let number = query.layout.query;
        let groups = match &query.layout.action {
            ActionLayout::Select => return Ok(Vec::new()),
            ActionLayout::Groups(groups) => groups,
            ActionLayout::Totals(totals) => {
                let frames = self.loaded.frames();
                let group = |words| decode::group(&query.layout, &totals.states, words);
                let taken: Vec<_> = decode::totals(totals, &frames, TURNS)
                    .map(|words| (number, Message::Tuple(group(words))))
                    .collect();
                self.queries[index].output += taken.len() as u64;
                return Ok(taken);
            }
        };
        let is_closed = |entry: &Entry| {
            bounds
                .is_none_or(|bounds| decode::is_behind(&query.layout, groups, &entry.words, bounds))
        };
        let entries = self.loaded.take_groups(index, 0, u64::MAX, is_closed)?;
        let states = &groups.states;
        let tuple = |Entry { words }: &Entry| decode::group(&query.layout, states, words);
        let mut tuples: Vec<Tuple> = entries.iter().map(tuple).collect();
        tuples.sort_by_key(|tuple| tuple.ordinal);
        self.queries[index].output += tuples.len() as u64;
        Ok(tuples.into_iter().map(|tuple| (number, Message::Tuple(tuple))).collect())
    }

    /// Sends the groups and the punctuation of queries whose windows have advanced.
    fn close(&mut self, out: &mut dyn FnMut(u32, Message)) -> Result<(), TriedError> {
        let frames = self.loaded.frames();
        for index in 0..self.queries.len() {
            let query = &self.queries[index];
            let lost = total(&frames, query.layout.counters + query_counters::LOST);
            if lost > 0 {
                return Err(TriedError::Lost { query: query.layout.name.clone(), lost });
            }
            let frontier = self.frontier(query, &frames);
            if frontier == query.sent {
                continue;
            }
            let groups = self.take_groups(index, Some(&frontier))?;
            groups.into_iter().for_each(|(query, message)| out(query, message));
            let query = &mut self.queries[index];
            query.sent = frontier;
            let bounds = query.punctuation();
            if !bounds.is_empty() {
                out(query.layout.query, Message::Punctuation(bounds));
            }
        }
        Ok(())
    }

    fn failed(&self, error: TriedError) -> EngineError {
        EngineError::Backend { interface: self.interface.clone(), source: Box::new(error) }
    }

    /// Raises the bounds of a query in all frames to those of a punctuation.
    fn raise(&mut self, index: usize, bounds: &[(u32, Value)]) -> Result<(), TriedError> {
        let mut frames = self.loaded.frames();
        let ActionLayout::Groups(groups) = &self.queries[index].layout.action else {
            return Ok(());
        };
        for window in &groups.windows {
            let bound = bounds.iter().find(|(key, _)| *key == window.key);
            let Some(bound) = bound.and_then(|(_, value)| value.as_u64()) else { continue };
            for frame in &mut frames {
                if decode::later(window, bound, frame[window.bound as usize]) {
                    frame[window.bound as usize] = bound;
                    frame[window.known as usize] = 1;
                }
            }
        }
        Ok(self.loaded.set_frames(&frames)?)
    }
}

impl Query {
    /// Its windows' bounds as a message says them.
    fn punctuation(&self) -> Vec<(u32, Value)> {
        let ActionLayout::Groups(groups) = &self.layout.action else { return Vec::new() };
        let known = groups.windows.iter().zip(&self.sent);
        known.filter_map(|(w, bound)| Some((w.key, layout::word_value((*bound)?, w.ty)?))).collect()
    }
}

impl LftaBackend for TriedLfta {
    fn batch(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), EngineError> {
        let mut sent: Vec<(u64, u32, Message)> = Vec::new();
        self.packets(batch, ordinal, memory, &mut sent)?;
        sent.sort_by_key(|(ordinal, ..)| *ordinal);
        sent.into_iter().for_each(|(_, query, message)| out(query, message));
        self.close(out).map_err(|e| self.failed(e))
    }

    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message)) {
        if let Some(index) = self.host_queries.iter().position(|host| *host == query) {
            self.host.bound(index as u32, time_ns, &mut |_, message| out(query, message));
            return;
        }
        let mut said = None;
        self.bounds.bound(query, time_ns, &mut |_, message| said = Some(message));
        let index = self.queries.iter().position(|q| q.layout.query == query);
        match (index, said) {
            (Some(index), Some(Message::Punctuation(bounds)))
                if !self.queries[index].sent.is_empty() =>
            {
                // A table that cannot be read is told when the next batch comes.
                let _ = self.raise(index, &bounds);
                let _ = self.close(out);
            }
            (_, Some(message)) => out(query, message),
            (_, None) => {}
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(u32, Message)) {
        let mut ends: Vec<u32> = Vec::new();
        for index in 0..self.queries.len() {
            for (query, message) in self.take_groups(index, None).unwrap_or_default() {
                out(query, message);
            }
            ends.push(self.queries[index].layout.query);
        }
        let numbers = &self.host_queries;
        self.host.finish(&mut |query, message| out(numbers[query as usize], message));
        ends.into_iter().for_each(|query| out(query, Message::End));
    }

    fn packets(&self) -> PacketCounters {
        let frames = self.loaded.frames();
        PacketCounters {
            packets: total(&frames, packet_counters::PACKETS),
            malformed: total(&frames, packet_counters::MALFORMED),
            too_deep: total(&frames, packet_counters::TOO_DEEP),
            unknown_link_type: 0,
        }
    }

    fn tuples(&self, query: u32) -> TupleCounters {
        if let Some(index) = self.host_queries.iter().position(|host| *host == query) {
            let mut counted = self.host.tuples(index as u32);
            let kept_away = self.packets().packets - self.given;
            counted.offered += kept_away;
            counted.filtered += kept_away;
            return counted;
        }
        debug_assert!((query as usize) < self.all);
        let Some(index) = self.queries.iter().position(|q| q.layout.query == query) else {
            return TupleCounters::default();
        };
        let frames = self.loaded.frames();
        let Query { layout, output, ejected, .. } = &self.queries[index];
        let count = |counter: u32| total(&frames, layout.counters + counter);
        let offered = total(&frames, packet_counters::PACKETS);
        let (matched, held) = match &layout.action {
            ActionLayout::Totals(totals) => {
                let entries: Vec<&[u64]> = decode::totals(totals, &frames, TURNS).collect();
                (entries.iter().map(|words| words[0]).sum(), entries.len() as u64 - output)
            }
            _ => {
                let held = self.loaded.count_groups(index, 0).unwrap_or_default();
                (count(query_counters::MATCHED), held)
            }
        };
        let late = count(query_counters::LATE);
        let (absent, failed) = (count(query_counters::ABSENT), count(query_counters::FAILED));
        TupleCounters {
            offered,
            matched,
            filtered: offered.saturating_sub(matched + absent + failed + late),
            absent,
            failed,
            late,
            lost: 0,
            merged: matched.saturating_sub(output + held),
            ejected: *ejected,
            output: *output,
            held,
        }
    }
}
