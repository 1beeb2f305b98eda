//! Bound expressions as GSQL text, for quals, notes and EXPLAIN.

use std::fmt::Write;

use wt_catalog::display::show;
use wt_catalog::{Catalog, ProtocolId, Type, Value};
use wt_lang::ast::{BinaryOp, CmpOp, UnaryOp};

use crate::logical::{Expr, ExprKind, FieldAccess, HeaderRef};
use crate::physical::ParamSpec;

/// Longest text of one expression, characters; the rest becomes `…`.
const TEXT_CHARS_MAX: usize = 400;

/// What names an expression's leaves.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Protocols and their fields.
    pub catalog: &'a Catalog,
    /// Parameters.
    pub params: &'a [ParamSpec],
    /// Columns of the input, or keys then aggregates.
    pub columns: &'a [String],
    /// FROM chain of a protocol source.
    pub chain: &'a [ProtocolId],
}

impl Names<'_> {
    /// The text of an expression.
    pub fn text(&self, e: &Expr) -> String {
        let mut out = String::new();
        self.write(e, Tight::Or, &mut out);
        shorten(out)
    }

    fn write(&self, e: &Expr, at_least: Tight, out: &mut String) {
        let own = tightness(&e.kind);
        let wrapped = own < at_least;
        if wrapped {
            out.push('(');
        }
        self.write_bare(e, own, out);
        if wrapped {
            out.push(')');
        }
    }

    fn write_bare(&self, e: &Expr, own: Tight, out: &mut String) {
        match &e.kind {
            ExprKind::Const(v) => out.push_str(&literal(v, e.ty)),
            ExprKind::Param(i) => {
                let _ = write!(out, "${}", self.params.get(*i).map_or("?", |p| p.name.as_str()));
            }
            ExprKind::Field(f) => out.push_str(&self.field(f)),
            ExprKind::Column(i) => {
                out.push_str(self.columns.get(*i).map_or("?", String::as_str));
            }
            ExprKind::InterfaceProperty(name) => {
                let _ = write!(out, "@{name}");
            }
            ExprKind::Depth(h) => {
                let _ = write!(out, "depth({})", self.header(h));
            }
            ExprKind::Present(h) => {
                let _ = write!(out, "present({})", self.header(h));
            }
            ExprKind::Unary(op, a) => {
                out.push(match op {
                    UnaryOp::Neg => '-',
                    UnaryOp::Plus => '+',
                    UnaryOp::Not => '!',
                    UnaryOp::BitNot => '~',
                });
                self.write(a, Tight::Unary, out);
            }
            ExprKind::Binary(op, a, b) => {
                self.write(a, own, out);
                out.push_str(binary_symbol(*op));
                self.write(b, own.next(), out);
            }
            ExprKind::Compare(op, a, b) => {
                self.write(a, Tight::BitOr, out);
                let _ = write!(out, " {} ", compare_symbol(*op));
                self.write(b, Tight::BitOr, out);
            }
            ExprKind::And(a, b) => {
                self.write(a, Tight::And, out);
                out.push_str(" AND ");
                self.write(b, Tight::Not, out);
            }
            ExprKind::Or(a, b) => {
                self.write(a, Tight::Or, out);
                out.push_str(" OR ");
                self.write(b, Tight::And, out);
            }
            ExprKind::Not(a) => {
                out.push_str("NOT ");
                self.write(a, Tight::Not, out);
            }
            ExprKind::In(a, values) => {
                self.write(a, Tight::BitOr, out);
                out.push_str(" IN [");
                for (i, v) in values.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    out.push_str(&literal(v, a.ty));
                }
                out.push(']');
            }
            ExprKind::InWatchlist(a, list) => {
                self.write(a, Tight::BitOr, out);
                let _ = write!(out, " IN {}", list.name);
            }
            ExprKind::If(c, a, b) => {
                out.push_str("CASE WHEN ");
                self.write(c, Tight::Or, out);
                out.push_str(" THEN ");
                self.write(a, Tight::Or, out);
                out.push_str(" ELSE ");
                self.write(b, Tight::Or, out);
                out.push_str(" END");
            }
            // A conversion that the binder added reads as what was written.
            ExprKind::Cast(a) if !narrows(a.ty, e.ty) => self.write(a, Tight::Or, out),
            ExprKind::Cast(a) => {
                let _ = write!(out, "{}(", e.ty.name().to_ascii_uppercase());
                self.write(a, Tight::Or, out);
                out.push(')');
            }
            ExprKind::PcapFilter(text) => {
                let _ = write!(out, "pcap_filter({})", quoted(text));
            }
            ExprKind::Call { function, args } => {
                let _ = write!(out, "{}(", function.name);
                for (i, a) in args.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    self.write(a, Tight::Or, out);
                }
                out.push(')');
            }
        }
    }

    fn field(&self, f: &FieldAccess) -> String {
        let name = self.catalog.field(f.owner, f.field).map_or("?", |field| field.name.as_str());
        match &f.header {
            HeaderRef::Packet | HeaderRef::Carrier(_) => name.to_owned(),
            HeaderRef::Chain(i) if i + 1 == self.chain.len() => name.to_owned(),
            header => format!("{}.{name}", self.header(header)),
        }
    }

    fn header(&self, header: &HeaderRef) -> String {
        let name = |id: &ProtocolId| self.catalog.protocol_name(*id);
        match header {
            HeaderRef::Packet => "packet".into(),
            HeaderRef::Chain(i) => self.chain.get(*i).map_or("?", name).into(),
            HeaderRef::Carrier(p) | HeaderRef::First(p) => name(p).into(),
            HeaderRef::Nth(p, n) => format!("{}[{n}]", name(p)),
            HeaderRef::Last(p) => format!("{}[last]", name(p)),
        }
    }
}

/// How tightly a form binds (gsql.md §4), loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tight {
    Or,
    And,
    Not,
    Compare,
    BitOr,
    BitAnd,
    Shift,
    Sum,
    Product,
    Unary,
    Atom,
}

impl Tight {
    fn next(self) -> Self {
        match self {
            Tight::Or => Tight::And,
            Tight::And => Tight::Not,
            Tight::Not => Tight::Compare,
            Tight::Compare => Tight::BitOr,
            Tight::BitOr => Tight::BitAnd,
            Tight::BitAnd => Tight::Shift,
            Tight::Shift => Tight::Sum,
            Tight::Sum => Tight::Product,
            Tight::Product => Tight::Unary,
            Tight::Unary | Tight::Atom => Tight::Atom,
        }
    }
}

fn tightness(kind: &ExprKind) -> Tight {
    match kind {
        ExprKind::Or(..) => Tight::Or,
        ExprKind::And(..) => Tight::And,
        ExprKind::Not(_) => Tight::Not,
        ExprKind::Compare(..) | ExprKind::In(..) | ExprKind::InWatchlist(..) => Tight::Compare,
        ExprKind::Binary(op, ..) => match op {
            BinaryOp::BitOr => Tight::BitOr,
            BinaryOp::BitAnd => Tight::BitAnd,
            BinaryOp::Shl | BinaryOp::Shr => Tight::Shift,
            BinaryOp::Add | BinaryOp::Sub => Tight::Sum,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => Tight::Product,
        },
        ExprKind::Unary(..) => Tight::Unary,
        ExprKind::Cast(a) => tightness(&a.kind),
        _ => Tight::Atom,
    }
}

/// The symbol with its spaces.
pub fn binary_symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::BitOr => " | ",
        BinaryOp::BitAnd => " & ",
        BinaryOp::Shl => " << ",
        BinaryOp::Shr => " >> ",
        BinaryOp::Add => " + ",
        BinaryOp::Sub => " - ",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Rem => "%",
    }
}

/// The symbol.
pub fn compare_symbol(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Eq => "=",
        CmpOp::Ne => "<>",
        CmpOp::Lt => "<",
        CmpOp::Le => "<=",
        CmpOp::Gt => ">",
        CmpOp::Ge => ">=",
    }
}

/// A value as a literal.
pub fn literal(value: &Value, ty: Type) -> String {
    match value {
        Value::Bytes(_) if ty == Type::Bytes => format!("x'{}'", show(value, ty)),
        Value::Bytes(b) => {
            let mut text = String::new();
            let _ = wt_catalog::display::write_text(b, &mut text);
            quoted(&text)
        }
        Value::Ip(_) | Value::Ipv6(_) | Value::Inet(_) | Value::Prefix(..) | Value::Mac(_) => {
            format!("'{}'", show(value, ty))
        }
        Value::Duration(ns) if *ns >= 0 => wt_lang::format_duration(ns.unsigned_abs()),
        Value::Time(_) => format!("TIME'{}'", show(value, ty)),
        Value::TimeVal(_) => format!("TIMEVAL'{}'", show(value, ty)),
        _ => show(value, ty).to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A conversion that may change the value.
fn narrows(from: Type, to: Type) -> bool {
    match (from.bits(), to.bits()) {
        (Some(a), Some(b)) => b < a || from.is_signed() != to.is_signed(),
        _ => !(from.is_address() && to == Type::Inet || from.is_bytes() && to.is_bytes()),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wt_lang::Span;

    fn e(kind: ExprKind, ty: Type) -> Expr {
        Expr { kind, ty, span: Span::default() }
    }

    fn column(i: usize) -> Box<Expr> {
        Box::new(e(ExprKind::Column(i), Type::Uint))
    }

    fn number(n: u64) -> Box<Expr> {
        Box::new(e(ExprKind::Const(Value::Uint(n)), Type::Uint))
    }

    #[test]
    fn parentheses_where_the_grammar_needs_them() {
        let catalog = Catalog::default();
        let columns = ["a".to_owned(), "b".to_owned()];
        let names = Names { catalog: &catalog, params: &[], columns: &columns, chain: &[] };
        let sub = e(ExprKind::Binary(BinaryOp::Sub, column(0), column(1)), Type::Uint);
        let nested =
            e(ExprKind::Binary(BinaryOp::Sub, column(0), Box::new(sub.clone())), Type::Uint);
        assert_eq!(names.text(&nested), "a - (a - b)");
        let product = e(ExprKind::Binary(BinaryOp::Mul, Box::new(sub), number(2)), Type::Uint);
        assert_eq!(names.text(&product), "(a - b)*2");
        let masked = e(ExprKind::Binary(BinaryOp::BitAnd, column(0), number(15)), Type::Uint);
        let eq = e(ExprKind::Compare(CmpOp::Eq, Box::new(masked), number(3)), Type::Bool);
        assert_eq!(names.text(&eq), "a & 15 = 3");
        let or = e(ExprKind::Or(Box::new(eq.clone()), Box::new(eq.clone())), Type::Bool);
        let and = e(ExprKind::And(Box::new(or), Box::new(eq)), Type::Bool);
        assert_eq!(names.text(&and), "(a & 15 = 3 OR a & 15 = 3) AND a & 15 = 3");
    }

    #[test]
    fn literals_read_back() {
        assert_eq!(literal(&Value::bytes("it's"), Type::String), "'it''s'");
        assert_eq!(literal(&Value::bytes([0xde, 0xad]), Type::Bytes), "x'dead'");
        assert_eq!(literal(&Value::Duration(60_000_000_000), Type::Duration), "1m");
        let block = Value::Prefix("10.0.0.0".parse().unwrap(), 8);
        assert_eq!(literal(&block, Type::Prefix), "'10.0.0.0/8'");
    }
}
