//! Protocols as data to header programs: how a packet's headers are found, measured and left.

use thiserror::Error;
use wt_catalog::protocol::Dispatch;
use wt_catalog::{Catalog, Protocol, ProtocolId, Type};

use crate::ir::{HeaderProgram, LayerSel, ParseSpec};
use crate::lower::{Dag, HeaderAt, HeaderLower, LowerError, concretes, protocol_of};

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
        let program = header_program(catalog, protocol).map_err(|error| ParseSpecError {
            protocol: protocol.name.clone(),
            error,
        })?;
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
        counts_as: counts_as(catalog, protocol.id),
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

/// Protocols that a header of this one also is.
fn counts_as(catalog: &Catalog, id: ProtocolId) -> Vec<ProtocolId> {
    let Some(protocol) = protocol_of(catalog, id) else { return Vec::new() };
    protocol
        .ancestors
        .iter()
        .copied()
        .filter(|&a| concretes(catalog, a).contains(&id))
        .collect()
}
