//! Writes: one call or a list of them, all or nothing, once for an idempotency key, or dry.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_postgres::types::ToSql;

use super::App;
use super::caller::{Caller, Purpose};
use super::problem::Problem;
use super::timing;

/// Calls that have a path of their own: /v1/NAME.
pub(super) const CALLS: [&str; 7] = [
    "createSchema",
    "createTable",
    "createStoredProcedure",
    "createTrigger",
    "dropTrigger",
    "createAssertion",
    "callProcedure",
];

/// How often a transaction that stood in another's way is tried again.
const TRIES: u32 = 6;

/// What has been asked for.
struct Write {
    calls: Value,
    is_dry: bool,
    key: Option<String>,
    /// Of the request, for the key.
    digest: Vec<u8>,
    is_list: bool,
}

/// `POST /v1/createSchema` and so on: one call.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let (caller, key, mut body) = read(&app, request).await?;
    let is_dry = take_dry(&mut body)?;
    if body.contains_key("call") {
        return Err(Problem::bad_request("`call` is given by the path"));
    }
    body.insert("call".to_owned(), Value::String(name));
    if caller.tenant.is_some() {
        // A tenant makes things of its own, whatever it says.
        body.remove("tenant");
    }
    let calls = Value::Array(vec![Value::Object(body)]);
    run(&app, &caller, Write::new(calls, is_dry, key, false)).await
}

/// `POST /v1/wrapTransaction`: a list of calls.
pub(super) async fn wrap(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (caller, key, mut body) = read(&app, request).await?;
    let is_dry = take_dry(&mut body)?;
    let calls = body.remove("calls").filter(Value::is_array);
    let calls = calls.ok_or_else(|| {
        Problem::bad_request("`calls` is no list")
            .hint("write {\"calls\": [{\"call\": \"callProcedure\", \"procedure\": \"schema.name\", \"args\": {}}]}")
    })?;
    if let Some(unknown) = body.keys().next() {
        return Err(Problem::bad_request(format!("`{unknown}` is unknown"))
            .hint("known are `calls` and `dryRun`"));
    }
    run(&app, &caller, Write::new(calls, is_dry, key, true)).await
}

async fn read(
    app: &App,
    request: Request<Body>,
) -> Result<(Caller, Option<String>, Map<String, Value>), Problem> {
    let caller = Caller::of(app, request.headers(), Purpose::Write).await?;
    let key = key_of(request.headers())?;
    let body = object(&caller.body(request).await?)?;
    Ok((caller, key, body))
}

/// The request's idempotency key (draft-ietf-httpapi-idempotency-key-header).
fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().map(|key| key.trim_matches('"'));
    let key = key.filter(|key| (1..=200).contains(&key.len()));
    let wrong = || Problem::bad_request("the idempotency key is not 1 to 200 plain letters");
    Ok(Some(key.ok_or_else(wrong)?.to_owned()))
}

/// A body that is a JSON object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON: {error}")))?;
    // Postgres has no such character.
    if has_nul(&value) {
        return Err(Problem::bad_request(
            "the body has the character \\u0000, which no text of the database can hold",
        ));
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::bad_request("the body is no JSON object")),
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(has_nul),
        Value::Object(all) => all.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

fn take_dry(body: &mut Map<String, Value>) -> Result<bool, Problem> {
    match body.remove("dryRun") {
        None => Ok(false),
        Some(Value::Bool(is_dry)) => Ok(is_dry),
        Some(other) => Err(Problem::bad_request(format!("`dryRun` is true or false, not {other}"))),
    }
}

impl Write {
    fn new(calls: Value, is_dry: bool, key: Option<String>, is_list: bool) -> Self {
        let digest = Sha256::digest(calls.to_string().as_bytes()).to_vec();
        // A dry run leaves nothing, so there is nothing to do only once.
        Self { calls, is_dry, key: key.filter(|_| !is_dry), digest, is_list }
    }
}

/// Runs a write, again when transactions stood in each other's way.
async fn run(app: &App, caller: &Caller, write: Write) -> Result<Response, Problem> {
    let mut tries = 1;
    let (answer, is_replayed) = loop {
        match timing::of_database(attempt(app, caller, &write)).await {
            Err(problem) if problem.is_conflict_of_transactions() && tries < TRIES => {
                // Further apart each time, and not at the same moment as the other.
                let spread = u64::from(std::process::id()) ^ caller.token.unsigned_abs();
                let pause = (1_u64 << tries) + spread % (1 << tries);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                tries += 1;
            }
            done => break done?,
        }
    };
    let shown = match (write.is_list || write.is_dry, answer) {
        (true, answer) => answer,
        (false, mut answer) => json!({
            "result": answer.pointer_mut("/results/0").map_or(Value::Null, Value::take),
            "dryRun": false,
        }),
    };
    let mut response = Json(shown).into_response();
    if is_replayed {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotency-replayed", replayed);
    }
    Ok(response)
}

/// One try; the answer, and whether it was given before. What does not depend on an answer goes out before it comes; after a failure COMMIT takes back
/// what was done, and its own answer tells nothing.
async fn attempt(app: &App, caller: &Caller, write: &Write) -> Result<(Value, bool), Problem> {
    let connection = app.logins.of(caller).await?;
    // A list is a transaction of the caller's making: as if nothing else ran.
    let isolation = if write.is_list { "ISOLATION LEVEL SERIALIZABLE" } else { "" };
    let entry = if caller.tenant.is_some() { "wt.tenant_apply" } else { "wt.apply" };
    let apply = format!("SELECT {entry}($1::text::jsonb, $2)::text");
    let apply = connection.prepare_cached(&apply).await?;
    let calls = write.calls.to_string();
    let parameters = [&calls as &(dyn ToSql + Sync), &write.is_dry];
    let begin = caller.begin(&connection, isolation);
    let apply = connection.query_one(&apply, &parameters);
    let Some(key) = &write.key else {
        let (begun, applied, committed) =
            tokio::join!(begin, apply, connection.batch_execute("COMMIT"));
        begun?;
        let answer: String = applied?.get(0);
        committed?;
        return Ok((parse(&answer)?, false));
    };
    begin.await?;
    let begin = connection.prepare_cached("SELECT wt.answer_begin($1, $2)::text").await?;
    let known: Option<String> = connection.query_one(&begin, &[key, &write.digest]).await?.get(0);
    if let Some(known) = known {
        connection.batch_execute("ROLLBACK").await?;
        return Ok((parse(&known)?, true));
    }
    let answer: String = apply.await?.get(0);
    let end = connection.prepare_cached("SELECT wt.answer_end($1, $2::text::jsonb)").await?;
    connection.query_one(&end, &[key, &answer]).await?;
    connection.batch_execute("COMMIT").await?;
    Ok((parse(&answer)?, false))
}

fn parse(text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text)
        .map_err(|error| Problem::unavailable(format!("the database's answer is no JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_objects() {
        for (body, why) in [
            (&b"{"[..], "no JSON"),
            (b"[1]", "no JSON object"),
            (b"{\"a\": [\"\\u0000\"]}", "\\u0000"),
            (b"{\"\\u0000\": 1}", "\\u0000"),
        ] {
            let problem = object(body).unwrap_err();
            assert!(problem.status.as_u16() == 400 && problem.detail.contains(why), "{problem:?}");
        }
        let mut body = object(b"{\"dryRun\": true, \"x\": 1}").unwrap();
        assert!(take_dry(&mut body).unwrap() && body.len() == 1);
        let mut body = object(b"{\"dryRun\": \"yes\"}").unwrap();
        assert!(take_dry(&mut body).unwrap_err().detail.contains("\"yes\""));
    }

    #[test]
    fn keys_are_short_and_plain() {
        let key = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(value).unwrap());
            key_of(&headers)
        };
        assert_eq!(key(b"\"abc\"").unwrap().as_deref(), Some("abc"));
        assert_eq!(key_of(&HeaderMap::new()).unwrap(), None);
        for wrong in [&b""[..], b"\"\"", &[b'x'; 201], "ü".as_bytes()] {
            assert!(key(wrong).is_err(), "{wrong:?}");
        }
    }
}
