//! DEFINE (gsql.md §9): options, and names for `#name`.

use std::collections::HashMap;

use wt_lang::ast::{self, Define};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::diags::{Bound, Diags, Reported, did_you_mean};
use crate::logical::Options;

/// Option names, matched ignoring case.
const NAMES: [&str; 22] = [
    "query_name",
    "real_time",
    "aggregate_slots",
    "lfta_htsize",
    "slow_flush",
    "lfta_aggregation",
    "select_lfta",
    "algorithm",
    "num_bloom",
    "bloom_size",
    "max_lfta_disorder",
    "max_hfta_disorder",
    "hfta_slow_flush",
    "no_temporal_aggr",
    "print_warnings",
    "filename",
    "refresh_interval",
    "comment",
    "title",
    "namespace",
    "visibility",
    "output",
];

/// Most group slots of an LFTA table.
const SLOTS_MAX: u64 = 1 << 24;

/// Most windows that a disorder option may keep open.
const DISORDER_MAX: u64 = 1 << 20;

/// What a query's DEFINE blocks say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defined {
    /// Options with a meaning for the plan.
    pub(crate) options: Options,
    /// `query_name`, when not empty.
    pub(crate) name: Option<Ident>,
    /// Other names: strings for `#name`.
    pub(crate) strings: HashMap<String, String>,
    /// `lfta_htsize`, which overrides `aggregate_slots`.
    htsize: Option<u32>,
    /// `filename` of a watchlist.
    pub(crate) filename: Option<String>,
    /// `refresh_interval` of a watchlist, seconds.
    pub(crate) refresh_s: Option<u64>,
}

/// Reads the DEFINE blocks of a query. Errors leave the default in place, so that binding goes on.
pub(crate) fn read(query: &ast::Query, diags: &Diags) -> Defined {
    let mut defined = Defined::default();
    let mut seen: HashMap<String, Span> = HashMap::new();
    for define in &query.defines {
        let lower = define.name.text.to_ascii_lowercase();
        let known = NAMES.contains(&lower.as_str());
        let key = if known { lower.clone() } else { define.name.text.clone() };
        if let Some(first) = seen.insert(key, define.name.span) {
            diags.report(
                Diagnostic::error(
                    "duplicate-option",
                    define.name.span,
                    format!("`{}` is defined twice in one query", define.name),
                )
                .related(first, "defined here first"),
            );
        }
        if known {
            let _ = option(&lower, define, &mut defined, diags);
        } else {
            defined.strings.insert(define.name.text.clone(), define.value.clone());
        }
    }
    if let Some(slots) = defined.htsize {
        defined.options.aggregate_slots = slots;
    }
    warn_of_slips(query, diags);
    defined
}

fn option(name: &str, define: &Define, to: &mut Defined, diags: &Diags) -> Bound<()> {
    let on = !define.value.is_empty();
    let o = &mut to.options;
    match name {
        "query_name" if on => {
            check_name(define, diags)?;
            to.name = Some(Ident::new(define.value.clone(), define.value_span.0));
        }
        "real_time" => o.real_time = on,
        "lfta_aggregation" => o.lfta_aggregation = on,
        "select_lfta" => o.select_lfta = on,
        "no_temporal_aggr" => o.no_temporal_aggr = on,
        "print_warnings" => o.print_warnings = on,
        "aggregate_slots" => o.aggregate_slots = slots(define, diags)?,
        "lfta_htsize" => to.htsize = Some(slots(define, diags)?),
        "slow_flush" | "hfta_slow_flush" => {
            number(define, 0, u64::from(u32::MAX), diags)?;
        }
        "num_bloom" => {
            number(define, 1, 64, diags)?;
        }
        "bloom_size" => {
            number(define, 3, 32, diags)?;
        }
        "max_lfta_disorder" => o.max_lfta_disorder = number(define, 1, DISORDER_MAX, diags)?,
        "max_hfta_disorder" => {
            o.max_hfta_disorder = Some(number(define, 1, DISORDER_MAX, diags)?);
        }
        "algorithm" => {
            let known = ["bloom", "hash", "exact"];
            if !known.iter().any(|k| k.eq_ignore_ascii_case(&define.value)) {
                return Err(diags.report(
                    Diagnostic::error(
                        "bad-option",
                        define.value_span.0,
                        format!("`{}` is not an algorithm of FILTER_JOIN", define.value),
                    )
                    .hint("The algorithms are `Bloom`, `hash` and `exact`."),
                ));
            }
        }
        "filename" => to.filename = Some(define.value.clone()),
        "refresh_interval" => {
            to.refresh_s = Some(number(define, 1, u64::from(u32::MAX), diags)?);
        }
        // `comment`, `title`, `namespace` document; `visibility` and `output` are the older forms.
        _ => {}
    }
    Ok(())
}

fn check_name(define: &Define, diags: &Diags) -> Result<(), Reported> {
    let plain = define.value.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && !define.value.starts_with(['.', '-']);
    if plain {
        return Ok(());
    }
    Err(diags.report(
        Diagnostic::error(
            "bad-option",
            define.value_span.0,
            format!("`{}` cannot name a query", define.value),
        )
        .hint("A query name has letters, digits, `_`, `-` and `.`."),
    ))
}

fn slots(define: &Define, diags: &Diags) -> Bound<u32> {
    number(define, 1, SLOTS_MAX, diags).map(|n| n.next_power_of_two() as u32)
}

fn number(define: &Define, min: u64, max: u64, diags: &Diags) -> Bound<u64> {
    match define.value.trim().parse::<u64>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(diags.report(
            Diagnostic::error(
                "bad-option",
                define.value_span.0,
                format!("`{}` takes a whole number, not `{}`", define.name, define.value),
            )
            .label(format!("{min} to {max}")),
        )),
    }
}

/// A name near an option that no `#name` uses is probably a slip.
fn warn_of_slips(query: &ast::Query, diags: &Diags) {
    for define in &query.defines {
        let lower = define.name.text.to_ascii_lowercase();
        if NAMES.contains(&lower.as_str()) {
            continue;
        }
        let near = nearest(&lower, NAMES, 1);
        let close = near.first().is_some_and(|n| n.len().abs_diff(lower.len()) <= 2);
        if close && !super::walk::uses_defined(&query.body, &define.name.text) {
            diags.report(did_you_mean(
                Diagnostic::warning(
                    "unused-define",
                    define.name.span,
                    format!(
                        "`{}` is not an option and `#{}` is not used",
                        define.name, define.name
                    ),
                ),
                &near,
            ));
        }
    }
}
