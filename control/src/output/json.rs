//! JSON: one array of objects, or one object per line. Numbers and truth values are JSON's own; NaN and infinities are null;
//! everything else is its canonical text.

use std::io::{self, Write};

use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::{Writer, push_text, text};

/// Writes JSON.
pub struct Json<W: Write> {
    out: W,
    keys: Vec<(String, Type)>,
    /// Member that names the query, where several results share the stream.
    tag: Option<String>,
    array: bool,
    rows: u64,
    line: String,
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
        Self { out, keys, tag, array, rows: 0, line: String::new() }
    }
}

impl<W: Write + Send> Writer for Json<W> {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.line.clear();
        if self.array {
            self.line.push_str(if self.rows == 0 { "[\n " } else { ",\n " });
        }
        self.line.push('{');
        self.line.push_str(self.tag.as_deref().unwrap_or(""));
        for (i, (value, (key, ty))) in values.iter().zip(&self.keys).enumerate() {
            if i > 0 || self.tag.is_some() {
                self.line.push(',');
            }
            self.line.push_str(key);
            self.line.push(':');
            push_value(&mut self.line, value, *ty);
        }
        self.line.push('}');
        if !self.array {
            self.line.push('\n');
        }
        self.rows += 1;
        self.out.write_all(self.line.as_bytes())
    }

    fn window(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.array {
            self.out.write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()
    }
}

fn push_value(line: &mut String, value: &Value, ty: Type) {
    match value {
        Value::Bool(b) => line.push_str(if *b { "true" } else { "false" }),
        Value::Uint(_) | Value::Int(_) => push_text(line, value, ty),
        Value::Float(f) if f.is_finite() => line.push_str(&text(value, ty)),
        Value::Float(_) => line.push_str("null"),
        _ => line.push_str(&quoted(&text(value, ty))),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
