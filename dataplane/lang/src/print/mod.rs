//! Trees to text: canonical, with as few parentheses as precedence allows, such that the text parses
//! to an equal tree.
//!
//! Trees that the parser cannot produce (a string with a line break, a float that is not finite, an
//! empty SELECT list) print as text that does not parse back.
//!
//! Queries print on one line; `{:#}` puts each clause on its own line.

mod ddl;
mod decl;
mod expr;
mod query;

use std::fmt::{self, Display, Formatter};

/// `a, b, c`
struct Commas<'a, T>(&'a [T]);

impl<T: Display> Display for Commas<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        separated(f, self.0, ", ")
    }
}

fn separated<T: Display>(f: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// A string literal.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("'")?;
        for (i, part) in self.0.split('\'').enumerate() {
            if i > 0 {
                f.write_str("''")?;
            }
            f.write_str(part)?;
        }
        f.write_str("'")
    }
}

/// A text that may stand bare where it is a name, and is quoted otherwise.
struct BareOrQuoted<'a>(&'a str);

impl Display for BareOrQuoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_name(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text reads back as the same text from a decimal integer.
fn is_uint(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|n| n.to_string() == text)
}
