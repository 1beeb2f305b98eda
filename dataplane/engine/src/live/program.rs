//! The queries of a plan at one interface, as its capture thread runs them: those that do not run in the driver, on a backend.

use wt_catalog::Value;
use wt_plan::ir::{LftaAction, LftaProgram, LftaQuery};
use wt_plan::physical::{HftaOp, PhysicalPlan, StreamRef};

use super::source::LiveSource;
use crate::error::EngineError;
use crate::graph::Feeding;
use crate::ledger::{PacketCounters, TupleCounters};
use crate::lfta::{AheadCounters, LftaBackend, Readers};
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::run::{self, Backend, BackendSetup, LftaSetup};
use crate::tuple::Message;

/// The queries of an interface.
pub(super) struct Program {
    backend: Box<dyn LftaBackend>,
    /// Why it is the interpreter although code was wanted.
    pub(super) not_compiled: Option<&'static str>,
    /// By query of the backend: its number in the interface's program.
    on_host: Vec<u32>,
    names: Vec<String>,
    /// By query: whether its tuples stand for one packet each, and may be given up first.
    selections: Vec<bool>,
    /// What its tables were charged when it began.
    bytes: u64,
}

impl Program {
    /// Makes the queries ready that a source captures for, when those of its driver are known.
    pub(super) fn new(
        plan: &PhysicalPlan,
        interface: usize,
        source: &mut dyn LiveSource,
        backend: Backend,
        memory: &mut Memory,
    ) -> Result<Self, EngineError> {
        let in_driver = source.driver().map_or_else(Vec::new, |driver| driver.queries().to_vec());
        Self::on_host(plan, Some(interface), &in_driver, source.link_type(), backend, memory)
    }

    /// Makes the queries of another plan ready, those of the driver too. Without an interface of the plan there are none.
    pub(super) fn prepare(
        plan: &PhysicalPlan,
        interface: Option<usize>,
        name: &str,
        source: &mut dyn LiveSource,
        backend: Backend,
        memory: &mut Memory,
    ) -> Result<Self, EngineError> {
        let params = params(plan);
        let nothing = LftaProgram::default();
        let program = interface.map_or(&nothing, |i| &plan.interfaces[i].program);
        let fixed_hash = interface.map_or_else(Vec::new, |i| run::fixed_hash(plan, i));
        let setup =
            LftaSetup { interface: name, program, params: &params, fixed_hash: &fixed_hash };
        source.prepare(&setup)?;
        let ready = source.driver().map_or_else(Vec::new, |driver| driver.queries_ready().to_vec());
        Self::on_host(plan, interface, &ready, source.link_type(), backend, memory)
    }

    fn on_host(
        plan: &PhysicalPlan,
        interface: Option<usize>,
        in_driver: &[u32],
        link_type: u16,
        backend: Backend,
        memory: &mut Memory,
    ) -> Result<Self, EngineError> {
        let nothing = LftaProgram::default();
        let program = interface.map_or(&nothing, |i| &plan.interfaces[i].program);
        let on_host = (0..program.queries.len() as u32).filter(|query| !in_driver.contains(query));
        let on_host: Vec<u32> = on_host.collect();
        let fixed = interface.map_or_else(Vec::new, |i| run::fixed_hash(plan, i));
        let fixed: Vec<_> = on_host.iter().map(|query| fixed[*query as usize]).collect();
        let mut ahead = interface.map_or_else(Vec::new, |i| run::ahead(plan, i));
        let ahead: Vec<_> = on_host.iter().map(|query| ahead[*query as usize].take()).collect();
        let setup = BackendSetup {
            program: &program.of_queries(&on_host),
            params: &params(plan),
            readers: Readers { fixed: &fixed, ahead: &ahead, free: &[] },
        };
        let before = memory.used_bytes();
        let (backend, not_compiled) = setup.make(backend.paths(), Some(link_type), memory)?;
        let queries = program.queries.iter();
        Ok(Self {
            backend,
            not_compiled,
            on_host,
            names: queries.map(|query| query.name.clone()).collect(),
            selections: interface.map_or_else(Vec::new, |i| selections(plan, i)),
            bytes: memory.used_bytes().saturating_sub(before),
        })
    }

    /// By query: its name.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// By query: whether its tuples may be given up first.
    pub(super) fn selections(&self) -> &[bool] {
        &self.selections
    }

    /// What is known of the tuples to come, by query. That groups leave whole is not: a change of the batch divides them.
    pub(super) fn feeding(&self) -> Vec<Feeding> {
        let mut feeding = vec![Feeding::default(); self.names.len()];
        for (query, number) in self.on_host.iter().zip(0..) {
            feeding[*query as usize].judged = self.backend.judges_ahead(number);
        }
        feeding
    }

    pub(super) fn batch(
        &mut self,
        batch: &PacketBatch<'_>,
        ordinal: u64,
        memory: &mut Memory,
        out: &mut dyn FnMut(u32, Message),
    ) -> Result<(), EngineError> {
        let Self { backend, on_host, .. } = self;
        backend.batch(batch, ordinal, memory, &mut |query, m| out(on_host[query as usize], m))
    }

    /// Tells the streams that no later packet is stamped before a time.
    pub(super) fn bound(&mut self, time_ns: u64, out: &mut dyn FnMut(u32, Message)) {
        let Self { backend, on_host, .. } = self;
        for (query, number) in on_host.iter().zip(0..) {
            backend.bound(number, time_ns, &mut |_, message| out(*query, message));
        }
    }

    /// Sends what is held; whether the streams end is for others to say.
    pub(super) fn finish(&mut self, out: &mut dyn FnMut(u32, Message)) {
        let Self { backend, on_host, .. } = self;
        backend.finish(&mut |query, message| {
            if message != Message::End {
                out(on_host[query as usize], message);
            }
        });
    }

    pub(super) fn packets(&self) -> PacketCounters {
        self.backend.packets()
    }

    fn number(&self, query: u32) -> Option<u32> {
        self.on_host.iter().position(|on_host| *on_host == query).map(|number| number as u32)
    }

    /// What became of the tuples of a query, if it runs here.
    pub(super) fn tuples(&self, query: u32) -> Option<TupleCounters> {
        self.number(query).map(|number| self.backend.tuples(number))
    }

    /// By query: what was judged in the place of its reader.
    pub(super) fn ahead(&self) -> Vec<AheadCounters> {
        let of = |query: u32| self.number(query).map(|number| self.backend.ahead(number));
        (0..self.names.len() as u32).map(|query| of(query).unwrap_or_default()).collect()
    }

    /// Gives back what its tables were charged.
    pub(super) fn release(self, memory: &mut Memory) {
        memory.release(self.bytes);
    }
}

fn params(plan: &PhysicalPlan) -> Vec<Value> {
    plan.params.iter().map(|param| param.value.clone()).collect()
}

/// By query of an interface: whether its tuples stand for one packet each, and may be given up first. What tells how much of a
/// window was seen is kept: it would tell less than it saw.
fn selections(plan: &PhysicalPlan, interface: usize) -> Vec<bool> {
    let counts_seen = |query: usize| {
        let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
        plan.nodes.iter().any(|node| match &node.op {
            HftaOp::Aggregate(aggregate) => aggregate.seen.is_some_and(|seen| {
                node.inputs.iter().skip(seen.first_input as usize).any(|i| *i == stream)
            }),
            _ => false,
        })
    };
    let is_selection = |(index, query): (usize, &LftaQuery)| {
        matches!(query.action, LftaAction::Select { .. }) && !counts_seen(index)
    };
    plan.interfaces[interface].program.queries.iter().enumerate().map(is_selection).collect()
}
