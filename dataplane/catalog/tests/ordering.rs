//! The ordering tables of gsql.md §6, cell by cell, and imputation against random sequences.

use proptest::prelude::*;
use wt_catalog::ordering::{Operand, binary, cast, unary};
use wt_catalog::{Ordering, Type, Value, arith};
use wt_lang::ast::{BinaryOp, UnaryOp};

use Ordering::{
    BandedIncreasing, Constant, Decreasing, Increasing, IncreasingInGroup, NonRepeating,
    StrictlyDecreasing, StrictlyIncreasing, Varying,
};

const CLASSES: [Ordering; 4] = [Constant, Increasing, Decreasing, Varying];

/// Rows are left operands, columns right ones, in the order const, inc, dec, var.
fn check_table(op: BinaryOp, rows: [&str; 4]) {
    for (lhs, row) in CLASSES.iter().zip(rows) {
        for (rhs, expected) in CLASSES.iter().zip(row.split_whitespace()) {
            let seven = Value::Uint(7);
            // A constant with the sign that note (b) asks for.
            let operand = |o| match o {
                &Constant => Operand::literal(&seven, Type::Uint),
                o => Operand::new(o, Type::Uint),
            };
            let got = binary(op, operand(lhs), operand(rhs));
            let expected = match expected {
                "const" => Constant,
                "inc" => Increasing,
                "dec" => Decreasing,
                _ => Varying,
            };
            assert_eq!(got, expected, "{lhs} {op:?} {rhs}");
        }
    }
}

#[test]
fn every_cell_of_the_tables() {
    check_table(
        BinaryOp::Add,
        ["const inc dec var", "inc inc var var", "dec var dec var", "var var var var"],
    );
    check_table(
        BinaryOp::Sub,
        ["const dec inc var", "inc var inc var", "dec dec var var", "var var var var"],
    );
    check_table(
        BinaryOp::Mul,
        ["const inc dec var", "inc inc var var", "dec var dec var", "var var var var"],
    );
    check_table(
        BinaryOp::Div,
        ["const dec inc var", "inc var inc var", "dec dec var var", "var var var var"],
    );
    let shift = ["const var var var", "inc var var var", "dec var var var", "var var var var"];
    check_table(BinaryOp::Shl, shift);
    check_table(BinaryOp::Shr, shift);
    for op in [BinaryOp::Rem, BinaryOp::BitAnd, BinaryOp::BitOr] {
        check_table(
            op,
            ["const var var var", "var var var var", "var var var var", "var var var var"],
        );
    }
}

#[test]
fn signs_decide_multiplication_and_division() {
    let with = |op, o: &Ordering, literal: i64| {
        let value = Value::Int(literal);
        binary(op, Operand::new(o, Type::Llong), Operand::literal(&value, Type::Llong))
    };
    assert_eq!(with(BinaryOp::Mul, &Increasing, -2), Decreasing);
    assert_eq!(with(BinaryOp::Mul, &StrictlyIncreasing, -2), StrictlyDecreasing);
    assert_eq!(with(BinaryOp::Mul, &Varying, 0), Constant);
    assert_eq!(with(BinaryOp::Div, &StrictlyIncreasing, -2), Decreasing);
    assert_eq!(with(BinaryOp::Div, &StrictlyIncreasing, 1), StrictlyIncreasing);
    assert_eq!(with(BinaryOp::Div, &Increasing, 0), Varying);
    let parameter = |op, ty| {
        binary(op, Operand::new(&StrictlyIncreasing, Type::Uint), Operand::new(&Constant, ty))
    };
    assert_eq!(parameter(BinaryOp::Mul, Type::Uint), Increasing);
    assert_eq!(parameter(BinaryOp::Mul, Type::Int), Varying);
    assert_eq!(parameter(BinaryOp::Div, Type::Int), Varying);
    let product = |a: &Ordering, b: &Ordering, ty| {
        binary(BinaryOp::Mul, Operand::new(a, ty), Operand::new(b, ty))
    };
    assert_eq!(product(&Increasing, &Increasing, Type::Uint), Increasing);
    assert_eq!(product(&Increasing, &Increasing, Type::Int), Varying);
    assert_eq!(product(&StrictlyIncreasing, &Increasing, Type::Uint), Increasing);
    assert_eq!(product(&StrictlyIncreasing, &StrictlyIncreasing, Type::Uint), StrictlyIncreasing);
    let proven = Operand { non_negative: true, ..Operand::new(&Increasing, Type::Int) };
    assert_eq!(binary(BinaryOp::Mul, proven, proven), Increasing);
    // 10 / x turns around where x changes its sign.
    let ten = Value::Int(10);
    let tenth = |ty| {
        binary(BinaryOp::Div, Operand::literal(&ten, Type::Int), Operand::new(&Increasing, ty))
    };
    assert_eq!(tenth(Type::Int), Varying);
    assert_eq!(tenth(Type::Uint), Decreasing);
}

#[test]
fn extended_properties() {
    let with = |op, o: &Ordering, literal: u64| {
        let value = Value::Uint(literal);
        binary(op, Operand::new(o, Type::Ullong), Operand::literal(&value, Type::Ullong))
    };
    let group = || IncreasingInGroup(vec!["srcIP".to_owned()]);
    assert_eq!(with(BinaryOp::Add, &BandedIncreasing(5), 3), BandedIncreasing(5));
    assert_eq!(with(BinaryOp::Sub, &BandedIncreasing(5), 3), BandedIncreasing(5));
    assert_eq!(with(BinaryOp::Mul, &BandedIncreasing(5), 3), BandedIncreasing(15));
    assert_eq!(with(BinaryOp::Mul, &BandedIncreasing(u64::MAX), 3), Varying);
    assert_eq!(with(BinaryOp::Div, &BandedIncreasing(5), 3), BandedIncreasing(2));
    assert_eq!(with(BinaryOp::Div, &BandedIncreasing(6), 3), BandedIncreasing(2));
    assert_eq!(with(BinaryOp::Shr, &BandedIncreasing(5), 2), BandedIncreasing(2));
    assert_eq!(with(BinaryOp::Shl, &BandedIncreasing(5), 2), BandedIncreasing(20));
    assert_eq!(with(BinaryOp::Mul, &StrictlyIncreasing, 3), StrictlyIncreasing);
    assert_eq!(with(BinaryOp::Div, &StrictlyIncreasing, 3), Increasing);
    assert_eq!(with(BinaryOp::Shr, &StrictlyIncreasing, 3), Increasing);
    assert_eq!(with(BinaryOp::Add, &NonRepeating, 3), NonRepeating);
    assert_eq!(with(BinaryOp::Mul, &NonRepeating, 3), NonRepeating);
    assert_eq!(with(BinaryOp::Div, &NonRepeating, 3), Varying);
    assert_eq!(with(BinaryOp::Div, &group(), 3), group());
    assert_eq!(with(BinaryOp::Rem, &StrictlyIncreasing, 3), Varying);
    let sum = |a: &Ordering, b: &Ordering| {
        binary(BinaryOp::Add, Operand::new(a, Type::Ullong), Operand::new(b, Type::Ullong))
    };
    assert_eq!(sum(&StrictlyIncreasing, &Increasing), StrictlyIncreasing);
    assert_eq!(sum(&BandedIncreasing(2), &BandedIncreasing(3)), BandedIncreasing(5));
    assert_eq!(sum(&BandedIncreasing(2), &Increasing), BandedIncreasing(2));
    assert_eq!(sum(&group(), &Increasing), group());
    let other = IncreasingInGroup(vec!["destIP".to_owned()]);
    let both = IncreasingInGroup(vec!["srcIP".to_owned(), "destIP".to_owned()]);
    assert_eq!(sum(&group(), &other), both);
    let half = Value::Float(0.5);
    let floating = |o: &Ordering| {
        binary(BinaryOp::Mul, Operand::new(o, Type::Uint), Operand::literal(&half, Type::Float))
    };
    assert_eq!(floating(&StrictlyIncreasing), Increasing);
    assert_eq!(floating(&BandedIncreasing(2)), Varying);
    // Time buckets.
    let second = Value::Duration(1_000_000_000);
    let bucket = binary(
        BinaryOp::Div,
        Operand::new(&BandedIncreasing(1_500_000_000), Type::Time),
        Operand::literal(&second, Type::Duration),
    );
    assert_eq!(bucket, BandedIncreasing(2));
}

#[test]
fn prefix_operators_and_casts() {
    assert_eq!(unary(UnaryOp::Neg, &Increasing), Decreasing);
    assert_eq!(unary(UnaryOp::Neg, &StrictlyDecreasing), StrictlyIncreasing);
    assert_eq!(unary(UnaryOp::Neg, &BandedIncreasing(3)), Varying);
    assert_eq!(unary(UnaryOp::Plus, &BandedIncreasing(3)), BandedIncreasing(3));
    assert_eq!(unary(UnaryOp::BitNot, &Increasing), Varying);
    assert_eq!(unary(UnaryOp::Not, &Increasing), Varying);
    assert_eq!(unary(UnaryOp::Not, &Constant), Constant);
    let keeps = [
        (Type::Uint, Type::Ullong),
        (Type::Uint, Type::Llong),
        (Type::Ushort, Type::Uint),
        (Type::Int, Type::Llong),
        (Type::Uint, Type::Float),
        (Type::Time, Type::Ullong),
        (Type::Ip, Type::Inet),
    ];
    for (from, to) in keeps {
        assert_eq!(cast(from, to, &StrictlyIncreasing), StrictlyIncreasing, "{from} to {to}");
    }
    assert_eq!(cast(Type::Ullong, Type::Float, &StrictlyIncreasing), Increasing);
    for (from, to) in
        [(Type::Ullong, Type::Uint), (Type::Float, Type::Int), (Type::Llong, Type::Uint)]
    {
        assert_eq!(cast(from, to, &StrictlyIncreasing), Varying, "{from} to {to}");
    }
    assert_eq!(cast(Type::Int, Type::Uint, &StrictlyIncreasing), NonRepeating);
    assert_eq!(cast(Type::Int, Type::Uint, &Increasing), Varying);
    assert_eq!(cast(Type::Int, Type::Uint, &Constant), Constant);
}

#[test]
fn implication_is_a_partial_order() {
    let all = [
        Constant,
        StrictlyIncreasing,
        Increasing,
        StrictlyDecreasing,
        Decreasing,
        BandedIncreasing(0),
        BandedIncreasing(5),
        NonRepeating,
        IncreasingInGroup(vec!["a".to_owned()]),
        IncreasingInGroup(vec!["a".to_owned(), "b".to_owned()]),
        Varying,
    ];
    for a in &all {
        assert!(a.implies(a));
        assert!(a.implies(&Varying));
        for b in &all {
            for c in &all {
                let transitive = !(a.implies(b) && b.implies(c)) || a.implies(c);
                assert!(transitive, "{a}, {b}, {c}");
            }
        }
    }
    assert!(BandedIncreasing(3).implies(&BandedIncreasing(5)));
    assert!(!BandedIncreasing(5).implies(&BandedIncreasing(3)));
}

/// Whether a sequence has a property; `groups` names the group of each element.
fn holds(ordering: &Ordering, values: &[i128], groups: &[u8]) -> bool {
    let mut pairs = values.windows(2).map(|w| (w[0], w[1]));
    match ordering {
        Constant => pairs.all(|(a, b)| a == b),
        StrictlyIncreasing => pairs.all(|(a, b)| a < b),
        Increasing => pairs.all(|(a, b)| a <= b),
        StrictlyDecreasing => pairs.all(|(a, b)| a > b),
        Decreasing => pairs.all(|(a, b)| a >= b),
        BandedIncreasing(band) => {
            let mut highest = i128::MIN;
            values.iter().all(|&v| {
                highest = highest.max(v);
                highest - v <= i128::from(*band)
            })
        }
        NonRepeating => {
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            sorted.windows(2).all(|w| w[0] != w[1])
        }
        IncreasingInGroup(_) => (0..4).all(|g| {
            let mine: Vec<i128> =
                values.iter().zip(groups).filter(|(_, h)| **h == g).map(|(v, _)| *v).collect();
            mine.windows(2).all(|w| w[0] <= w[1])
        }),
        Varying => true,
    }
}

/// Steps and noise turned into a sequence with the property.
fn sequence(ordering: &Ordering, start: i64, noise: &[(u8, u8)]) -> Vec<i64> {
    let mut at = start;
    let mut highest = start;
    let mut in_group = [start; 4];
    noise
        .iter()
        .enumerate()
        .map(|(i, &(step, group))| {
            let step = i64::from(step % 16);
            match ordering {
                Constant => {}
                StrictlyIncreasing => at += step + 1,
                Increasing => at += step,
                StrictlyDecreasing => at -= step + 1,
                Decreasing => at -= step,
                BandedIncreasing(band) => {
                    highest += step / 4;
                    at = highest - step % (*band as i64 + 1);
                    highest = highest.max(at);
                }
                // Distinct numbers in no order: odd multiples modulo a power of two.
                NonRepeating => at = start + (i as i64 * 37) % 256,
                IncreasingInGroup(_) => {
                    let own = &mut in_group[usize::from(group % 4)];
                    *own += step;
                    at = *own;
                }
                Varying => at = start + step * 7 % 16,
            }
            at
        })
        .collect()
}

fn orderings() -> impl Strategy<Value = Ordering> {
    prop_oneof![
        Just(Constant),
        Just(StrictlyIncreasing),
        Just(Increasing),
        Just(StrictlyDecreasing),
        Just(Decreasing),
        (0u64..12).prop_map(BandedIncreasing),
        Just(NonRepeating),
        Just(IncreasingInGroup(vec!["g".to_owned()])),
        Just(Varying),
    ]
}

fn operators() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop_oneof![
        Just(Add),
        Just(Sub),
        Just(Mul),
        Just(Div),
        Just(Rem),
        Just(Shl),
        Just(Shr),
        Just(BitAnd),
        Just(BitOr)
    ]
}

/// The operator over the integers, for values that overflow nothing.
fn exact(op: BinaryOp, a: i128, b: i128) -> Option<i128> {
    match op {
        BinaryOp::Add => Some(a + b),
        BinaryOp::Sub => Some(a - b),
        BinaryOp::Mul => Some(a * b),
        BinaryOp::Div => a.checked_div(b),
        BinaryOp::Rem => a.checked_rem(b),
        BinaryOp::Shl if (0..64).contains(&b) => Some(a << b),
        BinaryOp::Shr if (0..64).contains(&b) => Some(a >> b),
        BinaryOp::Shl | BinaryOp::Shr => None,
        BinaryOp::BitAnd => Some(a & b),
        BinaryOp::BitOr => Some(a | b),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What is imputed holds of what is computed, where nothing overflows.
    #[test]
    fn imputation_is_sound(
        op in operators(),
        lhs in orderings(),
        rhs in orderings(),
        left_literal in any::<bool>(),
        right_literal in any::<bool>(),
        signed in any::<(bool, bool)>(),
        starts in (-40i64..400, -40i64..400),
        noise in prop::collection::vec(any::<(u8, u8)>(), 1..40),
        other_noise in prop::collection::vec(any::<(u8, u8)>(), 40),
    ) {
        let groups: Vec<u8> = noise.iter().map(|(_, g)| g % 4).collect();
        // Both operands are increasing in the same groups.
        let right_noise: Vec<(u8, u8)> =
            noise.iter().zip(&other_noise).map(|(&(_, g), &(s, _))| (s, g)).collect();
        let xs = sequence(&lhs, starts.0, &noise);
        let ys = sequence(&rhs, starts.1, &right_noise);
        let ty = |is_signed| if is_signed { Type::Llong } else { Type::Ullong };
        let (x_ty, y_ty) = (ty(signed.0), ty(signed.1));
        let fits = |values: &[i64], ty| ty == Type::Llong || values.iter().all(|&v| v >= 0);
        prop_assume!(fits(&xs, x_ty) && fits(&ys, y_ty));
        let value = |v: i64, ty| match ty {
            Type::Llong => Value::Int(v),
            _ => Value::Uint(v as u64),
        };
        let (x0, y0) = (value(xs[0], x_ty), value(ys[0], y_ty));
        let x_operand = if left_literal && lhs == Constant {
            Operand::literal(&x0, x_ty)
        } else {
            Operand::new(&lhs, x_ty)
        };
        let y_operand = if right_literal && rhs == Constant {
            Operand::literal(&y0, y_ty)
        } else {
            Operand::new(&rhs, y_ty)
        };
        let imputed = binary(op, x_operand, y_operand);
        let result_ty = if x_ty == y_ty { x_ty } else { Type::Ullong };
        let mut results = Vec::new();
        let mut result_groups = Vec::new();
        for ((&x, &y), &group) in xs.iter().zip(&ys).zip(&groups) {
            // A failing expression yields no tuple.
            let Some(wanted) = exact(op, i128::from(x), i128::from(y)) else { continue };
            let got = arith::binary(op, &value(x, x_ty), &value(y, y_ty), result_ty)
                .and_then(|v| v.as_i128());
            if got == Some(wanted) {
                results.push(wanted);
                result_groups.push(group);
            } else {
                // It wrapped, which imputation excludes.
                return Ok(());
            }
        }
        prop_assert!(
            holds(&imputed, &results, &result_groups),
            "{lhs} {op:?} {rhs} imputed {imputed}: {xs:?} {ys:?} -> {results:?}"
        );
    }

    #[test]
    fn sequences_have_their_property(
        ordering in orderings(),
        noise in prop::collection::vec(any::<(u8, u8)>(), 1..40),
    ) {
        let groups: Vec<u8> = noise.iter().map(|(_, g)| g % 4).collect();
        let values: Vec<i128> =
            sequence(&ordering, 100, &noise).into_iter().map(i128::from).collect();
        prop_assert!(holds(&ordering, &values, &groups), "{ordering}: {values:?}");
        let negated: Vec<i128> = values.iter().map(|v| -v).collect();
        prop_assert!(holds(&unary(UnaryOp::Neg, &ordering), &negated, &groups));
    }
}
