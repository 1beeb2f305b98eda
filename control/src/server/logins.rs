//! The LOGIN roles that requests run as: one for each role of the people, one for each tenant, each with connections of its own.
//!
//! A role shared by `SET ROLE` would let a caller's statement set another. So the server logs in as each; it gives them passwords that it makes
//! when it starts, keeps in memory and tells nobody. The connection of its own user, which may do that, serves nothing else.

use std::collections::HashMap;
use std::ops::Deref;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolConfig, RecyclingMethod, Runtime, Timeouts,
};
use postgres_protocol::password::scram_sha_256;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, Config};

use super::ServeError;
use super::caller::{Caller, Role};
use super::problem::Problem;
use crate::db::connect::{DatabaseUrl, reason};
use crate::db::tls::Tls;

/// Connections of one login.
const CONNECTIONS_MAX: usize = 16;
/// How long a request waits for one.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// A server that is stopped within a transaction loses its session, so that its locks hold up nobody else.
const SESSION: &str = "-c idle_in_transaction_session_timeout=10s";
/// The advisory lock of the server of a database.
const ADVISORY_KEY: i64 = 0x7774_7365_7276;

/// Connects as the user of the URL, and takes the lock of the database's server; nothing when another has it.
async fn take(config: &Config, tls: Tls) -> Result<Option<Client>, tokio_postgres::Error> {
    let (own, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // Whoever uses the connection next hears what happened to it.
        let _ = connection.await;
    });
    let taken = own.query_one("SELECT pg_try_advisory_lock($1)", &[&ADVISORY_KEY]).await?;
    Ok(taken.get::<_, bool>(0).then_some(own))
}

/// Ends what a caller left open, and takes a session back to what it was at its beginning.
const CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// A connection that goes back clean: whoever has it next finds nothing of this caller. A session that cannot be cleaned is given up.
pub(super) struct Lent {
    connection: Option<Object>,
    is_ours: bool,
}

impl Deref for Lent {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.connection.as_ref().expect("it is here until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match (self.is_ours, tokio::runtime::Handle::try_current()) {
            (true, _) => {}
            (false, Ok(runtime)) => drop(runtime.spawn(async move {
                if connection.batch_execute(CLEAN).await.is_err() {
                    drop(Object::take(connection));
                }
            })),
            (false, Err(_)) => drop(Object::take(connection)),
        }
    }
}

/// The logins, and the connection that makes them.
pub(super) struct Logins {
    config: Config,
    tls: Tls,
    /// May give passwords.
    own: Mutex<Client>,
    secret: [u8; 32],
    pools: Mutex<HashMap<String, Pool>>,
}

impl Logins {
    /// Connects, and takes the database's logins.
    pub(super) async fn open(database: &DatabaseUrl) -> Result<Self, ServeError> {
        let config = database.to_tokio();
        let tls = database.tls();
        let own = take(&config, tls.clone()).await.map_err(|e| {
            ServeError::Database(format!("cannot use {}: {}", database.shown, reason(&e)))
        })?;
        let own = own.ok_or_else(|| ServeError::Taken { database: database.shown.clone() })?;
        let mut secret = [0; 32];
        rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| ServeError::Database(format!("no random numbers for passwords: {e}")))?;
        let logins =
            Self { config, tls, own: Mutex::new(own), secret, pools: Mutex::new(HashMap::new()) };
        for role in ["admin", "operator", "viewer", "ingest", "auth"] {
            let pool = logins.pool(&format!("wt_s_{role}")).await;
            pool.map_err(|problem| ServeError::Database(problem.detail))?;
        }
        Ok(logins)
    }

    /// The connection that may give passwords; made anew when the database was away.
    async fn own(&self) -> Result<MutexGuard<'_, Client>, Problem> {
        let mut own = self.own.lock().await;
        if own.is_closed() {
            let taken = take(&self.config, self.tls.clone()).await?;
            *own = taken.ok_or_else(|| {
                Problem::unavailable("another server has taken over the database's logins")
            })?;
        }
        Ok(own)
    }

    /// The password of a login: of this process alone.
    fn password(&self, login: &str) -> String {
        let digest = Sha256::new().chain_update(self.secret).chain_update(login).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The connections of a login, which gets its password when it is first asked for.
    async fn pool(&self, login: &str) -> Result<Pool, Problem> {
        let mut pools = self.pools.lock().await;
        if let Some(pool) = pools.get(login) {
            return Ok(pool.clone());
        }
        let password = self.password(login);
        let verifier = scram_sha_256(password.as_bytes());
        let own = self.own().await?;
        // Names of logins are ours or were checked when a tenant was made; a verifier has no quotes.
        own.batch_execute(&format!("ALTER ROLE \"{login}\" PASSWORD '{verifier}'")).await?;
        drop(own);
        let mut config = self.config.clone();
        config.user(login).password(password).application_name("wiretable serve").options(SESSION);
        // What a statement left behind in a session is cleared away when the connection comes back, which nobody waits for.
        let recycling_method = RecyclingMethod::Fast;
        let tls = self.tls.clone();
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method });
        let timeouts = Timeouts {
            wait: Some(WAIT_MAX),
            create: Some(crate::db::connect::CONNECT_TIMEOUT),
            recycle: Some(WAIT_MAX),
        };
        let pool = Pool::builder(manager)
            .config(PoolConfig { max_size: CONNECTIONS_MAX, timeouts, ..PoolConfig::default() })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Problem::unavailable(error.to_string()))?;
        pools.insert(login.to_owned(), pool.clone());
        Ok(pool)
    }

    /// A connection of a login.
    pub(super) async fn connection(&self, login: &str) -> Result<Lent, Problem> {
        let connection = self.pool(login).await?.get().await?;
        // Only our own statements run as these two.
        let is_ours = matches!(login, "wt_s_ingest" | "wt_s_auth");
        Ok(Lent { connection: Some(connection), is_ours })
    }

    /// A connection that runs as a caller.
    pub(super) async fn of(&self, caller: &Caller) -> Result<Lent, Problem> {
        self.connection(&caller.login()).await
    }

    /// Says whether the database answers.
    pub(super) async fn check(&self) -> Result<(), Problem> {
        let connection = self.connection("wt_s_auth").await?;
        connection.simple_query("SELECT 1").await?;
        Ok(())
    }

    /// Forgets what is old: answers, telemetry, results, commands that have ended, then events that nothing leads back to any more.
    pub(super) async fn expire(&self) -> Result<(), Problem> {
        let admin = self.connection(Role::Admin.login()).await?;
        // Each is a transaction of its own, so that none holds its locks for long.
        for what in ["wt.expire_answers()", "otel.expire()", "res.expire()", "north.expire()"] {
            admin.simple_query(&format!("SELECT {what}")).await?;
        }
        let mut below: Option<i64> = None;
        loop {
            let statement = "SELECT lowest FROM prov.expire(NULL, $1)";
            below = admin.query_one(statement, &[&below]).await?.get(0);
            if below.is_none() {
                return Ok(());
            }
        }
    }

    /// Connections in use and open, by login.
    pub(super) async fn usage(&self) -> Vec<(String, usize, usize)> {
        let pools = self.pools.lock().await;
        let mut all: Vec<_> = pools
            .iter()
            .map(|(login, pool)| {
                let status = pool.status();
                (login.clone(), status.size.saturating_sub(status.available), status.size)
            })
            .collect();
        all.sort();
        all
    }
}
