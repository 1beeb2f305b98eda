//! What the server itself does, as Prometheus reads it (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;

/// Requests by path and status.
#[derive(Default)]
pub(super) struct Metrics(Mutex<BTreeMap<(String, u16), Count>>);

#[derive(Clone, Copy, Default)]
struct Count {
    requests: u64,
    seconds: f64,
}

impl Metrics {
    pub(super) fn count(&self, path: &str, status: StatusCode, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry((path.to_owned(), status.as_u16())).or_default();
        count.requests += 1;
        count.seconds += took.as_secs_f64();
    }

    fn text(&self, connections: &[(String, usize, usize)]) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Count) -> String| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((path, status), count) in &all {
                let value = value(count);
                let _ = writeln!(out, "{name}{{path=\"{path}\",status=\"{status}\"}} {value}");
            }
        };
        family("wiretable_http_requests_total", "counter", "Requests answered.", &|count| {
            count.requests.to_string()
        });
        family("wiretable_http_seconds_total", "counter", "Time that they took.", &|count| {
            format!("{:.6}", count.seconds)
        });
        let name = "wiretable_database_connections";
        let _ = writeln!(out, "# HELP {name} Connections to the database.\n# TYPE {name} gauge");
        for (login, used, open) in connections {
            let _ = writeln!(out, "{name}{{login=\"{login}\",state=\"used\"}} {used}");
            let _ = writeln!(out, "{name}{{login=\"{login}\",state=\"open\"}} {open}");
        }
        out
    }
}

/// `GET /metrics`. Whoever reaches the server may read it: there are no data of callers in it.
pub(super) async fn page(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.text(&app.logins.usage().await);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
