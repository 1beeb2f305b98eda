//! The reference backend: every query of a program by the interpreter.

use wt_catalog::Value;
use wt_plan::ir::{Exprs, LayerId, LftaProgram, LftaQuery, NodeId};

use super::LftaBackend;
use super::aggregate::{Aggregate, AggregateSpec};
use super::select::Select;
use crate::error::EngineError;
use crate::interp::{Interpreter, Lack, WalkEnd};
use crate::ledger::{PacketCounters, TupleCounters};
use crate::memory::Memory;
use crate::packet::{Packet, PacketBatch};
use crate::setup::SetupError;
use crate::tuple::Message;

/// The reference interpreter as a backend.
pub struct ReferenceLfta {
    interpreter: Interpreter,
    prefilter: Option<NodeId>,
    queries: Vec<Query>,
    packets: PacketCounters,
}

struct Query {
    requires: Vec<LayerId>,
    quals: Vec<NodeId>,
    action: Action,
    counters: TupleCounters,
}

enum Action {
    Select(Select),
    Aggregate(Box<Aggregate>),
}

/// What the quals say of a packet.
enum Verdict {
    Qualified,
    Filtered,
    Lacks(Lack),
}

impl ReferenceLfta {
    /// Prepares a program that has been found sound by [`crate::check`]. `fixed_hash` tells by query whether its partial groups must
    /// be the same in every run. Tables are charged to `memory`.
    ///
    /// # Errors
    /// A handle that cannot be registered, or tables beyond the memory limit.
    pub fn new(
        program: &LftaProgram,
        params: &[Value],
        fixed_hash: &[bool],
        memory: &mut Memory,
    ) -> Result<Self, SetupError> {
        let mut queries = Vec::with_capacity(program.queries.len());
        for (i, query) in program.queries.iter().enumerate() {
            let fixed_hash = fixed_hash.get(i).copied().unwrap_or(false);
            queries.push(Query::new(query, &program.exprs, fixed_hash, memory)?);
        }
        Ok(Self {
            interpreter: Interpreter::new(program, params)?,
            prefilter: program.prefilter,
            queries,
            packets: PacketCounters::default(),
        })
    }
}

impl Query {
    fn new(
        query: &LftaQuery,
        exprs: &Exprs,
        fixed_hash: bool,
        memory: &mut Memory,
    ) -> Result<Self, SetupError> {
        let action = match AggregateSpec::of(query, exprs, fixed_hash) {
            None => Action::Select(Select::new(&query.action)),
            Some(spec) => {
                memory.charge(&query.name, spec.bytes_max())?;
                Action::Aggregate(Box::new(Aggregate::new(&spec)))
            }
        };
        Ok(Self {
            requires: query.requires.clone(),
            quals: query.quals.iter().map(|qual| qual.node).collect(),
            action,
            counters: TupleCounters::default(),
        })
    }

    fn is_real_time(&self) -> bool {
        matches!(&self.action, Action::Aggregate(aggregate) if aggregate.real_time)
    }

    fn verdict(&self, interpreter: &mut Interpreter, packet: &Packet<'_>) -> Verdict {
        if !self.requires.iter().all(|layer| interpreter.present(*layer)) {
            return Verdict::Filtered;
        }
        for qual in &self.quals {
            match interpreter.eval(packet, *qual) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Verdict::Filtered,
                Err(lack) => return Verdict::Lacks(lack),
            }
        }
        Verdict::Qualified
    }

    /// Takes a packet. `wanted` is what the prefilter says.
    fn packet(
        &mut self,
        interpreter: &mut Interpreter,
        packet: &Packet<'_>,
        ordinal: u64,
        wanted: bool,
        out: &mut dyn FnMut(Message),
    ) {
        self.counters.offered += 1;
        if !wanted && !self.is_real_time() {
            self.counters.filtered += 1;
            return;
        }
        if let Action::Aggregate(aggregate) = &mut self.action
            && aggregate.real_time
        {
            aggregate.advance_by(interpreter, packet, &mut self.counters, out);
        }
        let taken = match self.verdict(interpreter, packet) {
            Verdict::Filtered => {
                self.counters.filtered += 1;
                return;
            }
            Verdict::Lacks(lack) => Err(lack),
            Verdict::Qualified => match &mut self.action {
                Action::Select(select) => select.tuple(interpreter, packet, ordinal).map(|tuple| {
                    self.counters.matched += 1;
                    self.counters.output += 1;
                    out(Message::Tuple(tuple));
                }),
                Action::Aggregate(aggregate) => {
                    aggregate.take(interpreter, packet, ordinal, &mut self.counters, out)
                }
            },
        };
        match taken {
            Ok(()) => {}
            Err(Lack::Absent) => self.counters.absent += 1,
            Err(Lack::Failed) => self.counters.failed += 1,
        }
    }
}

impl ReferenceLfta {
    /// Takes the next packet.
    pub fn packet(&mut self, packet: &Packet<'_>, ordinal: u64, out: &mut dyn FnMut(u32, Message)) {
        self.packets.packets += 1;
        match self.interpreter.begin(packet) {
            WalkEnd::Complete => {}
            WalkEnd::Malformed => self.packets.malformed += 1,
            WalkEnd::TooDeep => self.packets.too_deep += 1,
            WalkEnd::UnknownLinkType => self.packets.unknown_link_type += 1,
        }
        let wanted = match self.prefilter {
            None => true,
            Some(node) => !matches!(self.interpreter.eval(packet, node), Ok(Value::Bool(false))),
        };
        for (i, query) in self.queries.iter_mut().enumerate() {
            let mut send = |message| out(i as u32, message);
            query.packet(&mut self.interpreter, packet, ordinal, wanted, &mut send);
        }
    }
}

impl LftaBackend for ReferenceLfta {
    fn batch(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        _memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), EngineError> {
        for (record, ordinal) in batch.records.iter().zip(ordinal..) {
            self.packet(&batch.packet(record), ordinal, out);
        }
        Ok(())
    }

    fn bound(&mut self, query: u32, time_ns: u64, out: &mut dyn FnMut(u32, Message)) {
        let Some(Query { action, counters, .. }) = self.queries.get_mut(query as usize) else {
            return;
        };
        match action {
            Action::Select(select) => {
                if let Some(message) = select.bound(&mut self.interpreter, time_ns) {
                    out(query, message);
                }
            }
            Action::Aggregate(aggregate) => {
                let mut send = |message| out(query, message);
                aggregate.bound(&mut self.interpreter, time_ns, counters, &mut send);
            }
        }
    }

    fn finish(&mut self, out: &mut dyn FnMut(u32, Message)) {
        for (i, Query { action, counters, .. }) in self.queries.iter_mut().enumerate() {
            if let Action::Aggregate(aggregate) = action {
                aggregate.finish(counters, &mut |message| out(i as u32, message));
            }
            out(i as u32, Message::End);
        }
    }

    fn packets(&self) -> PacketCounters {
        self.packets
    }

    fn tuples(&self, query: u32) -> TupleCounters {
        let Some(Query { action, counters, .. }) = self.queries.get(query as usize) else {
            return TupleCounters::default();
        };
        let held = match action {
            Action::Select(_) => 0,
            Action::Aggregate(aggregate) => aggregate.held(),
        };
        TupleCounters { held, ..*counters }
    }
}
