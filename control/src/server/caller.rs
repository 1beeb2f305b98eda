//! Who asks: a token, the role and tenant it stands for, and the limits of both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use deadpool_postgres::Object;
use tokio::sync::oneshot;
use tokio_postgres::Row;

use super::App;
use super::gather::Gather;
use super::logins::Logins;
use super::problem::Problem;

/// Longest token that is looked at, bytes; ours have 68.
const TOKEN_BYTES_MAX: usize = 200;

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Sends results and telemetry, and reads nothing.
    Ingest,
    /// Reads.
    Viewer,
    /// Makes and calls.
    Operator,
    /// Manages.
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "wt_ingest" => Self::Ingest,
            "wt_viewer" => Self::Viewer,
            "wt_operator" => Self::Operator,
            "wt_admin" => Self::Admin,
            _ => return None,
        })
    }

    /// The LOGIN role of people with this role.
    pub(super) fn login(self) -> &'static str {
        match self {
            Self::Ingest => "wt_s_ingest",
            Self::Viewer => "wt_s_viewer",
            Self::Operator => "wt_s_operator",
            Self::Admin => "wt_s_admin",
        }
    }
}

/// Somebody whose token is good.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token: i64,
    pub(super) role: Role,
    pub(super) tenant: Option<String>,
    label: String,
    pub(super) body_bytes_max: usize,
    requests_per_s: u32,
    pub(super) statement_ms: i32,
    pub(super) rows_max: i32,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading.
    Read,
    /// Making and calling.
    Write,
    /// Sending telemetry.
    Ingest,
}

impl Caller {
    /// The caller of a request, who may do this and has not done too much of late.
    pub(super) async fn of(
        app: &App,
        headers: &HeaderMap,
        purpose: Purpose,
    ) -> Result<Self, Problem> {
        let unknown = |detail: &str| {
            Problem::new(StatusCode::UNAUTHORIZED, detail)
                .hint("send `Authorization: Bearer TOKEN`; `wiretable token create` makes one")
        };
        let token = headers.get(header::AUTHORIZATION);
        let token = token.ok_or_else(|| unknown("there is no token"))?.to_str();
        let token = token.ok().and_then(|value| value.strip_prefix("Bearer "));
        let token = token.filter(|token| token.len() <= TOKEN_BYTES_MAX && !token.contains('\0'));
        let token = token.ok_or_else(|| unknown("the token is not understood"))?;
        let caller = app.tokens.check(token).await?;
        let caller =
            caller.ok_or_else(|| unknown("the token is unknown, has expired or was revoked"))?;
        caller.check(purpose)?;
        app.limiter.admit(caller.token, caller.requests_per_s)?;
        Ok(caller)
    }

    /// As the database describes the holder of a token.
    fn from_row(row: &Row) -> Option<Self> {
        let role: String = row.get("role");
        Some(Self {
            token: row.get("token_id"),
            role: Role::parse(&role)?,
            tenant: row.get("tenant"),
            label: row.get("label"),
            body_bytes_max: usize::try_from(row.get::<_, i64>("body_bytes_max")).unwrap_or(0),
            requests_per_s: row.get::<_, i32>("requests_per_s").unsigned_abs(),
            statement_ms: row.get("statement_ms"),
            rows_max: row.get("rows_max"),
        })
    }

    fn check(&self, purpose: Purpose) -> Result<(), Problem> {
        let (may, what) = match purpose {
            Purpose::Read => (self.role >= Role::Viewer, "read"),
            Purpose::Write => (self.role >= Role::Operator, "make or call anything"),
            Purpose::Ingest => (self.role != Role::Viewer, "send telemetry"),
        };
        let role = match self.role {
            Role::Ingest => "wt_ingest",
            Role::Viewer => "wt_viewer",
            Role::Operator => "wt_operator",
            Role::Admin => "wt_admin",
        };
        match may {
            true => Ok(()),
            false => Err(Problem::forbidden(format!("a token of {role} may not {what}"))
                .hint("ask an administrator for another token")),
        }
    }

    /// Its name for provenance.
    pub(super) fn name(&self) -> &str {
        &self.label
    }

    /// The tenant that what it sends belongs to.
    pub(super) fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or("system")
    }

    /// The LOGIN role that its statements run as.
    pub(super) fn login(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("wt_t_{tenant}"),
            None => self.role.login().to_owned(),
        }
    }

    /// Reads a body, as far as this caller may send.
    pub(super) async fn body(&self, request: Request<Body>) -> Result<Bytes, Problem> {
        let limit = self.body_bytes_max;
        let declared = request.headers().get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {limit} bytes"),
            )
            .hint("send less at a time")
        };
        if declared.is_some_and(|declared| declared > limit as u64) {
            return Err(too_large());
        }
        axum::body::to_bytes(request.into_body(), limit).await.map_err(|error| {
            use std::error::Error as _;
            let is_limit =
                error.source().is_some_and(|source| source.to_string().contains("length limit"));
            match is_limit {
                true => too_large(),
                false => Problem::bad_request(format!("the body cannot be read: {error}")),
            }
        })
    }

    /// Begins a transaction as this caller: its time limit, its name for provenance, and whether it may write. It is one message, so that others can be
    /// sent behind it before it is answered.
    pub(super) async fn begin(
        &self,
        connection: &Object,
        how: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let (milliseconds, name) = (self.statement_ms, literal(&self.label));
        let statements = format!(
            "BEGIN {how}; SET LOCAL statement_timeout = {milliseconds}; SELECT pg_catalog.set_config('wt.actor', {name}, true)"
        );
        connection.batch_execute(&statements).await
    }
}

/// A text as a literal, whatever the session has set about backslashes. The database has no texts with a null character.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\0', ""))
}

/// Looks up tokens: those of requests that come at the same time by one statement. Nothing is remembered, so that a token that was revoked is
/// worth nothing from then on.
pub(super) struct Tokens(Gather<Asked>);

/// A token, and who wants to know.
struct Asked {
    token: String,
    answer: oneshot::Sender<Result<Option<Caller>, Problem>>,
}

/// Tokens of a statement.
const TOKENS_MAX: usize = 256;

impl Tokens {
    pub(super) fn new(logins: &Arc<Logins>) -> Self {
        let logins = Arc::clone(logins);
        Self(Gather::new(
            TOKENS_MAX,
            |_: &Asked| 1,
            move |group: Vec<Asked>| {
                let logins = Arc::clone(&logins);
                async move {
                    let tokens: Vec<&str> = group.iter().map(|asked| &*asked.token).collect();
                    let mut found = look_up(&logins, &tokens).await;
                    for (number, asked) in group.into_iter().enumerate() {
                        let caller = match &mut found {
                            Ok(callers) => Ok(callers[number].take()),
                            Err(problem) => Err(problem.clone()),
                        };
                        // Whoever has gone away needs no answer.
                        let _ = asked.answer.send(caller);
                    }
                }
            },
        ))
    }

    /// Whose token it is, if it is good.
    async fn check(&self, token: &str) -> Result<Option<Caller>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.0.add(Asked { token: token.to_owned(), answer }).await;
        let broken = |_| Problem::unavailable("the token was not looked up");
        answered.await.map_err(broken)?
    }
}

async fn look_up(logins: &Logins, tokens: &[&str]) -> Result<Vec<Option<Caller>>, Problem> {
    let auth = logins.connection("wt_s_auth").await?;
    let statement = "SELECT t.number, c.* FROM unnest($1::text[]) WITH ORDINALITY AS t (token, number) \
                     CROSS JOIN LATERAL sec.check_token(t.token) AS c";
    let statement = auth.prepare_cached(statement).await?;
    let mut callers = vec![None; tokens.len()];
    for row in auth.query(&statement, &[&tokens]).await? {
        let number: i64 = row.get("number");
        callers[number as usize - 1] = Caller::from_row(&row);
    }
    Ok(callers)
}

/// Rates of requests, by token: as many at once as it may send in a second.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<i64, Bucket>>);

struct Bucket {
    left: f64,
    at: Instant,
}

/// Tokens that are remembered; the fullest buckets say nothing and are forgotten.
const BUCKETS_MAX: usize = 10_000;

impl Limiter {
    fn admit(&self, token: i64, per_s: u32) -> Result<(), Problem> {
        self.admit_at(token, per_s, Instant::now())
    }

    fn admit_at(&self, token: i64, per_s: u32, now: Instant) -> Result<(), Problem> {
        let most = f64::from(per_s);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            // A bucket that is a second old is full.
            buckets.retain(|_, bucket| now.duration_since(bucket.at).as_secs() < 1);
        }
        let bucket = buckets.entry(token).or_insert(Bucket { left: most, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * most;
        bucket.left = (bucket.left + gained).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            let detail = format!("more than {per_s} requests in a second");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).after(1));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_literals() {
        assert_eq!(literal("ada"), "E'ada'");
        assert_eq!(literal("o'neil\\'; DROP"), "E'o''neil\\\\''; DROP'");
    }

    #[test]
    fn a_token_may_do_so_much_in_a_second() {
        let limiter = Limiter::default();
        let begin = Instant::now();
        let admitted = |count: usize, at: Instant| {
            (0..count).filter(|_| limiter.admit_at(7, 10, at).is_ok()).count()
        };
        assert_eq!(admitted(30, begin), 10);
        assert_eq!(admitted(30, begin + Duration::from_millis(500)), 5);
        assert_eq!(admitted(30, begin + Duration::from_secs(60)), 10);
        assert!(limiter.admit_at(8, 10, begin).is_ok());
        let refused = limiter.admit_at(7, 10, begin + Duration::from_secs(60)).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after_s), (429, Some(1)));
    }
}
