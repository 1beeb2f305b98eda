//! `wiretable doctor`.

use clap::{Args, ValueEnum};

/// Says what this host can do, and how to mend what is in the way.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is changed. Exit status: 0 all is well, or could be better; 2 something is in the way.

Examples:
  wiretable doctor
  wiretable doctor -i eth0 -i eth1
  wiretable doctor --format json | jq '.[] | select(.state != \"ok\")'")]
pub struct DoctorArgs {
    /// Look at this interface; repeat for several [default: all that are Ethernet and up]
    #[arg(short = 'i', long = "interface", value_name = "IF")]
    pub interface: Vec<String>,
    /// How it is told
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub format: DoctorFormat,
}

/// How findings are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people
    Text,
    /// An array of findings: subject, check, state (ok, note, advice, problem), found, remedy
    Json,
}
