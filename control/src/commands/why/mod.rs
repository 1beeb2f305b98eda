//! `wiretable why`: from a row or a command back to what caused it, by one recursive query (`prov.story`).

mod dot;
mod tree;

use serde_json::Value;

use crate::cli::control::{WhyArgs, WhyFormat};
use crate::commands::db::url;
use crate::db::DbError;
use crate::db::connect::reason;
use crate::failure::Failure;

/// An event of a story.
#[derive(Debug)]
pub struct Step {
    /// Its place below the root.
    pub depth: usize,
    /// Ids from the root to this event.
    pub path: Vec<i64>,
    /// It is the event asked for, or one of its causes.
    pub on_path: bool,
    /// Its row of `prov.event`.
    pub event: Value,
}

impl Step {
    /// A text field of the event.
    pub fn text(&self, field: &str) -> &str {
        self.event.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// The event's number.
    pub fn id(&self) -> i64 {
        self.path.last().copied().unwrap_or_default()
    }
}

/// Prints the story of a row or a command.
pub fn why(args: &WhyArgs) -> Result<(), Failure> {
    let url = url(&args.place)?;
    let mut client = url.connect()?;
    let failed = |e: postgres::Error| {
        Failure::from(DbError::Statement { what: "cannot ask why".to_owned(), said: reason(&e) })
    };
    let (found, what) = match (&args.key, args.object.parse::<i64>()) {
        (None, Ok(command)) => {
            let row =
                client.query_opt("SELECT event FROM north.command WHERE id = $1", &[&command]);
            let event = row.map_err(failed)?.and_then(|row| row.get::<_, Option<i64>>(0));
            (event, format!("command {command}"))
        }
        (Some(key), _) => {
            let row = client.query_one("SELECT prov.latest($1, $2)", &[&args.object, key]);
            (row.map_err(failed)?.get(0), format!("{} {key}", args.object))
        }
        (None, Err(_)) => {
            return Err(Failure::Input(format!(
                "`{}` is no command, and without a key no row\n  help: write a number, or a table and a key, e.g. why net.nodes web-7",
                args.object
            )));
        }
    };
    let Some(event) = found else {
        return Err(Failure::Input(format!(
            "nothing is recorded of {what}\n  help: a table has its schema in front, and the columns of a key are joined by commas; \
             `wiretable sql 'SELECT DISTINCT object FROM prov.event'` lists what is"
        )));
    };
    if args.format == WhyFormat::Prov {
        let row = client.query_one("SELECT jsonb_pretty(prov.export($1))", &[&event]);
        println!("{}", row.map_err(failed)?.get::<_, String>(0));
        return Ok(());
    }
    let rows = client
        .query("SELECT depth, path, on_path, to_jsonb(event)::text FROM prov.story($1)", &[&event]);
    let rows = rows.map_err(failed)?;
    let steps = rows.iter().map(|row| Step {
        depth: row.get::<_, i32>(0).unsigned_abs() as usize,
        path: row.get(1),
        on_path: row.get(2),
        event: serde_json::from_str(row.get(3)).unwrap_or_default(),
    });
    let steps: Vec<Step> =
        steps.filter(|s| args.all || s.on_path || s.path.contains(&event)).collect();
    match args.format {
        WhyFormat::Tree => print!("{}", tree::tree(&steps, event)),
        WhyFormat::Dot => print!("{}", dot::dot(&steps, event)),
        WhyFormat::Json | WhyFormat::Prov => {
            let events: Vec<&Value> = steps.iter().map(|s| &s.event).collect();
            println!("{}", serde_json::to_string_pretty(&events).unwrap_or_default());
        }
    }
    Ok(())
}

/// What an event did, in one line without time and person.
pub fn describe(step: &Step) -> String {
    let mut line = format!("{} {}", step.text("op"), step.text("object"));
    let keys: Vec<&str> = list(&step.event, "keys").filter_map(Value::as_str).collect();
    const KEYS_SHOWN: usize = 3;
    if !keys.is_empty() {
        line.push_str(&format!(" [{}", keys[..keys.len().min(KEYS_SHOWN)].join("; ")));
        if keys.len() > KEYS_SHOWN {
            line.push_str(&format!("; … {} more", keys.len() - KEYS_SHOWN));
        }
        line.push(']');
    }
    let n = step.event.get("n").and_then(Value::as_i64).unwrap_or_default();
    if n > 1 {
        line.push_str(&format!(" {n} rows"));
    }
    if let Some(procedure) = step.event.get("procedure").and_then(Value::as_str) {
        let version = step.event.get("version").and_then(Value::as_i64);
        if step.text("op") != "call" {
            line.push_str(&format!(" → {procedure}"));
        }
        if let Some(version) = version {
            line.push_str(&format!(" version {version}"));
        }
    }
    if step.event.get("forged").and_then(Value::as_bool) == Some(true) {
        line.push_str(" (its cause was forged and has been dropped)");
    }
    line
}

/// The values of an event: what changed, where old and new are known, else what is there.
pub fn values(step: &Step) -> Option<String> {
    let (old, new) = (step.event.get("old"), step.event.get("new"));
    let text = match (step.text("op"), old, new) {
        ("update", Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            old.iter().zip(new).map(|(o, n)| changes(o, n)).collect::<Vec<_>>().join("; ")
        }
        (_, _, Some(new)) if !new.is_null() => new.to_string(),
        (_, Some(old), _) if !old.is_null() => old.to_string(),
        _ => return None,
    };
    const CHARS_SHOWN: usize = 200;
    let cut = text.char_indices().nth(CHARS_SHOWN).map(|(at, _)| at);
    let text = cut.map_or(text.clone(), |at| format!("{}…", &text[..at]));
    (!text.is_empty() && text != "{}").then_some(text)
}

fn changes(old: &Value, new: &Value) -> String {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return String::new() };
    let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    let none = Value::Null;
    let shown = changed.map(|(name, v)| format!("{name} {} → {v}", old.get(name).unwrap_or(&none)));
    shown.collect::<Vec<_>>().join(", ")
}

fn list<'a>(event: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    event.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub fn story() -> Vec<Step> {
        let step = |path: &[i64], on_path, event| Step {
            depth: path.len() - 1,
            path: path.to_vec(),
            on_path,
            event,
        };
        vec![
            step(
                &[1],
                true,
                json!({"op": "batch", "object": "result.flood", "keys": ["edge,1,2"], "n": 3, "at": "2026-11-26T12:00:00.5+00:00", "actor": "edge"}),
            ),
            step(
                &[1, 2],
                true,
                json!({"op": "trigger", "object": "hot on result.flood", "n": 1, "procedure": "lab.block", "version": 2, "new": [{"rate": 9}], "at": "2026-11-26T12:00:00.5+00:00", "actor": "edge", "login": "edge"}),
            ),
            step(
                &[1, 2, 3],
                true,
                json!({"op": "update", "object": "net.pods", "keys": ["a"], "n": 1, "old": [{"a": 1, "b": 2}], "new": [{"a": 1, "b": 3}], "at": "x", "actor": "ada", "login": "web"}),
            ),
            step(
                &[1, 4],
                false,
                json!({"op": "delete", "object": "net.pods", "keys": ["1", "2", "3", "4"], "n": 4, "at": "x", "actor": "ada", "forged": true}),
            ),
        ]
    }

    #[test]
    fn events_read_as_sentences() {
        let story = story();
        assert_eq!(describe(&story[0]), "batch result.flood [edge,1,2] 3 rows");
        assert_eq!(describe(&story[1]), "trigger hot on result.flood → lab.block version 2");
        assert_eq!(values(&story[1]).as_deref(), Some("[{\"rate\":9}]"));
        assert_eq!(values(&story[2]).as_deref(), Some("b 2 → 3"));
        assert_eq!(values(&story[0]), None);
        assert_eq!(
            describe(&story[3]),
            "delete net.pods [1; 2; 3; … 1 more] 4 rows (its cause was forged and has been dropped)"
        );
    }
}
