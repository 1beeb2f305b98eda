//! Seconds, and windows of seconds. A division of 64 bits costs as much as a whole header, so the frame keeps the last quotient with the
//! time stamp at which it began: as long as the next stamp is in the same window, the quotient is read, not computed.

use wt_catalog::protocol::Meta;
use wt_catalog::{Type, Value};
use wt_lang::ast::BinaryOp;
use wt_plan::ir::{Exprs, NodeId, Op};

use super::emit::{Emitter, FRAME, S};
use crate::asm::{AluOp, Cond, Size};

/// Nanoseconds in a second.
const NS_PER_S: i32 = 1_000_000_000;

/// Most seconds of a window that is kept.
const SECONDS_MAX: u64 = i32::MAX as u64;

/// Words of the frame for a window: the time stamp at which it began, and the quotient.
pub(super) const WINDOW_WORDS: u32 = 2;

/// Windows that a program asks for: seconds, and the first of their words in the frame.
pub(super) type Windows = Vec<(u64, u32)>;

/// The seconds of the window that a node is the number of: 1 for the time itself.
fn seconds_of(exprs: &Exprs, node: NodeId) -> Option<u64> {
    let op = |node: NodeId| &exprs.nodes[node.0 as usize].op;
    match op(node) {
        Op::Meta(Meta::Time) => Some(1),
        Op::Binary(BinaryOp::Div, a, b) if exprs.nodes[node.0 as usize].ty == Type::Uint => {
            let Op::Const(value) = op(*b) else { return None };
            let seconds = Value::as_u64(value).filter(|s| (1..=SECONDS_MAX).contains(s));
            seconds.filter(|_| matches!(op(*a), Op::Meta(Meta::Time)))
        }
        _ => None,
    }
}

/// The windows that expressions ask for, each once, in words that `take` gives.
pub(super) fn windows<'e>(
    all: impl Iterator<Item = &'e Exprs>,
    mut take: impl FnMut() -> u32,
) -> Windows {
    let nodes = all.flat_map(|exprs| {
        (0..exprs.nodes.len() as u32).filter_map(|node| seconds_of(exprs, NodeId(node)))
    });
    let mut seconds: Vec<u64> = nodes.collect();
    seconds.sort_unstable();
    seconds.dedup();
    seconds.into_iter().map(|seconds| (seconds, take())).collect()
}

impl Emitter {
    /// The number of a window of the time in `S[k]`, when the node is one. Registers up to `S[k + 2]` are overwritten.
    pub(super) fn window_number(&mut self, exprs: &Exprs, node: NodeId, k: usize) -> bool {
        let known = seconds_of(exprs, node)
            .and_then(|seconds| self.windows.iter().find(|(other, _)| *other == seconds));
        let Some((seconds, word)) = known.copied() else { return false };
        let (began, quotient) = (8 * word as i16, 8 * (word + 1) as i16);
        let (number, start, via) = (S[k], S[k + 1], S[k + 2]);
        let span = seconds * NS_PER_S as u64;
        let (same, far, end) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.load_scratch(number, self.timestamp);
        self.asm.load(Size::Dw, start, FRAME, began);
        self.asm.mov(via, number);
        self.asm.alu(AluOp::Sub, via, start);
        // Before the beginning, the difference is far beyond any span.
        let limit = self.operand(span, start);
        self.asm.branch(Cond::Lt, via, limit, same);
        self.asm.alu(AluOp::Div, number, NS_PER_S);
        // Seconds are 32 bits: a window that ends behind the last of them is not kept.
        let limit = self.operand(u64::from(u32::MAX) - seconds, via);
        self.asm.branch(Cond::Gt, number, limit, far);
        self.asm.alu(AluOp::Div, number, seconds as i32);
        self.asm.store(Size::Dw, FRAME, quotient, number);
        self.asm.mov(start, number);
        let span = self.operand(span, via);
        self.asm.alu(AluOp::Mul, start, span);
        self.asm.store(Size::Dw, FRAME, began, start);
        self.asm.jump(end);
        self.asm.place(far);
        self.asm.alu32(AluOp::Mov, number, number);
        self.asm.alu(AluOp::Div, number, seconds as i32);
        self.asm.jump(end);
        self.asm.place(same);
        self.asm.load(Size::Dw, number, FRAME, quotient);
        self.asm.place(end);
        true
    }
}
