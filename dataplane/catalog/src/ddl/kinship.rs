//! Which parents a protocol is the same header as, and which carry it.

use wt_lang::Diagnostic;
use wt_lang::ast::ProtocolItem;

use super::{Elaborator, OVER_MAX, ROOT};
use crate::protocol::{Over, Place, ProtocolId};

impl Elaborator<'_> {
    /// Enters OVER clauses (conditions still open), then finds refinements and repeat limits.
    pub(super) fn relate(&mut self) {
        for (id, decl) in self.new.clone() {
            for over in &decl.over {
                if self.catalog.over.len() >= OVER_MAX {
                    self.too_many(over.parent.span, OVER_MAX, "OVER clauses");
                    return;
                }
                match self.catalog.resolve_protocol(&over.parent.text) {
                    Ok(parent) => {
                        self.catalog.over.push(Over { parent, child: id, when: None });
                    }
                    Err(error) => self.unknown(&over.parent, &error),
                }
            }
        }
        for (id, decl) in self.new.clone() {
            let Some(protocol) = self.catalog.protocol_by_id(id) else { continue };
            let (is_abstract, is_record) = (protocol.is_abstract, protocol.record.is_some());
            let parents = protocol.parents.clone();
            for parent in parents {
                if self.is_same_header(id, parent)
                    && let Some(p) = self.protocol_mut(parent)
                {
                    p.refinements.push(id);
                }
            }
            if is_abstract && !is_record && protocol_has_bytes(decl) && decl.name.text != ROOT {
                self.report(
                    Diagnostic::error(
                        "no-header",
                        decl.name.span,
                        format!("`{}` has fields at bytes, but no HEADER LENGTH", decl.name),
                    )
                    .hint("Say how long the header is, in bytes: `HEADER LENGTH 8;`."),
                );
            } else if is_abstract && let Some(over) = decl.over.first() {
                self.report(
                    Diagnostic::error(
                        "no-header",
                        over.parent.span,
                        format!("`{}` follows a header, but has none itself", decl.name),
                    )
                    .hint("Add HEADER LENGTH, or move OVER to the protocols that refine it."),
                );
            }
        }
        for (id, decl) in self.new.clone() {
            self.inherit_header_properties(id, decl.repeat.is_some());
        }
    }

    /// See the module documentation of [`crate::ddl`].
    fn is_same_header(&self, id: ProtocolId, parent: ProtocolId) -> bool {
        let Some(p) = self.catalog.protocol_by_id(parent) else { return false };
        if !p.is_abstract || p.record.is_some() || p.name == ROOT {
            return false;
        }
        let refines_a_field = self.catalog.protocol_by_id(id).is_some_and(|child| {
            child.fields.iter().filter(|f| f.refines).any(|refined| {
                self.catalog
                    .fields_of(parent)
                    .any(|(_, _, f)| f.name == refined.name && !self.is_root_field(&f.name))
            })
        });
        refines_a_field || !self.follows(id, parent)
    }

    /// Warns of inherited fields that a header leaves without a place.
    pub(super) fn warn_of_unplaced(&mut self) {
        for (id, decl) in self.new.clone() {
            if self.catalog.protocol_by_id(id).is_none_or(|p| p.header.is_none()) {
                continue;
            }
            for kind in self.catalog.same_header(id) {
                let unplaced: Vec<String> = self
                    .catalog
                    .fields_of(id)
                    .filter(|(owner, _, f)| *owner == kind && f.place == Place::Abstract)
                    .map(|(_, _, f)| format!("`{}`", f.name))
                    .collect();
                if unplaced.is_empty() {
                    continue;
                }
                let kind = self.catalog.protocol_name(kind);
                let message = format!(
                    "`{}` is {kind}, but gives no place to {}",
                    decl.name,
                    unplaced.join(", ")
                );
                self.report(Diagnostic::warning("no-place", decl.name.span, message).hint(
                    "They are absent in its headers; write REFINE with AT or `=` for those it has.",
                ));
            }
        }
    }

    fn is_root_field(&self, name: &str) -> bool {
        self.catalog.protocol(ROOT).is_some_and(|p| p.fields.iter().any(|f| f.name == name))
    }

    /// Whether an OVER path leads from `id` up to `above` or something that inherits it.
    fn follows(&self, id: ProtocolId, above: ProtocolId) -> bool {
        let mut pending = vec![id];
        let mut seen = vec![id];
        while let Some(at) = pending.pop() {
            for over in self.catalog.over.iter().filter(|o| o.child == at) {
                if self.catalog.is_a(over.parent, above) {
                    return true;
                }
                if !seen.contains(&over.parent) {
                    seen.push(over.parent);
                    pending.push(over.parent);
                }
            }
        }
        false
    }

    /// A refinement takes REPEAT and `continues` from the abstract protocols it refines.
    fn inherit_header_properties(&mut self, id: ProtocolId, has_repeat: bool) {
        let kinds = self.catalog.same_header(id);
        let of_kinds = || kinds.iter().filter_map(|&k| self.catalog.protocol_by_id(k));
        let repeat = of_kinds().map(|k| k.repeat).max();
        let continues = of_kinds().any(|k| k.continues);
        let Some(protocol) = self.protocol_mut(id) else { return };
        protocol.continues |= continues;
        if let (false, Some(repeat)) = (has_repeat, repeat) {
            protocol.repeat = protocol.repeat.max(repeat);
        }
    }
}

fn protocol_has_bytes(decl: &wt_lang::ast::ProtocolDecl) -> bool {
    decl.items.iter().any(|item| match item {
        ProtocolItem::Field(f) => matches!(f.place, wt_lang::ast::PlaceDecl::At { .. }),
        ProtocolItem::Check(_) => true,
        ProtocolItem::HeaderLength { .. } => false,
    })
}
