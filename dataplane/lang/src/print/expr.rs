//! Expressions.

use std::fmt::{self, Display, Formatter};

use super::{Commas, Quoted};
use crate::ast::{
    BinaryOp, Call, CmpOp, ColumnRef, Expr, ExprKind, HeaderIndex, InSet, Literal, UnaryOp,
};
use crate::literal::{format_duration, format_time};
use crate::prec;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// An operand in a place that takes operators of at least this precedence.
struct At<'a>(u8, &'a Expr);

/// An expression where a predicate needs parentheses.
pub(super) struct Scalar<'a>(pub(super) &'a Expr);

impl Display for Scalar<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        At(prec::BIT_OR, self.0).fmt(f)
    }
}

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(least, expr) = self;
        if precedence(&expr.kind) < *least { write!(f, "({expr})") } else { expr.fmt(f) }
    }
}

fn precedence(kind: &ExprKind) -> u8 {
    match kind {
        ExprKind::Or(..) => prec::OR,
        ExprKind::And(..) => prec::AND,
        ExprKind::Not(_) => prec::NOT,
        ExprKind::Compare(..)
        | ExprKind::In { .. }
        | ExprKind::Between { .. }
        | ExprKind::Like { .. } => prec::COMPARE,
        ExprKind::Binary(op, ..) => prec::binary(*op),
        ExprKind::Unary(..) => prec::UNARY,
        ExprKind::Literal(_)
        | ExprKind::Param(_)
        | ExprKind::Defined(_)
        | ExprKind::IfProp { .. }
        | ExprKind::Column(_)
        | ExprKind::Case { .. }
        | ExprKind::Call(_) => prec::PRIMARY,
    }
}

impl Display for ExprKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Param(name) => write!(f, "${name}"),
            Self::Defined(name) => write!(f, "#{name}"),
            Self::IfProp { table: None, name } => write!(f, "@{name}"),
            Self::IfProp { table: Some(table), name } => write!(f, "{table}.@{name}"),
            Self::Column(column) => column.fmt(f),
            Self::Unary(op, operand) => {
                // `--` would start a comment.
                let comment =
                    *op == UnaryOp::Neg && matches!(operand.kind, ExprKind::Unary(UnaryOp::Neg, _));
                let space = if comment { " " } else { "" };
                write!(f, "{op}{space}{}", At(prec::UNARY, operand))
            }
            Self::Binary(op, left, right) => {
                let p = prec::binary(*op);
                write!(f, "{} {op} {}", At(p, left), At(p + 1, right))
            }
            Self::Compare(op, left, right) => {
                write!(f, "{} {op} {}", At(prec::BIT_OR, left), At(prec::BIT_OR, right))
            }
            Self::And(left, right) => {
                write!(f, "{} AND {}", At(prec::AND, left), At(prec::NOT, right))
            }
            Self::Or(left, right) => {
                write!(f, "{} OR {}", At(prec::OR, left), At(prec::AND, right))
            }
            Self::Not(operand) => write!(f, "NOT {}", At(prec::NOT, operand)),
            Self::In { value, set, negated } => {
                write!(f, "{}{} IN {set}", At(prec::BIT_OR, value), not(*negated))
            }
            Self::Between { value, low, high, negated } => write!(
                f,
                "{}{} BETWEEN {} AND {}",
                At(prec::BIT_OR, value),
                not(*negated),
                At(prec::BIT_OR, low),
                At(prec::BIT_OR, high)
            ),
            Self::Like { value, pattern, negated } => write!(
                f,
                "{}{} LIKE {}",
                At(prec::BIT_OR, value),
                not(*negated),
                At(prec::BIT_OR, pattern)
            ),
            Self::Case { operand, arms, otherwise } => {
                f.write_str("CASE")?;
                if let Some(operand) = operand {
                    write!(f, " {operand}")?;
                }
                for (when, then) in arms {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {otherwise}")?;
                }
                f.write_str(" END")
            }
            Self::Call(call) => call.fmt(f),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { " NOT" } else { "" }
}

impl Display for ColumnRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for qualifier in &self.qualifiers {
            write!(f, "{}", qualifier.name)?;
            match qualifier.index {
                Some(HeaderIndex::Nth(n)) => write!(f, "[{n}]")?,
                Some(HeaderIndex::Last) => f.write_str("[last]")?,
                None => {}
            }
            f.write_str(".")?;
        }
        self.field.fmt(f)
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.brackets { ("[", "]") } else { ("(", ")") };
        let dollar = if self.superaggregate { "$" } else { "" };
        write!(f, "{}{dollar}{open}", self.name)?;
        if self.star {
            f.write_str("*")?;
        }
        if self.distinct {
            f.write_str("DISTINCT ")?;
        }
        write!(f, "{}{close}", Commas(&self.args))
    }
}

impl Display for InSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, item) in list.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", At(prec::BIT_OR, item))?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(n) => write!(f, "{n}"),
            Self::Ullong(n) => write!(f, "{n}ULL"),
            Self::Hex(n) => write!(f, "HEX'{n:x}'"),
            Self::LongHex(n) => write!(f, "LHEX'{n:x}'"),
            // The debug form always has a point or an exponent.
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Bool(b) => f.write_str(if *b { "TRUE" } else { "FALSE" }),
            Self::String(text) => Quoted(text).fmt(f),
            Self::Bytes(bytes) => {
                f.write_str("x'")?;
                for byte in bytes {
                    write!(f, "{byte:02X}")?;
                }
                f.write_str("'")
            }
            Self::Ip(ip) => write!(f, "IP_VAL'{ip}'"),
            Self::Ipv6(ip) => write!(f, "IPV6_VAL'{ip}'"),
            Self::TimeVal { seconds, millis } => write!(f, "TIMEVAL'{seconds}.{millis:03}'"),
            Self::Time(ns) => write!(f, "TIME'{}'", format_time(*ns)),
            Self::Duration(ns) => f.write_str(&format_duration(*ns)),
        }
    }
}

impl Display for UnaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Neg => "-",
            Self::Plus => "+",
            Self::Not => "!",
            Self::BitNot => "~",
        })
    }
}

impl Display for BinaryOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BitOr => "|",
            Self::BitAnd => "&",
            Self::Shl => "<<",
            Self::Shr => ">>",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
        })
    }
}

impl Display for CmpOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "<>",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}
