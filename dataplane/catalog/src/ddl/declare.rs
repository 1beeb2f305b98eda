//! Names first: enumerations, protocols and their parents.

use std::collections::HashSet;

use wt_lang::ast::{EnumDecl, OperatorView, ProtocolDecl, ProtocolItem, RecordFormat, StreamDecl};
use wt_lang::suggest::nearest;
use wt_lang::{Diagnostic, Ident, Span};

use super::{ANCESTORS_MAX, ENUMERATIONS_MAX, Elaborator, PROTOCOLS_MAX, ROOT, docs};
use crate::protocol::{Enumeration, Protocol, ProtocolId, RecordKind};
use crate::types::Type;

impl<'t> Elaborator<'t> {
    pub(super) fn enumeration(&mut self, decl: &'t EnumDecl) {
        let base = Type::parse(&decl.base.text).filter(|t| t.is_integer() && !t.is_signed());
        let Some(base) = base else {
            self.report(
                Diagnostic::error(
                    "bad-type",
                    decl.base.span,
                    format!("`{}` cannot be the type of an enumeration", decl.base),
                )
                .hint("Enumerations are ushort, uint or ullong."),
            );
            return;
        };
        if self.catalog.enumerations.iter().any(|e| e.name == decl.name.text) {
            self.duplicate("enumeration", &decl.name);
            return;
        }
        if self.catalog.enumerations.len() >= ENUMERATIONS_MAX {
            self.too_many(decl.name.span, ENUMERATIONS_MAX, "enumerations");
            return;
        }
        let mut members: Vec<(String, u64)> = Vec::with_capacity(decl.members.len());
        let mut names = HashSet::new();
        let limit = base.bits().map_or(u64::MAX, |bits| u64::MAX >> (64 - bits));
        for (name, value) in &decl.members {
            if !names.insert(name.text.as_str()) {
                self.duplicate("member", name);
            }
            if *value > limit {
                self.report(
                    Diagnostic::error(
                        "bad-value",
                        name.span,
                        format!("{value} does not fit {base}, which holds up to {limit}"),
                    )
                    .hint("Declare the enumeration with a wider type."),
                );
            }
            members.push((name.text.clone(), *value));
        }
        let name = decl.name.text.clone();
        self.catalog.enumerations.push(Enumeration { name, members, base });
    }

    pub(super) fn too_many(&mut self, span: Span, limit: usize, what: &str) {
        self.report(
            Diagnostic::error("too-many", span, format!("more than {limit} {what}")).hint(
                "Split the declarations over several files, and give each run those it needs.",
            ),
        );
    }

    fn duplicate(&mut self, what: &str, name: &Ident) {
        self.report(
            Diagnostic::error(
                "duplicate-name",
                name.span,
                format!("the {what} `{name}` is there already"),
            )
            .hint("Choose another name; what is there cannot be replaced."),
        );
    }

    /// Gives a protocol its id, so that everything may refer to it.
    pub(super) fn declare(&mut self, decl: &'t ProtocolDecl) {
        if self.catalog.protocol(&decl.name.text).is_some() {
            self.duplicate("protocol", &decl.name);
            return;
        }
        if self.catalog.protocols.len() >= PROTOCOLS_MAX {
            self.too_many(decl.name.span, PROTOCOLS_MAX, "protocols");
            return;
        }
        let id = ProtocolId(self.catalog.protocols.len() as u32);
        let has_header = decl.items.iter().any(|i| matches!(i, ProtocolItem::HeaderLength { .. }));
        self.catalog.protocols.push(Protocol {
            id,
            name: decl.name.text.clone(),
            parents: Vec::new(),
            ancestors: Vec::new(),
            refinements: Vec::new(),
            is_abstract: !has_header,
            continues: false,
            header: None,
            fields: Vec::new(),
            children: Vec::new(),
            link_types: Vec::new(),
            repeat: decl.repeat.map_or(1, |(n, _)| n),
            record: None,
            doc: docs::above(self.text, decl.span.0.start),
            declared_in: self.file.to_owned(),
        });
        if let Some((0, span)) = decl.repeat {
            self.report(
                Diagnostic::error("bad-value", span.0, "a header stands at least once in a path")
                    .hint("REPEAT takes the most times the header may stand in one path."),
            );
        }
        for name in &decl.unpack {
            self.check_unpack(name);
        }
        self.new.push((id, decl));
    }

    pub(super) fn check_unpack(&mut self, name: &Ident) {
        if self.unpack.iter().any(|known| *known == name.text) {
            return;
        }
        let message = format!("there is no unpack function `{name}`");
        let mut error = Diagnostic::error("unknown-name", name.span, message);
        if let Some(near) = nearest(&name.text, self.unpack.iter().copied(), 1).first() {
            error = error.hint(format!("Did you mean `{near}`?"));
        }
        self.report(error.hint("UNPACK_FCNS { name routine cost } declares one, before its use."));
    }

    /// Resolves parents, orders protocols so that parents come first, finds what describes records.
    pub(super) fn inherit(&mut self) {
        let new = self.new.clone();
        for &(id, decl) in &new {
            let mut parents = Vec::new();
            for name in &decl.parents {
                match self.catalog.resolve_protocol(&name.text) {
                    Ok(parent) if parents.contains(&parent) => self.report(Diagnostic::error(
                        "duplicate-name",
                        name.span,
                        format!("`{name}` is a parent twice"),
                    )),
                    Ok(parent) => parents.push(parent),
                    Err(error) => self.unknown(name, &error),
                }
            }
            if let Some(p) = self.protocol_mut(id) {
                p.parents = parents;
            }
        }
        self.refuse_cycles(&new);
        // Parents before children, so that what is inherited is known when it is needed.
        let mut ordered: Vec<(ProtocolId, &ProtocolDecl)> = Vec::with_capacity(new.len());
        for &entry in &new {
            self.parents_first(entry, &new, &mut ordered);
        }
        for &(id, decl) in &ordered {
            self.settle_record(id, decl);
        }
        for &(id, decl) in &ordered {
            let mut ancestors = self.ancestors_of(id);
            if ancestors.len() > ANCESTORS_MAX {
                self.too_many(decl.name.span, ANCESTORS_MAX, "inherited protocols");
                ancestors.truncate(ANCESTORS_MAX);
            }
            if let Some(p) = self.protocol_mut(id) {
                p.ancestors = ancestors;
            }
        }
        self.new = ordered;
    }

    pub(super) fn unknown(&mut self, name: &Ident, error: &crate::NameError) {
        let mut diagnostic = Diagnostic::error("unknown-name", name.span, error.to_string());
        if let Some(hint) = error.hint() {
            diagnostic = diagnostic.hint(hint);
        }
        self.report(diagnostic);
    }

    /// A protocol that inherits itself loses its parents, so that later steps end.
    fn refuse_cycles(&mut self, new: &[(ProtocolId, &'t ProtocolDecl)]) {
        for &(id, decl) in new {
            let mut pending =
                self.catalog.protocol_by_id(id).map_or(Vec::new(), |p| p.parents.clone());
            let mut seen = Vec::new();
            while let Some(at) = pending.pop() {
                if at == id {
                    self.report(
                        Diagnostic::error(
                            "cyclic-inheritance",
                            decl.name.span,
                            format!("`{}` inherits itself", decl.name),
                        )
                        .hint("What a header follows is said with OVER; parents are what it is."),
                    );
                    if let Some(p) = self.protocol_mut(id) {
                        p.parents.clear();
                    }
                    break;
                }
                if !seen.contains(&at) {
                    seen.push(at);
                    pending.extend(self.catalog.protocol_by_id(at).iter().flat_map(|p| &p.parents));
                }
            }
        }
    }

    fn parents_first(
        &self,
        entry: (ProtocolId, &'t ProtocolDecl),
        new: &[(ProtocolId, &'t ProtocolDecl)],
        out: &mut Vec<(ProtocolId, &'t ProtocolDecl)>,
    ) {
        if out.iter().any(|(id, _)| *id == entry.0) {
            return;
        }
        // Cycles are gone, so the recursion is as deep as the inheritance.
        for &parent in self.catalog.protocol_by_id(entry.0).iter().flat_map(|p| &p.parents) {
            if let Some(&parent) = new.iter().find(|(id, _)| *id == parent) {
                self.parents_first(parent, new, out);
            }
        }
        out.push(entry);
    }

    /// Text records are told by their format or access functions; every other protocol without parents is a packet.
    fn settle_record(&mut self, id: ProtocolId, decl: &ProtocolDecl) {
        let parents = self.catalog.protocol_by_id(id).map_or(Vec::new(), |p| p.parents.clone());
        let inherited = parents
            .iter()
            .filter_map(|&p| self.catalog.protocol_by_id(p))
            .find_map(|p| p.record.clone());
        let by_access = decl.items.iter().any(|item| match item {
            ProtocolItem::Field(f) => super::fields::reads_records(&f.place),
            _ => false,
        });
        let record = match &decl.record {
            Some(RecordFormat::Fixed(bytes)) => Some(RecordKind::Fixed(*bytes)),
            Some(RecordFormat::Framed(pattern)) => {
                Some(RecordKind::Framed(pattern.clone().into_bytes()))
            }
            // The length is an expression over fields that are not known yet.
            Some(RecordFormat::Variable(_)) => Some(RecordKind::Fixed(0)),
            None => inherited.or(by_access.then_some(RecordKind::Csv)),
        };
        let root = self.catalog.protocol(ROOT).map(|p| p.id);
        let Some(protocol) = self.protocol_mut(id) else { return };
        if let (None, [], Some(root)) = (&record, parents.as_slice(), root)
            && root != id
        {
            protocol.parents.push(root);
        }
        protocol.record = record;
    }

    fn ancestors_of(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let mut found = Vec::new();
        let parents = self.catalog.protocol_by_id(id).map_or(&[][..], |p| &p.parents);
        for &parent in parents {
            let of_parent = self.catalog.protocol_by_id(parent).map_or(&[][..], |p| &p.ancestors);
            for &ancestor in std::iter::once(&parent).chain(of_parent) {
                if !found.contains(&ancestor) {
                    found.push(ancestor);
                }
            }
        }
        found
    }

    /// A stream's schema is what its query says; the declaration is only checked.
    pub(super) fn stream_schema(&mut self, decl: &StreamDecl) {
        for field in &decl.fields {
            self.field_type(&field.ty);
        }
        self.report(
            Diagnostic::warning(
                "no-effect",
                decl.name.span,
                format!("the declaration of stream `{}` is not needed", decl.name),
            )
            .hint("The schema of a stream is the SELECT list of its query."),
        );
    }

    pub(super) fn operator_view(&mut self, view: &OperatorView) {
        let of_queries = view.subqueries.iter().flat_map(|(_, fields)| fields);
        for field in view.fields.iter().chain(of_queries) {
            self.field_type(&field.ty);
        }
        self.report(
            Diagnostic::error(
                "unsupported",
                view.name.span,
                format!(
                    "operator view `{}` needs a process of its own, which no source starts",
                    view.name
                ),
            )
            .hint("Read the named queries' outputs in that process, and its output with `-r`."),
        );
    }
}
