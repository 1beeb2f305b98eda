//! Fields of headers: from the declaration's place to loads, and the DDL's own expressions.

use wt_catalog::protocol::{Occurrence, Place};
use wt_catalog::{Catalog, Field, FieldRef, PExpr, Protocol, ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, UnaryOp};

use super::narrow::checked;
use super::{Dag, LowerError, Narrowing};
use crate::ir::{LayerId, LayerSel, NodeId, Op};

/// Derived fields that may stand on each other.
const DERIVED_DEPTH_MAX: u32 = 64;

/// A header: its layer, and the protocol it is known to be (perhaps abstract).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderAt {
    /// Where.
    pub layer: LayerId,
    /// What.
    pub protocol: ProtocolId,
}

/// Lowers fields and DDL expressions.
pub struct HeaderLower<'a> {
    catalog: &'a Catalog,
    dag: &'a mut Dag,
    narrowing: Option<&'a Narrowing>,
    depth: u32,
}

impl<'a> HeaderLower<'a> {
    /// A lowering into `dag`.
    pub fn new(catalog: &'a Catalog, dag: &'a mut Dag) -> Self {
        Self { catalog, dag, narrowing: None, depth: 0 }
    }

    /// The same, told which protocols the quals leave possible.
    #[must_use]
    pub fn with_narrowing(mut self, narrowing: &'a Narrowing) -> Self {
        self.narrowing = Some(narrowing);
        self
    }

    /// The value of field `index` of `owner`'s declaration in a header, at the type `owner` declares.
    ///
    /// Where the header may be of several protocols that place the field differently (`ip.srcIP`), the packet's own decides.
    ///
    /// # Errors
    /// A field without a place, or derived in a circle.
    pub fn field(
        &mut self,
        header: HeaderAt,
        owner: ProtocolId,
        index: u32,
    ) -> Result<NodeId, LowerError> {
        let Some(field) = self.catalog.field(owner, index) else {
            return Err(self.no_place(owner, "?"));
        };
        if self.catalog.protocol_by_id(owner).is_some_and(is_record) {
            let layer = self.dag.layer(LayerSel::Packet);
            return self.place(HeaderAt { layer, protocol: owner }, owner, field);
        }
        let all = self.catalog.concretes(header.protocol);
        let candidates: Vec<(ProtocolId, (ProtocolId, u32))> = all
            .iter()
            .filter(|&&c| self.catalog.is_a(c, owner))
            .map(|&c| (c, self.catalog.field_at(c, owner, index)))
            .collect();
        let unambiguous = match candidates.as_slice() {
            // A protocol without headers at all, e.g. one whose fields are derived from others.
            [] if all.is_empty() => Some((owner, index)),
            [(_, first), rest @ ..]
                if candidates.len() == all.len() && rest.iter().all(|(_, f)| f == first) =>
            {
                Some(*first)
            }
            _ => None,
        };
        if let Some((declared_by, i)) = unambiguous {
            let place = self.catalog.field(declared_by, i).unwrap_or(field);
            if place.place != Place::Abstract {
                let value = self.place(header, declared_by, place)?;
                return Ok(self.dag.cast(value, field.ty));
            }
        }
        let possible = self.narrowing.and_then(|n| n.possible(header.layer));
        let mut arms = Vec::new();
        for (concrete, (declared_by, i)) in candidates {
            if possible.is_some_and(|p| !p.contains(&concrete)) {
                continue;
            }
            let Some(place) = self.catalog.field(declared_by, i) else { continue };
            if place.place == Place::Abstract {
                continue;
            }
            let value = match checked(self.catalog, concrete, (declared_by, i)) {
                Some(value @ Value::Uint(_)) if place.ty.is_integer() && !place.ty.is_signed() => {
                    self.dag.constant(value.clone(), place.ty)
                }
                _ => {
                    let known = HeaderAt { protocol: concrete, ..header };
                    self.place(known, declared_by, place)?
                }
            };
            arms.push((concrete, value));
        }
        let Some(&(_, first)) = arms.first() else {
            return Err(self.no_place(owner, &field.name));
        };
        // One type in all arms stays narrow until it is used.
        let shared = self.dag.ty(first);
        if arms.iter().any(|a| self.dag.ty(a.1) != shared) {
            for arm in &mut arms {
                arm.1 = self.dag.cast(arm.1, field.ty);
            }
        }
        let ty = self.dag.ty(arms[0].1);
        let value = self.dag.node(Op::ByProtocol { layer: header.layer, arms }, ty);
        Ok(self.dag.cast(value, field.ty))
    }

    /// The value of a field by its place.
    fn place(
        &mut self,
        header: HeaderAt,
        owner: ProtocolId,
        field: &Field,
    ) -> Result<NodeId, LowerError> {
        let layer = header.layer;
        match &field.place {
            Place::Bits { at, bit, bits, little } => {
                let (at, byte) = self.offset(header, at)?;
                let (bit, bits, little) = (*bit, *bits, *little);
                Ok(self.dag.node(Op::Load { layer, at, byte, bit, bits, little }, field.ty))
            }
            Place::Bytes { at, .. } if field.ty == Type::Ipv6 => {
                let (at, byte) = self.offset(header, at)?;
                Ok(self.dag.node(Op::LoadIpv6 { layer, at, byte }, field.ty))
            }
            Place::Bytes { at, len } => {
                let at = self.pexpr(header, at)?;
                let len = Some(self.dag.uint(u64::from(*len), Type::Ullong));
                Ok(self.dag.node(Op::Slice { layer, at, len }, field.ty))
            }
            Place::Slice { at, len } => {
                let at = self.pexpr(header, at)?;
                let len = len.as_ref().map(|l| self.pexpr(header, l)).transpose()?;
                Ok(self.dag.node(Op::Slice { layer, at, len }, field.ty))
            }
            Place::Derived(e) => {
                if self.depth >= DERIVED_DEPTH_MAX {
                    return Err(LowerError::DerivedTooDeep {
                        protocol: self.name(owner),
                        field: field.name.clone(),
                        limit: DERIVED_DEPTH_MAX,
                    });
                }
                self.depth += 1;
                let value = self.pexpr(header, e);
                self.depth -= 1;
                Ok(self.dag.cast(value?, field.ty))
            }
            Place::Meta(meta) => Ok(self.dag.node(Op::Meta(*meta), field.ty)),
            Place::Abstract => Err(self.no_place(owner, &field.name)),
            Place::Text(_) => {
                Err(LowerError::TextField { protocol: self.name(owner), field: field.name.clone() })
            }
        }
    }

    /// An offset as a variable and a constant part.
    fn offset(
        &mut self,
        header: HeaderAt,
        at: &PExpr,
    ) -> Result<(Option<NodeId>, u32), LowerError> {
        if let Some(byte) = small_const(at) {
            return Ok((None, byte));
        }
        if let PExpr::Binary(BinaryOp::Add, a, b) = at {
            if let Some(byte) = small_const(b) {
                return Ok((Some(self.pexpr(header, a)?), byte));
            }
            if let Some(byte) = small_const(a) {
                return Ok((Some(self.pexpr(header, b)?), byte));
            }
        }
        Ok((Some(self.pexpr(header, at)?), 0))
    }

    /// An expression of `header`'s declaration.
    ///
    /// # Errors
    /// As [`HeaderLower::field`].
    pub fn pexpr(&mut self, header: HeaderAt, e: &PExpr) -> Result<NodeId, LowerError> {
        Ok(match e {
            PExpr::Const(v) => self.dag.constant(v.clone(), const_type(v)),
            PExpr::Field(f) => {
                let header = self.header_of(header, f);
                self.field(header, f.protocol, f.field)?
            }
            PExpr::Depth(protocol, at) => {
                let run_below = match at {
                    Occurrence::First => None,
                    _ => Some(header.layer),
                };
                self.dag.node(Op::Depth { protocol: *protocol, run_below }, Type::Uint)
            }
            PExpr::Present(protocol, at) => {
                let layer = self.layer(header, *protocol, *at);
                self.dag.node(Op::Present(layer), Type::Bool)
            }
            PExpr::Offset(protocol, at) => {
                let layer = self.layer(header, *protocol, *at);
                self.dag.node(Op::Offset(layer), Type::Uint)
            }
            PExpr::Unary(op, a) => {
                let a = self.pexpr(header, a)?;
                match op {
                    UnaryOp::Plus => a,
                    // Below zero there is nothing but zero.
                    UnaryOp::Neg => {
                        let zero = self.dag.uint(0, Type::Ullong);
                        self.dag.node(Op::Saturating(BinaryOp::Sub, zero, a), Type::Ullong)
                    }
                    UnaryOp::Not => {
                        let ty = self.dag.ty(a);
                        if ty == Type::Bool {
                            self.dag.not(a)
                        } else {
                            self.dag.node(Op::Unary(UnaryOp::Not, a), ty)
                        }
                    }
                    UnaryOp::BitNot => {
                        let wide = self.dag.cast(a, Type::Ullong);
                        self.dag.node(Op::Unary(UnaryOp::BitNot, wide), Type::Ullong)
                    }
                }
            }
            PExpr::Binary(op, a, b) => {
                let (a, b) = (self.pexpr(header, a)?, self.pexpr(header, b)?);
                self.dag.node(Op::Saturating(*op, a, b), Type::Ullong)
            }
            PExpr::Compare(op, a, b) => {
                let (a, b) = (self.pexpr(header, a)?, self.pexpr(header, b)?);
                self.dag.node(Op::Compare(*op, a, b), Type::Bool)
            }
            // AND and OR of a declaration read only what they need, left to right.
            PExpr::And(a, b) => {
                let (a, b) = (self.pexpr(header, a)?, self.pexpr(header, b)?);
                if self.dag.never_absent(b) {
                    self.dag.and(a, b)
                } else {
                    let no = self.dag.bool(false);
                    self.dag.select(a, b, no)
                }
            }
            PExpr::Or(a, b) => {
                let (a, b) = (self.pexpr(header, a)?, self.pexpr(header, b)?);
                if self.dag.never_absent(b) {
                    self.dag.or(a, b)
                } else {
                    let yes = self.dag.bool(true);
                    self.dag.select(a, yes, b)
                }
            }
            PExpr::Not(a) => {
                let a = self.pexpr(header, a)?;
                self.dag.not(a)
            }
            PExpr::In(a, values) => {
                let a = self.pexpr(header, a)?;
                self.dag.node(Op::In(a, values.clone()), Type::Bool)
            }
            PExpr::If(cond, then, otherwise) => {
                let cond = self.pexpr(header, cond)?;
                let (then, otherwise) = (self.pexpr(header, then)?, self.pexpr(header, otherwise)?);
                let ty = common_type(self.dag.ty(then), self.dag.ty(otherwise));
                let (then, otherwise) = (self.dag.cast(then, ty), self.dag.cast(otherwise, ty));
                self.dag.select(cond, then, otherwise)
            }
            PExpr::Call(symbol, args) => {
                let function = self.catalog.functions.iter().find(|f| f.symbol == *symbol);
                let nodes: Result<Vec<_>, _> = args.iter().map(|a| self.pexpr(header, a)).collect();
                let nodes = nodes?;
                let first = nodes.first().map_or(Type::Ullong, |&n| self.dag.ty(n));
                let ty = match function.map(|f| f.result) {
                    Some(wt_catalog::function::ResultType::Exact(ty)) => ty,
                    _ => first,
                };
                let partial = function.is_none_or(|f| f.partial);
                self.dag.call(symbol, nodes, None, ty, partial)
            }
        })
    }

    /// The header a reference of a declaration names.
    fn header_of(&mut self, this: HeaderAt, f: &FieldRef) -> HeaderAt {
        match f.at {
            Occurrence::This => this,
            at => HeaderAt { layer: self.layer(this, f.protocol, at), protocol: f.protocol },
        }
    }

    fn layer(&mut self, this: HeaderAt, protocol: ProtocolId, at: Occurrence) -> LayerId {
        if is_packet(self.catalog, protocol) {
            return self.dag.layer(LayerSel::Packet);
        }
        let sel = match at {
            Occurrence::This => return this.layer,
            Occurrence::Above => LayerSel::Above(this.layer, protocol),
            Occurrence::First => LayerSel::First(protocol),
            Occurrence::Nth(n) => LayerSel::RunNth(this.layer, protocol, n),
            Occurrence::Last => LayerSel::RunLast(this.layer, protocol),
        };
        self.dag.layer(sel)
    }

    fn name(&self, id: ProtocolId) -> String {
        self.catalog.protocol_name(id).to_owned()
    }

    fn no_place(&self, owner: ProtocolId, field: &str) -> LowerError {
        LowerError::NoPlace { protocol: self.name(owner), field: field.into() }
    }
}

/// The record itself: the protocol `packet`, which has no header.
pub fn is_packet(catalog: &Catalog, id: ProtocolId) -> bool {
    catalog.protocol_by_id(id).is_some_and(|p| p.name == "packet" || is_record(p))
}

fn is_record(protocol: &Protocol) -> bool {
    protocol.record.is_some()
}

fn small_const(e: &PExpr) -> Option<u32> {
    match e {
        PExpr::Const(v) => u32::try_from(v.as_u64()?).ok(),
        _ => None,
    }
}

/// The widest type of a constant's kind: DDL arithmetic is 64 bits wide.
pub fn const_type(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Uint(_) => Type::Ullong,
        Value::Int(_) => Type::Llong,
        Value::Float(_) => Type::Float,
        Value::Ip(_) => Type::Ip,
        Value::Ipv6(_) => Type::Ipv6,
        Value::Inet(_) => Type::Inet,
        Value::Prefix(..) => Type::Prefix,
        Value::Mac(_) => Type::Mac,
        Value::Bytes(_) => Type::Bytes,
        Value::TimeVal(_) => Type::TimeVal,
        Value::Time(_) => Type::Time,
        Value::Duration(_) => Type::Duration,
    }
}

fn common_type(a: Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a,
        (a, b) if a.is_address() && b.is_address() => Type::Inet,
        (a, b) if a.is_bytes() && b.is_bytes() => Type::Bytes,
        _ => Type::Ullong,
    }
}
