//! `wiretable db`: starts, stops, migrates and resets the control plane's database.

use std::path::PathBuf;
use std::time::Duration;

use postgres::Client;

use crate::cli::db::{ClusterArgs, DatabaseArgs, DbArgs, DbCommand};
use crate::db::DbError;
use crate::db::cluster::{Cluster, Started};
use crate::db::connect::{DatabaseUrl, reason};
use crate::db::migrate::{self, LOCK_TIMEOUT};
use crate::failure::Failure;

/// Runs a subcommand. The URL goes to standard output, what was done to standard error.
pub fn db(args: &DbArgs) -> Result<(), Failure> {
    match &args.command {
        DbCommand::Start { place, listen } => start(place, listen.as_deref()),
        DbCommand::Stop { place } => {
            let stopped = cluster(place)?.stop()?;
            eprintln!("wiretable: {}", if stopped { "stopped" } else { "it was not running" });
            Ok(())
        }
        DbCommand::Status { place } => status(place),
        DbCommand::Url { place } => {
            println!("{}", cluster(place)?.url()?);
            Ok(())
        }
        DbCommand::Migrate { place, lock_timeout } => {
            report(&migrate::migrate(&url(place)?, Duration::from_secs(u64::from(*lock_timeout)))?);
            Ok(())
        }
        DbCommand::Reset { place, yes } => reset(place, *yes),
    }
}

/// The database, ready to be used: the private cluster is started if need be, and the schema brought up to date.
pub fn ready_database(place: &DatabaseArgs) -> Result<DatabaseUrl, Failure> {
    if place.database_url.is_none() {
        cluster(&place.cluster)?.start(None)?;
    }
    let url = url(place)?;
    let applied = migrate::migrate(&url, LOCK_TIMEOUT)?;
    if !applied.is_empty() {
        report(&applied);
    }
    Ok(url)
}

fn start(place: &ClusterArgs, listen: Option<&str>) -> Result<(), Failure> {
    let cluster = cluster(place)?;
    let started = cluster.start(listen)?;
    let text = cluster.url()?;
    let applied = migrate::migrate(&DatabaseUrl::parse(&text)?, LOCK_TIMEOUT)?;
    match started {
        Started::Already if listen.is_some() => {
            eprintln!("wiretable: it was running; --listen holds from its next start");
        }
        Started::Already => eprintln!("wiretable: it was running"),
        Started::Woken => eprintln!("wiretable: started"),
        Started::Created => eprintln!("wiretable: made and started"),
    }
    if !applied.is_empty() {
        report(&applied);
    }
    println!("{text}");
    Ok(())
}

fn report(applied: &[String]) {
    match applied {
        [] => eprintln!("wiretable: the schema is up to date"),
        _ => eprintln!("wiretable: migrated: {}", applied.join(", ")),
    }
}

fn status(place: &DatabaseArgs) -> Result<(), Failure> {
    if place.database_url.is_none() {
        let cluster = cluster(&place.cluster)?;
        match cluster.running()? {
            Some(running) => println!("running  process {}, port {}", running.pid, running.port),
            None => {
                println!("stopped");
                return Err(Failure::Input("the database is not running".to_owned()));
            }
        }
    }
    let url = url(place)?;
    let state = migrate::state(&url)?;
    println!("database {}", url.shown);
    println!("schema   {} migrations applied, {} pending", state.applied.len(), state.pending);
    Ok(())
}

/// Drops and makes the database anew. Tenants' LOGIN roles belong to the whole cluster and go with it.
fn reset(place: &DatabaseArgs, yes: bool) -> Result<(), Failure> {
    let url = url(place)?;
    if !yes {
        return Err(Failure::Input(format!(
            "this drops {} with all results, telemetry and provenance\n  help: add --yes",
            url.shown
        )));
    }
    let database = url.database();
    let mut client = url.connect_to(Some("postgres"))?;
    let quoted = format!("\"{}\"", database.replace('"', "\"\""));
    if database == "postgres" || database.starts_with("template") {
        return Err(Failure::Input(format!(
            "database `{database}` belongs to Postgres itself\n  help: name another in the URL"
        )));
    }
    run(&mut client, &format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)"))?;
    drop_tenants(&mut client)?;
    run(&mut client, &format!("CREATE DATABASE {quoted}"))?;
    report(&migrate::migrate(&url, LOCK_TIMEOUT)?);
    Ok(())
}

fn drop_tenants(client: &mut Client) -> Result<(), DbError> {
    let failed = |e: postgres::Error| DbError::Statement {
        what: "cannot list the tenants' roles".to_owned(),
        said: reason(&e),
    };
    let rows = client
        .query("SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname ~ '^wt_t_'", &[])
        .map_err(failed)?;
    for row in rows {
        run(client, row.get(0))?;
    }
    Ok(())
}

fn run(client: &mut Client, statement: &str) -> Result<(), DbError> {
    client
        .batch_execute(statement)
        .map_err(|e| DbError::Statement { what: format!("`{statement}` failed"), said: reason(&e) })
}

/// The cluster that is meant.
pub fn cluster(place: &ClusterArgs) -> Result<Cluster, DbError> {
    let dir = place.data_dir.clone().unwrap_or_else(default_dir);
    Cluster::new(&dir, place.db_user.as_deref())
}

/// The database that is meant: the one given, or the private one, which must be running.
pub fn url(place: &DatabaseArgs) -> Result<DatabaseUrl, DbError> {
    if let Some(url) = &place.database_url {
        return DatabaseUrl::parse(url);
    }
    let dir = place.cluster.data_dir.clone().unwrap_or_else(default_dir);
    let cluster = cluster(&place.cluster)?;
    let url = DatabaseUrl::parse(&cluster.url()?)?;
    match cluster.running()? {
        Some(_) => Ok(url),
        None => Err(DbError::Stopped { path: dir }),
    }
}

fn default_dir() -> PathBuf {
    crate::db::state_folder("db", "XDG_DATA_HOME", ".local/share")
}
