//! From syntax trees to a plan the engine can run: bind, infer ordering, rewrite, split, lower.
//!
//! Pure: no clock, file, thread or kernel.

pub mod ir;
pub mod logical;
pub mod physical;
