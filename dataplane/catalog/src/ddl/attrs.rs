//! Field attributes (gsql.md §7, with the ordering properties of §6).

use wt_lang::ast::Attr;
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Span};

use crate::ordering::Ordering;
use crate::protocol::Field;

/// Attributes with their values.
const KNOWN: [(&str, &str); 13] = [
    ("increasing", ""),
    ("decreasing", ""),
    ("strictly_increasing", ""),
    ("strictly_decreasing", ""),
    ("nonrepeating", ""),
    ("banded_increasing", "the band, a number in units of the field"),
    ("increasing_in", "the fields of the group, such as 'srcIP, destIP'"),
    ("required", ""),
    ("snap_len", "a number of bytes"),
    ("subtype", "a label"),
    ("low_cardinality", ""),
    ("key", ""),
    ("continues", ""),
];

/// What the attributes of a field say beyond the field itself.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// The header goes on with the run it stands in.
    pub continues: bool,
}

/// Applies attributes to a field.
pub(super) fn apply(
    attrs: &[Attr],
    field: &mut Field,
    diagnostics: &mut Vec<Diagnostic>,
) -> Effects {
    let mut effects = Effects::default();
    let mut ordered: Option<(Span, String)> = None;
    for attr in attrs {
        let span = attr.name.span;
        let lower = attr.name.text.to_ascii_lowercase();
        let value = attr.value.as_deref();
        let Some(&(name, wants)) = KNOWN.iter().find(|(name, _)| *name == lower) else {
            let names = KNOWN.iter().map(|(name, _)| *name);
            let message = format!("there is no attribute `{}`", attr.name);
            let mut error = Diagnostic::error("unknown-attribute", span, message);
            if let Some(near) = nearest(&lower, names.clone(), 1).first() {
                error = error.hint(format!("Did you mean `{near}`?"));
            }
            let all: Vec<&str> = names.collect();
            diagnostics.push(error.hint(format!("Attributes are {}.", all.join(", "))));
            continue;
        };
        let number = value.and_then(|v| v.parse::<u64>().ok());
        let missing =
            || Diagnostic::error("bad-attribute", span, format!("`{name}` needs {wants}"));
        let ordering = match name {
            "increasing" => Some(Ordering::Increasing),
            "decreasing" => Some(Ordering::Decreasing),
            "strictly_increasing" => Some(Ordering::StrictlyIncreasing),
            "strictly_decreasing" => Some(Ordering::StrictlyDecreasing),
            "nonrepeating" => Some(Ordering::NonRepeating),
            "banded_increasing" => match number {
                Some(band) => Some(Ordering::BandedIncreasing(band)),
                None => {
                    diagnostics.push(missing());
                    None
                }
            },
            "increasing_in" => match value.filter(|v| !v.trim().is_empty()) {
                Some(group) => Some(Ordering::IncreasingInGroup(
                    group.split(',').map(|name| name.trim().to_owned()).collect(),
                )),
                None => {
                    diagnostics.push(missing());
                    None
                }
            },
            _ => None,
        };
        if let Some(ordering) = ordering {
            if let Some((first, other)) = &ordered {
                diagnostics.push(
                    Diagnostic::error(
                        "bad-attribute",
                        span,
                        format!("a field cannot be both {other} and {name}"),
                    )
                    .related(*first, "declared here"),
                );
            }
            ordered = Some((span, name.to_owned()));
            field.ordering = ordering;
            continue;
        }
        match (name, number, value) {
            ("required", ..) => field.required = true,
            ("low_cardinality", ..) => field.low_cardinality = true,
            ("key", ..) => field.key = true,
            ("continues", _, name) => {
                effects.continues = true;
                field.continues = name.map(str::to_owned);
            }
            ("snap_len", Some(n), _) if u32::try_from(n).is_ok() => {
                field.snap_len = u32::try_from(n).ok();
            }
            ("subtype", _, Some(label)) => field.subtype = Some(label.to_owned()),
            ("snap_len" | "subtype", ..) => diagnostics.push(missing()),
            _ => {}
        }
    }
    effects
}
