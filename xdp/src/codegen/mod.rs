//! LFTA programs to XDP programs; pure.
//!
//! ```text
//! LftaProgram ─ paths ─▶ likely header paths ─ walk ─▶ straight code   ┐
//!                              all others    ─ slow ─▶ a loop           ├─▶ cells with layers ─ query, group ─▶ code
//! ```
//!
//! All queries of the batch that have code here become one program: headers are walked once, and a shared prefilter spares the quals.
//! What has none is named with the reason, query by query, and stays on the host.

mod address;
mod arith;
mod block;
mod clock;
mod columns;
mod compare;
mod emit;
mod ends;
mod feed;
mod group;
mod header;
mod layout;
mod likely;
mod load;
mod paths;
mod query;
pub(crate) mod row;
mod scope;
mod slow;
mod socket;
pub mod spec;
mod straight;
mod totals;
mod value;
mod walk;

use wt_catalog::Value;
use wt_catalog::layout::Class;
use wt_catalog::protocol::Meta;
use wt_plan::ir::{Exprs, LftaAction, LftaProgram, LftaQuery, NodeId, Op};

pub(crate) use self::block::PREFIXES_MAX;
use self::emit::{Emitter, FRAME_WORDS_MAX, Unportable, unportable};
use self::layout::{FrameWords, query_layout};
use self::paths::Paths;
use self::query::Queries;
pub(crate) use self::query::record;
use self::spec::{
    ActionLayout, Layout, MapKind, MapSpec, ProgramSpec, SocketLayout, control_words,
    packet_counters,
};
use self::walk::{Cells, PATH_WORDS};
use crate::asm::{AsmError, Insn, MapId, Reg};

/// Where time and ordinals of packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Clock {
    /// The kernel's clock when the packet comes; packets are numbered per CPU.
    #[default]
    Kernel,
    /// The control map: packets are given one by one.
    Given,
}

/// What becomes of a packet that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Disposition {
    /// It goes on to the stack: a tap beside normal use.
    #[default]
    Pass,
    /// It ends here: a dedicated mirror port.
    Drop,
}

impl Disposition {
    /// What the program returns.
    pub const fn action(self) -> u32 {
        match self {
            Disposition::Drop => 1,
            Disposition::Pass => 2,
        }
    }
}

/// How packets are sent to queries on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FeedBy {
    /// They are copied into the ring; whatever the disposition, the frame is what it was.
    #[default]
    Ring,
    /// The frame itself goes to the AF_XDP socket of its queue: only where it would be dropped.
    Sockets {
        /// Receive queues that there may be.
        queues: u32,
        /// Most bytes of a packet that a socket takes; larger ones are counted as not sent.
        bytes_max: u32,
    },
}

/// How a program is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Source of time.
    pub clock: Clock,
    /// What becomes of packets.
    pub disposition: Disposition,
    /// Size of the ring buffer, bytes: a power of two of at least a page.
    pub ring_bytes: u32,
    /// Packets that queries on the host may want are sent to them, cut to so many bytes.
    pub feed_bytes: Option<u32>,
    /// How they are sent.
    pub feed_by: FeedBy,
    /// There is a program also when no query has code, which only sends packets.
    pub feeds_alone: bool,
    /// Packets from the prefixes of a block list are dropped once they are counted, whatever the disposition.
    pub has_block_list: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::default(),
            disposition: Disposition::default(),
            ring_bytes: RING_BYTES_DEFAULT,
            feed_bytes: None,
            feed_by: FeedBy::default(),
            feeds_alone: false,
            has_block_list: false,
        }
    }
}

/// Ring buffer unless asked for otherwise: half a second of ejections at a million a second, of 8 words each, would be 32 MiB; drained every 50
/// ms, an eighth of that is enough.
pub const RING_BYTES_DEFAULT: u32 = 4 << 20;

/// Words of a cache line.
const LINE_WORDS: u32 = 8;

/// Words of the frame that what is computed for a packet may take at least.
const FRAME_WORDS_SPARE: u32 = 500;

/// Likely paths that end in code of their own for the queries.
const OWN_ENDS_MAX: usize = 4;

/// Most instructions of all code that queries have at such ends.
const OWN_INSTRUCTIONS_MAX: usize = 2_000;

/// Largest frame, bytes: offsets in instructions are signed 16 bits.
const FRAME_BYTES_MAX: u32 = 32 << 10;

/// A query that stays on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostQuery {
    /// Index among the queries of the program.
    pub query: u32,
    /// Why, as a noun phrase that follows "host only:".
    pub reason: String,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The program of all queries that run next to the driver; nothing when there is none.
    pub spec: Option<ProgramSpec>,
    /// The others.
    pub host: Vec<HostQuery>,
}

/// A fault of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodegenError {
    /// Instructions do not fit together.
    #[error("the generated program is not sound: {0}; please report it")]
    Asm(#[from] AsmError),
}

/// Makes the XDP program of a batch. Only packets that begin with an Ethernet header come to it.
///
/// # Errors
/// A fault of the generator. What cannot be expressed is no error: it is in [`Compiled::host`].
pub fn compile(
    program: &LftaProgram,
    params: &[Value],
    options: &Options,
) -> Result<Compiled, CodegenError> {
    compile_except(program, &[], params, options)
}

/// The same, but some queries are kept on the host whether they have code or not.
///
/// # Errors
/// As [`compile`].
pub fn compile_except(
    program: &LftaProgram,
    kept: &[u32],
    params: &[Value],
    options: &Options,
) -> Result<Compiled, CodegenError> {
    let mut queries: Vec<usize> = (0..program.queries.len()).collect();
    queries.retain(|query| !kept.contains(&(*query as u32)));
    let mut host = Vec::new();
    let mut to_host = |query: usize, reason: &str| {
        host.push(HostQuery { query: query as u32, reason: reason.to_owned() });
    };
    let feeds_alone = options.feeds_alone && options.feed_bytes.is_some();
    let mut has_own_ends = true;
    let spec = loop {
        if queries.is_empty() && (!feeds_alone || program.queries.is_empty()) {
            break None;
        }
        match generate(program, params, options, &queries, has_own_ends) {
            Ok(spec) => break Some(spec),
            // A program as short as it can be, before a query has to leave it.
            Err(Failure::Fault(AsmError::TooFar { .. })) if has_own_ends => has_own_ends = false,
            Err(Failure::Query(query, Unportable(reason))) => {
                to_host(query, &reason);
                queries.retain(|other| *other != query);
            }
            Err(Failure::Program(_)) if queries.is_empty() => break None,
            Err(Failure::Program(Unportable(reason))) => {
                queries.iter().for_each(|query| to_host(*query, &reason));
                queries.clear();
            }
            Err(Failure::Fault(AsmError::TooFar { .. })) => {
                // The last one made it too large.
                let reason = "a batch larger than jumps reach";
                if queries.is_empty() {
                    break None;
                }
                queries.pop().into_iter().for_each(|query| to_host(query, reason));
            }
            Err(Failure::Fault(fault)) => return Err(fault.into()),
        }
    };
    host.sort_by_key(|h| h.query);
    Ok(Compiled { spec, host })
}

/// Why a program could not be made.
enum Failure {
    /// Of one query.
    Query(usize, Unportable),
    /// Of what all have in common.
    Program(Unportable),
    Fault(AsmError),
}

impl From<Unportable> for Failure {
    fn from(what: Unportable) -> Self {
        Failure::Program(what)
    }
}

const FRAME: MapId = MapId(0);
const CONTROL: MapId = MapId(1);
const RING: MapId = MapId(2);

fn generate(
    program: &LftaProgram,
    params: &[Value],
    options: &Options,
    wanted: &[usize],
    has_own_ends: bool,
) -> Result<ProgramSpec, Failure> {
    let mut frame = FrameWords { next: packet_counters::COUNT, init: Vec::new() };
    let mut maps = vec![
        MapSpec { name: "frame".into(), kind: MapKind::PartPerCpu, bytes: 0, entries: 1 },
        MapSpec { name: ".data".into(), kind: MapKind::Data, bytes: 0, entries: 1 },
        MapSpec { name: "ring".into(), kind: MapKind::Ring, bytes: options.ring_bytes, entries: 1 },
    ];
    let mut layouts = Vec::with_capacity(wanted.len());
    for index in wanted {
        let query = &program.queries[*index];
        let layout = query_layout(&program.exprs, query, *index as u32, &mut frame, &mut maps);
        layouts.push(layout.map_err(|what| Failure::Query(*index, what))?);
        if frame.next > FRAME_WORDS_MAX - PATH_WORDS - FRAME_WORDS_SPARE {
            let what = "a batch of more queries than a program has room to count for";
            return Err(Failure::Query(*index, Unportable(what.into())));
        }
    }
    let host = host_queries(program, options, wanted);
    let sockets = match options.feed_by {
        FeedBy::Sockets { queues, bytes_max } if !host.is_empty() => {
            let map = MapId(maps.len() as u32);
            let (kind, entries) = (MapKind::Sockets, queues.max(1));
            maps.push(MapSpec { name: "sockets".into(), kind, bytes: 4, entries });
            Some((map, bytes_max))
        }
        _ => None,
    };
    // Those that are shared come last: the loader gives back the others, by number.
    let blocks = options.has_block_list.then(|| block::layout(&mut frame, &mut maps));
    let mut control = control_words::COUNT;
    let mut param_words = Vec::with_capacity(params.len());
    for param in params {
        param_words.push(control);
        control += words_of_param(param);
    }

    let hashed = layouts.iter().filter(|layout| layout.action.is_hashed());
    let key_words = hashed.map(|layout| layout.column_words).max().unwrap_or(0);
    let secrets = control..control + key_words;
    control = secrets.end;

    let sockets = sockets.map(|(map, bytes_max)| {
        control += 1;
        (SocketLayout { map, number: control - 1 }, bytes_max)
    });

    let exprs = &program.exprs;
    let paths = Paths::new(&program.parse, &program.layers, exprs, value::LINKTYPE_ETHERNET)?;
    let declared = paths.reached.iter().filter_map(|id| paths.header(*id)).map(|h| &h.exprs);
    let windows = clock::windows(declared.chain([exprs]), || frame.take(clock::WINDOW_WORDS));
    // Behind what every packet writes, and before what nothing but the program itself reads: functions that the kernel calls back do.
    let path_word = if paths.start.is_some() { frame.take(PATH_WORDS) } else { 0 };
    let row = frame.take(layouts.iter().map(|l| l.column_words).max().unwrap_or(0));
    let mut e =
        Emitter::new(param_words.clone(), options.clock, [FRAME, CONTROL, RING], frame.next);
    e.windows = windows;
    e.secrets = secrets.start;
    e.path_word = path_word;
    let (out, ready, end) = (e.asm.label(), e.asm.label(), e.asm.label());
    let is_time = |op: &Op| matches!(op, Op::Meta(Meta::Time | Meta::Timestamp));
    let mut declared =
        program.parse.protocols.iter().flatten().flat_map(|header| &header.exprs.nodes);
    let headers_do = declared.any(|node| is_time(&node.op));
    // Records of several CPUs are put in order by their time.
    let has_records = layouts.iter().any(|layout| layout.action == ActionLayout::Select);
    let wants_time = headers_do
        || exprs.nodes.iter().any(|node| is_time(&node.op))
        || !host.is_empty()
        || options.clock == Clock::Kernel && has_records;
    let by_socket = sockets.map(|(layout, bytes_max)| e.begin_by_socket(layout, bytes_max));
    let by_socket = by_socket.transpose()?;
    let has_headers = paths.start.is_some() || !program.layers.is_empty();
    e.looks_into_packets = has_headers || !host.is_empty() || blocks.is_some();
    e.prologue((wants_time, headers_do), out)?;
    let ops: Vec<&Op> = exprs.nodes.iter().map(|node| &node.op).collect();
    let mut cells = Cells::new(&mut e, &paths, &ops)?;
    let own = if has_own_ends { OWN_ENDS_MAX } else { 0 };
    let rest = walk::emit(&mut e, &paths, &mut cells, ready, own)?;
    let functions = match rest.slow {
        None => None,
        Some(slow) => Some(slow::emit(&mut e, &paths, &cells, (slow, ready))?),
    };
    e.asm.place(ready);
    if paths.start.is_some() {
        e.forget_reach();
    }
    let mut served = wanted.iter().copied().chain(host.iter().map(|query| *query as usize));
    let is_late = wanted.len() < 2 || served.any(|query| query::sees_all(&program.queries[query]));
    let layers = cells.layers(&paths);
    let mut queries =
        Queries { program, paths: &paths, cells: &cells, layers, row, prefilter_late: is_late };
    let prefilter = program.prefilter.filter(|_| !is_late);
    for index in wanted {
        let is_shallow = shallow(exprs, &program.queries[*index]);
        is_shallow.map_err(|what| Failure::Query(*index, what))?;
    }
    let (first, served) = (e.asm.len(), e.asm.label());
    queries.served(&mut e, wanted, &layouts, prefilter, out)?;
    let instructions = e.asm.len() - first;
    e.asm.place(served);
    let feeds = options.feed_bytes.filter(|_| !host.is_empty());
    if let Some(bytes) = feeds {
        queries.feed(&mut e, &host, bytes, by_socket.as_ref(), out)?;
    }
    e.asm.place(out);
    if let Some(blocks) = &blocks {
        block::emit(&mut e, blocks, end);
    }
    e.asm.place(end);
    if let (Some(by_socket), Some(bytes)) = (&by_socket, options.feed_bytes) {
        e.send_by_socket(by_socket, bytes);
    }
    e.asm.mov(Reg::R0, options.disposition.action() as i32);
    e.asm.push(Insn::Exit);
    for (number, end) in rest.ends.into_iter().enumerate() {
        e.asm.place(end.label);
        let (before, mark) = (e.asm.len(), e.memory_mark());
        let mut has_room = number < OWN_INSTRUCTIONS_MAX / instructions.max(1);
        if has_room {
            e.asm.comment(format!("at the end of {}", end.path.join(", ")));
            queries.layers = end.layers;
            has_room = queries.served(&mut e, wanted, &layouts, prefilter, out).is_ok();
        }
        if has_room {
            if feeds.is_some() || blocks.is_some() {
                e.forget_reach();
            }
            e.asm.jump(served);
        } else {
            // The code for any path serves too.
            e.asm.truncate(before);
            e.memory_reset(mark);
            e.asm.jump(ready);
        }
    }
    if let Some(functions) = &functions {
        slow::functions(&mut e, &paths, &cells, functions)?;
    }
    // No CPU writes to a cache line of another's, nor to the one that comes with it.
    let frame_words = (frame.next + e.scratch_words()).next_multiple_of(2 * LINE_WORDS);
    maps[FRAME.0 as usize].bytes = 8 * frame_words;
    e.asm.set_part_bytes(8 * frame_words);
    maps[CONTROL.0 as usize].bytes = 8 * control;
    if 8 * frame_words > FRAME_BYTES_MAX {
        return Err(Failure::Program(Unportable("a frame larger than 32 KiB".into())));
    }
    e.asm.optimize(8 * row as i16);
    let code = e.asm.finish().map_err(Failure::Fault)?;
    Ok(ProgramSpec {
        name: "wiretable".into(),
        code,
        maps,
        layout: Layout {
            frame: FRAME,
            control: CONTROL,
            ring: RING,
            frame_words,
            frame_init: frame.init,
            params: param_words,
            secrets,
            control_words: control,
            queries: layouts,
            host,
            blocks,
            sockets: sockets.map(|(layout, _)| layout),
        },
    })
}

/// The queries that packets are sent to the host for.
fn host_queries(program: &LftaProgram, options: &Options, wanted: &[usize]) -> Vec<u32> {
    let all = 0..program.queries.len();
    let others = all.filter(|query| options.feed_bytes.is_some() && !wanted.contains(query));
    others.map(|query| query as u32).collect()
}

/// Words of a parameter in the control map.
fn words_of_param(value: &Value) -> u32 {
    value_words(value).len() as u32
}

/// A parameter's value as the control map holds it; 0 for values that programs do not read.
pub fn value_words(value: &Value) -> Vec<u64> {
    let class = match value {
        Value::Inet(_) => Class::Inet,
        Value::Ipv6(_) => Class::Ipv6,
        _ => Class::Word,
    };
    let words = row::words_of(value, class).unwrap_or_default();
    words[..class.words()].to_vec()
}

/// Refuses expressions too deep for code.
fn shallow(exprs: &Exprs, query: &LftaQuery) -> Result<(), Unportable> {
    let mut depths: Vec<u32> = Vec::with_capacity(exprs.nodes.len());
    for node in &exprs.nodes {
        let below = node.op.operands().iter().map(|n| depths[n.0 as usize]).max();
        depths.push(below.map_or(1, |below| below + 1));
    }
    let mut nodes: Vec<NodeId> = query.quals.iter().map(|qual| qual.node).collect();
    match &query.action {
        LftaAction::Select { outputs, .. } => nodes.extend(outputs),
        LftaAction::Aggregate { keys, aggs, .. } => {
            nodes.extend(keys);
            nodes.extend(aggs.iter().filter_map(|agg| agg.arg));
        }
    }
    match nodes.iter().any(|node| depths[node.0 as usize] > value::DEPTH_MAX) {
        true => unportable(format!("an expression deeper than {}", value::DEPTH_MAX)),
        false => Ok(()),
    }
}
