//! A plain reading of the declarations, for tests: walks a packet's headers and evaluates fields, straight from the
//! catalog's own documentation.

use wt_catalog::protocol::{Meta, Occurrence, PATH_HEADERS_MAX};
use wt_catalog::{Catalog, FieldRef, PExpr, Place, ProtocolId, Type, Value, arith};
use wt_lang::ast::{BinaryOp, UnaryOp};

pub struct Packet<'a> {
    pub catalog: &'a Catalog,
    pub data: &'a [u8],
    pub link_type: u16,
    /// Protocol and offset of each header.
    pub path: Vec<(ProtocolId, usize)>,
    pub malformed: bool,
    pub too_deep: bool,
}

impl<'a> Packet<'a> {
    pub fn walk(catalog: &'a Catalog, link_type: u16, data: &'a [u8]) -> Self {
        let path = Vec::new();
        let mut this = Self { catalog, data, link_type, path, malformed: false, too_deep: false };
        let mut next = catalog
            .protocols
            .iter()
            .find(|p| p.link_types.contains(&link_type))
            .map(|p| (p.id, 0usize));
        while let Some((id, offset)) = next {
            next = this.enter(id, offset);
        }
        this
    }

    fn enter(&mut self, id: ProtocolId, offset: usize) -> Option<(ProtocolId, usize)> {
        let protocol = self.catalog.protocol_by_id(id)?;
        let count = self.path.iter().filter(|(p, _)| *p == id).count();
        if count >= protocol.repeat as usize || self.path.len() >= PATH_HEADERS_MAX {
            self.too_deep = true;
            return None;
        }
        let header = protocol.header.as_ref()?;
        self.path.push((id, offset));
        let at = self.path.len() - 1;
        let length = self.eval(at, &header.length).and_then(|v| v.as_u64());
        let fits = length.is_some_and(|l| {
            l >= header.min.into()
                && l <= header.max.into()
                && (offset as u64).saturating_add(l) <= self.data.len() as u64
        });
        let holds =
            fits && header.checks.iter().all(|c| self.eval(at, c) == Some(Value::Bool(true)));
        if !holds {
            self.malformed = true;
            self.path.pop();
            return None;
        }
        let child = protocol.children.iter().find(|d| match &d.when {
            None => true,
            Some(when) => self.eval(at, when) == Some(Value::Bool(true)),
        })?;
        Some((child.child, offset + length? as usize))
    }

    pub fn names(&self) -> String {
        let names: Vec<&str> =
            self.path.iter().map(|(p, _)| self.catalog.protocol_name(*p)).collect();
        names.join("/")
    }

    /// Field `p.f` of the outermost `p`.
    pub fn get(&self, protocol: &str, field: &str) -> Option<Value> {
        self.nth(protocol, 0, field)
    }

    pub fn nth(&self, protocol: &str, n: usize, field: &str) -> Option<Value> {
        let id = self.catalog.resolve_protocol(protocol).ok()?;
        let (owner, index) = self.catalog.resolve_field(id, field).ok()?;
        if self.catalog.protocol_name(owner) == "packet" {
            return self.field(0, owner, index);
        }
        let at = (0..self.path.len())
            .filter(|&i| self.catalog.refines_as_header(self.path[i].0, id))
            .nth(n)?;
        self.field(at, owner, index)
    }

    pub fn uint(&self, protocol: &str, field: &str) -> Option<u64> {
        self.get(protocol, field)?.as_u64()
    }

    fn find(&self, at: usize, protocol: ProtocolId, which: Occurrence) -> Option<usize> {
        let is = |i: &usize| self.catalog.refines_as_header(self.path[*i].0, protocol);
        match which {
            Occurrence::This => Some(at),
            Occurrence::Above => (0..at).rev().find(is),
            Occurrence::First => (0..self.path.len()).find(is),
            Occurrence::Nth(n) => self.run(at, protocol).filter(is).nth(n as usize),
            Occurrence::Last => self.run(at, protocol).filter(is).last(),
        }
    }

    fn run(&self, at: usize, protocol: ProtocolId) -> impl Iterator<Item = usize> {
        (at + 1..self.path.len()).take_while(move |&i| {
            let id = self.path[i].0;
            self.catalog.refines_as_header(id, protocol)
                || self.catalog.protocol_by_id(id).is_some_and(|p| p.continues)
        })
    }

    fn field(&self, at: usize, owner: ProtocolId, index: u32) -> Option<Value> {
        let header = self.path.get(at).copied();
        let root = self.catalog.protocol_name(owner) == "packet";
        let (owner, index) = match header {
            Some((id, _)) if !root => self.catalog.field_at(id, owner, index),
            _ => (owner, index),
        };
        let start = if root { 0 } else { header?.1 };
        let field = self.catalog.field(owner, index)?;
        let number = |e: &PExpr| self.eval(at, e)?.as_u64().map(|n| n as usize);
        let value = match &field.place {
            Place::Bits { at, bit, bits, little } => {
                let first = start.checked_add(number(at)?)?.checked_mul(8)? + *bit as usize;
                let mut value = 0u64;
                for i in first..first + *bits as usize {
                    let byte = self.data.get(i / 8)?;
                    value = value << 1 | u64::from(byte >> (7 - i % 8) & 1);
                }
                if *little {
                    value = value.swap_bytes() >> (64 - bits);
                }
                Value::Uint(value)
            }
            Place::Bytes { at, len } => {
                let from = start + number(at)?;
                let bytes: [u8; 16] = self.data.get(from..from + *len as usize)?.try_into().ok()?;
                return Some(Value::Ipv6(bytes.into()));
            }
            Place::Slice { at, len } => {
                let from = (start + number(at)?).min(self.data.len());
                let to = match len {
                    Some(len) => from.saturating_add(number(len)?).min(self.data.len()),
                    None => self.data.len(),
                };
                return Some(Value::bytes(&self.data[from..to]));
            }
            Place::Derived(e) => self.eval(at, e)?,
            Place::Meta(Meta::Len | Meta::CapLen) => Value::Uint(self.data.len() as u64),
            Place::Meta(Meta::LinkType) => Value::Uint(self.link_type.into()),
            Place::Meta(_) | Place::Abstract | Place::Text(_) => return None,
        };
        match (field.ty, &value) {
            (Type::Mac, Value::Uint(n)) => n.to_be_bytes().last_chunk().copied().map(Value::Mac),
            _ => arith::cast(&value, field.ty),
        }
    }

    fn eval(&self, at: usize, e: &PExpr) -> Option<Value> {
        let truth = |e: &PExpr| match self.eval(at, e)? {
            Value::Bool(b) => Some(b),
            _ => None,
        };
        Some(match e {
            PExpr::Const(v) => v.clone(),
            PExpr::Field(FieldRef { protocol, field, at: which }) => {
                if self.catalog.protocol_name(*protocol) == "packet" {
                    return self.field(at, *protocol, *field);
                }
                self.field(self.find(at, *protocol, *which)?, *protocol, *field)?
            }
            PExpr::Depth(p, _) => {
                let counted = self
                    .run(at, *p)
                    .filter(|&i| self.catalog.refines_as_header(self.path[i].0, *p));
                Value::Uint(counted.count() as u64)
            }
            PExpr::Present(p, which) => Value::Bool(self.find(at, *p, *which).is_some()),
            PExpr::Offset(p, which) => Value::Uint(self.path[self.find(at, *p, *which)?].1 as u64),
            PExpr::Unary(op, a) => {
                let a = self.eval(at, a)?.as_u64()?;
                Value::Uint(match op {
                    UnaryOp::Not => u64::from(a == 0),
                    UnaryOp::BitNot => !a,
                    UnaryOp::Plus | UnaryOp::Neg => return None,
                })
            }
            PExpr::Binary(op, a, b) => {
                let (a, b) = (self.eval(at, a)?.as_u64()?, self.eval(at, b)?.as_u64()?);
                Value::Uint(match op {
                    BinaryOp::Add => a.saturating_add(b),
                    BinaryOp::Sub => a.saturating_sub(b),
                    BinaryOp::Mul => a.saturating_mul(b),
                    BinaryOp::Div => a.checked_div(b).unwrap_or(0),
                    BinaryOp::Rem => a.checked_rem(b).unwrap_or(0),
                    BinaryOp::BitAnd => a & b,
                    BinaryOp::BitOr => a | b,
                    BinaryOp::Shl => a.checked_shl(b as u32).unwrap_or(0),
                    BinaryOp::Shr => a.checked_shr(b as u32).unwrap_or(0),
                })
            }
            PExpr::Compare(op, a, b) => {
                Value::Bool(arith::compare(*op, &self.eval(at, a)?, &self.eval(at, b)?))
            }
            PExpr::And(a, b) => Value::Bool(truth(a)? && truth(b)?),
            PExpr::Or(a, b) => Value::Bool(truth(a)? || truth(b)?),
            PExpr::Not(a) => Value::Bool(!truth(a)?),
            PExpr::In(a, values) => {
                let a = self.eval(at, a)?;
                Value::Bool(values.iter().any(|v| a.compare(v) == Some(std::cmp::Ordering::Equal)))
            }
            PExpr::If(c, a, b) => self.eval(at, if truth(c)? { a } else { b })?,
            PExpr::Call(symbol, args) => {
                let args: Option<Vec<Value>> = args.iter().map(|a| self.eval(at, a)).collect();
                call(symbol, &args?)?
            }
        })
    }
}

fn call(symbol: &str, args: &[Value]) -> Option<Value> {
    let bytes = args.first()?.as_bytes()?;
    let option = || {
        let kind = args.get(1)?.as_u64()? as u8;
        let mut rest = bytes;
        loop {
            match *rest {
                [1, ref tail @ ..] => rest = tail,
                [k, l, ..] if k != 0 && l >= 2 => {
                    let body = rest.get(2..l.into())?;
                    if k == kind {
                        return Some(body);
                    }
                    rest = &rest[l.into()..];
                }
                _ => return None,
            }
        }
    };
    match symbol {
        "inet_checksum" => {
            let sum: u32 = bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
            Some(Value::Uint(u64::from(!((sum & 0xffff) + (sum >> 16)) & 0xffff)))
        }
        "tcp_option_present" => Some(Value::Bool(option().is_some())),
        "tcp_option_uint" => {
            let (from, width) = (args[2].as_u64()? as usize, args[3].as_u64()? as usize);
            let field = option()?.get(from..from + width)?;
            Some(Value::Uint(field.iter().fold(0, |v, b| v << 8 | u64::from(*b))))
        }
        _ => None,
    }
}
