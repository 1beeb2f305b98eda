//! What is said to the database, all of it by the functions of `sql/migrations/V04__northbound.sql` and `V12__proxy.sql`.

use std::time::Duration;

use postgres::types::ToSql;
use postgres::{Client, Row, Statement};
use serde_json::Value;

use super::driver::{Command, DeviceError, Done, Seen};
use crate::db::connect::DatabaseUrl;

/// The role that may do all this and nothing else; a login of more rights lets go of them. A proxy that is stopped within a transaction loses its session, so
/// that its locks hold up nobody else.
const SESSION: &str = "SET ROLE wt_proxy; SET idle_in_transaction_session_timeout = '2s'";

/// A command that is this proxy's for a while.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Number of the command.
    pub id: i64,
    /// Token of the lease.
    pub lease: i64,
    /// What sort of device it is for.
    pub driver: String,
    /// What is to be done.
    pub command: Command,
}

/// A device of the allow-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// What the driver connects to.
    pub target: String,
}

struct Statements {
    claim: Statement,
    renew: Statement,
    ack: Statement,
    nack: Statement,
    report: Statement,
}

/// A session with the outbox.
pub struct Outbox {
    client: Client,
    statements: Statements,
}

type Answer<T> = Result<T, postgres::Error>;

impl Outbox {
    /// Connects.
    pub fn open(url: &DatabaseUrl) -> Answer<Self> {
        let mut client = url.open()?;
        client.batch_execute(SESSION)?;
        let statements = Statements {
            claim: client.prepare(
                "SELECT id, lease, driver, device, target, kind, name, gen, body::text FROM north.claim($1, $2, $3, $4, $5) ORDER BY id",
            )?,
            renew: client.prepare("SELECT north.renew($1, $2, $3)")?,
            ack: client.prepare("SELECT north.ack($1, $2, $3::text::jsonb)")?,
            nack: client
                .prepare("SELECT north.nack($1, $2, $3, make_interval(secs => $4), $5)")?,
            report: client.prepare(
                "SELECT north.report($1, $2, $3, $4::text::jsonb, $5, $6::text::timestamptz)",
            )?,
        };
        Ok(Self { client, statements })
    }

    /// Takes commands that are due: at most `limit`, of each device at most `per_device`, of those that are `busy` none.
    pub fn claim(
        &mut self,
        worker: &str,
        limit: usize,
        per_device: usize,
        lease: Duration,
        busy: &[&str],
    ) -> Answer<Vec<Claimed>> {
        let (limit, per_device) = (limit as i32, per_device as i32);
        let lease_s = lease.as_secs_f64();
        let arguments: [&(dyn ToSql + Sync); 5] = [&worker, &limit, &per_device, &lease_s, &busy];
        let rows = self.client.query(&self.statements.claim, &arguments)?;
        rows.iter().map(claimed).collect()
    }

    /// Keeps a command for a while longer; whether it is still this proxy's.
    pub fn renew(&mut self, claimed: &Claimed, lease: Duration) -> Answer<bool> {
        let lease_s = lease.as_secs_f64();
        let row = self
            .client
            .query_one(&self.statements.renew, &[&claimed.id, &claimed.lease, &lease_s])?;
        row.try_get(0)
    }

    /// Says what came of a command; whether anybody still wanted to know.
    pub fn answer(
        &mut self,
        claimed: &Claimed,
        outcome: &Result<Done, DeviceError>,
    ) -> Answer<bool> {
        let (id, lease) = (claimed.id, claimed.lease);
        match outcome {
            Ok(done) => {
                let observed = done.observed.as_ref().map(storable);
                let row = self.client.query_one(&self.statements.ack, &[&id, &lease, &observed])?;
                row.try_get(0)
            }
            Err(error) => {
                let (why, after, is_final) = match error {
                    DeviceError::Later { why, after } => (why, *after, false),
                    DeviceError::Never { why } => (why, None, true),
                };
                let why = why.replace('\0', "\u{fffd}");
                let after_s = after.map_or(0.0, |after| after.as_secs_f64());
                let row = self
                    .client
                    .query_one(&self.statements.nack, &[&id, &lease, &why, &after_s, &is_final])?;
                Ok(row.try_get::<_, Option<String>>(0)?.is_some())
            }
        }
    }

    /// How long until a command is due that is not yet.
    pub fn next_due(&mut self) -> Answer<Option<Duration>> {
        let row = self.client.query_one("SELECT north.next_due()", &[])?;
        let seconds: Option<f64> = row.try_get(0)?;
        Ok(seconds.map(|s| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(Duration::MAX)))
    }

    /// Lifts blocks that nothing has been reported of for their time; how many.
    pub fn sweep(&mut self) -> Answer<i64> {
        self.client.query_one("SELECT north.sweep()", &[])?.try_get(0)
    }

    /// All devices that commands go to.
    pub fn devices(&mut self) -> Answer<Vec<Listed>> {
        let rows = self.client.query("SELECT device, driver, target FROM north.devices()", &[])?;
        let listed = |row: &Row| {
            Ok(Listed { device: row.try_get(0)?, driver: row.try_get(1)?, target: row.try_get(2)? })
        };
        rows.iter().map(listed).collect()
    }

    /// The database's clock, and kind and name of the objects that a full check of a device asks about.
    pub fn wanted(&mut self, device: &str) -> Answer<(String, Vec<(String, String)>)> {
        let now = self.client.query_one("SELECT clock_timestamp()::text", &[])?.try_get(0)?;
        let rows = self.client.query("SELECT kind, name FROM north.wanted($1)", &[&device])?;
        let names: Answer<_> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
        Ok((now, names?))
    }

    /// Says what a full check that began at `since` has found, and has drift mended; how many commands that takes.
    pub fn checked(
        &mut self,
        device: &str,
        worker: &str,
        since: &str,
        found: &Result<Vec<Seen>, DeviceError>,
    ) -> Answer<i32> {
        let mut transaction = self.client.transaction()?;
        let seen = found.as_deref().unwrap_or_default();
        for Seen { kind, name, generation, observed } in seen {
            let observed = observed.as_ref().map(storable);
            let generation = i64::try_from(*generation).unwrap_or(i64::MAX);
            let arguments: [&(dyn ToSql + Sync); 6] =
                [&device, kind, name, &observed, &generation, &since];
            transaction.query_one(&self.statements.report, &arguments)?;
        }
        let error = found.as_ref().err().map(|e| e.to_string().replace('\0', "\u{fffd}"));
        let statement = "SELECT north.checked($1, $2, $3)";
        let row = transaction.query_one(statement, &[&device, &worker, &error])?;
        let count = row.try_get(0)?;
        transaction.commit()?;
        Ok(count)
    }
}

/// A value as Postgres keeps it, which has no null characters: what a device says must not stop anybody.
fn storable(value: &Value) -> String {
    value.to_string().replace("\\u0000", "\\ufffd")
}

fn claimed(row: &Row) -> Answer<Claimed> {
    let body: Option<String> = row.try_get(8)?;
    let generation: i64 = row.try_get(7)?;
    Ok(Claimed {
        id: row.try_get(0)?,
        lease: row.try_get(1)?,
        driver: row.try_get(2)?,
        command: Command {
            device: row.try_get(3)?,
            target: row.try_get(4)?,
            kind: row.try_get(5)?,
            name: row.try_get(6)?,
            generation: u64::try_from(generation).unwrap_or(0),
            // The database gives no JSON that is none.
            body: body.and_then(|text| serde_json::from_str(&text).ok()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_characters_are_replaced() {
        let value: Value = serde_json::from_str("{\"a\\u0000b\": \"\\u0000\"}").unwrap();
        assert_eq!(storable(&value), "{\"a\\ufffdb\":\"\\ufffd\"}");
    }
}
