//! The header walk for all paths that have no code of their own: a function per header in a loop, which writes the path down in the
//! frame; then every layer is looked for on the path, as the interpreter does.
//!
//! `bpf_loop` lets the verifier look at the function once, not once per header.

use wt_catalog::ProtocolId;
use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_plan::ir::{HeaderProgram, LayerId, LayerSel, NodeId};

use super::emit::{ABSENT, DATA, END, Emitter, FRAME, HEADER, NO_PROTOCOL, S, Unportable, stack};
use super::header::{Len, condition, length, suppose_common};
use super::paths::{CONTINUES, Paths};
use super::scope::{Lacks, LayerAt, Pointer, PointerAt, Scope};
use super::spec::packet_counters;
use super::walk::{Cells, PATH_ENTRY_WORDS};
use crate::asm::{AluOp, Cond, Helper, Insn, Label, Reg, Size};

/// Bytes of a header on the path.
const ENTRY_BYTES: i32 = 8 * PATH_ENTRY_WORDS as i32;
const _: () = assert!(ENTRY_BYTES == 1 << 4 && PATH_HEADERS_MAX == 64);

/// What a search on the path is told, and what it finds.
struct Search {
    /// Scratch word with the kind's bit.
    kind: i16,
    /// The first and the one behind the last header looked at.
    from: i16,
    to: i16,
    /// The search ends where a run does.
    is_run: i16,
    /// Headers of the kind to pass over, or [`LAST`].
    skip: i16,
    /// Index of the header found, or [`NO_PROTOCOL`].
    found: i16,
    /// Headers of the kind seen.
    count: i16,
}

/// The last header of the kind is looked for.
const LAST: i32 = 0x7fff;

/// What the main program calls back.
pub(super) struct Functions {
    step: Label,
    find: Label,
    search: Search,
}

/// Emits the loop and the searches behind it, at `slow`; goes on at `done`.
pub(super) fn emit(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &Cells,
    (slow, done): (Label, Label),
) -> Result<Functions, Unportable> {
    let kind = e.take(1)?;
    let mut cell = || e.take_cell();
    let search = Search {
        kind,
        from: cell()?,
        to: cell()?,
        is_run: cell()?,
        skip: cell()?,
        found: cell()?,
        count: cell()?,
    };
    // The index of the header that each layer is, for those that others begin from.
    let mut indices: Vec<Option<i16>> = vec![None; paths.selectors.len()];
    let anchors = paths.selectors.iter().filter_map(LayerSel::anchor);
    let counted = paths.counts.iter().filter_map(|(_, below)| *below);
    for LayerId(layer) in anchors.chain(counted).collect::<Vec<_>>() {
        if indices[layer as usize].is_none() {
            indices[layer as usize] = Some(e.take_cell()?);
        }
    }
    let functions = Functions { step: e.asm.label(), find: e.asm.label(), search };
    e.asm.place(slow);
    e.asm.comment("the other headers, in a loop");
    e.forget_reach();
    e.asm.store(Size::Dw, Reg::R10, stack::DATA, DATA);
    e.asm.store(Size::Dw, Reg::R10, stack::END, END);
    e.asm.store(Size::Dw, Reg::R10, stack::FRAME, FRAME);
    call(e, functions.step, PATH_HEADERS_MAX as i32 + 1);
    for (layer, selector) in paths.selectors.iter().enumerate() {
        let Some(kind) = selector.protocol() else { continue };
        let (is_run, skip) = match *selector {
            LayerSel::Last(_) | LayerSel::Above(..) => (false, LAST),
            LayerSel::Nth(_, n) => (false, n.min(PATH_HEADERS_MAX as u32) as i32),
            LayerSel::RunLast(..) => (true, LAST),
            LayerSel::RunNth(_, _, n) => (true, n.min(PATH_HEADERS_MAX as u32) as i32),
            _ => (false, 0),
        };
        e.asm.comment(format!("layer {layer} on the path"));
        let is_above = matches!(selector, LayerSel::Above(..));
        let anchor = selector.anchor();
        range(e, paths, cells, (&functions.search, &indices), anchor, is_above);
        find(e, paths, &functions, kind, is_run, skip);
        let (missing, next) = (e.asm.label(), e.asm.label());
        e.load_cell(S[0], functions.search.found);
        if let Some(index) = indices[layer] {
            e.store_cell(index, S[0]);
        }
        e.asm.branch(Cond::Eq, S[0], NO_PROTOCOL, missing);
        entry(e, S[0]);
        e.asm.load(Size::W, S[1], S[0], 8);
        e.store_cell(cells.offsets[layer], S[1]);
        if let Some(protocol) = cells.protocols[layer] {
            e.asm.load(Size::W, S[1], S[0], 12);
            e.store_cell(protocol, S[1]);
        }
        e.asm.jump(next);
        e.asm.place(missing);
        e.store_cell(cells.offsets[layer], ABSENT);
        if let Some(protocol) = cells.protocols[layer] {
            e.store_cell(protocol, NO_PROTOCOL);
        }
        e.asm.place(next);
    }
    for (index, (kind, below)) in paths.counts.iter().enumerate() {
        e.asm.comment(format!("count {index} on the path"));
        range(e, paths, cells, (&functions.search, &indices), *below, false);
        find(e, paths, &functions, *kind, below.is_some(), LAST);
        e.load_cell(S[0], functions.search.count);
        e.store_cell(cells.counts[index], S[0]);
    }
    e.asm.jump(done);
    Ok(functions)
}

/// Calls a function with this stack, at most `times` times.
fn call(e: &mut Emitter, function: Label, times: i32) {
    e.asm.mov(Reg::R1, times);
    e.asm.push(Insn::LoadFn { dst: Reg::R2, function });
    e.asm.mov(Reg::R3, Reg::R10);
    e.asm.mov(Reg::R4, 0);
    e.asm.call(Helper::Loop);
}

/// Makes an index, below 64, the address of the header on the path.
fn entry(e: &mut Emitter, index: Reg) {
    e.asm.alu(AluOp::And, index, PATH_HEADERS_MAX as i32 - 1);
    e.asm.alu(AluOp::Lsh, index, 4);
    e.asm.alu(AluOp::Add, index, FRAME);
    e.asm.alu(AluOp::Add, index, 8 * e.path_word as i32);
}

/// Where on the path to look: below a layer (or from the beginning), or above it.
fn range(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &Cells,
    (search, indices): (&Search, &[Option<i16>]),
    anchor: Option<LayerId>,
    is_above: bool,
) {
    e.store_cell(search.from, 0);
    e.load_cell(S[0], cells.headers);
    e.store_cell(search.to, S[0]);
    let Some(layer) = anchor else { return };
    if paths.selectors[layer.0 as usize] == LayerSel::Packet {
        // All headers are below the packet, and none above.
        if is_above {
            e.store_cell(search.to, 0);
        }
        return;
    }
    let Some(index) = indices[layer.0 as usize] else { return };
    let (missing, end) = (e.asm.label(), e.asm.label());
    e.load_cell(S[0], index);
    e.asm.branch(Cond::Eq, S[0], NO_PROTOCOL, missing);
    if is_above {
        e.store_cell(search.to, S[0]);
    } else {
        e.asm.alu(AluOp::Add, S[0], 1);
        e.store_cell(search.from, S[0]);
    }
    e.asm.jump(end);
    e.asm.place(missing);
    e.store_cell(search.to, 0);
    e.asm.place(end);
}

fn find(
    e: &mut Emitter,
    paths: &Paths<'_>,
    functions: &Functions,
    kind: ProtocolId,
    is_run: bool,
    skip: i32,
) {
    let search = &functions.search;
    e.asm.constant(S[0], paths.bit(kind));
    e.store_scratch(search.kind, S[0]);
    e.store_cell(search.is_run, i32::from(is_run));
    e.store_cell(search.skip, skip);
    e.store_cell(search.found, NO_PROTOCOL);
    e.store_cell(search.count, 0);
    call(e, functions.find, PATH_HEADERS_MAX as i32);
}

/// Emits the functions, behind the main program.
pub(super) fn functions(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &Cells,
    functions: &Functions,
) -> Result<(), Unportable> {
    find_function(e, &functions.search, functions.find);
    step_function(e, paths, cells, functions.step)
}

/// Looks at one header of the path: R1 is its number from the beginning of the search.
fn find_function(e: &mut Emitter, search: &Search, label: Label) {
    let (go_on, stop, other) = (e.asm.label(), e.asm.label(), e.asm.label());
    e.asm.function("find", label);
    e.asm.comment("one header of the path, in a search");
    e.enter_callback();
    let (index, mask, via) = (Reg::R3, Reg::R4, Reg::R5);
    e.load_cell(index, search.from);
    e.asm.alu(AluOp::Add, index, Reg::R1);
    e.load_cell(via, search.to);
    e.asm.branch(Cond::Ge, index, via, stop);
    e.asm.mov(S[0], index);
    entry(e, S[0]);
    e.asm.load(Size::Dw, mask, S[0], 0);
    e.load_scratch(via, search.kind);
    e.asm.alu(AluOp::And, via, mask);
    e.asm.branch(Cond::Eq, via, 0, other);
    e.load_cell(via, search.count);
    e.asm.alu(AluOp::Add, via, 1);
    e.store_cell(search.count, via);
    let (nth, found) = (e.asm.label(), e.asm.label());
    e.load_cell(via, search.skip);
    e.asm.branch(Cond::Ne, via, LAST, nth);
    e.store_cell(search.found, index);
    e.asm.jump(go_on);
    e.asm.place(nth);
    e.asm.branch(Cond::Eq, via, 0, found);
    e.asm.alu(AluOp::Sub, via, 1);
    e.store_cell(search.skip, via);
    e.asm.jump(go_on);
    e.asm.place(found);
    e.store_cell(search.found, index);
    e.asm.jump(stop);
    e.asm.place(other);
    e.load_cell(via, search.is_run);
    e.asm.branch(Cond::Eq, via, 0, go_on);
    // The sign bit says that runs go on through it.
    const _: () = assert!(CONTINUES == 1 << 63);
    e.asm.branch(Cond::Sge, mask, 0, stop);
    e.asm.place(go_on);
    e.asm.mov(Reg::R0, 0);
    e.asm.push(Insn::Exit);
    e.asm.place(stop);
    e.asm.mov(Reg::R0, 1);
    e.asm.push(Insn::Exit);
}

/// Labels of the function that takes one header.
#[derive(Clone, Copy)]
struct Step {
    malformed: Label,
    too_deep: Label,
    push: Label,
}

fn step_function(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &Cells,
    label: Label,
) -> Result<(), Unportable> {
    let labels = Step { malformed: e.asm.label(), too_deep: e.asm.label(), push: e.asm.label() };
    let stop = e.asm.label();
    e.asm.function("step", label);
    e.asm.comment("one header");
    e.enter_callback();
    e.load_offset(HEADER, cells.at);
    e.asm.alu(AluOp::Add, HEADER, DATA);
    e.load_cell(S[1], cells.headers);
    e.load_cell(S[0], cells.next);
    let mut protocols = paths.reached.clone();
    protocols.sort_unstable();
    let blocks: Vec<Label> = protocols.iter().map(|_| e.asm.label()).collect();
    dispatch(e, &protocols, &blocks, stop);
    for (id, block) in protocols.iter().zip(&blocks) {
        e.asm.place(*block);
        let mark = e.memory_mark();
        header(e, paths, cells, *id, labels)?;
        e.memory_reset(mark);
    }
    e.asm.place(labels.push);
    push(e, paths, cells, stop);
    for (label, counter) in [
        (labels.malformed, packet_counters::MALFORMED),
        (labels.too_deep, packet_counters::TOO_DEEP),
    ] {
        e.asm.place(label);
        e.add_to_frame(FRAME, counter, 1, S[0]);
        e.asm.jump(stop);
    }
    e.asm.place(stop);
    e.asm.mov(Reg::R0, 1);
    e.asm.push(Insn::Exit);
    Ok(())
}

/// Goes to the block of the protocol in S[0], by halving.
fn dispatch(e: &mut Emitter, protocols: &[ProtocolId], blocks: &[Label], none: Label) {
    match (protocols, blocks) {
        ([id], [block]) => {
            e.asm.branch(Cond::Eq, S[0], id.0 as i32, *block);
            e.asm.jump(none);
        }
        ([], _) | (_, []) => e.asm.jump(none),
        _ => {
            let half = protocols.len() / 2;
            let upper = e.asm.label();
            e.asm.branch(Cond::Ge, S[0], protocols[half].0 as i32, upper);
            dispatch(e, &protocols[..half], &blocks[..half], none);
            e.asm.place(upper);
            dispatch(e, &protocols[half..], &blocks[half..], none);
        }
    }
}

/// One protocol: judges the header, finds what follows.
fn header(
    e: &mut Emitter,
    paths: &Paths<'_>,
    cells: &Cells,
    id: ProtocolId,
    labels: Step,
) -> Result<(), Unportable> {
    let header = paths.header(id).ok_or(Unportable("a header".into()))?;
    e.asm.comment(format!("{} header, anywhere", header.name));
    e.asm.branch(Cond::Ge, S[1], PATH_HEADERS_MAX as i32, labels.too_deep);
    let repeat = paths.repeated().iter().position(|other| *other == id);
    if let Some(index) = repeat {
        e.load_cell(S[0], cells.repeats[index]);
        let most = header.repeat.min(PATH_HEADERS_MAX as u32) as i32;
        e.asm.branch(Cond::Ge, S[0], most, labels.too_deep);
        e.asm.alu(AluOp::Add, S[0], 1);
        e.store_cell(cells.repeats[index], S[0]);
    }
    let this = Pointer { at: PointerAt::Reg(HEADER), disp: 0, bytes: header.min };
    if header.min > 0 {
        e.check_end(HEADER, header.min.min(ABSENT as u32) as i32, S[0], labels.malformed);
    }
    let layers = header_layers(paths, cells, header, this);
    let children = paths.children_in_order(header, |_| 0);
    let roots: Vec<NodeId> = [header.length]
        .into_iter()
        .chain(header.checks.iter().copied())
        .chain(children.iter().filter_map(|(_, when)| *when))
        .collect();
    let lacks = Lacks { absent: labels.malformed, failed: labels.malformed };
    let mut scope = Scope::new(&header.exprs, layers, Vec::new(), &roots, lacks);
    let len = length(e, &mut scope, header, this, labels.malformed)?;
    let kept = match len {
        Len::Known(_) => None,
        Len::Varies { .. } => {
            let at = e.take(1)?;
            e.store_scratch(at, S[0]);
            Some(at)
        }
    };
    for check in &header.checks {
        e.branch(&mut scope, *check, false, labels.malformed, 0)?;
    }
    let (decided, none) = (e.asm.label(), e.asm.label());
    suppose_common(e, &mut scope, &children, none)?;
    for (child, when) in &children {
        let other = e.asm.label();
        if let Some(when) = when {
            (scope.lacks.absent, scope.lacks.failed) = (other, other);
            condition(e, &mut scope, *when, false, other)?;
        }
        let next = if paths.header(*child).is_some() { child.0 as i32 } else { NO_PROTOCOL };
        e.store_cell(cells.next, next);
        e.asm.jump(decided);
        e.asm.place(other);
        if when.is_none() {
            break;
        }
    }
    e.asm.place(none);
    if children.iter().all(|(_, when)| when.is_some()) {
        e.store_cell(cells.next, NO_PROTOCOL);
    }
    e.asm.place(decided);
    e.asm.constant(S[1], paths.mask(id));
    match kept {
        None => e.asm.mov(S[2], len.most()),
        Some(at) => e.load_scratch(S[2], at),
    }
    e.asm.mov(S[3], id.0 as i32);
    e.asm.jump(labels.push);
    Ok(())
}

fn header_layers(
    paths: &Paths<'_>,
    cells: &Cells,
    header: &HeaderProgram,
    this: Pointer,
) -> Vec<LayerAt> {
    let of = |selector: &LayerSel| match selector.protocol() {
        None => LayerAt::This(this),
        Some(kind) => {
            let index = paths.above.iter().position(|above| *above == kind);
            LayerAt::Found {
                offset: index.map_or(cells.at, |index| cells.newest[index]),
                protocol: None,
                // Its bytes are compared with the packet's end at each load: nothing is kept here.
                captured: 0,
                present: false,
            }
        }
    };
    header.layers.iter().map(of).collect()
}

/// Puts the header at hand on the path. S[1] is its kinds, S[2] its length, S[3] its protocol.
fn push(e: &mut Emitter, paths: &Paths<'_>, cells: &Cells, stop: Label) {
    e.asm.comment("the header is on the path");
    let (at, index) = (S[4], S[5]);
    // The offset of the next, and of this one.
    e.load_cell(at, cells.at);
    e.asm.alu(AluOp::Add, S[2], at);
    e.store_cell(cells.at, S[2]);
    e.load_cell(index, cells.headers);
    e.asm.mov(S[2], index);
    e.asm.alu(AluOp::Add, S[2], 1);
    e.store_cell(cells.headers, S[2]);
    entry(e, index);
    e.asm.store(Size::Dw, index, 0, S[1]);
    e.asm.store(Size::W, index, 8, at);
    e.asm.store(Size::W, index, 12, S[3]);
    for (kind, cell) in paths.above.iter().zip(&cells.newest) {
        let other = e.asm.label();
        e.asm.constant(S[2], paths.bit(*kind));
        e.asm.alu(AluOp::And, S[2], S[1]);
        e.asm.branch(Cond::Eq, S[2], 0, other);
        e.store_cell(*cell, at);
        e.asm.place(other);
    }
    e.load_cell(S[0], cells.next);
    e.asm.branch(Cond::Eq, S[0], NO_PROTOCOL, stop);
    e.asm.mov(Reg::R0, 0);
    e.asm.push(Insn::Exit);
}
