//! What can be wrong with an expression once names and types are right.

use thiserror::Error;

/// Why an expression has no IR.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LowerError {
    /// Derived fields nest too deep, or in a circle.
    #[error("field `{protocol}.{field}` is derived through more than {limit} other fields")]
    DerivedTooDeep {
        /// Its protocol.
        protocol: String,
        /// Its name.
        field: String,
        /// The limit.
        limit: u32,
    },
    /// No protocol that stands in a packet gives the field a place.
    #[error("no header gives field `{protocol}.{field}` a place")]
    NoPlace {
        /// Its protocol.
        protocol: String,
        /// Its name.
        field: String,
    },
    /// A field of a text record: those are read by record sources, not by packet programs.
    #[error("field `{protocol}.{field}` belongs to text records, which have no packet program")]
    TextField {
        /// Its protocol.
        protocol: String,
        /// Its name.
        field: String,
    },
    /// A packet field above a point where only tuples flow.
    #[error("a packet field is read above the selection that ships it")]
    FieldInTuple,
    /// A stream column where only packets are.
    #[error("a stream column is read where only packets are")]
    ColumnInPacket,
    /// An interface lacks a property.
    #[error("interface `{interface}` has no property `{property}`")]
    NoProperty {
        /// The interface.
        interface: String,
        /// The property.
        property: String,
    },
    /// A handle argument that is neither a constant nor a parameter.
    #[error(
        "argument {argument} of `{function}` must be a literal, a parameter or an interface property"
    )]
    HandleArgument {
        /// The function.
        function: String,
        /// Its argument, from 1.
        argument: usize,
    },
    /// A tcpdump filter that libpcap or the translation refuses.
    #[error("{0}")]
    Bpf(#[from] crate::bpf::BpfError),
}
