//! What a name means inside a declaration.

use std::collections::HashMap;

use super::ROOT;
use crate::Catalog;
use crate::protocol::{FieldRef, Occurrence, ProtocolId};

/// What every scope of one file is built from.
#[derive(Default)]
pub(super) struct Names {
    /// Where each name and alias is declared.
    declared: HashMap<String, Vec<(ProtocolId, u32)>>,
    /// Headers that may be directly above each protocol, refinements in place of abstract ones.
    above: Vec<Vec<ProtocolId>>,
}

impl Names {
    /// Of all protocols that the catalog has now.
    pub(super) fn new(catalog: &Catalog) -> Self {
        let mut declared: HashMap<String, Vec<(ProtocolId, u32)>> = HashMap::new();
        for protocol in &catalog.protocols {
            for (index, field) in (0u32..).zip(&protocol.fields) {
                for name in std::iter::once(&field.name).chain(&field.alias) {
                    declared.entry(name.clone()).or_default().push((protocol.id, index));
                }
            }
        }
        let mut above = vec![Vec::new(); catalog.protocols.len()];
        for over in &catalog.over {
            let parents = catalog.concretes(over.parent);
            for kind in std::iter::once(over.child).chain(catalog.same_header(over.child)) {
                if let Some(list) = above.get_mut(kind.0 as usize) {
                    list.extend(&parents);
                }
            }
        }
        for list in &mut above {
            list.sort_unstable();
            list.dedup();
        }
        Self { declared, above }
    }
}

/// Protocols whose fields a declaration may name, nearest first.
pub(super) struct Scope {
    /// The header that the expression belongs to.
    pub this: ProtocolId,
    /// By protocol: which header, and its distance; at equal distance a name is ambiguous.
    levels: Vec<Option<(Occurrence, u32)>>,
    /// The protocols of `levels`, nearest first.
    order: Vec<ProtocolId>,
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
    pub(super) fn new(catalog: &Catalog, names: &Names, this: ProtocolId) -> Self {
        let mut scope =
            Self { this, levels: vec![None; catalog.protocols.len()], order: Vec::new() };
        let root = catalog.protocol(ROOT).map(|p| p.id);
        // The root comes last, whatever leads to it.
        let mut add = |id: ProtocolId, at: Occurrence, distance: u32| {
            if let Some(level @ None) = scope.levels.get_mut(id.0 as usize) {
                *level = Some((at, distance));
                scope.order.push(id);
            }
        };
        let not_root = |id: &ProtocolId| Some(*id) != root;
        for kind in std::iter::once(this).chain(catalog.same_header(this)).filter(not_root) {
            add(kind, Occurrence::This, 0);
        }
        let carriers = catalog.protocol_by_id(this).map_or(&[][..], |p| &p.ancestors);
        for carrier in carriers.iter().copied().filter(not_root) {
            add(carrier, Occurrence::Above, 1);
        }
        let mut seen = vec![false; catalog.protocols.len()];
        let mut ring = vec![this];
        let mut distance = 2;
        while !ring.is_empty() {
            let mut next = Vec::new();
            for &above in ring.iter().filter_map(|at| names.above.get(at.0 as usize)).flatten() {
                if above == this || std::mem::replace(&mut seen[above.0 as usize], true) {
                    continue;
                }
                next.push(above);
                let kinds = std::iter::once(above).chain(catalog.same_header(above));
                for kind in kinds.filter(not_root) {
                    add(kind, Occurrence::Above, distance);
                }
            }
            ring = next;
            distance += 1;
        }
        if let Some(root) = root {
            let at = if root == this { Occurrence::This } else { Occurrence::First };
            add(root, at, u32::MAX);
        }
        scope
    }

    /// An unqualified name.
    pub(super) fn find(&self, catalog: &Catalog, names: &Names, name: &str) -> Named {
        let mut found: Vec<FieldRef> = Vec::new();
        let mut least = u32::MAX;
        for &(owner, field) in names.declared.get(name).map_or(&[][..], Vec::as_slice) {
            let Some(&Some((at, distance))) = self.levels.get(owner.0 as usize) else { continue };
            // Above stands any refinement: speak of the field they share.
            let (protocol, field) = match at {
                Occurrence::This => (owner, field),
                _ => shared(catalog, owner, field),
            };
            if distance < least {
                found.clear();
                least = distance;
            }
            let known = found.iter().any(|f| f.protocol == protocol);
            if distance == least && !known {
                found.push(FieldRef { protocol, field, at });
            }
        }
        // A refinement and what it refines are one field, placed by the refinement.
        let owners: Vec<ProtocolId> = found.iter().map(|f| f.protocol).collect();
        found.retain(|f| !owners.iter().any(|&o| o != f.protocol && catalog.is_a(o, f.protocol)));
        match found.as_slice() {
            [] => Named::Nothing,
            [field] => Named::Field(field.clone()),
            rivals => Named::Ambiguous(rivals.iter().map(|f| f.protocol).collect()),
        }
    }

    /// Which header a protocol named in the declaration is: this one or the nearest above. `None`: it is never above.
    pub(super) fn header(&self, catalog: &Catalog, id: ProtocolId) -> Option<Occurrence> {
        if catalog.refines_as_header(self.this, id) {
            return Some(Occurrence::This);
        }
        self.levels.get(id.0 as usize).copied().flatten().map(|(at, _)| at)
    }

    /// All names, for suggestions.
    pub(super) fn names<'c>(&'c self, catalog: &'c Catalog) -> impl Iterator<Item = &'c str> {
        self.order
            .iter()
            .filter_map(|&id| catalog.protocol_by_id(id))
            .flat_map(|p| p.fields.iter())
            .flat_map(|f| std::iter::once(f.name.as_str()).chain(f.alias.as_deref()))
    }
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
