//! Text in, trees out: the GSQL and protocol-DDL front end.
//!
//! Pure: no file, clock or thread. [`parse_gsql`], [`parse_ddl`] and [`parse_expr`] return the tree
//! and every diagnostic they found; the printer turns a tree back into text that parses to an equal tree.

pub mod ast;
pub mod diag;
pub mod span;

pub use diag::{Diagnostic, Severity};
pub use span::{Ident, Span};
