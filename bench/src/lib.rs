//! Measuring Wiretable: traces, hand-written programs that set the ratio 1.0, peers, and the runs that compare them.
//!
//! The `wiretable` command is run as its users run it, as a child process; nothing here links its engine.

pub mod agree;
pub mod amount;
pub mod bound;
pub mod cache;
pub mod calibrate;
pub mod compare;
pub mod dbnet;
pub mod filters;
pub mod forms;
pub mod generate;
pub mod live;
pub mod machine;
pub mod peers;
pub mod program;
pub mod report;
pub mod special;
pub mod statistics;
pub mod svg;
pub mod sys;
pub mod task;
pub mod trace;
