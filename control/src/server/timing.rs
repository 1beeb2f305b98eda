//! How long the database takes of a request, which its answer tells: `Server-Timing: db;dur=2.71` (W3C Server Timing), in ms. That is the time from asking for a
//! connection until the commit is answered, of all tries; what a request shares with others is in the figure of each.

use std::cell::Cell;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::response::Response;

/// The header's name.
const SERVER_TIMING: &str = "server-timing";

tokio::task_local! {
    /// What the request that the task answers has waited for the database.
    static DATABASE: Cell<Duration>;
}

/// Has a request answered; the answer tells how long the database took, if it was asked.
pub(super) async fn told(answering: impl Future<Output = Response>) -> Response {
    let (mut response, took) = DATABASE
        .scope(Cell::default(), async {
            let response = answering.await;
            (response, DATABASE.with(Cell::get))
        })
        .await;
    if !took.is_zero() {
        let value = format!("db;dur={:.3}", took.as_secs_f64() * 1e3);
        // Figures and plain letters are always a value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(SERVER_TIMING, value);
        }
    }
    response
}

/// Does what waits for the database, for the request of this task.
pub(super) async fn of_database<T>(work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    add(began.elapsed());
    done
}

/// Adds what was waited for the database by another task.
pub(super) fn add(took: Duration) {
    // Outside of a request nobody is told.
    let _ = DATABASE.try_with(|all| all.set(all.get() + took));
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn an_answer_tells_what_was_waited_for_the_database() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let header = |response: &Response| response.headers().get(SERVER_TIMING).cloned();
        let without = runtime.block_on(told(async { "alive".into_response() }));
        assert_eq!(header(&without), None);
        let with = runtime.block_on(told(async {
            add(Duration::from_micros(1_500));
            add(Duration::from_micros(250));
            "done".into_response()
        }));
        assert_eq!(header(&with).unwrap(), "db;dur=1.750");
        // Outside of a request there is nobody to tell.
        add(Duration::from_secs(1));
    }
}
