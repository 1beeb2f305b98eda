//! The header walk: from the link type down, one header after the other, within stated bounds.

use wt_catalog::protocol::PATH_HEADERS_MAX;
use wt_catalog::{ProtocolId, Value};
use wt_plan::ir::{HeaderProgram, NodeId, ParseSpec};

use super::env::PacketEnv;
use super::eval::Evaluator;
use super::layers::{self, Header, Kinds, Layer};
use crate::packet::Packet;
use crate::setup::SetupError;

/// How a packet's path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// At a header with no header that follows.
    Complete,
    /// Above a header that is cut off, too short or too long, or fails a check.
    Malformed,
    /// Above a header beyond its protocol's repeat limit, or beyond [`PATH_HEADERS_MAX`].
    TooDeep,
    /// Before it began: no protocol starts with this link type.
    UnknownLinkType,
}

/// The walker of one parse specification.
pub(crate) struct HeaderWalk {
    protocols: Vec<Option<Prepared>>,
    start: Vec<(u16, ProtocolId)>,
    kinds: Kinds,
    layers: Vec<Option<Layer>>,
}

struct Prepared {
    program: HeaderProgram,
    evaluator: Evaluator,
}

impl HeaderWalk {
    pub(crate) fn new(spec: &ParseSpec, params: &[Value]) -> Result<Self, SetupError> {
        let prepare = |program: &HeaderProgram| -> Result<Prepared, SetupError> {
            let evaluator = Evaluator::new(&program.exprs, params)?;
            Ok(Prepared { program: program.clone(), evaluator })
        };
        let protocols = spec.protocols.iter().map(|p| p.as_ref().map(prepare).transpose());
        Ok(Self {
            protocols: protocols.collect::<Result<_, _>>()?,
            start: spec.start.clone(),
            kinds: Kinds::new(spec),
            layers: Vec::new(),
        })
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Puts the packet's headers into `path`, outermost first.
    pub(crate) fn walk(&mut self, packet: &Packet<'_>, path: &mut Vec<Header>) -> WalkEnd {
        path.clear();
        let start = self.start.iter().find(|(link_type, _)| *link_type == packet.link_type);
        let Some(&(_, mut protocol)) = start else { return WalkEnd::UnknownLinkType };
        let mut offset = 0;
        loop {
            // A protocol without a header of its own ends the path.
            let Some(Some(Prepared { program, .. })) = self.protocols.get(protocol.0 as usize)
            else {
                return WalkEnd::Complete;
            };
            let before = path.iter().filter(|h| h.protocol == protocol).count();
            if before >= program.repeat as usize || path.len() >= PATH_HEADERS_MAX {
                return WalkEnd::TooDeep;
            }
            // Too few bytes for any such header: most malformed packets need no evaluation.
            let available = packet.data.len() - offset;
            if (available as u64) < u64::from(program.min) {
                return WalkEnd::Malformed;
            }
            path.push(Header { protocol, offset });
            let Some(len) = self.header_len(packet, protocol, path) else {
                path.pop();
                return WalkEnd::Malformed;
            };
            let Some(child) = self.child(packet, protocol, path) else {
                return WalkEnd::Complete;
            };
            protocol = child;
            offset += len;
        }
    }

    /// The length of the header at the end of the path, when the header is well-formed and captured whole.
    fn header_len(
        &mut self,
        packet: &Packet<'_>,
        protocol: ProtocolId,
        path: &[Header],
    ) -> Option<usize> {
        let (prepared, env) = self.enter(packet, protocol, path)?;
        let Prepared { program, evaluator } = prepared;
        let len = evaluator.eval(program.length, &env).ok()?.as_u64()?;
        if len < u64::from(program.min) || len > u64::from(program.max) {
            return None;
        }
        let holds = |check: &NodeId| matches!(evaluator.eval(*check, &env), Ok(Value::Bool(true)));
        if !program.checks.iter().all(holds) {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        let offset = path.last()?.offset;
        (len <= packet.data.len().checked_sub(offset)?).then_some(len)
    }

    /// The protocol of the header that follows the one at the end of the path.
    fn child(
        &mut self,
        packet: &Packet<'_>,
        protocol: ProtocolId,
        path: &[Header],
    ) -> Option<ProtocolId> {
        let prepared = self.protocols.get_mut(protocol.0 as usize)?.as_mut()?;
        let Prepared { program, evaluator } = prepared;
        // Same header, same generation: what `header_len` evaluated is still there.
        let env = PacketEnv { packet, path, layers: &self.layers, kinds: &self.kinds };
        let follows = |(_, when): &&(ProtocolId, Option<NodeId>)| match when {
            None => true,
            Some(when) => matches!(evaluator.eval(*when, &env), Ok(Value::Bool(true))),
        };
        program.children.iter().find(follows).map(|&(child, _)| child)
    }

    /// Begins the evaluation of the header at the end of the path.
    fn enter<'a>(
        &'a mut self,
        packet: &'a Packet<'a>,
        protocol: ProtocolId,
        path: &'a [Header],
    ) -> Option<(&'a mut Prepared, PacketEnv<'a>)> {
        let prepared = self.protocols.get_mut(protocol.0 as usize)?.as_mut()?;
        let this = path.len().checked_sub(1);
        layers::resolve(&prepared.program.layers, path, this, &self.kinds, &mut self.layers);
        prepared.evaluator.begin();
        let env = PacketEnv { packet, path, layers: &self.layers, kinds: &self.kinds };
        Some((prepared, env))
    }
}
