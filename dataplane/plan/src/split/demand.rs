//! How far a program walks the headers: to what its layers can still be found in, and no further.
//!
//! A header that can neither be a layer nor lead to one is not looked at, and the walk ends at a header that settles every
//! layer. So `FROM packet` parses nothing, and `FROM ip` stops at the first IP header. What is not walked is not judged: the
//! packet books' `malformed` and `too_deep` tell of walked headers only.

use wt_catalog::ProtocolId;

use crate::ir::{Exprs, HeaderProgram, LayerSel, Op, ParseSpec};

/// The part of a walk that a program with these layers needs.
pub(super) fn demanded(parse: &ParseSpec, layers: &[LayerSel], exprs: &Exprs) -> ParseSpec {
    let kinds = wanted_kinds(layers, exprs);
    let counts = exprs.nodes.iter().any(|node| matches!(node.op, Op::Depth { .. }));
    let settles = |protocol: ProtocolId, header: &HeaderProgram| {
        !counts && (0..layers.len()).all(|layer| is_settled(layers, layer, protocol, header))
    };
    let mut walked: Vec<Option<HeaderProgram>> = parse.protocols.clone();
    for (id, header) in walked.iter_mut().enumerate() {
        if let Some(header) = header
            && settles(ProtocolId(id as u32), header)
        {
            header.children.clear();
        }
    }
    let mut useful = useful(&walked, &kinds);
    keep_reached(&walked, parse, &mut useful);
    for (id, slot) in walked.iter_mut().enumerate() {
        if !useful[id] {
            *slot = None;
        } else if let Some(header) = slot {
            // A child that is not walked ends the path as no child does; only those before a walked one have to be told apart.
            let last = header.children.iter().rposition(|(child, _)| useful[child.0 as usize]);
            header.children.truncate(last.map_or(0, |last| last + 1));
        }
    }
    ParseSpec { protocols: walked, start: parse.start.clone() }
}

/// The protocols that layers and counts name.
fn wanted_kinds(layers: &[LayerSel], exprs: &Exprs) -> Vec<ProtocolId> {
    let of_node = |op: &Op| match *op {
        Op::Depth { protocol, .. } => Some(protocol),
        _ => None,
    };
    let counted = exprs.nodes.iter().filter_map(|node| of_node(&node.op));
    layers.iter().filter_map(LayerSel::protocol).chain(counted).collect()
}

/// Whether a layer is known for good once a header of `protocol` is on the path.
fn is_settled(
    layers: &[LayerSel],
    layer: usize,
    protocol: ProtocolId,
    header: &HeaderProgram,
) -> bool {
    match layers[layer] {
        LayerSel::Packet => true,
        LayerSel::First(kind) | LayerSel::Nth(kind, 0) => counts_as(protocol, header, kind),
        LayerSel::Above(below, _) => is_settled(layers, below.0 as usize, protocol, header),
        _ => false,
    }
}

fn counts_as(protocol: ProtocolId, header: &HeaderProgram, kind: ProtocolId) -> bool {
    protocol == kind || header.counts_as.contains(&kind)
}

/// By protocol: whether a header of it is wanted or leads to one that is.
fn useful(protocols: &[Option<HeaderProgram>], kinds: &[ProtocolId]) -> Vec<bool> {
    let is_wanted = |(id, header): (usize, &Option<HeaderProgram>)| {
        let id = ProtocolId(id as u32);
        header.as_ref().is_some_and(|h| kinds.iter().any(|&kind| counts_as(id, h, kind)))
    };
    let mut useful: Vec<bool> = protocols.iter().enumerate().map(is_wanted).collect();
    // Each round marks at least one protocol, or is the last.
    loop {
        let leads = |header: &HeaderProgram| {
            header.children.iter().any(|(child, _)| useful[child.0 as usize])
        };
        let found = (0..protocols.len())
            .find(|&id| !useful[id] && protocols[id].as_ref().is_some_and(leads));
        match found {
            Some(id) => useful[id] = true,
            None => return useful,
        }
    }
}

/// Leaves marked what the walk can come to from some link type through marked headers alone.
fn keep_reached(protocols: &[Option<HeaderProgram>], parse: &ParseSpec, useful: &mut [bool]) {
    let mut reached = vec![false; protocols.len()];
    let mut pending: Vec<usize> = parse.start.iter().map(|(_, start)| start.0 as usize).collect();
    while let Some(id) = pending.pop() {
        if useful[id] && !std::mem::replace(&mut reached[id], true) {
            let children = protocols[id].iter().flat_map(|header| &header.children);
            pending.extend(children.map(|(child, _)| child.0 as usize));
        }
    }
    useful.copy_from_slice(&reached);
}

#[cfg(test)]
mod tests {
    use wt_catalog::Catalog;

    use super::*;
    use crate::ir::{LayerId, Node};
    use crate::parse_spec::parse_spec;

    fn walked(catalog: &Catalog, layers: &[LayerSel], exprs: &Exprs) -> (ParseSpec, Vec<String>) {
        let parse = parse_spec(catalog).unwrap();
        let spec = demanded(&parse, layers, exprs);
        assert_eq!(spec.protocols.len(), parse.protocols.len());
        let names = spec.protocols.iter().flatten().map(|p| p.name.clone()).collect();
        (spec, names)
    }

    fn id(catalog: &Catalog, name: &str) -> ProtocolId {
        catalog.protocol(name).unwrap().id
    }

    #[test]
    fn nothing_is_walked_for_the_packet_itself() {
        let catalog = Catalog::builtin();
        let (spec, names) = walked(&catalog, &[LayerSel::Packet], &Exprs::default());
        assert_eq!(names, Vec::<String>::new());
        assert!(!spec.start.is_empty());
    }

    #[test]
    fn the_walk_ends_at_the_header_that_settles_all_layers() {
        let catalog = Catalog::builtin();
        let layers = [LayerSel::First(id(&catalog, "ip"))];
        let (spec, names) = walked(&catalog, &layers, &Exprs::default());
        assert!(
            names.iter().any(|n| n == "vlan") && !names.iter().any(|n| n == "udp"),
            "{names:?}"
        );
        for ip in ["ipv4", "ipv6"] {
            let header = spec.protocols[id(&catalog, ip).0 as usize].as_ref().unwrap();
            assert_eq!(header.children, []);
        }
    }

    #[test]
    fn tunnels_are_walked_to_a_first_header_that_may_lie_in_them() {
        let catalog = Catalog::builtin();
        let tcp = id(&catalog, "tcp");
        let layers = [LayerSel::First(tcp), LayerSel::Above(LayerId(0), id(&catalog, "ip"))];
        let (spec, names) = walked(&catalog, &layers, &Exprs::default());
        for name in ["eth", "ipv4", "udp", "vxlan", "gre", "tcp"] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|n| n == "icmp" || n == "dns"), "{names:?}");
        assert_eq!(spec.protocols[tcp.0 as usize].as_ref().unwrap().children, []);
    }

    #[test]
    fn counts_and_last_headers_need_the_whole_path() {
        let catalog = Catalog::builtin();
        let vlan = id(&catalog, "vlan");
        let depth = Op::Depth { protocol: vlan, run_below: None };
        let node = Node { op: depth, ty: wt_catalog::Type::Uint, host_only: false, fails: false };
        let exprs = Exprs { nodes: vec![node], ..Exprs::default() };
        for (layers, exprs) in
            [(vec![LayerSel::First(vlan)], exprs), (vec![LayerSel::Last(vlan)], Exprs::default())]
        {
            let (spec, names) = walked(&catalog, &layers, &exprs);
            assert!(names.iter().any(|n| n == "vxlan"), "{names:?}");
            assert_ne!(spec.protocols[vlan.0 as usize].as_ref().unwrap().children, []);
        }
    }
}
