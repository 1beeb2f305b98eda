//! `wiretable serve` and `wiretable token`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use crate::cli::serve::{Listen, ServeArgs, TokenArgs, TokenCommand};
use crate::commands::db::{ready_database, url};
use crate::db::DbError;
use crate::db::connect::{DatabaseUrl, reason};
use crate::execute::cancelled_by_signal;
use crate::failure::Failure;
use crate::proxy::{Config, Proxy};
use crate::serve::{self, Stop, Task};
use crate::server::{self, Identity};

/// Serves until Ctrl-C or SIGTERM: requests over HTTP, and devices.
pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let config = Config::load(args.config.as_deref())?;
    let identity = identity(args)?;
    let database = match (&args.place.database_url, args.listen) {
        // Whoever only drives devices has no right to change the schema.
        (Some(text), Listen::None) => DatabaseUrl::parse(text)?,
        _ => ready_database(&args.place)?,
    };
    let proxy = Proxy::new(config.settings(database.clone())?, config.drivers());
    let mut tasks: Vec<Box<dyn Task>> = vec![Box::new(proxy)];
    match args.listen {
        Listen::At(address) => {
            let address_file = args.address_file.clone();
            tasks.push(Box::new(Http { address, identity, address_file, database }));
        }
        Listen::None => {
            eprintln!("wiretable: serving devices of {}; Ctrl-C ends it", database.shown);
        }
    }
    serve::run(tasks, &Stop::when(cancelled_by_signal()))
}

/// What the server shows its clients; nothing where it speaks no TLS, which others than this host are not to overhear.
fn identity(args: &ServeArgs) -> Result<Option<Identity>, Failure> {
    let Listen::At(address) = args.listen else {
        return match args.tls_cert {
            Some(_) => Err(Failure::Input(
                "--tls-cert is for requests, and --listen none takes none".to_owned(),
            )),
            None => Ok(None),
        };
    };
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            let identity = Identity { certificate: certificate.clone(), key: key.clone() };
            // Before a database is started for nothing.
            identity.load().map_err(|error| Failure::Environment(error.to_string()))?;
            Ok(Some(identity))
        }
        _ if address.ip().is_loopback() || args.plain_http => Ok(None),
        _ => Err(Failure::Input(format!(
            "{address} is not of this host alone, and requests carry tokens\n  help: give --tls-cert and --tls-key; or listen on 127.0.0.1 or [::1]; or say --plain-http, where something else keeps the way secret"
        ))),
    }
}

/// The server for requests as a task.
struct Http {
    address: SocketAddr,
    identity: Option<Identity>,
    address_file: Option<PathBuf>,
    database: DatabaseUrl,
}

impl Task for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn run(self: Box<Self>, stop: &Stop) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::Environment(format!("cannot start threads: {error}")))?;
        let (end, ending) = watch::channel(false);
        let stop = stop.clone();
        let told = std::thread::spawn(move || {
            while !stop.is_set() {
                stop.wait(Duration::from_secs(60));
            }
            // Nobody listens any more when it has ended by itself.
            let _ = end.send(true);
        });
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        let ready = |address: SocketAddr| {
            eprintln!("wiretable: serving {scheme}://{address}; Ctrl-C ends it");
            if let Some(path) = &self.address_file
                && let Err(error) = std::fs::write(path, format!("{address}\n"))
            {
                eprintln!("wiretable: cannot write {}: {error}", path.display());
            }
        };
        let identity = self.identity.clone();
        let serving = server::serve(self.address, identity, &self.database, ending, ready);
        let served = runtime.block_on(serving);
        // It waits for the end of all, which the end of this one brings about.
        drop(told);
        served.map_err(|error| Failure::Environment(error.to_string()))
    }
}

/// Makes, lists and revokes tokens.
pub fn token(args: &TokenArgs) -> Result<(), Failure> {
    let refused = |e: postgres::Error| {
        Failure::from(DbError::Statement {
            what: "the token is refused".to_owned(),
            said: reason(&e),
        })
    };
    match &args.command {
        TokenCommand::Create { role, tenant, label, valid, place } => {
            let mut client = url(place)?.connect()?;
            let statement = "SELECT sec.create_token($1, $2, $3, make_interval(secs => $4))";
            let seconds = Duration::as_secs_f64(valid);
            let row = client.query_one(statement, &[&role.name(), tenant, label, &seconds]);
            println!("{}", row.map_err(refused)?.get::<_, String>(0));
        }
        TokenCommand::List { place } => {
            let mut client = url(place)?.connect()?;
            let statement = "SELECT id, label, role, coalesce(tenant, 'system'), to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), \
                             CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'valid' END FROM sec.token ORDER BY id";
            for row in client.query(statement, &[]).map_err(refused)? {
                let text = |column: usize| row.get::<_, String>(column);
                println!(
                    "{:>5}  {:<8}  {:<12}  {:<12}  until {}  {}",
                    row.get::<_, i64>(0),
                    text(5),
                    text(2),
                    text(3),
                    text(4),
                    text(1)
                );
            }
        }
        TokenCommand::Revoke { id, place } => {
            let mut client = url(place)?.connect()?;
            let row = client.query_one("SELECT sec.revoke_token($1)", &[id]).map_err(refused)?;
            if !row.get::<_, bool>(0) {
                return Err(Failure::Input(format!(
                    "there is no valid token {id}\n  help: `wiretable token list` shows all"
                )));
            }
        }
    }
    Ok(())
}
