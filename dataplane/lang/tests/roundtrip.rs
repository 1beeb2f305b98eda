//! Random trees print as text that parses to an equal tree.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use wt_lang::ast::*;
use wt_lang::ast_decl::*;
use wt_lang::{
    Ident, Parsed, Span, parse_ddl, parse_expr, parse_functions, parse_gsql, parse_interface_sets,
    render,
};

const AT: Span = Span::new(0, 0);

/// Names that mean something by their place only, or nothing at all.
fn name() -> impl Strategy<Value = Ident> {
    const KEYWORDS_BY_PLACE: [&str; 12] = [
        "group", "order", "limit", "then", "else", "end", "cleaning", "closing", "cube", "rollup",
        "session", "at",
    ];
    let odd = prop::sample::select(vec![
        "time", "window", "last", "first", "offset", "len", "x", "hex", "slack", "desc", "fields",
        "merge", "define", "key", "bits", "length", "srcIP", "_t0", "is", "on", "join", "form",
    ]);
    prop_oneof![odd.prop_map(str::to_owned), "[a-zA-Z_][a-zA-Z0-9_]{0,6}"]
        .prop_filter("a keyword", |n| {
            !wt_lang::is_reserved(n) && !KEYWORDS_BY_PLACE.contains(&n.to_lowercase().as_str())
        })
        .prop_map(|n| Ident::new(n, AT))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,6}"].prop_filter("a line break", |t| !t.contains('\n'))
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        any::<u32>().prop_map(Literal::Uint),
        any::<u64>().prop_map(Literal::Ullong),
        any::<u32>().prop_map(Literal::Hex),
        any::<u64>().prop_map(Literal::LongHex),
        any::<f64>()
            .prop_filter("a written float", |x| x.is_finite() && x.is_sign_positive())
            .prop_map(Literal::Float),
        any::<bool>().prop_map(Literal::Bool),
        text().prop_map(Literal::String),
        vec(any::<u8>(), 0..6).prop_map(Literal::Bytes),
        any::<[u8; 4]>().prop_map(|b| Literal::Ip(b.into())),
        any::<[u8; 16]>().prop_map(|b| Literal::Ipv6(b.into())),
        (any::<u32>(), 0u16..1000)
            .prop_map(|(seconds, millis)| Literal::TimeVal { seconds, millis }),
        any::<u64>().prop_map(Literal::Time),
        any::<u64>().prop_map(Literal::Duration),
        (0u64..5000).prop_map(|s| Literal::Duration(s * 1_000_000_000)),
    ]
}

fn expression(kind: ExprKind) -> Expr {
    Expr::new(kind, AT)
}

fn column() -> impl Strategy<Value = Expr> {
    let index = of(prop_oneof![any::<u32>().prop_map(HeaderIndex::Nth), Just(HeaderIndex::Last)]);
    let qualifier = (name(), index).prop_map(|(name, index)| Qualifier { name, index });
    (vec(qualifier, 0..3), name()).prop_map(|(qualifiers, field)| {
        expression(ExprKind::Column(ColumnRef { qualifiers, field }))
    })
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        3 => literal().prop_map(|l| expression(ExprKind::Literal(l))),
        3 => column(),
        1 => name().prop_map(|n| expression(ExprKind::Param(n))),
        1 => name().prop_map(|n| expression(ExprKind::Defined(n))),
        1 => (of(name()), name())
            .prop_map(|(table, name)| expression(ExprKind::IfProp { table, name })),
    ]
}

fn unary() -> impl Strategy<Value = UnaryOp> {
    prop::sample::select(vec![UnaryOp::Neg, UnaryOp::Plus, UnaryOp::Not, UnaryOp::BitNot])
}

fn binary() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![BitOr, BitAnd, Shl, Shr, Add, Sub, Mul, Div, Rem])
}

fn compare() -> impl Strategy<Value = CmpOp> {
    use CmpOp::*;
    prop::sample::select(vec![Eq, Ne, Lt, Le, Gt, Ge])
}

fn call(args: impl Strategy<Value = Vec<Expr>>) -> impl Strategy<Value = Expr> {
    (name(), 0..5u8, args).prop_map(|(name, form, args)| {
        let star = form == 2;
        let args = if star { Vec::new() } else { args };
        expression(ExprKind::Call(Call {
            name,
            superaggregate: form == 1,
            brackets: form == 3,
            star,
            distinct: form == 4 && !args.is_empty(),
            args,
        }))
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(6, 48, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let set = prop_oneof![
            vec(inner.clone(), 1..4).prop_map(InSet::List),
            name().prop_map(InSet::Named)
        ];
        prop_oneof![
            (unary(), boxed()).prop_map(|(op, a)| expression(ExprKind::Unary(op, a))),
            (binary(), boxed(), boxed())
                .prop_map(|(op, a, b)| expression(ExprKind::Binary(op, a, b))),
            (compare(), boxed(), boxed())
                .prop_map(|(op, a, b)| expression(ExprKind::Compare(op, a, b))),
            (boxed(), boxed()).prop_map(|(a, b)| expression(ExprKind::And(a, b))),
            (boxed(), boxed()).prop_map(|(a, b)| expression(ExprKind::Or(a, b))),
            boxed().prop_map(|a| expression(ExprKind::Not(a))),
            (boxed(), set, any::<bool>())
                .prop_map(|(value, set, negated)| expression(ExprKind::In { value, set, negated })),
            (boxed(), boxed(), boxed(), any::<bool>()).prop_map(|(value, low, high, negated)| {
                expression(ExprKind::Between { value, low, high, negated })
            }),
            (boxed(), boxed(), any::<bool>()).prop_map(|(value, pattern, negated)| {
                expression(ExprKind::Like { value, pattern, negated })
            }),
            (of(boxed()), vec((inner.clone(), inner.clone()), 1..3), of(boxed())).prop_map(
                |(operand, arms, otherwise)| {
                    expression(ExprKind::Case { operand, arms, otherwise })
                }
            ),
            call(vec(inner.clone(), 0..3)),
        ]
    })
}

fn group_var() -> impl Strategy<Value = GroupVar> {
    (expr(), of(name())).prop_map(|(expr, alias)| GroupVar { expr, alias })
}

fn group_item() -> impl Strategy<Value = GroupItem> {
    prop_oneof![
        4 => group_var().prop_map(GroupItem::Var),
        1 => vec(group_var(), 1..3).prop_map(GroupItem::Cube),
        1 => vec(group_var(), 1..3).prop_map(GroupItem::Rollup),
        1 => vec(vec(group_var(), 1..3), 1..3).prop_map(GroupItem::GroupingSets),
        1 => expr().prop_map(GroupItem::Session),
    ]
}

fn plain_source() -> impl Strategy<Value = Source> {
    let path = (vec(name(), 1..4), vec(name(), 0..3), of("[a-z.-]{1,8}")).prop_map(
        |(mut parts, library, host)| {
            if let Some(host) = host {
                parts.insert(0, Ident::new(host, AT));
            }
            // A quoted part can only be a host.
            parts[0].text.retain(|c| c != '\'');
            if wt_lang::is_reserved(&parts[0].text) {
                parts[0].text.push('_');
            }
            Source::Path(SourcePath { parts, library })
        },
    );
    let set = (name(), vec(name(), 1..3)).prop_map(|(set, protocol)| Source::Set { set, protocol });
    prop_oneof![3 => path, 1 => set]
}

fn source(body: impl Strategy<Value = QueryBody> + Clone) -> impl Strategy<Value = Source> {
    let one = prop_oneof![
        4 => plain_source(),
        1 => body.prop_map(|b| Source::Subquery(Box::new(b))),
    ];
    vec(one, 1..3).prop_map(|sources| {
        sources
            .into_iter()
            .reduce(|past, present| Source::Then(Box::new(past), Box::new(present)))
            .expect("at least one source")
    })
}

fn table(body: impl Strategy<Value = QueryBody> + Clone) -> impl Strategy<Value = Table> {
    (source(body), of(name())).prop_map(|(source, alias)| Table {
        source,
        alias,
        span: SpanEq::default(),
    })
}

fn join() -> impl Strategy<Value = Join> {
    prop_oneof![
        Just(Join::Inner),
        Just(Join::Outer),
        Just(Join::LeftOuter),
        Just(Join::RightOuter),
        Just(Join::Watchlist),
        (column(), any::<u64>())
            .prop_map(|(column, window)| Join::Filter { column: Box::new(column), window }),
    ]
}

fn select(body: impl Strategy<Value = QueryBody> + Clone) -> impl Strategy<Value = QueryBody> {
    let item = prop_oneof![
        6 => (expr(), of(name())).prop_map(|(expr, alias)| SelectItem::Expr { expr, alias }),
        1 => of(name()).prop_map(|table| SelectItem::Star { table, span: SpanEq::default() }),
    ];
    let order =
        (expr(), any::<bool>()).prop_map(|(expr, descending)| OrderItem { expr, descending });
    let from = (of(join()), vec(table(body), 1..3)).prop_map(|(join, tables)| From {
        join,
        tables,
        span: SpanEq::default(),
    });
    let head = (any::<bool>(), vec(item, 1..4), from, of(expr()), vec(group_item(), 0..3));
    let sampling = (of(vec(name(), 1..3)), of(expr()), of(expr()), of(expr()), of(expr()));
    let tail = (vec(order, 0..3), of(expr()));
    (head, sampling, tail).prop_map(
        |(
            (distinct, items, from, where_, group_by),
            (supergroup, having, cleaning_when, cleaning_by, closing_when),
            (order_by, limit),
        )| {
            QueryBody::Select(Box::new(Select {
                distinct,
                items,
                from,
                where_,
                group_by,
                supergroup,
                having,
                cleaning_when,
                cleaning_by,
                closing_when,
                order_by,
                limit,
                span: SpanEq::default(),
            }))
        },
    )
}

fn merge(body: impl Strategy<Value = QueryBody> + Clone) -> impl Strategy<Value = QueryBody> {
    (vec((column(), table(body)), 2..4), of(expr())).prop_map(|(inputs, slack)| {
        let (columns, tables) = inputs.into_iter().unzip();
        QueryBody::Merge(Merge { columns, slack, tables, span: SpanEq::default() })
    })
}

fn attrs() -> impl Strategy<Value = Vec<Attr>> {
    let value =
        prop_oneof![name().prop_map(|n| n.text), text(), any::<u32>().prop_map(|n| n.to_string()),];
    vec((name(), of(value)).prop_map(|(name, value)| Attr { name, value }), 0..3)
}

fn body() -> impl Strategy<Value = QueryBody> {
    let field =
        (name(), name(), attrs()).prop_map(|(ty, name, attrs)| WatchField { ty, name, attrs });
    let watchlist = vec(field, 0..3)
        .prop_map(|fields| QueryBody::Watchlist(Watchlist { fields, span: SpanEq::default() }));
    let none = plain_source().prop_map(|source| {
        let table = Table { source, alias: None, span: SpanEq::default() };
        let column = expression(ExprKind::Column(ColumnRef {
            qualifiers: Vec::new(),
            field: Ident::new("t", AT),
        }));
        QueryBody::Merge(Merge {
            columns: vec![column; 2],
            slack: None,
            tables: vec![table; 2],
            span: SpanEq::default(),
        })
    });
    let none = none.boxed();
    let inner = prop_oneof![select(none.clone()), merge(none)].boxed();
    prop_oneof![4 => select(inner.clone()), 1 => merge(inner), 1 => watchlist]
}

fn query() -> impl Strategy<Value = Query> {
    let define = (
        name(),
        prop_oneof![
            text().prop_map(|t| (t, DefineForm::String)),
            name().prop_map(|n| (n.text, DefineForm::Name)),
            any::<u64>().prop_map(|n| (n.to_string(), DefineForm::Integer)),
        ],
    )
        .prop_map(|(name, (value, form))| Define {
            name,
            value,
            form,
            value_span: SpanEq::default(),
        });
    let param = (name(), name()).prop_map(|(name, ty)| ParamDecl { name, ty });
    (vec(param, 0..3), vec(define, 0..3), body()).prop_map(|(params, defines, body)| Query {
        params,
        defines,
        body,
        span: SpanEq::default(),
    })
}

fn field() -> impl Strategy<Value = FieldDecl> {
    let place = prop_oneof![
        (expr(), of((any::<u32>(), 1u32..)), of(expr()), any::<bool>())
            .prop_map(|(at, bits, length, little)| PlaceDecl::At { at, bits, length, little }),
        expr().prop_map(PlaceDecl::Derived),
        name().prop_map(PlaceDecl::Accessor),
        Just(PlaceDecl::Abstract),
    ];
    let head = (any::<bool>(), name(), name(), of(name()));
    (head, place, attrs(), vec(name(), 0..2)).prop_map(
        |((refine, ty, name, alias), place, attrs, unpack)| FieldDecl {
            refine,
            ty,
            name,
            alias,
            place,
            attrs,
            unpack,
            span: SpanEq::default(),
        },
    )
}

fn protocol() -> impl Strategy<Value = ProtocolDecl> {
    let over = (name(), of(expr())).prop_map(|(parent, when)| OverDecl { parent, when });
    let record = prop_oneof![
        any::<u32>().prop_map(RecordFormat::Fixed),
        expr().prop_map(RecordFormat::Variable),
        text().prop_map(RecordFormat::Framed),
    ];
    let item = prop_oneof![
        (expr(), of(any::<u32>()), of(any::<u32>()))
            .prop_map(|(length, min, max)| ProtocolItem::HeaderLength { length, min, max }),
        expr().prop_map(ProtocolItem::Check),
        field().prop_map(|f| ProtocolItem::Field(Box::new(f))),
    ];
    (
        (name(), vec(name(), 0..3), vec(over, 0..3), of(any::<u32>()), of(record)),
        vec(name(), 0..3),
        vec(item, 0..4),
    )
        .prop_map(|((name, parents, over, repeat, record), unpack, items)| ProtocolDecl {
            name,
            parents,
            over,
            repeat: repeat.map(|n| (n, SpanEq::default())),
            record,
            unpack,
            items,
            span: SpanEq::default(),
        })
}

fn ddl_item() -> impl Strategy<Value = DdlItem> {
    let enumeration = (name(), name(), vec((name(), any::<u64>()), 0..4))
        .prop_map(|(name, base, members)| DdlItem::Enum(EnumDecl { name, base, members }));
    let stream = (name(), vec(field(), 0..3))
        .prop_map(|(name, fields)| DdlItem::Stream(StreamDecl { name, fields }));
    let function = (name(), name(), any::<u32>()).prop_map(|(name, routine, cost)| UnpackFcn {
        name,
        routine,
        cost,
    });
    let view =
        ((name(), text(), vec(field(), 0..2)), vec((name(), vec(field(), 0..2)), 0..2), attrs())
            .prop_map(|((name, file, fields), subqueries, pushdown)| {
                DdlItem::OperatorView(OperatorView { name, file, fields, subqueries, pushdown })
            });
    prop_oneof![
        1 => enumeration,
        4 => protocol().prop_map(DdlItem::Protocol),
        1 => stream,
        1 => vec(function, 0..3).prop_map(DdlItem::Unpack),
        1 => view,
    ]
}

fn function() -> impl Strategy<Value = FunctionDecl> {
    fn type_ref() -> impl Strategy<Value = TypeRef> {
        (name(), attrs()).prop_map(|(name, attrs)| TypeRef { name, attrs })
    }
    let binding =
        prop::sample::select(vec![ParamBinding::Value, ParamBinding::Handle, ParamBinding::Const]);
    let param = (type_ref(), binding, any::<bool>(), of(name()))
        .prop_map(|(ty, binding, class, name)| FunctionParam { ty, binding, class, name });
    let modifier = (name(), of(name())).prop_map(|(name, value)| Modifier { name, value });
    (name(), type_ref(), vec(modifier, 0..3), vec(param, 0..3), (name(), name()), 0..6u8).prop_map(
        |(name, returns, mut modifiers, params, (a, b), form)| {
            let kind = match form {
                0 => FunctionKind::Fun { returns, params },
                1 => FunctionKind::Pred { params },
                2 => FunctionKind::Udaf { returns, storage: a, params },
                3 => FunctionKind::Extractor { returns, udaf: a, function: b, params },
                4 => {
                    modifiers.clear();
                    FunctionKind::State { storage: a }
                }
                _ => FunctionKind::Stateful { returns, state: a, params },
            };
            FunctionDecl { name, modifiers, kind, span: SpanEq::default() }
        },
    )
}

fn interface_set() -> impl Strategy<Value = InterfaceSet> {
    let property = || text().prop_map(|t| Ident::new(t, AT));
    let leaf = prop_oneof![
        (property(), property())
            .prop_map(|(property, value)| InterfacePred::Contains { property, value }),
        (property(), property())
            .prop_map(|(property, value)| InterfacePred::Equals { property, value }),
        property().prop_map(|property| InterfacePred::Exists { property }),
    ];
    let pred = leaf.prop_recursive(5, 24, 2, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed(), boxed()).prop_map(|(a, b)| InterfacePred::And(a, b)),
            (boxed(), boxed()).prop_map(|(a, b)| InterfacePred::Or(a, b)),
            boxed().prop_map(InterfacePred::Not),
        ]
    });
    (name(), pred).prop_map(|(name, predicate)| InterfaceSet {
        name,
        predicate,
        span: SpanEq::default(),
    })
}

fn reparses<T>(tree: &T, text: &str, parse: fn(&str) -> Parsed<T>) -> Result<(), TestCaseError>
where
    T: PartialEq + std::fmt::Debug,
{
    let parsed = parse(text);
    prop_assert!(
        parsed.diagnostics.is_empty(),
        "{}",
        render(&parsed.diagnostics, "printed", text, false)
    );
    prop_assert_eq!(Some(tree), parsed.tree.as_ref(), "{}", text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expressions(tree in expr()) {
        reparses(&tree, &tree.to_string(), parse_expr)?;
    }

    #[test]
    fn query_files(queries in vec(query(), 1..3)) {
        let tree = File { queries };
        reparses(&tree, &tree.to_string(), parse_gsql)?;
        reparses(&tree, &format!("{tree:#}"), parse_gsql)?;
    }

    #[test]
    fn ddl_files(items in vec(ddl_item(), 0..3)) {
        let tree = DdlFile { items };
        reparses(&tree, &tree.to_string(), parse_ddl)?;
    }

    #[test]
    fn function_files(decls in vec(function(), 0..4)) {
        let tree = FunctionFile { decls };
        reparses(&tree, &tree.to_string(), parse_functions)?;
    }

    #[test]
    fn interface_set_files(sets in vec(interface_set(), 0..3)) {
        let tree = InterfaceSets { sets };
        reparses(&tree, &tree.to_string(), parse_interface_sets)?;
    }
}
