//! Code that makes rows of blocks into rows of others: HAVING and SELECT over the groups of a window, WHERE and SELECT over tuples.
//!
//! Expressions are lowered as those of packets are; their inputs are words of the row at hand. What needs the host, or is no
//! word, is left to the interpreter, which takes a block's tuples one by one.

use std::sync::Arc;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value as V};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::JITModule;
use cranelift_module::Module;
use wt_catalog::layout::{Class, Column, Packer, Place, words_of};
use wt_catalog::{Type, Value};
use wt_plan::ir::{Exprs, NodeId, Op};
use wt_plan::shape;

use super::emit::{Emitter, FRAME, Parts, Unsupported, Val};
use super::frame::{Frame, FrameLayout};
use super::host::Host;
use super::lower::Scope;
use super::plan::{AheadPlan, Rows, Use};
use super::sys::{Code, Words};
use super::unit::{finished, module, signature};
use crate::block::{Block, BlockColumn};

/// Rows that code runs over at a time: what it has made of them is still in the cache when it is taken.
const PIECE_ROWS: usize = 1024;

/// Expressions over the columns of a block.
pub(crate) struct Remake<'a> {
    pub(crate) exprs: &'a Exprs,
    pub(crate) params: &'a [Value],
    /// Rows of which one is false go no further.
    pub(crate) quals: &'a [NodeId],
    /// What rows are made of.
    pub(crate) columns: &'a [(NodeId, Column)],
    /// Words of a row.
    pub(crate) stride: usize,
}

/// Expressions in words of their own, and how many words a row of them has.
pub(crate) fn whole_columns(exprs: &Exprs, nodes: &[NodeId]) -> (Vec<(NodeId, Column)>, usize) {
    let mut packer = Packer::new(1);
    let ty = |node: &NodeId| exprs.nodes[node.0 as usize].ty;
    let columns = nodes.iter().map(|node| (*node, packer.place_whole(ty(node)))).collect();
    (columns, packer.end())
}

/// Code for blocks whose columns lie in one way.
pub(crate) struct RowCode {
    code: Code,
    host: Host,
    frame: Frame,
    rows: Rows,
    counters: AheadPlan,
    /// Of the blocks that it takes.
    shape: Shape,
    /// Of those that it makes.
    columns: Arc<[BlockColumn]>,
    /// Rows just made.
    made: Vec<u64>,
}

/// How the columns of a block lie.
struct Shape {
    stride: usize,
    /// Word of the frame with the ordinal of all rows, if they have none of their own.
    ordinal: Option<usize>,
    inputs: Vec<Input>,
}

/// Where the value of a column is.
#[derive(Clone, Copy)]
enum Input {
    Row(Column),
    /// The same in every row: words of the frame from here on.
    Same(usize, Type),
    /// Nothing reads it.
    Unread,
}

impl Input {
    fn is_of(self, column: &BlockColumn) -> bool {
        match (self, column) {
            (Input::Row(column), BlockColumn::Row(other)) => column == *other,
            (Input::Same(..), BlockColumn::Same(_)) | (Input::Unread, _) => true,
            _ => false,
        }
    }
}

/// What became of the rows of a block.
pub(crate) struct Remade {
    /// Those that were made, if any.
    pub(crate) block: Option<Block>,
    pub(crate) filtered: u64,
    pub(crate) absent: u64,
    pub(crate) failed: u64,
}

impl Remade {
    /// How many were made.
    pub(crate) fn len(&self) -> u64 {
        self.block.as_ref().map_or(0, Block::len) as u64
    }
}

impl RowCode {
    /// Code for blocks like one; nothing where there is none.
    pub(crate) fn new(remake: &Remake<'_>, block: &Block) -> Option<Self> {
        Self::make(remake, block).ok()
    }

    fn make(remake: &Remake<'_>, block: &Block) -> Result<Self, Unsupported> {
        if !remake.exprs.nodes.iter().all(|node| shape::is_of_rows(&node.op)) {
            return Err(Unsupported("what only packets have"));
        }
        let mut layout = FrameLayout::new();
        let inputs = inputs(remake.exprs, block, &mut layout)?;
        let ordinal = block.ordinal().map(|_| layout.take(1));
        let shape = Shape { stride: block.stride(), ordinal, inputs };
        let counters = layout.take(3);
        let counters = AheadPlan { filtered: counters, absent: counters + 1, failed: counters + 2 };
        let block_column = |(_, column): &(NodeId, Column)| match column.place {
            Place::Kept { .. } => Err(Unsupported("a value that is kept")),
            _ => Ok(BlockColumn::Row(*column)),
        };
        let block_columns: Result<Arc<[BlockColumn]>, _> =
            remake.columns.iter().map(block_column).collect();
        let rows = Rows {
            cursor: layout.take(1),
            stride: remake.stride,
            columns: remake.columns.to_vec(),
            use_: Use::Select,
            ahead: None,
            patterns: Vec::new(),
            moves: None,
            narrow: None,
            lent: Vec::new(),
        };
        let mut host = Host::new(Arc::new([]));
        let module = module()?;
        let mut context = module.make_context();
        context.func.signature = signature(&module);
        let mut builder = FunctionBuilderContext::new();
        let builder = FunctionBuilder::new(&mut context.func, &mut builder);
        let parts = Parting { remake, shape: &shape, rows: &rows, counters };
        parts.emit(builder, &mut host, &mut layout, &module)?;
        if !host.is_bare() {
            return Err(Unsupported("what needs the host"));
        }
        let code = finished(module, context, None)?;
        let mut frame = Frame::new();
        frame.fit(&layout);
        let made = vec![0; PIECE_ROWS * rows.stride];
        Ok(Self { code, host, frame, rows, counters, shape, columns: block_columns?, made })
    }

    /// Whether the columns of a block lie as those of the one that it was made for.
    pub(crate) fn takes(&self, block: &Block) -> bool {
        let Shape { stride, ordinal, inputs } = &self.shape;
        block.stride() == *stride
            && block.ordinal().is_some() == ordinal.is_some()
            && block.columns().len() == inputs.len()
            && inputs.iter().zip(block.columns()).all(|(input, column)| input.is_of(column))
    }

    /// Runs over a block that it takes; nothing where the value of a column is no words.
    pub(crate) fn run(&mut self, block: &Block) -> Option<Remade> {
        let Shape { stride, ordinal, inputs } = &self.shape;
        if let (Some(at), Some(ordinal)) = (ordinal, block.ordinal()) {
            self.frame.words[*at] = ordinal;
        }
        for (input, column) in inputs.iter().zip(block.columns()) {
            if let (Input::Same(at, _), BlockColumn::Same(value)) = (input, column) {
                self.frame.words[*at..at + 3].copy_from_slice(&words_of(value)?);
            }
        }
        let mut words = Words::new();
        for rows in block.words().chunks(PIECE_ROWS * stride) {
            let made = self.made.as_mut_ptr() as u64;
            self.frame.words[self.rows.cursor] = made;
            self.code.run_rows(&mut self.frame.words, rows, *stride, &mut self.host);
            let bytes = self.frame.words[self.rows.cursor] - made;
            let made = &self.made[..bytes as usize / 8];
            words.append(made.len()).copy_from_slice(made);
        }
        let mut take = |at| self.frame.take(at);
        let AheadPlan { filtered, absent, failed } = self.counters;
        let (filtered, absent, failed) = (take(filtered), take(absent), take(failed));
        let block = (!words.is_empty())
            .then(|| Block::new(Arc::clone(&self.columns), self.rows.stride, words));
        Some(Remade { block, filtered, absent, failed })
    }
}

/// By column of a block: where its value is.
fn inputs(
    exprs: &Exprs,
    block: &Block,
    layout: &mut FrameLayout,
) -> Result<Vec<Input>, Unsupported> {
    let input = |(number, column): (u32, &BlockColumn)| {
        let read = exprs.nodes.iter().find(|node| node.op == Op::Input(number));
        match (column, read.map(|node| node.ty)) {
            (_, None) => Ok(Input::Unread),
            (BlockColumn::Row(column), Some(ty)) if column.ty == ty => Ok(Input::Row(*column)),
            (BlockColumn::Row(_), Some(_)) => Err(Unsupported("a column of another type")),
            (BlockColumn::Same(_), Some(ty)) => Ok(Input::Same(layout.take(3), ty)),
        }
    };
    (0..).zip(block.columns()).map(input).collect()
}

/// What code is made of.
struct Parting<'a> {
    remake: &'a Remake<'a>,
    shape: &'a Shape,
    rows: &'a Rows,
    counters: AheadPlan,
}

impl Parting<'_> {
    /// The loop over the rows.
    fn emit(
        &self,
        b: FunctionBuilder<'_>,
        host: &mut Host,
        layout: &mut FrameLayout,
        module: &JITModule,
    ) -> Result<(), Unsupported> {
        let (e, [_, rows, count]) = Emitter::new(b, host, layout, module, 0);
        e.for_each((rows, 8 * self.shape.stride, count), module, |e, row| {
            let next = e.b.create_block();
            let Remake { exprs, params, quals, .. } = self.remake;
            let mut scope = Scope::new(exprs, params, 0);
            scope.inputs = self.inputs(e, row)?;
            let ordinal = match self.shape.ordinal {
                Some(at) => e.load_frame(at),
                None => e.b.ins().load(I64, FRAME, row, 0),
            };
            e.remade(&mut scope, quals, self.rows, ordinal, self.counters, next)?;
            e.b.ins().jump(next, &[] as &[BlockArg]);
            e.b.switch_to_block(next);
            Ok(())
        })
    }

    /// The columns of the row at hand.
    fn inputs(&self, e: &mut Emitter<'_, '_>, row: V) -> Result<Vec<Val>, Unsupported> {
        let mut vals = Vec::with_capacity(self.shape.inputs.len());
        for input in &self.shape.inputs {
            let parts = match *input {
                Input::Unread => Parts::HostConst,
                Input::Row(column) => self.load(e, row, column)?,
                Input::Same(at, ty) => {
                    let words = [0, 1, 2].map(|more| e.load_frame(at + more));
                    parts(e, ty, words)?
                }
            };
            vals.push(Val { parts, lack: None });
        }
        Ok(vals)
    }

    fn load(&self, e: &mut Emitter<'_, '_>, row: V, column: Column) -> Result<Parts, Unsupported> {
        let Column { ty, place } = column;
        let stride = self.shape.stride;
        let word = |e: &mut Emitter<'_, '_>, at: usize| {
            // Rows have as many words: a column that lies behind them is none.
            let inside = (at < stride).then_some(8 * at as i32);
            let at = inside.ok_or(Unsupported("a column outside of its row"))?;
            Ok(e.b.ins().load(I64, FRAME, row, at))
        };
        match place {
            Place::Field { word: at, shift, bits } => {
                let whole = word(e, at)?;
                let shift = e.word(u64::from(shift));
                let shifted = e.b.ins().ushr(whole, shift);
                let field = e.and_const(shifted, u64::MAX >> (64 - bits));
                if ty == Type::Inet {
                    let [four, zero] = [4, 0].map(|word| e.word(word));
                    return Ok(Parts::Inet(four, zero, field));
                }
                parts(e, ty, [field; 3])
            }
            Place::Words { word: at } if Class::of(ty) == Class::Ipv6 => {
                let words = [word(e, at)?, word(e, at + 1)?];
                parts(e, ty, [words[0], words[1], words[1]])
            }
            Place::Words { word: at } => {
                let word = word(e, at)?;
                parts(e, ty, [word; 3])
            }
            Place::Inet { word: at, family_word, family_shift } => {
                let (high, low, shared) = (word(e, at)?, word(e, at + 1)?, word(e, family_word)?);
                let shift = e.word(u64::from(family_shift));
                let shifted = e.b.ins().ushr(shared, shift);
                let bit = e.and_const(shifted, 1);
                let two = e.word(2);
                let more = e.b.ins().imul(bit, two);
                let family = e.add_const(more, 4);
                Ok(Parts::Inet(family, high, low))
            }
            Place::Kept { .. } => Err(Unsupported("a value that is kept")),
        }
    }
}

/// A value of a type from its words, cut to the type's width.
fn parts(e: &mut Emitter<'_, '_>, ty: Type, words: [V; 3]) -> Result<Parts, Unsupported> {
    match Class::of(ty) {
        Class::Word if ty == Type::Float => Ok(Parts::Word(words[0])),
        Class::Word => e.pattern(words[0], 64, ty),
        Class::Ipv6 | Class::Inet => Ok(e.parts(ty, words)),
        Class::Bytes | Class::Kept => Err(Unsupported("a value that is kept")),
    }
}
