//! Packets at the very edge of what may be read: one step further would end the test program.

use wt_catalog::Value;
use wt_engine::ledger::TupleCounters;
use wt_engine::{LftaBackend, Memory, Message, PacketBatch, PathsWanted};
use wt_plan::ir::LftaProgram;
use wt_wire::RecordRef;

use super::sys::Guarded;
use super::{Sample, compiled, reference};

/// Longest packet that is placed, bytes.
const PACKET_BYTES_MAX: usize = 4096;

/// Places each packet, cut to each length up to `most` and whole, before a page that cannot be read and behind one, runs compiled code over
/// it, and compares with the reference. The number of packets that were run; nothing when the program is not compiled.
///
/// # Errors
/// The first difference.
pub fn run(program: &LftaProgram, samples: &[Sample], most: usize) -> Result<Option<u64>, String> {
    let memory = &mut Memory::new(None);
    let Some(first) = samples.first() else { return Ok(None) };
    let Ok(mut fast) = compiled(program, &[], PathsWanted::All, first.link_type, memory) else {
        return Ok(None);
    };
    let mut slow = reference(program, &[], memory);
    let mut pages = Guarded::new(PACKET_BYTES_MAX);
    let mut ordinal = 0;
    for sample in samples {
        let whole = sample.data.len().min(PACKET_BYTES_MAX);
        let lens = (0..=whole.min(most)).chain((whole > most).then_some(whole));
        for len in lens {
            let data = &sample.data[..len];
            for at_end in [true, false] {
                let room = pages.bytes();
                let start = if at_end { room.len() - len } else { 0 };
                let place = &mut room[start..start + len];
                place.copy_from_slice(data);
                let expected = one(&mut slow, sample, data, ordinal, memory)?;
                let got = one(&mut fast, sample, place, ordinal, memory)?;
                if expected != got {
                    return Err(format!(
                        "{expected:?} and {got:?}, cut to {len}: {}",
                        sample.hex()
                    ));
                }
                ordinal += 1;
            }
        }
    }
    let count = program.queries.len() as u32;
    let counts = |backend: &dyn LftaBackend| -> Vec<TupleCounters> {
        (0..count).map(|query| backend.tuples(query)).collect()
    };
    if counts(&fast) != counts(&slow) || fast.packets() != slow.packets() {
        return Err(format!("{:?} and {:?}", counts(&slow), counts(&fast)));
    }
    Ok(Some(ordinal))
}

/// A batch of one packet.
fn one(
    backend: &mut dyn LftaBackend,
    sample: &Sample,
    data: &[u8],
    ordinal: u64,
    memory: &mut Memory,
) -> Result<Vec<(u32, Message)>, String> {
    let record = RecordRef {
        timestamp_ns: sample.timestamp_ns,
        at: 0,
        caplen: data.len() as u32,
        len: sample.len,
        direction: sample.direction,
    };
    let interface = Value::bytes("any");
    let batch = PacketBatch {
        data,
        records: std::slice::from_ref(&record),
        link_type: sample.link_type,
        interface: &interface,
        ifindex: 0,
        meanwhile: None,
    };
    let mut messages = Vec::new();
    let mut out = |query, message| messages.push((query, message));
    backend.batch(&batch, ordinal, memory, &mut out).map_err(|e| e.to_string())?;
    Ok(messages)
}
