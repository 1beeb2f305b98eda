//! `pcap_filter('…')`: tcpdump expressions, compiled by libpcap to classic BPF and translated into IR nodes, so that
//! they run on every backend and mean exactly what tcpdump means.
//!
//! The machine code differs by link type, so a filter is compiled once for each that the program can meet and the
//! packet's own link type selects. A filter that makes no sense on a link type (`ether host` on raw IP) matches nothing
//! there.
//!
//! Names in a filter (`host www`) are resolved by libpcap as for tcpdump; numbers need no resolver.

mod compile;
mod link_types;
mod program;
mod sys;
mod translate;

use thiserror::Error;
use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::CmpOp;

use crate::ir::{NodeId, Op};
use crate::lower::Dag;

pub use compile::{compile, instructions};
pub use link_types::{KNOWN, Loopback, OTHER};
pub use program::{Alu, Insn, Program, Source, Test};
pub use translate::translate;

/// Most instructions of one compiled filter; libpcap's own kernel limit.
pub const INSTRUCTIONS_MAX: usize = 4096;

/// Longest filter text, bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Link types tried when a filter is checked without a program at hand: Ethernet first, whose message is shown.
const CHECKED_LINK_TYPES: [u16; 11] = [1, 101, 0, 108, 113, 276, 9, 50, 51, 127, 107];

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BpfError {
    /// libpcap refuses it.
    #[error("{message}")]
    Compile {
        /// libpcap's words.
        message: String,
    },
    /// The text is too long.
    #[error("the filter has {bytes} bytes, at most {limit} are allowed")]
    TextTooLong {
        /// What was given.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The code is too long.
    #[error("the filter compiles to {instructions} instructions, at most {limit} are allowed")]
    TooLong {
        /// What came out.
        instructions: usize,
        /// The limit.
        limit: usize,
    },
    /// It asks the Linux kernel for something that is not in the packet.
    #[error("the filter needs the kernel's {name}, which is not part of the packet")]
    KernelExtension {
        /// What it asks for.
        name: &'static str,
    },
    /// It loops, so nothing bounds its work on a packet.
    #[error("the filter loops over headers (`protochain`), which no bounded program can do")]
    Loop,
    /// Code that no classic BPF machine accepts.
    #[error("instruction {index} of the compiled filter (code {code:#x}) is not classic BPF")]
    BadInstruction {
        /// Its index.
        index: usize,
        /// Its code.
        code: u16,
    },
}

/// Checks a filter for the binder's message: it must compile and translate for at least one link type.
///
/// # Errors
/// What is wrong with it on Ethernet.
pub fn check_pcap_filter(text: &str) -> Result<(), BpfError> {
    let mut first = None;
    for link_type in CHECKED_LINK_TYPES {
        match compile(text, link_type).and_then(|p| translate(&p, &mut Dag::default())) {
            Ok(_) => return Ok(()),
            Err(e) => first.get_or_insert(e),
        };
    }
    Err(first.unwrap_or(BpfError::Compile { message: "no link type to compile for".into() }))
}

/// The node of a filter over packets of the given link types; others match nothing, unless [`OTHER`] is among them.
///
/// # Errors
/// When the filter fits none of them; the message is that of the first.
pub fn pcap_filter(text: &str, link_types: &[u16], dag: &mut Dag) -> Result<NodeId, BpfError> {
    let mut first_error = None;
    // Many link types share their code: equal code is one node.
    let mut cases: Vec<(NodeId, Vec<u16>)> = Vec::new();
    let mut others = None;
    for &link_type in link_types {
        match compile(text, link_type).and_then(|p| translate(&p, dag)) {
            Ok(matches) if link_type == OTHER => others = Some(matches),
            Ok(matches) => match cases.iter_mut().find(|(node, _)| *node == matches) {
                Some((_, same)) => same.push(link_type),
                None => cases.push((matches, vec![link_type])),
            },
            Err(e) => {
                first_error.get_or_insert(e);
            }
        }
    }
    if let (Some(error), true, None) = (first_error, cases.is_empty(), others) {
        return Err(error);
    }
    let found = dag.node(Op::Meta(Meta::LinkType), Type::Uint);
    let no = dag.bool(false);
    let mut node = match others {
        Some(matches) => {
            let from = dag.uint(u64::from(link_types::OTHERS_FROM), Type::Uint);
            let is_other = dag.node(Op::Compare(CmpOp::Ge, found, from), Type::Bool);
            // What the listed ones refuse must not fall to the others.
            let refused: Vec<Value> = link_types
                .iter()
                .filter(|l| **l != OTHER && !cases.iter().any(|(_, same)| same.contains(l)))
                .map(|l| Value::Uint(u64::from(*l)))
                .collect();
            let matches = dag.select(is_other, matches, no);
            if refused.is_empty() {
                matches
            } else {
                let is_refused = dag.node(Op::In(found, refused), Type::Bool);
                dag.select(is_refused, no, matches)
            }
        }
        None => no,
    };
    // Backwards, so that the first link type is asked for first.
    for (matches, same) in cases.into_iter().rev() {
        let is_one = match same.as_slice() {
            [only] => {
                let wanted = dag.uint(u64::from(*only), Type::Uint);
                dag.node(Op::Compare(CmpOp::Eq, found, wanted), Type::Bool)
            }
            several => {
                let values = several.iter().map(|l| Value::Uint(u64::from(*l))).collect();
                dag.node(Op::In(found, values), Type::Bool)
            }
        };
        node = dag.select(is_one, matches, node);
    }
    Ok(node)
}

#[cfg(test)]
mod tests;
