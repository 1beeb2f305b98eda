//! Telemetry in: OTLP/HTTP 1.x, traces, logs and metrics, as protobuf or JSON, plain or gzip. The rows of a request are stored as a whole, in a transaction
//! that they may share with those of other requests (`store`): those that are there already are ignored, those too old or too new are rejected and
//! counted (partial success). What was answered is committed.

mod logs;
mod points;
mod rows;
mod spans;
mod store;
mod value;

use std::io::Read;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::logs::v1 as logs_service;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics_service;
use opentelemetry_proto::tonic::collector::trace::v1 as trace_service;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::rows::Rows;
use self::store::Store;
use super::App;
use super::caller::{Caller, Purpose};
use super::logins::Logins;
use super::problem::Problem;

/// Where the rows of each signal gather.
pub(super) struct Stores {
    spans: Store,
    logs: Store,
    points: Store,
}

impl Stores {
    pub(super) fn new(logins: &Arc<Logins>) -> Self {
        let new = || Store::new(logins);
        Self { spans: new(), logs: new(), points: new() }
    }
}

/// `POST /v1/traces`.
pub(super) async fn traces(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (caller, form, request): (_, _, trace_service::ExportTraceServiceRequest) =
        receive(&app, request).await?;
    let mut rows = Rows::new(&spans::SIGNAL);
    for of_resource in &request.resource_spans {
        for of_scope in &of_resource.scope_spans {
            let (resource, scope) = (of_resource.resource.as_ref(), of_scope.scope.as_ref());
            let origin = rows.origin(caller.tenant(), resource, scope);
            of_scope.spans.iter().for_each(|span| spans::add(span, &origin, &mut rows));
        }
    }
    let rejected = put(&app.telemetry.spans, &caller, rows).await?;
    let partial_success = rejected.map(|(rejected_spans, error_message)| {
        trace_service::ExportTracePartialSuccess { rejected_spans, error_message }
    });
    Ok(form.answer(&trace_service::ExportTraceServiceResponse { partial_success }))
}

/// `POST /v1/logs`.
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (caller, form, request): (_, _, logs_service::ExportLogsServiceRequest) =
        receive(&app, request).await?;
    let mut rows = Rows::new(&logs::SIGNAL);
    for of_resource in &request.resource_logs {
        for of_scope in &of_resource.scope_logs {
            let (resource, scope) = (of_resource.resource.as_ref(), of_scope.scope.as_ref());
            let origin = rows.origin(caller.tenant(), resource, scope);
            of_scope.log_records.iter().for_each(|log| logs::add(log, &origin, &mut rows));
        }
    }
    let rejected = put(&app.telemetry.logs, &caller, rows).await?;
    let partial_success = rejected.map(|(rejected_log_records, error_message)| {
        logs_service::ExportLogsPartialSuccess { rejected_log_records, error_message }
    });
    Ok(form.answer(&logs_service::ExportLogsServiceResponse { partial_success }))
}

/// `POST /v1/metrics`.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (caller, form, request): (_, _, metrics_service::ExportMetricsServiceRequest) =
        receive(&app, request).await?;
    let mut rows = Rows::new(&points::SIGNAL);
    for of_resource in &request.resource_metrics {
        for of_scope in &of_resource.scope_metrics {
            let (resource, scope) = (of_resource.resource.as_ref(), of_scope.scope.as_ref());
            let origin = rows.origin(caller.tenant(), resource, scope);
            of_scope.metrics.iter().for_each(|metric| points::add(metric, &origin, &mut rows));
        }
    }
    let rejected = put(&app.telemetry.points, &caller, rows).await?;
    let partial_success = rejected.map(|(rejected_data_points, error_message)| {
        metrics_service::ExportMetricsPartialSuccess { rejected_data_points, error_message }
    });
    Ok(form.answer(&metrics_service::ExportMetricsServiceResponse { partial_success }))
}

/// How requests and answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let given = given.unwrap_or_default();
        match given.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("content type `{given}` is not understood"),
            )
            .hint("send application/x-protobuf or application/json")),
        }
    }

    fn answer(self, message: &(impl Message + Serialize)) -> Response {
        let (kind, body) = match self {
            Self::Protobuf => ("application/x-protobuf", message.encode_to_vec()),
            // What was made here has nothing that JSON has not.
            Self::Json => ("application/json", serde_json::to_vec(message).unwrap_or_default()),
        };
        ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
    }
}

async fn receive<M: Message + Default + DeserializeOwned>(
    app: &App,
    request: Request<Body>,
) -> Result<(Caller, Form, M), Problem> {
    let caller = Caller::of(app, request.headers(), Purpose::Ingest).await?;
    let form = Form::of(request.headers())?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).cloned();
    let body = caller.body(request).await?;
    let body = unpack(body, encoding.as_ref(), caller.body_bytes_max)?;
    let message = match form {
        Form::Protobuf => M::decode(body).map_err(|error| error.to_string()),
        Form::Json => serde_json::from_slice(&body).map_err(|error| error.to_string()),
    };
    let message = message
        .map_err(|error| Problem::bad_request(format!("the body is no OTLP request: {error}")))?;
    Ok((caller, form, message))
}

/// A body as it was before it was packed, as far as the caller may send.
fn unpack(body: Bytes, encoding: Option<&HeaderValue>, limit: usize) -> Result<Bytes, Problem> {
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let reader = flate2::read::MultiGzDecoder::new(&body[..]);
            let read = reader.take(limit as u64 + 1).read_to_end(&mut plain);
            read.map_err(|error| Problem::bad_request(format!("the body is no gzip: {error}")))?;
            if plain.len() > limit {
                let detail = format!("the body has more than {limit} bytes when it is unpacked");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            Ok(plain.into())
        }
        Some(_) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content encoding is not understood",
        )
        .hint("send gzip, or none")),
    }
}

/// Stores the rows of a request; how many were rejected, and why.
async fn put(store: &Store, caller: &Caller, rows: Rows) -> Result<Option<(i64, String)>, Problem> {
    let invalid = rows.invalid;
    let untimely = if rows.len() == 0 { 0 } else { store.put(caller, rows).await? };
    let message = match (untimely, invalid) {
        (0, 0) => return Ok(None),
        (_, 0) => "their times are further from now than otel.setting allows",
        (0, _) => "their ids or times are not as OTLP has them",
        _ => {
            "their ids or times are not as OTLP has them, or further from now than otel.setting allows"
        }
    };
    Ok(Some((untimely + invalid, message.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_packed_body_may_not_grow_beyond_the_limit() {
        let packed = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            Bytes::from(encoder.finish().unwrap())
        };
        let gzip = HeaderValue::from_static("gzip");
        let zeros = vec![0; 1 << 20];
        let unpacked = unpack(packed(&zeros), Some(&gzip), 1 << 20).unwrap();
        assert_eq!(unpacked.len(), 1 << 20);
        let refused = unpack(packed(&zeros), Some(&gzip), (1 << 20) - 1).unwrap_err();
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        let refused = unpack(Bytes::from_static(b"x"), Some(&gzip), 100).unwrap_err();
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let zstd = HeaderValue::from_static("zstd");
        let refused = unpack(Bytes::new(), Some(&zstd), 100).unwrap_err();
        assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
