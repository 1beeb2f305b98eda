//! Names and kinship of protocols and fields.
//!
//! A name matches exactly, else ignoring case when that is unique (protocols.md, Names).

use thiserror::Error;
use wt_lang::suggest::nearest;

use crate::Catalog;
use crate::protocol::{Enumeration, Field, Protocol, ProtocolId};

/// Most names that a message offers.
const NEAREST_MAX: usize = 3;

/// A name that denotes nothing, or several things.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing has the name.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// `protocol`, `field of tcp` …
        what: String,
        /// As written.
        name: String,
        /// Near names, best first.
        nearest: Vec<String>,
    },
    /// Several names differ from it in case only.
    #[error("`{name}` may mean any of {}", .candidates.join(", "))]
    Ambiguous {
        /// As written.
        name: String,
        /// The names.
        candidates: Vec<String>,
    },
}

impl NameError {
    /// A full sentence that says what to do, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest, .. } if nearest.is_empty() => None,
            Self::Unknown { nearest, .. } => {
                let quoted: Vec<String> = nearest.iter().map(|n| format!("`{n}`")).collect();
                Some(format!("Did you mean {}?", quoted.join(" or ")))
            }
            Self::Ambiguous { .. } => Some("Write the name in the case you mean.".to_owned()),
        }
    }

    fn unknown<'a>(what: String, name: &str, names: impl Iterator<Item = &'a str>) -> Self {
        let nearest = nearest(name, names, NEAREST_MAX).into_iter().map(str::to_owned).collect();
        Self::Unknown { what, name: name.to_owned(), nearest }
    }
}

/// The only item of those that differ in case alone.
fn only<T: Copy + PartialEq>(name: &str, matches: &[(T, &str)]) -> Result<Option<T>, NameError> {
    match matches {
        [] => Ok(None),
        [(first, _), rest @ ..] if rest.iter().all(|(t, _)| t == first) => Ok(Some(*first)),
        several => {
            let candidates = several.iter().map(|(_, n)| (*n).to_owned()).collect();
            Err(NameError::Ambiguous { name: name.to_owned(), candidates })
        }
    }
}

impl Catalog {
    /// The protocol of exactly this name.
    pub fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|p| p.name == name)
    }

    /// The protocol of an id of this catalog.
    pub fn protocol_by_id(&self, id: ProtocolId) -> Option<&Protocol> {
        self.protocols.get(id.0 as usize)
    }

    /// The name of a protocol; empty for an id of another catalog.
    pub fn protocol_name(&self, id: ProtocolId) -> &str {
        self.protocol_by_id(id).map_or("", |p| &p.name)
    }

    /// The protocol a name means.
    ///
    /// # Errors
    /// With the nearest names, or all that differ in case only.
    pub fn resolve_protocol(&self, name: &str) -> Result<ProtocolId, NameError> {
        if let Some(exact) = self.protocol(name) {
            return Ok(exact.id);
        }
        let folded: Vec<(ProtocolId, &str)> = self
            .protocols
            .iter()
            .filter(|p| p.name.eq_ignore_ascii_case(name))
            .map(|p| (p.id, p.name.as_str()))
            .collect();
        only(name, &folded)?.ok_or_else(|| {
            let names = self.protocols.iter().map(|p| p.name.as_str());
            NameError::unknown("protocol".to_owned(), name, names)
        })
    }

    /// All fields of a protocol: inherited ones first, in the order of the parents, then its own. A refined field stands at
    /// the place of the one it refines. Each with the protocol that declares it and its index there.
    pub fn fields_of(&self, id: ProtocolId) -> impl Iterator<Item = (ProtocolId, u32, &Field)> {
        let mut lineage = Vec::new();
        self.lineage(id, &mut lineage);
        lineage
            .into_iter()
            .filter_map(|owner| self.protocol_by_id(owner))
            .flat_map(|p| (0u32..).zip(&p.fields).map(|(i, f)| (p.id, i, f)))
            .filter(|(_, _, f)| !f.refines)
            .filter_map(move |(owner, index, _)| {
                let (owner, index) = self.field_at(id, owner, index);
                Some((owner, index, self.field(owner, index)?))
            })
    }

    /// Ancestors before descendants, in listed order, each once.
    fn lineage(&self, id: ProtocolId, out: &mut Vec<ProtocolId>) {
        let Some(protocol) = self.protocol_by_id(id) else { return };
        for &parent in &protocol.parents {
            self.lineage(parent, out);
        }
        if !out.contains(&id) {
            out.push(id);
        }
    }

    /// A field by its owner and index.
    pub fn field(&self, owner: ProtocolId, index: u32) -> Option<&Field> {
        self.protocol_by_id(owner)?.fields.get(index as usize)
    }

    /// The declaration that places field `index` of `owner` in a header of protocol `header`: the nearest refinement, else
    /// the field itself.
    pub fn field_at(&self, header: ProtocolId, owner: ProtocolId, index: u32) -> (ProtocolId, u32) {
        let found = self.field(owner, index).and_then(|f| self.refined(header, owner, &f.name));
        found.unwrap_or((owner, index))
    }

    fn refined(&self, at: ProtocolId, owner: ProtocolId, name: &str) -> Option<(ProtocolId, u32)> {
        if !self.is_a(at, owner) {
            return None;
        }
        let protocol = self.protocol_by_id(at)?;
        if let Some(i) = (0u32..).zip(&protocol.fields).find(|(_, f)| f.name == name) {
            return Some((at, i.0));
        }
        protocol.parents.iter().find_map(|&parent| self.refined(parent, owner, name))
    }

    /// The field that a name means in a protocol, by name or alias: its owner and index.
    ///
    /// # Errors
    /// With the nearest names, or all that differ in case only.
    pub fn resolve_field(
        &self,
        protocol: ProtocolId,
        name: &str,
    ) -> Result<(ProtocolId, u32), NameError> {
        let spellings = |f: &Field| -> bool { f.name == name || f.alias.as_deref() == Some(name) };
        if let Some((owner, index, _)) = self.fields_of(protocol).find(|(_, _, f)| spellings(f)) {
            return Ok((owner, index));
        }
        let folded: Vec<((ProtocolId, u32), &str)> = self
            .fields_of(protocol)
            .flat_map(|(owner, index, f)| {
                names(f).filter(|n| n.eq_ignore_ascii_case(name)).map(move |n| ((owner, index), n))
            })
            .collect();
        only(name, &folded)?.ok_or_else(|| {
            let what = format!("field of {}", self.protocol_name(protocol));
            NameError::unknown(what, name, self.fields_of(protocol).flat_map(|(_, _, f)| names(f)))
        })
    }

    /// Whether `child` is `ancestor` or inherits it.
    pub fn is_a(&self, child: ProtocolId, ancestor: ProtocolId) -> bool {
        child == ancestor
            || self.protocol_by_id(child).is_some_and(|p| p.ancestors.contains(&ancestor))
    }

    /// Whether a header of `concrete` counts as one of `kind`: it is that protocol, or refines it as the same header.
    pub fn refines_as_header(&self, concrete: ProtocolId, kind: ProtocolId) -> bool {
        concrete == kind || self.same_header(concrete).contains(&kind)
    }

    /// The abstract protocols that a header of this one also is, nearest first.
    pub fn same_header(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let mut found = Vec::new();
        let mut pending = vec![id];
        while let Some(at) = pending.pop() {
            let Some(protocol) = self.protocol_by_id(at) else { continue };
            for &parent in &protocol.parents {
                let refined =
                    self.protocol_by_id(parent).is_some_and(|p| p.refinements.contains(&at));
                if refined && !found.contains(&parent) {
                    found.push(parent);
                    pending.push(parent);
                }
            }
        }
        found
    }

    /// The protocols with headers of their own that count as this one: itself, or its refinements.
    pub fn concretes(&self, id: ProtocolId) -> Vec<ProtocolId> {
        let mut found = Vec::new();
        let mut pending = vec![id];
        let mut seen = vec![id];
        while let Some(at) = pending.pop() {
            let Some(protocol) = self.protocol_by_id(at) else { continue };
            if !protocol.is_abstract {
                found.push(at);
            }
            for &refinement in protocol.refinements.iter().rev() {
                if !seen.contains(&refinement) {
                    seen.push(refinement);
                    pending.push(refinement);
                }
            }
        }
        found
    }

    /// The value that a name denotes beside a field: in the field's enumeration when it has one, else the same in every
    /// enumeration that knows the name. Exact, then ignoring case.
    pub fn enumerator(&self, enumeration: Option<usize>, name: &str) -> Option<u64> {
        let value = |e: &Enumeration, is_named: &dyn Fn(&String) -> bool| {
            let found = e.members.iter().find(|(name, _)| is_named(name));
            found.map(|&(_, value)| value)
        };
        let exact = |e: &Enumeration| value(e, &|n| n == name);
        let folded = |e: &Enumeration| value(e, &|n| n.eq_ignore_ascii_case(name));
        let agreed = |of: &dyn Fn(&Enumeration) -> Option<u64>| {
            let mut values = self.enumerations.iter().filter_map(of);
            let first = values.next();
            first.filter(|first| values.all(|v| v == *first))
        };
        match enumeration.and_then(|i| self.enumerations.get(i)) {
            Some(e) => exact(e).or_else(|| folded(e)),
            None if self.enumerations.iter().any(|e| exact(e).is_some()) => agreed(&exact),
            None => agreed(&folded),
        }
    }
}

fn names(field: &Field) -> impl Iterator<Item = &str> {
    std::iter::once(field.name.as_str()).chain(field.alias.as_deref())
}
