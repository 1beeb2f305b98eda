//! Expressions over whatever leaves they stand on.

use std::sync::Arc;

use wt_catalog::function::PassBy;
use wt_catalog::{Function, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use super::{Dag, LowerError};
use crate::ir::{HandleArg, HandleSpec, NodeId, Op, ParamId};
use crate::logical::{Expr, ExprKind, IN_WATCHLIST};

/// Lowers the leaves of an expression: what differs between an LFTA and an HFTA.
pub(super) trait Leaves {
    /// The nodes under construction.
    fn dag(&mut self) -> &mut Dag;
    /// A leaf: field, column, property, depth, presence, filter.
    fn leaf(&mut self, e: &Expr) -> Result<NodeId, LowerError>;
}

/// The node of an expression.
pub(super) fn lower<L: Leaves>(l: &mut L, e: &Expr) -> Result<NodeId, LowerError> {
    let ty = e.ty;
    Ok(match &e.kind {
        ExprKind::Const(v) => l.dag().constant(v.clone(), ty),
        ExprKind::Param(i) => l.dag().node(Op::Param(param_id(*i)), ty),
        ExprKind::Field(_)
        | ExprKind::Column(_)
        | ExprKind::InterfaceProperty(_)
        | ExprKind::Depth(_)
        | ExprKind::Present(_)
        | ExprKind::PcapFilter(_) => l.leaf(e)?,
        ExprKind::Unary(op, a) => {
            let a = lower(l, a)?;
            if *op == UnaryOp::Not && ty == Type::Bool {
                l.dag().not(a)
            } else {
                l.dag().node(Op::Unary(*op, a), ty)
            }
        }
        ExprKind::Binary(op, a, b) => {
            let (a, b) = (lower(l, a)?, lower(l, b)?);
            binary(l.dag(), *op, a, b, ty)
        }
        ExprKind::Compare(op, a, b) => {
            let (a, b) = (lower(l, a)?, lower(l, b)?);
            compare(l.dag(), *op, a, b)
        }
        ExprKind::And(a, b) => {
            let (a, b) = (lower(l, a)?, lower(l, b)?);
            l.dag().and(a, b)
        }
        ExprKind::Or(a, b) => {
            let (a, b) = (lower(l, a)?, lower(l, b)?);
            l.dag().or(a, b)
        }
        ExprKind::Not(a) => {
            let a = lower(l, a)?;
            l.dag().not(a)
        }
        ExprKind::In(a, values) => {
            let a = lower(l, a)?;
            is_in(l.dag(), a, values)
        }
        ExprKind::InWatchlist(a, list) => {
            let a = lower(l, a)?;
            let a = narrow_address(l.dag(), a);
            let argument = HandleArg::Watchlist(Arc::clone(&list.source));
            let handle = l.dag().handle(HandleSpec { symbol: IN_WATCHLIST, argument });
            l.dag().call(IN_WATCHLIST, vec![a], Some(handle), ty, false)
        }
        ExprKind::If(cond, then, otherwise) => {
            let cond = lower(l, cond)?;
            let (then, otherwise) = (lower(l, then)?, lower(l, otherwise)?);
            let cond = truth(l.dag(), cond);
            let (then, otherwise) = (l.dag().cast(then, ty), l.dag().cast(otherwise, ty));
            l.dag().select(cond, then, otherwise)
        }
        ExprKind::Cast(a) => {
            let a = lower(l, a)?;
            l.dag().cast(a, ty)
        }
        ExprKind::Call { function, args } => call(l, function, args, ty)?,
    })
}

/// Parameters are few: the plan's list bounds them.
fn param_id(i: usize) -> ParamId {
    ParamId(u32::try_from(i).unwrap_or(u32::MAX))
}

/// A value as a condition: not zero.
pub(super) fn truth(dag: &mut Dag, a: NodeId) -> NodeId {
    dag.cast(a, Type::Bool)
}

/// Arithmetic; masks of an address whose family is known stay in that family.
fn binary(dag: &mut Dag, op: BinaryOp, a: NodeId, b: NodeId, ty: Type) -> NodeId {
    if ty == Type::Inet && matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr) {
        let (na, nb) = (narrow_address(dag, a), narrow_address(dag, b));
        let family = |n: NodeId| match dag.ty(n) {
            Type::Ip | Type::Ipv6 => Some(dag.ty(n)),
            _ => None,
        };
        if let (Some(fa), Some(fb)) = (family(na), family(nb))
            && fa == fb
        {
            let masked = dag.node(Op::Binary(op, na, nb), fa);
            return dag.cast(masked, ty);
        }
    }
    dag.node(Op::Binary(op, a, b), ty)
}

/// The address below a widening to INET, or a constant of a known family.
fn narrow_address(dag: &mut Dag, a: NodeId) -> NodeId {
    if dag.ty(a) != Type::Inet {
        return a;
    }
    match dag.get(a).op.clone() {
        Op::Cast(inner) if matches!(dag.ty(inner), Type::Ip | Type::Ipv6) => inner,
        Op::Const(Value::Inet(std::net::IpAddr::V4(v4))) => dag.constant(Value::Ip(v4), Type::Ip),
        Op::Const(Value::Inet(std::net::IpAddr::V6(v6))) => {
            dag.constant(Value::Ipv6(v6), Type::Ipv6)
        }
        _ => a,
    }
}

/// Comparison; addresses of one known family compare in that family.
fn compare(dag: &mut Dag, op: CmpOp, a: NodeId, b: NodeId) -> NodeId {
    let (na, nb) = (narrow_address(dag, a), narrow_address(dag, b));
    if dag.ty(na) == dag.ty(nb) {
        return dag.node(Op::Compare(op, na, nb), Type::Bool);
    }
    dag.node(Op::Compare(op, a, b), Type::Bool)
}

/// Membership; of an address of a known family, only members of that family can match.
pub(super) fn is_in(dag: &mut Dag, a: NodeId, values: &[Value]) -> NodeId {
    let narrow = narrow_address(dag, a);
    let members: Vec<Value> = match dag.ty(narrow) {
        Type::Ip | Type::Ipv6 => {
            let v4 = dag.ty(narrow) == Type::Ip;
            values.iter().filter(|v| family_is_v4(v) == Some(v4)).map(bare_address).collect()
        }
        _ => values.to_vec(),
    };
    if members.is_empty() && dag.never_absent(narrow) {
        return dag.bool(false);
    }
    dag.node(Op::In(narrow, members), Type::Bool)
}

fn family_is_v4(v: &Value) -> Option<bool> {
    match v {
        Value::Prefix(a, _) => Some(a.is_ipv4()),
        // An integer beside an IP is its 32 bits.
        Value::Uint(_) | Value::Int(_) => Some(true),
        v => v.as_addr().map(|a| a.is_ipv4()),
    }
}

fn bare_address(v: &Value) -> Value {
    match v {
        Value::Inet(std::net::IpAddr::V4(a)) => Value::Ip(*a),
        Value::Inet(std::net::IpAddr::V6(a)) => Value::Ipv6(*a),
        v => v.clone(),
    }
}

/// A call, its handle argument taken out.
fn call<L: Leaves>(
    l: &mut L,
    function: &Function,
    args: &[Expr],
    ty: Type,
) -> Result<NodeId, LowerError> {
    let mut nodes = Vec::with_capacity(args.len());
    let mut handle = None;
    for (i, arg) in args.iter().enumerate() {
        let param = function.params.get(i).or(function.params.last().filter(|_| function.variadic));
        let by_handle = param.is_some_and(|p| p.pass == PassBy::Handle);
        let node = lower(l, arg)?;
        if !by_handle {
            nodes.push(node);
            continue;
        }
        let argument = match &l.dag().get(node).op {
            Op::Const(v) => HandleArg::Const(v.clone()),
            Op::Param(p) => HandleArg::Param(*p),
            _ => {
                return Err(LowerError::HandleArgument {
                    function: function.name.into(),
                    argument: i + 1,
                });
            }
        };
        handle = Some(l.dag().handle(HandleSpec { symbol: function.symbol, argument }));
    }
    if let Some(node) = super::portable::lower(l.dag(), function, &nodes, ty) {
        return Ok(node);
    }
    Ok(l.dag().call(function.symbol, nodes, handle, ty, function.partial))
}
