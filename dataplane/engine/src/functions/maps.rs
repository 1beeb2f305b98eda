//! `int_to_string_map`: names of numbers, from a file (gsql.md §20.3).

use std::collections::HashMap;
use std::path::Path;

use wt_catalog::Value;

use super::args::integer;
use super::table_file::{self, TABLE_BYTES_MAX, TABLE_ENTRIES_MAX};
use super::{Handle, HandleError, LineError, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "int_to_string_map" => |args, handle| {
            let Handle::Names(names) = handle? else { return None };
            Some(names.get(integer(args, 0)?))
        },
        _ => return None,
    })
}

/// Strings by number.
#[derive(Debug)]
pub struct IntNames {
    names: HashMap<i128, Value>,
    absent: Value,
}

impl IntNames {
    /// Reads lines `integer,string`: the string is the rest of the line after the first comma. The last line for a number
    /// counts.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or a line is malformed.
    pub fn open(path: &Path) -> Result<Self, HandleError> {
        let text = table_file::read(path, TABLE_BYTES_MAX)?;
        let mut names = HashMap::new();
        for (line, content) in table_file::lines(&text) {
            let (number, name) = parse_line(content).map_err(|error| HandleError::Line {
                path: path.to_path_buf(),
                line,
                error,
            })?;
            names.insert(number, Value::bytes(name));
            if names.len() > TABLE_ENTRIES_MAX {
                let limit = TABLE_ENTRIES_MAX;
                return Err(HandleError::TooManyEntries { path: path.to_path_buf(), limit });
            }
        }
        Ok(IntNames { names, absent: Value::bytes(b"") })
    }

    /// The name of a number, `''` when it has none.
    pub fn get(&self, number: i128) -> Value {
        self.names.get(&number).unwrap_or(&self.absent).clone()
    }
}

fn parse_line(line: &[u8]) -> Result<(i128, &[u8]), LineError> {
    let comma =
        memchr::memchr(b',', line).ok_or_else(|| LineError::NotMapLine(table_file::shown(line)))?;
    let number = line[..comma].trim_ascii();
    let bad = || LineError::BadInteger(table_file::shown(number));
    let value: i128 =
        std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
    if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
        return Err(bad());
    }
    Ok((value, &line[comma + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(name: &str, content: &[u8]) -> Result<IntNames, HandleError> {
        let path = std::env::temp_dir().join(format!("wt-names-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("written");
        let names = IntNames::open(&path);
        std::fs::remove_file(path).expect("removed");
        names
    }

    #[test]
    fn names_of_numbers() {
        let content = b"# ports\n80,http\r\n 443 , https, secured\n-1,minus\n80,web\n18446744073709551615,greatest\n7,\n8,\xff\n";
        let names = open("good", content).expect("good");
        let handle = Handle::Names(names);
        let run =
            |value: Value| scalar("int_to_string_map").expect("there")(&[value], Some(&handle));
        for (value, name) in [
            (Value::Uint(80), &b"web"[..]),
            (Value::Uint(443), b" https, secured"),
            (Value::Int(-1), b"minus"),
            (Value::Int(80), b"web"),
            (Value::Uint(u64::MAX), b"greatest"),
            (Value::Uint(7), b""),
            (Value::Uint(8), b"\xff"),
            (Value::Uint(9), b""),
        ] {
            assert_eq!(run(value.clone()), Some(Value::bytes(name)), "{value:?}");
        }
        assert_eq!(run(Value::bytes("80")), None);
    }

    #[test]
    fn malformed_lines_are_named() {
        for (line, message) in [
            ("80 http", "expected `integer,string`, found `80 http`"),
            ("x,http", "`x` is not an integer of 64 bits"),
            (",http", "`` is not an integer of 64 bits"),
            ("18446744073709551616,x", "`18446744073709551616` is not an integer of 64 bits"),
            ("-9223372036854775809,x", "`-9223372036854775809` is not an integer of 64 bits"),
        ] {
            let error = open("bad", format!("1,a\n{line}\n").as_bytes()).expect_err(line);
            assert!(error.to_string().ends_with(&format!("-bad:2: {message}")), "{error}");
        }
    }
}
