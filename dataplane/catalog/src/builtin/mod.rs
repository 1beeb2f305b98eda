//! What every catalog has: the built-in protocols, written in the DDL, and the functions.

pub mod functions;
