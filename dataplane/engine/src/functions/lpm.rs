//! Longest-prefix match over a table read from a file: `getlpmid`, `getv6lpmid`, `lpm` (gsql.md §20.3, protocols.md).

use std::net::IpAddr;
use std::path::Path;

use prefix_trie::PrefixMap;
use wt_catalog::Value;

use super::args::address;
use super::table_file::{self, TABLE_BYTES_MAX, TABLE_ENTRIES_MAX};
use super::{Handle, HandleError, LineError, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "getlpmid" | "getlpmid_ip" | "getlpmid_inet" | "getv6lpmid" | "getv6lpmid_ipv6" => id,
        "lpm" => id,
        _ => return None,
    })
}

fn id(args: &[Value], handle: Option<&Handle>) -> Option<Value> {
    let Handle::Prefixes(table) = handle? else { return None };
    Some(Value::Int(table.get(address(args, 0)?).map_or(-1, i64::from)))
}

/// Identifiers by prefix, both families in one table.
#[derive(Debug, Default)]
pub struct PrefixTable {
    v4: PrefixMap<(u32, u8), i32>,
    v6: PrefixMap<(u128, u8), i32>,
}

impl PrefixTable {
    /// Reads lines `prefix/length|id` of either family. Bits of an address beyond its length are ignored; of two lines with
    /// the same prefix the last counts.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or a line is malformed.
    pub fn open(path: &Path) -> Result<Self, HandleError> {
        let text = table_file::read(path, TABLE_BYTES_MAX)?;
        let mut table = PrefixTable::default();
        for (line, content) in table_file::lines(&text) {
            let (address, length, id) = parse_line(content)
                .map_err(|error| HandleError::Line { path: path.to_path_buf(), line, error })?;
            table.insert(address, length, id);
            if table.len() > TABLE_ENTRIES_MAX {
                let limit = TABLE_ENTRIES_MAX;
                return Err(HandleError::TooManyEntries { path: path.to_path_buf(), limit });
            }
        }
        Ok(table)
    }

    /// Adds a prefix. A length beyond the family's is cut to it.
    pub fn insert(&mut self, address: IpAddr, length: u8, id: i32) {
        match address {
            IpAddr::V4(a) => self.v4.insert((u32::from(a), length.min(32)), id),
            IpAddr::V6(a) => self.v6.insert((u128::from(a), length.min(128)), id),
        };
    }

    /// How many prefixes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// No prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifier of the longest prefix of the address's family that contains it.
    pub fn get(&self, address: IpAddr) -> Option<i32> {
        match address {
            IpAddr::V4(a) => self.v4.get_lpm(&(u32::from(a), 32)).map(|(_, id)| *id),
            IpAddr::V6(a) => self.v6.get_lpm(&(u128::from(a), 128)).map(|(_, id)| *id),
        }
    }
}

fn parse_line(line: &[u8]) -> Result<(IpAddr, u8, i32), LineError> {
    let not_a_line = || LineError::NotPrefixLine(table_file::shown(line));
    let text = std::str::from_utf8(line).map_err(|_| not_a_line())?;
    let (prefix, id) = text.split_once('|').ok_or_else(not_a_line)?;
    let (address, length) = prefix.split_once('/').ok_or_else(not_a_line)?;
    let address: IpAddr = address
        .trim()
        .parse()
        .map_err(|_| LineError::BadAddress(table_file::shown(address.trim().as_bytes())))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let length = match length.trim().parse::<u8>() {
        Ok(n) if n <= max => n,
        _ => {
            let length = table_file::shown(length.trim().as_bytes());
            return Err(LineError::BadLength { length, max });
        }
    };
    let id = id.trim();
    let id = id.parse().map_err(|_| LineError::BadId(table_file::shown(id.as_bytes())))?;
    Ok((address, length, id))
}
