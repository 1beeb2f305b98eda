//! The header walk as code: a block per protocol, and the layers that nodes read in variables.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, InstBuilder, Value as V};
use cranelift_frontend::Variable;
use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_catalog::{ProtocolId, Value};
use wt_plan::ir::{Exprs, HeaderProgram, LayerId, LayerSel};
use wt_plan::paths::{Count, Paths, counted};

use super::emit::{Emitter, NO_ARGS, Truth, Unsupported};
use super::frame;
use super::lower::{LayerVal, Scope};
use super::paths;
use super::rare::{self, TARGET_WORDS};
use super::seek::Seekers;

/// Numbers of headers in a word.
const REPEATS_PER_WORD: usize = 8;
const _: () = assert!(PATH_HEADERS_MAX < 256);

/// The state of a walk: variables that blocks of protocols read and write.
pub(super) struct Walk<'p> {
    paths: Paths<'p>,
    selectors: &'p [LayerSel],
    params: &'p [Value],
    seekers: Seekers,
    /// What [`Op::Depth`] counts; its targets come behind the layers.
    counts: Vec<Count>,
    /// Protocols that may come again, and words of their numbers so far: eight to a word, since a path has at most 64 headers.
    repeats: Vec<ProtocolId>,
    repeat_words: Vec<Variable>,
    /// Headers so far, when paths can be long.
    headers: Option<Variable>,
    /// Address of the header to look at.
    at: Variable,
}

impl<'p> Walk<'p> {
    pub(super) fn new(
        e: &mut Emitter<'_, '_>,
        paths: Paths<'p>,
        selectors: &'p [LayerSel],
        exprs: &'p Exprs,
        params: &'p [Value],
    ) -> Result<Self, Unsupported> {
        let counts = counted(exprs);
        let seekers = Seekers::new(e, &paths, selectors, &counts)?;
        let mut word = |ty| e.b.declare_var(ty);
        let repeated = paths.reached.iter().filter(|id| paths.repeats(**id));
        let repeats: Vec<ProtocolId> = repeated.copied().collect();
        let repeat_words = (0..repeats.len().div_ceil(REPEATS_PER_WORD)).map(|_| word(I64));
        let repeat_words = repeat_words.collect();
        let headers = paths::may_be_too_long(&paths).then(|| word(I64));
        let at = word(I64);
        Ok(Self { selectors, params, seekers, counts, repeats, repeat_words, headers, at, paths })
    }

    /// Emits the walk of the packet at hand; what follows it is emitted at the current block afterwards, and at the ends of up to `ends_max` likely
    /// paths, for packets that come there.
    pub(super) fn emit(
        &self,
        e: &mut Emitter<'_, '_>,
        wanted: &PathsWanted,
        ends_max: usize,
    ) -> Result<Vec<End>, Unsupported> {
        self.begin(e);
        let Some(start) = self.paths.start else { return Ok(Vec::new()) };
        let (malformed, too_deep, done) =
            (e.b.create_block(), e.b.create_block(), e.b.create_block());
        let rare = (*wanted != PathsWanted::All).then(|| e.b.create_block());
        let ends = Ends { malformed, too_deep, done, rare };
        // Likely paths have blocks of their own, in which what has been found so far is known while code is made; all others
        // share one block per protocol, made when something leads there.
        let seen = match wanted {
            PathsWanted::Seen(seen) => Some(&seen[..]),
            PathsWanted::Likely | PathsWanted::All => None,
        };
        let likely = paths::likely(&self.paths, start, seen);
        let blocks: Vec<Block> = likely.iter().map(|_| e.b.create_block()).collect();
        let mut shared: Vec<(ProtocolId, Block)> = Vec::new();
        e.b.def_var(self.at, e.start);
        e.b.ins().jump(blocks[0], NO_ARGS);
        let own_ends = paths::ends(&likely, seen);
        let own_ends = &own_ends[..own_ends.len().min(ends_max)];
        // By step: the headers of its path, and their addresses.
        let mut headers: Vec<Vec<(ProtocolId, V)>> = Vec::with_capacity(likely.len());
        let mut found = Vec::with_capacity(own_ends.len());
        for (index, (step, block)) in likely.iter().zip(&blocks).enumerate() {
            e.b.switch_to_block(*block);
            let own = step.next.iter().map(|(child, index)| (*child, blocks[*index]));
            let own: Vec<_> = own.collect();
            let has_own_end = own_ends.contains(&index);
            let done = if has_own_end { e.b.create_block() } else { ends.done };
            let ends = Ends { done, ..ends };
            let at = self.header(e, step.id, Visit::First, ends, &own, &mut shared)?;
            let mut path = step.parent.map_or_else(Vec::new, |parent| headers[parent].clone());
            path.push((step.id, at));
            if has_own_end {
                found.push(End { block: done, headers: path.clone() });
            }
            headers.push(path);
        }
        let mut next = 0;
        while let Some((id, block)) = shared.get(next).copied() {
            e.b.switch_to_block(block);
            self.header(e, id, Visit::Any, ends, &[], &mut shared)?;
            next += 1;
        }
        if let Some(rare) = rare {
            e.b.switch_to_block(rare);
            e.b.set_cold_block(rare);
            let at = e.layout.take(self.seekers.len() * TARGET_WORDS);
            let end = e.call_walk(at);
            for (code, counter) in
                [(rare::MALFORMED, frame::MALFORMED), (rare::TOO_DEEP, frame::TOO_DEEP)]
            {
                let is = e.icmp_const(IntCC::Equal, end, code);
                let by = e.widen(is);
                e.count(counter, by);
            }
            self.seekers.take(e, at);
            e.b.ins().jump(done, NO_ARGS);
        }
        for (block, counter) in [(malformed, frame::MALFORMED), (too_deep, frame::TOO_DEEP)] {
            e.b.switch_to_block(block);
            e.b.set_cold_block(block);
            e.count_one(counter);
            e.b.ins().jump(done, NO_ARGS);
        }
        e.b.switch_to_block(done);
        Ok(found)
    }

    /// Nothing has been found yet.
    fn begin(&self, e: &mut Emitter<'_, '_>) {
        self.seekers.begin(e);
        let zero = e.word(0);
        for word in &self.repeat_words {
            e.b.def_var(*word, zero);
        }
        if let Some(headers) = self.headers {
            e.b.def_var(headers, zero);
        }
    }

    /// The block of one protocol; the result is the header's address. Some children have blocks of their own on this path, the most frequent first.
    fn header(
        &self,
        e: &mut Emitter<'_, '_>,
        id: ProtocolId,
        visit: Visit,
        ends: Ends,
        own: &[(ProtocolId, Block)],
        shared: &mut Vec<(ProtocolId, Block)>,
    ) -> Result<V, Unsupported> {
        let header = self.paths.header(id).ok_or(Unsupported("a protocol without header"))?;
        if let Some(place) = self.repeats.iter().position(|p| *p == id) {
            let word = self.repeat_words[place / REPEATS_PER_WORD];
            let shift = 8 * (place % REPEATS_PER_WORD) as u32;
            let before = e.b.use_var(word);
            if visit == Visit::Any {
                let mask = e.and_const(before, 0xff << shift);
                let most = u64::from(header.repeat.min(PATH_HEADERS_MAX as u32)) << shift;
                let over = e.icmp_const(IntCC::UnsignedGreaterThanOrEqual, mask, most);
                e.leave_if(over, ends.too_deep);
            }
            let after = e.add_const(before, 1 << shift);
            e.b.def_var(word, after);
        }
        if let Some(headers) = self.headers {
            let before = e.b.use_var(headers);
            if visit == Visit::Any {
                let most = PATH_HEADERS_MAX as u64;
                let over = e.icmp_const(IntCC::UnsignedGreaterThanOrEqual, before, most);
                e.leave_if(over, ends.too_deep);
            }
            let after = e.add_const(before, 1);
            e.b.def_var(headers, after);
        }
        let at = e.b.use_var(self.at);
        let available = e.b.ins().isub(e.end, at);
        if header.min > 0 {
            let short = e.icmp_const(IntCC::UnsignedLessThan, available, u64::from(header.min));
            e.leave_if(short, ends.malformed);
        }
        let mut scope = Scope::new(&header.exprs, self.params, 0);
        if !header.exprs.handles.is_empty() {
            return Err(Unsupported("a handle in a protocol declaration"));
        }
        for selector in &header.layers {
            let layer = self.header_layer(e, selector, at, header)?;
            scope.layers.push(layer);
        }
        let len = self.length(e, &mut scope, header, available, ends)?;
        for check in &header.checks {
            let val = e.node(&mut scope, *check)?;
            let holds = e.as_flag(val.parts)?;
            let known = e.has_value(val.lack);
            match e.both(Truth::When(holds), known) {
                Truth::When(holds) => {
                    let fails = e.icmp_flag_false(holds);
                    e.leave_if(fails, ends.malformed);
                }
                Truth::Always => {}
                Truth::Never => {
                    let always = e.flag(true);
                    e.leave_if(always, ends.malformed);
                }
            }
        }
        self.seekers.push(e, &self.paths, id, at)?;
        let next = e.b.ins().iadd(at, len);
        e.b.def_var(self.at, next);
        let place = |child| own.iter().position(|(id, _)| *id == child);
        let rank = |child| place(child).unwrap_or(own.len());
        for (child, when) in self.paths.children_in_order(header, rank) {
            let target = match place(child) {
                Some(place) => own[place].1,
                None if self.paths.header(child).is_none() => ends.done,
                None => match ends.rare {
                    Some(rare) => rare,
                    None => shared_block(e, shared, child),
                },
            };
            let Some(when) = when else {
                e.b.ins().jump(target, NO_ARGS);
                return Ok(at);
            };
            let val = e.node(&mut scope, when)?;
            let holds = e.as_flag(val.parts)?;
            let known = e.has_value(val.lack);
            let rest = e.b.create_block();
            match e.both(Truth::When(holds), known) {
                Truth::When(follows) => e.b.ins().brif(follows, target, NO_ARGS, rest, NO_ARGS),
                Truth::Always => e.b.ins().jump(target, NO_ARGS),
                Truth::Never => e.b.ins().jump(rest, NO_ARGS),
            };
            e.b.switch_to_block(rest);
        }
        e.b.ins().jump(ends.done, NO_ARGS);
        Ok(at)
    }

    /// The length of a header that is well-formed and captured whole.
    fn length(
        &self,
        e: &mut Emitter<'_, '_>,
        scope: &mut Scope<'_>,
        header: &HeaderProgram,
        available: V,
        ends: Ends,
    ) -> Result<V, Unsupported> {
        if let Some(len) = scope.constant(header.length).and_then(Value::as_u64) {
            // A constant between the bounds; when it is the least one, that many bytes are there.
            if len < u64::from(header.min) || len > u64::from(header.max) {
                let always = e.flag(true);
                e.leave_if(always, ends.malformed);
            }
            if len > u64::from(header.min) {
                let long = e.icmp_const(IntCC::UnsignedLessThan, available, len);
                e.leave_if(long, ends.malformed);
            }
            return Ok(e.word(len));
        }
        let val = e.node(scope, header.length)?;
        let len = e.as_word(val.parts)?;
        if let Truth::When(known) = e.has_value(val.lack) {
            let lacks = e.icmp_flag_false(known);
            e.leave_if(lacks, ends.malformed);
        }
        if header.min > 0 {
            let short = e.icmp_const(IntCC::UnsignedLessThan, len, u64::from(header.min));
            e.leave_if(short, ends.malformed);
        }
        if header.max < u32::MAX || scope.bits(header.length) > 32 {
            let long = e.icmp_const(IntCC::UnsignedGreaterThan, len, u64::from(header.max));
            e.leave_if(long, ends.malformed);
        }
        let long = e.icmp(IntCC::UnsignedGreaterThan, len, available);
        e.leave_if(long, ends.malformed);
        Ok(len)
    }

    /// A layer that the expressions of a header read.
    fn header_layer(
        &self,
        e: &mut Emitter<'_, '_>,
        selector: &LayerSel,
        at: V,
        header: &HeaderProgram,
    ) -> Result<LayerVal, Unsupported> {
        match *selector {
            LayerSel::This => Ok(LayerVal {
                address: at,
                present: Truth::Always,
                protocol: None,
                only: None,
                captured_bytes: header.min,
            }),
            LayerSel::Above(LayerId(0), kind) => {
                let newest = self.seekers.newest(kind).ok_or(Unsupported("a header above"))?;
                let address = e.b.use_var(newest.address);
                let there = e.icmp(IntCC::NotEqual, address, e.zeros);
                let captured_bytes = self.paths.captured_bytes(kind);
                let present = Truth::When(there);
                Ok(LayerVal { address, present, protocol: None, only: None, captured_bytes })
            }
            _ => Err(Unsupported("a layer of a protocol declaration")),
        }
    }

    /// Gives a scope the layers and counts that the walk has found.
    pub(super) fn found(&self, e: &mut Emitter<'_, '_>, scope: &mut Scope<'_>) {
        scope.layers.clear();
        for (index, selector) in self.selectors.iter().enumerate() {
            let slot = self.seekers.layer(index);
            let address = e.b.use_var(slot.address);
            let kind = selector.protocol();
            let present = match kind {
                None => Truth::Always,
                Some(_) if self.paths.start.is_none() => Truth::Never,
                Some(_) => Truth::When(e.icmp(IntCC::NotEqual, address, e.zeros)),
            };
            let protocol = kind.map(|_| e.b.use_var(slot.protocol));
            let captured_bytes = kind.map_or(0, |kind| self.paths.captured_bytes(kind));
            scope.layers.push(LayerVal { address, present, protocol, only: None, captured_bytes });
        }
        let first = self.selectors.len();
        let count = |(i, key): (usize, &(ProtocolId, Option<LayerId>))| {
            (*key, e.b.use_var(self.seekers.layer(first + i).count))
        };
        scope.depths = self.counts.iter().enumerate().map(count).collect();
    }

    /// The same, at the end of a likely path.
    pub(super) fn found_at(&self, e: &mut Emitter<'_, '_>, scope: &mut Scope<'_>, end: &End) {
        let path: Vec<ProtocolId> = end.headers.iter().map(|(id, _)| *id).collect();
        let found = self.paths.resolve(self.selectors, &path);
        let layer = |(selector, index): (&LayerSel, &Option<usize>)| {
            let header = index.map(|index| end.headers[index]);
            let (address, present) = match (selector.protocol(), header) {
                (None, _) => (e.start, Truth::Always),
                (Some(_), Some((_, address))) => (address, Truth::Always),
                (Some(_), None) => (e.zeros, Truth::Never),
            };
            let only = header.map(|(id, _)| id);
            let protocol = only.map_or(u64::MAX, |id| u64::from(id.0));
            let protocol = selector.protocol().map(|_| e.word(protocol));
            let captured_bytes =
                only.and_then(|id| self.paths.header(id)).map_or(0, |header| header.min);
            LayerVal { address, present, protocol, only, captured_bytes }
        };
        scope.layers = self.selectors.iter().zip(&found).map(layer).collect();
        let counted = self.paths.count(&self.counts, (self.selectors, &found), &path);
        let counts = self.counts.iter().zip(counted);
        scope.depths = counts.map(|(key, count)| (*key, e.word(count as u64))).collect();
    }
}

/// The end of a likely path.
pub(super) struct End {
    pub(super) block: Block,
    /// Its headers, outermost first, and their addresses.
    headers: Vec<(ProtocolId, V)>,
}

/// How a header may have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// As the first of its protocol, on one known path.
    First,
    /// In any way.
    Any,
}

/// The block that all but the likely paths share for a protocol.
fn shared_block(
    e: &mut Emitter<'_, '_>,
    shared: &mut Vec<(ProtocolId, Block)>,
    id: ProtocolId,
) -> Block {
    if let Some((_, block)) = shared.iter().find(|(known, _)| *known == id) {
        return *block;
    }
    let block = e.b.create_block();
    shared.push((id, block));
    block
}

/// Where a path can end.
#[derive(Clone, Copy)]
struct Ends {
    malformed: Block,
    too_deep: Block,
    done: Block,
    /// Paths without code, where there are such.
    rare: Option<Block>,
}

/// The paths that code is made for. The host walks the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathsWanted {
    /// Those to what is looked for, and others beside them.
    Likely,
    /// Those to what is looked for, and these.
    Seen(Vec<Vec<ProtocolId>>),
    /// All.
    All,
}
