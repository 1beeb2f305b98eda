//! Fields before their expressions: names, types, attributes, refinement; and where a field may lie.

use std::collections::HashMap;

use wt_lang::ast::{FieldDecl, PlaceDecl, ProtocolItem};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident};

use super::{Elaborator, FIELDS_MAX, ROOT, attrs, docs};
use crate::ordering::Ordering;
use crate::protocol::{Field, Meta, Place, ProtocolId};
use crate::types::Type;

/// Access functions of the root protocol.
const PACKET_ACCESSORS: [(&str, Meta, Type); 8] = [
    ("get_packet_time", Meta::Time, Type::Uint),
    ("get_packet_timestamp", Meta::Timestamp, Type::Time),
    ("get_packet_len", Meta::Len, Type::Uint),
    ("get_packet_caplen", Meta::CapLen, Type::Uint),
    ("get_packet_interface", Meta::Interface, Type::String),
    ("get_packet_ifindex", Meta::IfIndex, Type::Uint),
    ("get_packet_direction", Meta::Direction, Type::Uint),
    ("get_packet_linktype", Meta::LinkType, Type::Uint),
];

/// Seconds of arrival of a record (gsql.md §7).
const SYSTEM_TIME: &str = "get_system_time";

/// Whether an access function belongs to text records.
pub(super) fn reads_records(place: &PlaceDecl) -> bool {
    match place {
        PlaceDecl::Accessor(name) => {
            name.text == SYSTEM_TIME || text_accessor(&name.text).is_some()
        }
        _ => false,
    }
}

/// Type name and position of `get_csv_uint_pos3`.
fn text_accessor(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("get_csv_").or_else(|| name.strip_prefix("get_gdat_"))?;
    rest.rsplit_once("_pos")
}

impl<'t> Elaborator<'t> {
    /// The type and enumeration that a type name denotes.
    pub(super) fn field_type(&mut self, name: &Ident) -> Option<(Type, Option<usize>)> {
        if let Some(ty) = Type::parse(&name.text) {
            return Some((ty, None));
        }
        if let Some(i) = self.catalog.enumerations.iter().position(|e| e.name == name.text) {
            return Some((self.catalog.enumerations[i].base, Some(i)));
        }
        let known = Type::ALL.iter().map(|t| t.name());
        let known = known.chain(self.catalog.enumerations.iter().map(|e| e.name.as_str()));
        let message = format!("there is no type or enumeration `{name}`");
        let mut error = Diagnostic::error("unknown-type", name.span, message);
        if let Some(near) = nearest(&name.text, known, 1).first() {
            error = error.hint(format!("Did you mean `{near}`?"));
        }
        let all: Vec<&str> = Type::ALL.iter().map(|t| t.name()).collect();
        self.report(error.hint(format!("Types are {}.", all.join(", "))));
        None
    }

    /// Enters every field of every protocol of the file, its place still open.
    pub(super) fn declare_fields(&mut self) {
        for (id, decl) in self.new.clone() {
            let mut continues = false;
            for item in &decl.items {
                let ProtocolItem::Field(field) = item else { continue };
                if self.catalog.protocol_by_id(id).is_none_or(|p| p.fields.len() >= FIELDS_MAX) {
                    self.too_many(field.name.span, FIELDS_MAX, "fields of one protocol");
                    break;
                }
                if self.is_full() {
                    return;
                }
                continues |= self.declare_field(id, field);
            }
            self.check_inherited_names(id, decl.name.span);
            if let Some(p) = self.protocol_mut(id) {
                p.continues |= continues;
            }
        }
    }

    /// Enters one field; whether it marks its header as continuing.
    fn declare_field(&mut self, id: ProtocolId, decl: &'t FieldDecl) -> bool {
        let (ty, enumeration) = self.field_type(&decl.ty).unwrap_or((Type::Uint, None));
        for name in &decl.unpack {
            self.check_unpack(name);
        }
        let own = self.catalog.protocol_by_id(id).map_or(&[][..], |p| &p.fields);
        let spellings = || std::iter::once(&decl.name).chain(&decl.alias);
        let twice = spellings().find(|n| own.iter().any(|f| has_name(f, &n.text)));
        if let Some(name) = twice {
            self.report(Diagnostic::error(
                "duplicate-field",
                name.span,
                format!("`{}` has a field `{name}` already", self.catalog.protocol_name(id)),
            ));
        }
        let mut field = Field {
            name: decl.name.text.clone(),
            alias: decl.alias.as_ref().map(|a| a.text.clone()),
            ty,
            enumeration,
            place: Place::Abstract,
            ordering: Ordering::Varying,
            required: false,
            subtype: None,
            low_cardinality: false,
            key: false,
            snap_len: None,
            refines: decl.refine,
            continues: None,
            doc: docs::trailing(self.text, decl.span.0.end),
        };
        if decl.refine {
            self.refine(id, decl, &mut field);
        } else {
            self.refuse_redeclaration(id, decl);
        }
        let effects = attrs::apply(&decl.attrs, &mut field, &mut self.diagnostics);
        if let Some(p) = self.protocol_mut(id) {
            p.fields.push(field);
        }
        effects.continues
    }

    /// What a refinement inherits from the field it refines, and whether it may.
    fn refine(&mut self, id: ProtocolId, decl: &FieldDecl, field: &mut Field) {
        let name = &decl.name;
        let Some((owner, base)) = self.inherited_field(id, &name.text) else {
            let inherited: Vec<&str> = self
                .ancestors(id)
                .filter_map(|a| self.catalog.protocol_by_id(a))
                .flat_map(|p| p.fields.iter().map(|f| f.name.as_str()))
                .collect();
            let near = nearest(&name.text, inherited, 3);
            let message = format!(
                "`{}` inherits no field `{name}` to refine",
                self.catalog.protocol_name(id)
            );
            let mut error = Diagnostic::error("unknown-field", name.span, message);
            if near.is_empty() {
                error = error.hint("Leave out REFINE to declare a new field.");
            } else {
                let quoted: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
                error = error.hint(format!("Did you mean {}?", quoted.join(" or ")));
            }
            self.report(error);
            return;
        };
        if !narrows(base.ty, field.ty) {
            self.report(
                Diagnostic::error(
                    "type-mismatch",
                    decl.ty.span,
                    format!(
                        "`{name}` of {} is {}, which {} does not narrow",
                        self.catalog.protocol_name(owner),
                        base.ty,
                        field.ty
                    ),
                )
                .hint("A refinement keeps the type or narrows it: INET to IP or IPV6, an integer to a smaller one."),
            );
        }
        field.ordering = base.ordering;
        field.required = base.required;
        field.subtype = base.subtype;
        field.low_cardinality = base.low_cardinality;
        field.key = base.key;
        field.continues = base.continues;
        field.alias = field.alias.take().or(base.alias);
        field.enumeration = field.enumeration.or(base.enumeration);
        if field.doc.is_empty() {
            field.doc = base.doc;
        }
    }

    /// A name of this field that a parent has declared already.
    fn refuse_redeclaration(&mut self, id: ProtocolId, decl: &FieldDecl) {
        for name in std::iter::once(&decl.name).chain(&decl.alias) {
            if let Some((owner, _)) = self.inherited_field(id, &name.text) {
                self.report(
                    Diagnostic::error(
                        "duplicate-field",
                        name.span,
                        format!(
                            "`{name}` is a field of {} already",
                            self.catalog.protocol_name(owner)
                        ),
                    )
                    .hint(format!("Write REFINE before it to place the inherited field, or choose another name: {}_{name}.", self.catalog.protocol_name(id))),
                );
            }
        }
    }

    fn ancestors(&self, id: ProtocolId) -> impl Iterator<Item = ProtocolId> {
        self.catalog.protocol_by_id(id).into_iter().flat_map(|p| p.ancestors.iter().copied())
    }

    /// The nearest declaration of a name among the ancestors.
    fn inherited_field(&self, id: ProtocolId, name: &str) -> Option<(ProtocolId, Field)> {
        self.ancestors(id).find_map(|a| {
            let fields = &self.catalog.protocol_by_id(a)?.fields;
            Some((a, fields.iter().find(|f| has_name(f, name))?.clone()))
        })
    }

    /// A name may be declared by one ancestor only (M).
    fn check_inherited_names(&mut self, id: ProtocolId, span: wt_lang::Span) {
        let ancestors: Vec<ProtocolId> = self.ancestors(id).collect();
        let mut seen: HashMap<&str, ProtocolId> = HashMap::new();
        let mut clashes: Vec<(String, ProtocolId, ProtocolId)> = Vec::new();
        for &a in &ancestors {
            for f in self.catalog.protocol_by_id(a).iter().flat_map(|p| &p.fields) {
                if f.refines {
                    continue;
                }
                for name in std::iter::once(f.name.as_str()).chain(f.alias.as_deref()) {
                    let first = *seen.entry(name).or_insert(a);
                    if first != a {
                        clashes.push((name.to_owned(), first, a));
                    }
                }
            }
        }
        for (name, a, b) in clashes {
            let (a, b) = (self.catalog.protocol_name(a), self.catalog.protocol_name(b));
            let message = format!("both {a} and {b} have a field `{name}`");
            self.report(Diagnostic::error("duplicate-field", span, message).hint(
                "A name may occur once in all that a protocol inherits; inherit one of them.",
            ));
        }
    }

    /// The place that an access function names.
    pub(super) fn accessor(&mut self, name: &Ident, ty: Type) -> Place {
        let wrong = |wanted: Type| {
            Diagnostic::error(
                "type-mismatch",
                name.span,
                format!("`{name}` gives {wanted}, the field is {ty}"),
            )
            .hint(format!("Declare the field as {wanted}."))
        };
        let packet = PACKET_ACCESSORS.iter().find(|(n, ..)| *n == name.text);
        let meta = match packet {
            Some(&(_, meta, wanted)) => Some((meta, wanted)),
            None => (name.text == SYSTEM_TIME).then_some((Meta::Time, Type::Uint)),
        };
        if let Some((meta, wanted)) = meta {
            if ty != wanted {
                self.report(wrong(wanted));
            }
            return Place::Meta(meta);
        }
        let Some((type_name, position)) = text_accessor(&name.text) else {
            let known = PACKET_ACCESSORS.iter().map(|(n, ..)| *n).chain([SYSTEM_TIME]);
            let message = format!("there is no access function `{name}`");
            let mut error = Diagnostic::error("unknown-name", name.span, message);
            if let Some(near) = nearest(&name.text, known, 1).first() {
                error = error.hint(format!("Did you mean `{near}`?"));
            }
            self.report(error.hint(
                "Text records have get_csv_uint_pos1 and the like; bytes of a header have AT.",
            ));
            return Place::Abstract;
        };
        match Type::parse(type_name) {
            // gsql.md §7: ushort has no reader.
            Some(wanted) if wanted != Type::Ushort => {
                if wanted != ty {
                    self.report(wrong(wanted));
                }
            }
            _ => self.report(
                Diagnostic::error(
                    "unknown-type",
                    name.span,
                    format!("no access function reads `{type_name}`"),
                )
                .hint("They read bool, uint, int, ullong, llong, float, ip, ipv6 and string."),
            ),
        }
        match position.parse::<u32>() {
            Ok(position) if position > 0 => Place::Text(position),
            _ => {
                self.report(
                    Diagnostic::error(
                        "bad-value",
                        name.span,
                        format!("`{position}` is not a position of a record"),
                    )
                    .hint("Positions are counted from 1: get_csv_uint_pos1."),
                );
                Place::Abstract
            }
        }
    }

    /// Whether a field of this protocol may lie at a byte.
    pub(super) fn has_bytes(&self, id: ProtocolId) -> bool {
        self.catalog
            .protocol_by_id(id)
            .is_some_and(|p| !p.is_abstract || p.record.is_some() || p.name == ROOT)
    }
}

fn has_name(field: &Field, name: &str) -> bool {
    field.name == name || field.alias.as_deref() == Some(name)
}

/// Whether `narrow` is `wide` or holds some of its values only.
fn narrows(wide: Type, narrow: Type) -> bool {
    wide == narrow
        || matches!(
            (wide, narrow),
            (Type::Inet, Type::Ip | Type::Ipv6)
                | (Type::Uint | Type::Int, Type::Ushort)
                | (Type::Ullong, Type::Ushort | Type::Uint)
                | (Type::Llong, Type::Ushort | Type::Uint | Type::Int)
                | (Type::String, Type::Bytes)
                | (Type::Bytes, Type::String)
        )
}
