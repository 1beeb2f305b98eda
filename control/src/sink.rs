//! Sinks that are no files: from arguments and batch files to a [`PostgresTarget`].

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;

use crate::cli::parse_bytes;
use crate::cli::sink::{SinkArgs, parse_keep};
use crate::db::connect::DatabaseUrl;
use crate::db::state_folder;
use crate::failure::Failure;
use crate::output::{PostgresTarget, digest, relation_of};
use crate::session::Traces;

/// Bound of a spool where none is given.
const SPOOL_BYTES_DEFAULT: u64 = 1 << 30;
/// Wait for a database that is away, at the end of a run.
const WAIT_S_DEFAULT: u32 = 60;

/// `[sink]` of a batch file, or `sink = { type = "postgres", … }` of a query, which goes before it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Kind of sink.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The database; else that of the environment.
    pub url: Option<String>,
    /// Table; else the query's name.
    pub table: Option<String>,
    /// Who sends.
    pub appliance: Option<String>,
    /// Folder of the spool.
    pub spool: Option<PathBuf>,
    /// Its bound.
    pub spool_max: Option<String>,
    /// Days to keep.
    pub keep: Option<String>,
    /// Seconds to wait at the end.
    pub wait: Option<u32>,
}

/// Settings of a sink, checked; the table is known with the query.
#[derive(Clone, Debug)]
pub struct PostgresSink {
    url: DatabaseUrl,
    table: Option<String>,
    args: SinkArgs,
}

impl PostgresConfig {
    /// These, and where they are silent, others.
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            kind: self.kind.or(other.kind),
            url: self.url.or(other.url),
            table: self.table,
            appliance: self.appliance.or(other.appliance),
            spool: self.spool.or(other.spool),
            spool_max: self.spool_max.or(other.spool_max),
            keep: self.keep.or(other.keep),
            wait: self.wait.or(other.wait),
        }
    }

    /// Checks the settings. Paths are relative to `base`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn checked(self, base: &Path) -> Result<PostgresSink, String> {
        match self.kind.as_deref() {
            Some("postgres") => {}
            Some(other) => {
                return Err(format!(
                    "unknown sink type `{other}`; known: postgres (files have a path instead)"
                ));
            }
            None => return Err("a sink needs a path, or type = \"postgres\"".to_owned()),
        }
        let url = self.url.or_else(|| std::env::var("WIRETABLE_DATABASE_URL").ok());
        let url =
            url.ok_or("the postgres sink has no url, and WIRETABLE_DATABASE_URL is not set")?;
        let args = SinkArgs {
            appliance: self.appliance,
            spool: self.spool.map(|p| base.join(p)),
            spool_max: self.spool_max.as_deref().map(parse_bytes).transpose()?,
            keep: self.keep.as_deref().map(parse_keep).transpose()?,
            wait: self.wait,
        };
        let url = DatabaseUrl::parse(&url).map_err(|e| e.to_string())?;
        Ok(PostgresSink { url, table: self.table, args })
    }
}

impl PostgresSink {
    /// The sink that `-o postgres://…` names.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn of_url(url: &str, args: &SinkArgs) -> Result<Self, Failure> {
        Ok(Self { url: DatabaseUrl::parse(url)?, table: None, args: args.clone() })
    }

    /// The target of a query's rows.
    ///
    /// # Errors
    /// When its name is too long for a table.
    pub fn target(&self, query: &str, replay: Option<u64>) -> Result<PostgresTarget, Failure> {
        let args = &self.args;
        Ok(PostgresTarget {
            url: self.url.clone(),
            relation: relation_of(self.table.as_deref().unwrap_or(query))?,
            appliance: args.appliance.clone().unwrap_or_else(host_name),
            spool: args
                .spool
                .clone()
                .unwrap_or_else(|| state_folder("spool", "XDG_STATE_HOME", ".local/state")),
            spool_bytes_max: args.spool_max.unwrap_or(SPOOL_BYTES_DEFAULT),
            keep: args.keep.map(|days| format!("{days} days")),
            patience: Duration::from_secs(u64::from(args.wait.unwrap_or(WAIT_S_DEFAULT))),
            replay: replay.map(|inputs| digest(format!("{inputs:x} {query}").as_bytes())),
        })
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// A digest of everything that the rows of a run follow from, when it can be repeated: the text, its parameters, and the files read, each with
/// its size and time of change. `None` when something comes from standard input.
pub fn replay_digest(
    text: &str,
    params: &[String],
    files: &[PathBuf],
    traces: &[Traces],
    lenient: bool,
) -> Option<u64> {
    let mut all = format!("{text}\0{params:?}\0{lenient}\0");
    let traced = traces.iter().flat_map(|t| t.files.iter().map(move |f| (&*t.interface, f)));
    for (interface, file) in files.iter().map(|f| ("", f)).chain(traced) {
        let path = std::fs::canonicalize(file).ok()?;
        let metadata = std::fs::metadata(&path).ok().filter(|m| m.is_file())?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let _ = write!(all, "{interface}\0{}\0{}\0{changed:?}\0", path.display(), metadata.len());
    }
    Some(digest(all.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_s_sink_goes_before_that_of_the_batch() {
        let of = |text: &str| toml::from_str::<PostgresConfig>(text).unwrap();
        let batch =
            of("type = 'postgres'\nurl = 'postgres://u@h/a'\nkeep = '7d'\nappliance = 'edge'");
        let own = of("url = 'postgres://u@h/b'\ntable = 'T'").or(&batch);
        let target = own.checked(Path::new("dir")).unwrap().target("q", Some(5)).unwrap();
        assert_eq!(target.url.shown, "u@h:5432/b");
        assert_eq!((&*target.relation, &*target.appliance), ("t", "edge"));
        assert_eq!(target.keep.as_deref(), Some("7 days"));
    }

    #[test]
    fn mistakes_are_refused() {
        for (text, expected) in [
            ("type = 'mysql'", "unknown sink type `mysql`"),
            ("url = 'postgres://u@h/d'", "needs a path"),
            ("type = 'postgres'\nurl = 'http://x'", "no database URL"),
            ("type = 'postgres'\nurl = 'postgres://u@h/d'\nkeep = '1h'", "number of days"),
            ("type = 'postgres'\nurl = 'postgres://u@h/d'\nspool_max = 'much'", "not a size"),
        ] {
            let config: PostgresConfig = toml::from_str(text).unwrap();
            let message = config.checked(Path::new("")).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_replay_is_known_by_its_inputs() {
        let traces = |file: &str| {
            vec![Traces { interface: "a".into(), files: vec![file.into()], properties: vec![] }]
        };
        let here = traces(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let of = |text: &str, lenient| replay_digest(text, &[], &[], &here, lenient);
        assert!(of("q", false).is_some());
        assert_eq!(of("q", false), of("q", false));
        assert_ne!(of("q", false), of("r", false));
        assert_ne!(of("q", false), of("q", true));
        assert_eq!(replay_digest("q", &[], &[], &traces("-"), false), None);
    }
}
