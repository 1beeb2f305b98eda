//! Refusals and failures: `application/problem+json` (RFC 9457), with the database's SQLSTATE where it decided.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio_postgres::error::SqlState;

/// What is answered instead of a result.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// What was given, and what the limit is.
    pub(super) detail: String,
    /// What to do.
    pub(super) hint: Option<String>,
    /// The database's code.
    pub(super) code: Option<String>,
    /// Seconds after which it may go better.
    pub(super) retry_after_s: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), hint: None, code: None, retry_after_s: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail).hint("/openapi.json describes all paths")
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this path has another method")
            .hint("/openapi.json describes all paths")
    }

    /// The database is away, or has no connection to spare.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(1)
    }

    /// Whether the same request may go through in a moment: transactions stood in each other's way.
    pub(super) fn is_conflict_of_transactions(&self) -> bool {
        matches!(self.code.as_deref(), Some("40001" | "40P01"))
    }
}

/// The status that a SQLSTATE stands for.
fn status_of(code: &SqlState) -> StatusCode {
    let text = code.code();
    match text {
        "42501" => StatusCode::FORBIDDEN,
        // Things that are not there: functions, tables, schemas, columns, others.
        "42883" | "42P01" | "3F000" | "42703" | "42704" => StatusCode::NOT_FOUND,
        // Things that are there already, or are not in the state for this.
        "42P06" | "42P07" | "42723" | "42710" | "23505" | "55000" => StatusCode::CONFLICT,
        "WT003" | "WT004" => StatusCode::UNPROCESSABLE_ENTITY,
        "57014" => StatusCode::GATEWAY_TIMEOUT,
        "54000" | "54001" | "54011" | "54023" => StatusCode::PAYLOAD_TOO_LARGE,
        "40001" | "40P01" | "55P03" => StatusCode::SERVICE_UNAVAILABLE,
        _ => match &text[..2] {
            "08" | "53" | "57" | "58" => StatusCode::SERVICE_UNAVAILABLE,
            "21" | "22" | "25" | "28" | "2F" | "34" | "38" | "39" | "42" | "P0" | "0A" => {
                StatusCode::BAD_REQUEST
            }
            "23" | "44" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            use std::error::Error as _;
            // What the driver cannot say as a value is the caller's; the rest is a connection that broke.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            return Problem::unavailable(format!("the database is away: {reason}"));
        };
        let status = status_of(db.code());
        let detail = match db.detail() {
            Some(detail) => format!("{}: {detail}", db.message()),
            None => db.message().to_owned(),
        };
        Problem {
            status,
            detail,
            hint: db.hint().map(str::to_owned),
            code: Some(db.code().code().to_owned()),
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }
}

impl From<deadpool_postgres::PoolError> for Problem {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            deadpool_postgres::PoolError::Timeout(_) => {
                Problem::unavailable("all connections of this caller to the database are in use")
            }
            other => Problem::unavailable(other.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "title": self.status.canonical_reason().unwrap_or("failed"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        for (name, value) in [("hint", self.hint), ("code", self.code)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
