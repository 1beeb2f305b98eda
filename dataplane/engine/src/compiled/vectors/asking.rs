//! Filters as operations on columns.

use std::collections::HashMap;

use wt_plan::lookup::Range;
use wt_plan::vectors::{Condition, Field, is_block};

use super::columns::{COLUMN_WORDS, Column, Filters, Leaf, Op, Summed};
use super::{EndFilters, FieldAt, Vectored};
use crate::compiled::frame::FrameLayout;

impl Vectored {
    /// What asks the filters of packets in the arrays. `ends` has what was taken at the end of each likely path.
    pub(in crate::compiled) fn filters(
        &self,
        ends: &[EndFilters],
        layout: &mut FrameLayout,
    ) -> Filters {
        let all =
            (0..ends.len()).filter(|end| !ends[*end].is_empty()).fold(0, |all, end| all | bit(end));
        let mut builder = Builder {
            vectored: self,
            ends,
            all,
            layout,
            ops: Vec::new(),
            paths: HashMap::new(),
            turned: HashMap::new(),
            summed: HashMap::new(),
            spare: Vec::new(),
            repeated: HashMap::new(),
        };
        let filters: Vec<Resolved> =
            (0..self.len()).map(|filter| builder.resolved(filter)).collect();
        builder.find_repeated(&filters);
        for (filter, resolved) in filters.into_iter().enumerate() {
            builder.take(filter, resolved);
        }
        Filters { ops: builder.ops, ends: Column(self.ends), rows: self.rows }
    }
}

/// What stands for the end of a path in the array of these.
pub(super) fn bit(end: usize) -> u16 {
    1 << end
}

/// A condition, as the columns have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    /// The packet has come to one of these ends.
    Came(u16),
    Leaf(Leaf),
    And(Vec<Asked>),
    Or(Vec<Asked>),
    Not(Box<Asked>),
}

impl Asked {
    /// All of these hold.
    fn and(parts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let flat = |part| match part {
            Self::And(parts) => parts,
            part => vec![part],
        };
        parts.into_iter().flat_map(flat).collect()
    }

    /// One of these holds.
    fn or(parts: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let flat = |part| match part {
            Self::Or(parts) => parts,
            part => vec![part],
        };
        parts.into_iter().flat_map(flat).collect()
    }
}

/// What a filter asks: the ends of which paths it is asked at, and a condition, if there is more.
struct Resolved {
    came: u16,
    asked: Option<Asked>,
}

struct Builder<'a> {
    vectored: &'a Vectored,
    ends: &'a [EndFilters],
    /// All ends where filters are asked.
    all: u16,
    layout: &'a mut FrameLayout,
    ops: Vec<Op>,
    /// By some ends: which packets came there.
    paths: HashMap<u16, Column>,
    /// By field: its numbers, their bytes the other way round.
    turned: HashMap<usize, Column>,
    summed: HashMap<usize, Summed>,
    /// By depth: a column for what is asked there.
    spare: Vec<Column>,
    /// Conditions that several filters ask, with the column that says who passes, once it does.
    repeated: HashMap<Asked, Option<Column>>,
}

impl Builder<'_> {
    fn resolved(&mut self, filter: usize) -> Resolved {
        let taken = self.ends_where(|end| end.taken[filter]);
        let vectored = self.vectored;
        let conditions = &vectored.vectors.filters[filter].conditions;
        let mut parts = Asked::and(conditions.iter().map(|condition| self.condition(condition)));
        let mut came = taken;
        parts.retain(|part| match part {
            Asked::Came(ends) => {
                came &= ends;
                false
            }
            _ => true,
        });
        let asked = if parts.len() > 1 { Some(Asked::And(parts)) } else { parts.pop() };
        Resolved { came, asked }
    }

    /// The ends of which something holds.
    fn ends_where(&self, holds: impl Fn(&EndFilters) -> bool) -> u16 {
        let ends = self.ends.iter().enumerate().filter(|(_, end)| holds(end));
        ends.fold(0, |ends, (end, _)| ends | bit(end))
    }

    fn condition(&mut self, condition: &Condition) -> Asked {
        match condition {
            Condition::Within(field, ranges) => self.within_ranges(*field, ranges),
            Condition::Masked { field, mask, value } => {
                Asked::Leaf(self.masked(*field, *mask, *value))
            }
            Condition::And(a, b) => Asked::And(Asked::and([self.condition(a), self.condition(b)])),
            Condition::Or(a, b) => Asked::Or(Asked::or([self.condition(a), self.condition(b)])),
            Condition::Not(inner) => match self.condition(inner) {
                Asked::Came(ends) => Asked::Came(self.all & !ends),
                asked => Asked::Not(Box::new(asked)),
            },
        }
    }

    /// A field is in one of some ranges.
    fn within_ranges(&mut self, field: usize, ranges: &[Range]) -> Asked {
        let at = |end: &EndFilters| end.fields[field];
        if self.vectored.vectors.fields[field].bytes == 0 {
            let is_in =
                |value| ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
            return Asked::Came(self.ends_where(
                |end| matches!(at(end), Some(FieldAt::Constant(value)) if is_in(value)),
            ));
        }
        let mut found: Vec<Asked> = ranges.iter().map(|range| self.within(field, *range)).collect();
        let found = match found.len() {
            0 => Asked::Came(0),
            1 => found.remove(0),
            _ => Asked::Or(found),
        };
        let others = self.ends_where(|end| matches!(at(end), Some(FieldAt::OtherFamily)));
        if others == 0 {
            return found;
        }
        Asked::And(Asked::and([Asked::Came(self.all & !others), found]))
    }

    /// A field is in a range.
    fn within(&mut self, field: usize, range: Range) -> Asked {
        let (first, last) = range;
        let Field { bytes, max, .. } = self.vectored.vectors.fields[field];
        if first == 0 && last >= max {
            return Asked::Came(self.all);
        }
        if bytes == 4 || is_block(&range) {
            return Asked::Leaf(self.masked(field, !(last - first), first));
        }
        let column = self.ordered(field);
        Asked::Leaf(Leaf::Within(column, first as u16, (last.min(max) - first) as u16))
    }

    /// A field has the bits of a value where a mask has bits.
    fn masked(&mut self, field: usize, mask: u64, value: u64) -> Leaf {
        let Field { bytes, max, is_big_endian, .. } = self.vectored.vectors.fields[field];
        let column = Column(self.vectored.arrays[field]);
        if bytes == 4 {
            let as_it_lies = |number: u64| {
                let number = number as u32;
                if is_big_endian { number.swap_bytes() } else { number }
            };
            return Leaf::LongMasked(column, as_it_lies(mask), as_it_lies(value));
        }
        let as_it_lies = |number: u64| {
            let number = number as u16;
            if is_big_endian { number.swap_bytes() } else { number }
        };
        let bits = u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        if mask & bits == bits {
            Leaf::Equal(column, as_it_lies(value))
        } else {
            Leaf::Masked(column, as_it_lies(mask), as_it_lies(value))
        }
    }

    /// The numbers of a field, in order.
    fn ordered(&mut self, field: usize) -> Column {
        let column = Column(self.vectored.arrays[field]);
        if !self.vectored.vectors.fields[field].is_big_endian {
            return column;
        }
        if let Some(turned) = self.turned.get(&field) {
            return *turned;
        }
        let turned = self.column();
        self.ops.push(Op::Turn { from: column, to: turned });
        self.turned.insert(field, turned);
        turned
    }

    fn column(&mut self) -> Column {
        Column(self.layout.take_lines(COLUMN_WORDS))
    }

    /// Which packets came to one of some ends.
    fn path(&mut self, ends: u16) -> Column {
        if let Some(known) = self.paths.get(&ends) {
            return *known;
        }
        let column = self.column();
        self.ops.push(Op::Put(column, Leaf::Any(Column(self.vectored.ends), ends)));
        self.paths.insert(ends, column);
        column
    }

    fn summed(&mut self, field: usize) -> Summed {
        if let Some(known) = self.summed.get(&field) {
            return *known;
        }
        let summed = Summed {
            number: self.summed.len() as u32,
            whole: self.ordered(field),
            low: self.column(),
            high: self.column(),
        };
        self.ops.push(Op::Part(summed));
        self.summed.insert(field, summed);
        summed
    }

    /// Finds the conditions, of more than one column, that several filters ask.
    fn find_repeated(&mut self, filters: &[Resolved]) {
        let mut times: HashMap<&Asked, usize> = HashMap::new();
        for asked in filters.iter().filter(|filter| filter.came != 0).flat_map(|f| &f.asked) {
            if !matches!(asked, Asked::Leaf(_)) {
                *times.entry(asked).or_default() += 1;
            }
        }
        let repeated = times.into_iter().filter(|(_, times)| *times > 1);
        self.repeated = repeated.map(|(asked, _)| (asked.clone(), None)).collect();
    }

    /// Counts for a filter, and sums.
    fn take(&mut self, filter: usize, Resolved { came, asked }: Resolved) {
        if came == 0 {
            return;
        }
        let path = self.path(came);
        let leaf = asked.map_or(Leaf::Passed(path), |asked| self.leaf(asked, 0));
        let arg = self.vectored.vectors.filters[filter].arg;
        let sum = arg.map(|field| self.summed(field));
        self.ops.push(Op::Take { path, leaf, sum, total: self.vectored.totals[filter] });
    }

    /// A condition as one of a single column, which is made if there is none.
    fn leaf(&mut self, asked: Asked, depth: usize) -> Leaf {
        match asked {
            Asked::Leaf(leaf) => leaf,
            Asked::Came(ends) => Leaf::Passed(self.path(ends)),
            asked => match self.repeated.get(&asked).copied() {
                Some(Some(known)) => Leaf::Passed(known),
                Some(None) => {
                    let column = self.column();
                    self.put(column, asked.clone(), depth);
                    self.repeated.insert(asked, Some(column));
                    Leaf::Passed(column)
                }
                None => {
                    if depth == self.spare.len() {
                        let column = self.column();
                        self.spare.push(column);
                    }
                    let column = self.spare[depth];
                    self.put(column, asked, depth + 1);
                    Leaf::Passed(column)
                }
            },
        }
    }

    /// Puts into a column which packets pass; columns of a depth and more may change.
    fn put(&mut self, column: Column, asked: Asked, depth: usize) {
        let (parts, join): (_, fn(Column, Leaf) -> Op) = match asked {
            Asked::And(parts) => (parts, Op::And),
            Asked::Or(parts) => (parts, Op::Or),
            Asked::Not(inner) => {
                let leaf = self.leaf(*inner, depth);
                self.ops.extend([Op::Put(column, leaf), Op::Not(column)]);
                return;
            }
            single => (vec![single], Op::Or),
        };
        let mut op: fn(Column, Leaf) -> Op = Op::Put;
        for part in parts {
            let leaf = self.leaf(part, depth);
            self.ops.push(op(column, leaf));
            op = join;
        }
    }
}
