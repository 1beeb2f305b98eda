//! `wiretable ctl`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Format, parse_duration};

/// Speaks with a live run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable ctl list
  wiretable ctl add --name syns 'SELECT time, srcIP FROM tcp WHERE syn AND NOT ack_flag'
  wiretable ctl set limit=100
  wiretable ctl watch bad --add 198.51.100.7,scanner --remove 192.0.2.9
  wiretable ctl block add 198.51.100.0/24 --for 10m
  wiretable ctl ledger
  wiretable ctl -s edge save alarm-7 --from -30s --to +10s
")]
pub struct CtlArgs {
    /// The run: the path of its socket, its name among those of this user, or the store of a recorder [default: the only one there is]
    #[arg(short = 's', long = "socket", value_name = "PATH|NAME")]
    pub socket: Option<PathBuf>,
    /// What is asked.
    #[command(subcommand)]
    pub ask: Ask,
}

/// What a run can be asked.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Names and texts of the queries that run
    List,
    /// The books as they stand: where every packet and tuple went
    Ledger {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The books as Prometheus text
    Metrics,
    /// Close the windows that are open: their rows leave now
    Flush,
    /// Add a query; no packet is lost on the way
    Add(NewQueryArgs),
    /// Put a query in the place of the one of its name; windows of the old one end
    Replace(NewQueryArgs),
    /// Remove a query; its windows end
    Remove {
        /// Its name
        name: String,
    },
    /// Save the packets of a time, of a recorder: to DIR/saved/NAME.pcapng what `record --ring 60s` keeps, else a pin in its store
    Save {
        /// What they are called
        name: String,
        /// From this time on: -30s for 30 seconds ago, 2026-11-21T10:00:00Z, or seconds since the epoch
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        from: String,
        /// Up to this time, which may be still to come: +10s
        #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
        to: String,
    },
    /// Drop packets of these sources in the driver, once they are counted
    Block {
        /// What is asked of the block list.
        #[command(subcommand)]
        ask: BlockAsk,
    },
    /// The records of a watchlist; with an option, others for it: all at once, and queries that read it go on with what they hold
    Watch(WatchArgs),
    /// Set parameters; queries that use them go on with what they hold
    Set {
        /// NAME=VALUE
        #[arg(required = true, value_name = "NAME=VALUE")]
        params: Vec<String>,
    },
}

/// What a watchlist is to have.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The watchlist
    pub name: String,
    /// The records of this file and no others, `-` for standard input; they are read now, and held by the run
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["add", "remove", "reread"])]
    pub file: Option<PathBuf>,
    /// A record more, as a line of its file; it takes the place of those with its key
    #[arg(long, value_name = "RECORD")]
    pub add: Vec<String>,
    /// Without this record, or those with this key
    #[arg(long, value_name = "RECORD|KEY")]
    pub remove: Vec<String>,
    /// What its own file has, read anew
    #[arg(long, conflicts_with_all = ["add", "remove"])]
    pub reread: bool,
}

/// What the block list of a run can be asked.
#[derive(Debug, Subcommand)]
pub enum BlockAsk {
    /// Block a prefix
    Add {
        /// An address or a prefix, e.g. 198.51.100.0/24
        prefix: String,
        /// For so long, e.g. 10m [default: until it is removed, or the run ends]
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        lasts: Option<Duration>,
    },
    /// Lift the block of a prefix
    Remove {
        /// The prefix as it was given
        prefix: String,
    },
    /// Prefixes that are blocked, and what was dropped of each
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// A query for a run.
#[derive(Debug, Args)]
pub struct NewQueryArgs {
    /// The query text
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    pub text: Option<String>,
    /// Read it from a file, `-` for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Its name, unless the text says it
    #[arg(long)]
    pub name: Option<String>,
    /// Write its rows to a file of the run's host; else they go where those of a query without a file go
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of its rows
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}
