//! The syntax trees of function declarations (gsql.md §20.1) and interface sets (gsql.md §8).

use crate::ast::{Attr, SpanEq};
use crate::span::Ident;

/// A file of function declarations.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionFile {
    /// In file order.
    pub decls: Vec<FunctionDecl>,
}

/// One declaration, ended by `;`.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionDecl {
    /// The declared name.
    pub name: Ident,
    /// `[PARTIAL, COST HIGH]`; empty when absent.
    pub modifiers: Vec<Modifier>,
    /// What is declared.
    pub kind: FunctionKind,
    /// The whole declaration.
    pub span: SpanEq,
}

/// The kinds of declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionKind {
    /// `type FUN [mods] name (params)`
    Fun {
        /// Return type.
        returns: TypeRef,
        /// Parameters.
        params: Vec<FunctionParam>,
    },
    /// `PRED [mods] name [params]`
    Pred {
        /// Parameters.
        params: Vec<FunctionParam>,
    },
    /// `type UDAF [mods] name storage (params)`
    Udaf {
        /// Return type.
        returns: TypeRef,
        /// Type of the running state: `fstringN` or a scalar type.
        storage: Ident,
        /// Parameters.
        params: Vec<FunctionParam>,
    },
    /// `type EXTR [mods] name udaf function (params)`
    Extractor {
        /// Return type.
        returns: TypeRef,
        /// The aggregate it reads.
        udaf: Ident,
        /// The function applied to the aggregate's result.
        function: Ident,
        /// Parameters.
        params: Vec<FunctionParam>,
    },
    /// `storage STATE name`
    State {
        /// Type of the state.
        storage: Ident,
    },
    /// `type SFUN [mods] name state (params)`
    Stateful {
        /// Return type.
        returns: TypeRef,
        /// The state it shares.
        state: Ident,
        /// Parameters.
        params: Vec<FunctionParam>,
    },
}

/// `COST HIGH`, `PARTIAL`, `SUBAGGR avg_l`.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifier {
    /// Its name.
    pub name: Ident,
    /// Its value, where it takes one.
    pub value: Option<Ident>,
}

/// A type with attributes: `uint (increasing)`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeRef {
    /// Type name.
    pub name: Ident,
    /// Ordering and subtype.
    pub attrs: Vec<Attr>,
}

/// `type [attrs] [HANDLE | CONST] [CLASS] [name]`
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionParam {
    /// Its type.
    pub ty: TypeRef,
    /// How the argument is bound.
    pub binding: ParamBinding,
    /// `CLASS`: predicates with equal CLASS arguments are evaluated together.
    pub class: bool,
    /// A name, for documentation only.
    pub name: Option<Ident>,
}

/// How an argument is bound (gsql.md §20.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamBinding {
    /// Evaluated per tuple.
    Value,
    /// `HANDLE`: registered once at start.
    Handle,
    /// `CONST`: any expression of literals, parameters and interface properties.
    Const,
}

/// A file of interface sets.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceSets {
    /// In file order.
    pub sets: Vec<InterfaceSet>,
}

/// `name: predicate`
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceSet {
    /// Set name, used as `[name].protocol`.
    pub name: Ident,
    /// Which interfaces belong to it.
    pub predicate: InterfacePred,
    /// The whole entry.
    pub span: SpanEq,
}

/// A predicate over the properties of an interface.
#[derive(Clone, Debug, PartialEq)]
pub enum InterfacePred {
    /// `AND`
    And(Box<InterfacePred>, Box<InterfacePred>),
    /// `OR`
    Or(Box<InterfacePred>, Box<InterfacePred>),
    /// `NOT`
    Not(Box<InterfacePred>),
    /// `Contains[prop,value]`: some value equals.
    Contains {
        /// Property.
        property: Ident,
        /// Value, unquoted.
        value: Ident,
    },
    /// `Equals[prop,value]`: exactly one value, and it equals.
    Equals {
        /// Property.
        property: Ident,
        /// Value, unquoted.
        value: Ident,
    },
    /// `Exists[prop]`: the property is defined.
    Exists {
        /// Property.
        property: Ident,
    },
}
