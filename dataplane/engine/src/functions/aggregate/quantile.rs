//! `quantile(x, q)`: the value that a share `q` of the operands does not exceed.
//!
//! Exact (nearest rank) while there are at most [`EXACT_VALUES_MAX`] different operands. Beyond that a DDSketch (Masson,
//! Rim and Lee, VLDB 2019): the answer is within [`RELATIVE_ERROR`] of the operand of that rank. Only counters of fixed
//! buckets are kept, so the answer depends on the multiset of operands alone, neither on their order nor on how they were
//! split among merged states. Magnitudes smaller than the greatest by more than a factor of e^46 share a bucket; integers never do.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};

use wt_catalog::{Type, Value};

use super::super::basic;
use super::Aggregator;

/// Relative error of the value.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Different values up to which the answer is exact.
pub const EXACT_VALUES_MAX: usize = 256;
/// Most buckets of each sign. All 64-bit integers need ln(2^64)/ln(GAMMA) + 1 = 2220 of them.
pub const BUCKETS_MAX: usize = 2304;

const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

const _: () = assert!(BUCKETS_MAX > 2220);

/// The sketch for one share.
#[derive(Clone, Debug)]
pub struct Quantile {
    share: f64,
    ty: Type,
    count: u64,
    least: f64,
    greatest: f64,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// How often each value came; keys order as the doubles do.
    Exact(BTreeMap<u64, u64>),
    Sketch(Box<Buckets>),
}

/// Counts by magnitude, each sign for itself.
#[derive(Clone, Debug, Default)]
struct Buckets {
    negative: Magnitudes,
    zero: u64,
    positive: Magnitudes,
}

/// A row of adjacent buckets; bucket `i` holds GAMMA^(i-1) < |x| <= GAMMA^i.
#[derive(Clone, Debug, Default)]
struct Magnitudes {
    /// Index of the first bucket.
    low: i64,
    counts: VecDeque<u64>,
    infinite: u64,
}

impl Quantile {
    /// `consts` is the share, cut to 0 … 1 (one half when it is missing or NaN).
    pub fn new(consts: &[Value], ty: Type) -> Self {
        let share = consts.first().and_then(Value::as_f64).filter(|q| !q.is_nan()).unwrap_or(0.5);
        Quantile {
            share: share.clamp(0.0, 1.0),
            ty,
            count: 0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            state: State::Exact(BTreeMap::new()),
        }
    }

    fn add(&mut self, x: f64, times: u64) {
        self.count += times;
        self.least = self.least.min(x);
        self.greatest = self.greatest.max(x);
        match &mut self.state {
            State::Exact(values) => {
                *values.entry(to_key(x)).or_default() += times;
                if values.len() > EXACT_VALUES_MAX {
                    let mut buckets = Box::new(Buckets::default());
                    for (&key, &times) in &*values {
                        buckets.add(from_key(key), times);
                    }
                    self.state = State::Sketch(buckets);
                }
            }
            State::Sketch(buckets) => buckets.add(x, times),
        }
    }

    fn estimate(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // Nearest rank, from 1. The small term keeps 0.07 * 100 = 7.000000000000001 at rank 7.
        let rank = (self.share * self.count as f64 - 1e-9).ceil().max(1.0) as u64;
        let value = match &self.state {
            State::Exact(values) => at_rank(values.iter().map(|(&k, &n)| (from_key(k), n)), rank),
            State::Sketch(_) if rank == 1 => Some(self.least),
            State::Sketch(_) if rank >= self.count => Some(self.greatest),
            State::Sketch(buckets) => at_rank(buckets.ascending(), rank),
        };
        value.map(|x| x.clamp(self.least, self.greatest))
    }
}

fn at_rank(ascending: impl Iterator<Item = (f64, u64)>, rank: u64) -> Option<f64> {
    let mut below = 0u64;
    let mut last = None;
    for (value, count) in ascending {
        below += count;
        last = Some(value);
        if below >= rank {
            break;
        }
    }
    last
}

/// A key that orders as the double does; both zeros are one.
fn to_key(x: f64) -> u64 {
    let bits = if x == 0.0 { 0 } else { x.to_bits() };
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn from_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

impl Buckets {
    fn add(&mut self, x: f64, times: u64) {
        if x == 0.0 {
            self.zero += times;
        } else if x > 0.0 {
            self.positive.add(x, times);
        } else {
            self.negative.add(-x, times);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        self.negative.merge(&other.negative);
        self.positive.merge(&other.positive);
    }

    fn ascending(&self) -> impl Iterator<Item = (f64, u64)> {
        let negative = self.negative.ascending().rev().map(|(x, n)| (-x, n));
        negative.chain([(0.0, self.zero)]).chain(self.positive.ascending())
    }
}

impl Magnitudes {
    fn add(&mut self, magnitude: f64, times: u64) {
        if magnitude.is_infinite() {
            self.infinite += times;
        } else {
            self.add_to((magnitude.ln() / GAMMA.ln()).ceil() as i64, times);
        }
    }

    /// Counts for a bucket. The row reaches [`BUCKETS_MAX`] down from the greatest bucket that was ever used; what lies
    /// below is counted in its lowest, whether it came before or after.
    fn add_to(&mut self, bucket: i64, times: u64) {
        if self.counts.is_empty() {
            self.low = bucket;
        }
        let high = bucket.max(self.low + self.counts.len() as i64 - 1);
        let floor = high - (BUCKETS_MAX as i64 - 1);
        let mut below = 0;
        while self.low < floor
            && let Some(count) = self.counts.pop_front()
        {
            below += count;
            self.low += 1;
        }
        if self.counts.is_empty() {
            self.low = if below > 0 { floor } else { bucket.max(floor) };
        }
        let bucket = bucket.max(floor);
        let wanted = (high - self.low.min(bucket) + 1) as usize;
        if wanted > self.counts.capacity() {
            let room = wanted.next_power_of_two().min(BUCKETS_MAX);
            self.counts.reserve_exact(room - self.counts.len());
        }
        while self.low > bucket {
            self.counts.push_front(0);
            self.low -= 1;
        }
        while self.low + self.counts.len() as i64 <= high {
            self.counts.push_back(0);
        }
        if let Some(lowest) = self.counts.front_mut() {
            *lowest += below;
        }
        if let Some(count) = self.counts.get_mut((bucket - self.low) as usize) {
            *count += times;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.infinite += other.infinite;
        for (bucket, &count) in (other.low..).zip(&other.counts) {
            if count > 0 {
                self.add_to(bucket, count);
            }
        }
    }

    /// Each bucket's middle, the value whose relative distance to both of its ends is the same, with its count.
    fn ascending(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        let finite = (0..self.counts.len()).map(|i| {
            let bucket = self.low + i as i64;
            (2.0 * GAMMA.powf(bucket as f64) / (GAMMA + 1.0), self.counts[i])
        });
        finite.chain([(f64::INFINITY, self.infinite)])
    }
}

impl Aggregator for Quantile {
    fn update(&mut self, args: &[Value]) {
        if let Some(x) = args.first().and_then(Value::as_f64).filter(|x| !x.is_nan()) {
            self.add(x, 1);
        }
    }

    fn merge(&mut self, other: &dyn Aggregator) {
        let Some(other) = other.as_any().downcast_ref::<Self>() else { return };
        if let State::Exact(values) = &other.state {
            for (&key, &times) in values {
                self.add(from_key(key), times);
            }
            return;
        }
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        let mut merged = Box::new(Buckets::default());
        for state in [&self.state, &other.state] {
            match state {
                State::Exact(values) => {
                    for (&key, &times) in values {
                        merged.add(from_key(key), times);
                    }
                }
                State::Sketch(buckets) => merged.merge(buckets),
            }
        }
        self.state = State::Sketch(merged);
    }

    fn output(&self) -> Option<Value> {
        let estimate = self.estimate();
        Some(match (estimate, self.ty) {
            (None, ty) => Value::default_of(ty),
            (Some(x), Type::Float) => Value::Float(x),
            (Some(x), ty) => basic::wrap(ty, x.round() as i128),
        })
    }

    fn memory_bytes(&self) -> usize {
        let held = match &self.state {
            State::Exact(values) => values.len() * TREE_ENTRY_BYTES,
            State::Sketch(buckets) => {
                let slots = buckets.negative.counts.capacity() + buckets.positive.counts.capacity();
                size_of::<Buckets>() + slots * size_of::<u64>()
            }
        };
        size_of::<Self>() + held
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An entry of a B-tree whose nodes are half full, the least they may be.
const TREE_ENTRY_BYTES: usize = 2 * 16 + 8;
