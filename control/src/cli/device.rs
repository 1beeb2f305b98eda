//! `wiretable device`: the devices of the control plane.

use clap::{Args, Subcommand};

use super::Format;
use super::db::DatabaseArgs;

/// Shows and checks the devices of the control plane.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  wiretable device list
  wiretable device show nic
  wiretable device reconcile nic     failed commands again, then a full check"
)]
pub struct DeviceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeviceCommand,
}

/// What to do with devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// All devices: objects, drift, commands that wait or have failed
    List {
        /// Form of the rows.
        #[command(flatten)]
        shown: Shown,
    },
    /// A device's objects: what is wanted, what it says it is, and what is under way
    Show {
        /// The device
        device: String,
        /// Only what is not as wanted
        #[arg(long)]
        drift: bool,
        /// Form of the rows.
        #[command(flatten)]
        shown: Shown,
    },
    /// Try failed commands again, ask the device what it is, and mend what is not as wanted
    Reconcile {
        /// The device
        device: String,
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
}

/// How rows are shown, and of which database.
#[derive(Debug, Args)]
pub struct Shown {
    /// Form of the rows [default: table on a terminal, else csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Which database.
    #[command(flatten)]
    pub place: DatabaseArgs,
}
