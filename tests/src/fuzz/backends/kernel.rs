//! Programs in the kernel against the reference: what must be the same of them.
//!
//! Groups leave the kernel in parts, when a batch of packets is over, and punctuation follows then. So the parts are added up, and what
//! is compared is every tuple and what became of every packet.

use wt_catalog::Value;
use wt_engine::{LftaSetup, Memory, Message};
use wt_plan::Compiled;
use wt_plan::ir::{LftaAction, LftaProgram};
use wt_xdp::TriedLfta;
use wt_xdp::codegen;
use wt_xdp::loader::TRIED_BYTES;

use super::{Sample, Seen, folded, same};
use crate::rng::Rng;

/// What shows only when code is made: sizes, and states of aggregates.
const BY_GENERATOR: [&str; 3] = ["more ", "a frame larger", "an aggregate of "];

/// Makes packets such as the kernel takes: Ethernet, not too short, not too long.
pub fn fit(samples: &mut [Sample], rng: &mut Rng) {
    for sample in samples {
        sample.link_type = 1;
        while sample.data.len() < *TRIED_BYTES.start() {
            sample.data.push(rng.below(256) as u8);
        }
        sample.data.truncate(*TRIED_BYTES.end());
    }
}

/// The program in the kernel; nothing when no query of it has code there.
///
/// # Errors
/// The kernel refuses it.
pub fn tried(
    program: &LftaProgram,
    params: &[Value],
    fixed_hash: &[bool],
    memory: &mut Memory,
) -> Result<Option<TriedLfta>, String> {
    let setup = LftaSetup { interface: "any", program, params, fixed_hash };
    TriedLfta::new(&setup, memory).map_err(|error| {
        let log = match &error {
            wt_xdp::TriedError::Load(wt_xdp::loader::LoadError::Refused { log, .. }) => {
                let lines: Vec<&str> = log.lines().collect();
                lines[lines.len().saturating_sub(60)..].join("\n")
            }
            _ => String::new(),
        };
        format!("{error}\n{log}")
    })
}

/// The first difference between what the reference and the kernel saw, if there is one.
pub fn difference(program: &LftaProgram, expected: &Seen, got: &Seen) -> Option<String> {
    if expected.packets != got.packets {
        return Some(format!("packets {:?} and {:?}", expected.packets, got.packets));
    }
    for (number, query) in program.queries.iter().enumerate() {
        let (a, b) = (&expected.tuples[number], &got.tuples[number]);
        let fates = |t: &wt_engine::ledger::TupleCounters| {
            [t.offered, t.matched, t.filtered, t.absent, t.failed, t.late, t.held]
        };
        if fates(a) != fates(b) {
            return Some(format!("query {number}: counts {a:?} and {b:?}"));
        }
        let of = |seen: &Seen| -> Vec<Message> {
            let own = seen.messages.iter().filter(|(query, message)| {
                *query as usize == number && matches!(message, Message::Tuple(_))
            });
            own.map(|(_, message)| message.clone()).collect()
        };
        let (mut a, mut b) = (of(expected), of(got));
        if let LftaAction::Aggregate { keys, aggs, .. } = &query.action {
            (a, b) = (folded(&a, keys.len(), aggs), folded(&b, keys.len(), aggs));
        }
        let place = (0..a.len().max(b.len())).find(|i| !same(a.get(*i), b.get(*i)));
        if let Some(place) = place {
            let (a, b) = (a.get(place), b.get(place));
            return Some(format!("query {number}: tuple {place} is {a:?} and {b:?}"));
        }
    }
    None
}

/// Whether the only LFTA of a plan has code for XDP; nothing when there is none, or more.
///
/// # Errors
/// The planner says otherwise than the generator.
pub fn placement(plan: &Compiled) -> Result<Option<bool>, String> {
    let ([interface], [notes]) = (&plan.physical.interfaces[..], &plan.report.lftas[..]) else {
        return Ok(None);
    };
    let [note] = &notes[..] else { return Ok(None) };
    let params: Vec<Value> = plan.physical.params.iter().map(|p| p.value.clone()).collect();
    let made = codegen::compile(&interface.program, &params, &codegen::Options::default());
    let made = made.map_err(|error| error.to_string())?;
    let by_generator = made.host.first().map(|host| host.reason.as_str());
    match (by_generator, &note.host_only[..]) {
        (None, []) => Ok(Some(true)),
        (Some(reason), []) if BY_GENERATOR.iter().any(|known| reason.starts_with(known)) => {
            Ok(Some(false))
        }
        (Some(_), [_, ..]) => Ok(Some(false)),
        (Some(reason), []) => Err(format!("portable, and the generator says: {reason}")),
        (None, reasons) => Err(format!("there is code, and the planner says: {reasons:?}")),
    }
}
