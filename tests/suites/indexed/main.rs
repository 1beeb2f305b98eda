//! Queries that an index lets read less: the rows are those of a full scan, and what is read is what was said.

mod command;
mod compared;
mod damage;
mod made;
mod queries;
mod rows;
