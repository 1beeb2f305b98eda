//! Grouping and aggregation (gsql.md §11, §12): over tuples, or over the partial groups of LFTAs.
//!
//! A window closes when every input is known to be beyond it. Its groups leave in the order of their first packet, then
//! of CUBE pattern, then of creation: whatever the hashing, the ejections below, and the order in which inputs came.
//!
//! For `window_completeness()` further inputs tell of every packet ([`super::share`]): one beside each other input, of the same
//! interface.
//!
//! Memory: the groups of the open windows, charged to the run's limit.

use std::sync::Arc;

use wt_catalog::{Type, Value};
use wt_plan::ir::{AggKind, OrderedColumn};
use wt_plan::physical::{self, HftaOp};

use super::blocks::{self, ColumnTotal, Remaking};
use super::grouping::{self, Intake, Results, Stop};
use super::groups::{Group, Groups};
use super::share::{SeenInputs, Share};
use super::windows::Windows;
use super::{Context, Operator};
use crate::block::Block;
use crate::compiled::Regroup;
use crate::interp::TupleEnv;
use crate::interp::env::Env;
use crate::ledger::OperatorCounters;
use crate::memory::MemoryExceeded;
use crate::setup::SetupError;
use crate::tuple::{Message, Tuple};
use crate::window::{self, Frontier, Judgement, WindowColumns};

/// Tuples of a block that are taken together, while they are in the cache.
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
    gets_groups: bool,
    /// By output: the key or result that it is, and its type, when rows need nothing else.
    passed: Option<Vec<(usize, Type)>>,
    /// HAVING and SELECT over blocks of groups.
    remaking: Remaking,
    /// What takes blocks into groups, where those may be words.
    taking: Option<Taking>,
    /// Aggregates over columns of the input, without keys.
    totals: Option<Vec<ColumnTotal>>,
    /// Of the window that closed last.
    last_share: Share,
    windows: Windows<Groups>,
    counters: OperatorCounters,
}

/// Compiled code for the quals, keys and operands of blocks.
struct Taking {
    regroup: Arc<Regroup>,
    rows: Remaking,
    /// What is charged for a group.
    group_bytes: u64,
}

/// How far an interface has come. What an input says of the tuples and what another says of the packets is one frontier, unless
/// the tuples are partial groups: those end with their punctuation.
struct Input {
    frontier: Frontier,
    /// Inputs that have not ended.
    open: u32,
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
        let results = Results::new(name, plan, params)?;
        let totals = blocks::totals_over_columns(plan);
        let regroup = if totals.is_none() { Regroup::of(plan).map(Arc::new) } else { None };
        let taking = regroup.map(|regroup| Taking {
            rows: Remaking::of_groups(plan, params, &regroup),
            group_bytes: results.fixed_bytes(&plan.key_types, size_of::<Group>()),
            regroup,
        });
        Ok(Self {
            name: name.to_owned(),
            intake: Intake::new(plan, params)?,
            results,
            ordered: plan.ordered.clone(),
            result_columns: plan.keys.len() + plan.aggs.len() + usize::from(seen.is_some()),
            ordered_outputs: plan.ordered_outputs.iter().map(|&(output, _)| output).collect(),
            real_time: plan.real_time,
            over_partials: plan.over_partials,
            emit_empty: plan.emit_empty,
            has_grouped: false,
            inputs: (0..frontiers).map(|_| input()).collect(),
            seen,
            gets_groups: gets_whole_groups && grouping::is_over_groups(plan),
            passed: blocks::passed_columns(plan),
            remaking: Remaking::new(&plan.post, params, plan.having.iter().copied(), &plan.outputs),
            taking,
            totals,
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
        match self.admits(port, cx) {
            true => self.update(tuple.ordinal, cx),
            false => {
                self.counters.late += 1;
                Ok(())
            }
        }
    }

    /// Whether the window of the tuple at hand is open; those are closed that it is beyond.
    fn admits(&mut self, port: usize, cx: &mut Context<'_>) -> bool {
        let lane = self.lane(port);
        let frontier = &mut self.inputs[lane].frontier;
        match frontier.judge(&self.columns, self.intake.keys()) {
            Judgement::Late => return false,
            Judgement::Within => {}
            // A partial group that was ejected early says nothing about those still in the table: punctuation does.
            Judgement::Beyond if self.over_partials => {}
            Judgement::Beyond => {
                if frontier.advance(&self.columns, self.intake.keys()) {
                    self.close(cx);
                }
            }
        }
        true
    }

    /// Takes the tuple at hand into its group, one per pattern.
    fn update(&mut self, ordinal: u64, cx: &mut Context<'_>) -> Result<(), MemoryExceeded> {
        self.has_grouped = true;
        self.counters.expanded += self.intake.patterns() as u64 - 1;
        let groups = self.windows.of(&self.columns, self.intake.keys());
        if let (Some(table), Some(taking)) = (&mut groups.words, &self.taking) {
            let new = taking.regroup.take_values(table, ordinal, self.intake.values()) as u64;
            self.counters.held += new;
            self.counters.merged += 1 - new;
            return cx.memory.charge(&self.name, new * taking.group_bytes);
        }
        for pattern in 0..self.intake.patterns() {
            let key = self.intake.key(pattern);
            let (group, is_new) = groups.values.group(key, pattern, ordinal, &self.results);
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
        closed.into_iter().for_each(|(window, groups)| self.send(&window, groups, cx));
    }

    fn close_all(&mut self, cx: &mut Context<'_>) {
        let all = self.windows.take_all();
        all.into_iter().for_each(|(window, groups)| self.send(&window, groups, cx));
    }

    /// HAVING and SELECT for the groups of a closed window.
    fn send(&mut self, window: &[Value], groups: Groups, cx: &mut Context<'_>) {
        cx.memory.release(groups.share_bytes);
        self.last_share = groups.share;
        if let (Some(table), Some(taking)) = (groups.words, &self.taking) {
            let count = table.len() as u64;
            self.counters.held -= count;
            cx.memory.release(count * taking.group_bytes);
            let block = taking.regroup.block(table, window.first());
            return self.send_groups(&block, cx);
        }
        let share = self.seen.is_some().then(|| groups.share.value());
        for group in groups.values.in_order() {
            self.counters.held -= 1;
            let row = self.results.finish(group.body, share.clone(), cx.memory);
            self.send_row(group.ordinal, row, cx);
        }
    }

    /// HAVING and SELECT for groups: keys, then results.
    fn send_groups(&mut self, block: &Block, cx: &mut Context<'_>) {
        let passed = self.passed.as_ref().and_then(|columns| block.project(columns));
        if let Some(rows) = passed {
            self.counters.output += block.len() as u64;
            cx.out.push(Message::Block(rows));
        } else if let Some(remade) = self.remaking.block(block, &mut self.counters) {
            self.counters.output += remade.len();
            cx.out.extend(remade.block.map(Message::Block));
        } else {
            for tuple in block.tuples() {
                let row = self.results.of_group(tuple.values);
                self.send_row(tuple.ordinal, row, cx);
            }
        }
    }

    /// Takes a tuple that is a whole group: its row follows at once.
    fn whole_group(&mut self, tuple: Tuple, cx: &mut Context<'_>) {
        self.counters.input += 1;
        self.has_grouped = true;
        let row = self.results.of_group(tuple.values);
        self.send_row(tuple.ordinal, row, cx);
    }

    /// Takes tuples that are whole groups.
    fn whole_groups(&mut self, block: &Block, cx: &mut Context<'_>) {
        self.counters.input += block.len() as u64;
        self.has_grouped |= !block.is_empty();
        self.send_groups(block, cx);
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
            if let (Some(totals), Some(ordinal)) = (totals, block.first_ordinal()) {
                self.totals(block.len(), &totals, ordinal, cx)?;
            } else if let Some(rows) = self.rows_of(&block) {
                self.rows(port, rows.as_ref().map_or(&[], Block::words), cx)?;
            } else {
                block.each(|tuple| self.tuple(port, tuple, cx))?;
            }
        }
        Ok(())
    }

    /// Keys and operands of the tuples that the quals let pass, if there is code for those of the block.
    fn rows_of(&mut self, block: &Block) -> Option<Option<Block>> {
        let remade = self.taking.as_mut()?.rows.block(block, &mut self.counters)?;
        self.counters.input += block.len() as u64;
        Some(remade.block)
    }

    /// Takes keys and operands of tuples into their groups.
    fn rows(
        &mut self,
        port: usize,
        rows: &[u64],
        cx: &mut Context<'_>,
    ) -> Result<(), MemoryExceeded> {
        let Some(Taking { regroup, group_bytes, .. }) = &self.taking else { return Ok(()) };
        let (regroup, group_bytes) = (Arc::clone(regroup), *group_bytes);
        for (window, rows) in regroup.windows(rows) {
            let count = (rows.len() / regroup.stride()) as u64;
            if let Some((key, value)) = window {
                self.intake.show_key(key, value);
                if !self.admits(port, cx) {
                    self.counters.late += count;
                    continue;
                }
            }
            self.has_grouped = true;
            let groups = self.windows.of(&self.columns, self.intake.keys());
            let new = regroup.take(groups.as_words(&regroup, &self.results), rows) as u64;
            self.counters.held += new;
            self.counters.merged += count - new;
            cx.memory.charge(&self.name, new * group_bytes)?;
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
        let key = self.intake.key(0);
        let (group, is_new) = groups.values.group(key, 0, ordinal, &self.results);
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
            if let Some(taking) = &mut self.taking {
                taking.rows.set_params(params);
            }
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
            Message::Tuple(tuple) if self.gets_groups => self.whole_group(tuple, cx),
            Message::Tuple(tuple) if self.tells_of_packets(port) => {
                self.packet(port, &tuple.values, cx)?;
            }
            Message::Tuple(tuple) => self.tuple(port, &tuple, cx)?,
            Message::Block(block) if self.gets_groups => self.whole_groups(&block, cx),
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
