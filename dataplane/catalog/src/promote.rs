//! Which types operators take and give: promotion and comparability (gsql.md §3, §4; protocols.md).
//!
//! Numbers promote by the table of gsql.md §3. Beyond it:
//!
//! | expression | result |
//! |---|---|
//! | integer `-` ullong | llong |
//! | IP `&` IP, IP `&` int or uint (either order; `\|` alike) | IP |
//! | INET `&` INET, IP, IPV6, int or uint | INET; fails where the families differ |
//! | IPV6 `&` IPV6, bool `&` bool | IPV6, bool |
//! | TIME ± DURATION | TIME |
//! | TIME − TIME | DURATION |
//! | TIME / DURATION | ullong: the number of the bucket; order is kept |
//! | TIME % DURATION, DURATION ± DURATION, DURATION % DURATION | DURATION |
//! | DURATION * integer, integer * DURATION, DURATION / integer | DURATION |
//! | DURATION / DURATION | llong |

use thiserror::Error;
use wt_lang::ast::{BinaryOp, UnaryOp};

use crate::types::Type;

/// Why an operator does not take its operands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TypeError {
    /// The operator has no meaning for these types.
    #[error("`{}` does not take {lhs} and {rhs}", symbol(*.op))]
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left type.
        lhs: Type,
        /// Right type.
        rhs: Type,
    },
    /// A number met a duration where only TIME has one.
    #[error("`{}` does not take {number} and DURATION: the number has no unit", symbol(*.op))]
    Unitless {
        /// The operator.
        op: BinaryOp,
        /// The number's type.
        number: Type,
    },
    /// The prefix operator has no meaning for this type.
    #[error("`{}` does not take {operand}", prefix(*.op))]
    Unary {
        /// The operator.
        op: UnaryOp,
        /// The operand's type.
        operand: Type,
    },
    /// Values of these types are never compared.
    #[error("{lhs} and {rhs} cannot be compared")]
    Compare {
        /// Left type.
        lhs: Type,
        /// Right type.
        rhs: Type,
    },
    /// Two branches of CASE or IF, or a list, without a common type.
    #[error("{lhs} and {rhs} have no common type")]
    Common {
        /// First type.
        lhs: Type,
        /// Second type.
        rhs: Type,
    },
}

impl TypeError {
    /// A full sentence that says what to write instead, where there is something.
    pub fn hint(&self) -> Option<String> {
        let of = |lhs: Type, rhs: Type, a: fn(Type) -> bool, b: fn(Type) -> bool| {
            (a(lhs) && b(rhs)) || (a(rhs) && b(lhs))
        };
        match *self {
            Self::Unitless { .. } => Some(
                "`time` is in whole seconds; write timestamp/1s or time/60.".to_owned(),
            ),
            Self::Compare { lhs, rhs } if of(lhs, rhs, |t| t == Type::Bool, Type::is_numeric) => {
                Some("A bool is compared with TRUE or FALSE, or stands alone as a condition.".to_owned())
            }
            Self::Compare { lhs, rhs } if of(lhs, rhs, Type::is_address, |t| t == Type::Prefix) => {
                Some("Whether an address lies in a block: in_subnet(srcIP, '10.0.0.0/8') or srcIP IN ['10.0.0.0/8'].".to_owned())
            }
            Self::Compare { lhs, rhs } if of(lhs, rhs, |t| t == Type::Time, Type::is_numeric) => Some(
                "Compare TIME with a literal such as TIME'2026-01-31T12:00:00Z', or use `time`, which is in whole seconds.".to_owned(),
            ),
            Self::Compare { lhs, rhs } if of(lhs, rhs, |t| t == Type::Duration, Type::is_numeric) => {
                Some("Give the number a unit: 5ms, 10s, 1m, 1h.".to_owned())
            }
            Self::Compare { lhs, rhs } if of(lhs, rhs, Type::is_bytes, Type::is_numeric) => {
                Some("A number is written without quotes; strtoi(s) reads one from a string.".to_owned())
            }
            Self::Compare { lhs: Type::Ip, rhs: Type::Ipv6 }
            | Self::Compare { lhs: Type::Ipv6, rhs: Type::Ip } => Some(
                "An IPv4 address never equals an IPv6 address; srcIP and destIP of `ip` hold either.".to_owned(),
            ),
            Self::Binary { op: BinaryOp::Rem | BinaryOp::Shl | BinaryOp::Shr, lhs, rhs }
                if lhs == Type::Float || rhs == Type::Float =>
            {
                Some("It takes integers; convert with INT(x), LLONG(x) or ULLONG(x).".to_owned())
            }
            Self::Binary { op: BinaryOp::BitAnd | BinaryOp::BitOr, lhs: Type::Bool, .. }
            | Self::Binary { op: BinaryOp::BitAnd | BinaryOp::BitOr, rhs: Type::Bool, .. } => {
                Some("Conditions are joined with AND and OR.".to_owned())
            }
            Self::Binary { op: BinaryOp::BitAnd, lhs, rhs: Type::Prefix } if lhs.is_address() => {
                Some("The network of an address: prefix(srcIP, 24).".to_owned())
            }
            Self::Binary { lhs, rhs, .. } if lhs == Type::Bool || rhs == Type::Bool => {
                Some("Count with IF(flag, 1, 0), or sum(flag).".to_owned())
            }
            _ => None,
        }
    }
}

/// The operator as written.
pub const fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::BitOr => "|",
        BinaryOp::BitAnd => "&",
        BinaryOp::Shl => "<<",
        BinaryOp::Shr => ">>",
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::Rem => "%",
    }
}

/// The prefix operator as written.
pub const fn prefix(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::Neg => "-",
        UnaryOp::Plus => "+",
        UnaryOp::Not => "!",
        UnaryOp::BitNot => "~",
    }
}

/// The promotion of two numeric types (table of gsql.md §3); `None` when one is not numeric.
pub fn promoted(lhs: Type, rhs: Type) -> Option<Type> {
    const LADDER: [Type; 6] =
        [Type::Ushort, Type::Int, Type::Uint, Type::Llong, Type::Ullong, Type::Float];
    let rank = |ty| LADDER.iter().position(|&t| t == ty);
    // At equal width unsigned wins, a wider type wins over a narrower one: the table is the maximum of one order.
    Some(LADDER[rank(lhs)?.max(rank(rhs)?)])
}

/// The type of `lhs op rhs`.
pub fn binary_type(op: BinaryOp, lhs: Type, rhs: Type) -> Result<Type, TypeError> {
    use BinaryOp::*;
    let error = TypeError::Binary { op, lhs, rhs };
    if lhs == Type::Time || lhs == Type::Duration || rhs == Type::Time || rhs == Type::Duration {
        return time_type(op, lhs, rhs).ok_or(match (lhs, rhs) {
            (number, Type::Duration) if number.is_numeric() => TypeError::Unitless { op, number },
            (Type::Duration, number) if number.is_numeric() => TypeError::Unitless { op, number },
            _ => error,
        });
    }
    let result = match op {
        Add | Mul | Div => promoted(lhs, rhs),
        Sub if rhs == Type::Ullong && lhs.is_integer() => Some(Type::Llong),
        Sub => promoted(lhs, rhs),
        Rem => promoted(lhs, rhs).filter(|t| t.is_integer()),
        Shl | Shr if matches!(rhs, Type::Ushort | Type::Uint | Type::Int) => {
            promoted(lhs, rhs).filter(|t| t.is_integer())
        }
        Shl | Shr => None,
        BitAnd | BitOr => bits_type(lhs, rhs),
    };
    result.ok_or(error)
}

fn bits_type(lhs: Type, rhs: Type) -> Option<Type> {
    use Type::*;
    match (lhs, rhs) {
        (Bool, Bool) => Some(Bool),
        (Ip, Ip | Int | Uint) | (Int | Uint, Ip) => Some(Ip),
        (Ipv6, Ipv6) => Some(Ipv6),
        (Inet, Inet | Ip | Ipv6 | Int | Uint) | (Ip | Ipv6 | Int | Uint, Inet) => Some(Inet),
        _ => promoted(lhs, rhs).filter(|t| t.is_integer()),
    }
}

fn time_type(op: BinaryOp, lhs: Type, rhs: Type) -> Option<Type> {
    use BinaryOp::*;
    use Type::{Duration, Llong, Time, Ullong};
    match (op, lhs, rhs) {
        (Add, Time, Duration) | (Add, Duration, Time) | (Sub, Time, Duration) => Some(Time),
        (Sub, Time, Time) => Some(Duration),
        (Div, Time, Duration) => Some(Ullong),
        (Rem, Time | Duration, Duration) => Some(Duration),
        (Add | Sub, Duration, Duration) => Some(Duration),
        (Div, Duration, Duration) => Some(Llong),
        (Mul, Duration, n) | (Mul, n, Duration) if n.is_integer() => Some(Duration),
        (Div, Duration, n) if n.is_integer() => Some(Duration),
        _ => None,
    }
}

/// The type of a prefix operator's result.
pub fn unary_type(op: UnaryOp, operand: Type) -> Result<Type, TypeError> {
    use Type::*;
    let result = match (op, operand) {
        (UnaryOp::Neg, Ushort | Uint | Int) => Some(Int),
        (UnaryOp::Neg, Ullong | Llong) => Some(Llong),
        (UnaryOp::Neg | UnaryOp::Plus, Float | Duration) => Some(operand),
        (UnaryOp::Plus, t) if t.is_integer() => Some(t),
        (UnaryOp::Not, t) if t.is_integer() || t == Bool => Some(t),
        (UnaryOp::BitNot, t) if t.is_integer() || t == Ip => Some(t),
        _ => None,
    };
    result.ok_or(TypeError::Unary { op, operand })
}

/// How two comparable values are compared. Values carry their kind, so [`crate::arith::compare`] needs no more; the
/// planner and the code generators choose instructions by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// As unsigned 64-bit numbers.
    Unsigned,
    /// As signed 64-bit numbers.
    Signed,
    /// As mathematical integers of mixed sign: −1 < 1u.
    Mixed,
    /// As doubles; with NaN only `<>` holds.
    Float,
    /// FALSE before TRUE.
    Bool,
    /// By 128 bits.
    Ipv6,
    /// IPv4 before IPv6, then by value.
    Inet,
    /// By address, then length.
    Prefix,
    /// Bytewise, shorter first on a tie.
    Bytes,
}

/// How `lhs` and `rhs` compare (gsql.md §3, overloaded for the types of protocols.md).
///
/// A string literal beside an address, PREFIX, MAC, TIME or DURATION becomes that type before
/// ([`takes_text`], [`crate::text::parse_as`]); that is not this function's business.
pub fn compare_type(lhs: Type, rhs: Type) -> Result<Comparison, TypeError> {
    use Type::*;
    let integer = |t: Type| t.is_integer() || t == Ip;
    match (lhs, rhs) {
        (Float, t) | (t, Float) if integer(t) || t == Float => Ok(Comparison::Float),
        (a, b) if integer(a) && integer(b) => Ok(match (a.is_signed(), b.is_signed()) {
            (false, false) => Comparison::Unsigned,
            (true, true) => Comparison::Signed,
            // Every value of a 32-bit type is a llong.
            (true, false) if b != Ullong => Comparison::Signed,
            (false, true) if a != Ullong => Comparison::Signed,
            _ => Comparison::Mixed,
        }),
        (Bool, Bool) => Ok(Comparison::Bool),
        (Ipv6, Ipv6) => Ok(Comparison::Ipv6),
        (Inet, t) | (t, Inet) if t.is_address() => Ok(Comparison::Inet),
        (Prefix, Prefix) => Ok(Comparison::Prefix),
        (Mac, Mac) | (TimeVal, TimeVal) | (Time, Time) => Ok(Comparison::Unsigned),
        (Duration, Duration) => Ok(Comparison::Signed),
        (a, b) if a.is_bytes() && b.is_bytes() => Ok(Comparison::Bytes),
        _ => Err(TypeError::Compare { lhs, rhs }),
    }
}

/// Whether a string literal beside a value of this type is read as that type (protocols.md).
pub const fn takes_text(ty: Type) -> bool {
    matches!(
        ty,
        Type::Ip
            | Type::Ipv6
            | Type::Inet
            | Type::Prefix
            | Type::Mac
            | Type::Time
            | Type::TimeVal
            | Type::Duration
            | Type::Bytes
    )
}

/// The type both branches of CASE, or all members of a list, take: equal types, numeric promotion, INET over IP and
/// IPV6, string over BYTES.
pub fn common_type(lhs: Type, rhs: Type) -> Result<Type, TypeError> {
    use Type::*;
    match (lhs, rhs) {
        (a, b) if a == b => Some(a),
        (a, b) if a.is_address() && b.is_address() => Some(Inet),
        (a, b) if a.is_bytes() && b.is_bytes() => Some(String),
        (a, b) => promoted(a, b),
    }
    .ok_or(TypeError::Common { lhs, rhs })
}

/// The result of SUM: sums of built-in aggregates widen to 64 bits (protocols.md); `None` for what has no sum.
pub const fn wide_sum(ty: Type) -> Option<Type> {
    match ty {
        Type::Bool | Type::Ushort | Type::Uint | Type::Ullong => Some(Type::Ullong),
        Type::Int | Type::Llong => Some(Type::Llong),
        Type::Float => Some(Type::Float),
        Type::Duration => Some(Type::Duration),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Type::*;

    const NUMERIC: [Type; 6] = [Ushort, Uint, Int, Ullong, Llong, Float];

    #[test]
    fn promotion_is_the_table_of_the_manual() {
        let table = [
            [Ushort, Uint, Int, Ullong, Llong, Float],
            [Uint, Uint, Uint, Ullong, Llong, Float],
            [Int, Uint, Int, Ullong, Llong, Float],
            [Ullong, Ullong, Ullong, Ullong, Ullong, Float],
            [Llong, Llong, Llong, Ullong, Llong, Float],
            [Float, Float, Float, Float, Float, Float],
        ];
        for (i, &lhs) in NUMERIC.iter().enumerate() {
            for (j, &rhs) in NUMERIC.iter().enumerate() {
                let expected = table[i][j];
                for op in [BinaryOp::Add, BinaryOp::Mul, BinaryOp::Div] {
                    assert_eq!(binary_type(op, lhs, rhs), Ok(expected), "{lhs} {op:?} {rhs}");
                }
                let difference = match (lhs, rhs) {
                    (Float, _) => Float,
                    (_, Ullong) => Llong,
                    _ => expected,
                };
                assert_eq!(binary_type(BinaryOp::Sub, lhs, rhs), Ok(difference));
                for op in [BinaryOp::Rem, BinaryOp::BitAnd, BinaryOp::BitOr] {
                    let integer = Some(expected).filter(|_| expected != Float);
                    assert_eq!(binary_type(op, lhs, rhs).ok(), integer, "{lhs} {op:?} {rhs}");
                }
                let shift = matches!(rhs, Ushort | Uint | Int) && lhs != Float;
                assert_eq!(binary_type(BinaryOp::Shl, lhs, rhs).ok(), shift.then_some(expected));
            }
        }
    }

    #[test]
    fn addresses_and_bools_take_masks() {
        let and = |a, b| binary_type(BinaryOp::BitAnd, a, b).ok();
        assert_eq!(and(Ip, Ip), Some(Ip));
        assert_eq!(and(Ip, Int), Some(Ip));
        assert_eq!(and(Uint, Ip), Some(Ip));
        assert_eq!(and(Ip, Ullong), None);
        assert_eq!(and(Ipv6, Ipv6), Some(Ipv6));
        assert_eq!(and(Inet, Inet), Some(Inet));
        assert_eq!(and(Inet, Ip), Some(Inet));
        assert_eq!(and(Ip, Ipv6), None);
        assert_eq!(and(Bool, Bool), Some(Bool));
        assert_eq!(and(Bool, Uint), None);
        assert_eq!(binary_type(BinaryOp::Add, Ip, Uint).ok(), None);
        assert_eq!(binary_type(BinaryOp::Add, String, String).ok(), None);
    }

    #[test]
    fn time_has_durations() {
        use BinaryOp::*;
        let all = [
            (Add, Time, Duration, Some(Time)),
            (Add, Duration, Time, Some(Time)),
            (Sub, Time, Duration, Some(Time)),
            (Sub, Duration, Time, None),
            (Sub, Time, Time, Some(Duration)),
            (Add, Time, Time, None),
            (Div, Time, Duration, Some(Ullong)),
            (Div, Time, Uint, None),
            (Rem, Time, Duration, Some(Duration)),
            (Div, Duration, Duration, Some(Llong)),
            (Rem, Duration, Duration, Some(Duration)),
            (Mul, Duration, Uint, Some(Duration)),
            (Mul, Llong, Duration, Some(Duration)),
            (Mul, Duration, Float, None),
            (Mul, Duration, Duration, None),
            (Div, Duration, Ushort, Some(Duration)),
            (Add, Duration, Duration, Some(Duration)),
            (Sub, Duration, Duration, Some(Duration)),
        ];
        for (op, lhs, rhs, expected) in all {
            assert_eq!(binary_type(op, lhs, rhs).ok(), expected, "{lhs} {op:?} {rhs}");
        }
        let error = binary_type(Div, Uint, Duration).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/` does not take uint and DURATION: the number has no unit"
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("`time` is in whole seconds; write timestamp/1s or time/60.")
        );
    }

    #[test]
    fn prefix_operators() {
        assert_eq!(unary_type(UnaryOp::Neg, Ushort), Ok(Int));
        assert_eq!(unary_type(UnaryOp::Neg, Uint), Ok(Int));
        assert_eq!(unary_type(UnaryOp::Neg, Ullong), Ok(Llong));
        assert_eq!(unary_type(UnaryOp::Neg, Duration), Ok(Duration));
        assert!(unary_type(UnaryOp::Neg, Ip).is_err());
        assert_eq!(unary_type(UnaryOp::Not, Bool), Ok(Bool));
        assert!(unary_type(UnaryOp::BitNot, Bool).is_err());
        assert_eq!(unary_type(UnaryOp::BitNot, Ip), Ok(Ip));
    }

    #[test]
    fn comparability() {
        for lhs in NUMERIC {
            for rhs in NUMERIC {
                assert!(compare_type(lhs, rhs).is_ok());
            }
            assert!(compare_type(lhs, Ip).is_ok());
            for other in [Bool, String, Ipv6, Inet, Mac, Prefix, TimeVal, Time, Duration] {
                assert!(compare_type(lhs, other).is_err(), "{lhs} {other}");
                assert!(compare_type(other, lhs).is_err(), "{other} {lhs}");
            }
        }
        assert_eq!(compare_type(Int, Uint), Ok(Comparison::Signed));
        assert_eq!(compare_type(Llong, Ullong), Ok(Comparison::Mixed));
        assert_eq!(compare_type(Ullong, Int), Ok(Comparison::Mixed));
        assert_eq!(compare_type(Ushort, Ullong), Ok(Comparison::Unsigned));
        assert_eq!(compare_type(Inet, Ip), Ok(Comparison::Inet));
        assert_eq!(compare_type(String, Bytes), Ok(Comparison::Bytes));
        for ty in Type::ALL {
            assert!(compare_type(ty, ty).is_ok(), "{ty}");
        }
        let error = compare_type(Bool, Uint).unwrap_err();
        assert_eq!(error.to_string(), "bool and uint cannot be compared");
        assert!(error.hint().is_some());
    }

    #[test]
    fn sums_widen() {
        assert_eq!(wide_sum(Ushort), Some(Ullong));
        assert_eq!(wide_sum(Int), Some(Llong));
        assert_eq!(wide_sum(Float), Some(Float));
        assert_eq!(wide_sum(Bool), Some(Ullong));
        assert_eq!(wide_sum(Ip), None);
    }
}
