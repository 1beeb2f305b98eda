//! Function declarations and interface sets.

use std::fmt::{self, Display, Formatter};

use super::query::Attrs;
use super::{BareOrQuoted, Commas};
use crate::ast_decl::{
    FunctionDecl, FunctionFile, FunctionKind, FunctionParam, InterfacePred, InterfaceSet,
    InterfaceSets, Modifier, ParamBinding, TypeRef,
};
use crate::prec;
use crate::span::Ident;

impl Display for FunctionFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.decls.iter().try_for_each(|decl| writeln!(f, "{decl};"))
    }
}

/// `[PARTIAL, COST HIGH] `, or nothing.
struct Modifiers<'a>(&'a [Modifier]);

impl Display for Modifiers<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "[{}] ", Commas(self.0)) }
    }
}

impl Display for FunctionDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        let mods = Modifiers(&self.modifiers);
        match &self.kind {
            FunctionKind::Fun { returns, params } => {
                write!(f, "{returns} FUN {mods}{name}({})", Commas(params))
            }
            FunctionKind::Pred { params } => write!(f, "PRED {mods}{name}[{}]", Commas(params)),
            FunctionKind::Udaf { returns, storage, params } => {
                write!(f, "{returns} UDAF {mods}{name} {storage} ({})", Commas(params))
            }
            FunctionKind::Extractor { returns, udaf, function, params } => {
                write!(f, "{returns} EXTR {mods}{name} {udaf} {function} ({})", Commas(params))
            }
            FunctionKind::State { storage } => write!(f, "{storage} STATE {name}"),
            FunctionKind::Stateful { returns, state, params } => {
                write!(f, "{returns} SFUN {mods}{name} {state} ({})", Commas(params))
            }
        }
    }
}

impl Display for Modifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl Display for TypeRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, Attrs(&self.attrs))
    }
}

impl Display for FunctionParam {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.ty.fmt(f)?;
        f.write_str(match self.binding {
            ParamBinding::Value => "",
            ParamBinding::Handle => " HANDLE",
            ParamBinding::Const => " CONST",
        })?;
        if self.class {
            f.write_str(" CLASS")?;
        }
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl Display for InterfaceSets {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.sets.iter().try_for_each(|set| writeln!(f, "{set};"))
    }
}

impl Display for InterfaceSet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.predicate)
    }
}

struct At<'a>(u8, &'a InterfacePred);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let precedence = match self.1 {
            InterfacePred::Or(..) => prec::OR,
            InterfacePred::And(..) => prec::AND,
            InterfacePred::Not(_) => prec::NOT,
            _ => prec::PRIMARY,
        };
        if precedence < self.0 { write!(f, "({})", self.1) } else { self.1.fmt(f) }
    }
}

impl Display for InterfacePred {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(a, b) => write!(f, "{} OR {}", At(prec::OR, a), At(prec::AND, b)),
            Self::And(a, b) => write!(f, "{} AND {}", At(prec::AND, a), At(prec::NOT, b)),
            Self::Not(a) => write!(f, "NOT {}", At(prec::NOT, a)),
            Self::Contains { property, value } => {
                write!(f, "Contains[{}, {}]", Text(property), Text(value))
            }
            Self::Equals { property, value } => {
                write!(f, "Equals[{}, {}]", Text(property), Text(value))
            }
            Self::Exists { property } => write!(f, "Exists[{}]", Text(property)),
        }
    }
}

/// A property name or value.
struct Text<'a>(&'a Ident);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        BareOrQuoted(&self.0.text).fmt(f)
    }
}
