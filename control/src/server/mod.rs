//! The server: DBNet's calls over HTTP (§3.1 of its paper), telemetry in, events and results out.
//!
//! | file | is |
//! |---|---|
//! | `listen` | connections, in TLS or without |
//! | `logins` | the LOGIN roles that requests run as, and their connections |
//! | `caller` | who asks: tokens, what they allow, rates |
//! | `gather` | work of many requests that goes to the database at once |
//! | `problem` | refusals and failures as RFC 9457 has them |
//! | `calls` | createSchema … wrapTransaction: writes, all or nothing, dry, once |
//! | `read` | readTable and query |
//! | `telemetry/` | OTLP/HTTP in |
//! | `events` | provenance and results out, as server-sent events |
//! | `metrics` | what the server itself does |
//! | `timing` | how long the database took of a request, told in the answer |
//! | `openapi` | the description of all this |
//!
//! A request runs as the LOGIN role that its token stands for, in one transaction with the caller's time limit. The database decides what it may do.

mod caller;
mod calls;
mod events;
mod gather;
mod listen;
mod logins;
mod metrics;
mod openapi;
mod problem;
mod read;
mod telemetry;
mod timing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::caller::{Limiter, Tokens};
pub use self::listen::Identity;
use self::listen::{Plain, Secret};
use self::logins::Logins;
use self::metrics::Metrics;
use self::problem::Problem;
use self::telemetry::Stores;
use crate::db::connect::DatabaseUrl;
use crate::tls::TlsError;

/// How long requests that are under way may take when the server is told to end.
const GRACE: Duration = Duration::from_secs(10);
/// How often what is old is looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// What requests share.
pub struct App {
    logins: Arc<Logins>,
    tokens: Tokens,
    telemetry: Stores,
    limiter: Limiter,
    metrics: Metrics,
    /// Becomes true when the server ends.
    ending: watch::Receiver<bool>,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not to be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no TLS to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database does not play along.
    #[error("{0}")]
    Database(String),
    /// Another server has the database's logins.
    #[error(
        "another server runs on {database}\n  help: one server serves a database; end the other, or use another database"
    )]
    Taken {
        /// Which database.
        database: String,
    },
}

/// Serves until `ending` becomes true, in TLS if there is an identity for it; says on which address as soon as it does.
///
/// # Errors
/// No address, no key, no database, or another server on it.
pub async fn serve(
    address: SocketAddr,
    identity: Option<Identity>,
    database: &DatabaseUrl,
    mut ending: watch::Receiver<bool>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let secret = match identity {
        Some(identity) => Some((identity.load()?, identity)),
        None => None,
    };
    let logins = Arc::new(Logins::open(database).await?);
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let app = Arc::new(App {
        tokens: Tokens::new(&logins),
        telemetry: Stores::new(&logins),
        logins,
        limiter: Limiter::default(),
        metrics: Metrics::default(),
        ending: ending.clone(),
    });
    ready(address);
    let keeping = tokio::spawn(keep_house(Arc::clone(&app)));
    let mut asked = ending.clone();
    let asked = async move { end_of(&mut asked).await };
    let router = router(app);
    let serving = async {
        match secret {
            None => axum::serve(Plain(listener), router).with_graceful_shutdown(asked).await,
            Some((config, identity)) => {
                let listener = Secret::new(listener, identity, config)?;
                axum::serve(listener, router).with_graceful_shutdown(asked).await
            }
        }
    };
    let served = tokio::select! {
        served = serving => served,
        // Requests that do not end by themselves are cut off.
        () = async { end_of(&mut ending).await; tokio::time::sleep(GRACE).await } => {
            eprintln!(
                "wiretable: requests were under way for {} s after the end was asked for, and are cut off",
                GRACE.as_secs()
            );
            Ok(())
        }
    };
    keeping.abort();
    served.map_err(failed)
}

/// Waits until the end is asked for. A sender that is gone asks for it too.
async fn end_of(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Forgets what is old, every now and then.
async fn keep_house(app: Arc<App>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        if let Err(problem) = app.logins.expire().await {
            eprintln!("wiretable: what is old is not forgotten: {}", problem.detail);
        }
    }
}

fn router(app: Arc<App>) -> Router {
    // What is not described is not there.
    let described = openapi::paths().into_iter();
    described
        .fold(Router::new(), |router, path| router.route(&path, answerer(&path)))
        .fallback(|| async { Problem::not_found("there is nothing at this path").into_response() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method().into_response() })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), observe))
        .with_state(app)
}

/// What answers at a path of the description.
fn answerer(path: &str) -> MethodRouter<Arc<App>> {
    match path {
        "/v1/wrapTransaction" => post(calls::wrap),
        "/v1/readTable" => post(read::table),
        "/v1/query" => post(read::query),
        "/v1/traces" => post(telemetry::traces),
        "/v1/logs" => post(telemetry::logs),
        "/v1/metrics" => post(telemetry::metrics),
        "/v1/events" => get(events::provenance),
        "/v1/results/{relation}" => get(events::results),
        "/healthz" => get(|| async { "alive\n" }),
        "/readyz" => get(ready),
        "/metrics" => get(metrics::page),
        "/openapi.json" => get(openapi::page),
        call => {
            let is_call = calls::CALLS.iter().any(|name| call == format!("/v1/{name}"));
            assert!(is_call, "nothing answers at {call}, which is described");
            post(calls::one)
        }
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.logins.check().await {
        Ok(()) => "ready\n".into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Counts and times each request, and has answers say that nobody may keep or guess about them.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let began = std::time::Instant::now();
    let mut response = timing::told(next.run(request)).await;
    app.metrics.count(&path, response.status(), began.elapsed());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if response.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_description_has_an_answerer() {
        let paths = openapi::paths();
        assert!(paths.len() > calls::CALLS.len() + 10, "{paths:?}");
        paths.iter().for_each(|path| drop(answerer(path)));
    }
}
