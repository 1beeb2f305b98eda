//! A unit of compiled code: a program for one link type.

use std::mem::offset_of;
use std::sync::Arc;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, BlockArg, InstBuilder, Signature};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module};
use wt_catalog::Value;
use wt_plan::ir::{LayerId, LftaProgram};
use wt_plan::paths::Paths;
use wt_wire::RecordRef;

use super::emit::{Emitter, Truth, Unsupported};
use super::frame::{self, FrameLayout};
use super::host::Host;
use super::lookup::Lookup;
use super::lower::Scope;
use super::plan::QueryPlan;
use super::query::Reader;
use super::sys::Code;
use super::vectors::{EndFilters, Filters, Vectored};
use super::walk::{PathsWanted, Walk};

/// Queries up to which totals are updated without branches.
const BRANCH_FREE_QUERIES_MAX: usize = 32;

/// Likely paths that end in code of their own for the queries, at most.
const OWN_ENDS_MAX: usize = 3;
/// The same where that code leaves filters to vectors, which takes little.
const VECTOR_ENDS_MAX: usize = 6;
/// Most copies of a query in such code: making it takes time.
const OWN_QUERIES_MAX: usize = 60;

/// Compiled code and the host that it calls.
pub(super) struct Unit {
    pub(super) code: Arc<Code>,
    pub(super) host: Host,
}

/// What a unit is made of.
pub(super) struct Source<'a> {
    pub(super) program: &'a LftaProgram,
    pub(super) plans: &'a [QueryPlan],
    /// Queries that need no code of their own.
    pub(super) lookups: &'a [Lookup],
    /// Nor these, at the ends of likely paths.
    pub(super) vectored: &'a Vectored,
    /// By query: what reads it, where its quals are applied ahead.
    pub(super) readers: &'a [Option<Reader<'a>>],
    pub(super) params: &'a [Value],
    /// What packets begin with.
    pub(super) link_type: u16,
    pub(super) paths: &'a PathsWanted,
}

/// The parameters of code: those of [`super::sys`]'s entries.
pub(super) fn signature(module: &JITModule) -> Signature {
    let mut signature = module.make_signature();
    signature.params.extend((0..4).map(|_| AbiParam::new(I64)));
    signature
}

pub(super) fn module() -> Result<JITModule, Unsupported> {
    let mut flags = settings::builder();
    let set = [
        ("opt_level", "speed"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
    ];
    for (name, value) in set {
        flags.set(name, value).map_err(|_| Unsupported("a setting of Cranelift"))?;
    }
    let isa = cranelift_native::builder().map_err(Unsupported)?;
    let isa = isa.finish(settings::Flags::new(flags)).map_err(|_| Unsupported("this processor"))?;
    Ok(JITModule::new(JITBuilder::with_isa(isa, cranelift_module::default_libcall_names())))
}

/// Code that has been emitted, ready to run: for records, with the filters of packets in the arrays that it fills, or for rows.
pub(super) fn finished(
    mut module: JITModule,
    mut context: Context,
    filters: Option<Filters>,
) -> Result<Code, Unsupported> {
    let failed = |_| Unsupported("code that Cranelift does not take");
    let signature = &context.func.signature;
    let entry = module.declare_function("entry", Linkage::Local, signature).map_err(failed)?;
    module.define_function(entry, &mut context).map_err(failed)?;
    module.finalize_definitions().map_err(failed)?;
    let entry = module.get_finalized_function(entry);
    Ok(Code::new(module, entry, filters))
}

impl Source<'_> {
    /// Machine code.
    pub(super) fn compile(
        &self,
        mut host: Host,
        layout: &mut FrameLayout,
    ) -> Result<Unit, Unsupported> {
        let module = module()?;
        let (context, filters) = self.define(&mut host, layout, &module)?;
        let code = Arc::new(finished(module, context, filters)?);
        Ok(Unit { code, host })
    }

    /// Machine code as text.
    pub(super) fn listing(
        &self,
        host: &mut Host,
        layout: &mut FrameLayout,
    ) -> Result<String, Unsupported> {
        let module = module()?;
        let (mut context, filters) = self.define(host, layout, &module)?;
        context.set_disasm(true);
        let failed = Unsupported("code that Cranelift does not take");
        let code = context.compile(module.isa(), &mut ControlPlane::default());
        let mut text = code.map_err(|_| failed)?.vcode.clone().ok_or(failed)?;
        if let Some(filters) = filters {
            text += &format!(
                "filters, of all packets in arrays, whose numbers are as they lie:\n{filters}"
            );
        }
        Ok(text)
    }

    /// The code for records, and the filters of packets in arrays, if there are any.
    fn define(
        &self,
        host: &mut Host,
        layout: &mut FrameLayout,
        module: &JITModule,
    ) -> Result<(Context, Option<Filters>), Unsupported> {
        let mut builder_context = FunctionBuilderContext::new();
        let mut context = module.make_context();
        context.func.signature = signature(module);
        let builder = FunctionBuilder::new(&mut context.func, &mut builder_context);
        let ends = self.emit(builder, host, layout, module)?;
        let has_some = !ends.iter().all(EndFilters::is_empty);
        Ok((context, has_some.then(|| self.vectored.filters(&ends, layout))))
    }

    /// The loop over the records of a batch; the result is which filters are left for vectors, by end of a likely path.
    fn emit(
        &self,
        b: FunctionBuilder<'_>,
        host: &mut Host,
        layout: &mut FrameLayout,
        module: &JITModule,
    ) -> Result<Vec<EndFilters>, Unsupported> {
        let mut ends = Vec::new();
        let (mut e, [data, records, count]) = Emitter::new(b, host, layout, module, self.link_type);
        let data_end = e.load_frame(frame::DATA_END);
        e.for_each((records, size_of::<RecordRef>(), count), module, |e, record| {
            e.record = record;
            let at = e.record_u32(offset_of!(RecordRef, at));
            let caplen = e.record_u32(offset_of!(RecordRef, caplen));
            e.start = e.b.ins().iadd(data, at);
            e.end = e.b.ins().iadd(e.start, caplen);
            let is_outside = e.b.ins().icmp(IntCC::UnsignedGreaterThan, e.end, data_end);
            let yes = e.word(1);
            e.leave_loop_if(is_outside, &[(frame::OUTSIDE, yes)])?;
            let next = e.b.create_block();
            ends = self.packet(e)?;
            e.b.ins().jump(next, &[] as &[BlockArg]);
            e.b.switch_to_block(next);
            Ok(())
        })?;
        Ok(ends)
    }

    /// One packet: its headers, and what is done with it; at the ends of likely paths in code of their own, where it is known which headers
    /// there are.
    fn packet(&self, e: &mut Emitter<'_, '_>) -> Result<Vec<EndFilters>, Unsupported> {
        let program = self.program;
        let paths = Paths::new(&program.parse, self.link_type, &program.layers);
        let walk = Walk::new(e, paths, &program.layers, &program.exprs, self.params)?;
        let own_ends_max = if self.vectored.len() > 0 { VECTOR_ENDS_MAX } else { OWN_ENDS_MAX };
        let ends_max = own_ends_max.min(OWN_QUERIES_MAX / self.pieces().max(1));
        let ends = walk.emit(e, self.paths, ends_max)?;
        let mut scope = Scope::new(&program.exprs, self.params, 0);
        walk.found(e, &mut scope);
        self.queries(e, &mut scope, Vec::new())?;
        let mut filters = Vec::with_capacity(ends.len());
        let next = e.b.create_block();
        let none: &[BlockArg] = &[];
        for end in ends {
            e.b.ins().jump(next, none);
            e.b.switch_to_block(end.block);
            let mut scope = Scope::new(&program.exprs, self.params, 0);
            walk.found_at(e, &mut scope, &end);
            let taken = e.row_of_fields(&mut scope, self.vectored, program, filters.len())?;
            self.queries(e, &mut scope, self.vectored.queries(&taken).collect())?;
            e.leave_if_cut(self.vectored, &taken)?;
            filters.push(taken);
        }
        e.b.ins().jump(next, none);
        e.b.switch_to_block(next);
        Ok(filters)
    }

    /// Pieces of code that queries need: those that are looked up together need one.
    fn pieces(&self) -> usize {
        let spared: usize = self.lookups.iter().map(|lookup| lookup.queries.len() - 1).sum();
        self.program.queries.len() - spared - self.vectored.len()
    }

    /// Every query but those done, and the prefilter, for a packet whose headers have been found.
    fn queries(
        &self,
        e: &mut Emitter<'_, '_>,
        scope: &mut Scope<'_>,
        done: Vec<usize>,
    ) -> Result<(), Unsupported> {
        let program = self.program;
        e.may_reject = false;
        let branch_free = self.pieces() <= BRANCH_FREE_QUERIES_MAX;
        for plan in self.plans {
            e.moves(scope, plan)?;
        }
        for (requires, queries) in self.by_requirements() {
            // Packets without the headers that a run of queries requires pass all of it by.
            let after = e.b.create_block();
            let mut present = Truth::Always;
            for layer in requires {
                present = e.both(present, scope.layers[layer.0 as usize].present);
            }
            if let Truth::Never = present {
                continue;
            }
            let there = e.b.create_block();
            let none: &[BlockArg] = &[];
            match present {
                Truth::Always => e.b.ins().jump(there, none),
                Truth::Never => e.b.ins().jump(after, none),
                Truth::When(flag) => e.b.ins().brif(flag, there, none, after, none),
            };
            e.b.switch_to_block(there);
            let mark = scope.mark();
            let layers = scope.layers.clone();
            for layer in requires {
                scope.layers[layer.0 as usize].present = Truth::Always;
            }
            let mut is_done = vec![false; program.queries.len()];
            done.iter().for_each(|query| is_done[*query] = true);
            for lookup in self.lookups.iter().filter(|set| queries.contains(&set.queries[0])) {
                if e.look_up(scope, lookup)? {
                    lookup.queries.iter().for_each(|query| is_done[*query] = true);
                }
            }
            for index in queries.into_iter().filter(|query| !is_done[*query]) {
                let (query, plan) = (&program.queries[index], &self.plans[index]);
                e.query(scope, query, plan, self.readers[index], branch_free)?;
            }
            scope.forget(mark);
            scope.layers = layers;
            e.b.ins().jump(after, none);
            e.b.switch_to_block(after);
        }
        self.prefilter(e, scope)
    }

    /// The prefilter. It is implied by what any query wants, so it changes nothing but how packets that lack a field are counted: those
    /// that no query can want are filtered, not rejected. So it is asked for such packets only.
    fn prefilter(&self, e: &mut Emitter<'_, '_>, scope: &mut Scope<'_>) -> Result<(), Unsupported> {
        let Some(prefilter) = self.program.prefilter.filter(|_| e.may_reject) else {
            return Ok(());
        };
        let (lacked, done) = (e.b.create_block(), e.b.create_block());
        e.b.set_cold_block(lacked);
        let flag = e.load_frame(frame::LACKED);
        let none: &[BlockArg] = &[];
        e.b.ins().brif(flag, lacked, none, done, none);
        e.b.switch_to_block(lacked);
        let zero = e.word(0);
        e.store_frame(frame::LACKED, zero);
        let val = e.node(scope, prefilter)?;
        let holds = e.as_flag(val.parts)?;
        let counts = match e.has_value(val.lack) {
            Truth::Always => holds,
            Truth::Never => e.flag(true),
            // Absent counts as wanted.
            Truth::When(known) => {
                let wanted = e.flag(true);
                e.select(known, holds, wanted)
            }
        };
        let counts = e.widen(counts);
        e.call_settle(counts);
        e.b.ins().jump(done, none);
        e.b.switch_to_block(done);
        Ok(())
    }

    /// Queries by the layers that they require, in order of the first that does. What a query writes does not depend on its place.
    fn by_requirements(&self) -> Vec<(&[LayerId], Vec<usize>)> {
        let mut groups: Vec<(&[LayerId], Vec<usize>)> = Vec::new();
        for (index, query) in self.program.queries.iter().enumerate() {
            match groups.iter_mut().find(|(requires, _)| *requires == query.requires) {
                Some((_, queries)) => queries.push(index),
                None => groups.push((&query.requires, vec![index])),
            }
        }
        groups
    }
}
