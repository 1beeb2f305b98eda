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
            let (number, name) = parse_line(content)
                .map_err(|error| HandleError::Line { path: path.to_path_buf(), line, error })?;
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
    let comma = memchr::memchr(b',', line)
        .ok_or_else(|| LineError::NotMapLine(table_file::shown(line)))?;
    let number = line[..comma].trim_ascii();
    let bad = || LineError::BadInteger(table_file::shown(number));
    let value: i128 = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
    if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
        return Err(bad());
    }
    Ok((value, &line[comma + 1..]))
}
