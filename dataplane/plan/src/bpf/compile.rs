//! libpcap's compiler, and nothing else of libpcap: no device is opened.

use pcap::{Capture, Linktype};

use super::link_types::{Loopback, dlt_of};
use super::{BpfError, INSTRUCTIONS_MAX, Program, TEXT_BYTES_MAX};

/// The instructions of a tcpdump expression for a link type, optimised, as the kernel takes them: code, jump when true, jump when false, constant. They
/// look at the bytes of the packet alone.
///
/// # Errors
/// libpcap's message, or the limits of this module.
pub fn instructions(text: &str, link_type: u16) -> Result<Vec<[u32; 4]>, BpfError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BpfError::TextTooLong { bytes: text.len(), limit: TEXT_BYTES_MAX });
    }
    let refused = |e: pcap::Error| BpfError::Compile { message: message_of(&e) };
    let handle = Capture::dead(Linktype(dlt_of(link_type))).map_err(refused)?;
    let code = match handle.compile(text, true) {
        Ok(code) => code,
        // The optimiser proved that nothing matches; that is an answer, not a mistake.
        Err(pcap::Error::PcapError(m)) if m.contains("expression rejects all packets") => {
            return Ok(vec![REJECT]);
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
    Ok(instructions.iter().map(|i| fields(&i.to_string())).collect())
}

/// Return 0.
const REJECT: [u32; 4] = [6, 0, 0, 0];

/// Compiles a tcpdump expression for a link type, optimised.
///
/// # Errors
/// libpcap's message, or the limits of this module.
pub fn compile(text: &str, link_type: u16) -> Result<Program, BpfError> {
    let program = Program::decode(&instructions(text, link_type)?)?;
    Ok(match Loopback::of(link_type) {
        Some(loopback) => program.of_saved_loopback(loopback),
        None => program,
    })
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
