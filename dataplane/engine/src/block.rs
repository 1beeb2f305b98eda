//! Tuples of a stream as rows of words: the groups of a window leave their table as they lie there.

use std::ops::Range;
use std::sync::Arc;

use wt_catalog::layout::{Column, Place};
use wt_catalog::{Type, Value};

use crate::compiled::Words;
use crate::tuple::Tuple;

/// Consecutive tuples of a stream. A clone shares the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    columns: Arc<[BlockColumn]>,
    /// Words of a row, the first of which is the ordinal, if rows have one.
    stride: usize,
    /// That of every tuple, if rows have none.
    ordinal: Option<u64>,
    words: Arc<Words>,
    /// The words of the rows.
    rows: Range<usize>,
}

/// A column of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockColumn {
    /// Words of each row.
    Row(Column),
    /// The same value in every row.
    Same(Value),
}

impl Block {
    /// A block of rows, each an ordinal and then words as `columns` places them. No column may be kept by a host.
    pub(crate) fn new(columns: impl Into<Arc<[BlockColumn]>>, stride: usize, words: Words) -> Self {
        debug_assert!(words.len().is_multiple_of(stride));
        let rows = 0..words.len();
        Self { columns: columns.into(), stride, ordinal: None, words: words.into(), rows }
    }

    /// The same where rows have no ordinal of their own, but all have this one.
    pub(crate) fn of_ordinal(self, ordinal: u64) -> Self {
        Self { ordinal: Some(ordinal), ..self }
    }

    /// The same rows in blocks of at most so many.
    pub(crate) fn pieces(&self, rows: usize) -> impl Iterator<Item = Block> + '_ {
        let words = rows * self.stride;
        self.rows.clone().step_by(words).map(move |at| {
            let rows = at..self.rows.end.min(at + words);
            Block { rows, ..self.clone() }
        })
    }

    /// The same rows, so many packets later.
    pub(crate) fn moved_on(self, packets: u64) -> Self {
        if let Some(ordinal) = self.ordinal {
            return self.of_ordinal(ordinal + packets);
        }
        let mut words = Arc::unwrap_or_clone(self.words);
        words[self.rows.clone()].chunks_exact_mut(self.stride).for_each(|row| row[0] += packets);
        Self { words: words.into(), ..self }
    }

    /// Words of a row.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// What rows are made of.
    pub(crate) fn columns(&self) -> &[BlockColumn] {
        &self.columns
    }

    /// The words of the rows.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words[self.rows.clone()]
    }

    /// How many tuples.
    pub fn len(&self) -> usize {
        self.rows.len() / self.stride
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, u64> {
        self.words().chunks_exact(self.stride)
    }

    /// The ordinal of every tuple, if rows have none of their own.
    pub(crate) fn ordinal(&self) -> Option<u64> {
        self.ordinal
    }

    /// The least ordinal.
    pub(crate) fn first_ordinal(&self) -> Option<u64> {
        match self.ordinal {
            Some(ordinal) => (!self.is_empty()).then_some(ordinal),
            None => self.rows().map(|row| row[0]).min(),
        }
    }

    fn ordinal_of(&self, row: &[u64]) -> u64 {
        self.ordinal.unwrap_or(row[0])
    }

    /// The tuples.
    pub fn tuples(&self) -> impl Iterator<Item = Tuple> + '_ {
        self.rows().map(|row| {
            let values = self.columns.iter().map(|column| column.value(row)).collect();
            Tuple { ordinal: self.ordinal_of(row), values }
        })
    }

    /// Calls `take` with each tuple in turn, until it fails.
    ///
    /// # Errors
    /// Those of `take`.
    pub(crate) fn each<E>(&self, mut take: impl FnMut(&Tuple) -> Result<(), E>) -> Result<(), E> {
        let values = self.columns.iter().map(|_| Value::Bool(false)).collect();
        // One tuple whose values are replaced: rows cost no memory of their own.
        let mut tuple = Tuple { ordinal: 0, values };
        for row in self.rows() {
            tuple.ordinal = self.ordinal_of(row);
            for (value, column) in tuple.values.iter_mut().zip(&*self.columns) {
                *value = column.value(row);
            }
            take(&tuple)?;
        }
        Ok(())
    }

    /// The type of a column whose rows are numbers of one word.
    pub(crate) fn number_type(&self, column: usize) -> Option<Type> {
        match self.columns.get(column)? {
            BlockColumn::Row(Column { ty, place: Place::Words { .. } | Place::Field { .. } })
                if ty.is_integer() =>
            {
                Some(*ty)
            }
            _ => None,
        }
    }

    /// Folds the numbers of a column of which [`Self::number_type`] knows, as [`Value::as_u64`] gives them.
    pub(crate) fn fold(&self, column: usize, first: u64, fold: impl Fn(u64, u64) -> u64) -> u64 {
        let Some(BlockColumn::Row(Column { ty, place })) = self.columns.get(column) else {
            return first;
        };
        let Some(width) = ty.bits() else { return first };
        let (word, shift, bits) = match *place {
            Place::Field { word, shift, bits } => (word, shift, bits.min(width)),
            Place::Words { word } => (word, 0, width),
            _ => return first,
        };
        // To the top of a word, and down again; a number with a sign, which is that of its type's width, once more.
        let (up, down) = (64 - bits - shift, 64 - bits);
        let number = |row: &[u64]| row[word] << up >> down;
        if ty.is_signed() {
            let up = 64 - width;
            let signed = |row| ((number(row) << up).cast_signed() >> up).cast_unsigned();
            self.rows().fold(first, |state, row| fold(state, signed(row)))
        } else {
            self.rows().fold(first, |state, row| fold(state, number(row)))
        }
    }

    /// The same rows with other columns: each names one of these, and the type it is to have. Nothing if one has not got it.
    pub(crate) fn project(&self, wanted: &[(usize, Type)]) -> Option<Block> {
        let of = |(index, ty): &(usize, Type)| {
            let column = self.columns.get(*index)?;
            let same_words = match column {
                BlockColumn::Row(column) => column.ty == *ty,
                BlockColumn::Same(_) => true,
            };
            same_words.then(|| column.clone())
        };
        let columns: Option<Vec<_>> = wanted.iter().map(of).collect();
        Some(Block { columns: columns?.into(), ..self.clone() })
    }
}

impl BlockColumn {
    fn value(&self, row: &[u64]) -> Value {
        match self {
            BlockColumn::Row(column) => column.value(row, &[]),
            BlockColumn::Same(value) => value.clone(),
        }
    }
}
