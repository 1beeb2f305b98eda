//! One command per file.

pub mod ctl;
pub mod db;
pub mod device;
pub mod explain;
pub mod functions;
pub mod index;
pub mod policy;
pub mod query;
pub mod run;
pub mod schema;
pub mod serve;
pub mod shell;
pub mod sql;
pub mod store;
pub mod why;
