//! From syntax trees to a plan the engine can run: bind, infer ordering, rewrite, split, lower.
//!
//! Pure: no clock, file, thread or kernel.

pub mod bind;
pub mod bpf;
mod compile;
pub mod explain;
pub mod ir;
pub mod logical;
pub mod lower;
pub mod parse_spec;
pub mod physical;
pub mod split;
pub mod text;

pub use bind::InterfaceInfo;
pub use bpf::check_pcap_filter;
pub use compile::{CompileInput, Compiled, compile};
pub use explain::{ExplainOptions, explain};
