//! JSON: one array of objects, or one object per line. Numbers and truth values are JSON's own; NaN and infinities are null;
//! everything else is its canonical text.

use std::io::{self, Write};

use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::Writer;
use super::lines::{Lines, push_str, push_text, text};

/// Writes JSON.
pub struct Json<W: Write> {
    lines: Lines<W>,
    keys: Vec<(String, Type)>,
    /// Member that names the query, where several results share the stream.
    tag: Option<String>,
    array: bool,
    rows: u64,
}

impl<W: Write> Json<W> {
    /// One array, a row per line.
    pub fn array(out: W, schema: &Schema) -> Self {
        Self::new(out, schema, None, true)
    }

    /// One object per line; with a tag, each begins with `"query"`.
    pub fn lines(out: W, schema: &Schema, tag: Option<String>) -> Self {
        Self::new(out, schema, tag, false)
    }

    fn new(out: W, schema: &Schema, tag: Option<String>, array: bool) -> Self {
        let keys = schema.columns.iter().map(|c| (quoted(&c.name), c.ty)).collect();
        let tag = tag.map(|query| format!("\"query\":{}", quoted(&query)));
        // Results that share a stream take turns by row.
        let lines = if tag.is_some() { Lines::one_by_one(out) } else { Lines::new(out) };
        Self { lines, keys, tag, array, rows: 0 }
    }
}

impl<W: Write + Send> Writer for Json<W> {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        let line = self.lines.line();
        if self.array {
            push_str(line, if self.rows == 0 { "[\n " } else { ",\n " });
        }
        line.push(b'{');
        push_str(line, self.tag.as_deref().unwrap_or(""));
        for (i, (value, (key, ty))) in values.iter().zip(&self.keys).enumerate() {
            if i > 0 || self.tag.is_some() {
                line.push(b',');
            }
            push_str(line, key);
            line.push(b':');
            push_value(line, value, *ty);
        }
        line.push(b'}');
        if !self.array {
            line.push(b'\n');
        }
        self.rows += 1;
        self.lines.end()
    }

    fn window(&mut self) -> io::Result<()> {
        self.lines.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.array {
            push_str(self.lines.line(), if self.rows == 0 { "[]\n" } else { "\n]\n" });
        }
        self.lines.flush()
    }
}

fn push_value(line: &mut Vec<u8>, value: &Value, ty: Type) {
    match value {
        Value::Bool(b) => push_str(line, if *b { "true" } else { "false" }),
        Value::Uint(_) | Value::Int(_) => push_text(line, value, ty),
        Value::Float(f) if f.is_finite() => push_text(line, value, ty),
        Value::Float(_) => push_str(line, "null"),
        Value::Bytes(_) => push_str(line, &quoted(&text(value, ty))),
        // Nothing else has anything to escape in its text.
        _ => {
            line.push(b'"');
            push_text(line, value, ty);
            line.push(b'"');
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
