//! Client of the control plane's server (`wiretable serve`): the calls of DBNet (§3.1 of its paper) by their names, over HTTP.
//!
//! ```no_run
//! use serde_json::json;
//! use wt_client::{Client, Column, Table};
//!
//! let client = Client::new("http://127.0.0.1:8080", "wt_…")?;
//! client.create_schema("lab")?;
//! let site = Column { primary_key: true, ..Column::new("site", "text") };
//! client.create_table("lab", "rates", &[site, Column::new("rate", "double precision")])?;
//! let doubled = client.call_procedure("lab.set_rate", json!({ "site": "berlin", "rate": 12.5 }))?;
//! let rates = client.read_table(&Table { order: vec!["site".into()], ..Table::new("lab", "rates") })?;
//! # Ok::<(), wt_client::Error>(())
//! ```
//!
//! A call that comes back without an answer may have been made; with [`Client::once`] it can be sent again, and is made once. The client speaks plain HTTP, to a
//! server on this host or a TLS proxy beside it.

mod call;

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;

pub use self::call::{Call, Column, Condition, Event, Parameter, Procedure, Table, Trigger};

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How long a call may take; the server ends a statement earlier.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given as the server's URL is none that this client can use.
    #[error("`{url}` is no URL such as http://127.0.0.1:8080")]
    Url {
        /// As given.
        url: String,
    },
    /// The server refuses, or the database does (RFC 9457).
    #[error("status {status}: {detail}{}", hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}")))]
    Refused {
        /// Status of HTTP.
        status: u16,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: Option<String>,
        /// SQLSTATE, where the database decided.
        code: Option<String>,
    },
    /// The server is not to be reached, or broke off: the call may have been made.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The answer is something else than this client expects.
    #[error("the answer is not understood: {0}")]
    Answer(String),
}

/// A server as one caller sees it.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    token: String,
    key: Option<String>,
}

/// Rows of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Rows {
    /// Each an object, by column.
    pub rows: Vec<Value>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// What a list of calls would do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DryRun {
    /// By call.
    pub results: Vec<Value>,
    /// Events that it would append.
    pub events: Vec<Value>,
    /// Commands that devices would get.
    pub commands: Vec<Value>,
}

impl Client {
    /// A server at a URL, asked with a token (`wiretable token create`).
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(url: &str, token: &str) -> Result<Self, Error> {
        let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let is_host = |h: &&str| !h.is_empty() && !h.contains(['/', '?', '#', '@', ' ']);
        let Some(host) = host.filter(is_host) else {
            return Err(Error::Url { url: url.to_owned() });
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .user_agent("wt-client")
            .build();
        let (base, token) = (format!("http://{host}"), token.to_owned());
        Ok(Self { agent: config.into(), base, token, key: None })
    }

    /// The same server; what is written through it is done once, however often it is sent with this key, within a day.
    #[must_use]
    pub fn once(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// `createSchema`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`]; so are those of all calls.
    pub fn create_schema(&self, schema: &str) -> Result<(), Error> {
        self.one(&Call::CreateSchema { schema: schema.to_owned() }).map(drop)
    }

    /// `createTable`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn create_table(&self, schema: &str, table: &str, columns: &[Column]) -> Result<(), Error> {
        let (schema, table, columns) = (schema.to_owned(), table.to_owned(), columns.to_vec());
        self.one(&Call::CreateTable { schema, table, columns }).map(drop)
    }

    /// `createStoredProcedure`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn create_stored_procedure(&self, procedure: &Procedure) -> Result<(), Error> {
        self.one(&Call::CreateStoredProcedure(procedure.clone())).map(drop)
    }

    /// `createTrigger`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn create_trigger(&self, trigger: &Trigger) -> Result<(), Error> {
        self.one(&Call::CreateTrigger(trigger.clone())).map(drop)
    }

    /// `dropTrigger`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn drop_trigger(&self, schema: &str, table: &str, name: &str) -> Result<(), Error> {
        let [schema, table, name] = [schema, table, name].map(str::to_owned);
        self.one(&Call::DropTrigger { schema, table, name }).map(drop)
    }

    /// `createAssertion`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn create_assertion(&self, schema: &str, name: &str) -> Result<(), Error> {
        let [schema, name] = [schema, name].map(str::to_owned);
        self.one(&Call::CreateAssertion { schema, name }).map(drop)
    }

    /// `callProcedure`; what it returns.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn call_procedure(&self, procedure: &str, args: Value) -> Result<Value, Error> {
        self.one(&Call::CallProcedure { procedure: procedure.to_owned(), args })
    }

    /// `wrapTransaction`: all calls or none; their results, in order.
    ///
    /// # Errors
    /// The server or the database refuses, or does not answer.
    pub fn wrap_transaction(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        let mut answer = self.post("wrapTransaction", &json!({ "calls": calls }))?;
        decoded(answer["results"].take())
    }

    /// `wrapTransaction` with `dryRun`: what the calls would do, of which nothing stays.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn dry_run(&self, calls: &[Call]) -> Result<DryRun, Error> {
        decoded(self.post("wrapTransaction", &json!({ "calls": calls, "dryRun": true }))?)
    }

    /// `readTable`.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn read_table(&self, table: &Table) -> Result<Rows, Error> {
        decoded(self.post("readTable", &json!(table))?)
    }

    /// `query`: one SELECT, with the values of `$1` and so on, and at most so many rows.
    ///
    /// # Errors
    /// As [`Self::wrap_transaction`].
    pub fn query(&self, sql: &str, params: &[Value], limit: u32) -> Result<Rows, Error> {
        decoded(self.post("query", &json!({ "sql": sql, "params": params, "limit": limit }))?)
    }

    /// One call, by its own path.
    fn one(&self, call: &Call) -> Result<Value, Error> {
        let mut body = json!(call);
        let name = body.as_object_mut().and_then(|body| body.remove("call"));
        let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
        let mut answer = self.post(name, &body)?;
        Ok(answer["result"].take())
    }

    fn post(&self, name: &str, body: &Value) -> Result<Value, Error> {
        let mut request = self
            .agent
            .post(format!("{}/v1/{name}", self.base))
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Bearer {}", self.token));
        if let Some(key) = &self.key {
            request = request.header("Idempotency-Key", key);
        }
        let no_answer = |error: ureq::Error| Error::NoAnswer(error.to_string());
        let mut response = request.send(body.to_string()).map_err(no_answer)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(no_answer)?;
        if (200..300).contains(&status) {
            return serde_json::from_str(&text).map_err(|e| Error::Answer(e.to_string()));
        }
        // What stands between may answer in words of its own.
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let said = |field: &str| problem[field].as_str().map(str::to_owned);
        let detail = said("detail").unwrap_or_else(|| text.chars().take(200).collect());
        Err(Error::Refused { status, detail, hint: said("hint"), code: said("code") })
    }
}

fn decoded<T: DeserializeOwned>(answer: Value) -> Result<T, Error> {
    serde_json::from_value(answer).map_err(|error| Error::Answer(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_plain_urls() {
        for url in ["http://127.0.0.1:8080", "http://[::1]:8080/", "http://host"] {
            assert!(Client::new(url, "t").is_ok(), "{url}");
        }
        for url in ["", "127.0.0.1:8080", "https://host", "http://", "http://u@h", "http://h/x"] {
            assert!(matches!(Client::new(url, "t"), Err(Error::Url { .. })), "{url}");
        }
    }

    #[test]
    fn who_does_not_listen_gives_no_answer() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = closed.local_addr().expect("an address");
        drop(closed);
        let client = Client::new(&format!("http://{address}"), "t").expect("a URL");
        assert!(matches!(client.create_schema("lab"), Err(Error::NoAnswer(_))));
    }
}
