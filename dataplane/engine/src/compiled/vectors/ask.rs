//! Code that asks filters of packets in arrays.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I16X8, I32, I32X4};
use cranelift_codegen::ir::{ConstantData, InstBuilder, MemFlagsData, Type, Value as V};
use cranelift_jit::JITModule;
use wt_plan::lookup::Range;
use wt_plan::vectors::{Condition, Field, PACKETS, is_block};

use super::{BIAS, EndFilters, FieldAt, LANES, STATE_WORDS, VECTOR_BYTES, Vectored};
use crate::compiled::emit::{Emitter, Unsupported};

/// Flags of accesses to vectors in the frame, whose words are aligned to less.
const VECTOR: MemFlagsData = MemFlagsData::new().with_notrap();

impl Emitter<'_, '_> {
    /// Asks the filters of all packets in the arrays, and empties these. `ends` has what was taken at the end of each likely path.
    pub(in crate::compiled) fn ask_filters(
        mut self,
        vectored: &Vectored,
        ends: &[EndFilters],
        module: &JITModule,
    ) -> Result<(), Unsupported> {
        let end = self.load_frame(vectored.rows.cursor);
        let zero = self.word(0);
        self.store_frame(vectored.rows.cursor, zero);
        let behind = self.b.ins().iadd(self.frame, end);
        let none = self.splat(0);
        for i in 0..PACKETS / LANES {
            let at = 8 * vectored.ends + VECTOR_BYTES * i;
            self.b.ins().store(VECTOR, none, behind, at as i32);
        }
        let bytes = 2 * PACKETS;
        let up = self.add_const(end, bytes as u64 - 1);
        let shift = self.word(u64::from(bytes.ilog2()));
        let count = self.b.ins().ushr(up, shift);
        self.for_each((zero, bytes, count), module, |e, offset| {
            let halves = e.b.ins().iadd(e.frame, offset);
            let words = e.b.ins().iadd(halves, offset);
            let vector = |i| Asking {
                vectored,
                ends,
                halves,
                words,
                at: i * VECTOR_BYTES,
                known: HashMap::new(),
            };
            let mut vectors: Vec<Asking<'_>> = (0..PACKETS / LANES).map(vector).collect();
            // Those for the same packets and fields one behind the other: what they share is in registers then.
            let mut filters: Vec<usize> = (0..vectored.len()).collect();
            let came = |filter: usize| ends.iter().map(|end| end.taken[filter]).collect();
            let fields = |filter: usize| vectored.vectors.filters[filter].fields();
            filters.sort_by_cached_key(|filter| -> (Vec<bool>, Vec<usize>) {
                (came(*filter), fields(*filter))
            });
            for filter in filters {
                if ends.iter().any(|end| end.taken[filter]) {
                    e.ask_filter(&mut vectors, filter, vectored.states[filter])?;
                }
            }
            Ok(())
        })
    }

    fn ask_filter(
        &mut self,
        vectors: &mut [Asking<'_>],
        filter: usize,
        state: usize,
    ) -> Result<(), Unsupported> {
        let mut totals: [Option<V>; 2] = [None; 2];
        for asking in vectors {
            let holds = asking.filter(self, filter);
            let sum = asking.vectored.vectors.filters[filter].arg.map(|arg| {
                let arg = asking.biased(self, arg);
                self.dot(holds, arg)
            });
            for (total, by) in totals.iter_mut().zip([Some(holds), sum]) {
                *total = match (*total, by) {
                    (Some(a), Some(b)) => Some(self.b.ins().iadd(a, b)),
                    (a, b) => a.or(b),
                };
            }
        }
        for (i, by) in totals.into_iter().enumerate() {
            let Some(by) = by else { continue };
            let at = 8 * (state + i * STATE_WORDS) as i32;
            let ty = if i == 0 { I16X8 } else { I32X4 };
            let old = self.b.ins().load(ty, VECTOR, self.frame, at);
            let new = self.b.ins().iadd(by, old);
            self.b.ins().store(VECTOR, new, self.frame, at);
        }
        Ok(())
    }

    /// Products of short signed numbers, added in pairs.
    fn dot(&mut self, a: V, b: V) -> V {
        let [low, high] = [
            [a, b].map(|v| self.b.ins().swiden_low(v)),
            [a, b].map(|v| self.b.ins().swiden_high(v)),
        ];
        let low = self.b.ins().imul(low[0], low[1]);
        let high = self.b.ins().imul(high[0], high[1]);
        self.b.ins().iadd_pairwise(low, high)
    }

    /// A vector of one short number.
    fn splat(&mut self, number: u64) -> V {
        self.vector(I16X8, &(number as u16).to_le_bytes())
    }

    /// A vector of the same bytes again and again.
    fn vector(&mut self, ty: Type, bytes: &[u8]) -> V {
        let bytes: Vec<u8> = bytes.iter().copied().cycle().take(VECTOR_BYTES).collect();
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes));
        self.b.ins().vconst(ty, constant)
    }
}

/// What is known of eight packets.
struct Asking<'v> {
    vectored: &'v Vectored,
    ends: &'v [EndFilters],
    /// What is added to the place of an array of short numbers.
    halves: V,
    /// The same for an array of long ones.
    words: V,
    /// And in bytes of short numbers.
    at: usize,
    known: HashMap<Known, V>,
}

#[derive(PartialEq, Eq, Hash)]
enum Known {
    /// The elements of an array.
    Raw(usize),
    /// The same as numbers.
    Ordered(usize),
    /// The same, less [`BIAS`].
    Biased(usize),
    /// Which packets came to some ends.
    Ends(Vec<bool>),
    /// Which came to one, or to none.
    End(Option<usize>),
}

impl Asking<'_> {
    fn known(
        &mut self,
        e: &mut Emitter<'_, '_>,
        what: Known,
        make: impl FnOnce(&mut Self, &mut Emitter<'_, '_>) -> V,
    ) -> V {
        if let Some(known) = self.known.get(&what) {
            return *known;
        }
        let made = make(self, e);
        self.known.insert(what, made);
        made
    }

    /// Which packets a filter wants.
    fn filter(&mut self, e: &mut Emitter<'_, '_>, filter: usize) -> V {
        let came: Vec<bool> = self.ends.iter().map(|end| end.taken[filter]).collect();
        let mut holds = self.came(e, came);
        let vectored = self.vectored;
        for condition in &vectored.vectors.filters[filter].conditions {
            let next = self.condition(e, condition);
            holds = e.b.ins().band(holds, next);
        }
        holds
    }

    /// Which packets came to the end of one of some paths.
    fn came(&mut self, e: &mut Emitter<'_, '_>, to: Vec<bool>) -> V {
        self.known(e, Known::Ends(to.clone()), |asking, e| {
            if to.iter().zip(asking.ends).all(|(to, end)| *to || end.is_empty()) {
                let none = asking.came_to(e, None);
                return e.b.ins().bnot(none);
            }
            let ends = (0..to.len()).filter(|end| to[*end]);
            let came: Vec<V> = ends.map(|end| asking.came_to(e, Some(end))).collect();
            came.into_iter().reduce(|a, b| e.b.ins().bor(a, b)).unwrap_or_else(|| e.splat(0))
        })
    }

    /// Which packets came to the end of a path, or which are none.
    fn came_to(&mut self, e: &mut Emitter<'_, '_>, end: Option<usize>) -> V {
        self.known(e, Known::End(end), |asking, e| {
            let ends = asking.halves(e, asking.vectored.ends);
            let number = e.splat(end.map_or(0, |end| end as u64 + 1));
            e.icmp(IntCC::Equal, ends, number)
        })
    }

    fn halves(&self, e: &mut Emitter<'_, '_>, array: usize) -> V {
        e.b.ins().load(I16X8, VECTOR, self.halves, (8 * array + self.at) as i32)
    }

    /// The elements of an array of short numbers.
    fn raw(&mut self, e: &mut Emitter<'_, '_>, field: usize) -> V {
        let array = self.vectored.arrays[field];
        self.known(e, Known::Raw(field), |asking, e| asking.halves(e, array))
    }

    /// The same as numbers.
    fn ordered(&mut self, e: &mut Emitter<'_, '_>, field: usize) -> V {
        let raw = self.raw(e, field);
        if !self.vectored.vectors.fields[field].is_big_endian {
            return raw;
        }
        self.known(e, Known::Ordered(field), |_, e| {
            let by = e.b.ins().iconst(I32, 8);
            let (up, down) = (e.b.ins().ishl(raw, by), e.b.ins().ushr(raw, by));
            e.b.ins().bor(up, down)
        })
    }

    /// The same, less [`BIAS`].
    fn biased(&mut self, e: &mut Emitter<'_, '_>, field: usize) -> V {
        let number = self.ordered(e, field);
        self.known(e, Known::Biased(field), |_, e| {
            let bias = e.splat(BIAS);
            e.b.ins().bxor(number, bias)
        })
    }

    fn condition(&mut self, e: &mut Emitter<'_, '_>, condition: &Condition) -> V {
        match condition {
            Condition::Within(field, ranges) => self.within_ranges(e, *field, ranges),
            Condition::Masked { field, mask, value } => self.masked(e, *field, *mask, *value),
            Condition::And(a, b) => {
                let (a, b) = (self.condition(e, a), self.condition(e, b));
                e.b.ins().band(a, b)
            }
            Condition::Or(a, b) => {
                let (a, b) = (self.condition(e, a), self.condition(e, b));
                e.b.ins().bor(a, b)
            }
            Condition::Not(a) => {
                let a = self.condition(e, a);
                e.b.ins().bnot(a)
            }
        }
    }

    /// Which packets have a field in one of some ranges.
    fn within_ranges(&mut self, e: &mut Emitter<'_, '_>, field: usize, ranges: &[Range]) -> V {
        let at_ends = |is_it: &dyn Fn(FieldAt) -> bool| -> Vec<bool> {
            self.ends.iter().map(|end| end.fields[field].is_some_and(is_it)).collect()
        };
        if self.vectored.vectors.fields[field].bytes == 0 {
            let is_in =
                |value| ranges.iter().any(|(first, last)| (*first..=*last).contains(&value));
            let to = at_ends(&|at| matches!(at, FieldAt::Constant(value) if is_in(value)));
            return self.came(e, to);
        }
        let is_other = at_ends(&|at| matches!(at, FieldAt::OtherFamily));
        let found: Vec<V> = ranges.iter().map(|range| self.within(e, field, *range)).collect();
        let found = found.into_iter().reduce(|a, b| e.b.ins().bor(a, b));
        let found = found.unwrap_or_else(|| e.splat(0));
        if !is_other.contains(&true) {
            return found;
        }
        let other = self.came(e, is_other);
        e.b.ins().band_not(found, other)
    }

    /// Which packets have a field in a range.
    fn within(&mut self, e: &mut Emitter<'_, '_>, field: usize, range: Range) -> V {
        let (first, last) = range;
        let Field { bytes, max, .. } = self.vectored.vectors.fields[field];
        if first == 0 && last >= max {
            return e.splat(0xffff);
        }
        if bytes == 4 || is_block(&range) {
            return self.masked(e, field, !(last - first), first);
        }
        let number = self.ordered(e, field);
        if last >= max {
            let first = e.splat(first);
            return e.icmp(IntCC::UnsignedGreaterThanOrEqual, number, first);
        }
        let (from, len) = (e.splat(first), e.splat(last - first));
        let number = if first == 0 { number } else { e.b.ins().isub(number, from) };
        e.icmp(IntCC::UnsignedLessThanOrEqual, number, len)
    }

    /// Which packets have a field whose bits are as wanted where a mask has bits.
    fn masked(&mut self, e: &mut Emitter<'_, '_>, field: usize, mask: u64, value: u64) -> V {
        let Field { bytes, max, is_big_endian, .. } = self.vectored.vectors.fields[field];
        let bits = u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        let is_whole = mask & bits == bits;
        if bytes == 2 {
            let turned = |number: u64| {
                let number = number as u16;
                u64::from(if is_big_endian { number.swap_bytes() } else { number })
            };
            let number = self.raw(e, field);
            let number = if is_whole {
                number
            } else {
                let mask = e.splat(turned(mask));
                e.b.ins().band(number, mask)
            };
            let value = e.splat(turned(value));
            return e.icmp(IntCC::Equal, number, value);
        }
        let long = |number: u64| {
            let number = number as u32;
            if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let array = self.vectored.arrays[field];
        let half = |e: &mut Emitter<'_, '_>, i: usize| {
            let at = 8 * array + 2 * self.at + i * VECTOR_BYTES;
            let number = e.b.ins().load(I32X4, VECTOR, self.words, at as i32);
            let number = if is_whole {
                number
            } else {
                let mask = e.vector(I32X4, &long(mask));
                e.b.ins().band(number, mask)
            };
            let value = e.vector(I32X4, &long(value));
            e.icmp(IntCC::Equal, number, value)
        };
        let (low, high) = (half(e, 0), half(e, 1));
        e.b.ins().snarrow(low, high)
    }
}
