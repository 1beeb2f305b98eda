//! Filters asked of many packets at once.
//!
//! Where many queries of a batch ask short fields ([`wt_plan::vectors`]), code puts the fields of a packet into arrays of the frame at the end of a likely path, and
//! that is all it does for them there. When arrays are full, and behind each batch, the filters are asked of all packets in them: operations on whole
//! [`columns`], which [`asking`] makes of the filters.

mod asking;
mod columns;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value as V};
use wt_catalog::Value;
use wt_plan::ir::LftaProgram;
use wt_plan::vectors::{Field, Filter, Source, Vectors, vectors};
use wt_wire::RecordRef;

use super::emit::{Emitter, FRAME, Parts, Truth, Unsupported, Val};
use super::frame::FrameLayout;
use super::host::Host;
use super::load::Place;
use super::lookup::totals_of;
use super::lower::Scope;
use super::plan::QueryPlan;
use super::sys::Code;

use self::columns::COLUMN_WORDS;
pub(super) use self::columns::{Filters, ROWS};

/// Filters that are asked by vectors, and where their arrays are.
pub(super) struct Vectored {
    vectors: Vectors,
    /// By field: the frame word where its array begins.
    arrays: Vec<usize>,
    /// The array that says at the end of which path a packet came, by a bit.
    ends: usize,
    pub(super) rows: RowWords,
    /// By field that may be cut: the frame word with its whole value then.
    whole: Vec<Option<usize>>,
    /// By filter: the frame word that takes a tuple, and what is summed with it.
    totals: Vec<usize>,
}

/// The filters that are asked by vectors at the end of a likely path.
pub(super) struct EndFilters {
    /// By filter: whether it is.
    taken: Vec<bool>,
    /// By field that was asked for: what it is there.
    fields: Vec<Option<FieldAt>>,
}

/// What a field is at the end of a path.
#[derive(Clone, Copy)]
enum FieldAt {
    /// A number, and what its array holds of it.
    Element(V, V),
    /// What the path says.
    Constant(u64),
    /// An address of IPv6: none of those asked for.
    OtherFamily,
}

impl EndFilters {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        !self.taken.contains(&true)
    }
}

/// Words of the frame by which code that fills the arrays tells how.
#[derive(Clone, Copy)]
pub(super) struct RowWords {
    /// Twice the number of packets in the arrays.
    pub(super) cursor: usize,
    /// The address of the record of the last packet, if a number of it is cut; otherwise 0.
    pub(super) cut: usize,
}

impl Vectored {
    /// Those of a program.
    pub(super) fn new(
        program: &LftaProgram,
        params: &[Value],
        plans: &[QueryPlan],
        layout: &mut FrameLayout,
    ) -> Self {
        let mut vectors = vectors(program, params);
        let totals_of = |filter: &Filter| totals_of(&plans[filter.query], filter.arg.is_some());
        vectors.filters.retain(|filter| totals_of(filter).is_some());
        let totals = vectors.filters.iter().filter_map(totals_of).collect();
        let array = |field: &Field| layout.take_lines(COLUMN_WORDS * field.bytes / 2);
        let arrays = vectors.fields.iter().map(array).collect();
        let ends = layout.take_lines(COLUMN_WORDS);
        let rows = RowWords { cursor: layout.take(1), cut: layout.take(1) };
        let whole =
            vectors.fields.iter().map(|field| field.is_cut.then(|| layout.take(1))).collect();
        Self { vectors, arrays, ends, rows, whole, totals }
    }

    /// The queries that need nothing else at the end of a path.
    pub(super) fn queries<'a>(&'a self, end: &'a EndFilters) -> impl Iterator<Item = usize> + 'a {
        let filters = self.vectors.filters.iter().zip(&end.taken);
        filters.filter(|(_, taken)| **taken).map(|(filter, _)| filter.query)
    }

    /// The fields that some filters ask for.
    fn asked(&self, taken: &[bool]) -> impl Iterator<Item = usize> + use<> {
        let mut asked = vec![false; self.vectors.fields.len()];
        for (filter, _) in self.vectors.filters.iter().zip(taken).filter(|(_, taken)| **taken) {
            filter.fields().into_iter().for_each(|field| asked[field] = true);
        }
        asked.into_iter().enumerate().filter(|(_, asked)| *asked).map(|(field, _)| field)
    }

    /// How many filters there are.
    pub(super) fn len(&self) -> usize {
        self.vectors.filters.len()
    }

    /// Runs code over records of a batch.
    pub(super) fn run(
        &self,
        code: &Code,
        words: &mut [u64],
        data: &[u8],
        mut records: &[RecordRef],
        host: &mut Host,
    ) {
        while !records.is_empty() {
            let done = code.run(words, data, records, host);
            records = &records[done..];
            if words[self.rows.cut] != 0 {
                self.take_cut(code, words);
            }
        }
    }

    /// Asks the filters of the last packet by itself: they sum the whole of what is cut in the arrays.
    #[cold]
    #[inline(never)]
    fn take_cut(&self, code: &Code, words: &mut [u64]) {
        words[self.rows.cut] = 0;
        let last = words[self.rows.cursor] as usize / 2 - 1;
        let fields = &self.vectors.fields;
        let arrays = fields.iter().zip(&self.arrays).map(|(field, array)| (*array, field.bytes));
        let arrays = arrays.filter(|(_, bytes)| *bytes > 0).chain([(self.ends, 2)]);
        let row: Vec<((usize, usize), u64)> =
            arrays.map(|array| (array, element(words, array, last))).collect();
        words[self.rows.cursor] -= 2;
        code.ask_filters(words);
        for (array, value) in row {
            set_first(words, array, value);
        }
        let mut over = vec![0; fields.len()];
        for (field, over) in over.iter_mut().enumerate() {
            let Some(whole) = self.whole[field] else { continue };
            let max = fields[field].max;
            *over = words[whole].saturating_sub(max);
            set_first(words, (self.arrays[field], fields[field].bytes), words[whole].min(max));
        }
        words[self.rows.cursor] = 2;
        let before: Vec<u64> = self.totals.iter().map(|total| words[*total]).collect();
        code.ask_filters(words);
        for ((filter, total), before) in self.vectors.filters.iter().zip(&self.totals).zip(before) {
            if let Some(arg) = filter.arg.filter(|_| words[*total] != before) {
                words[*total] += over[arg];
            }
        }
    }
}

/// An element of an array, which begins at a word and has elements of so many bytes.
fn element(words: &[u64], (array, bytes): (usize, usize), index: usize) -> u64 {
    let (word, at) = (array + index * bytes / 8, index * bytes % 8);
    words[word] >> (8 * at) & ((1 << (8 * bytes)) - 1)
}

/// Makes something the first element of an array.
fn set_first(words: &mut [u64], (array, bytes): (usize, usize), value: u64) {
    words[array] = words[array] >> (8 * bytes) << (8 * bytes) | value;
}

impl Emitter<'_, '_> {
    /// Puts the packet at hand, which has come to the end of a likely path, into the arrays; the result is which filters need nothing else.
    pub(super) fn row_of_fields(
        &mut self,
        scope: &mut Scope<'_>,
        vectored: &Vectored,
        program: &LftaProgram,
        end: usize,
    ) -> Result<EndFilters, Unsupported> {
        let Vectors { fields, filters } = &vectored.vectors;
        let has_layers = |filter: &Filter| {
            let requires = &program.queries[filter.query].requires;
            requires.iter().all(|l| matches!(scope.layers[l.0 as usize].present, Truth::Always))
        };
        let mut taken: Vec<bool> = filters.iter().map(has_layers).collect();
        let mut found: Vec<Option<FieldAt>> = vec![None; fields.len()];
        for field in vectored.asked(&taken) {
            found[field] = self.field(scope, &fields[field])?;
        }
        for (taken, filter) in taken.iter_mut().zip(filters) {
            *taken &= filter.fields().iter().all(|field| found[*field].is_some());
        }
        let filters = EndFilters { taken, fields: found };
        if filters.is_empty() {
            return Ok(filters);
        }
        let cursor = self.load_frame(vectored.rows.cursor);
        let halves = self.b.ins().iadd(self.frame, cursor);
        let end = self.word(u64::from(asking::bit(end)));
        self.b.ins().istore16(FRAME, end, halves, 8 * vectored.ends as i32);
        for field in vectored.asked(&filters.taken) {
            let Some(FieldAt::Element(_, raw)) = filters.fields[field] else { continue };
            let at = 8 * vectored.arrays[field] as i32;
            if fields[field].bytes == 2 {
                self.b.ins().istore16(FRAME, raw, halves, at);
            } else {
                let words = self.b.ins().iadd(halves, cursor);
                self.b.ins().istore32(FRAME, raw, words, at);
            }
        }
        let cursor = self.add_const(cursor, 2);
        self.store_frame(vectored.rows.cursor, cursor);
        Ok(filters)
    }

    /// Leaves the loop over records if a number of the packet at hand is cut in the arrays; what it is in whole goes into the frame.
    pub(super) fn leave_if_cut(
        &mut self,
        vectored: &Vectored,
        end: &EndFilters,
    ) -> Result<(), Unsupported> {
        let mut is_cut = None;
        let mut words = vec![(vectored.rows.cut, self.record)];
        for field in vectored.asked(&end.taken) {
            if let (Some(whole), Some(FieldAt::Element(value, _))) =
                (vectored.whole[field], end.fields[field])
            {
                let max = vectored.vectors.fields[field].max;
                let is_this = self.icmp_const(IntCC::UnsignedGreaterThan, value, max);
                is_cut = Some(is_cut.map_or(is_this, |others| self.b.ins().bor(others, is_this)));
                words.push((whole, value));
            }
        }
        match is_cut {
            Some(is_cut) => self.leave_loop_if(is_cut, &words),
            None => Ok(()),
        }
    }

    /// What a field is; nothing when it may lack its value, or code for it is not cheap.
    fn field(
        &mut self,
        scope: &mut Scope<'_>,
        field: &Field,
    ) -> Result<Option<FieldAt>, Unsupported> {
        let (node, down) = match field.source {
            Source::Byte(layer, byte) => {
                let layer = scope.layers[layer.0 as usize];
                let place = Place { layer, at: None, byte: u64::from(byte) };
                let (word, lack) = self.load_bits(place, 0, 8, false);
                return Ok(lack.is_none().then_some(FieldAt::Element(word, word)));
            }
            Source::Node(node) => (node, 0),
            Source::Upper(node) => (node, 16),
        };
        if scope.is_costly[node.0 as usize] {
            return Ok(None);
        }
        let Val { parts, lack: None } = self.node(scope, node)? else { return Ok(None) };
        let word = match parts {
            Parts::Word(word) => word,
            Parts::Inet(family, _, word) => match self.constant(family) {
                Some(4) => word,
                Some(_) => return Ok(Some(FieldAt::OtherFamily)),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        if field.bytes == 0 {
            return Ok(self.constant(word).map(FieldAt::Constant));
        }
        if let (true, Some((raw, _))) = (field.is_big_endian, self.turned(word)) {
            // Its upper half comes first.
            return Ok(Some(FieldAt::Element(word, raw)));
        }
        let down = self.word(down);
        let number = self.b.ins().ushr(word, down);
        if !field.is_big_endian {
            return Ok(Some(FieldAt::Element(word, number)));
        }
        let ty = if field.bytes == 2 { I16 } else { I32 };
        let number = self.b.ins().ireduce(ty, number);
        let raw = self.b.ins().bswap(number);
        Ok(Some(FieldAt::Element(word, self.b.ins().uextend(I64, raw))))
    }
}
