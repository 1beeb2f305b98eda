//! A hash-consing builder of IR nodes: a node equal to an earlier one is that node.

use std::collections::HashMap;

use wt_catalog::{Type, Value};
use wt_lang::ast::BinaryOp;

use super::fold::fold;
use crate::ir::{Exprs, HandleId, HandleSpec, LayerId, LayerSel, Node, NodeId, Op};

/// Nodes, layers and handles under construction.
///
/// Identities that keep absence and failure as they are get applied on the way: constants fold through
/// `wt_catalog::arith` (what would fail is left to run time), neutral elements vanish, `Select` with equal arms and a
/// condition that is never absent collapses.
#[derive(Clone, Debug, Default)]
pub struct Dag {
    exprs: Exprs,
    /// Beside each node: it has a value for every packet or tuple.
    present: Vec<bool>,
    layers: Vec<LayerSel>,
    node_index: HashMap<(Op, Type), NodeId>,
    layer_index: HashMap<LayerSel, LayerId>,
    handle_index: HashMap<HandleSpec, HandleId>,
}

impl Dag {
    /// The nodes and handles so far.
    pub fn exprs(&self) -> &Exprs {
        &self.exprs
    }

    /// The layers so far.
    pub fn layers(&self) -> &[LayerSel] {
        &self.layers
    }

    /// A node.
    pub fn get(&self, id: NodeId) -> &Node {
        &self.exprs.nodes[id.0 as usize]
    }

    /// The type of a node's value.
    pub fn ty(&self, id: NodeId) -> Type {
        self.get(id).ty
    }

    /// Nodes and layers, builder state dropped.
    pub fn finish(self) -> (Exprs, Vec<LayerSel>) {
        (self.exprs, self.layers)
    }

    /// Says of a node that it is a tcpdump expression.
    pub fn name_filter(&mut self, node: NodeId, text: &str) {
        // A constant is the value of others, too; one text is enough.
        let is_known = self.exprs.filters.iter().any(|(known, _)| *known == node);
        if !is_known && self.as_const(node).is_none() {
            self.exprs.filters.push((node, text.into()));
        }
    }

    /// The layer of a selection.
    pub fn layer(&mut self, sel: LayerSel) -> LayerId {
        let next = LayerId(index_u32(self.layers.len()));
        *self.layer_index.entry(sel.clone()).or_insert_with(|| {
            self.layers.push(sel);
            next
        })
    }

    /// The handle of a specification.
    pub fn handle(&mut self, spec: HandleSpec) -> HandleId {
        let next = HandleId(index_u32(self.exprs.handles.len()));
        *self.handle_index.entry(spec.clone()).or_insert_with(|| {
            self.exprs.handles.push(spec);
            next
        })
    }

    /// A constant.
    pub fn constant(&mut self, value: Value, ty: Type) -> NodeId {
        self.intern(Op::Const(value), ty, false)
    }

    /// TRUE or FALSE.
    pub fn bool(&mut self, value: bool) -> NodeId {
        self.constant(Value::Bool(value), Type::Bool)
    }

    /// An unsigned constant.
    pub fn uint(&mut self, value: u64, ty: Type) -> NodeId {
        self.constant(Value::Uint(value), ty)
    }

    /// The node of an operation that fails in no other way than by its operands, division by zero apart.
    pub fn node(&mut self, op: Op, ty: Type) -> NodeId {
        match self.simplify(&op, ty) {
            Some(same) => same,
            None => match fold(&self.exprs, &op, ty) {
                Some(value) => self.constant(value, ty),
                None => self.intern(op, ty, false),
            },
        }
    }

    /// A call of a host function; `partial`: it may fail.
    pub fn call(
        &mut self,
        symbol: &'static str,
        args: Vec<NodeId>,
        handle: Option<HandleId>,
        ty: Type,
        partial: bool,
    ) -> NodeId {
        self.intern(Op::Call { symbol, args, handle }, ty, partial)
    }

    /// `a AND b`
    pub fn and(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::And(a, b), Type::Bool)
    }

    /// `a OR b`
    pub fn or(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Op::Or(a, b), Type::Bool)
    }

    /// `NOT a`
    pub fn not(&mut self, a: NodeId) -> NodeId {
        self.node(Op::Not(a), Type::Bool)
    }

    /// `CASE WHEN cond THEN then ELSE otherwise END`
    pub fn select(&mut self, cond: NodeId, then: NodeId, otherwise: NodeId) -> NodeId {
        let ty = self.ty(then);
        self.node(Op::Select { cond, then, otherwise }, ty)
    }

    /// The node converted to a type; itself when it has it.
    pub fn cast(&mut self, id: NodeId, ty: Type) -> NodeId {
        if self.ty(id) == ty { id } else { self.node(Op::Cast(id), ty) }
    }

    /// The constant a node is.
    pub fn as_const(&self, id: NodeId) -> Option<&Value> {
        match &self.get(id).op {
            Op::Const(v) => Some(v),
            _ => None,
        }
    }

    /// True when a node has a value for every packet or tuple.
    pub fn never_absent(&self, id: NodeId) -> bool {
        self.present[id.0 as usize]
    }

    fn is_true(&self, id: NodeId) -> bool {
        matches!(self.as_const(id), Some(Value::Bool(true)))
    }

    fn is_false(&self, id: NodeId) -> bool {
        matches!(self.as_const(id), Some(Value::Bool(false)))
    }

    /// An existing node with the same meaning.
    fn simplify(&mut self, op: &Op, ty: Type) -> Option<NodeId> {
        match *op {
            Op::And(a, b) if self.is_true(a) || a == b => Some(b),
            Op::And(a, b) if self.is_true(b) => Some(a),
            Op::And(a, b) if self.is_false(a) && self.never_absent(b) => Some(a),
            Op::And(a, b) if self.is_false(b) && self.never_absent(a) => Some(b),
            Op::Or(a, b) if self.is_false(a) || a == b => Some(b),
            Op::Or(a, b) if self.is_false(b) => Some(a),
            Op::Or(a, b) if self.is_true(a) && self.never_absent(b) => Some(a),
            Op::Or(a, b) if self.is_true(b) && self.never_absent(a) => Some(b),
            Op::Not(a) => match self.get(a).op {
                Op::Not(inner) => Some(inner),
                Op::Const(Value::Bool(b)) => Some(self.bool(!b)),
                _ => None,
            },
            Op::Select { cond, then, otherwise } => {
                if self.is_true(cond) {
                    return Some(then);
                }
                if self.is_false(cond) {
                    return Some(otherwise);
                }
                if then == otherwise && self.never_absent(cond) {
                    return Some(then);
                }
                if ty == Type::Bool && self.is_true(then) && self.is_false(otherwise) {
                    return Some(cond);
                }
                if ty == Type::Bool && self.is_false(then) && self.is_true(otherwise) {
                    return Some(self.not(cond));
                }
                None
            }
            Op::Cast(a) if self.ty(a) == ty => Some(a),
            _ => None,
        }
    }

    fn intern(&mut self, op: Op, ty: Type, partial: bool) -> NodeId {
        let key = (op, ty);
        if let Some(&id) = self.node_index.get(&key) {
            return id;
        }
        let below = key.0.operands();
        let host_only = super::host::reason(&self.exprs, &key.0, ty).is_some()
            || below.iter().any(|&c| self.get(c).host_only);
        let fails =
            partial || self.may_fail(&key.0, ty) || below.iter().any(|&c| self.get(c).fails);
        let present = !fails
            && !can_be_absent(&key.0)
            && (reads_outside(&key.0) || below.iter().all(|&c| self.never_absent(c)));
        let id = NodeId(index_u32(self.exprs.nodes.len()));
        self.present.push(present);
        self.exprs.nodes.push(Node { op: key.0.clone(), ty, host_only, fails });
        self.node_index.insert(key, id);
        id
    }

    /// Whether the operation itself can fail (`wt_catalog::arith`): division by zero, masks and casts of the other
    /// address family.
    fn may_fail(&self, op: &Op, ty: Type) -> bool {
        match *op {
            Op::Binary(_, a, b) if self.ty(a) == Type::Inet || self.ty(b) == Type::Inet => true,
            Op::Binary(BinaryOp::Div | BinaryOp::Rem, _, d) => match self.as_const(d) {
                Some(Value::Float(_)) => false,
                Some(Value::Duration(ns)) => *ns <= 0,
                Some(v) => v.as_i128() == Some(0),
                None => ty != Type::Float,
            },
            Op::Cast(a) => self.ty(a) == Type::Inet && ty != Type::Inet,
            _ => false,
        }
    }
}

/// Operations that are absent for reasons of their own.
fn can_be_absent(op: &Op) -> bool {
    matches!(
        op,
        Op::Load { .. }
            | Op::LoadIpv6 { .. }
            | Op::Slice { .. }
            | Op::Offset(_)
            | Op::ByProtocol { .. }
            | Op::Call { .. }
    )
}

/// Operations that answer even where there are no bytes.
fn reads_outside(op: &Op) -> bool {
    matches!(op, Op::LoadOrZero { .. } | Op::InBounds { .. })
}

/// Programs are far below 2^32 nodes: the text limit of a query file bounds them.
fn index_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use wt_catalog::protocol::Meta;

    use super::*;
    use wt_lang::ast::CmpOp;

    fn load(dag: &mut Dag, byte: u32) -> NodeId {
        let layer = dag.layer(LayerSel::Packet);
        dag.node(Op::Load { layer, at: None, byte, bit: 0, bits: 8, little: false }, Type::Uint)
    }

    #[test]
    fn equal_nodes_layers_and_handles_are_one() {
        let mut dag = Dag::default();
        assert_eq!(load(&mut dag, 3), load(&mut dag, 3));
        assert_ne!(load(&mut dag, 3), load(&mut dag, 4));
        let narrow = dag.uint(1, Type::Uint);
        assert_ne!(narrow, dag.uint(1, Type::Ullong), "the type is part of a node");
        let spec = HandleSpec {
            symbol: "lpm",
            argument: crate::ir::HandleArg::Const(Value::bytes("a.tbl")),
        };
        assert_eq!(dag.handle(spec.clone()), dag.handle(spec));
        assert_eq!(dag.exprs().handles.len(), 1);
        assert_eq!(dag.layers().len(), 1);
    }

    #[test]
    fn operands_come_first() {
        let mut dag = Dag::default();
        let (a, b) = (load(&mut dag, 0), load(&mut dag, 1));
        let sum = dag.node(Op::Binary(BinaryOp::Add, a, b), Type::Uint);
        for child in dag.get(sum).op.operands() {
            assert!(child < sum);
        }
    }

    #[test]
    fn constants_fold_and_failures_stay() {
        let mut dag = Dag::default();
        let (six, zero) = (dag.uint(6, Type::Uint), dag.uint(0, Type::Uint));
        let product = dag.node(Op::Binary(BinaryOp::Mul, six, six), Type::Uint);
        assert_eq!(dag.as_const(product), Some(&Value::Uint(36)));
        let failing = dag.node(Op::Binary(BinaryOp::Div, six, zero), Type::Uint);
        assert_eq!(dag.as_const(failing), None);
        assert!(dag.get(failing).fails);
        let compared = dag.node(Op::Compare(CmpOp::Lt, zero, six), Type::Bool);
        assert_eq!(dag.as_const(compared), Some(&Value::Bool(true)));
    }

    #[test]
    fn failure_and_absence_are_told_apart() {
        let mut dag = Dag::default();
        let byte = load(&mut dag, 0);
        let ten = dag.uint(10, Type::Uint);
        let by_ten = dag.node(Op::Binary(BinaryOp::Div, byte, ten), Type::Uint);
        assert!(!dag.get(by_ten).fails && !dag.never_absent(by_ten));
        let by_byte = dag.node(Op::Binary(BinaryOp::Div, ten, byte), Type::Uint);
        assert!(dag.get(by_byte).fails);
        let time = dag.node(Op::Meta(Meta::Time), Type::Uint);
        let minute = dag.node(Op::Binary(BinaryOp::Div, time, ten), Type::Uint);
        assert!(dag.never_absent(minute));
        let partial = dag.call("strtoi", vec![time], None, Type::Uint, true);
        assert!(dag.get(partial).fails && dag.get(partial).host_only);
    }

    #[test]
    fn identities_keep_absence() {
        let mut dag = Dag::default();
        let layer = dag.layer(LayerSel::Packet);
        let zero = dag.uint(0, Type::Uint);
        let byte = load(&mut dag, 0);
        let maybe = dag.node(Op::Compare(CmpOp::Eq, byte, zero), Type::Bool);
        let sure = dag.node(Op::Present(layer), Type::Bool);
        let (yes, no) = (dag.bool(true), dag.bool(false));
        assert_eq!(dag.and(yes, maybe), maybe);
        assert_eq!(dag.or(no, maybe), maybe);
        assert_eq!(dag.and(no, sure), no);
        assert_ne!(dag.and(no, maybe), no, "absent beats FALSE");
        assert_eq!(dag.select(sure, zero, zero), zero);
        assert_ne!(dag.select(maybe, zero, zero), zero, "an absent condition rejects");
        let twice = dag.not(maybe);
        assert_eq!(dag.not(twice), maybe);
    }

    #[test]
    fn addresses_are_portable_and_bytes_are_not() {
        let mut dag = Dag::default();
        let layer = dag.layer(LayerSel::Packet);
        let v4 = dag.node(
            Op::Load { layer, at: None, byte: 12, bit: 0, bits: 32, little: false },
            Type::Ip,
        );
        let widened = dag.cast(v4, Type::Inet);
        assert!(!dag.get(widened).host_only);
        let either = dag.node(
            Op::ByProtocol { layer, arms: vec![(wt_catalog::ProtocolId(1), widened)] },
            Type::Inet,
        );
        assert!(!dag.get(either).host_only);
        let text = dag.node(Op::Const(Value::bytes("a")), Type::String);
        assert!(dag.get(text).host_only);
    }

    #[test]
    fn operators_that_the_card_does_not_have_need_the_host() {
        let mut dag = Dag::default();
        let signed = dag.node(Op::Param(crate::ir::ParamId(0)), Type::Llong);
        let unsigned = dag.node(Op::Param(crate::ir::ParamId(1)), Type::Ullong);
        let ten = dag.node(Op::Const(Value::Int(10)), Type::Llong);
        let by_ten = dag.node(Op::Binary(BinaryOp::Div, signed, ten), Type::Llong);
        assert!(!dag.get(by_ten).host_only);
        let by_itself = dag.node(Op::Binary(BinaryOp::Div, ten, signed), Type::Llong);
        assert!(dag.get(by_itself).host_only);
        let mixed = dag.node(Op::Compare(CmpOp::Lt, signed, unsigned), Type::Bool);
        assert!(dag.get(mixed).host_only);
        let few = dag.node(Op::In(unsigned, vec![Value::Uint(1); 64]), Type::Bool);
        let many = dag.node(Op::In(unsigned, vec![Value::Uint(1); 65]), Type::Bool);
        assert!(!dag.get(few).host_only && dag.get(many).host_only);
    }
}
