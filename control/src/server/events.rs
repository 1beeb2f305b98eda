//! Provenance and results out, as server-sent events (WHATWG HTML §9.2): each has an id, and a client that comes back says the last it had.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::App;
use super::caller::{Caller, Purpose};
use super::problem::Problem;

/// How often there is looked for something new.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Events that are fetched at once, and that wait for a slow client.
const EVENTS_AT_ONCE: i64 = 500;

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(super) struct After {
    /// Behind this event; without it, behind the newest there is.
    after: Option<i64>,
}

/// What is followed: numbered rows as JSON.
struct Feed {
    /// Name of the events.
    name: &'static str,
    /// Selects (number, JSON) of rows behind $1 of a relation $2, in order, at most $3.
    rows: String,
    /// Selects the newest number of a relation $1.
    newest: &'static str,
    relation: String,
}

/// `GET /v1/events`: the log of what happened, as it happens.
pub(super) async fn provenance(
    State(app): State<Arc<App>>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let caller = Caller::of(&app, &headers, Purpose::Read).await?;
    let feed = Feed {
        name: "event",
        // Numbers are given out before transactions end: one that began earlier may appear later, so those still running are waited for.
        rows: "SELECT id, to_jsonb(e)::text FROM prov.event e WHERE id > $1 AND $2 = '' AND e.txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY id LIMIT $3".to_owned(),
        newest: "SELECT coalesce(max(id), 0) FROM prov.event WHERE $1 = ''",
        relation: String::new(),
    };
    follow(app, caller, after.after, headers, feed).await
}

/// `GET /v1/results/RELATION`: the rows of a result, batch by batch.
pub(super) async fn results(
    State(app): State<Arc<App>>,
    Path(relation): Path<String>,
    Query(after): Query<After>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let caller = Caller::of(&app, &headers, Purpose::Read).await?;
    let known = "SELECT FROM res.relation r WHERE r.relation = $1::text::name";
    // Results of others are not told apart from those that are not there. No name has a null character.
    let is_known = !relation.contains('\0')
        && app.logins.of(&caller).await?.query_opt(known, &[&relation]).await?.is_some();
    if !is_known {
        return Err(Problem::not_found(format!("there is no result `{relation}`")));
    }
    let table = format!("result.\"{}\"", relation.replace('"', "\"\""));
    let rows = format!(
        "SELECT b.event, jsonb_build_object('appliance', b.appliance_id, 'epoch', b.epoch, 'seq', b.seq, 'completeness', b.completeness, 'rows', \
         (SELECT coalesce(jsonb_agg(to_jsonb(r) - '{{wt_appliance,wt_epoch,wt_seq}}'::text[]), '[]') FROM {table} r \
          WHERE r.wt_at BETWEEN b.at_min AND b.at_max AND (r.wt_appliance, r.wt_epoch, r.wt_seq) = (b.appliance_id, b.epoch, b.seq)))::text \
         FROM res.batch b JOIN prov.event e ON e.id = b.event \
         WHERE b.relation = $2 AND b.event > $1 AND e.txid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY b.event LIMIT $3"
    );
    let feed = Feed {
        name: "batch",
        rows,
        newest: "SELECT coalesce(max(event), 0) FROM res.batch WHERE relation = $1",
        relation,
    };
    follow(app, caller, after.after, headers, feed).await
}

async fn follow(
    app: Arc<App>,
    caller: Caller,
    after: Option<i64>,
    headers: HeaderMap,
    feed: Feed,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut from = match last.or(after) {
        Some(from) => from,
        None => {
            app.logins.of(&caller).await?.query_one(feed.newest, &[&feed.relation]).await?.get(0)
        }
    };
    let (sender, receiver) = mpsc::channel(EVENTS_AT_ONCE as usize);
    tokio::spawn(async move {
        let mut ending = app.ending.clone();
        loop {
            // A database that is away for a while ends the stream; the client comes back with its last id.
            let Ok(next) = fetch(&app, &caller, &feed, from).await else { return };
            for (id, text) in next {
                from = id;
                let event = Event::default().id(id.to_string()).event(feed.name).data(text);
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = ending.wait_for(|ending| *ending) => return,
                () = sender.closed() => return,
            }
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (event, receiver))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

async fn fetch(
    app: &App,
    caller: &Caller,
    feed: &Feed,
    from: i64,
) -> Result<Vec<(i64, String)>, Problem> {
    let connection = app.logins.of(caller).await?;
    let statement = connection.prepare_cached(&feed.rows).await?;
    let rows = connection.query(&statement, &[&from, &feed.relation, &EVENTS_AT_ONCE]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
