//! What expressions are evaluated against: a packet, an input tuple, or nothing but a time.

use wt_catalog::protocol::Meta;
use wt_catalog::{ProtocolId, Value};
use wt_plan::ir::LayerId;

use super::layers::{self, Header, Kinds, Layer};
use crate::packet::{NS_PER_S, Packet};

/// Why there is no value. A node has the lack of its first operand, in operand order, that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A field that is not in the packet: the tuple is rejected.
    Absent,
    /// A partial operation that failed: the tuple is rejected too, and counted apart.
    Failed,
}

/// Access to what is evaluated against. Every part may be missing.
pub(crate) trait Env {
    /// Packet metadata that is a number.
    fn meta(&self, meta: Meta) -> Option<u64>;
    /// The interface name.
    fn interface(&self) -> Option<&Value>;
    /// A resolved layer.
    fn layer(&self, layer: LayerId) -> Option<Layer>;
    /// The captured bytes.
    fn data(&self) -> &[u8];
    /// Header count.
    fn depth(&self, protocol: ProtocolId, run_below: Option<LayerId>) -> u64;
    /// A column of the input tuple.
    fn input(&self, column: u32) -> Result<&Value, Lack>;
}

/// A packet.
pub(super) struct PacketEnv<'a> {
    pub(super) packet: &'a Packet<'a>,
    pub(super) path: &'a [Header],
    pub(super) layers: &'a [Option<Layer>],
    pub(super) kinds: &'a Kinds,
}

impl Env for PacketEnv<'_> {
    #[inline]
    fn meta(&self, meta: Meta) -> Option<u64> {
        self.packet.meta(meta)
    }

    fn interface(&self) -> Option<&Value> {
        Some(self.packet.interface)
    }

    #[inline]
    fn layer(&self, layer: LayerId) -> Option<Layer> {
        self.layers.get(layer.0 as usize).copied().flatten()
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.packet.data
    }

    fn depth(&self, protocol: ProtocolId, run_below: Option<LayerId>) -> u64 {
        layers::depth(self.path, protocol, run_below.map(|l| self.layer(l)), self.kinds)
    }

    fn input(&self, _column: u32) -> Result<&Value, Lack> {
        Err(Lack::Absent)
    }
}

/// Nothing but a time: what bounds of ordered columns follow from.
pub(crate) struct TimeEnv {
    /// Nanoseconds since the epoch.
    pub(crate) time_ns: u64,
}

impl Env for TimeEnv {
    fn meta(&self, meta: Meta) -> Option<u64> {
        match meta {
            Meta::Time => Some(self.time_ns / NS_PER_S),
            Meta::Timestamp => Some(self.time_ns),
            _ => None,
        }
    }

    fn interface(&self) -> Option<&Value> {
        None
    }

    fn layer(&self, _layer: LayerId) -> Option<Layer> {
        None
    }

    fn data(&self) -> &[u8] {
        &[]
    }

    fn depth(&self, _protocol: ProtocolId, _run_below: Option<LayerId>) -> u64 {
        0
    }

    fn input(&self, _column: u32) -> Result<&Value, Lack> {
        Err(Lack::Absent)
    }
}

/// A tuple: the columns that are known.
pub(crate) struct TupleEnv<'a, T: ?Sized>(pub(crate) &'a T);

/// Columns by index.
pub(crate) trait Columns {
    /// Column `column`, or why there is none.
    fn column(&self, column: usize) -> Result<&Value, Lack>;
}

impl Columns for [Value] {
    fn column(&self, column: usize) -> Result<&Value, Lack> {
        self.get(column).ok_or(Lack::Absent)
    }
}

/// Some columns are known, as in a punctuation.
impl Columns for [Result<Value, Lack>] {
    fn column(&self, column: usize) -> Result<&Value, Lack> {
        self.get(column).ok_or(Lack::Absent)?.as_ref().map_err(|lack| *lack)
    }
}

/// Bounds of a punctuation.
impl Columns for [(u32, Value)] {
    fn column(&self, column: usize) -> Result<&Value, Lack> {
        let found = self.iter().find(|(index, _)| *index as usize == column);
        found.map(|(_, value)| value).ok_or(Lack::Absent)
    }
}

impl<T: Columns + ?Sized> Env for TupleEnv<'_, T> {
    fn meta(&self, _meta: Meta) -> Option<u64> {
        None
    }

    fn interface(&self) -> Option<&Value> {
        None
    }

    fn layer(&self, _layer: LayerId) -> Option<Layer> {
        None
    }

    fn data(&self) -> &[u8] {
        &[]
    }

    fn depth(&self, _protocol: ProtocolId, _run_below: Option<LayerId>) -> u64 {
        0
    }

    #[inline]
    fn input(&self, column: u32) -> Result<&Value, Lack> {
        self.0.column(column as usize)
    }
}
