//! Connections to the database, and what their errors mean.

use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::error::SqlState;
use postgres::{Client, Config};

use super::DbError;
use super::tls::{self, Mode, Tls};

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An idle connection is tried after this.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// What was sent and not acknowledged for this long ends the connection.
const TCP_TIMEOUT: Duration = Duration::from_secs(30);

/// A database URL, checked.
#[derive(Clone, Debug)]
pub struct DatabaseUrl {
    config: Config,
    /// The same for those who do not wait.
    waitless: tokio_postgres::Config,
    tls: Tls,
    /// Host and database, without a password: for messages.
    pub shown: String,
}

/// Whether a text says that it is a database URL.
pub fn is_database_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

impl DatabaseUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is none, or asks for what is not to be had.
    pub fn parse(url: &str) -> Result<Self, DbError> {
        let refuse = |why: String| DbError::Url { url: without_password(url), why };
        if !is_database_url(url) {
            return Err(refuse("it does not begin with postgres://".to_owned()));
        }
        let (url, mode, roots) = tls::take(&hosts_apart(url)).map_err(refuse)?;
        let mut config: Config = url.parse().map_err(|e: postgres::Error| refuse(reason(&e)))?;
        if config.get_hosts().is_empty() {
            return Err(refuse("it names no host".to_owned()));
        }
        if config.get_user().is_none() {
            return Err(refuse("it names no user".to_owned()));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        // A server that vanished without a word is noticed.
        config.keepalives_idle(KEEPALIVE_IDLE).tcp_user_timeout(TCP_TIMEOUT);
        config.application_name("wiretable");
        let mut waitless: tokio_postgres::Config =
            url.parse().map_err(|e: postgres::Error| refuse(reason(&e)))?;
        waitless.connect_timeout(CONNECT_TIMEOUT);
        waitless.keepalives_idle(KEEPALIVE_IDLE).tcp_user_timeout(TCP_TIMEOUT);
        let is_local = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let (how, tls) = match mode {
            // Postgres has no TLS on sockets of the host, and libpq asks for none there.
            _ if is_local => (SslMode::Disable, Tls::new(Mode::Prefer, None)),
            Mode::Disable => (SslMode::Disable, Tls::new(mode, None)),
            Mode::Prefer => (SslMode::Prefer, Tls::new(mode, None)),
            Mode::Require => (SslMode::Require, Tls::new(mode, None)),
            Mode::VerifyFull => (SslMode::Require, Tls::new(mode, roots.as_deref())),
        };
        let tls = tls.map_err(refuse)?;
        config.ssl_mode(how);
        waitless.ssl_mode(how);
        let shown = shown(&config);
        Ok(Self { config, waitless, tls, shown })
    }

    /// What asynchronous connections are made with.
    pub fn to_tokio(&self) -> tokio_postgres::Config {
        self.waitless.clone()
    }

    /// What makes them secret.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Connects.
    ///
    /// # Errors
    /// [`DbError::Connect`], with what to do.
    pub fn connect(&self) -> Result<Client, DbError> {
        self.connect_to(None)
    }

    /// Connects to another database of the same server.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_to(&self, database: Option<&str>) -> Result<Client, DbError> {
        let mut config = self.config.clone();
        if let Some(database) = database {
            config.dbname(database);
        }
        self.try_connect(&config).map_err(|error| DbError::Connect {
            url: self.shown.clone(),
            why: reason(&error),
            hint: hint(&error),
        })
    }

    /// Connects; the error as it is, for those who try again.
    ///
    /// # Errors
    /// Whatever the driver says.
    pub fn open(&self) -> Result<Client, postgres::Error> {
        self.try_connect(&self.config)
    }

    fn try_connect(&self, config: &Config) -> Result<Client, postgres::Error> {
        config.connect(self.tls.clone())
    }

    /// The database's name; the user's when the URL has none.
    pub fn database(&self) -> String {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres").to_owned()
    }
}

/// A URL in which each host of a list (`?host=a,b`), as libpq has it, stands by itself.
fn hosts_apart(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let apart = |pair: &str| match pair.strip_prefix("host=") {
        Some(hosts) => hosts.split(',').map(|h| format!("host={h}")).collect::<Vec<_>>().join("&"),
        None => pair.to_owned(),
    };
    format!("{place}?{}", query.split('&').map(apart).collect::<Vec<_>>().join("&"))
}

fn shown(config: &Config) -> String {
    let port =
        |at: usize| config.get_ports().get(at).or(config.get_ports().first()).unwrap_or(&5432);
    let place = |(at, host): (usize, &Host)| match host {
        Host::Tcp(name) => format!("{name}:{}", port(at)),
        Host::Unix(path) => format!("{}:{}", path.display(), port(at)),
    };
    let places: Vec<String> = config.get_hosts().iter().enumerate().map(place).collect();
    let user = config.get_user().unwrap_or("");
    format!("{user}@{}/{}", places.join(","), config.get_dbname().unwrap_or(user))
}

/// A URL with its password hidden, also when it is not one.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((login, place)) = rest.rsplit_once('@') else { return url.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:…@{place}"),
        None => url.to_owned(),
    }
}

/// What the server or the driver said, in one line, with detail and hint in further ones.
pub fn reason(error: &postgres::Error) -> String {
    use std::error::Error;
    if let Some(db) = error.as_db_error() {
        let mut text = db.message().to_owned();
        for (label, more) in [("detail", db.detail()), ("help", db.hint())] {
            if let Some(more) = more {
                text.push_str(&format!("\n  {label}: {}", more.replace('\n', "\n          ")));
            }
        }
        return text;
    }
    match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

fn hint(error: &postgres::Error) -> &'static str {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD => "check user and password of the URL",
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "check the user of the URL, and pg_hba.conf of the server"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            "create the database, or check its name in the URL"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "grant the user a role of wiretable, e.g. GRANT wt_viewer TO …"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "close other connections, or raise max_connections of the server"
        }
        _ => "is the server running there? `wiretable db start` starts a private one",
    }
}

/// Whether a statement that failed so may succeed later, on a new connection or on this one: the server is away, or two
/// transactions stood in each other's way.
pub fn may_pass(error: &postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    match error.code() {
        Some(code) => {
            let class = &code.code()[..2];
            // 08 connection, 40 rollback, 53 resources, 57P operator intervention, 58 system; 55P03 lock timeout; 25P03 asleep in a
            // transaction.
            matches!(class, "08" | "40" | "53" | "58")
                || code.code().starts_with("57P")
                || *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        }
        // No answer of the server: the connection broke, or was never made.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        let url = DatabaseUrl::parse("postgres://ada:secret@db.example:5433/net").unwrap();
        assert_eq!(url.shown, "ada@db.example:5433/net");
        assert_eq!(url.database(), "net");
        let url = DatabaseUrl::parse("postgresql://postgres@/wt?host=/run/x&port=7000").unwrap();
        assert_eq!(url.shown, "postgres@/run/x:7000/wt");
        let url = DatabaseUrl::parse("postgres://u@a:1,b:2/d?target_session_attrs=read-write");
        assert_eq!(url.unwrap().shown, "u@a:1,b:2/d");
        let url = DatabaseUrl::parse("postgres://u@/d?host=%2Frun%2Fa,%2Frun%2Fb&port=1,2");
        assert_eq!(url.unwrap().shown, "u@/run/a:1,/run/b:2/d");
        assert!(DatabaseUrl::parse("postgres://u@h/d?sslmode=require").is_ok());
        for (url, why) in [
            ("mysql://x", "does not begin"),
            ("postgres://u@h/d?sslmode=allow", "sslmode=allow"),
            ("postgres://u@h/d?sslmode=verify-full&sslrootcert=/nowhere", "/nowhere"),
            ("postgres://u@h:port/d", "port"),
            ("postgres:///d", "no host"),
            ("postgres://h/d", "no user"),
        ] {
            let message = DatabaseUrl::parse(url).unwrap_err().to_string();
            assert!(message.contains(why), "{url}: {message}");
        }
    }

    #[test]
    fn passwords_stay_out_of_messages() {
        let message = DatabaseUrl::parse("postgres://ada:s3cr:et@h:x/d").unwrap_err().to_string();
        assert!(!message.contains("s3cr") && message.contains("ada:…@h:x/d"), "{message}");
    }
}
