//! What compiled code writes for each query, and where: decided before code is emitted, the same for every link type.

use wt_catalog::layout::{Class, Column, Packer};
use wt_catalog::{Type, Value};
use wt_plan::ir::{
    AggKind, Exprs, HandleId, LftaAction, LftaAgg, LftaProgram, LftaQuery, NodeId, OrderedColumn,
    SLOTS_DEFAULT,
};
use wt_plan::shape;

use super::RECORDS_MAX;
use super::emit::Unsupported;
use super::frame::FrameLayout;
use super::lent::Lent;
use super::width::significant_bits;
use crate::lfta::{Ahead, Readers};

/// Frame words of a query and what becomes of its tuples.
pub(super) struct QueryPlan {
    /// Counter of tuples rejected for an absent field.
    pub(super) absent: usize,
    /// Counter of tuples rejected for a failure.
    pub(super) failed: usize,
    /// The same of the packet at hand, where a prefilter may still say that no query wants it: absent, failed.
    pub(super) pending: Option<(usize, usize)>,
    pub(super) body: Body,
}

/// How packets move the window of an aggregation: a row says so, whenever a component of the window is not what it was. Such a row has
/// [`MOVES`] in its first word, the components in their columns, and in its last word a bit for each that is known.
pub(super) struct MovesPlan {
    /// By component: its value, its column, and two words of the frame: whether there was one, and the last.
    pub(super) components: Vec<Component>,
    /// Word of a row that tells which components are known.
    pub(super) known: usize,
}

/// A component of a window.
#[derive(Clone, Copy)]
pub(super) struct Component {
    pub(super) node: NodeId,
    pub(super) column: Column,
    /// Word of the frame that is 1 once a packet had one; the next word has the last.
    pub(super) last: usize,
}

/// Bit of a row's first word, an address of a record otherwise, that tells rows that only move the window.
pub(super) const MOVES: u64 = 1;
const _: () = assert!(align_of::<wt_wire::RecordRef>() as u64 > MOVES);

impl QueryPlan {
    /// Where rejected tuples are counted first: absent, failed.
    pub(super) fn lacks(&self) -> (usize, usize) {
        self.pending.unwrap_or((self.absent, self.failed))
    }
}

/// What code does with a qualified tuple.
pub(super) enum Body {
    /// Adds it to totals in the frame: an aggregation without keys.
    Totals(Totals),
    /// Writes a row.
    Rows(Box<Rows>),
}

impl From<Rows> for Body {
    fn from(rows: Rows) -> Self {
        Self::Rows(Box::new(rows))
    }
}

/// Totals in the frame.
pub(super) struct Totals {
    /// Tuples so far.
    pub(super) matched: usize,
    pub(super) states: Vec<TotalState>,
    /// Where all of them are counts and sums, and one is a sum of short numbers.
    pub(super) joint: Option<Joint>,
}

/// A word that the number of tuples and one of the sums share while code runs over a batch, so that one addition does for both: the number
/// in the upper bits, the sum in the lower ones.
#[derive(Clone, Copy)]
pub(super) struct Joint {
    /// Word of the frame.
    pub(super) at: usize,
    /// Index of the sum among the states.
    pub(super) state: usize,
}

impl Joint {
    /// Bits of the operands of such a sum.
    const OPERAND_BITS: u32 = 32;
    /// Bits of the sum.
    const SUM_BITS: u32 = 44;
    /// One tuple.
    pub(super) const ONE: u64 = 1 << Self::SUM_BITS;

    /// Number of tuples and sum.
    const fn parts(word: u64) -> (u64, u64) {
        (word >> Self::SUM_BITS, word & (Self::ONE - 1))
    }
}
const _: () = assert!((RECORDS_MAX as u64) << Joint::OPERAND_BITS <= Joint::ONE);
const _: () = assert!(RECORDS_MAX < 1 << (64 - Joint::SUM_BITS));

/// The joint words of some plans: each with the words where its count and its sum belong.
pub(super) struct Joints(Vec<[usize; 3]>);

impl Joints {
    pub(super) fn of(plans: &[QueryPlan]) -> Self {
        let joint = |plan: &QueryPlan| {
            let Body::Totals(totals) = &plan.body else { return None };
            let Joint { at, state } = totals.joint?;
            Some([at, totals.matched, totals.states[state].at])
        };
        Self(plans.iter().filter_map(joint).collect())
    }

    /// Moves what code has added to them to where it belongs.
    pub(super) fn part(&self, words: &mut [u64]) {
        for [at, matched, sum] in &self.0 {
            let (count, added) = Joint::parts(std::mem::take(&mut words[*at]));
            words[*matched] += count;
            words[*sum] = words[*sum].wrapping_add(added);
        }
    }
}

pub(super) struct TotalState {
    pub(super) at: usize,
    pub(super) kind: AggKind,
    /// The operand.
    pub(super) arg: Option<NodeId>,
    pub(super) ty: Type,
}

/// Rows: the address of the record, then columns.
pub(super) struct Rows {
    /// Frame word of the address that the next row goes to.
    pub(super) cursor: usize,
    /// Words of a row.
    pub(super) stride: usize,
    pub(super) columns: Vec<(NodeId, Column)>,
    pub(super) use_: Use,
    /// Counters of tuples that the reader's quals reject, when they are applied ahead.
    pub(super) ahead: Option<AheadPlan>,
    /// The last of these quals, where they are patterns: rows say where the bytes are, and are judged when the code has run. Then the bytes
    /// of many can be on their way to the cache together.
    pub(super) patterns: Vec<PatternPlan>,
    /// Where every packet moves the window, whether it qualifies or not.
    pub(super) moves: Option<MovesPlan>,
    /// Rows with a narrow key, if there are such: they are written apart.
    pub(super) narrow: Option<NarrowRows>,
    /// Where the tables of groups are lent to code, by kind of key; empty where they are not.
    pub(super) lent: Vec<Lent>,
}

/// Rows with a narrow key.
pub(super) struct NarrowRows {
    /// Frame word of the address that the next one goes to.
    pub(super) cursor: usize,
    /// Where the columns are.
    pub(super) columns: Vec<Column>,
}

impl Rows {
    /// How many kinds of rows are written apart.
    pub(super) fn kinds(&self) -> usize {
        1 + usize::from(self.narrow.is_some())
    }

    /// Has code write to the beginning of `rows`, each kind to its part of it.
    pub(super) fn begin(&self, words: &mut [u64], rows: &mut [u64]) {
        let part = rows.len() / self.kinds();
        words[self.cursor] = rows.as_mut_ptr() as u64;
        if let Some(narrow) = &self.narrow {
            words[narrow.cursor] = rows[part..].as_mut_ptr() as u64;
        }
    }

    /// The rows that code has written: those of any key, and the narrow ones.
    pub(super) fn written<'a>(&self, words: &[u64], rows: &'a [u64]) -> [&'a [u64]; 2] {
        let (any, narrow) = rows.split_at(rows.len() / self.kinds());
        let part = |rows: &'a [u64], cursor: usize| {
            let bytes = words[cursor] - rows.as_ptr() as u64;
            &rows[..bytes as usize / 8]
        };
        let narrow = self.narrow.as_ref().map_or(&[][..], |plan| part(narrow, plan.cursor));
        [part(any, self.cursor), narrow]
    }
}

/// A pattern that bytes of a row must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatternPlan {
    /// The column of the selection.
    pub(super) column: u32,
    /// Which of the reader's handles it is.
    pub(super) handle: usize,
    /// Word of the row with the bytes' address; their length follows.
    pub(super) word: usize,
}

impl PatternPlan {
    /// Address and length of the bytes of a row.
    pub(super) fn subject(&self, row: &[u64]) -> (u64, u64) {
        (row[self.word], row[self.word + 1])
    }
}

/// The patterns at the end of a reader's quals, the first of which is in the row's word `word`.
fn patterns(ahead: &Ahead<'_>, word: usize) -> Vec<PatternPlan> {
    let place = |(number, (column, handle)): (usize, (u32, HandleId))| PatternPlan {
        column,
        handle: handle.0 as usize,
        word: word + 2 * number,
    };
    shape::patterns_ahead(ahead.exprs, ahead.quals).into_iter().enumerate().map(place).collect()
}

/// Frame words that count what the quals of the reader reject.
#[derive(Clone, Copy, Debug)]
pub(super) struct AheadPlan {
    pub(super) filtered: usize,
    pub(super) absent: usize,
    pub(super) failed: usize,
}

/// Who reads rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Use {
    /// A selection: every row is a tuple.
    Select,
    /// Groups over words.
    Groups(GroupPlan),
    /// Groups over values: the first columns are keys, the others operands.
    Values { keys: usize },
}

/// Groups whose key and states are words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupPlan {
    /// The window: its column and how it advances.
    pub(super) window: Option<(Column, OrderedColumn, u64)>,
    /// By kind: how rows hold their key.
    pub(super) keys: Vec<KeyPlan>,
    /// By aggregate: the word of its operand in a row.
    pub(super) states: Vec<WordState>,
    /// Groups at which all are ejected, where a table may not grow as it likes.
    pub(super) groups_max: Option<u32>,
    /// Whether nobody asks in what order groups come.
    pub(super) is_free: bool,
}

/// How rows hold the key of their group. There are two kinds where a key has an INET: any key is as the first one says unless all of its INETs are IPv4
/// addresses, which take a third to a half of the words then. Each kind has tables of its own, so that a key has one place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyPlan {
    /// First word of the key in a row, and one behind its last.
    pub(super) words: (usize, usize),
    /// Columns of the tuples sent: keys in order. The window's is `None`.
    pub(super) columns: Vec<Option<Column>>,
    /// Whether an entry of the table begins with the ordinal of its first packet, else with the key.
    pub(super) has_ordinals: bool,
}

/// Any key.
pub(super) const WIDE: usize = 0;
/// One whose INETs are IPv4 addresses.
pub(super) const NARROW: usize = 1;

impl KeyPlan {
    /// Lays keys out from a word on.
    fn new(
        first: usize,
        keys: &[(Type, u32)],
        window_key: Option<usize>,
        are_narrow: bool,
    ) -> Self {
        let mut packer = Packer::new(first);
        let mut columns = vec![None; keys.len()];
        let is_narrow = |ty| are_narrow && ty == Type::Inet;
        // Wide columns first, so that the small ones share what is left.
        let mut order: Vec<usize> = (0..keys.len()).filter(|i| Some(*i) != window_key).collect();
        order.sort_by_key(|i| is_narrow(keys[*i].0) || Class::of(keys[*i].0) == Class::Word);
        for i in order {
            let (ty, bits) = keys[i];
            columns[i] =
                Some(if is_narrow(ty) { packer.place_v4() } else { packer.place(ty, bits) });
        }
        Self { words: (first, packer.end()), columns, has_ordinals: true }
    }

    /// How many words a key has.
    pub(super) fn len(&self) -> usize {
        self.words.1 - self.words.0
    }

    /// The word of an entry where the key begins.
    pub(super) fn at(&self) -> usize {
        usize::from(self.has_ordinals)
    }
}

/// Words of a cache line.
const LINE_WORDS: usize = 8;

/// Cache lines that eight entries of so many words, one behind the other, lie in, counted for each of them.
fn lines_of_eight(words: usize) -> usize {
    (0..8).map(|entry| (entry * words % LINE_WORDS + words).div_ceil(LINE_WORDS)).sum()
}

impl GroupPlan {
    /// Takes note that nobody asks in what order groups come: their entries need no ordinals, but have one where they would lie in more cache lines without.
    fn set_free(&mut self) {
        self.is_free = true;
        for key in &mut self.keys {
            let words = key.len() + self.states.len();
            key.has_ordinals = lines_of_eight(words) > lines_of_eight(1 + words);
        }
    }

    /// Whether all states are counts and sums.
    pub(super) fn is_additive(&self) -> bool {
        self.states.iter().all(|state| matches!(state.kind, AggKind::Count | AggKind::Sum))
    }
}

/// An aggregate over words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WordState {
    pub(super) kind: AggKind,
    pub(super) ty: Type,
    /// Word of the operand in a row; the count has none.
    pub(super) arg: Option<usize>,
}

/// Plans every query of a program.
pub(super) fn plan(
    program: &LftaProgram,
    params: &[Value],
    layout: &mut FrameLayout,
    readers: Readers<'_>,
) -> Result<Vec<QueryPlan>, Unsupported> {
    let bits = significant_bits(&program.exprs, params);
    let planner = Planner { bits: &bits, exprs: &program.exprs };
    let mut plans = Vec::with_capacity(program.queries.len());
    for (index, query) in program.queries.iter().enumerate() {
        let mut plan = planner.query(query, layout, readers.is_fixed(index))?;
        // A prefilter says nothing where every packet moves the window.
        if !matches!(query.action, LftaAction::Aggregate { real_time: true, .. }) {
            plan.pending = program.prefilter.map(|_| (layout.take(1), layout.take(1)));
        }
        if let Body::Rows(rows) = &mut plan.body
            && let Use::Groups(groups) = &mut rows.use_
            && readers.are_free(index)
        {
            groups.set_free();
        }
        if let (Body::Rows(rows), Some(Some(ahead))) = (&mut plan.body, readers.ahead.get(index))
            && rows.use_ == Use::Select
        {
            let (filtered, absent, failed) = (layout.take(1), layout.take(1), layout.take(1));
            rows.ahead = Some(AheadPlan { filtered, absent, failed });
            rows.patterns = patterns(ahead, rows.stride);
            rows.stride += 2 * rows.patterns.len();
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// How packets move a window; nothing where there is none. What is known of it goes behind the row.
fn moves(
    rows: &Rows,
    keys: &[NodeId],
    ordered: &[OrderedColumn],
    layout: &mut FrameLayout,
) -> Option<MovesPlan> {
    let column_of = |key: usize| match &rows.use_ {
        Use::Groups(GroupPlan { window: Some((column, ..)), .. }) => *column,
        _ => rows.columns[key].1,
    };
    let component = |ordered: &OrderedColumn| {
        let key = ordered.column as usize;
        Component { node: keys[key], column: column_of(key), last: layout.take(2) }
    };
    let components: Vec<_> = ordered.iter().map(component).collect();
    (!components.is_empty()).then_some(MovesPlan { components, known: rows.stride })
}

struct Planner<'a> {
    bits: &'a [u32],
    exprs: &'a Exprs,
}

impl Planner<'_> {
    fn ty(&self, node: NodeId) -> Type {
        self.exprs.nodes[node.0 as usize].ty
    }

    fn query(
        &self,
        query: &LftaQuery,
        layout: &mut FrameLayout,
        fixed: bool,
    ) -> Result<QueryPlan, Unsupported> {
        let (absent, failed) = (layout.take(1), layout.take(1));
        let body = match &query.action {
            LftaAction::Select { outputs, .. } => {
                Body::from(self.rows(layout, outputs.iter().copied(), Use::Select))
            }
            LftaAction::Aggregate { keys, ordered, real_time: true, .. }
                if !shape::moves_by_words(self.exprs, keys, ordered) =>
            {
                return Err(Unsupported("a window of bytes or long addresses under `real_time`"));
            }
            LftaAction::Aggregate { keys, ordered, aggs, slots, tolerance, values, real_time } => {
                let is_word =
                    |agg: &LftaAgg| shape::is_word_state(self.exprs, agg.kind, agg.arg, agg.ty);
                let is_words = aggs.iter().all(is_word);
                if keys.is_empty() && is_words {
                    Body::Totals(self.totals(layout, aggs))
                } else if is_words
                    && !fixed
                    && *slots == SLOTS_DEFAULT
                    && shape::key_words(self.exprs, keys, ordered).is_some()
                {
                    let window = (ordered.first(), *tolerance);
                    let aggs = aggs.iter().map(|agg| (agg.kind, agg.arg, agg.ty));
                    let bits = |node: NodeId| self.bits[node.0 as usize];
                    let mut rows = group_rows(self.exprs, bits, keys, window, aggs);
                    // What moves the window comes in order with other rows.
                    rows.plan.keys.extend(rows.narrow.take().filter(|_| !real_time));
                    rows.plan.groups_max = shape::groups_max(*values);
                    Body::from(self.groups(layout, rows))
                } else {
                    let args = aggs.iter().filter_map(|agg| agg.arg);
                    let columns = keys.iter().copied().chain(args);
                    Body::from(self.rows(layout, columns, Use::Values { keys: keys.len() }))
                }
            }
        };
        let mut plan = QueryPlan { absent, failed, pending: None, body };
        if let (LftaAction::Aggregate { keys, ordered, real_time: true, .. }, Body::Rows(rows)) =
            (&query.action, &mut plan.body)
        {
            rows.moves = moves(rows, keys, ordered, layout);
            rows.stride += usize::from(rows.moves.is_some());
            if rows.moves.is_some() {
                rows.lent.clear();
            }
        }
        Ok(plan)
    }

    fn totals(&self, layout: &mut FrameLayout, aggs: &[LftaAgg]) -> Totals {
        let matched = layout.take(1);
        let states = aggs.iter().map(|agg| TotalState {
            at: layout.take(1),
            kind: agg.kind,
            arg: agg.arg,
            ty: agg.ty,
        });
        let states: Vec<TotalState> = states.collect();
        let is_short = |arg: NodeId| self.bits[arg.0 as usize] <= Joint::OPERAND_BITS;
        let is_sum =
            |state: &TotalState| state.kind == AggKind::Sum && state.arg.is_some_and(is_short);
        let adds = |state: &TotalState| matches!(state.kind, AggKind::Count | AggKind::Sum);
        let state = states.iter().position(is_sum).filter(|_| states.iter().all(adds));
        let joint = state.map(|state| Joint { at: layout.take(1), state });
        Totals { matched, states, joint }
    }

    fn rows(
        &self,
        layout: &mut FrameLayout,
        nodes: impl Iterator<Item = NodeId>,
        use_: Use,
    ) -> Rows {
        let mut packer = Packer::new(1);
        let columns = nodes.map(|node| (node, packer.place_whole(self.ty(node)))).collect();
        Rows {
            cursor: layout.take(1),
            stride: packer.end(),
            columns,
            use_,
            ahead: None,
            patterns: Vec::new(),
            moves: None,
            narrow: None,
            lent: Vec::new(),
        }
    }

    fn groups(&self, layout: &mut FrameLayout, rows: GroupRows) -> Rows {
        let GroupRows { plan, columns, stride, .. } = rows;
        let may_be_lent = plan.groups_max.is_none() && plan.is_additive();
        let lent = plan.keys.iter().filter(|_| may_be_lent);
        let lent = lent.map(|_| Lent { at: layout.take(Lent::WORDS) }).collect();
        let narrow = plan.keys.get(NARROW).map(|key| {
            let keys = key.columns.iter().copied().chain(std::iter::repeat(None));
            let columns = columns.iter().zip(keys);
            let columns = columns.map(|((_, wide), narrow)| narrow.unwrap_or(*wide)).collect();
            NarrowRows { cursor: layout.take(1), columns }
        });
        Rows {
            cursor: layout.take(1),
            stride,
            columns,
            use_: Use::Groups(plan),
            ahead: None,
            patterns: Vec::new(),
            moves: None,
            narrow,
            lent,
        }
    }
}

/// Rows of what groups are made of.
pub(super) struct GroupRows {
    pub(super) plan: GroupPlan,
    /// Keys and operands in the order of the query, in which they are evaluated: the first absent field counts.
    pub(super) columns: Vec<(NodeId, Column)>,
    /// Words of a row.
    pub(super) stride: usize,
    /// How keys are held whose INETs are IPv4 addresses, where that takes fewer words.
    pub(super) narrow: Option<KeyPlan>,
}

/// Lays rows out: the window, the other keys, operands. `bits` tells how many bits of a node's word can be set; `aggs` are kind, operand and type of result.
pub(super) fn group_rows(
    exprs: &Exprs,
    bits: impl Fn(NodeId) -> u32,
    keys: &[NodeId],
    (ordered, tolerance): (Option<&OrderedColumn>, u64),
    aggs: impl IntoIterator<Item = (AggKind, Option<NodeId>, Type)>,
) -> GroupRows {
    let ty = |node: NodeId| exprs.nodes[node.0 as usize].ty;
    let window_key = ordered.map(|column| column.column as usize);
    let mut packer = Packer::new(1);
    let window = ordered.map(|column| {
        let place = packer.place_whole(ty(keys[column.column as usize]));
        (place, column.clone(), tolerance.saturating_add(column.band))
    });
    let types: Vec<(Type, u32)> = keys.iter().map(|node| (ty(*node), bits(*node))).collect();
    let wide = KeyPlan::new(packer.end(), &types, window_key, false);
    let narrow = KeyPlan::new(packer.end(), &types, window_key, true);
    let narrow = Some(narrow).filter(|narrow| narrow.len() < wide.len());
    let mut packer = Packer::new(wide.words.1);
    let place = |column: &Option<Column>| column.or(window.as_ref().map(|(place, ..)| *place));
    let placed = keys.iter().zip(&wide.columns);
    let placed = placed.filter_map(|(node, column)| Some((*node, place(column)?)));
    let mut columns: Vec<_> = placed.collect();
    let mut states = Vec::new();
    for (kind, arg, result) in aggs {
        let arg = arg.filter(|_| kind != AggKind::Count).map(|node| {
            let word = packer.end();
            columns.push((node, packer.place_whole(ty(node))));
            word
        });
        states.push(WordState { kind, ty: result, arg });
    }
    let plan = GroupPlan { window, keys: vec![wide], states, groups_max: None, is_free: false };
    GroupRows { plan, columns, stride: packer.end(), narrow }
}
