//! Results that go to Postgres.

use std::path::PathBuf;

use clap::Args;

/// How rows get to Postgres.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Results in Postgres (-o postgres://…)")]
pub struct SinkArgs {
    /// Who sends: part of every row's key [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub appliance: Option<String>,
    /// Where rows wait until the database has them [default: /var/lib/wiretable/spool for root, else ~/.local/state/wiretable/spool]
    #[arg(long, value_name = "DIR", env = "WIRETABLE_SPOOL")]
    pub spool: Option<PathBuf>,
    /// Most bytes that may wait [default: 1GiB]
    #[arg(long, value_name = "BYTES", value_parser = super::parse_bytes)]
    pub spool_max: Option<u64>,
    /// Drop rows older than so many days, e.g. 30d [default: keep them]
    #[arg(long, value_name = "DAYS", value_parser = parse_keep)]
    pub keep: Option<u32>,
    /// How many seconds the end of the run waits for a database that is away [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub wait: Option<u32>,
}

impl SinkArgs {
    /// An option that is given on the command line; the spool may come from the environment and does not count.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--appliance", self.appliance.is_some()),
            ("--spool-max", self.spool_max.is_some()),
            ("--keep", self.keep.is_some()),
            ("--wait", self.wait.is_some()),
        ];
        options.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// Reads `30d`: as results lie in daily partitions, whole days.
pub fn parse_keep(text: &str) -> Result<u32, String> {
    match text.strip_suffix('d').and_then(|n| n.parse().ok()) {
        Some(days @ 1..=36_500) => Ok(days),
        _ => {
            Err(format!("`{text}` is not a number of days from 1 to 36500; write for example 30d"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read() {
        assert_eq!(parse_keep("30d"), Ok(30));
        for text in ["", "30", "0d", "-1d", "1.5d", "1h", "99999d"] {
            assert!(parse_keep(text).is_err(), "{text}");
        }
    }
}
