//! The direct-mapped group table: fixed size, one group per slot; a group that meets another in its slot is ejected
//! downstream as a partial group, so memory is fixed and nothing is lost (Gigascope §3).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher, RandomState};

use wt_catalog::Value;
use wt_plan::ir::LftaAgg;

use crate::functions::basic;
use crate::tuple::{Tuple, values_bytes};

/// No group in the slot.
const EMPTY: u32 = u32::MAX;

/// Most heap memory of one table's strings, bytes: packets choose their lengths, so a group that would exceed it is ejected
/// at once.
pub(super) const HEAP_BYTES_MAX: u64 = 16 << 20;

/// How keys are hashed.
pub(super) enum KeyHasher {
    /// With a key of this process, so that nobody can choose colliding groups. Which partial groups are ejected differs
    /// from run to run; what they add up to does not.
    Random(RandomState),
    /// Always the same, for partial groups that a user sees or whose sums depend on their order (floats).
    Fixed(BuildHasherDefault<DefaultHasher>),
}

impl KeyHasher {
    pub(super) fn new(fixed: bool) -> Self {
        if fixed {
            Self::Fixed(BuildHasherDefault::new())
        } else {
            Self::Random(RandomState::new())
        }
    }

    fn hash(&self, keys: &[Value]) -> u64 {
        fn run(mut hasher: impl Hasher, keys: &[Value]) -> u64 {
            keys.iter().for_each(|key| key.hash(&mut hasher));
            hasher.finish()
        }
        match self {
            Self::Random(state) => run(state.build_hasher(), keys),
            Self::Fixed(state) => run(state.build_hasher(), keys),
        }
    }
}

/// A partial group.
pub(super) struct Group {
    slot: u32,
    hash: u64,
    /// Ordinal of its first packet.
    pub(super) ordinal: u64,
    /// Group key.
    pub(super) keys: Box<[Value]>,
    states: Box<[Value]>,
    /// Heap memory of its strings, bytes.
    heap_bytes: u64,
}

impl Group {
    /// Heap memory of its strings as they are now, bytes.
    fn measure(&self) -> u64 {
        let cells = (self.keys.len() + self.states.len()) * size_of::<Value>();
        values_bytes(&self.keys) + values_bytes(&self.states) - cells as u64
    }

    fn update(&mut self, aggs: &[LftaAgg], args: &[Option<Value>]) {
        for ((agg, state), arg) in aggs.iter().zip(&mut self.states).zip(args) {
            basic::update(agg.kind, state, agg.ty, arg.as_ref());
        }
    }

    /// Keys, then one column per aggregate.
    pub(super) fn into_tuple(self) -> Tuple {
        let values = self.keys.into_iter().chain(self.states).collect();
        Tuple { ordinal: self.ordinal, values }
    }
}

/// What became of an update.
pub(super) struct Updated {
    /// The group was there already.
    pub(super) merged: bool,
    /// A group that had to go: the one whose slot a new group took, or one whose strings are too much.
    pub(super) ejected: [Option<Group>; 2],
}

/// The table.
pub(super) struct GroupTable {
    /// Index into `groups`; their number is a power of two.
    slots: Vec<u32>,
    groups: Vec<Group>,
    hasher: KeyHasher,
    aggs: Vec<LftaAgg>,
    /// Some key or state is a string.
    holds_bytes: bool,
    heap_bytes: u64,
    /// The group updated last, as long as it stands where it did: packets come in trains.
    last: Option<usize>,
}

impl GroupTable {
    /// A table of `slots` slots, a power of two of at most 2^31. `holds_bytes` tells that keys or states may be strings.
    pub(super) fn new(
        slots: u32,
        aggs: Vec<LftaAgg>,
        holds_bytes: bool,
        hasher: KeyHasher,
    ) -> Self {
        debug_assert!(slots.is_power_of_two());
        let slots = vec![EMPTY; slots as usize];
        Self { slots, groups: Vec::new(), hasher, aggs, holds_bytes, heap_bytes: 0, last: None }
    }

    /// Most memory of a table, bytes.
    pub(super) fn bytes_max(slots: u32, keys: usize, aggs: usize, holds_bytes: bool) -> u64 {
        let group = size_of::<Group>() + (keys + aggs) * size_of::<Value>();
        let heap = if holds_bytes { HEAP_BYTES_MAX } else { 0 };
        u64::from(slots) * (size_of::<u32>() + group) as u64 + heap
    }

    /// Takes a tuple into its group. `args` has one operand per aggregate, none for COUNT.
    pub(super) fn update(
        &mut self,
        keys: &[Value],
        args: &[Option<Value>],
        ordinal: u64,
    ) -> Updated {
        let hash = self.hasher.hash(keys);
        let slot = hash as usize & (self.slots.len() - 1);
        self.last = None;
        let mut index = self.slots[slot] as usize;
        let mut collided = None;
        let merged = match self.groups.get_mut(index) {
            Some(group) if group.hash == hash && *group.keys == *keys => {
                group.update(&self.aggs, args);
                true
            }
            Some(_) => {
                let group = self.group(slot, hash, keys, args, ordinal);
                let old = std::mem::replace(&mut self.groups[index], group);
                self.heap_bytes -= old.heap_bytes;
                collided = Some(old);
                false
            }
            None => {
                index = self.groups.len();
                self.slots[slot] = index as u32;
                let group = self.group(slot, hash, keys, args, ordinal);
                self.groups.push(group);
                false
            }
        };
        let too_large = if self.holds_bytes { self.weigh(index) } else { None };
        // Strings have to be weighed each time.
        self.last = (!self.holds_bytes).then_some(index);
        Updated { merged, ejected: [collided, too_large] }
    }

    /// The group updated last, when it is still there; it is forgotten then.
    #[inline]
    pub(super) fn take_last(&mut self) -> Option<usize> {
        self.last.take()
    }

    /// Takes a tuple into the group that [`Self::take_last`] has given, nothing having changed since.
    #[inline]
    pub(super) fn update_last(&mut self, last: usize, args: &[Option<Value>]) {
        self.groups[last].update(&self.aggs, args);
        self.last = Some(last);
    }

    /// Accounts for the strings of a group that has changed; takes it out when they are too much.
    fn weigh(&mut self, index: usize) -> Option<Group> {
        let group = &mut self.groups[index];
        let heap_bytes = group.measure();
        self.heap_bytes = self.heap_bytes - group.heap_bytes + heap_bytes;
        group.heap_bytes = heap_bytes;
        if self.heap_bytes <= HEAP_BYTES_MAX {
            return None;
        }
        let group = self.groups.swap_remove(index);
        self.slots[group.slot as usize] = EMPTY;
        if let Some(moved) = self.groups.get(index) {
            self.slots[moved.slot as usize] = index as u32;
        }
        self.heap_bytes -= group.heap_bytes;
        Some(group)
    }

    fn group(
        &self,
        slot: usize,
        hash: u64,
        keys: &[Value],
        args: &[Option<Value>],
        ordinal: u64,
    ) -> Group {
        let states = self
            .aggs
            .iter()
            .zip(args)
            .map(|(agg, arg)| basic::init(agg.kind, agg.ty, arg.as_ref()))
            .collect();
        Group { slot: slot as u32, hash, ordinal, keys: keys.into(), states, heap_bytes: 0 }
    }

    /// Removes the groups that `wanted` picks by their keys; in no order.
    pub(super) fn take(&mut self, mut wanted: impl FnMut(&[Value]) -> bool) -> Vec<Group> {
        self.last = None;
        let mut taken = Vec::new();
        let mut kept = Vec::with_capacity(self.groups.len());
        for group in self.groups.drain(..) {
            let slot = &mut self.slots[group.slot as usize];
            if wanted(&group.keys) {
                *slot = EMPTY;
                self.heap_bytes -= group.heap_bytes;
                taken.push(group);
            } else {
                *slot = kept.len() as u32;
                kept.push(group);
            }
        }
        self.groups = kept;
        taken
    }

    /// Groups held.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}
