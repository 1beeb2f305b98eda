//! Imputed properties against brute force: random expressions over a stream whose columns have known properties.

use proptest::prelude::*;
use wt_catalog::promote::{binary_type, unary_type};
use wt_catalog::{Ordering, Type, Value, arith};
use wt_lang::Span;
use wt_lang::ast::{BinaryOp, UnaryOp};

use super::fold::fold;
use super::ordering::infer;
use crate::logical::{Expr, ExprKind};

/// Columns of the stream: type and property.
fn columns() -> Vec<(Type, Ordering)> {
    vec![
        (Type::Uint, Ordering::Increasing),
        (Type::Ullong, Ordering::StrictlyIncreasing),
        (Type::Int, Ordering::Decreasing),
        (Type::Llong, Ordering::StrictlyDecreasing),
        (Type::Uint, Ordering::Varying),
        (Type::Uint, Ordering::BandedIncreasing(7)),
        (Type::Int, Ordering::Increasing),
        (Type::Time, Ordering::Increasing),
        (Type::Uint, Ordering::NonRepeating),
        (Type::Ushort, Ordering::Constant),
    ]
}

fn leaf(e: &Expr) -> Ordering {
    match e.kind {
        ExprKind::Column(i) => columns()[i].1.clone(),
        _ => Ordering::Varying,
    }
}

/// Rows that have the declared properties.
fn rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    let step = (0u64..4, 1u64..5, 0i64..3, 1i64..4, 0u64..50, 0u64..8, 0i64..3, 0u64..9);
    (prop::collection::vec(step, 2..24), 0u64..100, -20i64..20).prop_map(
        |(steps, start, signed)| {
            let (mut inc, mut strict, mut banded) = (start, start, start + 20);
            let (mut dec, mut strict_dec, mut signed_inc) = (signed, signed, signed);
            let mut time = 1_000_000_000u64;
            let mut rows = Vec::new();
            for (n, (a, b, c, d, var, back, up, t)) in steps.into_iter().enumerate() {
                inc += a;
                strict += b;
                dec -= c;
                strict_dec -= d;
                signed_inc += up;
                banded += a;
                time += t * 400_000_000;
                // 97 and 251 are prime to each other: no value comes twice in a short stream.
                let nonrepeating = (n as u64 * 97 + start) % 251;
                rows.push(vec![
                    Value::Uint(inc),
                    Value::Uint(strict),
                    Value::Int(dec),
                    Value::Int(strict_dec),
                    Value::Uint(var),
                    Value::Uint(banded - back.min(7)),
                    Value::Int(signed_inc),
                    Value::Time(time),
                    Value::Uint(nonrepeating),
                    Value::Uint(5),
                ]);
            }
            rows
        },
    )
}

fn node(kind: ExprKind, ty: Type) -> Expr {
    fold(Expr { kind, ty, span: Span::default() })
}

fn expressions() -> impl Strategy<Value = Expr> {
    let column = (0..columns().len()).prop_map(|i| node(ExprKind::Column(i), columns()[i].0));
    let constant = |value, ty| node(ExprKind::Const(value), ty);
    let literal = prop_oneof![
        (0u64..70).prop_map(move |n| constant(Value::Uint(n), Type::Uint)),
        (-9i64..9).prop_map(move |n| constant(Value::Int(n), Type::Int)),
        prop::sample::select(vec![-1.5, 0.0, 0.5, 2.0, 60.0])
            .prop_map(move |f| constant(Value::Float(f), Type::Float)),
        (1i64..4).prop_map(move |s| constant(Value::Duration(s * 500_000_000), Type::Duration)),
    ];
    let leaf = prop_oneof![3 => column, 2 => literal];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let ops = prop::sample::select(vec![
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Rem,
            BinaryOp::Shl,
            BinaryOp::Shr,
            BinaryOp::BitAnd,
            BinaryOp::BitOr,
        ]);
        let casts = prop::sample::select(vec![
            Type::Ushort,
            Type::Uint,
            Type::Int,
            Type::Ullong,
            Type::Llong,
            Type::Float,
        ]);
        prop_oneof![
            6 => (ops, inner.clone(), inner.clone()).prop_map(|(op, a, b)| {
                match binary_type(op, a.ty, b.ty) {
                    Ok(ty) => node(ExprKind::Binary(op, Box::new(a), Box::new(b)), ty),
                    Err(_) => a,
                }
            }),
            1 => (prop::sample::select(vec![UnaryOp::Neg, UnaryOp::Plus, UnaryOp::BitNot]), inner.clone())
                .prop_map(|(op, a)| match unary_type(op, a.ty) {
                    Ok(ty) => node(ExprKind::Unary(op, Box::new(a)), ty),
                    Err(_) => a,
                }),
            1 => (casts, inner.clone()).prop_map(|(ty, a)| {
                if a.ty.is_numeric() { node(ExprKind::Cast(Box::new(a)), ty) } else { a }
            }),
            1 => (inner.clone(), inner).prop_map(|(a, b)| {
                if a.ty != b.ty {
                    return a;
                }
                let condition = node(ExprKind::Const(Value::Bool(true)), Type::Bool);
                Expr {
                    ty: a.ty,
                    kind: ExprKind::If(Box::new(condition), Box::new(a), Box::new(b)),
                    span: Span::default(),
                }
            }),
        ]
    })
}

/// What a row gives.
enum Outcome {
    Value(Value),
    /// Division by zero: the row is rejected.
    Fails,
    /// A value wrapped: imputation assumes that none does.
    Wraps,
}

fn evaluate(e: &Expr, row: &[Value]) -> Outcome {
    let operand = |e: &Expr| match evaluate(e, row) {
        Outcome::Value(v) => Ok(v),
        other => Err(other),
    };
    let inner = || -> Result<Outcome, Outcome> {
        Ok(match &e.kind {
            ExprKind::Const(v) => Outcome::Value(v.clone()),
            ExprKind::Column(i) => Outcome::Value(row[*i].clone()),
            ExprKind::Unary(op, a) => {
                let a = operand(a)?;
                let exact = match (op, a.as_i128()) {
                    (UnaryOp::Neg, Some(n)) if e.ty != Type::Float => Some(-n),
                    _ => None,
                };
                checked(arith::unary(*op, &a, e.ty), exact)
            }
            ExprKind::Binary(op, a, b) => {
                let (a, b) = (operand(a)?, operand(b)?);
                checked(arith::binary(*op, &a, &b, e.ty), exact(*op, &a, &b, e.ty))
            }
            ExprKind::Cast(a) => {
                let from = a.ty;
                let a = operand(a)?;
                // A widening cast must keep the value; what a narrowing one does is its meaning.
                let widens = from.is_integer() && e.ty == Type::Llong && from != Type::Ullong
                    || matches!((from, e.ty), (Type::Ushort, Type::Uint | Type::Int));
                let exact = if widens { a.as_i128() } else { None };
                checked(arith::cast(&a, e.ty), exact)
            }
            ExprKind::If(_, a, _) => Outcome::Value(operand(a)?),
            _ => Outcome::Fails,
        })
    };
    inner().unwrap_or_else(|o| o)
}

fn exact(op: BinaryOp, a: &Value, b: &Value, ty: Type) -> Option<i128> {
    if ty == Type::Float {
        return None;
    }
    let (a, b) = (a.as_i128()?, b.as_i128()?);
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => Some(a.checked_mul(b).unwrap_or(i128::MAX)),
        BinaryOp::Div => a.checked_div(b),
        // An operand that promotion turns unsigned wraps too.
        BinaryOp::Shr if (0..=64).contains(&b) => Some(a >> b),
        BinaryOp::Shl if (0..=64).contains(&b) => Some(a.checked_mul(1 << b).unwrap_or(i128::MAX)),
        _ => None,
    }
}

fn checked(value: Option<Value>, exact: Option<i128>) -> Outcome {
    match (value, exact) {
        (None, _) => Outcome::Fails,
        (Some(v), Some(n)) if v.as_i128().is_some_and(|w| w != n) => Outcome::Wraps,
        (Some(v), _) => Outcome::Value(v),
    }
}

fn holds(ordering: &Ordering, values: &[Value]) -> bool {
    let number = |v: &Value| v.as_f64();
    let pairs = |ok: fn(std::cmp::Ordering) -> bool| {
        values.windows(2).all(|w| w[0].compare(&w[1]).is_none_or(ok))
    };
    match ordering {
        Ordering::Constant => pairs(|o| o.is_eq()),
        Ordering::StrictlyIncreasing => pairs(|o| o.is_lt()),
        Ordering::Increasing => pairs(|o| o.is_le()),
        Ordering::StrictlyDecreasing => pairs(|o| o.is_gt()),
        Ordering::Decreasing => pairs(|o| o.is_ge()),
        Ordering::BandedIncreasing(band) => {
            let mut most = f64::NEG_INFINITY;
            values.iter().filter_map(number).all(|v| {
                most = most.max(v);
                v >= most - *band as f64
            })
        }
        Ordering::NonRepeating => (1..values.len()).all(|i| !values[..i].contains(&values[i])),
        Ordering::IncreasingInGroup(_) | Ordering::Varying => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_imputed_holds(rows in rows(), e in expressions()) {
        let ordering = infer(&e, &leaf);
        let mut values = Vec::new();
        for row in &rows {
            match evaluate(&e, row) {
                Outcome::Value(v) => values.push(v),
                Outcome::Fails => {}
                Outcome::Wraps => return Ok(()),
            }
        }
        prop_assert!(holds(&ordering, &values), "{ordering} but {values:?} of {e:?}");
    }
}

/// The cells that gsql.md prints, and those it adds.
#[test]
fn the_tables_of_the_manual() {
    let inc = || Expr { kind: ExprKind::Column(0), ty: Type::Uint, span: Span::default() };
    let dec = || Expr { kind: ExprKind::Column(2), ty: Type::Int, span: Span::default() };
    let lit =
        |n| Expr { kind: ExprKind::Const(Value::Uint(n)), ty: Type::Uint, span: Span::default() };
    let of = |op, a: Expr, b: Expr| {
        let ty = binary_type(op, a.ty, b.ty).unwrap();
        infer(
            &Expr {
                kind: ExprKind::Binary(op, Box::new(a), Box::new(b)),
                ty,
                span: Span::default(),
            },
            &leaf,
        )
    };
    assert_eq!(of(BinaryOp::Div, inc(), lit(60)), Ordering::Increasing);
    assert_eq!(of(BinaryOp::Sub, inc(), lit(5)), Ordering::Increasing);
    assert_eq!(of(BinaryOp::Sub, lit(5), inc()), Ordering::Decreasing);
    assert_eq!(of(BinaryOp::Add, inc(), inc()), Ordering::Increasing);
    assert_eq!(of(BinaryOp::Add, inc(), dec()), Ordering::Varying);
    assert_eq!(of(BinaryOp::Mul, inc(), lit(0)), Ordering::Constant);
    assert_eq!(of(BinaryOp::Rem, inc(), lit(60)), Ordering::Varying);
    assert_eq!(of(BinaryOp::BitAnd, inc(), lit(15)), Ordering::Varying);
    assert_eq!(of(BinaryOp::Shr, inc(), lit(4)), Ordering::Increasing);
    assert_eq!(of(BinaryOp::Div, dec(), lit(2)), Ordering::Decreasing);
}
