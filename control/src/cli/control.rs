//! The control plane from the shell: `why`, `sql`, `call`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Format;
use super::db::DatabaseArgs;

/// `wiretable why`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable why net.nodes web-7                       why is this row as it is?
  wiretable why net.block nic,198.51.100.0/24         columns of a key are joined by commas
  wiretable why result.flood edge-1,1795651200,12     a batch: appliance, epoch, sequence number
  wiretable why 4711                                  why was this command sent to a device?
  wiretable why 4711 --format dot | dot -Tsvg > why.svg")]
pub struct WhyArgs {
    /// A table, as schema.table, or the number of a command
    #[arg(value_name = "TABLE|COMMAND")]
    pub object: String,
    /// The row's primary key
    pub key: Option<String>,
    /// Show everything that the same cause led to
    #[arg(long)]
    pub all: bool,
    /// How it is shown
    #[arg(long, value_enum, default_value_t = WhyFormat::Tree)]
    pub format: WhyFormat,
    /// Which database.
    #[command(flatten)]
    pub place: DatabaseArgs,
}

/// Forms of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhyFormat {
    /// Causes above, effects below
    Tree,
    /// One array of events
    Json,
    /// A graph for Graphviz
    Dot,
    /// W3C PROV (PROV-JSON)
    Prov,
}

/// `wiretable sql`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable sql 'SELECT * FROM net.drift'
  wiretable sql 'SELECT srcip, sum(bytes) FROM result.talkers GROUP BY 1 ORDER BY 2 DESC LIMIT 10' --format csv
  wiretable sql -f policy.sql")]
pub struct SqlArgs {
    /// Statements, separated by semicolons: all of them or none
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    pub text: Option<String>,
    /// Read the statements from a file, `-` for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Form of the rows [default: table on a terminal, else csv]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Which database.
    #[command(flatten)]
    pub place: DatabaseArgs,
}

/// `wiretable call`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wiretable call lab.set_rate site=berlin rate=12.5
  wiretable call lab.block prefixes='[\"198.51.100.0/24\"]' --dry-run")]
pub struct CallArgs {
    /// The procedure, as schema.name
    pub procedure: String,
    /// Its arguments: JSON where it reads as JSON, else text
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Do it, show the events and commands it makes, and take it back
    #[arg(long)]
    pub dry_run: bool,
    /// Which database.
    #[command(flatten)]
    pub place: DatabaseArgs,
}
