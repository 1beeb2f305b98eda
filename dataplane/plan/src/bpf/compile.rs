//! libpcap's compiler, and nothing else of libpcap: no device is opened.

use super::link_types::{Loopback, dlt_of};
use super::{BpfError, INSTRUCTIONS_MAX, Program, TEXT_BYTES_MAX, sys};

/// The instructions of a tcpdump expression for a link type, optimised, as the kernel takes them: code, jump when true, jump when false, constant. They
/// look at the bytes of the packet alone.
///
/// # Errors
/// libpcap's message, or the limits of this module.
pub fn instructions(text: &str, link_type: u16) -> Result<Vec<[u32; 4]>, BpfError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BpfError::TextTooLong { bytes: text.len(), limit: TEXT_BYTES_MAX });
    }
    let instructions = match sys::compile(text, dlt_of(link_type)) {
        Ok(instructions) => instructions,
        // The optimiser proved that nothing matches; that is an answer, not a mistake.
        Err(message) if message.contains("expression rejects all packets") => vec![REJECT],
        Err(message) => return Err(BpfError::Compile { message }),
    };
    match instructions.len() {
        count if count > INSTRUCTIONS_MAX => {
            Err(BpfError::TooLong { instructions: count, limit: INSTRUCTIONS_MAX })
        }
        _ => Ok(instructions),
    }
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
