//! What a name means inside a declaration.

use super::ROOT;
use crate::Catalog;
use crate::protocol::{FieldRef, Occurrence, ProtocolId};

/// Protocols whose fields a declaration may name, nearest first.
pub(super) struct Scope {
    /// The header that the expression belongs to.
    pub this: ProtocolId,
    /// Protocol, which header, and distance: at equal distance a name is ambiguous.
    levels: Vec<(ProtocolId, Occurrence, u32)>,
}

/// What was found under a name.
pub(super) enum Named {
    Field(FieldRef),
    Ambiguous(Vec<ProtocolId>),
    Nothing,
}

impl Scope {
    /// The names of `this`: its own and those of what it refines, then of what carries it, then of the headers that may be
    /// above, then of the packet.
    pub(super) fn new(catalog: &Catalog, this: ProtocolId) -> Self {
        let mut levels: Vec<(ProtocolId, Occurrence, u32)> = Vec::new();
        let mut add = |id: ProtocolId, at: Occurrence, distance: u32| {
            let root = catalog.protocol_name(id) == ROOT;
            if !root && !levels.iter().any(|(known, ..)| *known == id) {
                levels.push((id, at, distance));
            }
        };
        add(this, Occurrence::This, 0);
        for kind in catalog.same_header(this) {
            add(kind, Occurrence::This, 0);
        }
        let carriers = catalog.protocol_by_id(this).map_or(&[][..], |p| &p.ancestors);
        for &carrier in carriers {
            add(carrier, Occurrence::Above, 1);
        }
        let mut seen = vec![this];
        let mut ring = vec![this];
        let mut distance = 2;
        while !ring.is_empty() {
            let mut next = Vec::new();
            for above in ring.iter().flat_map(|&at| directly_above(catalog, at)) {
                if seen.contains(&above) {
                    continue;
                }
                seen.push(above);
                next.push(above);
                add(above, Occurrence::Above, distance);
                for kind in catalog.same_header(above) {
                    add(kind, Occurrence::Above, distance);
                }
            }
            ring = next;
            distance += 1;
        }
        if let Some(root) = catalog.protocol(ROOT) {
            let at = if root.id == this { Occurrence::This } else { Occurrence::First };
            levels.push((root.id, at, u32::MAX));
        }
        Self { this, levels }
    }

    /// An unqualified name.
    pub(super) fn find(&self, catalog: &Catalog, name: &str) -> Named {
        let mut found: Option<(FieldRef, u32)> = None;
        let mut rivals: Vec<ProtocolId> = Vec::new();
        for &(owner, at, distance) in &self.levels {
            if found.as_ref().is_some_and(|(_, least)| *least < distance) {
                break;
            }
            let Some(field) = own_field(catalog, owner, name) else { continue };
            // Above stands any refinement: speak of the field they share.
            let (owner, field) = match at {
                Occurrence::This => (owner, field),
                _ => shared(catalog, owner, field),
            };
            match &found {
                None => {
                    found = Some((FieldRef { protocol: owner, field, at }, distance));
                    rivals.push(owner);
                }
                Some((first, _)) if first.protocol == owner && first.field == field => {}
                // A refinement and what it refines are one field.
                Some((first, _))
                    if catalog.is_a(first.protocol, owner)
                        || catalog.is_a(owner, first.protocol) => {}
                Some(_) => rivals.push(owner),
            }
        }
        match found {
            None => Named::Nothing,
            Some((field, _)) if rivals.len() == 1 => Named::Field(field),
            Some(_) => Named::Ambiguous(rivals),
        }
    }

    /// Which header a protocol named in the declaration is: this one or the nearest above. `None`: it is never above.
    pub(super) fn header(&self, catalog: &Catalog, id: ProtocolId) -> Option<Occurrence> {
        if catalog.refines_as_header(self.this, id) {
            return Some(Occurrence::This);
        }
        self.levels.iter().find(|(level, ..)| *level == id).map(|&(_, at, _)| at)
    }

    /// All names, for suggestions.
    pub(super) fn names<'c>(&'c self, catalog: &'c Catalog) -> impl Iterator<Item = &'c str> {
        self.levels
            .iter()
            .filter_map(|&(id, ..)| catalog.protocol_by_id(id))
            .flat_map(|p| p.fields.iter())
            .flat_map(|f| std::iter::once(f.name.as_str()).chain(f.alias.as_deref()))
    }
}

/// Headers that may be directly above one, refinements in place of abstract protocols.
fn directly_above(catalog: &Catalog, id: ProtocolId) -> Vec<ProtocolId> {
    let concrete = catalog.concretes(id);
    let mut found = Vec::new();
    for over in &catalog.over {
        if over.child == id || concrete.contains(&over.child) {
            found.extend(catalog.concretes(over.parent));
        }
    }
    found
}

/// Index of a protocol's own field by name or alias.
pub(super) fn own_field(catalog: &Catalog, owner: ProtocolId, name: &str) -> Option<u32> {
    let fields = &catalog.protocol_by_id(owner)?.fields;
    (0u32..)
        .zip(fields)
        .find(|(_, f)| f.name == name || f.alias.as_deref() == Some(name))
        .map(|(i, _)| i)
}

/// The declaration that a field refines, or itself.
fn shared(catalog: &Catalog, owner: ProtocolId, field: u32) -> (ProtocolId, u32) {
    let Some(refined) = catalog.field(owner, field).filter(|f| f.refines) else {
        return (owner, field);
    };
    catalog
        .same_header(owner)
        .into_iter()
        .filter_map(|kind| Some((kind, own_field(catalog, kind, &refined.name)?)))
        .find(|&(kind, i)| catalog.field(kind, i).is_some_and(|f| !f.refines))
        .unwrap_or((owner, field))
}
