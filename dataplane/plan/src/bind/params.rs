//! PARAM blocks and the values supplied for them (gsql.md §9).

use wt_catalog::text::parse_as;
use wt_catalog::{Type, Value};
use wt_lang::ast;
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Span};

use super::BindInput;
use super::diags::{Diags, all, did_you_mean};
use super::units::{Entry, Unit, relocate};
use crate::physical::ParamSpec;

/// The parameters of the queries in use, with their values.
pub(crate) fn collect(
    input: &BindInput<'_>,
    units: &[Unit<'_>],
    entries: &[Entry<'_>],
    in_use: &[bool],
    diags: &Diags,
) -> Vec<ParamSpec> {
    let mut declared: Vec<(ParamSpec, Span)> = Vec::new();
    for (entry, _) in entries.iter().zip(in_use).filter(|(_, used)| **used) {
        let mark = diags.mark();
        let mut own: Vec<&str> = Vec::new();
        for decl in &entry.query.params {
            let name = decl.name.text.as_str();
            if own.contains(&name) {
                diags.report(Diagnostic::error(
                    "duplicate-parameter",
                    decl.name.span,
                    format!("`{name}` is declared twice in one query"),
                ));
                continue;
            }
            own.push(name);
            let Some(ty) = Type::parse(&decl.ty.text) else {
                let near = nearest(&decl.ty.text, Type::ALL.iter().map(|t| t.name()), 3);
                diags.report(did_you_mean(
                    Diagnostic::error(
                        "unknown-type",
                        decl.ty.span,
                        format!("`{}` is not a type", decl.ty),
                    ),
                    &near,
                ));
                continue;
            };
            match declared.iter().find(|(p, _)| p.name == name) {
                Some((p, _)) if p.ty == ty => {}
                Some((p, first)) => {
                    diags.report(
                        Diagnostic::error(
                            "param-sets",
                            decl.name.span,
                            format!("`{name}` is {ty} here and {} in another query", p.ty),
                        )
                        .related(*first, "declared here first")
                        .hint("Parameters are supplied by name: give the two different names."),
                    );
                }
                None => {
                    let spec = ParamSpec {
                        name: name.to_owned(),
                        ty,
                        value: Value::default_of(ty),
                        frozen: false,
                    };
                    declared.push((spec, decl.name.span));
                }
            }
        }
        locate(units, entry, diags, mark);
    }
    supply(input, &mut declared, diags);
    declared.into_iter().map(|(p, _)| p).collect()
}

/// Moves messages about a library query to the place that names its file.
pub(crate) fn locate(units: &[Unit<'_>], entry: &Entry<'_>, diags: &Diags, mark: usize) {
    if let Some(unit) = units.get(entry.unit)
        && let Some(path) = &unit.path
    {
        diags.relocate(mark, |d| relocate(d, path, &unit.text, unit.anchor));
    }
}

fn supply(input: &BindInput<'_>, declared: &mut [(ParamSpec, Span)], diags: &Diags) {
    let mut missing: Vec<(String, Span)> = Vec::new();
    for (spec, span) in declared.iter_mut() {
        let mut given = input.params.iter().filter(|(name, _)| *name == spec.name);
        let Some((_, text)) = given.next_back() else {
            missing.push((spec.name.clone(), *span));
            continue;
        };
        let value = match spec.ty {
            Type::String => Some(Value::bytes(text)),
            ty => parse_as(text, ty),
        };
        match value {
            Some(value) => spec.value = value,
            None => {
                diags.report(
                    Diagnostic::error(
                        "bad-parameter",
                        *span,
                        format!("the value `{text}` of `{}` is not a valid {}", spec.name, spec.ty),
                    )
                    .label(format!("declared {}", spec.ty))
                    .hint(format!(
                        "Supply one: -p {}={}.",
                        spec.name,
                        example(spec.ty)
                    )),
                );
            }
        }
    }
    if let Some((_, span)) = missing.first() {
        let names: Vec<&str> = missing.iter().map(|(n, _)| n.as_str()).collect();
        let options: Vec<String> = names.iter().map(|n| format!("-p {n}=VALUE")).collect();
        let plural = if names.len() == 1 { "parameter" } else { "parameters" };
        diags.report(
            Diagnostic::error(
                "missing-parameter",
                *span,
                format!("no value is supplied for {plural} {}", all(&names)),
            )
            .hint(format!("All parameters are supplied at start: {}.", options.join(" "))),
        );
    }
    for (name, _) in input.params {
        let known = declared.iter().map(|(p, _)| p.name.as_str());
        if known.clone().any(|k| k == name) {
            continue;
        }
        let near = nearest(name, known.clone(), 3);
        let diagnostic = Diagnostic::error(
            "unknown-parameter",
            Span::default(),
            format!("-p {name}: no query declares the parameter `{name}`"),
        );
        diags.report(if near.is_empty() {
            let known: Vec<&str> = known.collect();
            diagnostic.hint(if known.is_empty() {
                "The queries have no PARAM block.".to_owned()
            } else {
                format!("Declared are {}.", all(&known))
            })
        } else {
            did_you_mean(diagnostic, &near)
        });
    }
}

fn example(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "TRUE",
        Type::Ushort | Type::Uint | Type::Ullong => "100",
        Type::Int | Type::Llong => "-5",
        Type::Float => "0.5",
        Type::Ip => "10.0.0.1",
        Type::Ipv6 => "2001:db8::1",
        Type::Inet => "10.0.0.1",
        Type::Prefix => "10.0.0.0/8",
        Type::Mac => "02:00:00:00:00:01",
        Type::String => "text",
        Type::Bytes => "DEADBEEF",
        Type::TimeVal => "1234567890.250",
        Type::Time => "2026-01-31T12:00:00Z",
        Type::Duration => "10s",
    }
}

/// A query and the queries it reads declare the same parameters.
pub(crate) fn check_sets(
    entries: &[Entry<'_>],
    reads: &[Vec<usize>],
    units: &[Unit<'_>],
    in_use: &[bool],
    diags: &Diags,
) {
    let names = |e: &Entry<'_>| {
        let mut names: Vec<String> = e.query.params.iter().map(|p| p.name.text.clone()).collect();
        names.sort();
        names.dedup();
        names
    };
    for (i, entry) in entries.iter().enumerate() {
        if !in_use.get(i).copied().unwrap_or(false) {
            continue;
        }
        for &source in reads.get(i).map_or(&[][..], Vec::as_slice) {
            let (own, theirs) = (names(entry), names(&entries[source]));
            // A watchlist has no expression that a parameter could stand in.
            let is_list = matches!(entries[source].query.body, ast::QueryBody::Watchlist(_));
            if own == theirs || is_list {
                continue;
            }
            let differ: Vec<&String> = own
                .iter()
                .filter(|n| !theirs.contains(n))
                .chain(theirs.iter().filter(|n| !own.contains(n)))
                .collect();
            let mark = diags.mark();
            let span = entry
                .query
                .params
                .first()
                .map_or_else(|| super::units::body_span(&entry.query.body), |p| p.name.span);
            diags.report(
                Diagnostic::error(
                    "param-sets",
                    span,
                    format!(
                        "`{}` reads `{}`, which declares other parameters",
                        entry.name, entries[source].name
                    ),
                )
                .label(format!("{} in one of them only", all(&differ)))
                .hint("A query and its sources declare the same PARAM block: a change reaches them together."),
            );
            locate(units, entry, diags, mark);
        }
    }
}
