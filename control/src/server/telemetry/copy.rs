//! Rows in COPY's text format (PostgreSQL, "COPY", File Formats).

use serde_json::Value;

use super::value::{self, hex};

/// Rows, growing.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// Rows that no table takes.
    invalid: i64,
}

/// A row, growing.
pub(super) struct Row<'r> {
    bytes: &'r mut Vec<u8>,
    is_first: bool,
}

impl Rows {
    /// A row, whose columns follow in order.
    pub(super) fn add(&mut self, fill: impl FnOnce(&mut Row<'_>)) {
        fill(&mut Row { bytes: &mut self.bytes, is_first: true });
        self.bytes.push(b'\n');
    }

    /// A row that no table takes.
    pub(super) fn reject(&mut self) {
        self.invalid += 1;
    }

    /// What is to be copied, and how many rows are not.
    pub(super) fn end(self) -> (Vec<u8>, i64) {
        (self.bytes, self.invalid)
    }
}

impl Row<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_first) {
            self.bytes.push(b'\t');
        }
        self.bytes
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.next().extend_from_slice(b"\\N");
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let out = self.next();
        for byte in value::plain(text).bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                byte => out.push(byte),
            }
        }
        self
    }

    /// A text, or NULL for none.
    pub(super) fn text_if_any(&mut self, text: &str) -> &mut Self {
        if text.is_empty() { self.null() } else { self.text(text) }
    }

    pub(super) fn number(&mut self, number: impl ToString) -> &mut Self {
        self.next().extend_from_slice(number.to_string().as_bytes());
        self
    }

    pub(super) fn real(&mut self, number: f64) -> &mut Self {
        let text = match number {
            n if n.is_nan() => "NaN".to_owned(),
            n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            n => n.to_string(),
        };
        self.next().extend_from_slice(text.as_bytes());
        self
    }

    /// Bytes, or NULL for none.
    pub(super) fn bytes_if_any(&mut self, bytes: &[u8]) -> &mut Self {
        if bytes.is_empty() {
            return self.null();
        }
        let out = self.next();
        out.extend_from_slice(b"\\\\x");
        out.extend_from_slice(hex(bytes).as_bytes());
        self
    }

    pub(super) fn json(&mut self, value: &Value) -> &mut Self {
        self.text(&value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_escaped() {
        let mut rows = Rows::default();
        rows.add(|row| {
            row.text("a\tb\\c\nd\re\0f").null().number(-7).real(f64::NAN).real(-f64::INFINITY);
            row.bytes_if_any(&[0, 0xff])
                .bytes_if_any(&[])
                .text_if_any("")
                .json(&json!({"k": "\\\n"}));
        });
        rows.reject();
        let (bytes, invalid) = rows.end();
        let expected = "a\\tb\\\\c\\nd\\re\u{fffd}f\t\\N\t-7\tNaN\t-Infinity\t\\\\x00ff\t\\N\t\\N\t{\"k\":\"\\\\\\\\\\\\n\"}\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(invalid, 1);
    }
}
