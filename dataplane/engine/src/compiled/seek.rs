//! Layers as the walk finds them: each header put on the path may become one, begin the search for one, or end it.
//!
//! Most layers are found going down. One that lies *above* another is known before that other comes: it is the newest header of
//! its kind at that moment. What is looked for below such a header (the last extension header below the IP header above TCP)
//! is looked for below every newest header, and taken when the other comes.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{InstBuilder, Value as V};
use cranelift_frontend::Variable;
use wt_catalog::ProtocolId;
use wt_plan::ir::{LayerId, LayerSel};
use wt_plan::paths::Paths;

use super::emit::{Emitter, Truth, Unsupported};
use super::rare::TARGET_WORDS;

/// What is looked for from a header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// The header itself.
    Itself,
    /// The first of a kind below it.
    Below(ProtocolId),
    /// The last of a kind in the run below it.
    RunLast(ProtocolId),
    /// The n-th of a kind in the run below it.
    RunNth(ProtocolId, u32),
    /// How many of a kind the run below it has.
    Count(ProtocolId),
}

/// From which header on something is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The packet.
    Packet,
    /// A layer, found going down.
    Layer(usize),
    /// The newest header of the first kind above the newest one of the second, and so on, above a layer.
    Above(usize, Vec<ProtocolId>),
}

/// The state of a search, in variables: dead ones cost nothing.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// Address of the header found; of zeros before.
    pub(super) address: Variable,
    /// Its concrete protocol.
    pub(super) protocol: Variable,
    /// The search goes on.
    open: Variable,
    /// Headers of the kind so far.
    pub(super) count: Variable,
}

/// The values of a slot at one place of the code.
#[derive(Clone, Copy)]
struct State {
    address: V,
    protocol: V,
    open: V,
    count: V,
}

/// A search below, or for, the newest headers along a chain of kinds.
struct Tracker {
    chain: Vec<ProtocolId>,
    seek: Seek,
    slot: Slot,
}

/// A layer, or a count of headers.
struct Target {
    slot: Slot,
    how: How,
    /// It may become another header after it has been found.
    moves: bool,
}

enum How {
    Packet,
    First(ProtocolId),
    Nth(ProtocolId, u32),
    Last(ProtocolId),
    Seek(Anchor, Seek),
    /// Headers of a kind on the whole path.
    CountAll(ProtocolId),
}

/// Every search of a program.
pub(super) struct Seekers {
    targets: Vec<Target>,
    /// Longest chains first.
    trackers: Vec<Tracker>,
    /// By kind that is numbered: headers of it so far.
    numbered: Vec<(ProtocolId, Variable)>,
}

impl Slot {
    fn new(e: &mut Emitter<'_, '_>) -> Self {
        Self {
            address: e.b.declare_var(I64),
            protocol: e.b.declare_var(I64),
            open: e.b.declare_var(I8),
            count: e.b.declare_var(I64),
        }
    }

    fn begin(&self, e: &mut Emitter<'_, '_>, address: V, open: bool) {
        let (open, zero, none) = (e.flag(open), e.word(0), e.word(u64::MAX));
        self.set(e, State { address, protocol: none, open, count: zero });
    }

    fn state(&self, e: &mut Emitter<'_, '_>) -> State {
        State {
            address: e.b.use_var(self.address),
            protocol: e.b.use_var(self.protocol),
            open: e.b.use_var(self.open),
            count: e.b.use_var(self.count),
        }
    }

    fn set(&self, e: &mut Emitter<'_, '_>, state: State) {
        e.b.def_var(self.address, state.address);
        e.b.def_var(self.protocol, state.protocol);
        e.b.def_var(self.open, state.open);
        e.b.def_var(self.count, state.count);
    }
}

impl State {
    /// This where the condition holds, else the other.
    fn or(self, e: &mut Emitter<'_, '_>, cond: Truth, other: State) -> State {
        match cond {
            Truth::Always => self,
            Truth::Never => other,
            Truth::When(flag) => State {
                address: e.select(flag, self.address, other.address),
                protocol: e.select(flag, self.protocol, other.protocol),
                open: e.select(flag, self.open, other.open),
                count: e.select(flag, self.count, other.count),
            },
        }
    }

    /// A search that has nothing to begin from.
    fn closed(e: &mut Emitter<'_, '_>) -> State {
        State { open: e.flag(false), ..State::fresh(e) }
    }

    /// A search that begins.
    fn fresh(e: &mut Emitter<'_, '_>) -> State {
        State { address: e.zeros, protocol: e.word(u64::MAX), open: e.flag(true), count: e.word(0) }
    }
}

/// A header being put on the path.
#[derive(Clone, Copy)]
struct Pushed {
    id: ProtocolId,
    at: V,
}

impl Seekers {
    /// The searches for layers, then for counts.
    pub(super) fn new(
        e: &mut Emitter<'_, '_>,
        paths: &Paths<'_>,
        selectors: &[LayerSel],
        counts: &[(ProtocolId, Option<LayerId>)],
    ) -> Result<Self, Unsupported> {
        let mut targets: Vec<Target> = Vec::new();
        let mut numbered: Vec<ProtocolId> = Vec::new();
        for selector in selectors {
            let anchor = |layer: &LayerId| anchor(selectors, *layer);
            let how = match selector {
                LayerSel::Packet => How::Packet,
                LayerSel::This => return Err(Unsupported("the header under evaluation")),
                LayerSel::First(kind) => How::First(*kind),
                LayerSel::Nth(kind, n) => {
                    numbered.push(*kind);
                    How::Nth(*kind, *n)
                }
                LayerSel::Last(kind) => How::Last(*kind),
                LayerSel::Below(above, kind) => How::Seek(anchor(above)?, Seek::Below(*kind)),
                LayerSel::Above(below, kind) => {
                    How::Seek(above(selectors, *below, *kind)?, Seek::Itself)
                }
                LayerSel::RunLast(above, kind) => How::Seek(anchor(above)?, Seek::RunLast(*kind)),
                LayerSel::RunNth(above, kind, n) => {
                    How::Seek(anchor(above)?, Seek::RunNth(*kind, *n))
                }
            };
            let moves = match &how {
                How::Last(_) | How::Seek(_, Seek::RunLast(_)) => true,
                How::Seek(Anchor::Layer(layer) | Anchor::Above(layer, _), _) => {
                    targets[*layer].moves
                }
                _ => false,
            };
            targets.push(Target { slot: Slot::new(e), how, moves });
        }
        for (kind, below) in counts {
            let how = match below {
                None => How::CountAll(*kind),
                Some(above) => How::Seek(anchor(selectors, *above)?, Seek::Count(*kind)),
            };
            targets.push(Target { slot: Slot::new(e), how, moves: false });
        }
        let mut wanted: Vec<(Vec<ProtocolId>, Seek)> = Vec::new();
        for target in &targets {
            if let How::Seek(Anchor::Above(_, chain), seek) = &target.how {
                wanted.extend((1..=chain.len()).map(|len| (chain[..len].to_vec(), *seek)));
            }
        }
        // Declarations look at headers above their own.
        for header in paths.reached.iter().filter_map(|id| paths.header(*id)) {
            for selector in &header.layers {
                if let LayerSel::Above(LayerId(0), kind) = selector {
                    wanted.push((vec![*kind], Seek::Itself));
                }
            }
        }
        let mut trackers: Vec<Tracker> = Vec::new();
        for (chain, seek) in wanted {
            if !trackers.iter().any(|t| t.chain == chain && t.seek == seek) {
                trackers.push(Tracker { chain, seek, slot: Slot::new(e) });
            }
        }
        trackers.sort_by_key(|tracker| std::cmp::Reverse(tracker.chain.len()));
        numbered.sort_unstable();
        numbered.dedup();
        let numbered = numbered.into_iter().map(|kind| (kind, e.b.declare_var(I64))).collect();
        Ok(Self { targets, trackers, numbered })
    }

    /// Nothing has been found in the packet at hand yet.
    pub(super) fn begin(&self, e: &mut Emitter<'_, '_>) {
        let zeros = e.zeros;
        for target in &self.targets {
            match &target.how {
                How::Packet => target.slot.begin(e, e.start, false),
                How::Seek(Anchor::Packet, _) => target.slot.begin(e, zeros, true),
                _ => target.slot.begin(e, zeros, false),
            }
        }
        for tracker in &self.trackers {
            tracker.slot.begin(e, zeros, false);
        }
        let zero = e.word(0);
        for (_, count) in &self.numbered {
            e.b.def_var(*count, zero);
        }
    }

    /// Layers and counts.
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Takes what the host has found from the frame.
    pub(super) fn take(&self, e: &mut Emitter<'_, '_>, at: usize) {
        for (index, target) in self.targets.iter().enumerate() {
            let at = at + index * TARGET_WORDS;
            let (address, protocol) = (e.load_frame(at), e.load_frame(at + 1));
            let count = e.load_frame(at + 2);
            let open = e.flag(false);
            target.slot.set(e, State { address, protocol, open, count });
        }
    }

    /// The slot of a layer.
    pub(super) fn layer(&self, index: usize) -> Slot {
        self.targets[index].slot
    }

    /// The variable of the newest header of a kind.
    pub(super) fn newest(&self, kind: ProtocolId) -> Option<Slot> {
        let is = |t: &&Tracker| t.chain == [kind] && t.seek == Seek::Itself;
        self.trackers.iter().find(is).map(|tracker| tracker.slot)
    }

    /// Puts a header on the path.
    pub(super) fn push(
        &self,
        e: &mut Emitter<'_, '_>,
        paths: &Paths<'_>,
        id: ProtocolId,
        at: V,
    ) -> Result<(), Unsupported> {
        let pushed = Pushed { id, at };
        // Searches below newest headers take the header in; that it is a newest one itself comes last.
        let mut tracked = Vec::with_capacity(self.trackers.len());
        for tracker in &self.trackers {
            let state = tracker.slot.state(e);
            tracked.push(advance(e, paths, tracker.seek, state, pushed).0);
        }
        let state_of = |chain: &[ProtocolId], seek: Seek| {
            let is = |t: &Tracker| t.chain == chain && t.seek == seek;
            self.trackers.iter().position(is).map(|index| tracked[index])
        };
        // By target: whether it is this header now; whether what it was looked for from has moved, so that it is gone.
        let mut hits: Vec<Truth> = Vec::with_capacity(self.targets.len());
        let mut gone: Vec<Truth> = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let before = target.slot.state(e);
            let mut lost = Truth::Never;
            let (state, hit) = match &target.how {
                How::Packet => (before, Truth::Never),
                How::First(kind) if paths.is(id, *kind) => {
                    let absent = Truth::When(e.icmp(IntCC::Equal, before.address, e.zeros));
                    (found(e, before, pushed, absent), absent)
                }
                How::Last(kind) if paths.is(id, *kind) => {
                    (found(e, before, pushed, Truth::Always), Truth::Always)
                }
                How::Nth(kind, n) if paths.is(id, *kind) => {
                    let numbered = self.numbered.iter().find(|(k, _)| k == kind);
                    let (_, count) = numbered.ok_or(Unsupported("a numbered header"))?;
                    let count = e.b.use_var(*count);
                    let is_nth = Truth::When(e.icmp_const(IntCC::Equal, count, u64::from(*n)));
                    (found(e, before, pushed, is_nth), is_nth)
                }
                How::CountAll(kind) if paths.is(id, *kind) => {
                    (State { count: e.add_const(before.count, 1), ..before }, Truth::Never)
                }
                How::Seek(Anchor::Packet, seek) => advance(e, paths, *seek, before, pushed),
                How::Seek(Anchor::Layer(layer), seek) => {
                    let (state, hit) = advance(e, paths, *seek, before, pushed);
                    let (fresh, closed) = (State::fresh(e), State::closed(e));
                    let state = closed.or(e, gone[*layer], state);
                    if self.targets[*layer].moves {
                        lost = either(e, hits[*layer], gone[*layer]);
                    }
                    (fresh.or(e, hits[*layer], state), unless(e, lost, hit))
                }
                How::Seek(Anchor::Above(layer, chain), seek) => {
                    let (state, hit) = advance(e, paths, *seek, before, pushed);
                    let newest = state_of(chain, *seek).ok_or(Unsupported("a newest header"))?;
                    let closed = State::closed(e);
                    let state = closed.or(e, gone[*layer], state);
                    (newest.or(e, hits[*layer], state), hit)
                }
                _ => (before, Truth::Never),
            };
            target.slot.set(e, state);
            hits.push(hit);
            gone.push(lost);
        }
        for (tracker, state) in self.trackers.iter().zip(&tracked) {
            let (last, before) = match tracker.chain.split_last() {
                Some(split) => split,
                None => continue,
            };
            let mut state = *state;
            if paths.is(id, *last) {
                state = if before.is_empty() {
                    match tracker.seek {
                        Seek::Itself => found(e, state, pushed, Truth::Always),
                        _ => State::fresh(e),
                    }
                } else {
                    state_of(before, tracker.seek).ok_or(Unsupported("a chain of headers"))?
                };
            }
            tracker.slot.set(e, state);
        }
        for (kind, count) in &self.numbered {
            if paths.is(id, *kind) {
                let old = e.b.use_var(*count);
                let new = e.add_const(old, 1);
                e.b.def_var(*count, new);
            }
        }
        Ok(())
    }
}

/// One of both holds.
fn either(e: &mut Emitter<'_, '_>, a: Truth, b: Truth) -> Truth {
    match (a, b) {
        (Truth::Always, _) | (_, Truth::Always) => Truth::Always,
        (Truth::Never, other) | (other, Truth::Never) => other,
        (Truth::When(a), Truth::When(b)) => Truth::When(e.b.ins().bor(a, b)),
    }
}

/// `holds`, but not where `not` does.
fn unless(e: &mut Emitter<'_, '_>, not: Truth, holds: Truth) -> Truth {
    let kept = match not {
        Truth::Always => Truth::Never,
        Truth::Never => Truth::Always,
        Truth::When(flag) => Truth::When(e.icmp_flag_false(flag)),
    };
    e.both(kept, holds)
}

/// The header as what was looked for, where the condition holds.
fn found(e: &mut Emitter<'_, '_>, state: State, pushed: Pushed, cond: Truth) -> State {
    let protocol = e.word(u64::from(pushed.id.0));
    State { address: pushed.at, protocol, ..state }.or(e, cond, state)
}

/// Takes a header into a search that it is below; whether it is what was looked for.
fn advance(
    e: &mut Emitter<'_, '_>,
    paths: &Paths<'_>,
    seek: Seek,
    state: State,
    pushed: Pushed,
) -> (State, Truth) {
    let open = Truth::When(state.open);
    let is = |kind| paths.is(pushed.id, kind);
    let ended = |e: &mut Emitter<'_, '_>| {
        let goes_on = paths.header(pushed.id).is_some_and(|h| h.continues);
        let open = if goes_on { state.open } else { e.flag(false) };
        (State { open, ..state }, Truth::Never)
    };
    match seek {
        Seek::Itself => (state, Truth::Never),
        Seek::Below(kind) if is(kind) => {
            let absent = Truth::When(e.icmp(IntCC::Equal, state.address, e.zeros));
            let hit = e.both(open, absent);
            (found(e, state, pushed, hit), hit)
        }
        Seek::Below(_) => (state, Truth::Never),
        Seek::RunLast(kind) if is(kind) => (found(e, state, pushed, open), open),
        Seek::RunNth(kind, n) if is(kind) => {
            let is_nth = Truth::When(e.icmp_const(IntCC::Equal, state.count, u64::from(n)));
            let hit = e.both(open, is_nth);
            let more = e.widen(state.open);
            let count = e.b.ins().iadd(state.count, more);
            (State { count, ..found(e, state, pushed, hit) }, hit)
        }
        Seek::Count(kind) if is(kind) => {
            let more = e.widen(state.open);
            (State { count: e.b.ins().iadd(state.count, more), ..state }, Truth::Never)
        }
        Seek::RunLast(_) | Seek::RunNth(..) | Seek::Count(_) => ended(e),
    }
}

/// Where a search below a layer begins.
fn anchor(selectors: &[LayerSel], layer: LayerId) -> Result<Anchor, Unsupported> {
    let index = layer.0 as usize;
    match selectors[index] {
        LayerSel::Packet => Ok(Anchor::Packet),
        LayerSel::Above(below, kind) => above(selectors, below, kind),
        LayerSel::This => Err(Unsupported("the header under evaluation")),
        _ => match has_anchor_above(selectors, index) {
            // Its hits come before the header above which its own anchor lies is known.
            true => Err(Unsupported("a header below one that is below one above")),
            false => Ok(Anchor::Layer(index)),
        },
    }
}

/// The newest header of a kind above a layer.
fn above(selectors: &[LayerSel], below: LayerId, kind: ProtocolId) -> Result<Anchor, Unsupported> {
    let mut chain = vec![kind];
    let mut layer = below.0 as usize;
    while let LayerSel::Above(next, kind) = selectors[layer] {
        chain.push(kind);
        layer = next.0 as usize;
    }
    match has_anchor_above(selectors, layer) || selectors[layer] == LayerSel::Packet {
        true => Err(Unsupported("a header above one that is below one above")),
        false => Ok(Anchor::Above(layer, chain)),
    }
}

/// Whether a layer is looked for below one that lies above another.
fn has_anchor_above(selectors: &[LayerSel], layer: usize) -> bool {
    match selectors[layer] {
        LayerSel::Below(above, _) | LayerSel::RunLast(above, _) | LayerSel::RunNth(above, ..) => {
            let above = above.0 as usize;
            matches!(selectors[above], LayerSel::Above(..)) || has_anchor_above(selectors, above)
        }
        LayerSel::Above(below, _) => has_anchor_above(selectors, below.0 as usize),
        _ => false,
    }
}
