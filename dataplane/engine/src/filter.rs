//! The condition of a query alone: which packets it lets through, for those who want the packets and not rows.

use wt_catalog::Value;
use wt_plan::physical::PhysicalPlan;
use wt_wire::RecordRef;

use crate::check;
use crate::error::EngineError;
use crate::graph::{Feeding, Graph};
use crate::lfta::{LftaBackend, Readers};
use crate::memory::Memory;
use crate::packet::PacketBatch;
use crate::run::{self, Backend, BackendSetup};
use crate::setup::SetupError;
use crate::sink::{RowSink, SinkError};
use crate::tuple::Tuple;

/// Judges packets by the condition of a query that selects: `SELECT len FROM tcp WHERE …`.
pub struct PacketFilter {
    backend: Box<dyn LftaBackend>,
    graph: Graph,
    memory: Memory,
}

impl PacketFilter {
    /// The filter of a plan with one interface and one result. `link_type` is what packets are expected to begin with.
    ///
    /// # Errors
    /// A plan that reads no interface; an argument that cannot be registered.
    pub fn new(plan: &PhysicalPlan, link_type: u16) -> Result<Self, EngineError> {
        check::check(plan).map_err(SetupError::from)?;
        let no_source =
            || EngineError::NoSource { interface: "packets".to_owned(), known: Vec::new() };
        let interface = plan.interfaces.first().ok_or_else(no_source)?;
        let params: Vec<Value> = plan.params.iter().map(|param| param.value.clone()).collect();
        let mut memory = Memory::new(None);
        let setup = BackendSetup {
            program: &interface.program,
            params: &params,
            readers: Readers {
                fixed: &run::fixed_hash(plan, 0),
                ahead: &run::ahead(plan, 0),
                free: &[],
            },
        };
        let paths = Backend::Compiled.paths();
        let (backend, _) = setup.make(paths, Some(link_type), &mut memory)?;
        let feeding =
            |_, query| Feeding { whole_groups: false, judged: backend.judges_ahead(query) };
        let graph = Graph::new(plan, &params, &feeding)?;
        Ok(Self { backend, graph, memory })
    }

    /// Appends the packets of a batch that pass to `passing`, in order.
    ///
    /// # Errors
    /// None for a query that selects; those of its operators otherwise.
    pub fn passing(
        &mut self,
        batch: &PacketBatch<'_>,
        passing: &mut Vec<RecordRef>,
    ) -> Result<(), EngineError> {
        let Self { backend, graph, memory } = self;
        backend.batch(batch, 0, memory, &mut |query, message| graph.push(0, query, message))?;
        graph.run(memory, &mut Passing { batch, passing })
    }
}

/// Takes a row as the packet that it stems from.
struct Passing<'a> {
    batch: &'a PacketBatch<'a>,
    passing: &'a mut Vec<RecordRef>,
}

impl RowSink for Passing<'_> {
    fn row(&mut self, _output: usize, tuple: &Tuple) -> Result<(), SinkError> {
        self.passing.extend(self.batch.records.get(tuple.ordinal as usize));
        Ok(())
    }
}
