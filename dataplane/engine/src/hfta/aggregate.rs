//! Grouping and aggregation (gsql.md §11, §12): over tuples, or over the partial groups of LFTAs.
//!
//! A window closes when every input is known to be beyond it. Its groups leave in the order of their first packet, then
//! of CUBE pattern, then of creation: whatever the hashing, the ejections below, and the order in which inputs came.
//!
//! For `window_completeness()` further inputs tell of every packet ([`super::share`]): one beside each other input, of the same
//! interface.
//!
//! Memory: the groups of the open windows, charged to the run's limit.

use wt_catalog::Value;
use wt_plan::ir::{AggKind, OrderedColumn};
use wt_plan::physical::{self, HftaOp};

use super::blocks::{self, ColumnTotal, Remaking, WholeGroups};
use super::grouping::{Body, Intake, Results, Stop};
use super::share::{SeenInputs, Share};
use super::windows::Windows;
use super::{Context, Operator};
use crate::block::Block;
use crate::hash_index::HashIndex;
use crate::interp::TupleEnv;
use crate::interp::env::Env;
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple};
use crate::window::{self, Frontier, Judgement, WindowColumns};

/// Tuples of a block whose columns are added up together, while they are in the cache.
const PIECE_ROWS: usize = 1024;

pub(super) struct Aggregate {
    name: String,
    intake: Intake,
    results: Results,
    ordered: Vec<OrderedColumn>,
    columns: WindowColumns,
    /// Keys, aggregate results, and the share of packets seen.
    result_columns: usize,
    /// Ordered outputs.
    ordered_outputs: Vec<u32>,
    real_time: bool,
    over_partials: bool,
    emit_empty: bool,
    /// Some group has been there.
    has_grouped: bool,

    inputs: Vec<Input>,
    seen: Option<SeenInputs>,
    /// Its input sends each group of a window once, in order, so that every tuple is one.
    whole_groups: Option<WholeGroups>,
    /// HAVING and SELECT over blocks of those.
    remaking: Remaking,
    /// Aggregates over columns of the input, without keys.
    totals: Option<Vec<ColumnTotal>>,
    /// Of the window that closed last.
    last_share: Share,
    windows: Windows<Groups>,
    counters: OperatorCounters,
}

/// How far an interface has come. What an input says of the tuples and what another says of the packets is one frontier, unless
/// the tuples are partial groups: those end with their punctuation.
struct Input {
    frontier: Frontier,
    /// Inputs that have not ended.
    open: u32,
}

/// The groups of a window.
#[derive(Default)]
struct Groups {
    index: HashIndex,
    /// In order of creation.
    groups: Vec<Group>,
    share: Share,
    /// What is charged for counting the share.
    share_bytes: u64,
}

struct Group {
    hash: u64,
    pattern: u32,
    /// Of the first packet.
    ordinal: u64,
    body: Body,
}

impl Groups {
    /// The group of the tuple at hand in a pattern, and whether it is new.
    fn group(
        &mut self,
        intake: &Intake,
        pattern: usize,
        ordinal: u64,
        results: &Results,
    ) -> (&mut Group, bool) {
        let Groups { index, groups, .. } = self;
        let (hash, keys) = intake.key(pattern);
        let pattern = pattern as u32;
        let same = |number: usize| {
            let group: &Group = &groups[number];
            group.hash == hash && group.pattern == pattern && *group.body.keys == *keys
        };
        let (at, is_new) = match index.find(hash, same) {
            Ok(at) => (at, false),
            Err(place) => {
                let at = groups.len();
                groups.push(Group { hash, pattern, ordinal, body: results.body(&keys) });
                index.insert(place, hash, at, groups.len());
                (at, true)
            }
        };
        let group = &mut groups[at];
        group.ordinal = group.ordinal.min(ordinal);
        (group, is_new)
    }
}

impl Aggregate {
    pub(super) fn new(
        name: &str,
        plan: &physical::Aggregate,
        inputs: usize,
        params: &[Value],
        gets_whole_groups: bool,
    ) -> Result<Self, SetupError> {
        let columns = WindowColumns::new(&plan.ordered, plan.tolerance);
        let seen = plan.seen.map(|seen| SeenInputs::new(seen, &plan.ordered));
        let frontiers = match &seen {
            Some(seen) if !plan.over_partials => seen.first,
            _ => inputs,
        };
        let open = if frontiers < inputs { 2 } else { 1 };
        let input = || Input { frontier: Frontier::new(&columns), open };
        Ok(Self {
            name: name.to_owned(),
            intake: Intake::new(plan, params)?,
            results: Results::new(name, plan, params)?,
            ordered: plan.ordered.clone(),
            result_columns: plan.keys.len() + plan.aggs.len() + usize::from(seen.is_some()),
            ordered_outputs: plan.ordered_outputs.iter().map(|&(output, _)| output).collect(),
            real_time: plan.real_time,
            over_partials: plan.over_partials,
            emit_empty: plan.emit_empty,
            has_grouped: false,
            inputs: (0..frontiers).map(|_| input()).collect(),
            seen,
            whole_groups: gets_whole_groups.then(|| WholeGroups::of(plan)).flatten(),
            remaking: Remaking::new(&plan.post, params, plan.having.iter().copied(), &plan.outputs),
            totals: blocks::totals_over_columns(plan),
            last_share: Share::default(),
            columns,
            windows: Windows::new(),
            counters: OperatorCounters::default(),
        })
    }

    /// The place in `inputs` of the interface behind an input.
    fn lane(&self, port: usize) -> usize {
        match &self.seen {
            Some(seen) if port >= self.inputs.len() => port - seen.first,
            _ => port,
        }
    }

    fn tells_of_packets(&self, port: usize) -> bool {
        self.seen.as_ref().is_some_and(|seen| port >= seen.first)
    }

    /// A packet, which counts toward the share of its window.
    fn packet(
        &mut self,
        port: usize,
        values: &[Value],
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        self.counters.merged += 1;
        let lane = self.lane(port);
        let Some(seen) = &self.seen else { return Ok(()) };
        let frontier = &mut self.inputs[lane].frontier;
        match frontier.judge(&seen.columns, values) {
            Judgement::Late => {
                self.lost(lane, values);
                return Ok(());
            }
            Judgement::Within => {}
            Judgement::Beyond => {
                if frontier.advance(&seen.columns, values) {
                    self.close(cx);
                    if self.over_partials {
                        self.punctuate(cx);
                    }
                }
            }
        }
        let Some(seen) = &self.seen else { return Ok(()) };
        let groups = self.windows.of(&seen.columns, values);
        if groups.share_bytes == 0 {
            cx.memory.charge(&self.name, Share::WINDOW_BYTES)?;
            groups.share_bytes = Share::WINDOW_BYTES;
        }
        match seen.is_seen(values) {
            true => groups.share.seen += 1,
            false => groups.share.lost += 1,
        }
        Ok(())
    }

    /// A late packet: laid to its window while another interface holds that open, else to the one that its interface is in.
    fn lost(&mut self, lane: usize, values: &[Value]) {
        let own = &values[..self.columns.len()];
        if let Some(groups) = self.windows.open(&self.columns, own) {
            groups.share.lost += 1;
        } else {
            self.lost_by_interval(lane, 1);
        }
    }

    fn lost_by_interval(&mut self, lane: usize, packets: u64) {
        if let Some(newest) = self.inputs[lane].frontier.newest()
            && let Some(groups) = self.windows.open(&self.columns, &newest)
        {
            groups.share.lost += packets;
        }
    }

    fn tuple(
        &mut self,
        port: usize,
        tuple: &Tuple,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        self.counters.input += 1;
        self.intake.begin();
        if self.real_time {
            let known = self.window_at(&TupleEnv(&*tuple.values));
            self.advance_known(port, &known, cx);
        }
        if let Err(stop) = self.intake.take(tuple) {
            stop.count(&mut self.counters);
            return Ok(());
        }
        let lane = self.lane(port);
        let frontier = &mut self.inputs[lane].frontier;
        match frontier.judge(&self.columns, self.intake.keys()) {
            Judgement::Late => {
                self.counters.late += 1;
                return Ok(());
            }
            Judgement::Within => {}
            // A partial group that was ejected early says nothing about those still in the table: punctuation does.
            Judgement::Beyond if self.over_partials => {}
            Judgement::Beyond => {
                if frontier.advance(&self.columns, self.intake.keys()) {
                    self.close(cx);
                }
            }
        }
        self.update(tuple.ordinal, cx)
    }

    /// Takes the tuple at hand into its group, one per pattern.
    fn update(&mut self, ordinal: u64, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.has_grouped = true;
        self.counters.expanded += self.intake.patterns() as u64 - 1;
        let groups = self.windows.of(&self.columns, self.intake.keys());
        for pattern in 0..self.intake.patterns() {
            let (group, is_new) = groups.group(&self.intake, pattern, ordinal, &self.results);
            match is_new {
                true => self.counters.held += 1,
                false => self.counters.merged += 1,
            }
            let cell_bytes = size_of::<Group>();
            self.results.update(
                &mut group.body,
                &self.intake,
                cell_bytes,
                &self.name,
                cx.memory,
            )?;
        }
        Ok(())
    }

    /// The components of the window that are known against `env`.
    fn window_at<E: Env>(&mut self, env: &E) -> Vec<Option<Value>> {
        let intake = &mut self.intake;
        self.ordered.iter().map(|column| intake.key_at(column.column as usize, env)).collect()
    }

    fn advance_known(&mut self, port: usize, known: &[Option<Value>], cx: &mut Context<'_>) {
        // LFTAs have taken the tolerance off their punctuation.
        let with_tolerance = !self.over_partials || self.tells_of_packets(port);
        let lane = self.lane(port);
        let columns = match &self.seen {
            Some(seen) if port >= seen.first => &seen.columns,
            _ => &self.columns,
        };
        let frontier = &mut self.inputs[lane].frontier;
        if frontier.advance_known(columns, known, with_tolerance) {
            self.close(cx);
        }
    }

    /// The bounds that all inputs still running have passed.
    fn bounds(&self) -> Vec<Option<Value>> {
        let running = self.inputs.iter().filter(|input| input.open > 0);
        window::least_bounds(&self.columns, running.map(|input| &input.frontier))
    }

    /// Closes the windows that all inputs have passed.
    fn close(&mut self, cx: &mut Context<'_>) {
        if self.columns.is_empty() {
            return;
        }
        let bounds = self.bounds();
        let closed = self.windows.take_behind(&self.columns, &bounds);
        closed.into_iter().for_each(|groups| self.send(groups, cx));
    }

    fn close_all(&mut self, cx: &mut Context<'_>) {
        self.windows.take_all().into_iter().for_each(|groups| self.send(groups, cx));
    }

    /// HAVING and SELECT for the groups of a closed window.
    fn send(&mut self, groups: Groups, cx: &mut Context<'_>) {
        cx.memory.release(groups.share_bytes);
        self.last_share = groups.share;
        let share = self.seen.is_some().then(|| groups.share.value());
        let mut groups = groups.groups;
        // Stable: groups of one packet and pattern stay in order of creation.
        groups.sort_by_key(|group| (group.ordinal, group.pattern));
        for group in groups {
            self.counters.held -= 1;
            let row = self.results.finish(group.body, share.clone(), cx.memory);
            self.send_row(group.ordinal, row, cx);
        }
    }

    /// Takes a tuple that is a whole group: its row follows at once.
    fn whole_group(&mut self, tuple: Tuple, cx: &mut Context<'_>) {
        self.counters.input += 1;
        self.has_grouped = true;
        let Some(WholeGroups { kinds, .. }) = &self.whole_groups else { return };
        let keys = tuple.values.len() - kinds.len();
        let row = self.results.of_whole_group(tuple.values, keys, kinds);
        self.send_row(tuple.ordinal, row, cx);
    }

    /// Takes tuples that are whole groups.
    fn whole_groups(&mut self, block: &Block, cx: &mut Context<'_>) {
        let passed = self.whole_groups.as_ref().and_then(|whole| whole.passed.as_ref());
        if let Some(rows) = passed.and_then(|columns| block.project(columns)) {
            let count = block.len() as u64;
            self.counters.input += count;
            self.counters.output += count;
            self.has_grouped |= count > 0;
            cx.out.push(Message::Block(rows));
            return;
        }
        if let Some(remade) = self.remaking.block(block, &mut self.counters) {
            self.has_grouped |= !block.is_empty();
            cx.out.extend(remade.block.map(Message::Block));
            return;
        }
        block.tuples().for_each(|tuple| self.whole_group(tuple, cx));
    }

    fn block(
        &mut self,
        port: usize,
        block: &Block,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        // Every column of a piece is read before it leaves the cache.
        for block in block.pieces(PIECE_ROWS) {
            let totals = self.totals.as_deref().and_then(|totals| blocks::totals(&block, totals));
            match (totals, block.first_ordinal()) {
                (Some(totals), Some(ordinal)) => self.totals(block.len(), &totals, ordinal, cx)?,
                _ => block.each(|tuple| self.tuple(port, tuple, cx))?,
            }
        }
        Ok(())
    }

    /// Takes what so many tuples come to into the one group.
    fn totals(
        &mut self,
        tuples: usize,
        totals: &[(AggKind, Value)],
        ordinal: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        let tuples = tuples as u64;
        self.has_grouped = true;
        self.counters.input += tuples;
        let groups = self.windows.of(&self.columns, &[]);
        let (group, is_new) = groups.group(&self.intake, 0, ordinal, &self.results);
        self.counters.held += u64::from(is_new);
        self.counters.merged += tuples - u64::from(is_new);
        let cell_bytes = size_of::<Group>();
        self.results.merge(&mut group.body, totals, cell_bytes, &self.name, cx.memory)
    }

    fn send_row(&mut self, ordinal: u64, row: Result<Box<[Value]>, Stop>, cx: &mut Context<'_>) {
        match row {
            Ok(values) => {
                self.counters.output += 1;
                cx.out.push(Message::Tuple(Tuple { ordinal, values }));
            }
            Err(stop) => stop.count(&mut self.counters),
        }
    }

    /// Sends the ordered outputs at the bounds that all inputs have passed.
    fn punctuate(&mut self, cx: &mut Context<'_>) {
        let bounds = self.columns.iter().zip(self.bounds());
        let known = bounds.filter_map(|(column, bound)| Some((column.key, bound?)));
        let known: Vec<_> = known.collect();
        let bounds = self.results.bounds(known, self.result_columns, &self.ordered_outputs);
        if !bounds.is_empty() {
            cx.out.push(Message::Punctuation(bounds));
        }
    }

    fn end(&mut self, cx: &mut Context<'_>) {
        self.close_all(cx);
        if self.emit_empty && !self.has_grouped {
            // The one row over nothing.
            self.counters.expanded += 1;
            let share = self.seen.is_some().then(|| self.last_share.value());
            let row = self.results.over_nothing(share);
            self.send_row(0, row, cx);
        }
        cx.out.push(Message::End);
    }
}

impl Operator for Aggregate {
    fn set_params(&mut self, op: &HftaOp, params: &[Value]) -> Result<(), SetupError> {
        if let HftaOp::Aggregate(plan) = op {
            self.intake.set_params(plan, params)?;
            self.results.set_params(plan, params)?;
            self.remaking.set_params(params);
        }
        Ok(())
    }

    fn message(
        &mut self,
        port: usize,
        message: Message,
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        match message {
            Message::Tuple(tuple) if self.whole_groups.is_some() => self.whole_group(tuple, cx),
            Message::Tuple(tuple) if self.tells_of_packets(port) => {
                self.packet(port, &tuple.values, cx)?;
            }
            Message::Tuple(tuple) => self.tuple(port, &tuple, cx)?,
            Message::Block(block) if self.whole_groups.is_some() => self.whole_groups(&block, cx),
            Message::Block(block) if self.tells_of_packets(port) => {
                block.each(|tuple| self.packet(port, &tuple.values, cx))?;
            }
            Message::Block(block) => self.block(port, &block, cx)?,
            Message::Punctuation(bounds) => {
                self.intake.begin();
                let known = match &self.seen {
                    Some(seen) if port >= seen.first => seen.columns.known(&bounds),
                    _ => self.window_at(&TupleEnv(&*bounds)),
                };
                self.advance_known(port, &known, cx);
                self.punctuate(cx);
            }
            Message::Flush => {
                self.close_all(cx);
                cx.out.push(Message::Flush);
            }
            Message::End => {
                let lane = self.lane(port);
                self.inputs[lane].open -= 1;
                if self.inputs.iter().all(|input| input.open == 0) {
                    self.end(cx);
                } else {
                    self.close(cx);
                    self.punctuate(cx);
                }
            }
        }
        Ok(())
    }

    fn broke_off(
        &mut self,
        port: usize,
        captures: u64,
        _cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        if self.tells_of_packets(port) && captures > 0 {
            self.lost_by_interval(self.lane(port), captures);
        }
        Ok(())
    }

    fn counters(&self) -> OperatorCounters {
        self.counters
    }

    fn kind(&self) -> &'static str {
        "aggregate"
    }
}
