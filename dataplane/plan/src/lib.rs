//! From syntax trees to a plan the engine can run: bind, infer ordering, rewrite, split, lower.
//!
//! Pure: no clock, file, thread or kernel.
//!
//! ```text
//! text ─ wt_lang ─▶ tree ─ bind ─▶ LogicalPlan ─ split (pushdown, lower) ─▶ PhysicalPlan: LFTA programs + HFTA graph
//! ```
//!
//! | concern | module |
//! |---|---|
//! | names, types, orderings, closing rules | [`bind`] |
//! | what runs next to the interface and what above, memory bounds, prefilter | [`split`] |
//! | expressions and headers to IR nodes, shared ones once | [`lower`], [`parse_spec`] |
//! | what becomes of the tuples of an LFTA in compiled code | [`shape`](mod@shape) |
//! | which filters of a batch are looked up together there | [`lookup`] |
//! | which ones are asked of many packets at once | [`vectors`](mod@vectors) |
//! | which ways a header walk can go, for those who make code of it | [`paths`] |
//! | tcpdump filters to IR nodes | [`bpf`] |
//! | the plan as text | [`explain`](mod@explain) |
//! | what it costs, and whether a machine carries it | [`capacity`] |
//! | which packets it can need, for readers that have an index | [`wanted`](mod@wanted) |

pub mod bind;
pub mod bpf;
pub mod capacity;
mod compile;
pub mod explain;
pub mod ir;
pub mod logical;
pub mod lookup;
pub mod lower;
pub mod parse_spec;
pub mod paths;
pub mod physical;
pub mod shape;
pub mod split;
#[cfg(test)]
mod testing;
pub mod text;
pub mod vectors;
pub mod walk;
pub mod wanted;
pub mod watchlist;

pub use bind::{INTERFACE_TYPE, InterfaceInfo, STORE_TYPE};
pub use bpf::check_pcap_filter;
pub use compile::{CompileInput, Compiled, compile};
pub use explain::{ExplainOptions, explain};
