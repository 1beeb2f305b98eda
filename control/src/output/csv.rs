//! Comma-separated values (RFC 4180): header line, quotes where needed, `\n` line ends.

use std::io::{self, Write};

use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::{Writer, push_text, text};

/// Writes CSV.
pub struct Csv<W: Write> {
    out: W,
    types: Vec<Type>,
    header: Option<String>,
    line: String,
}

impl<W: Write> Csv<W> {
    /// A writer; the header is written with the first row, or at the end when there is none.
    pub fn new(out: W, schema: &Schema) -> Self {
        let mut header = String::new();
        for (i, column) in schema.columns.iter().enumerate() {
            if i > 0 {
                header.push(',');
            }
            push_field(&mut header, &column.name);
        }
        header.push('\n');
        let types = schema.columns.iter().map(|c| c.ty).collect();
        Self { out, types, header: Some(header), line: String::new() }
    }

    fn start(&mut self) -> io::Result<()> {
        match self.header.take() {
            Some(header) => self.out.write_all(header.as_bytes()),
            None => Ok(()),
        }
    }
}

impl<W: Write + Send> Writer for Csv<W> {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.start()?;
        self.line.clear();
        for (i, (value, ty)) in values.iter().zip(&self.types).enumerate() {
            if i > 0 {
                self.line.push(',');
            }
            match value {
                // Nothing else has anything to quote in its text.
                Value::Bytes(_) => push_field(&mut self.line, &text(value, *ty)),
                _ => push_text(&mut self.line, value, *ty),
            }
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    fn window(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.start()?;
        self.out.flush()
    }
}

fn push_field(line: &mut String, field: &str) {
    if field.contains([',', '"', '\n', '\r']) {
        line.push('"');
        for c in field.chars() {
            if c == '"' {
                line.push('"');
            }
            line.push(c);
        }
        line.push('"');
    } else {
        line.push_str(field);
    }
}
