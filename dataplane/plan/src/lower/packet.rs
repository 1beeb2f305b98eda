//! Expressions of an LFTA: leaves are packet fields.

use wt_catalog::{Catalog, ProtocolId, Type, Value};

use super::field::{HeaderAt, HeaderLower, is_packet};
use super::scalar::{Leaves, lower};
use super::{Dag, LowerError, Narrowing, narrow};
use crate::ir::{LayerId, LayerSel, NodeId, Op};
use crate::logical::{Expr, ExprKind, HeaderRef};

/// What an expression may know of the interface its packets come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceEnv {
    /// Interface name.
    pub name: String,
    /// Properties (`@Prop`), each with its value.
    pub properties: Vec<(String, String)>,
    /// Link types its packets can have.
    pub link_types: Vec<u16>,
}

impl InterfaceEnv {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Lowers the expressions of one query on one interface.
pub struct PacketLower<'a> {
    catalog: &'a Catalog,
    dag: &'a mut Dag,
    chain: &'a [ProtocolId],
    env: &'a InterfaceEnv,
    narrowing: Narrowing,
}

impl<'a> PacketLower<'a> {
    /// A lowering for `FROM chain` on an interface.
    pub fn new(
        catalog: &'a Catalog,
        dag: &'a mut Dag,
        chain: &'a [ProtocolId],
        env: &'a InterfaceEnv,
    ) -> Self {
        Self { catalog, dag, chain, env, narrowing: Narrowing::default() }
    }

    /// The layer of the source's target header: what FROM requires.
    pub fn target(&mut self) -> LayerId {
        self.chain_layer(self.chain.len().saturating_sub(1)).layer
    }

    /// Learns from the conjuncts what headers can be (see [`narrow`]).
    pub fn learn(&mut self, quals: &[Expr]) -> &Narrowing {
        let catalog = self.catalog;
        self.narrowing = Narrowing::default();
        self.narrowing = narrow(catalog, quals, |f| self.header(&f.header));
        &self.narrowing
    }

    /// Forgets what [`PacketLower::learn`] learnt: the conjuncts themselves must not rely on it.
    pub fn forget(&mut self) -> Narrowing {
        std::mem::take(&mut self.narrowing)
    }

    /// Takes up what was learnt.
    pub fn recall(&mut self, narrowing: Narrowing) {
        self.narrowing = narrowing;
    }

    /// The node of an expression.
    ///
    /// # Errors
    /// See [`LowerError`].
    pub fn expr(&mut self, e: &Expr) -> Result<NodeId, LowerError> {
        lower(self, e)
    }

    /// The nodes under construction.
    pub fn dag(&mut self) -> &mut Dag {
        self.dag
    }

    fn chain_layer(&mut self, index: usize) -> HeaderAt {
        let mut at: Option<HeaderAt> = None;
        for &protocol in self.chain.iter().take(index + 1) {
            let sel = match at {
                _ if is_packet(self.catalog, protocol) => LayerSel::Packet,
                None => LayerSel::First(protocol),
                Some(above) if is_packet(self.catalog, above.protocol) => LayerSel::First(protocol),
                Some(above) => LayerSel::Below(above.layer, protocol),
            };
            at = Some(HeaderAt { layer: self.dag.layer(sel), protocol });
        }
        at.unwrap_or_else(|| HeaderAt {
            layer: self.dag.layer(LayerSel::Packet),
            protocol: ProtocolId(0),
        })
    }

    fn header(&mut self, header: &HeaderRef) -> HeaderAt {
        let (sel, protocol) = match *header {
            HeaderRef::Packet => {
                let packet = self.catalog.protocols.iter().find(|p| p.name == "packet");
                (LayerSel::Packet, packet.map_or(ProtocolId(0), |p| p.id))
            }
            HeaderRef::Chain(i) => return self.chain_layer(i),
            HeaderRef::Carrier(p) if is_packet(self.catalog, p) => (LayerSel::Packet, p),
            HeaderRef::Carrier(p) => (LayerSel::Above(self.target(), p), p),
            HeaderRef::First(p) if is_packet(self.catalog, p) => (LayerSel::Packet, p),
            HeaderRef::First(p) => (LayerSel::First(p), p),
            HeaderRef::Nth(p, n) => (LayerSel::Nth(p, n), p),
            HeaderRef::Last(p) => (LayerSel::Last(p), p),
        };
        HeaderAt { layer: self.dag.layer(sel), protocol }
    }
}

impl Leaves for PacketLower<'_> {
    fn dag(&mut self) -> &mut Dag {
        self.dag
    }

    fn leaf(&mut self, e: &Expr) -> Result<NodeId, LowerError> {
        match &e.kind {
            ExprKind::Field(f) => {
                let header = self.header(&f.header);
                let node = HeaderLower::new(self.catalog, self.dag)
                    .with_narrowing(&self.narrowing)
                    .field(header, f.owner, f.field)?;
                Ok(self.dag.cast(node, e.ty))
            }
            ExprKind::InterfaceProperty(name) => match self.env.property(name) {
                Some(value) => Ok(self.dag.constant(Value::bytes(value), Type::String)),
                None => Err(LowerError::NoProperty {
                    interface: self.env.name.clone(),
                    property: name.clone(),
                }),
            },
            ExprKind::Depth(header) => {
                let protocol = self.header(header).protocol;
                let depth = self.dag.node(Op::Depth { protocol, run_below: None }, Type::Uint);
                Ok(self.dag.cast(depth, e.ty))
            }
            ExprKind::Present(header) => {
                let layer = self.header(header).layer;
                Ok(self.dag.node(Op::Present(layer), Type::Bool))
            }
            ExprKind::PcapFilter(text) => {
                let node = crate::bpf::pcap_filter(text, &self.env.link_types, self.dag)?;
                self.dag.name_filter(node, text);
                Ok(node)
            }
            _ => Err(LowerError::ColumnInPacket),
        }
    }
}
