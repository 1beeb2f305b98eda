//! `wiretable functions`.

use std::fmt::Write as _;

use wt_catalog::function::{Cost, FunctionKind, Split};
use wt_catalog::{Catalog, Function};
use wt_lang::suggest::nearest;

use crate::cli::FunctionsArgs;
use crate::commands::shell::print;
use crate::failure::Failure;

/// Lists functions, or describes those that match a name.
pub fn functions(args: &FunctionsArgs) -> Result<(), Failure> {
    let catalog = Catalog::builtin_ref();
    let text = match &args.name {
        None => list(catalog),
        Some(name) => describe(catalog, name)?,
    };
    print(text.as_bytes())
}

type Belongs = fn(&Function) -> bool;

const FAMILIES: [(&str, Belongs); 4] = [
    ("Aggregates", |f| f.is_aggregate()),
    ("Predicates", |f| f.kind == FunctionKind::Predicate),
    ("Functions", |f| f.kind == FunctionKind::Scalar),
    ("Stateful functions", |f| f.kind == FunctionKind::Stateful),
];

fn list(catalog: &Catalog) -> String {
    let mut out = String::new();
    for (title, belongs) in FAMILIES {
        let functions = catalog.functions.iter().filter(|f| belongs(f) && f.available);
        let mut rows: Vec<(&str, &str)> = functions.map(|f| (f.name, f.doc)).collect();
        rows.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        rows.dedup_by_key(|(name, _)| *name);
        if rows.is_empty() {
            continue;
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let _ = writeln!(out, "{title}");
        for (name, doc) in rows {
            let _ = writeln!(out, "  {name:width$}  {doc}");
        }
        out.push('\n');
    }
    out.push_str("`wiretable functions NAME` shows signatures, costs and an example.\n");
    out
}

fn describe(catalog: &Catalog, name: &str) -> Result<String, Failure> {
    let exact: Vec<&Function> =
        catalog.functions.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).collect();
    let found = if exact.is_empty() {
        let lower = name.to_ascii_lowercase();
        catalog.functions.iter().filter(|f| f.name.to_ascii_lowercase().contains(&lower)).collect()
    } else {
        exact
    };
    if found.is_empty() {
        let near = nearest(name, catalog.functions.iter().map(|f| f.name), 3);
        let help = if near.is_empty() {
            "`wiretable functions` lists all".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        return Err(Failure::Input(format!("no function is called `{name}`\n  help: {help}")));
    }
    let mut out = String::new();
    for function in found {
        let _ = writeln!(out, "{}", function.signature());
        let _ = writeln!(out, "    {}", function.doc);
        if !function.example.is_empty() {
            let _ = writeln!(out, "    example: {}", function.example);
        }
        let _ = writeln!(out, "    {}", facts(function));
    }
    Ok(out)
}

fn facts(function: &Function) -> String {
    let mut facts = Vec::new();
    let place = match function.kind {
        FunctionKind::Aggregate(Split::HostOnly) => "aggregated in the HFTA",
        FunctionKind::Aggregate(Split::OfWindow) => "of the window, in the HFTA",
        FunctionKind::Aggregate(_) => "sub-aggregated in the LFTA",
        _ if function.portable => "runs in every LFTA, XDP too",
        _ if function.lfta_legal && function.cost < Cost::Expensive => "runs in host LFTAs",
        _ => "runs in the HFTA",
    };
    facts.push(place.to_owned());
    facts.push(format!("cost {}", format!("{:?}", function.cost).to_lowercase()));
    if function.partial {
        facts.push("partial: a failure rejects the tuple".to_owned());
    }
    if function.state_bytes > 0 {
        facts.push(format!("state at most {} bytes per group", function.state_bytes));
    }
    if !function.available {
        facts.push("checked, but refused by the planner".to_owned());
    }
    facts.join("; ")
}
