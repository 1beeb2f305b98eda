//! `wiretable top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse_duration;

/// Shows a live run as it goes.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The run: the path of its socket, or its name among those of this user [default: the only one there is]
    #[arg(short = 's', long = "socket", value_name = "PATH|NAME")]
    pub socket: Option<PathBuf>,
    /// How often the figures are read
    #[arg(short = 'd', long = "delay", value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub delay: Duration,
    /// Print so many readings as text, and end; also where there is no terminal
    #[arg(short = 'n', long = "readings", value_name = "N")]
    pub readings: Option<u32>,
}
