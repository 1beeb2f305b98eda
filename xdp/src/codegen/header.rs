//! One header, wherever it is found: its length, and the conditions under which others follow.

use wt_catalog::{ProtocolId, Value};
use wt_lang::ast::CmpOp;
use wt_plan::ir::{HeaderProgram, NodeId, Op};

use super::emit::{ABSENT, END, Emitter, S, Unportable, unportable};
use super::scope::{Lacks, Pointer, PointerAt, Raw, Scope};
use crate::asm::{AluOp, Cond, Label, Reg};

/// Where [`length`] leaves the address behind a header whose length is not constant.
pub(super) const BEHIND: Reg = S[2];

/// Goes to `to` when a condition is `want`. What is evaluated on every path is known in both cases.
pub(super) fn condition(
    e: &mut Emitter,
    scope: &mut Scope<'_>,
    when: NodeId,
    want: bool,
    to: Label,
) -> Result<(), Unportable> {
    if let Some(first) = scope.first_operand(when)
        && scope.is_reused(first)
        && !scope.may_lack(when)
    {
        let facts = scope.mark();
        match scope.raw(first) {
            Some(raw) if raw.order().is_some() => {
                if scope.known(first).is_none() && scope.kept_raw(first).is_none() {
                    e.load_raw(scope, raw, 0)?;
                    let at = e.take(1)?;
                    e.store_scratch(at, S[0]);
                    scope.learn_raw(first, at);
                }
            }
            _ => e.word(scope, first, 0)?,
        }
        scope.forget_pointers(facts);
    }
    let (facts, memory) = (scope.mark(), e.memory_mark());
    let is_straight =
        matches!(scope.op(when), Op::Compare(..) | Op::In(..)) && !scope.may_lack(when);
    e.branch(scope, when, want, to, 0)?;
    if is_straight {
        scope.forget_pointers(facts);
    } else {
        scope.forget(facts);
        e.memory_reset(memory);
    }
    Ok(())
}

/// Decides what the conditions of all children ask for, once: without it none follows, and the code goes on at `none`. From then on it is known.
pub(super) fn suppose_common(
    e: &mut Emitter,
    scope: &mut Scope<'_>,
    children: &[(ProtocolId, Option<NodeId>)],
    none: Label,
) -> Result<(), Unportable> {
    let conditions: Option<Vec<NodeId>> = children.iter().map(|(_, when)| *when).collect();
    let Some((first, others)) = conditions.as_deref().and_then(|all| all.split_first()) else {
        return Ok(());
    };
    if others.is_empty() {
        return Ok(());
    }
    let others: Vec<Vec<NodeId>> = others.iter().map(|when| scope.conjuncts(*when)).collect();
    for part in scope.conjuncts(*first) {
        let is_common = others.iter().all(|parts| parts.contains(&part));
        let is_straight = matches!(scope.op(part), Op::Compare(..) | Op::In(..));
        if !is_common || !is_straight || scope.truth(part).is_some() || scope.may_lack(part) {
            continue;
        }
        let facts = scope.mark();
        e.decide(scope, part, false, none, 0)?;
        scope.forget_pointers(facts);
        scope.suppose(part);
    }
    Ok(())
}

/// The length of a header.
#[derive(Clone, Copy)]
pub(super) enum Len {
    Known(i32),
    /// At most so many bytes. Behind [`length`] it is in `S[0]`.
    Varies {
        most: i32,
    },
}

impl Len {
    pub(super) fn most(self) -> i32 {
        match self {
            Len::Known(len) => len,
            Len::Varies { most } => most,
        }
    }
}

/// Whether a node is one of several by a condition.
fn chooses(scope: &Scope<'_>, node: NodeId) -> bool {
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        let op = scope.op(node);
        if matches!(op, Op::Select { .. } | Op::ByProtocol { .. }) {
            return true;
        }
        pending.extend(op.operands());
    }
    false
}

/// The length of a header that is the same in every packet.
pub(super) fn constant_length(header: &HeaderProgram) -> Option<u64> {
    let op = |node: NodeId| &header.exprs.nodes[node.0 as usize].op;
    match op(header.length) {
        Op::Const(value) => value.as_u64(),
        Op::Cast(inner) => match op(*inner) {
            Op::Const(value) => value.as_u64(),
            _ => None,
        },
        _ => None,
    }
}

/// Goes to `other` unless a header has the least length and passes its checks. `other` has to look at all of it again.
pub(super) fn least_length(
    e: &mut Emitter,
    scope: &mut Scope<'_>,
    header: &HeaderProgram,
    other: Label,
) -> Result<(), Unportable> {
    let mut tests: Vec<RawTest> = Vec::new();
    let mut test = |raw: Option<(Raw, u64)>| match raw {
        None => false,
        Some((raw, value)) => {
            let new = RawTest { raw, mask: raw.own_bits(), value };
            match tests.iter_mut().find(|test| test.joins(&new)) {
                Some(test) => (test.mask, test.value) = (test.mask | new.mask, test.value | value),
                None => tests.push(new),
            }
            true
        }
    };
    let min = u64::from(header.min);
    let is_raw = test(scope.raw_equal(header.length, min));
    let mut checks = header.checks.clone();
    checks.retain(|check| match scope.op(*check) {
        Op::Compare(CmpOp::Eq, a, b) => {
            let value = scope.constant(*b).and_then(Value::as_u64);
            !test(value.and_then(|value| scope.raw_equal(*a, value)))
        }
        _ => true,
    });
    if !is_raw {
        e.word(scope, header.length, 0)?;
        e.asm.branch(Cond::Ne, S[0], header.min as i32, other);
    }
    for RawTest { raw, mask, value } in tests {
        e.load_raw_bits(scope, raw, mask, 0)?;
        let value = e.operand(value, S[1]);
        e.asm.branch(Cond::Ne, S[0], value, other);
    }
    let lacks = std::mem::replace(&mut scope.lacks, Lacks { absent: other, failed: other });
    for check in checks {
        e.branch(scope, check, false, other, 0)?;
    }
    scope.lacks = lacks;
    Ok(())
}

/// Bits of bytes of a packet that are compared with a constant.
struct RawTest {
    raw: Raw,
    mask: u64,
    value: u64,
}

impl RawTest {
    /// Whether it looks at other bits of the same bytes.
    fn joins(&self, other: &RawTest) -> bool {
        let (a, b) = (self.raw, other.raw);
        (a.place.layer, a.place.byte, a.size) == (b.place.layer, b.place.byte, b.size)
            && self.mask & other.mask == 0
    }
}

/// The length of a header that is well-formed and captured whole; goes to `malformed` when it is not.
pub(super) fn length(
    e: &mut Emitter,
    scope: &mut Scope<'_>,
    header: &HeaderProgram,
    this: Pointer,
    malformed: Label,
) -> Result<Len, Unportable> {
    if header.min as i32 > ABSENT {
        return unportable(format!("a {} header of {} bytes", header.name, header.min));
    }
    let max = header.max.min(ABSENT as u32) as i32;
    let base = match this.at {
        PointerAt::Reg(reg) => reg,
        PointerAt::Slot(_) => return unportable("a header on the stack"),
    };
    if let Some(len) = constant_length(header) {
        let fits =
            len >= u64::from(header.min) && len <= u64::from(header.max) && len <= max as u64;
        if !fits {
            e.asm.jump(malformed);
            return Ok(Len::Known(0));
        }
        let len = len as i32;
        if len > header.min as i32 {
            e.check_end(base, this.disp + len, S[0], malformed);
        }
        return Ok(Len::Known(len));
    }
    let largest = wt_plan::lower::value_max(scope.exprs, header.length);
    e.word(scope, header.length, 0)?;
    if header.min > 0 {
        e.asm.branch(Cond::Lt, S[0], header.min as i32, malformed);
    }
    e.asm.branch(Cond::Gt, S[0], max, malformed);
    if chooses(scope, header.length) {
        let at = e.take(1)?;
        e.store_scratch(at, S[0]);
        // The verifier would follow each of the lengths by itself.
        e.asm.barrier();
        e.load_scratch(S[0], at);
        e.asm.alu(AluOp::And, S[0], ABSENT);
    }
    // What the verifier may not know.
    let max = match i32::try_from(largest) {
        Ok(largest) if largest < max => {
            let bits = 32 - (largest as u32).leading_zeros();
            let mask = (1 << bits) - 1;
            if mask > 0 {
                e.asm.alu(AluOp::And, S[0], mask);
            }
            mask.min(max)
        }
        _ => max,
    };
    e.asm.mov(BEHIND, base);
    if this.disp != 0 {
        e.asm.alu(AluOp::Add, BEHIND, this.disp);
    }
    e.asm.alu(AluOp::Add, BEHIND, S[0]);
    e.asm.branch(Cond::Gt, BEHIND, END, malformed);
    Ok(Len::Varies { most: max })
}
