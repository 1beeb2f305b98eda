//! `wiretable db`: the control plane's database.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `wiretable db`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = DB_HELP)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DbCommand,
}

const DB_HELP: &str = "\
Examples:
  wiretable db start                       a private cluster, made if there is none, migrated; prints its URL
  psql \"$(wiretable db url)\"
  wiretable db migrate --database-url postgres://postgres@db.example/net
  wiretable db stop";

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Make a private cluster if there is none, start it, bring its schema up to date, print its URL
    Start {
        /// Which cluster.
        #[command(flatten)]
        place: ClusterArgs,
        /// Listen on this address too (with passwords); otherwise only its own socket leads in
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Stop the private cluster; running transactions are rolled back
    Stop {
        /// Which cluster.
        #[command(flatten)]
        place: ClusterArgs,
    },
    /// Say whether it runs and what its schema lacks; exit 1 when it does not run
    Status {
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
    },
    /// Print the URL of the private cluster's database
    Url {
        /// Which cluster.
        #[command(flatten)]
        place: ClusterArgs,
    },
    /// Bring the schema up to date
    Migrate {
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
        /// Longest wait for a lock, in seconds; then nothing is changed
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
        lock_timeout: u32,
    },
    /// Drop the database with everything in it, and make an empty one
    Reset {
        /// Which database.
        #[command(flatten)]
        place: DatabaseArgs,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

/// A private cluster.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Where the cluster lies [default: /var/lib/wiretable/db for root, else ~/.local/share/wiretable/db]
    #[arg(long, value_name = "DIR", env = "WIRETABLE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Who runs it when root starts it, as Postgres refuses root [default: postgres]
    #[arg(long, value_name = "USER")]
    pub db_user: Option<String>,
}

/// A private cluster, or any database.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Use this database instead of a private one
    #[arg(long, value_name = "URL", env = "WIRETABLE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}
