//! libpcap's compiler, and nothing else of libpcap: no device is opened.

use pcap::{Capture, Linktype};

use super::{BpfError, INSTRUCTIONS_MAX, Program, TEXT_BYTES_MAX};

/// LINKTYPE_ numbers whose DLT_ number on Linux differs (libpcap `pcap-common.c`).
const DLT_OF_LINK_TYPE: [(u16, i32); 6] =
    [(100, 11), (101, 12), (102, 13), (103, 14), (104, 15), (105, 105)];

/// Compiles a tcpdump expression for a link type, optimised.
///
/// # Errors
/// libpcap's message, or the limits of this module.
pub fn compile(text: &str, link_type: u16) -> Result<Program, BpfError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BpfError::TextTooLong { bytes: text.len(), limit: TEXT_BYTES_MAX });
    }
    let dlt = DLT_OF_LINK_TYPE
        .iter()
        .find(|(l, _)| *l == link_type)
        .map_or(i32::from(link_type), |(_, dlt)| *dlt);
    let refused = |e: pcap::Error| BpfError::Compile { message: message_of(&e) };
    let handle = Capture::dead(Linktype(dlt)).map_err(refused)?;
    let code = match handle.compile(text, true) {
        Ok(code) => code,
        // The optimiser proved that nothing matches; that is an answer, not a mistake.
        Err(pcap::Error::PcapError(m)) if m.contains("expression rejects all packets") => {
            return Ok(Program::reject_all());
        }
        Err(e) => return Err(refused(e)),
    };
    let instructions = code.get_instructions();
    if instructions.len() > INSTRUCTIONS_MAX {
        return Err(BpfError::TooLong {
            instructions: instructions.len(),
            limit: INSTRUCTIONS_MAX,
        });
    }
    let raw: Vec<[u32; 4]> = instructions.iter().map(|i| fields(&i.to_string())).collect();
    Program::decode(&raw)
}

/// The instruction's fields, `code jt jf k`: its printed form is the one way to them without reading raw memory.
fn fields(text: &str) -> [u32; 4] {
    let mut out = [0; 4];
    for (slot, word) in out.iter_mut().zip(text.split(' ')) {
        // A word that is no number becomes a code that decoding refuses.
        *slot = word.parse().unwrap_or(u32::MAX);
    }
    out
}

fn message_of(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(m) => m.clone(),
        other => other.to_string(),
    }
}
