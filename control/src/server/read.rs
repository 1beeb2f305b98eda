//! Reads: a table by conditions, or a query. Both run READ ONLY, with the caller's rights.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde_json::{Map, Value, json};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::App;
use super::caller::{Caller, Purpose};
use super::calls::object;
use super::problem::Problem;
use super::timing;

/// Rows of an answer when nobody says.
const ROWS_DEFAULT: i64 = 1000;

/// A value as text, of whatever type the statement wants there.
#[derive(Debug)]
struct Text(Option<String>);

impl ToSql for Text {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match &self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl Text {
    fn of(value: &Value) -> Self {
        Self(match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
    }
}

/// `POST /v1/readTable`.
pub(super) async fn table(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Value>, Problem> {
    let (caller, mut body) = read(&app, request).await?;
    let mut text = |name: &str| match body.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Problem::bad_request(format!("`{name}` is no text"))),
    };
    let (schema, table) = (text("schema")?, text("table")?);
    let limit = limit(&mut body, &caller)?;
    let mut list = |name: &str| match body.remove(name) {
        None => Ok("[]".to_owned()),
        Some(value @ Value::Array(_)) => Ok(value.to_string()),
        Some(_) => Err(Problem::bad_request(format!("`{name}` is no list"))),
    };
    let (conditions, order) = (list("where")?, list("order")?);
    refuse_unknown(&body, "schema, table, where, order and limit")?;
    let statement = "SELECT r::text FROM wt.read_table($1, $2, $3, $4, $5) r";
    // One more shows whether there are more.
    let asked = (limit + 1).to_string();
    let params = [schema, table, conditions, order, asked].map(|text| Text(Some(text)));
    rows(&app, &caller, statement, &params, limit).await
}

/// `POST /v1/query`.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Json<Value>, Problem> {
    let (caller, mut body) = read(&app, request).await?;
    let Some(Value::String(sql)) = body.remove("sql") else {
        return Err(Problem::bad_request("`sql` is no text"));
    };
    let limit = limit(&mut body, &caller)?;
    let params = match body.remove("params") {
        None => Vec::new(),
        Some(Value::Array(values)) => values.iter().map(Text::of).collect(),
        Some(_) => return Err(Problem::bad_request("`params` is no list")),
    };
    refuse_unknown(&body, "sql, params and limit")?;
    let sql = sql.trim().trim_end_matches(';');
    // The line break ends a comment; more than one statement is refused by the protocol.
    let statement =
        format!("SELECT pg_catalog.to_jsonb(q)::text FROM ({sql}\n) q LIMIT {}", limit + 1);
    rows(&app, &caller, &statement, &params, limit).await
}

async fn read(app: &App, request: Request<Body>) -> Result<(Caller, Map<String, Value>), Problem> {
    let caller = Caller::of(app, request.headers(), Purpose::Read).await?;
    let body = object(&caller.body(request).await?)?;
    Ok((caller, body))
}

fn limit(body: &mut Map<String, Value>, caller: &Caller) -> Result<i64, Problem> {
    let most = i64::from(caller.rows_max);
    let Some(value) = body.remove("limit") else { return Ok(ROWS_DEFAULT.min(most)) };
    value
        .as_i64()
        .filter(|limit| (0..=most).contains(limit))
        .ok_or_else(|| Problem::bad_request(format!("`limit` is {value}; it may be 0 to {most}")))
}

fn refuse_unknown(body: &Map<String, Value>, known: &str) -> Result<(), Problem> {
    match body.keys().next() {
        Some(unknown) => Err(Problem::bad_request(format!("`{unknown}` is unknown"))
            .hint(format!("known are {known}"))),
        None => Ok(()),
    }
}

async fn rows(
    app: &App,
    caller: &Caller,
    statement: &str,
    params: &[Text],
    limit: i64,
) -> Result<Json<Value>, Problem> {
    let mut rows = timing::of_database(fetch(app, caller, statement, params)).await?;
    let has_more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Json(json!({ "rows": rows, "more": has_more })))
}

/// The rows of a transaction, which ends with the connection's return.
async fn fetch(
    app: &App,
    caller: &Caller,
    statement: &str,
    params: &[Text],
) -> Result<Vec<Value>, Problem> {
    let connection = app.logins.of(caller).await?;
    let (begun, prepared) =
        tokio::join!(caller.begin(&connection, "READ ONLY"), connection.prepare(statement));
    begun?;
    let prepared = prepared?;
    let wanted = prepared.params().len();
    if wanted != params.len() {
        return Err(Problem::bad_request(format!(
            "the statement has {wanted} parameters, and {} are given",
            params.len()
        )));
    }
    let params: Vec<&(dyn ToSql + Sync)> =
        params.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
    let rows = connection.query(&prepared, &params).await?;
    let parse = |row: &tokio_postgres::Row| {
        let text: Option<String> = row.get(0);
        text.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))
    };
    rows.iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::unavailable(format!("the database's answer is no JSON: {error}")))
}
