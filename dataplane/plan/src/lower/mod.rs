//! Lowering: bound expressions and protocol declarations become IR nodes.
//!
//! One [`Dag`] holds the nodes of a whole program and shares equal ones, so that what several queries of a batch
//! compute is computed once. [`HeaderLower`] turns fields into loads, [`PacketLower`] the expressions of an LFTA,
//! [`TupleLower`] those of an HFTA.

mod dag;
mod error;
mod field;
mod fold;
mod host;
mod narrow;
mod packet;
mod portable;
mod scalar;
mod tuple;

pub use dag::Dag;
pub use error::LowerError;
pub use field::{HeaderAt, HeaderLower, is_packet};
pub use fold::value_max;
pub use host::{PORTABLE_MEMBERS_MAX, reason as host_reason};
pub use narrow::{Narrowing, narrow};
pub use packet::{InterfaceEnv, PacketLower};
pub use tuple::TupleLower;
