//! What the compiled backend does with the tuples of an LFTA. It follows from the plan alone: the engine and the cost model ask here.

use wt_catalog::Type;
use wt_catalog::layout::Class;

use crate::ir::{
    AggKind, Exprs, HandleId, LftaAction, LftaAgg, NodeId, Op, OrderedColumn, Qual, SLOTS_DEFAULT,
    VALUE_GROUPS_MAX,
};
use crate::physical::{
    Aggregate, HftaAgg, HftaAggFunction, HftaNode, HftaOp, PhysicalPlan, StreamRef,
};

/// Most words of a key in a table of words: there is code for each width.
pub const KEY_WORDS_MAX: usize = 12;

/// Where qualified tuples go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each is sent on.
    Select,
    /// Into totals: an aggregation without keys.
    Totals,
    /// Into a table of words that grows.
    Words {
        /// Words of a key.
        key_words: usize,
        /// Words of the states.
        state_words: usize,
        /// Groups at which all are ejected.
        groups_max: Option<u32>,
    },
    /// Into the direct-mapped table, whose collisions eject.
    Slots {
        /// How many there are.
        slots: u32,
    },
}

impl Shape {
    /// Whether each group of a window is sent once, complete.
    pub fn sends_whole_groups(self) -> bool {
        matches!(self, Shape::Totals | Shape::Words { groups_max: None, .. })
    }

    /// Bytes of a group in a table that grows: its entry in a vector that doubles, and its place in an index a half to a third full.
    pub fn group_bytes(self) -> f64 {
        match self {
            Shape::Words { key_words, state_words, .. } => {
                let entry_bytes = 8.0 * (1 + key_words + state_words) as f64;
                1.5 * entry_bytes + 2.4 * 8.0
            }
            _ => 0.0,
        }
    }
}

/// Whether code can tell that a packet moves a window (`real_time`): each component is a word, and there are no more than a word has bits.
pub fn moves_by_words(exprs: &Exprs, keys: &[NodeId], ordered: &[OrderedColumn]) -> bool {
    let is_word =
        |column: &OrderedColumn| Class::of(ty(exprs, keys[column.column as usize])) == Class::Word;
    ordered.len() <= 64 && ordered.iter().all(is_word)
}

/// The shape of one query of a plan.
pub fn shape(plan: &PhysicalPlan, interface: usize, query: usize) -> Shape {
    let program = &plan.interfaces[interface].program;
    let stream = StreamRef::Lfta { interface: interface as u32, query: query as u32 };
    let action = &program.queries[query].action;
    let LftaAction::Aggregate { keys, ordered, aggs, slots, values, .. } = action else {
        return Shape::Select;
    };
    let exprs = &program.exprs;
    let is_word = |agg: &LftaAgg| is_word_state(exprs, agg.kind, agg.arg, agg.ty);
    let are_words = aggs.iter().all(is_word);
    if keys.is_empty() && are_words {
        Shape::Totals
    } else if are_words
        && !has_fixed_order(plan, stream, aggs)
        && *slots == SLOTS_DEFAULT
        && let Some(key_words) = key_words(exprs, keys, ordered)
    {
        Shape::Words { key_words, state_words: aggs.len(), groups_max: groups_max(*values) }
    } else {
        Shape::Slots { slots: *slots }
    }
}

/// Groups that a table which grows is let grow to, when so many of the keys are values.
pub fn groups_max(values: u32) -> Option<u32> {
    (values > 0).then_some(VALUE_GROUPS_MAX)
}

/// Whether partial groups must be cut the same in every run: they are seen, or added up in an order that matters.
pub fn has_fixed_order(plan: &PhysicalPlan, stream: StreamRef, aggs: &[LftaAgg]) -> bool {
    let completes = |node: &HftaNode| matches!(&node.op, HftaOp::Aggregate(a) if a.over_partials);
    plan.outputs.iter().any(|output| output.stream == stream)
        || plan.nodes.iter().any(|node| node.inputs.contains(&stream) && !completes(node))
        || aggs.iter().any(|agg| agg.ty == Type::Float)
}

fn ty(exprs: &Exprs, node: NodeId) -> Type {
    exprs.nodes[node.0 as usize].ty
}

/// Whether the state of an aggregate is one word that words update.
pub fn is_word_state(exprs: &Exprs, kind: AggKind, arg: Option<NodeId>, result: Type) -> bool {
    let Some(arg) = arg else { return result.is_integer() };
    let from = ty(exprs, arg);
    match kind {
        AggKind::Count => result.is_integer(),
        AggKind::Sum => from.is_integer() && result.is_integer(),
        AggKind::BitAnd | AggKind::BitOr | AggKind::BitXor => from.is_integer() && from == result,
        AggKind::Min | AggKind::Max => {
            let widens = from.is_integer()
                && result.is_integer()
                && from.is_signed() == result.is_signed()
                && from.bits() <= result.bits();
            let is_time = matches!(from, Type::Ip | Type::Time | Type::TimeVal | Type::Duration);
            widens || from == result && is_time
        }
    }
}

/// Words of a value, where it is held in words; small ones share them.
fn halves(ty: Type) -> Option<usize> {
    Some(match ty {
        Type::Float | Type::String | Type::Bytes | Type::Prefix => return None,
        Type::Ipv6 => 4,
        // Two words and a bit.
        Type::Inet => 5,
        Type::Ullong | Type::Llong | Type::Time | Type::TimeVal | Type::Duration | Type::Mac => 2,
        _ => 1,
    })
}

/// Words of a key beside its window; `None` when it does not consist of words, at most one of them a window.
pub fn key_words(exprs: &Exprs, keys: &[NodeId], ordered: &[OrderedColumn]) -> Option<usize> {
    let whole = |ty: Type| Some(halves(ty)?.div_ceil(2));
    let mut words = 0;
    let mut packed = 0;
    for (i, key) in keys.iter().enumerate() {
        let ty = ty(exprs, *key);
        words += whole(ty)?;
        if !ordered.iter().any(|column| column.column as usize == i) {
            packed += halves(ty)?;
        }
    }
    let is_number = |column: &OrderedColumn| {
        let ty = ty(exprs, keys[column.column as usize]);
        ty.is_integer() || matches!(ty, Type::Time | Type::TimeVal | Type::Duration)
    };
    let fits = words <= KEY_WORDS_MAX && ordered.len() <= 1 && ordered.iter().all(is_number);
    fits.then_some(packed.div_ceil(2))
}

/// Whether compiled code over a trace sends the tuples of a stream together, as rows of words, where it sends more than one.
pub fn sends_blocks(plan: &PhysicalPlan, stream: StreamRef) -> bool {
    let (interface, query) = match stream {
        StreamRef::Lfta { interface, query } => (interface as usize, query as usize),
        StreamRef::Hfta(node) => {
            let node = &plan.nodes[node as usize];
            return match &node.op {
                HftaOp::Select { exprs, outputs, .. } => {
                    takes_blocks(plan, node) && makes_rows(exprs, outputs)
                }
                HftaOp::Aggregate(a) => {
                    let has_rows =
                        passes_whole_groups(plan, node) || regroups(plan, node).is_some();
                    has_rows && makes_rows(&a.post, &a.outputs)
                }
                _ => false,
            };
        }
    };
    let program = &plan.interfaces[interface].program;
    let LftaAction::Select { outputs, .. } = &program.queries[query].action else {
        return matches!(shape(plan, interface, query), Shape::Words { groups_max: None, .. });
    };
    // Tuples of several queries leave one by one, in the order of packets.
    let sends_rows = |other: usize| !matches!(shape(plan, interface, other), Shape::Totals);
    if (0..program.queries.len()).filter(|other| sends_rows(*other)).count() > 1 {
        return false;
    }
    let read = reader_ahead(plan, stream).map(|reader| columns_read(&plan.nodes[reader].op));
    let is_read = |column: u32| read.as_ref().is_none_or(|read| read.contains(&column));
    let is_words =
        |node: &NodeId| !matches!(Class::of(ty(&program.exprs, *node)), Class::Bytes | Class::Kept);
    (0..).zip(outputs).all(|(column, node)| is_words(node) || !is_read(column))
}

/// Whether all that an operator is given comes together.
pub fn takes_blocks(plan: &PhysicalPlan, node: &HftaNode) -> bool {
    node.inputs.iter().all(|stream| sends_blocks(plan, *stream))
}

/// Whether compiled code makes rows of words of other ones by these expressions. What it leaves to the host besides, like the division of signed
/// numbers, it finds out for itself.
pub fn makes_rows(exprs: &Exprs, outputs: &[NodeId]) -> bool {
    let is_words =
        |node: &NodeId| !matches!(Class::of(ty(exprs, *node)), Class::Bytes | Class::Kept);
    exprs.nodes.iter().all(|node| is_of_rows(&node.op)) && outputs.iter().all(is_words)
}

/// Whether an operation is of values alone, and neither of the packet at hand nor of the host.
pub fn is_of_rows(op: &Op) -> bool {
    matches!(
        op,
        Op::Const(_)
            | Op::Param(_)
            | Op::Input(_)
            | Op::Unary(..)
            | Op::Binary(..)
            | Op::Saturating(..)
            | Op::Compare(..)
            | Op::And(..)
            | Op::Or(..)
            | Op::Not(_)
            | Op::In(..)
            | Op::Select { .. }
            | Op::Cast(_)
    )
}

/// The groups of an operator in a table of words, if compiled code takes what the operator is given into such a table.
pub fn regroups(plan: &PhysicalPlan, node: &HftaNode) -> Option<WordGroups> {
    let HftaOp::Aggregate(a) = &node.op else { return None };
    let args = a.aggs.iter().flat_map(|agg| &agg.args).copied();
    let columns: Vec<NodeId> = a.keys.iter().copied().chain(args).collect();
    let is_taken = takes_blocks(plan, node) && makes_rows(&a.exprs, &columns);
    is_taken.then(|| word_groups(a)).flatten()
}

/// Groups whose key and states are words.
pub struct WordGroups {
    /// Words of a key, at most.
    pub key_words: usize,
    /// By aggregate: its kind, its operand, and the type of its result.
    pub aggs: Vec<(AggKind, Option<NodeId>, Type)>,
}

impl WordGroups {
    /// The same of an LFTA.
    pub fn shape(&self) -> Shape {
        let (key_words, state_words) = (self.key_words, self.aggs.len());
        Shape::Words { key_words, state_words, groups_max: None }
    }
}

/// The groups of an aggregation as words; nothing where a tuple goes to several groups, or keys and results are more than words.
pub fn word_groups(a: &Aggregate) -> Option<WordGroups> {
    if !a.has_one_pattern() || a.real_time || a.seen.is_some() {
        return None;
    }
    let word_agg = |agg: &HftaAgg| {
        let HftaAggFunction::Basic(kind) = agg.function else { return None };
        let arg = match agg.args[..] {
            [] if kind == AggKind::Count => None,
            [node] if kind != AggKind::Count => Some(node),
            _ => return None,
        };
        let is_word = !agg.distinct && is_word_state(&a.exprs, kind, arg, agg.ty);
        is_word.then_some((kind, arg, agg.ty))
    };
    let aggs: Option<Vec<_>> = a.aggs.iter().map(word_agg).collect();
    Some(WordGroups { key_words: key_words(&a.exprs, &a.keys, &a.ordered)?, aggs: aggs? })
}

/// Whether an operator is given each group once, complete, and keeps none.
pub fn passes_whole_groups(plan: &PhysicalPlan, node: &HftaNode) -> bool {
    let [StreamRef::Lfta { interface, query }] = node.inputs[..] else { return false };
    let HftaOp::Aggregate(a) = &node.op else { return false };
    let is_plain = a.patterns.len() == 1 && a.quals.is_empty() && a.over_partials;
    is_plain
        && a.seen.is_none()
        && !a.real_time
        && shape(plan, interface as usize, query as usize).sends_whole_groups()
}

/// The last of an operator's quals that are patterns on columns of its input: the column and the handle of each. Compiled code that applies the
/// quals ahead judges them of many rows together.
pub fn patterns_ahead(exprs: &Exprs, quals: &[Qual]) -> Vec<(u32, HandleId)> {
    let pattern = |qual: &Qual| {
        let Op::Call { symbol: "str_regex_match", args, handle: Some(handle) } =
            &exprs.nodes[qual.node.0 as usize].op
        else {
            return None;
        };
        match exprs.nodes[args.first()?.0 as usize].op {
            Op::Input(column) => Some((column, *handle)),
            _ => None,
        }
    };
    let mut found: Vec<_> = quals.iter().rev().map_while(pattern).collect();
    found.reverse();
    found
}

/// Columns of its input that an operator reads besides its quals, in order; all that its quals read, where they are not applied for it.
pub fn columns_read(op: &HftaOp) -> Vec<u32> {
    let (exprs, mut roots) = match op {
        HftaOp::Select { exprs, outputs, .. } => (exprs, outputs.clone()),
        HftaOp::Aggregate(aggregate) => {
            let args = aggregate.aggs.iter().flat_map(|agg| &agg.args);
            (&aggregate.exprs, aggregate.keys.iter().chain(args).copied().collect())
        }
        _ => return Vec::new(),
    };
    let mut is_read = vec![false; exprs.nodes.len()];
    let mut columns = Vec::new();
    while let Some(node) = roots.pop() {
        if std::mem::replace(&mut is_read[node.0 as usize], true) {
            continue;
        }
        match &exprs.nodes[node.0 as usize].op {
            Op::Input(column) => columns.push(*column),
            op => roots.extend(op.operands()),
        }
    }
    columns.sort_unstable();
    columns
}

/// The one operator that reads a selection, when its quals are applied in the code of the LFTA.
pub fn reader_ahead(plan: &PhysicalPlan, stream: StreamRef) -> Option<usize> {
    let mut readers = (0..plan.nodes.len()).filter(|&n| plan.nodes[n].inputs.contains(&stream));
    let (reader, None) = (readers.next()?, readers.next()) else { return None };
    let node = &plan.nodes[reader];
    let quals = match &node.op {
        HftaOp::Select { quals, .. } => quals,
        HftaOp::Aggregate(aggregate) if !aggregate.real_time => &aggregate.quals,
        _ => return None,
    };
    let is_output = plan.outputs.iter().any(|output| output.stream == stream);
    (!is_output && node.inputs == [stream] && !quals.is_empty()).then_some(reader)
}

/// Whether a stream's tuples may come in any order: in the end whatever reads them adds all of them up, to integers or extremes. Operators in
/// between may group them, if no window is closed by what comes.
pub fn may_come_in_any_order(plan: &PhysicalPlan, stream: StreamRef) -> bool {
    let is_output = plan.outputs.iter().any(|output| output.stream == stream);
    let is_free = |(number, node): (usize, &HftaNode)| match &node.op {
        HftaOp::Aggregate(aggregate) if node.inputs == [stream] && adds_up(aggregate) => {
            let out = StreamRef::Hfta(number as u32);
            aggregate.keys.is_empty() || may_come_in_any_order(plan, out)
        }
        _ => false,
    };
    let mut readers =
        plan.nodes.iter().enumerate().filter(|(_, node)| node.inputs.contains(&stream));
    !is_output && readers.all(is_free)
}

fn adds_up(aggregate: &Aggregate) -> bool {
    let Aggregate { exprs, aggs, ordered, seen, real_time, .. } = aggregate;
    let is_exact = |agg: &HftaAgg| {
        let operands = agg.args.iter().map(|arg| ty(exprs, *arg));
        matches!(agg.function, HftaAggFunction::Basic(_))
            && operands.chain([agg.ty]).all(|ty| ty != Type::Float)
    };
    ordered.is_empty() && !real_time && seen.is_none() && aggs.iter().all(is_exact)
}
