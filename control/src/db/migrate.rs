//! Brings the schema up to date: the files of `sql/migrations`, in order, each in a transaction of its own, forward only. Each is
//! kept with a checksum, so that a database whose history differs from this program's is refused instead of mended.

use std::time::Duration;

use postgres::Client;
use refinery_core::error::Kind;
use refinery_core::{Migration, Runner};

use super::DbError;
use super::connect::{DatabaseUrl, reason};
use super::programs::MAJOR_MIN;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../sql/migrations/", $name, ".sql")))),*]
    };
}

/// Name and text of each migration, in order.
pub const MIGRATIONS: &[(&str, &str)] = embedded![
    "V01__roles",
    "V02__provenance",
    "V03__mirror",
    "V04__northbound",
    "V05__partitions",
    "V06__telemetry",
    "V07__results",
    "V08__kernel",
    "V09__calls",
    "V10__blocklist",
    "V11__server",
    "V12__proxy",
    "V13__telemetry_rows",
    "V14__retention",
    "V15__plans",
    "V16__making",
    "V17__export",
    "V18__averages",
    "V19__lists",
    "V20__late_answers",
];

/// Where the history is kept.
const HISTORY: &str = "wt_migration";

/// How long a migration waits for the locks of running transactions before it gives up and changes nothing.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Two migrations at a time would trip over each other; the second waits for the first.
const ADVISORY_KEY: i64 = 0x7774_6d69_6772;

/// What a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaState {
    /// Names of the migrations that were applied.
    pub applied: Vec<String>,
    /// How many this program has beyond them.
    pub pending: usize,
}

/// Applies what is missing; returns the names of what was applied now.
///
/// # Errors
/// When the server is too old, the login is no superuser, a lock is not to be had, or the history differs.
pub fn migrate(url: &DatabaseUrl, lock_timeout: Duration) -> Result<Vec<String>, DbError> {
    let mut client = url.connect()?;
    check_server(url, &mut client)?;
    let statement = |what: &str| {
        let what = what.to_owned();
        move |e: postgres::Error| DbError::Statement { what, said: reason(&e) }
    };
    let timeout_ms = lock_timeout.as_millis();
    client
        .batch_execute(&format!(
            "SET lock_timeout = {timeout_ms}; SET client_min_messages = warning"
        ))
        .map_err(statement("cannot set the lock timeout"))?;
    client
        .execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_KEY])
        .map_err(statement("another migration is running"))?;
    let report = runner(MIGRATIONS)?.run(&mut client).map_err(explain)?;
    Ok(report.applied_migrations().iter().map(name_of).collect())
}

/// What a database has been given so far.
///
/// # Errors
/// When it cannot be asked.
pub fn state(url: &DatabaseUrl) -> Result<SchemaState, DbError> {
    let mut client = url.connect()?;
    let there: bool = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY])
        .map(|row| row.get(0))
        .map_err(|e| DbError::Statement {
            what: "cannot read the history".to_owned(),
            said: reason(&e),
        })?;
    let applied = match there {
        true => runner(MIGRATIONS)?.get_applied_migrations(&mut client).map_err(explain)?,
        false => Vec::new(),
    };
    let pending = MIGRATIONS.len().saturating_sub(applied.len());
    Ok(SchemaState { applied: applied.iter().map(name_of).collect(), pending })
}

fn name_of(migration: &Migration) -> String {
    format!("V{:02}__{}", migration.version(), migration.name())
}

fn runner(migrations: &[(&str, &str)]) -> Result<Runner, DbError> {
    let migrations: Result<Vec<_>, _> =
        migrations.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    let mut runner = Runner::new(&migrations.map_err(explain)?);
    runner.set_migration_table_name(HISTORY);
    Ok(runner)
}

fn check_server(url: &DatabaseUrl, client: &mut Client) -> Result<(), DbError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, rolsuper, rolname::text FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .map_err(|e| DbError::Statement { what: "cannot ask the server".to_owned(), said: reason(&e) })?;
    let version = row.get::<_, i32>(0).unsigned_abs() / 10_000;
    if version < MAJOR_MIN {
        return Err(DbError::OldServer {
            url: url.shown.clone(),
            found: version,
            minimum: MAJOR_MIN,
        });
    }
    if !row.get::<_, bool>(1) {
        return Err(DbError::NotSuperuser { login: row.get(2) });
    }
    Ok(())
}

fn explain(error: refinery_core::Error) -> DbError {
    match error.kind() {
        Kind::DivergentVersion(applied, ours) => DbError::History {
            what: format!(
                "migration {} of the database is not the one of this program ({})",
                name_of(applied),
                name_of(ours)
            ),
            hint: "migrations never change once released; use the version of wiretable that made this database, or a new database",
        },
        Kind::MissingVersion(applied) => DbError::History {
            what: format!(
                "the database has migration {}, which this program does not know",
                name_of(applied)
            ),
            hint: "a newer wiretable has migrated it; use that one (there is no way back)",
        },
        Kind::Connection(what, source) => DbError::Statement {
            what: what.clone(),
            said: match source.downcast_ref::<postgres::Error>() {
                Some(error) => reason(error),
                None => source.to_string(),
            },
        },
        other => DbError::Statement { what: "cannot migrate".to_owned(), said: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("sql/migrations")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let names: Vec<String> = MIGRATIONS.iter().map(|(name, _)| format!("{name}.sql")).collect();
        assert_eq!(names, files);
        assert!(runner(MIGRATIONS).is_ok());
    }

    #[test]
    fn migrations_say_what_they_are() {
        for (name, sql) in MIGRATIONS {
            assert!(sql.starts_with("-- "), "{name} has no header comment");
            assert!(
                !sql.contains("plpython") || *name == "V08__kernel",
                "{name}: plpgsql and SQL only"
            );
        }
    }
}
