//! `wiretable policy`: what the control plane does by itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::db::DatabaseArgs;
use super::device::Shown;

/// Shows and changes the policies of the control plane: triggers, and the procedures that they call.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  wiretable policy list
  wiretable policy apply flood.json --dry-run     shows what it would make
  wiretable policy apply flood.json
  wiretable policy show lab.block                 the procedure as it is now
  wiretable policy activate reds.block            that of a tenant, by a second person
  wiretable policy drop result.flood hot"
)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// All triggers: table, events, condition, and the procedure with its version
    List {
        /// Form of the rows.
        #[command(flatten)]
        shown: Shown,
    },
    /// A procedure: its text as it is now, or as it was
    Show {
        /// The procedure, as schema.name
        procedure: String,
        /// Of this version
        #[arg(long, value_name = "N")]
        version: Option<i32>,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// The versions of a procedure: when, and by which login
    Versions {
        /// The procedure, as schema.name
        procedure: String,
        /// Form of the rows.
        #[command(flatten)]
        shown: Shown,
    },
    /// Make what a file says: a list of calls (createSchema, createTable, createStoredProcedure, createTrigger, …), all of them or none
    Apply {
        /// JSON, `-` for standard input
        file: PathBuf,
        /// Do it, show the events and commands it makes, and take it back
        #[arg(long)]
        dry_run: bool,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// Turn a tenant's procedure on, as it is now; its author cannot
    Activate {
        /// The procedure, as schema.name
        procedure: String,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// Turn a procedure off: triggers do not call it any more
    Deactivate {
        /// The procedure, as schema.name
        procedure: String,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// Remove a trigger; the procedure stays
    Drop {
        /// Its table, as schema.table
        table: String,
        /// Its name
        name: String,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
}
