//! Text in, trees out: the GSQL and protocol-DDL front end.
//!
//! Pure: no file, clock or thread. [`parse_gsql`], [`parse_ddl`] and [`parse_expr`] return the tree
//! and every diagnostic they found; the printer turns a tree back into text that parses to an equal
//! tree. The grammar is written down in `grammar.ebnf` beside this crate's manifest.

pub mod ast;
pub mod ast_decl;
pub mod diag;
mod keyword;
mod lexer;
mod literal;
mod parser;
mod prec;
mod print;
mod render;
pub mod span;
pub mod suggest;

pub use diag::{Diagnostic, Severity};
pub use keyword::is_reserved;
pub use lexer::TEXT_BYTES_MAX;
pub use literal::{format_duration, format_time};
pub use parser::{
    ERRORS_MAX, HEIGHT_MAX, NESTING_MAX, Parsed, SUBQUERIES_MAX, parse_ddl, parse_expr,
    parse_functions, parse_gsql, parse_interface_sets,
};
pub use render::render;
pub use span::{Ident, Span};
