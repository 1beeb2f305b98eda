//! Protocols as data to header programs: how a packet's headers are found, measured and left.

use thiserror::Error;
use wt_catalog::protocol::Dispatch;
use wt_catalog::{Catalog, Protocol, Type};

use crate::ir::{HeaderProgram, LayerSel, ParseSpec};
use crate::lower::{Dag, HeaderAt, HeaderLower, LowerError};

/// A protocol whose declaration has no header program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("protocol `{protocol}`: {error}")]
pub struct ParseSpecError {
    /// The protocol.
    pub protocol: String,
    /// What is wrong in it.
    pub error: LowerError,
}

/// The walk over all headers the catalog knows.
///
/// # Errors
/// A declaration whose expressions have no IR; the catalog's own checks exclude most.
pub fn parse_spec(catalog: &Catalog) -> Result<ParseSpec, ParseSpecError> {
    let mut spec = ParseSpec::default();
    for protocol in &catalog.protocols {
        let program = header_program(catalog, protocol)
            .map_err(|error| ParseSpecError { protocol: protocol.name.clone(), error })?;
        if program.is_some() {
            spec.start.extend(protocol.link_types.iter().map(|&l| (l, protocol.id)));
        }
        spec.protocols.push(program);
    }
    spec.start.sort_by_key(|s| s.0);
    Ok(spec)
}

fn header_program(
    catalog: &Catalog,
    protocol: &Protocol,
) -> Result<Option<HeaderProgram>, LowerError> {
    let Some(header) = protocol.header.as_ref().filter(|_| !protocol.is_abstract) else {
        return Ok(None);
    };
    let mut dag = Dag::default();
    let layer = dag.layer(LayerSel::This);
    let this = HeaderAt { layer, protocol: protocol.id };
    let mut lower = HeaderLower::new(catalog, &mut dag);
    let length = lower.pexpr(this, &header.length)?;
    let checks =
        header.checks.iter().map(|c| lower.pexpr(this, c)).collect::<Result<Vec<_>, _>>()?;
    let mut children = Vec::new();
    for Dispatch { child, when } in &protocol.children {
        let when = when.as_ref().map(|w| lower.pexpr(this, w)).transpose()?;
        children.push((*child, when));
    }
    let length = dag.cast(length, Type::Ullong);
    let (exprs, layers) = dag.finish();
    Ok(Some(HeaderProgram {
        name: protocol.name.clone(),
        counts_as: catalog.same_header(protocol.id),
        layers,
        exprs,
        length,
        min: header.min,
        max: header.max,
        checks,
        children,
        repeat: protocol.repeat.max(1),
        continues: protocol.continues,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{NodeId, Op};

    fn builtin() -> (Catalog, ParseSpec) {
        let catalog = Catalog::builtin();
        let spec = parse_spec(&catalog).expect("the built-in protocols have programs");
        (catalog, spec)
    }

    fn program<'a>(catalog: &Catalog, spec: &'a ParseSpec, name: &str) -> &'a HeaderProgram {
        let id = catalog.protocol(name).unwrap_or_else(|| panic!("{name}")).id;
        spec.protocols[id.0 as usize].as_ref().unwrap_or_else(|| panic!("{name} has no header"))
    }

    #[test]
    fn concrete_protocols_have_programs_and_abstract_ones_none() {
        let (catalog, spec) = builtin();
        assert_eq!(spec.protocols.len(), catalog.protocols.len());
        for p in &catalog.protocols {
            let program = spec.protocols[p.id.0 as usize].as_ref();
            assert_eq!(program.is_some(), p.header.is_some() && !p.is_abstract, "{}", p.name);
            let Some(program) = program else { continue };
            assert_eq!(program.layers[0], LayerSel::This, "{}", p.name);
            assert!(program.repeat >= 1, "{}", p.name);
            assert_eq!(program.exprs.nodes[program.length.0 as usize].ty, Type::Ullong);
            let is_bool = |n: &NodeId| program.exprs.nodes[n.0 as usize].ty == Type::Bool;
            assert!(program.checks.iter().all(is_bool), "{}", p.name);
            assert!(
                program.children.iter().filter_map(|(_, when)| when.as_ref()).all(is_bool),
                "{}",
                p.name
            );
        }
    }

    #[test]
    fn nodes_come_after_their_operands() {
        let (_, spec) = builtin();
        for program in spec.protocols.iter().flatten() {
            for (i, node) in program.exprs.nodes.iter().enumerate() {
                for child in node.op.operands() {
                    assert!((child.0 as usize) < i, "{} %{i}", program.name);
                }
            }
        }
    }

    #[test]
    fn ipv4_counts_as_ip_and_measures_itself() {
        let (catalog, spec) = builtin();
        let ipv4 = program(&catalog, &spec, "ipv4");
        let ip = catalog.protocol("ip").map(|p| p.id);
        assert!(ip.is_some_and(|ip| ipv4.counts_as.contains(&ip)));
        assert_eq!(ipv4.min, 20);
        assert_eq!(crate::lower::value_max(&ipv4.exprs, ipv4.length), 60);
        assert_eq!(ipv4.checks.len(), 1);
        let tcp = catalog.protocol("tcp").map(|p| p.id);
        assert!(ipv4.children.iter().any(|(child, when)| Some(*child) == tcp && when.is_some()));
    }

    #[test]
    fn lengths_saturate() {
        let (catalog, spec) = builtin();
        let ipv4 = program(&catalog, &spec, "ipv4");
        let length = &ipv4.exprs.nodes[ipv4.length.0 as usize].op;
        let mut op = length;
        while let Op::Cast(inner) = op {
            op = &ipv4.exprs.nodes[inner.0 as usize].op;
        }
        assert!(matches!(op, Op::Saturating(..)), "{length:?}");
    }

    #[test]
    fn children_keep_the_order_of_the_declarations() {
        let (catalog, spec) = builtin();
        for p in &catalog.protocols {
            if let Some(program) = &spec.protocols[p.id.0 as usize] {
                let declared: Vec<_> = p.children.iter().map(|d| d.child).collect();
                let lowered: Vec<_> = program.children.iter().map(|c| c.0).collect();
                assert_eq!(lowered, declared, "{}", p.name);
            }
        }
    }

    #[test]
    fn link_types_start_their_headers() {
        let (catalog, spec) = builtin();
        let start = |link: u16| {
            let found = spec.start.iter().find(|s| s.0 == link)?;
            Some(catalog.protocol_name(found.1))
        };
        assert_eq!(start(1), Some("eth"));
        assert_eq!(start(113), Some("sll"));
        assert_eq!(start(228), Some("ipv4"));
        assert_eq!(start(147), None);
        assert!(spec.start.is_sorted_by_key(|s| s.0));
    }

    #[test]
    fn runs_and_headers_above_become_layers() {
        let (catalog, _) = builtin();
        let layers = |protocol: &str, name: &str| {
            let id =
                catalog.protocol(protocol).map(|p| p.id).unwrap_or_else(|| panic!("{protocol}"));
            let (owner, field) = catalog.resolve_field(id, name).unwrap_or_else(|e| panic!("{e}"));
            let mut dag = Dag::default();
            let this = HeaderAt { layer: dag.layer(LayerSel::This), protocol: id };
            HeaderLower::new(&catalog, &mut dag).field(this, owner, field).unwrap();
            dag.finish().1
        };
        let run = |l: &LayerSel| matches!(l, LayerSel::RunLast(..));
        assert!(layers("ipv6", "protocol").iter().any(run), "the last of the extension headers");
        let above = |l: &LayerSel| matches!(l, LayerSel::Above(..));
        assert!(layers("tcp", "data_len").iter().any(above), "the length of the IP payload");
    }
}
