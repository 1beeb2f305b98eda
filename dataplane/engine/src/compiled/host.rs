//! What compiled code leaves to the host: function calls, and operators on values that are not words. They compute what
//! the reference interpreter computes, by the same definitions.

use std::sync::Arc;

use wt_catalog::layout::{Class, value_of, words_of};
use wt_catalog::{Type, Value, arith};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};
use wt_wire::RecordRef;

use super::rare::RareWalk;
use super::sys;
use crate::functions::lpm::PrefixTable;
use crate::functions::regex::Regex;
use crate::functions::{Handle, ScalarFn};
use crate::interp::eval::is_member;
use crate::packet::PacketBatch;

/// No lack, as compiled code counts them.
pub(super) const NONE: u64 = 0;
/// [`crate::interp::Lack::Absent`].
pub(super) const ABSENT: u64 = 1;
/// [`crate::interp::Lack::Failed`].
pub(super) const FAILED: u64 = 2;

/// Number of the value kept in the place of those that nobody reads.
pub(super) const KEPT_EMPTY: u64 = 0;

/// Evaluates nodes for compiled code.
pub(super) struct Host {
    nodes: Vec<HostNode>,
    handles: Arc<[Handle]>,
    /// Constants that compiled code points at.
    constants: Vec<Value>,
    /// Values that live until the batch ends, by number; the first one always.
    kept: Vec<Value>,
    /// What packets of the batch at hand have in common.
    batch: BatchFacts,
    rare: Option<RareWalk>,
    /// Counters of the packet at hand, and those they are added to.
    pending: Vec<(usize, usize)>,
}

/// What packets of a batch have in common.
#[derive(Clone, Debug)]
pub(super) struct BatchFacts {
    pub(super) link_type: u16,
    pub(super) interface: Value,
    pub(super) ifindex: u32,
}

/// A node for the host.
pub(super) struct HostNode {
    pub(super) op: HostOp,
    pub(super) ty: Type,
    pub(super) args: Vec<HostArg>,
    /// Frame word of the result.
    pub(super) result_at: usize,
}

/// What the host computes.
pub(super) enum HostOp {
    Unary(UnaryOp),
    Binary(BinaryOp),
    Compare(CmpOp),
    In(Vec<Value>),
    Cast,
    Call {
        call: Option<ScalarFn>,
        handle: Option<usize>,
    },
    /// A pattern on bytes: needs no copy of them.
    Matches {
        handle: usize,
    },
}

/// An operand.
pub(super) enum HostArg {
    Const(Value),
    /// Words of the frame from `at` on.
    Words {
        ty: Type,
        at: usize,
    },
}

impl Host {
    pub(super) fn new(handles: Arc<[Handle]>) -> Self {
        let batch = BatchFacts { link_type: 0, interface: Value::Bool(false), ifindex: 0 };
        let (nodes, constants) = (Vec::new(), Vec::new());
        let kept = vec![Value::bytes(b"")];
        Self { nodes, handles, constants, kept, batch, rare: None, pending: Vec::new() }
    }

    /// A host that also walks packets on paths without code.
    pub(super) fn with_rare(self, rare: RareWalk) -> Self {
        Self { rare: Some(rare), ..self }
    }

    /// A host that settles counters of the packet at hand.
    pub(super) fn with_pending(self, pending: Vec<(usize, usize)>) -> Self {
        Self { pending, ..self }
    }

    /// Whether code asks it for nothing but to walk rare paths and to settle counters. Patterns it asks for by nodes only; other
    /// handles it may have the addresses of.
    pub(super) fn is_bare(&self) -> bool {
        self.nodes.is_empty()
            && self.constants.is_empty()
            && self.handles.iter().all(|handle| matches!(handle, Handle::Regex(_)))
    }

    /// Adds the counters of the packet at hand to those that last, or forgets them.
    pub(super) fn settle(&self, frame: &mut [u64], counts: bool) {
        for &(pending, lasting) in &self.pending {
            let count = std::mem::take(&mut frame[pending]);
            frame[lasting] += if counts { count } else { 0 };
        }
    }

    /// Packets that took paths without code.
    pub(super) fn rare_packets(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.packets)
    }

    /// Forgets how many they were.
    pub(super) fn count_rare_anew(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.packets = 0;
        }
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self, batch: &PacketBatch<'_>) {
        self.batch.link_type = batch.link_type;
        self.batch.ifindex = batch.ifindex;
        if self.batch.interface != *batch.interface {
            self.batch.interface = batch.interface.clone();
        }
    }

    /// Walks the headers of a packet on a path without code; what it finds goes into the frame from `at` on. `start` is where the packet begins
    /// for code: of no bytes, `data` lies elsewhere.
    pub(super) fn walk(
        &mut self,
        frame: &mut [u64],
        record: &RecordRef,
        (start, data): (u64, &[u8]),
        at: usize,
    ) -> u64 {
        let Some(rare) = &mut self.rare else { return super::rare::COMPLETE };
        let facts = &self.batch;
        let batch = PacketBatch {
            data,
            records: &[],
            link_type: facts.link_type,
            interface: &facts.interface,
            ifindex: facts.ifindex,
            meanwhile: None,
        };
        let packet = batch.packet(&RecordRef { at: 0, ..*record });
        let zeros = frame[super::frame::ZEROS];
        rare.walk(&packet, start, zeros, &mut frame[at..])
    }

    /// Adds a node and returns its number.
    pub(super) fn add(&mut self, node: HostNode) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The pattern that a handle is, if it is one.
    pub(super) fn pattern(&self, handle: usize) -> Option<&Regex> {
        match self.handles.get(handle) {
            Some(Handle::Regex(regex)) => Some(regex),
            _ => None,
        }
    }

    /// The table that a handle is, if it is one of prefixes. It stays where it is as long as the host.
    pub(super) fn prefixes(&self, handle: usize) -> Option<&PrefixTable> {
        match self.handles.get(handle) {
            Some(Handle::Prefixes(table)) => Some(table),
            _ => None,
        }
    }

    /// Keeps a constant and returns the address and length of its bytes.
    pub(super) fn constant(&mut self, value: &Value) -> Option<(u64, u64)> {
        let Value::Bytes(bytes) = value else { return None };
        let place = (bytes.as_ptr() as u64, bytes.len() as u64);
        self.constants.push(value.clone());
        Some(place)
    }

    /// Keeps bytes until the batch ends.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> u64 {
        self.kept.push(Value::bytes(bytes));
        self.kept.len() as u64 - 1
    }

    /// Values kept since the batch began.
    pub(super) fn kept(&self) -> &[Value] {
        &self.kept
    }

    /// Ends a batch.
    pub(super) fn forget(&mut self) {
        self.kept.truncate(KEPT_EMPTY as usize + 1);
    }

    /// Evaluates a node; its lack, or [`NONE`] and the result is in the frame.
    pub(super) fn evaluate(&mut self, frame: &mut [u64], node: usize) -> u64 {
        let HostNode { op, ty, args, result_at } = &self.nodes[node];
        if let HostOp::Matches { handle } = op {
            let (Handle::Regex(regex), HostArg::Words { at, .. }) =
                (&self.handles[*handle], &args[0])
            else {
                return FAILED;
            };
            frame[*result_at] = u64::from(regex.is_match(sys::bytes(&frame[*at], frame[*at + 1])));
            return NONE;
        }
        let values: Vec<Value> = args.iter().map(|arg| self.value(arg, frame)).collect();
        let result = match op {
            HostOp::Unary(op) => arith::unary(*op, &values[0], *ty),
            HostOp::Binary(op) => arith::binary(*op, &values[0], &values[1], *ty),
            HostOp::Compare(op) => Some(Value::Bool(arith::compare(*op, &values[0], &values[1]))),
            HostOp::In(members) => {
                Some(Value::Bool(members.iter().any(|member| is_member(&values[0], member))))
            }
            HostOp::Cast => arith::cast(&values[0], *ty),
            HostOp::Call { call, handle } => {
                call.and_then(|call| call(&values, handle.map(|h| &self.handles[h])))
            }
            HostOp::Matches { .. } => None,
        };
        let Some(value) = result else { return FAILED };
        let result_at = *result_at;
        match Class::of(*ty) {
            Class::Bytes => {
                let Value::Bytes(bytes) = &value else { return FAILED };
                frame[result_at] = bytes.as_ptr() as u64;
                frame[result_at + 1] = bytes.len() as u64;
                self.kept.push(value);
            }
            Class::Kept => {
                frame[result_at] = self.kept.len() as u64;
                self.kept.push(value);
            }
            class => match words_of(&value) {
                Some(words) => {
                    let count = class.words();
                    frame[result_at..result_at + count].copy_from_slice(&words[..count]);
                }
                None => return FAILED,
            },
        }
        NONE
    }

    fn value(&self, arg: &HostArg, frame: &[u64]) -> Value {
        match arg {
            HostArg::Const(value) => value.clone(),
            HostArg::Words { ty, at } => match Class::of(*ty) {
                Class::Bytes => Value::bytes(sys::bytes(&frame[*at], frame[*at + 1])),
                Class::Kept => self.kept[frame[*at] as usize].clone(),
                _ => value_of(*ty, &frame[*at..]).unwrap_or_else(|| Value::default_of(*ty)),
            },
        }
    }
}
