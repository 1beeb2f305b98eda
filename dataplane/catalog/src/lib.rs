//! What can be queried: types, values, ordering properties, protocols as data, functions.
//!
//! Depends on `wt-lang` for one thing: the protocol DDL shares its expression grammar with GSQL.

pub mod arith;
pub mod builtin;
pub mod ddl;
pub mod display;
pub mod function;
pub mod layout;
pub mod lookup;
pub mod ordering;
pub mod promote;
pub mod protocol;
pub mod resolve;
pub mod text;
pub mod types;
pub mod value;

pub use function::Function;
pub use lookup::NameError;
pub use ordering::Ordering;
pub use protocol::{Enumeration, Field, FieldRef, Over, PExpr, Place, Protocol, ProtocolId};
pub use types::Type;
pub use value::Value;

/// Everything that can be queried: built-in protocols and functions, and a user's own DDL.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Protocols; [`ProtocolId`] indexes them.
    pub protocols: Vec<Protocol>,
    /// Enumerations; [`Field::enumeration`] indexes them.
    pub enumerations: Vec<Enumeration>,
    /// Functions, all overloads.
    pub functions: Vec<Function>,
    /// OVER clauses in file order, those of a user's files behind the built-in ones; [`Protocol::children`] is derived
    /// from them.
    pub over: Vec<Over>,
}
