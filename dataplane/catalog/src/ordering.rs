//! Ordering properties of stream attributes (Gigascope §2.1; gsql.md §6) and their imputation through expressions.
//!
//! Imputation assumes that nothing overflows; a wrap shows at run time as a reversal and is late. Each rule below
//! extends one cell of the manual's four-valued tables to the properties that the paper names:
//!
//! | expression | rule beyond the table |
//! |---|---|
//! | `x + const`, `x - const` | every property of `x` stays, the band with it |
//! | `inc + inc` | strict when either is strict |
//! | `banded(a) + inc` | `banded(a)`; `banded(a) + banded(b)` is `banded(a+b)` |
//! | `inc in G + inc in H` | increasing among tuples that agree in `G ∪ H`; plain inc counts as in no group |
//! | `x * c`, literal `c > 0` | strict stays strict, `banded(b)` becomes `banded(b·c)`, nonrepeating stays |
//! | `x * 0` | const |
//! | `x * c`, literal `c < 0` | inc and dec swap, strict stays strict; a band or group is lost |
//! | `x * $p`, unsigned | `$p` may be 0: strict becomes plain, a band is lost; signed: var |
//! | `inc * inc`, both non-negative | inc; strict only when both are |
//! | `x / c`, literal `c > 0` | strict becomes plain, `banded(b)` becomes `banded(⌈b/c⌉)`, nonrepeating is lost |
//! | `x / 1` | every property stays |
//! | `x / $p`, unsigned | as a literal of 1 or more: `banded(b)` stays |
//! | `const / inc` | dec if the divisor is non-negative and the numerator is positive |
//! | `inc / dec`, `dec / inc` | inc, dec; both non-negative |
//! | `x >> k`, `x << k` | as division by and multiplication with 2^k |
//! | float results | strict becomes plain, bands and nonrepeating are lost: rounding may merge neighbours |

use serde::{Deserialize, Serialize};
use wt_lang::ast::{BinaryOp, UnaryOp};

use crate::types::Type;
use crate::value::Value;

/// What is known of how an attribute changes from tuple to tuple of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Ordering {
    /// The same in every tuple.
    Constant,
    /// Each value is greater than the one before.
    StrictlyIncreasing,
    /// Never decreases.
    Increasing,
    /// Each value is less than the one before.
    StrictlyDecreasing,
    /// Never increases.
    Decreasing,
    /// Never more than this far behind its maximum, in units of the attribute.
    BandedIncreasing(u64),
    /// No value comes twice, in no known order (e.g. a hash of a strictly increasing attribute).
    NonRepeating,
    /// Increasing among the tuples that agree in the named attributes.
    IncreasingInGroup(Vec<String>),
    /// Nothing is known.
    #[default]
    Varying,
}

/// The four values of the manual's lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basic {
    /// const
    Const,
    /// inc
    Inc,
    /// dec
    Dec,
    /// var
    Var,
}

impl Ordering {
    /// The manual's class: strict is inc, `banded(b)` is inc with disorder tolerance `b`, what holds only within groups
    /// or only excludes repetition is var.
    pub fn basic(&self) -> Basic {
        match self {
            Self::Constant => Basic::Const,
            Self::StrictlyIncreasing | Self::Increasing | Self::BandedIncreasing(_) => Basic::Inc,
            Self::StrictlyDecreasing | Self::Decreasing => Basic::Dec,
            Self::NonRepeating | Self::IncreasingInGroup(_) | Self::Varying => Basic::Var,
        }
    }

    /// Whether a group variable with it closes windows: inc or dec, tolerance aside.
    pub fn is_temporal(&self) -> bool {
        matches!(self.basic(), Basic::Inc | Basic::Dec)
    }

    /// How far values may fall behind the maximum, in units of the attribute.
    pub fn tolerance(&self) -> u64 {
        match self {
            Self::BandedIncreasing(b) => *b,
            _ => 0,
        }
    }

    /// Whether every attribute with `self` also has `other`.
    pub fn implies(&self, other: &Self) -> bool {
        use Ordering::*;
        match (self, other) {
            (_, Varying) => true,
            (a, b) if a == b => true,
            (Constant | StrictlyIncreasing, Increasing)
            | (Constant | StrictlyDecreasing, Decreasing)
            | (StrictlyIncreasing | StrictlyDecreasing, NonRepeating)
            | (Constant | StrictlyIncreasing | Increasing, BandedIncreasing(_))
            | (Constant | StrictlyIncreasing | Increasing, IncreasingInGroup(_)) => true,
            (BandedIncreasing(a), BandedIncreasing(b)) => a <= b,
            (IncreasingInGroup(g), IncreasingInGroup(h)) => g.iter().all(|name| h.contains(name)),
            _ => false,
        }
    }

    /// Of the mirrored attribute (`-x`): inc and dec swap; a band or group has no mirror image.
    #[must_use]
    pub fn reversed(&self) -> Self {
        match self {
            Self::StrictlyIncreasing => Self::StrictlyDecreasing,
            Self::Increasing => Self::Decreasing,
            Self::StrictlyDecreasing => Self::StrictlyIncreasing,
            Self::Decreasing => Self::Increasing,
            Self::Constant => Self::Constant,
            Self::NonRepeating => Self::NonRepeating,
            Self::BandedIncreasing(_) | Self::IncreasingInGroup(_) | Self::Varying => Self::Varying,
        }
    }

    /// After a monotone function that may map neighbours to one value and stretches by an unknown factor.
    #[must_use]
    pub fn weakened(&self) -> Self {
        match self {
            Self::StrictlyIncreasing => Self::Increasing,
            Self::StrictlyDecreasing => Self::Decreasing,
            Self::BandedIncreasing(_) | Self::NonRepeating => Self::Varying,
            other => other.clone(),
        }
    }

    /// After a declared function of the manual's lattice, such as [`crate::Function::ordering`].
    #[must_use]
    pub fn mapped(&self, function: fn(Basic) -> Basic) -> Self {
        match function(self.basic()) {
            Basic::Const => Self::Constant,
            // The declaration says nothing of distances, so a band does not survive.
            Basic::Inc if self.tolerance() == 0 => Self::Increasing,
            Basic::Dec if self.tolerance() == 0 => Self::Decreasing,
            Basic::Inc | Basic::Dec | Basic::Var => Self::Varying,
        }
    }
}

impl std::fmt::Display for Ordering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::StrictlyIncreasing => f.write_str("strictly increasing"),
            Self::Increasing => f.write_str("increasing"),
            Self::StrictlyDecreasing => f.write_str("strictly decreasing"),
            Self::Decreasing => f.write_str("decreasing"),
            Self::BandedIncreasing(b) => write!(f, "banded-increasing({b})"),
            Self::NonRepeating => f.write_str("nonrepeating"),
            Self::IncreasingInGroup(g) => write!(f, "increasing in group ({})", g.join(", ")),
            Self::Varying => f.write_str("varying"),
        }
    }
}

/// What imputation needs to know of an operand.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its property.
    pub ordering: &'a Ordering,
    /// Its type.
    pub ty: Type,
    /// Its value when it is a literal or folds to one (note b of gsql.md §6).
    pub literal: Option<&'a Value>,
    /// Proven not to be negative; unsigned types are without being told.
    pub non_negative: bool,
}

impl<'a> Operand<'a> {
    /// An operand that is not a literal.
    pub fn new(ordering: &'a Ordering, ty: Type) -> Self {
        Self { ordering, ty, literal: None, non_negative: false }
    }

    /// A literal.
    pub fn literal(value: &'a Value, ty: Type) -> Self {
        Self { ordering: &Ordering::Constant, ty, literal: Some(value), non_negative: false }
    }

    fn is_const(&self) -> bool {
        *self.ordering == Ordering::Constant
    }

    fn is_non_negative(&self) -> bool {
        self.non_negative
            || !self.ty.is_signed()
            || matches!(self.factor(), Factor::Positive(_) | Factor::Zero)
    }

    /// What a constant does to the property of what it multiplies or divides.
    fn factor(&self) -> Factor {
        match self.literal {
            Some(value) => match value.as_f64() {
                Some(0.0) => Factor::Zero,
                Some(f) if f > 0.0 => Factor::Positive(value.as_i128()),
                Some(f) if f < 0.0 => Factor::Negative(value.as_i128()),
                _ => Factor::Unknown,
            },
            None if self.non_negative || !self.ty.is_signed() => Factor::Unsigned,
            None => Factor::Unknown,
        }
    }
}

/// Sign of a constant operand; the value where it is an integer.
enum Factor {
    Positive(Option<i128>),
    Zero,
    Negative(Option<i128>),
    /// A parameter of unsigned type.
    Unsigned,
    /// A parameter of signed type.
    Unknown,
}

/// The property of `lhs op rhs` (tables of gsql.md §6).
pub fn binary(op: BinaryOp, lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    if lhs.is_const() && rhs.is_const() {
        return Ordering::Constant;
    }
    let imputed = match op {
        BinaryOp::Add => add(lhs.ordering, rhs.ordering),
        BinaryOp::Sub => add(lhs.ordering, &rhs.ordering.reversed()),
        BinaryOp::Mul => mul(lhs, rhs),
        BinaryOp::Div => div(lhs, rhs),
        BinaryOp::Shl => shift_left(lhs, rhs),
        BinaryOp::Shr => shift_right(lhs, rhs),
        BinaryOp::Rem | BinaryOp::BitOr | BinaryOp::BitAnd => Ordering::Varying,
    };
    if lhs.ty == Type::Float || rhs.ty == Type::Float { imputed.weakened() } else { imputed }
}

/// The property of a prefix operator's result: `-` swaps, `+` keeps, `~` and `!` tell nothing.
pub fn unary(op: UnaryOp, operand: &Ordering) -> Ordering {
    match (op, operand) {
        (_, Ordering::Constant) => Ordering::Constant,
        (UnaryOp::Plus, o) => o.clone(),
        (UnaryOp::Neg, o) => o.reversed(),
        (UnaryOp::Not | UnaryOp::BitNot, _) => Ordering::Varying,
    }
}

/// The property after a cast: kept when every value of `from` is a value of `to`; weakened where a double cannot hold
/// all 64 bits; a change of sign at the same width only keeps values apart; anything else is var.
pub fn cast(from: Type, to: Type, operand: &Ordering) -> Ordering {
    if *operand == Ordering::Constant || from == to {
        return operand.clone();
    }
    match (from, to) {
        (Type::Bool, t) if t.is_numeric() => operand.clone(),
        (Type::Ushort | Type::Uint | Type::Int, Type::Float) => operand.clone(),
        (Type::Ullong | Type::Llong, Type::Float) => operand.weakened(),
        (Type::Ushort, Type::Uint | Type::Int | Type::Ullong | Type::Llong)
        | (Type::Uint | Type::Ip, Type::Ullong | Type::Llong)
        | (Type::Ip, Type::Uint)
        | (Type::Uint, Type::Ip)
        | (Type::Int, Type::Llong)
        | (Type::Time, Type::Ullong)
        | (Type::Ullong, Type::Time)
        | (Type::Duration, Type::Llong)
        | (Type::Llong, Type::Duration)
        | (Type::Ip | Type::Ipv6, Type::Inet)
        | (Type::String, Type::Bytes)
        | (Type::Bytes, Type::String) => operand.clone(),
        (f, t)
            if f.is_integer()
                && t.is_integer()
                && f.bits() == t.bits()
                && operand.implies(&Ordering::NonRepeating) =>
        {
            Ordering::NonRepeating
        }
        _ => Ordering::Varying,
    }
}

fn add(lhs: &Ordering, rhs: &Ordering) -> Ordering {
    use Ordering::*;
    match (lhs, rhs) {
        (Constant, other) | (other, Constant) => other.clone(),
        (StrictlyIncreasing | Increasing, StrictlyIncreasing | Increasing) => {
            if *lhs == StrictlyIncreasing || *rhs == StrictlyIncreasing {
                StrictlyIncreasing
            } else {
                Increasing
            }
        }
        (StrictlyDecreasing | Decreasing, StrictlyDecreasing | Decreasing) => {
            if *lhs == StrictlyDecreasing || *rhs == StrictlyDecreasing {
                StrictlyDecreasing
            } else {
                Decreasing
            }
        }
        (BandedIncreasing(a), BandedIncreasing(b)) => banded(a.checked_add(*b)),
        (BandedIncreasing(a), StrictlyIncreasing | Increasing)
        | (StrictlyIncreasing | Increasing, BandedIncreasing(a)) => BandedIncreasing(*a),
        _ => in_common_group(lhs, rhs),
    }
}

/// `inc in G` with `inc in H`: increasing among the tuples that agree in both.
fn in_common_group(lhs: &Ordering, rhs: &Ordering) -> Ordering {
    use Ordering::*;
    match (lhs, rhs) {
        (IncreasingInGroup(g), IncreasingInGroup(h)) => {
            let mut both = g.clone();
            both.extend(h.iter().filter(|name| !g.contains(name)).cloned());
            IncreasingInGroup(both)
        }
        (IncreasingInGroup(g), StrictlyIncreasing | Increasing)
        | (StrictlyIncreasing | Increasing, IncreasingInGroup(g)) => IncreasingInGroup(g.clone()),
        _ => Varying,
    }
}

fn banded(band: Option<u64>) -> Ordering {
    band.map_or(Ordering::Varying, Ordering::BandedIncreasing)
}

fn mul(lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    use Ordering::*;
    let (constant, other) = match (lhs.is_const(), rhs.is_const()) {
        (true, _) => (lhs, rhs),
        (_, true) => (rhs, lhs),
        _ => return mul_varying(lhs, rhs),
    };
    match (constant.factor(), other.ordering) {
        (Factor::Zero, _) => Constant,
        (Factor::Positive(c), BandedIncreasing(b)) => {
            banded(c.and_then(|c| u64::try_from(c).ok()).and_then(|c| b.checked_mul(c)))
        }
        (Factor::Positive(_), o) => o.clone(),
        (Factor::Negative(_), o) => o.reversed(),
        (Factor::Unsigned, o) => o.weakened(),
        (Factor::Unknown, _) => Varying,
    }
}

fn mul_varying(lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    use Ordering::*;
    if !lhs.is_non_negative() || !rhs.is_non_negative() {
        return Varying;
    }
    match (lhs.ordering, rhs.ordering) {
        // One strict factor is not enough: the other may stay at zero.
        (StrictlyIncreasing, StrictlyIncreasing) => StrictlyIncreasing,
        (StrictlyDecreasing, StrictlyDecreasing) => StrictlyDecreasing,
        (StrictlyIncreasing | Increasing, StrictlyIncreasing | Increasing) => Increasing,
        (StrictlyDecreasing | Decreasing, StrictlyDecreasing | Decreasing) => Decreasing,
        (a, b) => in_common_group(a, b),
    }
}

fn div(lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    use Ordering::*;
    if rhs.is_const() {
        return match (rhs.factor(), lhs.ordering) {
            (Factor::Positive(Some(1)), o) => o.clone(),
            (Factor::Positive(Some(c)), BandedIncreasing(b)) => match u64::try_from(c) {
                Ok(c) => BandedIncreasing(b.div_ceil(c)),
                Err(_) => Varying,
            },
            // A run-time divisor of 0 fails, so the divisor is at least 1.
            (Factor::Unsigned, BandedIncreasing(b)) => BandedIncreasing(*b),
            (Factor::Positive(_) | Factor::Unsigned, o) => o.weakened(),
            (Factor::Negative(Some(-1)), o) => o.reversed(),
            (Factor::Negative(_), o) => o.reversed().weakened(),
            (Factor::Zero | Factor::Unknown, _) => Varying,
        };
    }
    if !rhs.is_non_negative() {
        return Varying;
    }
    if lhs.is_const() {
        let monotone = match rhs.ordering.basic() {
            Basic::Inc if rhs.ordering.tolerance() == 0 => Decreasing,
            Basic::Dec => Increasing,
            _ => return Varying,
        };
        return match lhs.factor() {
            Factor::Zero => Constant,
            Factor::Positive(_) | Factor::Unsigned => monotone,
            Factor::Negative(_) => monotone.reversed(),
            Factor::Unknown => Varying,
        };
    }
    if !lhs.is_non_negative() {
        return Varying;
    }
    match (lhs.ordering, rhs.ordering) {
        (StrictlyIncreasing | Increasing, StrictlyDecreasing | Decreasing) => Increasing,
        (StrictlyDecreasing | Decreasing, StrictlyIncreasing | Increasing) => Decreasing,
        (IncreasingInGroup(g), StrictlyDecreasing | Decreasing) => IncreasingInGroup(g.clone()),
        _ => Varying,
    }
}

/// The count of a constant shift: `Some(None)` for a parameter, `None` when it is not constant.
fn shift_count(rhs: &Operand<'_>) -> Option<Option<i128>> {
    rhs.is_const().then(|| rhs.literal.and_then(Value::as_i128))
}

fn shift_left(lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    let width = i128::from(lhs.ty.bits().unwrap_or(64));
    match shift_count(&rhs) {
        None => Ordering::Varying,
        Some(None) => lhs.ordering.weakened(),
        Some(Some(0)) => lhs.ordering.clone(),
        // Every bit may be shifted out, which leaves the constant 0.
        Some(Some(k)) if !(0..width).contains(&k) => lhs.ordering.weakened(),
        Some(Some(k)) => match lhs.ordering {
            Ordering::BandedIncreasing(b) => banded(b.checked_mul(1 << k)),
            o => o.clone(),
        },
    }
}

fn shift_right(lhs: Operand<'_>, rhs: Operand<'_>) -> Ordering {
    match (shift_count(&rhs), lhs.ordering) {
        (None, _) => Ordering::Varying,
        (Some(Some(0)), o) => o.clone(),
        (Some(Some(k @ 1..=63)), Ordering::BandedIncreasing(b)) => {
            Ordering::BandedIncreasing(b.div_ceil(1 << k))
        }
        (Some(_), Ordering::BandedIncreasing(b)) => Ordering::BandedIncreasing(*b),
        (Some(_), o) => o.weakened(),
    }
}
