//! `wiretable sql` and `wiretable call`: statements and procedures on the control plane's database.

use std::io::{self, IsTerminal, Write};

use postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use serde_json::{Value as Json, json};
use wt_catalog::{Ordering, Type, Value};
use wt_plan::physical::{ColumnInfo, Schema};

use crate::cli::Format;
use crate::cli::control::{CallArgs, SqlArgs};
use crate::cli::db::DatabaseArgs;
use crate::commands::db::url;
use crate::db::DbError;
use crate::db::connect::reason;
use crate::failure::Failure;
use crate::output::{Writer, text_writer};
use crate::session::read_text;

/// Runs statements in one transaction and prints the rows of each.
pub fn sql(args: &SqlArgs) -> Result<(), Failure> {
    let text = match (&args.file, &args.text) {
        (Some(path), _) => read_text(path)?,
        (None, Some(text)) => text.clone(),
        (None, None) => return Err(Failure::Input("no statement is given".to_owned())),
    };
    print(&mut connect(&args.place)?, &text, args.format)
}

/// Runs statements and prints their rows; on a terminal as a table unless a format is given.
pub fn print(client: &mut Client, text: &str, format: Option<Format>) -> Result<(), Failure> {
    let default = if io::stdout().is_terminal() { Format::Table } else { Format::Csv };
    let format = format.unwrap_or(default);
    let messages = client.simple_query(text).map_err(|e| refused("the statement", &e))?;
    let mut rows: Vec<SimpleQueryRow> = Vec::new();
    let mut columns: Option<Vec<String>> = None;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(description) => {
                columns = Some(description.iter().map(|c| c.name().to_owned()).collect());
            }
            SimpleQueryMessage::Row(row) => rows.push(row),
            SimpleQueryMessage::CommandComplete(n) => match columns.take() {
                Some(columns) => print_rows(&columns, &std::mem::take(&mut rows), format)?,
                None => eprintln!("wiretable: done, {n} rows"),
            },
            _ => {}
        }
    }
    Ok(())
}

/// Calls a procedure and prints what it returns; with `--dry-run` also what it would have done.
pub fn call(args: &CallArgs) -> Result<(), Failure> {
    let mut given = serde_json::Map::new();
    for argument in &args.arguments {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Failure::Input(format!("`{argument}` has no `=`; write name=value")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Json::String(value.to_owned()));
        if given.insert(name.to_owned(), value).is_some() {
            return Err(Failure::Input(format!("argument `{name}` is given twice")));
        }
    }
    let calls = json!([{ "call": "callProcedure", "procedure": args.procedure, "args": given }]);
    let answer = apply(&mut connect(&args.place)?, &args.procedure, &calls, args.dry_run)?;
    let shown = match args.dry_run {
        true => answer,
        false => answer.pointer("/results/0").cloned().unwrap_or_default(),
    };
    println!("{}", serde_json::to_string_pretty(&shown).unwrap_or_default());
    Ok(())
}

/// Runs a list of calls, all or nothing; a dry run says what it would have made.
pub fn apply(client: &mut Client, what: &str, calls: &Json, is_dry: bool) -> Result<Json, Failure> {
    // A tenant has an entry of its own, which knows it by its login.
    let statement = "SELECT CASE WHEN starts_with(session_user::text, 'wt_t_') THEN 'wt.tenant_apply' ELSE 'wt.apply' END";
    let entry: String =
        client.query_one(statement, &[]).map_err(|e| refused("the call", &e))?.get(0);
    let statement = format!("SELECT {entry}($1::text::jsonb, $2)::text");
    let row = client
        .query_one(&statement, &[&calls.to_string(), &is_dry])
        .map_err(|e| refused(what, &e))?;
    Ok(serde_json::from_str(row.get(0)).unwrap_or_default())
}

/// A text as a literal: rows of statements with arguments come back in the driver's forms.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Connects, and says who acts: provenance names the person besides the login.
pub fn connect(place: &DatabaseArgs) -> Result<Client, Failure> {
    let mut client = url(place)?.connect()?;
    let person = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok());
    if let Some(person) = person.filter(|p| !p.is_empty()) {
        client
            .execute("SELECT set_config('wt.actor', $1, false)", &[&person])
            .map_err(|e| refused("the session", &e))?;
    }
    Ok(client)
}

/// A statement that the server refuses.
pub fn refused(what: &str, error: &postgres::Error) -> Failure {
    let failure = DbError::Statement { what: format!("{what} is refused"), said: reason(error) };
    match error.as_db_error() {
        Some(_) => Failure::Input(failure.to_string()),
        None => failure.into(),
    }
}

fn print_rows(columns: &[String], rows: &[SimpleQueryRow], format: Format) -> Result<(), Failure> {
    let written = match format {
        Format::Json | Format::Ndjson => print_json(columns, rows, format == Format::Json),
        _ => print_text(columns, rows, format),
    };
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(e) => Err(Failure::Environment(format!("cannot write to standard output: {e}"))),
    }
}

/// Rows as Postgres writes values; NULL is null.
fn print_json(columns: &[String], rows: &[SimpleQueryRow], array: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if array {
        out.write_all(b"[")?;
    }
    for (index, row) in rows.iter().enumerate() {
        let field = |(i, name): (usize, &String)| {
            (name.clone(), row.get(i).map_or(Json::Null, |v| Json::String(v.to_owned())))
        };
        let object: serde_json::Map<String, Json> = columns.iter().enumerate().map(field).collect();
        let separator = match (array, index) {
            (true, 0) => "\n",
            (true, _) => ",\n",
            (false, _) => "",
        };
        write!(out, "{separator}{}", Json::Object(object))?;
        if !array {
            writeln!(out)?;
        }
    }
    if array { out.write_all(b"\n]\n") } else { Ok(()) }
}

/// Rows as a table or CSV; NULL is empty.
fn print_text(columns: &[String], rows: &[SimpleQueryRow], format: Format) -> io::Result<()> {
    let column = |name: &String| ColumnInfo {
        name: name.clone(),
        ty: Type::String,
        ordering: Ordering::Varying,
        window: false,
        subtype: None,
    };
    let schema = Schema { columns: columns.iter().map(column).collect() };
    let mut writer: Box<dyn Writer> = text_writer(Box::new(io::stdout()), &schema, format);
    for row in rows {
        let values: Vec<Value> =
            (0..columns.len()).map(|i| Value::bytes(row.get(i).unwrap_or_default())).collect();
        writer.row(&values)?;
    }
    writer.finish()
}
