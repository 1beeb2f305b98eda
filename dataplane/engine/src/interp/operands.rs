//! Which nodes a node reads.

use wt_plan::ir::{NodeId, Op};

/// Which operands are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those that are read whatever their values: not the arms of [`Op::ByProtocol`] and [`Op::Select`].
    Always,
}

/// Visits the operands of a node in operand order, until one is refused.
pub(crate) fn operands<E>(
    op: &Op,
    which: Which,
    mut visit: impl FnMut(NodeId) -> Result<(), E>,
) -> Result<(), E> {
    match op {
        Op::Const(_)
        | Op::Param(_)
        | Op::Input(_)
        | Op::Meta(_)
        | Op::Present(_)
        | Op::Offset(_)
        | Op::Depth { .. } => Ok(()),
        Op::Load { at, .. }
        | Op::LoadOrZero { at, .. }
        | Op::InBounds { at, .. }
        | Op::LoadIpv6 { at, .. } => at.map_or(Ok(()), visit),
        Op::Slice { at, len, .. } => {
            visit(*at)?;
            len.map_or(Ok(()), visit)
        }
        Op::ByProtocol { .. } if which == Which::Always => Ok(()),
        Op::ByProtocol { arms, .. } => arms.iter().try_for_each(|(_, node)| visit(*node)),
        Op::Unary(_, a) | Op::Not(a) | Op::In(a, _) | Op::Cast(a) => visit(*a),
        Op::Binary(_, a, b)
        | Op::Saturating(_, a, b)
        | Op::Compare(_, a, b)
        | Op::And(a, b)
        | Op::Or(a, b) => {
            visit(*a)?;
            visit(*b)
        }
        Op::Select { cond, .. } if which == Which::Always => visit(*cond),
        Op::Select { cond, then, otherwise } => {
            visit(*cond)?;
            visit(*then)?;
            visit(*otherwise)
        }
        Op::Call { args, .. } => args.iter().try_for_each(|node| visit(*node)),
    }
}
