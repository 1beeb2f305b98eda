//! Protocol declarations.

use std::fmt::{self, Display, Formatter};

use super::expr::Scalar;
use super::query::Attrs;
use super::{Commas, Quoted};
use crate::ast::{
    DdlFile, DdlItem, EnumDecl, Expr, ExprKind, FieldDecl, OperatorView, PlaceDecl, ProtocolDecl,
    ProtocolItem, RecordFormat, StreamDecl, UnpackFcn,
};
use crate::span::Ident;

impl Display for DdlFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        super::separated(f, &self.items, "\n\n")?;
        f.write_str("\n")
    }
}

impl Display for DdlItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enum(decl) => decl.fmt(f),
            Self::Protocol(decl) => decl.fmt(f),
            Self::Stream(decl) => decl.fmt(f),
            Self::Unpack(functions) => {
                f.write_str("UNPACK_FCNS {\n")?;
                functions.iter().try_for_each(|function| writeln!(f, "    {function};"))?;
                f.write_str("}")
            }
            Self::OperatorView(view) => view.fmt(f),
        }
    }
}

/// An integer in the form the parser reads at any size.
struct Int(u64);

impl Display for Int {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let n = self.0;
        if n < 256 { write!(f, "{n}") } else { write!(f, "0x{n:04X}") }
    }
}

impl Display for EnumDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "ENUM {} : {} {{", self.name, self.base)?;
        for (i, (name, value)) in self.members.iter().enumerate() {
            let comma = if i + 1 < self.members.len() { "," } else { "" };
            writeln!(f, "    {name} = {}{comma}", Int(*value))?;
        }
        f.write_str("}")
    }
}

impl Display for ProtocolDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PROTOCOL {}", self.name)?;
        if !self.parents.is_empty() {
            write!(f, " ({})", Commas(&self.parents))?;
        }
        write!(f, "{}", Unpack(&self.unpack))?;
        for over in &self.over {
            write!(f, " OVER {}", over.parent)?;
            if let Some(when) = &over.when {
                write!(f, " WHEN {when}")?;
            }
        }
        if let Some((repeat, _)) = self.repeat {
            write!(f, " REPEAT {repeat}")?;
        }
        if let Some(record) = &self.record {
            write!(f, " RECORD {record}")?;
        }
        f.write_str(" {\n")?;
        for item in &self.items {
            writeln!(f, "    {item};")?;
        }
        f.write_str("}")
    }
}

impl Display for RecordFormat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "FIXED {bytes}"),
            Self::Variable(length) => write!(f, "VARIABLE {}", Scalar(length)),
            Self::Framed(pattern) => write!(f, "FRAMED {}", Quoted(pattern)),
        }
    }
}

/// ` [a, b]`, or nothing.
struct Unpack<'a>(&'a [Ident]);

impl Display for Unpack<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " [{}]", Commas(self.0)) }
    }
}

/// A scalar before a bracket, which must not be read as the arguments of a call.
struct BeforeBracket<'a>(&'a Expr, bool);

impl Display for BeforeBracket<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(expr, before_bracket) = self;
        if *before_bracket && !matches!(expr.kind, ExprKind::Literal(_)) {
            write!(f, "({expr})")
        } else {
            Scalar(expr).fmt(f)
        }
    }
}

impl Display for ProtocolItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderLength { length, min, max } => {
                write!(f, "HEADER LENGTH {}", Scalar(length))?;
                if let Some(min) = min {
                    write!(f, " MIN {min}")?;
                }
                if let Some(max) = max {
                    write!(f, " MAX {max}")?;
                }
                Ok(())
            }
            Self::Check(pred) => write!(f, "CHECK {pred}"),
            Self::Field(field) => field.fmt(f),
        }
    }
}

impl Display for FieldDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let refine = if self.refine { "REFINE " } else { "" };
        write!(f, "{refine}{} {}", self.ty, self.name)?;
        if let Some(alias) = &self.alias {
            write!(f, " ALIAS {alias}")?;
        }
        let bracket = !self.attrs.is_empty() || !self.unpack.is_empty();
        match &self.place {
            PlaceDecl::At { at, bits, length, little } => {
                let last = bracket && bits.is_none() && length.is_none() && !little;
                write!(f, " AT {}", BeforeBracket(at, last))?;
                if let Some((from, width)) = bits {
                    write!(f, " BITS {from}:{width}")?;
                }
                if let Some(length) = length {
                    write!(f, " LENGTH {}", BeforeBracket(length, bracket && !little))?;
                }
                if *little {
                    f.write_str(" LITTLE")?;
                }
            }
            PlaceDecl::Derived(expr) => write!(f, " = {}", BeforeBracket(expr, bracket))?,
            PlaceDecl::Accessor(name) => write!(f, " {name}")?,
            PlaceDecl::Abstract => {}
        }
        write!(f, "{}{}", Attrs(&self.attrs), Unpack(&self.unpack))
    }
}

impl Display for StreamDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "STREAM {} {{\n{}}}", self.name, Fields(&self.fields, "    "))
    }
}

/// One field per line with an indent.
struct Fields<'a>(&'a [FieldDecl], &'a str);

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|field| writeln!(f, "{}{field};", self.1))
    }
}

impl Display for UnpackFcn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.routine, self.cost)
    }
}

impl Display for OperatorView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "OPERATOR_VIEW {} {{", self.name)?;
        writeln!(f, "    OPERATOR (file {})", Quoted(&self.file))?;
        writeln!(f, "    FIELDS {{\n{}    }}", Fields(&self.fields, "        "))?;
        f.write_str("    SUBQUERIES {\n")?;
        for (name, fields) in &self.subqueries {
            write!(f, "        {name} (")?;
            super::separated(f, fields, "; ")?;
            f.write_str(");\n")?;
        }
        writeln!(f, "    }}\n    SELECTION_PUSHDOWN{}", Attrs(&self.pushdown))?;
        f.write_str("}")
    }
}
