//! Comma-separated values (RFC 4180): header line, quotes where needed, `\n` line ends.

use std::io::{self, Write};

use wt_catalog::{Type, Value};
use wt_plan::physical::Schema;

use super::Writer;
use super::lines::{Lines, push_str, push_text, text};

/// Writes CSV.
pub struct Csv<W: Write> {
    lines: Lines<W>,
    types: Vec<Type>,
    header: Option<Vec<u8>>,
}

impl<W: Write> Csv<W> {
    /// A writer; the header is written with the first row, or at the end when there is none.
    pub fn new(out: W, schema: &Schema) -> Self {
        let mut header = Vec::new();
        for (i, column) in schema.columns.iter().enumerate() {
            if i > 0 {
                header.push(b',');
            }
            push_field(&mut header, &column.name);
        }
        header.push(b'\n');
        let types = schema.columns.iter().map(|c| c.ty).collect();
        Self { lines: Lines::new(out), types, header: Some(header) }
    }

    fn start(&mut self) {
        if let Some(header) = self.header.take() {
            self.lines.line().extend(header);
        }
    }
}

impl<W: Write + Send> Writer for Csv<W> {
    fn row(&mut self, values: &[Value]) -> io::Result<()> {
        self.start();
        let line = self.lines.line();
        for (i, (value, ty)) in values.iter().zip(&self.types).enumerate() {
            if i > 0 {
                line.push(b',');
            }
            match value {
                // Nothing else has anything to quote in its text.
                Value::Bytes(_) => push_field(line, &text(value, *ty)),
                _ => push_text(line, value, *ty),
            }
        }
        line.push(b'\n');
        self.lines.end()
    }

    fn window(&mut self) -> io::Result<()> {
        self.lines.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.start();
        self.lines.flush()
    }
}

fn push_field(line: &mut Vec<u8>, field: &str) {
    if field.contains([',', '"', '\n', '\r']) {
        line.push(b'"');
        push_str(line, &field.replace('"', "\"\""));
        line.push(b'"');
    } else {
        push_str(line, field);
    }
}
