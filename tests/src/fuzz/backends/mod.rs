//! Backends side by side: the reference interpreter says what is right, compiled code and programs in the kernel must say the same.
//!
//! [`program`] makes LFTA programs that no planner would, over protocols of its own; [`queries`] makes texts for the planner over
//! the built-in ones; [`traffic`] makes packets for both. Everything follows from a seed.

pub mod guard;
pub mod kernel;
pub mod nodes;
pub mod program;
pub mod queries;
pub mod runs;
mod sys;
pub mod traffic;

use std::collections::HashMap;

use wt_catalog::{Type, Value, arith};
use wt_engine::ledger::{PacketCounters, TupleCounters};
use wt_engine::{
    CompiledLfta, LftaBackend, Memory, Message, NotCompiled, PacketBatch, PathsWanted, Readers,
    ReferenceLfta, Tuple,
};
use wt_lang::ast::{BinaryOp, CmpOp};
use wt_plan::ir::{AggKind, LftaAction, LftaAgg, LftaProgram};
use wt_wire::{Direction, RecordRef};

/// A packet to compare with.
#[derive(Clone, Debug)]
pub struct Sample {
    /// LINKTYPE_ number.
    pub link_type: u16,
    /// Nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Length that it says it had on the wire.
    pub len: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Captured bytes.
    pub data: Vec<u8>,
}

impl Sample {
    /// The packet as a message shows it.
    pub fn hex(&self) -> String {
        let bytes: String = self.data.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("link type {}, {} ns, len {}: {bytes}", self.link_type, self.timestamp_ns, self.len)
    }
}

/// What a backend made of packets.
#[derive(Debug)]
pub struct Seen {
    /// Every message, with the query that sent it.
    pub messages: Vec<(u32, Message)>,
    /// What became of the packets.
    pub packets: PacketCounters,
    /// By query: what became of the tuples.
    pub tuples: Vec<TupleCounters>,
}

/// The backend that compiles, or why it does not take a program.
///
/// # Errors
/// Why there is no code.
///
/// # Panics
/// When the program cannot be set up at all.
pub fn compiled(
    program: &LftaProgram,
    fixed_hash: &[bool],
    paths: PathsWanted,
    link_type: u16,
    memory: &mut Memory,
) -> Result<CompiledLfta, &'static str> {
    let readers = Readers { fixed: fixed_hash, ..Readers::default() };
    match CompiledLfta::new(program, &nodes::params(), readers, paths, link_type, memory) {
        Ok(backend) => Ok(backend),
        Err(NotCompiled::Unsupported(what)) => Err(what),
        Err(NotCompiled::Setup(error)) => panic!("{error}"),
    }
}

/// The reference.
///
/// # Panics
/// When the program cannot be set up.
pub fn reference(program: &LftaProgram, fixed_hash: &[bool], memory: &mut Memory) -> ReferenceLfta {
    ReferenceLfta::new(program, &nodes::params(), fixed_hash, memory)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Gives packets to a backend in batches of one link type with at most `most` packets. Between the parts of `samples`, every query
/// gets the bound that follows from the next packet, when that is what its stamp says.
///
/// # Errors
/// What the backend says when it goes no further.
pub fn feed(
    backend: &mut dyn LftaBackend,
    queries: usize,
    samples: &[Vec<Sample>],
    most: usize,
    memory: &mut Memory,
) -> Result<Seen, String> {
    let interface = Value::bytes("any");
    let mut messages = Vec::new();
    let mut ordinal = 0;
    for (part, samples) in samples.iter().enumerate() {
        if let (true, Some(first)) = (part > 0, samples.first()) {
            for query in 0..queries {
                let mut out = |query, message| messages.push((query, message));
                backend.bound(query as u32, first.timestamp_ns, &mut out);
            }
        }
        let same_link = samples.chunk_by(|a, b| a.link_type == b.link_type);
        for chunk in same_link.flat_map(|run| run.chunks(most)) {
            let mut data = Vec::new();
            let records: Vec<RecordRef> = chunk
                .iter()
                .map(|sample| {
                    let at = data.len() as u32;
                    data.extend_from_slice(&sample.data);
                    RecordRef {
                        timestamp_ns: sample.timestamp_ns,
                        at,
                        caplen: sample.data.len() as u32,
                        len: sample.len,
                        direction: sample.direction,
                    }
                })
                .collect();
            let batch = PacketBatch {
                data: &data,
                records: &records,
                link_type: chunk[0].link_type,
                interface: &interface,
                ifindex: 3,
                meanwhile: None,
            };
            let mut out = |query, message| messages.push((query, message));
            backend.batch(&batch, ordinal, memory, &mut out).map_err(|e| e.to_string())?;
            ordinal += records.len() as u64;
        }
    }
    backend.finish(&mut |query, message| messages.push((query, message)));
    // Backends differ in what they put into blocks.
    let one_by_one = |(query, message): (u32, Message)| {
        message.one_by_one().into_iter().map(move |message| (query, message))
    };
    let messages = messages.into_iter().flat_map(one_by_one).collect();
    let tuples = (0..queries).map(|query| backend.tuples(query as u32)).collect();
    Ok(Seen { messages, packets: backend.packets(), tuples })
}

/// The first difference between what two backends saw, if there is one.
pub fn difference(
    program: &LftaProgram,
    fixed_hash: &[bool],
    expected: &Seen,
    got: &Seen,
) -> Option<String> {
    if expected.packets != got.packets {
        return Some(format!("packets {:?} and {:?}", expected.packets, got.packets));
    }
    for (number, query) in program.queries.iter().enumerate() {
        let fixed = fixed_hash.get(number).copied().unwrap_or(false);
        let (a, b) = (expected.tuples[number], got.tuples[number]);
        let fates = |t: TupleCounters| {
            [t.offered, t.matched, t.filtered, t.absent, t.failed, t.late, t.held]
        };
        if fates(a) != fates(b) {
            return Some(format!("query {number}: counts {a:?} and {b:?}"));
        }
        let of = |seen: &Seen| -> Vec<Message> {
            let own = seen.messages.iter().filter(|(query, _)| *query as usize == number);
            own.map(|(_, message)| message.clone()).collect()
        };
        let (mut a, mut b) = (of(expected), of(got));
        if let (LftaAction::Aggregate { keys, aggs, .. }, false) = (&query.action, fixed) {
            // Partial groups may be cut differently: only what they add up to counts.
            (a, b) = (folded(&a, keys.len(), aggs), folded(&b, keys.len(), aggs));
        }
        let place = (0..a.len().max(b.len())).find(|i| !same(a.get(*i), b.get(*i)));
        if let Some(place) = place {
            let (a, b) = (a.get(place), b.get(place));
            return Some(format!("query {number}: message {place} is {a:?} and {b:?}"));
        }
    }
    // All queries in one sequence: as a run hands them on.
    let all_select = program.queries.iter().all(|q| matches!(q.action, LftaAction::Select { .. }));
    let (a, b) = (&expected.messages, &got.messages);
    (all_select && !(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0)))
        .then(|| "messages of queries in another order".to_owned())
}

/// The same message; floats by their text, so that NaN is itself.
fn same(a: Option<&Message>, b: Option<&Message>) -> bool {
    a == b || format!("{a:?}") == format!("{b:?}")
}

/// Groups put together again, in the order of their first packets, then everything that is not a tuple.
fn folded(messages: &[Message], keys: usize, aggs: &[LftaAgg]) -> Vec<Message> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Tuple> = Vec::new();
    let mut others = Vec::new();
    for message in messages {
        let Message::Tuple(tuple) = message else {
            others.push(message.clone());
            continue;
        };
        let key = format!("{:?}", &tuple.values[..keys]);
        match places.get(&key) {
            None => {
                places.insert(key, groups.len());
                groups.push(tuple.clone());
            }
            Some(place) => merge(&mut groups[*place], tuple, keys, aggs),
        }
    }
    groups.sort_by_key(|group| group.ordinal);
    groups.into_iter().map(Message::Tuple).chain(others).collect()
}

fn merge(into: &mut Tuple, other: &Tuple, keys: usize, aggs: &[LftaAgg]) {
    into.ordinal = into.ordinal.min(other.ordinal);
    for (i, agg) in aggs.iter().enumerate() {
        let (a, b) = (&into.values[keys + i], &other.values[keys + i]);
        let binary = |op| arith::binary(op, a, b, agg.ty);
        let chosen = |op| if arith::compare(op, a, b) { a.clone() } else { b.clone() };
        let xor = || {
            let bits = a.as_u64()? ^ b.as_u64()?;
            Some(match agg.ty {
                Type::Bool => Value::Bool(bits != 0),
                ty if ty.is_signed() => Value::Int(bits as i64),
                _ => Value::Uint(bits),
            })
        };
        let merged = match agg.kind {
            AggKind::Count | AggKind::Sum => binary(BinaryOp::Add),
            AggKind::Min => Some(chosen(CmpOp::Le)),
            AggKind::Max => Some(chosen(CmpOp::Ge)),
            AggKind::BitAnd => binary(BinaryOp::BitAnd),
            AggKind::BitOr => binary(BinaryOp::BitOr),
            AggKind::BitXor => xor(),
        };
        if let Some(merged) = merged {
            into.values[keys + i] = merged;
        }
    }
}
