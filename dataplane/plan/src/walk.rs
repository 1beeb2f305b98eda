//! Walking logical plans and their expressions.

use wt_catalog::ProtocolId;

use crate::logical::{Expr, ExprKind, LogicalNode};

/// Operands, in order.
pub fn children(e: &Expr) -> Vec<&Expr> {
    match &e.kind {
        ExprKind::Const(_)
        | ExprKind::Param(_)
        | ExprKind::Field(_)
        | ExprKind::Column(_)
        | ExprKind::InterfaceProperty(_)
        | ExprKind::Depth(_)
        | ExprKind::Present(_)
        | ExprKind::PcapFilter(_) => Vec::new(),
        ExprKind::Unary(_, a)
        | ExprKind::Not(a)
        | ExprKind::In(a, _)
        | ExprKind::InWatchlist(a, _)
        | ExprKind::Cast(a) => vec![a],
        ExprKind::Binary(_, a, b)
        | ExprKind::Compare(_, a, b)
        | ExprKind::And(a, b)
        | ExprKind::Or(a, b) => vec![a, b],
        ExprKind::If(c, a, b) => vec![c, a, b],
        ExprKind::Call { args, .. } => args.iter().collect(),
    }
}

/// Operands, to change.
pub fn children_mut(expr: &mut Expr) -> Vec<&mut Expr> {
    match &mut expr.kind {
        ExprKind::Const(_)
        | ExprKind::Param(_)
        | ExprKind::Field(_)
        | ExprKind::Column(_)
        | ExprKind::InterfaceProperty(_)
        | ExprKind::Depth(_)
        | ExprKind::Present(_)
        | ExprKind::PcapFilter(_) => Vec::new(),
        ExprKind::Unary(_, a)
        | ExprKind::Not(a)
        | ExprKind::In(a, _)
        | ExprKind::InWatchlist(a, _)
        | ExprKind::Cast(a) => vec![a],
        ExprKind::Binary(_, a, b)
        | ExprKind::Compare(_, a, b)
        | ExprKind::And(a, b)
        | ExprKind::Or(a, b) => vec![a, b],
        ExprKind::If(c, a, b) => vec![c, a, b],
        ExprKind::Call { args, .. } => args.iter_mut().collect(),
    }
}

/// The same form over other operands.
pub fn map_children<E>(e: &Expr, mut f: impl FnMut(&Expr) -> Result<Expr, E>) -> Result<Expr, E> {
    let mut boxed = |a: &Expr| f(a).map(Box::new);
    let kind = match &e.kind {
        ExprKind::Unary(op, a) => ExprKind::Unary(*op, boxed(a)?),
        ExprKind::Not(a) => ExprKind::Not(boxed(a)?),
        ExprKind::In(a, values) => ExprKind::In(boxed(a)?, values.clone()),
        ExprKind::InWatchlist(a, list) => ExprKind::InWatchlist(boxed(a)?, list.clone()),
        ExprKind::Cast(a) => ExprKind::Cast(boxed(a)?),
        ExprKind::Binary(op, a, b) => ExprKind::Binary(*op, boxed(a)?, boxed(b)?),
        ExprKind::Compare(op, a, b) => ExprKind::Compare(*op, boxed(a)?, boxed(b)?),
        ExprKind::And(a, b) => ExprKind::And(boxed(a)?, boxed(b)?),
        ExprKind::Or(a, b) => ExprKind::Or(boxed(a)?, boxed(b)?),
        ExprKind::If(c, a, b) => ExprKind::If(boxed(c)?, boxed(a)?, boxed(b)?),
        ExprKind::Call { function, args } => ExprKind::Call {
            function: function.clone(),
            args: args.iter().map(&mut f).collect::<Result<_, E>>()?,
        },
        leaf => leaf.clone(),
    };
    Ok(Expr { kind, ty: e.ty, span: e.span })
}

/// Calls `f` on an expression and all below it.
pub fn each<'e>(e: &'e Expr, f: &mut impl FnMut(&'e Expr)) {
    f(e);
    for child in children(e) {
        each(child, f);
    }
}

/// True when two expressions compute the same from the same leaves.
pub fn same(a: &Expr, b: &Expr) -> bool {
    use ExprKind as K;
    let heads = match (&a.kind, &b.kind) {
        (K::Const(x), K::Const(y)) => x == y,
        (K::Param(x), K::Param(y)) | (K::Column(x), K::Column(y)) => x == y,
        (K::Field(x), K::Field(y)) => x == y,
        (K::InterfaceProperty(x), K::InterfaceProperty(y)) => x == y,
        (K::PcapFilter(x), K::PcapFilter(y)) => x == y,
        (K::Depth(x), K::Depth(y)) | (K::Present(x), K::Present(y)) => x == y,
        (K::Unary(x, _), K::Unary(y, _)) => x == y,
        (K::Binary(x, ..), K::Binary(y, ..)) => x == y,
        (K::Compare(x, ..), K::Compare(y, ..)) => x == y,
        (K::In(_, x), K::In(_, y)) => x == y,
        (K::InWatchlist(_, x), K::InWatchlist(_, y)) => x == y,
        (K::Call { function: x, .. }, K::Call { function: y, .. }) => x.symbol == y.symbol,
        (K::And(..), K::And(..))
        | (K::Or(..), K::Or(..))
        | (K::Not(_), K::Not(_))
        | (K::If(..), K::If(..))
        | (K::Cast(_), K::Cast(_)) => true,
        _ => false,
    };
    let (ca, cb) = (children(a), children(b));
    heads && a.ty == b.ty && ca.len() == cb.len() && ca.iter().zip(cb).all(|(x, y)| same(x, y))
}

/// Calls `f` on every operator of a tree.
pub fn each_node<'n>(node: &'n LogicalNode, f: &mut impl FnMut(&'n LogicalNode)) {
    f(node);
    match node {
        LogicalNode::Protocol(_) | LogicalNode::Query(_) => {}
        LogicalNode::Select(s) => each_node(&s.input, f),
        LogicalNode::Aggregate(a) => each_node(&a.input, f),
        LogicalNode::Merge(m) => m.inputs.iter().for_each(|i| each_node(i, f)),
        LogicalNode::Distinct(d) => each_node(d, f),
        LogicalNode::Sort(s) => each_node(&s.input, f),
    }
}

/// Every expression of one operator, its inputs apart.
pub fn exprs_of(node: &LogicalNode) -> Vec<&Expr> {
    match node {
        LogicalNode::Select(s) => s.quals.iter().chain(s.items.iter().map(|i| &i.expr)).collect(),
        LogicalNode::Aggregate(a) => a
            .quals
            .iter()
            .chain(a.keys.iter().map(|k| &k.expr))
            .chain(a.aggs.iter().flat_map(|g| &g.args))
            .chain(a.session.iter().map(|s| &s.time))
            .chain(&a.having)
            .chain(a.items.iter().map(|i| &i.expr))
            .collect(),
        _ => Vec::new(),
    }
}

/// Names of a FROM chain, joined by dots.
pub fn chain_text(catalog: &wt_catalog::Catalog, chain: &[ProtocolId]) -> String {
    let names: Vec<&str> = chain.iter().map(|&id| catalog.protocol_name(id)).collect();
    names.join(".")
}
