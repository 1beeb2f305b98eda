//! The header walk: likely paths as straight code, in which it is known where layers are; all others in a loop ([`super::slow`]).

use wt_catalog::ProtocolId;
use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_plan::ir::{HeaderProgram, LayerSel, NodeId, Op};

use super::emit::{ABSENT, DATA, Emitter, FRAME, HEADER, NO_PROTOCOL, S, Unportable};
use super::ends::End;
use super::header::{BEHIND, Len, condition, least_length, length, suppose_common};
use super::likely::{Step, known_offsets, likely, reach};
use super::paths::Paths;
use super::scope::{Lacks, LayerAt, Pointer, PointerAt, Scope};
use super::spec::packet_counters;
use super::straight;
use crate::asm::{AluOp, Label, Reg, Size};

/// Words of a header on the frame's path: its kind mask, then offset and protocol.
pub(super) const PATH_ENTRY_WORDS: u32 = 2;
/// Words of the longest path.
pub(super) const PATH_WORDS: u32 = PATH_ENTRY_WORDS * PATH_HEADERS_MAX as u32;

/// Cells that the walk leaves for the queries, and those it needs itself.
pub(super) struct Cells {
    /// By layer: its offset.
    pub(super) offsets: Vec<i16>,
    /// By layer: its concrete protocol, when some node asks for it.
    pub(super) protocols: Vec<Option<i16>>,
    /// By count.
    pub(super) counts: Vec<i16>,
    /// The offset of the packet itself: 0.
    packet: i16,
    /// By depth of a likely path: where the header is.
    path: Vec<i16>,
    /// The header that comes next, and its offset.
    pub(super) next: i16,
    pub(super) at: i16,
    /// Headers so far.
    pub(super) headers: i16,
    /// By [`Paths::above`]: the newest header of the kind.
    pub(super) newest: Vec<i16>,
    /// By [`Paths::repeated`]: how many so far.
    pub(super) repeats: Vec<i16>,
}

/// Where a path can end.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) malformed: Label,
    done: Label,
}

/// Where a header begins.
#[derive(Clone, Copy)]
pub(super) enum At {
    /// So many bytes from the packet's first.
    Known(i32),
    /// Where [`HEADER`] points, at most so many bytes from the packet's first.
    Header(i32),
}

/// Where a header begins, and the stack slot of its address.
type Place = (At, Option<i16>);

/// What [`emit`] leaves to be emitted.
pub(super) struct Rest {
    /// The loop, when some path needs it.
    pub(super) slow: Option<Label>,
    /// At most as many as were asked for.
    pub(super) ends: Vec<End>,
}

/// Code for headers without code of their own on likely paths.
struct Aside {
    label: Label,
    /// The headers so far.
    path: Vec<ProtocolId>,
    /// Where the next header begins, and the stack slot of its address.
    next: Place,
    /// Where the first headers of the path begin, those that begin at the same place in every packet that comes here.
    known: Vec<i32>,
}

impl Cells {
    /// Takes cells for what the program reads.
    pub(super) fn new(e: &mut Emitter, paths: &Paths<'_>, ops: &[&Op]) -> Result<Self, Unportable> {
        let mut cells = |count: usize| -> Result<Vec<i16>, Unportable> {
            (0..count).map(|_| e.take_cell()).collect()
        };
        let offsets = cells(paths.selectors.len())?;
        let counts = cells(paths.counts.len())?;
        let newest = cells(paths.above.len())?;
        let repeats = cells(paths.repeated().len())?;
        let own = cells(4)?;
        let mut protocols = Vec::with_capacity(offsets.len());
        for layer in 0..offsets.len() as u32 {
            let asks = |op: &&Op| matches!(op, Op::ByProtocol { layer: l, .. } if l.0 == layer);
            let asked = ops.iter().any(asks);
            protocols.push(if asked { Some(e.take_cell()?) } else { None });
        }
        Ok(Self {
            offsets,
            protocols,
            counts,
            path: Vec::new(),
            next: own[0],
            at: own[1],
            headers: own[2],
            packet: own[3],
            newest,
            repeats,
        })
    }

    /// The layers as queries see them.
    pub(super) fn layers(&self, paths: &Paths<'_>) -> Vec<LayerAt> {
        let of = |(index, selector): (usize, &LayerSel)| match selector.protocol() {
            None => {
                LayerAt::Found { offset: self.packet, protocol: None, captured: 0, present: true }
            }
            Some(kind) => LayerAt::Found {
                offset: self.offsets[index],
                protocol: self.protocols[index],
                captured: paths.captured_bytes(kind),
                present: false,
            },
        };
        paths.selectors.iter().enumerate().map(of).collect()
    }
}

/// The walk under construction.
pub(super) struct Walk<'w, 'p> {
    pub(super) paths: &'w Paths<'p>,
    pub(super) cells: &'w mut Cells,
    pub(super) ends: Ends,
    slow: Option<Label>,
    asides: Vec<Aside>,
    /// By depth: the stack slot with the address of the header there.
    pub(super) slots: Vec<Option<i16>>,
    /// Of the step at hand: [`Aside::known`].
    pub(super) known: Vec<i32>,
    /// Bytes from the packet's first that are there on all likely paths.
    pub(super) reach: i32,
}

/// A header to be emitted: that of a step, at a place.
#[derive(Clone, Copy)]
struct Spot<'s> {
    step: &'s Step,
    header: &'s HeaderProgram,
    at: At,
    this: Pointer,
}

/// The likely paths, and where each begins.
struct Likely<'s> {
    steps: &'s [Step],
    labels: &'s [Label],
}

/// Emits the walk; what follows it is emitted behind. The loop is emitted by [`super::slow::emit`], which goes on at the label given. Likely paths,
/// up to `own` of them, end at labels of their own.
pub(super) fn emit(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &mut Cells,
    done: Label,
    own: usize,
) -> Result<Rest, Unportable> {
    begin(e, paths, cells);
    let Some(start) = paths.start else {
        e.asm.jump(done);
        return Ok(Rest { slow: None, ends: Vec::new() });
    };
    let malformed = e.asm.seldom();
    let steps = likely(paths, start);
    let deepest = steps.iter().map(|step| step.path.len()).max().unwrap_or(0);
    for _ in 0..deepest {
        let cell = e.take_cell()?;
        cells.path.push(cell);
    }
    let ends = Ends { malformed, done };
    let slots = vec![None; deepest + 1];
    let (asides, known) = (Vec::new(), Vec::new());
    let reach = reach(paths, &steps);
    let mut walk = Walk { paths, cells, ends, slow: None, asides, slots, known, reach };
    let label = |step: &Step| match step.is_detour {
        true => e.asm.seldom(),
        false => e.asm.mostly(),
    };
    let labels: Vec<Label> = steps.iter().map(label).collect();
    let likely = Likely { steps: &steps, labels: &labels };
    let own = labels_of_ends(e, paths, &steps, own);
    // By step: where it begins, once its parent is emitted.
    let mut places: Vec<Option<Place>> = vec![None; steps.len()];
    let mut own_ends: Vec<End> = Vec::new();
    places[0] = Some((At::Known(0), None));
    let mut others = vec![None; steps.len()];
    if reach > 0 {
        walk.ask_reach(e, start);
        straight::emit(e, &mut walk, &steps, &own, &mut others)?;
    }
    for (index, step) in steps.iter().enumerate() {
        let Some(place) = places[index] else { continue };
        e.asm.place(labels[index]);
        others[index].into_iter().for_each(|other| e.asm.place(other));
        walk.known = known_offsets(index, &steps);
        walk.ends.done = own[index].unwrap_or(done);
        let (next, behind_longer) = walk.step(e, &likely, index, place)?;
        walk.ends.done = done;
        if let Some(label) = own[index] {
            let layers = walk.placed(&step.path);
            let path = step.path.iter().filter_map(|id| paths.header(*id));
            let path = path.map(|header| header.name.to_string()).collect();
            own_ends.push(End { path, label, layers });
        }
        step.next.iter().for_each(|(_, child)| places[*child] = Some(next));
        step.behind_longer.iter().flatten().for_each(|(_, child)| places[*child] = behind_longer);
    }
    let asides = std::mem::take(&mut walk.asides);
    for aside in &asides {
        walk.aside(e, aside);
    }
    let slow = walk.slow;
    e.asm.place(malformed);
    e.asm.comment("a header that is cut off or fails its checks ends the path");
    e.add_to_frame(FRAME, packet_counters::MALFORMED, 1, Reg::R0);
    e.asm.jump(done);
    Ok(Rest { slow, ends: own_ends })
}

/// By step: where queries have code of their own, for up to `own` of those that end at a header which is looked for.
fn labels_of_ends(
    e: &mut Emitter,
    paths: &Paths<'_>,
    steps: &[Step],
    own: usize,
) -> Vec<Option<Label>> {
    let mut left = own;
    let mut label = |step: &Step| {
        let is_wanted = paths.resolve(&step.path).contains(&Some(step.path.len() - 1));
        let has_own = step.next.is_empty() && is_wanted && left > 0;
        left -= usize::from(has_own);
        has_own.then(|| e.asm.mostly())
    };
    steps.iter().map(&mut label).collect()
}

/// Nothing has been found yet.
fn begin(e: &mut Emitter, paths: &Paths<'_>, cells: &Cells) {
    if paths.selectors.contains(&LayerSel::Packet) {
        e.store_cell(cells.packet, 0);
    }
    for cell in &cells.offsets {
        e.store_cell(*cell, ABSENT);
    }
    for cell in cells.protocols.iter().flatten() {
        e.store_cell(*cell, NO_PROTOCOL);
    }
    for cell in &cells.counts {
        e.store_cell(*cell, 0);
    }
    // Until the loop begins, this stands for headers that are not above another.
    e.store_cell(cells.at, ABSENT);
}

impl Walk<'_, '_> {
    /// Goes to the loop with a packet that ends before what likely paths ask for: the headers are looked at one by one there.
    fn ask_reach(&mut self, e: &mut Emitter, start: ProtocolId) {
        e.asm.comment("as long as any frame");
        let (short, long) = (e.asm.seldom(), e.asm.mostly());
        e.check_end(DATA, self.reach, S[0], short);
        e.asm.jump(long);
        e.asm.place(short);
        e.asm.mov(S[0], start.0 as i32);
        let label = e.asm.seldom();
        e.asm.jump(label);
        self.asides.push(Aside {
            label,
            path: Vec::new(),
            next: (At::Known(0), None),
            known: Vec::new(),
        });
        e.asm.place(long);
    }

    /// One header of a likely path. The result is where the next one begins; and where it does behind a header that is longer than the least, if that
    /// is asked for.
    fn step(
        &mut self,
        e: &mut Emitter,
        likely: &Likely<'_>,
        index: usize,
        (at, slot): Place,
    ) -> Result<(Place, Option<Place>), Unportable> {
        let step = &likely.steps[index];
        let header = self.paths.header(step.id).ok_or(Unportable("a header".into()))?;
        e.asm.comment(format!("{} header", header.name));
        let min = header.min as i32;
        let this = match (at, slot) {
            (At::Known(offset), _) => {
                if min > 0 && offset + min > self.reach {
                    e.check_end(DATA, offset + min, S[0], self.ends.malformed);
                }
                Pointer { at: PointerAt::Reg(DATA), disp: offset, bytes: header.min }
            }
            (At::Header(_), slot) => {
                let slot = slot.ok_or(Unportable("the place of a header".into()))?;
                e.asm.load(Size::Dw, HEADER, Reg::R10, slot);
                if min > 0 {
                    e.check_end(HEADER, min, S[0], self.ends.malformed);
                }
                Pointer { at: PointerAt::Reg(HEADER), disp: 0, bytes: header.min }
            }
        };
        let spot = Spot { step, header, at, this };
        let Some(behind_longer) = &step.behind_longer else {
            return Ok((self.header(e, likely, spot, &step.next, None)?, None));
        };
        let longer = e.asm.seldom();
        let next = self.header(e, likely, spot, &step.next, Some(longer))?;
        e.asm.place(longer);
        e.asm.comment(format!("{} header of another length", header.name));
        Ok((next, Some(self.header(e, likely, spot, behind_longer, None)?)))
    }

    /// A header, of the least length when there is a place to go to for another, and what follows it on likely paths. The result is where that begins.
    fn header(
        &mut self,
        e: &mut Emitter,
        likely: &Likely<'_>,
        Spot { step, header, at, this }: Spot<'_>,
        follow: &[(ProtocolId, usize)],
        longer: Option<Label>,
    ) -> Result<Place, Unportable> {
        let (parents, _) = step.path.split_at(step.path.len() - 1);
        let layers = self.header_layers(header, this, parents);
        let children = self.paths.children_in_order(header, |_| 0);
        let roots: Vec<NodeId> = [header.length]
            .into_iter()
            .chain(header.checks.iter().copied())
            .chain(children.iter().filter_map(|(_, when)| *when))
            .collect();
        let lacks = Lacks { absent: self.ends.malformed, failed: self.ends.malformed };
        let mut scope = Scope::new(&header.exprs, layers, Vec::new(), &roots, lacks);
        let mark = e.memory_mark();
        let most = match at {
            At::Known(most) | At::Header(most) => most,
        };
        let (len, behind) = match longer {
            Some(longer) => {
                least_length(e, &mut scope, header, longer)?;
                (Len::Known(header.min as i32), None)
            }
            None => {
                let len = length(e, &mut scope, header, this, self.ends.malformed)?;
                // The comparison with the packet's end has left the address of the next header.
                let behind = match len {
                    Len::Varies { .. } if !children.is_empty() => {
                        Some(self.next_header(e, len, most, step.path.len())?)
                    }
                    _ => None,
                };
                for check in &header.checks {
                    e.branch(&mut scope, *check, false, self.ends.malformed, 0)?;
                }
                (len, behind)
            }
        };
        self.push(e, &step.path, at);
        // Where the next header begins.
        let next = match (at, len) {
            (At::Known(offset), Len::Known(len)) => (At::Known(offset + len), None),
            _ if children.is_empty() => (at, None),
            (_, len) => {
                let slot = match behind {
                    Some(slot) => slot,
                    None => {
                        e.pointer_register(this, BEHIND);
                        e.asm.alu(AluOp::Add, BEHIND, this.disp + len.most());
                        self.next_header(e, len, most, step.path.len())?
                    }
                };
                let most = (most + len.most()).min(ABSENT);
                (At::Header(most), Some(slot))
            }
        };
        // Slots of the next header's address stay; the rest is given back.
        let known = follow.iter().map(|(id, step)| (*id, likely.labels[*step])).collect::<Vec<_>>();
        self.children(e, &step.path, (&mut scope, &children), next, &known)?;
        let (scratch, _) = mark;
        let (_, stack) = e.memory_mark();
        e.memory_reset((scratch, stack));
        Ok(next)
    }

    /// Keeps the address in [`BEHIND`], of the header behind one of length `len`, in a stack slot.
    fn next_header(
        &mut self,
        e: &mut Emitter,
        len: Len,
        most: i32,
        depth: usize,
    ) -> Result<i16, Unportable> {
        if most + len.most() > ABSENT {
            // The verifier adds up what lengths can be at most: from the packet's first byte it begins anew.
            e.asm.alu(AluOp::Sub, BEHIND, DATA);
            e.asm.alu(AluOp::And, BEHIND, ABSENT);
            e.asm.alu(AluOp::Add, BEHIND, DATA);
        }
        let slot = match self.slots[depth] {
            Some(slot) => slot,
            None => e.take_stack()?,
        };
        self.slots[depth] = Some(slot);
        e.asm.store(Size::Dw, Reg::R10, slot, BEHIND);
        Ok(slot)
    }

    /// The layers that the expressions of a header read.
    pub(super) fn header_layers(
        &self,
        header: &HeaderProgram,
        this: Pointer,
        parents: &[ProtocolId],
    ) -> Vec<LayerAt> {
        let of = |selector: &LayerSel| match selector.protocol() {
            None => LayerAt::This(this),
            Some(kind) => {
                let found = parents.iter().rposition(|id| self.paths.is(*id, kind));
                match found {
                    Some(depth) => LayerAt::Found {
                        offset: self.cells.path[depth],
                        protocol: None,
                        captured: self.paths.captured_bytes(kind),
                        present: true,
                    },
                    // A cell that always says so: the newest of a kind that is not on the path.
                    None => LayerAt::Found {
                        offset: self.absent_cell(),
                        protocol: None,
                        captured: 0,
                        present: false,
                    },
                }
            }
        };
        header.layers.iter().map(of).collect()
    }

    /// A cell that holds the offset of an absent header until the loop begins.
    fn absent_cell(&self) -> i16 {
        self.cells.at
    }

    /// Puts a header on the path: notes where it is, and the layers and counts that this changes.
    pub(super) fn push(&mut self, e: &mut Emitter, path: &[ProtocolId], at: At) {
        let depth = path.len() - 1;
        match at {
            At::Known(offset) => e.store_cell(self.cells.path[depth], offset),
            At::Header(_) => {
                e.asm.mov(S[0], HEADER);
                e.asm.alu(AluOp::Sub, S[0], DATA);
                e.store_cell(self.cells.path[depth], S[0]);
            }
        }
        let (before, after) = (self.paths.resolve(&path[..depth]), self.paths.resolve(path));
        for (layer, (old, new)) in before.iter().zip(&after).enumerate() {
            if old == new {
                continue;
            }
            let cell = self.cells.offsets[layer];
            match (new, at) {
                (None, _) => e.store_cell(cell, ABSENT),
                (Some(i), At::Known(offset)) if *i == depth => e.store_cell(cell, offset),
                (Some(i), _) => {
                    if *i != depth {
                        e.load_cell(S[1], self.cells.path[*i]);
                        e.store_cell(cell, S[1]);
                    } else {
                        e.store_cell(cell, S[0]);
                    }
                }
            }
            if let Some(cell) = self.cells.protocols[layer] {
                let protocol = new.map_or(NO_PROTOCOL, |i| path[i].0 as i32);
                e.store_cell(cell, protocol);
            }
        }
        let old = self.paths.count(&path[..depth], &before);
        let new = self.paths.count(path, &after);
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            if old != new {
                e.store_cell(self.cells.counts[index], *new as i32);
            }
        }
    }

    /// Goes to the header that follows.
    fn children(
        &mut self,
        e: &mut Emitter,
        path: &[ProtocolId],
        (scope, children): (&mut Scope<'_>, &[(ProtocolId, Option<NodeId>)]),
        next: Place,
        known: &[(ProtocolId, Label)],
    ) -> Result<(), Unportable> {
        let mut aside = None;
        // Fragments, mostly.
        let none = e.asm.seldom();
        suppose_common(e, scope, children, none)?;
        for (child, when) in children {
            let other = e.asm.label();
            (scope.lacks.absent, scope.lacks.failed) = (other, other);
            let known = known.iter().find(|(id, _)| id == child);
            let target = match known {
                Some((_, target)) => Some(*target),
                None if self.paths.header(*child).is_none() => Some(self.ends.done),
                None => None,
            };
            match (target, when) {
                (Some(target), Some(when)) => {
                    condition(e, scope, *when, true, target)?;
                    e.asm.place(other);
                    continue;
                }
                (None, Some(when)) => condition(e, scope, *when, false, other)?,
                (_, None) => {}
            }
            match known {
                Some((_, target)) => e.asm.jump(*target),
                None if self.paths.header(*child).is_none() => e.asm.jump(self.ends.done),
                None => {
                    e.asm.mov(S[0], child.0 as i32);
                    let label = match aside {
                        Some(label) => label,
                        None => {
                            let label = e.asm.seldom();
                            let (path, known) = (path.to_vec(), self.known.clone());
                            self.asides.push(Aside { label, path, next, known });
                            aside = Some(label);
                            label
                        }
                    };
                    e.asm.jump(label);
                }
            }
            e.asm.place(other);
            if when.is_none() {
                return Ok(());
            }
        }
        e.asm.place(none);
        e.asm.jump(self.ends.done);
        Ok(())
    }

    /// Writes the path so far down for the loop, which goes on from there with the header that S[0] names.
    fn aside(&mut self, e: &mut Emitter, aside: &Aside) {
        let path = &aside.path;
        e.asm.place(aside.label);
        e.asm.comment("a path less likely");
        e.store_cell(self.cells.next, S[0]);
        match aside.next {
            (At::Known(offset), _) => e.store_cell(self.cells.at, offset),
            (At::Header(_), Some(slot)) => {
                e.asm.load(Size::Dw, S[0], Reg::R10, slot);
                e.asm.alu(AluOp::Sub, S[0], DATA);
                e.store_cell(self.cells.at, S[0]);
            }
            (At::Header(_), None) => {}
        }
        for (depth, id) in path.iter().enumerate() {
            let at = 8 * (e.path_word + PATH_ENTRY_WORDS * depth as u32) as i16;
            e.asm.constant(S[0], self.paths.mask(*id));
            e.asm.store(Size::Dw, FRAME, at, S[0]);
            // Said again where it is the same on every path, the likely ones need not say it.
            if let Some(offset) = aside.known.get(depth).copied() {
                e.store_cell(self.cells.path[depth], offset);
            }
            e.load_cell(S[0], self.cells.path[depth]);
            e.asm.store(Size::W, FRAME, at + 8, S[0]);
            e.asm.store(Size::W, FRAME, at + 12, id.0 as i32);
        }
        e.store_cell(self.cells.headers, path.len() as i32);
        for (kind, cell) in self.paths.above.iter().zip(&self.cells.newest) {
            match path.iter().rposition(|id| self.paths.is(*id, *kind)) {
                None => e.store_cell(*cell, ABSENT),
                Some(depth) => {
                    e.load_cell(S[0], self.cells.path[depth]);
                    e.store_cell(*cell, S[0]);
                }
            }
        }
        for (id, cell) in self.paths.repeated().iter().zip(&self.cells.repeats) {
            let count = path.iter().filter(|other| *other == id).count();
            e.store_cell(*cell, count as i32);
        }
        let slow = *self.slow.get_or_insert_with(|| e.asm.seldom());
        e.asm.jump(slow);
    }
}
