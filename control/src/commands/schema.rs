//! `wiretable schema`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wt_catalog::{Catalog, Field, Ordering, Place, Protocol, ProtocolId};

use crate::cli::SchemaArgs;
use crate::commands::shell::print;
use crate::failure::Failure;
use crate::session;

/// Lists protocols, or the fields in scope of one.
pub fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    let catalog = session::catalog(&args.protocols)?;
    let text = match &args.protocol {
        None => list(&catalog),
        Some(name) => {
            let id = catalog.resolve_protocol(name).map_err(|error| {
                let help =
                    error.hint().unwrap_or_else(|| "`wiretable schema` lists all.".to_owned());
                Failure::Input(format!("{error}\n  help: {help}"))
            })?;
            let protocol = &catalog.protocols[id.0 as usize];
            describe(&catalog, protocol, args.verbose)
        }
    };
    print(text.as_bytes())
}

fn list(catalog: &Catalog) -> String {
    let mut out = String::new();
    let width = catalog.protocols.iter().map(|p| p.name.len()).max().unwrap_or(0);
    for protocol in &catalog.protocols {
        let fields = protocol.fields.len();
        let _ = writeln!(out, "  {:width$}  {fields:3} fields  {}", protocol.name, protocol.doc);
    }
    out.push_str("\n`wiretable schema NAME` shows the fields in scope of FROM NAME.\n");
    out
}

fn describe(catalog: &Catalog, protocol: &Protocol, verbose: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", protocol.name, protocol.doc);
    let parents = names(catalog, carriers(catalog, protocol.id));
    if !parents.is_empty() {
        let _ = writeln!(out, "follows {parents}");
    }
    let children = names(catalog, protocol.children.iter().map(|c| c.child));
    if !children.is_empty() {
        let _ = writeln!(out, "carries {children}");
    }
    if protocol.repeat > 1 {
        let _ = writeln!(
            out,
            "may repeat up to {} times; deeper packets end their path there and are counted",
            protocol.repeat
        );
    }
    out.push('\n');

    let mut shown = BTreeSet::new();
    let own: Vec<(ProtocolId, &Field)> =
        catalog.fields_of(protocol.id).map(|(owner, _, field)| (owner, field)).collect();
    let mut owners: Vec<ProtocolId> = Vec::new();
    for (owner, _) in &own {
        if !owners.contains(owner) {
            owners.push(*owner);
        }
    }
    owners.reverse();
    for owner in owners {
        let fields: Vec<&Field> =
            own.iter().filter(|(o, _)| *o == owner).map(|(_, f)| *f).collect();
        let title = &catalog.protocols[owner.0 as usize].name;
        table(&mut out, title, &fields, verbose);
        shown.extend(fields.iter().map(|f| f.name.clone()));
    }
    for above in wt_plan::bind::headers_above(catalog, protocol.id) {
        let other = &catalog.protocols[above.0 as usize];
        let fields: Vec<&Field> =
            other.fields.iter().filter(|f| shown.insert(f.name.clone())).collect();
        if !fields.is_empty() {
            let title = format!("{}, where it stands above", other.name);
            table(&mut out, &title, &fields, verbose);
        }
    }
    out
}

fn names(catalog: &Catalog, ids: impl IntoIterator<Item = ProtocolId>) -> String {
    let mut seen = Vec::new();
    for id in ids {
        let name = catalog.protocols[id.0 as usize].name.as_str();
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

/// Protocols whose headers this one may follow directly.
fn carriers(catalog: &Catalog, id: ProtocolId) -> Vec<ProtocolId> {
    let carries = |p: &&Protocol| {
        p.children.iter().any(|c| catalog.concretes(c.child).contains(&id) || c.child == id)
    };
    catalog.protocols.iter().filter(carries).map(|p| p.id).collect()
}

fn table(out: &mut String, title: &str, fields: &[&Field], verbose: bool) {
    let _ = writeln!(out, "fields of {title}");
    let width = |f: &dyn Fn(&Field) -> usize| fields.iter().map(|x| f(x)).max().unwrap_or(0);
    let name = width(&|f| f.name.len());
    let alias = width(&|f| f.alias.as_deref().unwrap_or("").len());
    let ty = width(&|f| f.ty.name().len());
    for field in fields {
        let mut about = Vec::new();
        if field.ordering != Ordering::Varying {
            about.push(field.ordering.to_string());
        }
        if verbose {
            about.push(place(field));
        }
        if !field.doc.is_empty() {
            about.push(field.doc.clone());
        }
        let line = format!(
            "  {:name$}  {:alias$}  {:ty$}  {}",
            field.name,
            field.alias.as_deref().unwrap_or(""),
            field.ty.name(),
            about.join("; ")
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push('\n');
}

fn place(field: &Field) -> String {
    match &field.place {
        Place::Bits { bit, bits, little, .. } => {
            let order = if *little { ", little-endian" } else { "" };
            format!("{bits} bits from bit {bit}{order}")
        }
        Place::Bytes { len, .. } => format!("{len} bytes"),
        Place::Slice { .. } => "bytes to a computed end".to_owned(),
        Place::Derived(_) => "computed".to_owned(),
        Place::Meta(_) => "of the record".to_owned(),
        Place::Abstract => "placed by the concrete header".to_owned(),
        Place::Text(position) => format!("column {position} of the text record"),
    }
}
