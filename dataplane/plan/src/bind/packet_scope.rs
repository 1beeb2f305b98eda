//! The fields that a packet source has in scope (ddl.md, Scope).

use wt_catalog::{Catalog, Field, PExpr, Place, ProtocolId};

use super::find::{Found, find};
use super::headers::Headers;
use crate::logical::{FieldAccess, HeaderRef, ProtocolSource};

/// Fields that a query of a protocol may name, innermost header first.
#[derive(Clone, Debug)]
pub(crate) struct PacketScope {
    /// What is read.
    pub(crate) source: ProtocolSource,
    /// Protocols whose fields are in scope, in order of precedence.
    levels: Vec<Level>,
    /// Levels of the target itself and of what it inherits.
    inherited: usize,
}

/// A protocol in scope.
#[derive(Clone, Debug)]
struct Level {
    protocol: ProtocolId,
    header: HeaderRef,
    /// Levels of equal rank clash.
    rank: u32,
}

/// Result of a field lookup.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Lookup {
    /// The field.
    Field(FieldAccess),
    /// Headers of the same rank have it.
    Clash(Vec<ProtocolId>),
    /// Not in scope.
    Unknown,
}

/// The protocol that describes the record itself.
pub(crate) fn packet_id(catalog: &Catalog) -> Option<ProtocolId> {
    catalog.protocols.iter().find(|p| p.name == "packet").map(|p| p.id)
}

/// The protocol of an id.
pub(crate) fn protocol(catalog: &Catalog, id: ProtocolId) -> Option<&wt_catalog::Protocol> {
    catalog.protocols.get(id.0 as usize)
}

/// The field of an access.
pub(crate) fn field<'c>(catalog: &'c Catalog, access: &FieldAccess) -> Option<&'c Field> {
    protocol(catalog, access.owner)?.fields.get(access.field as usize)
}

/// The name of a protocol.
pub(crate) fn name(catalog: &Catalog, id: ProtocolId) -> &str {
    protocol(catalog, id).map_or("", |p| &p.name)
}

impl PacketScope {
    /// The scope of a source.
    pub(crate) fn new(catalog: &Catalog, headers: &Headers, source: ProtocolSource) -> Self {
        let packet = packet_id(catalog);
        let mut levels: Vec<Level> = Vec::new();
        let mut add = |protocol, header, rank| {
            if !levels.iter().any(|l: &Level| l.protocol == protocol) {
                levels.push(Level { protocol, header, rank });
            }
        };
        let last = source.chain.len().saturating_sub(1);
        let mut rank = 0;
        let mut carriers: Vec<ProtocolId> = Vec::new();
        if let Some(&target) = source.chain.last() {
            let at =
                if Some(target) == packet { HeaderRef::Packet } else { HeaderRef::Chain(last) };
            for p in same_header(catalog, headers, target) {
                add(p, at.clone(), rank);
                rank += 1;
            }
            carriers = carriers_of(catalog, headers, target, packet);
            for &carrier in &carriers {
                // Only one protocol can carry the target: its narrower types hold.
                let nearest = headers.nearest_of(target, carrier);
                let concrete: Vec<ProtocolId> =
                    nearest.into_iter().filter(|&p| p != carrier).collect();
                if let [only] = concrete[..] {
                    add(only, HeaderRef::Carrier(only), rank);
                    rank += 1;
                }
                add(carrier, HeaderRef::Carrier(carrier), rank);
                rank += 1;
            }
        }
        if let Some(packet) = packet {
            add(packet, HeaderRef::Packet, rank);
            rank += 1;
        }
        let inherited = rank as usize;
        // What carries the target is one header whatever name reaches it: `ip_id` and `srcIP` of a tunnelled
        // packet come from the same ipv4 header.
        let header_of = |p: ProtocolId| {
            let carried = carriers.iter().any(|&c| headers.counts_as(p, c));
            if carried { HeaderRef::Carrier(p) } else { HeaderRef::First(p) }
        };
        let mut above = headers.above(&source.chain);
        for (i, &element) in source.chain.iter().enumerate().take(last) {
            // What the query names on the way to the target comes before other headers, also when it may stand further
            // out once more: `vlan_id` of vxlan.vlan.ip is that of the inner tag.
            for p in same_header(catalog, headers, element) {
                add(p, HeaderRef::Chain(i), rank);
            }
        }
        above.sort_by_key(|a| (a.distance, a.protocol));
        for a in &above {
            add(a.protocol, header_of(a.protocol), rank + a.distance);
            for p in same_header(catalog, headers, a.protocol) {
                add(p, header_of(p), rank + a.distance);
            }
        }
        levels.sort_by_key(|l| l.rank);
        Self { source, levels, inherited }
    }

    /// An unqualified name.
    pub(crate) fn find(&self, catalog: &Catalog, headers: &Headers, name: &str) -> Lookup {
        let exact = |f: &Field| f.name == name || f.alias.as_deref() == Some(name);
        match self.find_by(catalog, headers, &exact) {
            Lookup::Unknown => {}
            found => return found,
        }
        let folded = |f: &Field| {
            f.name.eq_ignore_ascii_case(name)
                || f.alias.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(name))
        };
        // Unique ignoring case: all fields that agree must have one spelling.
        let mut spelling: Option<&str> = None;
        for level in &self.levels {
            for f in protocol(catalog, level.protocol).map_or(&[][..], |p| &p.fields) {
                if folded(f) && spelling.replace(&f.name).is_some_and(|s| s != f.name) {
                    return Lookup::Unknown;
                }
            }
        }
        self.find_by(catalog, headers, &folded)
    }

    fn find_by(&self, catalog: &Catalog, headers: &Headers, is: &dyn Fn(&Field) -> bool) -> Lookup {
        let mut hits: Vec<(u32, FieldAccess)> = Vec::new();
        for level in &self.levels {
            if hits.first().is_some_and(|(rank, _)| *rank < level.rank) {
                break;
            }
            let Some(p) = protocol(catalog, level.protocol) else { continue };
            if let Some(i) = p.fields.iter().position(is) {
                let access = FieldAccess {
                    owner: level.protocol,
                    field: i as u32,
                    header: level.header.clone(),
                };
                hits.push((level.rank, access));
            }
        }
        let owners: Vec<ProtocolId> = hits.iter().map(|(_, a)| a.owner).collect();
        // A refined field and the one it refines are one field; the general one fits all that can stand there.
        hits.retain(|(_, a)| {
            !owners.iter().any(|&o| o != a.owner && headers.counts_as(a.owner, o))
        });
        // A field that only passes another header's field on (`vlan_id` of eth) is that field.
        let several = hits.clone();
        hits.retain(|(_, a)| !several.iter().any(|(_, b)| forwards(catalog, a, b)));
        match &hits[..] {
            [] => Lookup::Unknown,
            [(_, access)] => Lookup::Field(access.clone()),
            several => Lookup::Clash(several.iter().map(|(_, a)| a.owner).collect()),
        }
    }

    /// All names in scope, for near-name hints.
    pub(crate) fn names<'c>(&self, catalog: &'c Catalog) -> Vec<&'c str> {
        self.levels
            .iter()
            .filter_map(|l| protocol(catalog, l.protocol))
            .flat_map(|p| &p.fields)
            .flat_map(|f| std::iter::once(f.name.as_str()).chain(f.alias.as_deref()))
            .collect()
    }

    /// What `SELECT *` means: the fields that the target inherits and its own (gsql.md §7: parents first), captured bytes and
    /// fields that not every such packet has left out.
    pub(crate) fn star(&self, catalog: &Catalog) -> Vec<FieldAccess> {
        let mut columns: Vec<FieldAccess> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        let own = self.levels.iter().take(self.inherited.min(self.levels.len()));
        // The innermost declaration of a name is the one in scope; parents' fields are listed first.
        for level in own {
            let Some(p) = protocol(catalog, level.protocol) else { continue };
            let mut part = Vec::new();
            for (i, f) in p.fields.iter().enumerate() {
                let listed = !f.ty.is_bytes() || f.ty == wt_catalog::Type::String;
                if listed
                    && !super::star::may_be_absent(catalog, p, f)
                    && !names.contains(&f.name.as_str())
                {
                    names.push(&f.name);
                    part.push(FieldAccess {
                        owner: level.protocol,
                        field: i as u32,
                        header: level.header.clone(),
                    });
                }
            }
            part.append(&mut columns);
            columns = part;
        }
        columns
    }

    /// The header that a protocol's name denotes in this query, if a packet can have both.
    pub(crate) fn header(
        &self,
        catalog: &Catalog,
        headers: &Headers,
        p: ProtocolId,
    ) -> Option<HeaderRef> {
        if Some(p) == packet_id(catalog) {
            return Some(HeaderRef::Packet);
        }
        if let Some(level) = self.levels.iter().find(|l| l.protocol == p) {
            return Some(level.header.clone());
        }
        // Below the target: reached by its outermost occurrence.
        let target = *self.source.chain.last()?;
        let below = Some(target) == packet_id(catalog) || headers.can_follow(target, p);
        below.then_some(HeaderRef::First(p))
    }

    /// A field of a protocol that is named with it: `p.f`.
    pub(crate) fn find_in(
        &self,
        catalog: &Catalog,
        headers: &Headers,
        p: ProtocolId,
        header: &HeaderRef,
        field: &str,
    ) -> Option<FieldAccess> {
        let is_target = self.source.chain.last() == Some(&p);
        if is_target && matches!(header, HeaderRef::Chain(_)) {
            let inherited = Self {
                levels: self.levels.iter().take(self.inherited).cloned().collect(),
                ..self.clone()
            };
            return match inherited.find(catalog, headers, field) {
                Lookup::Field(access) => Some(access),
                Lookup::Clash(_) | Lookup::Unknown => None,
            };
        }
        for owner in same_header(catalog, headers, p) {
            let Some(decl) = protocol(catalog, owner) else { continue };
            let names = decl.fields.iter().map(|f| f.name.as_str());
            let aliases = decl.fields.iter().map(|f| f.alias.as_deref().unwrap_or(""));
            let index = match find(field, names) {
                Found::One(i) => Some(i),
                Found::Several => None,
                Found::None => super::find::position(field, aliases),
            };
            if let Some(i) = index {
                return Some(FieldAccess { owner, field: i as u32, header: header.clone() });
            }
        }
        None
    }
}

/// Whether field `a` is derived as nothing but field `b`.
fn forwards(catalog: &Catalog, a: &FieldAccess, b: &FieldAccess) -> bool {
    match field(catalog, a).map(|f| &f.place) {
        Some(Place::Derived(PExpr::Field(to))) => to.protocol == b.owner && to.field == b.field,
        _ => false,
    }
}

/// The protocol, then the protocols that it refines as the same header, nearest first.
pub(crate) fn same_header(catalog: &Catalog, headers: &Headers, p: ProtocolId) -> Vec<ProtocolId> {
    let mut list = vec![p];
    let mut at = 0;
    while let Some(&id) = list.get(at) {
        for &parent in protocol(catalog, id).map_or(&[][..], |p| &p.parents) {
            if headers.counts_as(id, parent)
                && !list.contains(&parent)
                && name(catalog, parent) != "packet"
            {
                list.push(parent);
            }
        }
        at += 1;
    }
    list
}

/// The protocols that the target inherits as what carries it, nearest first.
fn carriers_of(
    catalog: &Catalog,
    headers: &Headers,
    target: ProtocolId,
    packet: Option<ProtocolId>,
) -> Vec<ProtocolId> {
    let own = same_header(catalog, headers, target);
    let mut queue = own.clone();
    let mut carriers = Vec::new();
    let mut at = 0;
    while let Some(&id) = queue.get(at) {
        for &parent in protocol(catalog, id).map_or(&[][..], |p| &p.parents) {
            if Some(parent) != packet && !queue.contains(&parent) {
                queue.push(parent);
                carriers.push(parent);
            }
        }
        at += 1;
    }
    carriers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(catalog: &Catalog, headers: &Headers, chain: &[&str]) -> PacketScope {
        let chain = chain.iter().map(|p| catalog.resolve_protocol(p).unwrap()).collect();
        PacketScope::new(catalog, headers, ProtocolSource { interfaces: vec![0], chain })
    }

    #[test]
    fn built_in_names_do_not_clash() {
        let catalog = Catalog::builtin();
        let headers = Headers::new(&catalog);
        for p in catalog.protocols.iter().filter(|p| p.record.is_none()) {
            let scope = scope(&catalog, &headers, &[&p.name]);
            for name in scope.names(&catalog) {
                let found = scope.find(&catalog, &headers, name);
                assert!(matches!(found, Lookup::Field(_)), "{name} FROM {}: {found:?}", p.name);
            }
        }
    }

    /// What a name means in a source: owner and header.
    fn meaning(chain: &[&str], field: &str) -> String {
        let catalog = Catalog::builtin();
        let headers = Headers::new(&catalog);
        match scope(&catalog, &headers, chain).find(&catalog, &headers, field) {
            Lookup::Field(access) => {
                let of = |p: ProtocolId| name(&catalog, p).to_owned();
                let header = match access.header {
                    HeaderRef::Packet => "packet".to_owned(),
                    HeaderRef::Chain(i) => format!("chain {i}"),
                    HeaderRef::Carrier(p) => format!("carrier {}", of(p)),
                    HeaderRef::First(p) => format!("first {}", of(p)),
                    HeaderRef::Nth(p, n) => format!("{}[{n}]", of(p)),
                    HeaderRef::Last(p) => format!("{}[last]", of(p)),
                };
                format!("{} of {header}", of(access.owner))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_mean_headers_on_the_path() {
        assert_eq!(meaning(&["tcp"], "time"), "packet of packet");
        assert_eq!(meaning(&["tcp"], "destPort"), "tcp of chain 0");
        assert_eq!(meaning(&["tcp"], "srcIP"), "ip of carrier ip");
        assert_eq!(meaning(&["tcp"], "ip_id"), "ipv4 of carrier ipv4");
        assert_eq!(meaning(&["tcp"], "eth_src"), "eth of first eth");
        assert_eq!(meaning(&["tcp"], "vlan_id"), "vlan of first vlan");
        assert_eq!(meaning(&["tcp"], "vni"), "vxlan of first vxlan");
        assert_eq!(meaning(&["ipv4"], "srcIP"), "ipv4 of chain 0");
        assert_eq!(meaning(&["ipv4"], "fragment"), "ip of chain 0");
        assert_eq!(meaning(&["eth"], "vlan_id"), "eth of chain 0");
        assert_eq!(meaning(&["gre"], "eth_src"), "eth of first eth");
        assert_eq!(meaning(&["gre"], "srcIP"), "ip of carrier ip");
        assert_eq!(meaning(&["vxlan", "tcp"], "vni"), "vxlan of chain 0");
        assert_eq!(meaning(&["vxlan", "tcp"], "srcIP"), "ip of carrier ip");
        assert_eq!(meaning(&["vxlan", "eth"], "eth_src"), "eth of chain 1");
        assert_eq!(meaning(&["vxlan", "eth"], "udp_len"), "udp of first udp");
    }

    #[test]
    fn names_of_headers_below_are_not_in_scope() {
        for (target, field) in
            [("ip", "destPort"), ("ip", "data"), ("eth", "srcIP"), ("packet", "srcIP")]
        {
            assert_eq!(meaning(&[target], field), "Unknown", "{field} FROM {target}");
        }
    }
}
