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
        "getlpmid_ip" | "getlpmid_inet" | "getv6lpmid_ipv6" | "getv6lpmid_inet" | "lpm" => id,
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
            let (address, length, id) = parse_line(content).map_err(|error| HandleError::Line {
                path: path.to_path_buf(),
                line,
                error,
            })?;
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

    /// Whether this very prefix is there.
    pub fn has(&self, address: IpAddr, length: u8) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.contains_key(&(u32::from(a), length)),
            IpAddr::V6(a) => self.v6.contains_key(&(u128::from(a), length)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("wt-lpm-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("written");
        path
    }

    fn open(name: &str, content: &[u8]) -> Result<PrefixTable, HandleError> {
        let path = file(name, content);
        let table = PrefixTable::open(&path);
        std::fs::remove_file(path).expect("removed");
        table
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn longest_prefix_of_the_family() {
        let table = open(
            "good",
            b"# peers\n0.0.0.0/0|1\r\n10.0.0.0/8|2\n\n10.1.2.3/16|3\n 10.1.2.3 / 32 | -4\n2001:db8::/32|5\n10.0.0.0/8|22\n::ffff:0:0/96|6",
        )
        .expect("good");
        assert_eq!(table.len(), 6);
        for (text, id) in [
            ("9.9.9.9", Some(1)),
            ("10.9.9.9", Some(22)),
            ("10.1.9.9", Some(3)),
            ("10.1.2.3", Some(-4)),
            ("2001:db8:1::", Some(5)),
            ("2001:db9::", None),
            ("::ffff:10.1.2.3", Some(6)),
        ] {
            assert_eq!(table.get(address(text)), id, "{text}");
        }
    }

    #[test]
    fn functions_give_minus_one_for_none() {
        let handle = Handle::Prefixes(Box::new(open("small", b"10.0.0.0/8|7\n").expect("good")));
        let run = |value: Value| scalar("lpm").expect("there")(&[value], Some(&handle));
        assert_eq!(run(Value::Ip([10, 1, 1, 1].into())), Some(Value::Int(7)));
        assert_eq!(run(Value::Inet(address("11.1.1.1"))), Some(Value::Int(-1)));
        assert_eq!(run(Value::Ipv6(1u128.into())), Some(Value::Int(-1)));
        assert_eq!(run(Value::Uint(1)), None);
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let table = open("empty", b"").expect("empty");
        assert!(table.is_empty());
        assert_eq!(table.get(address("1.2.3.4")), None);
    }

    #[test]
    fn malformed_lines_are_named() {
        for (line, message) in [
            ("10.0.0.0/8", "expected `prefix/length|id`, found `10.0.0.0/8`"),
            ("10.0.0.0|1", "expected `prefix/length|id`, found `10.0.0.0|1`"),
            ("10.0.0/8|1", "`10.0.0` is not an IPv4 or IPv6 address"),
            ("10.0.0.0/33|1", "`33` is not a prefix length from 0 to 32"),
            ("::/129|1", "`129` is not a prefix length from 0 to 128"),
            ("10.0.0.0/-1|1", "`-1` is not a prefix length from 0 to 32"),
            ("10.0.0.0/8|x", "`x` is not an integer of 32 bits, signed"),
            ("10.0.0.0/8|2147483648", "`2147483648` is not an integer of 32 bits, signed"),
            ("10.0.0.0/8|", "`` is not an integer of 32 bits, signed"),
        ] {
            let error = open("bad", format!("1.0.0.0/8|1\n\n{line}\n").as_bytes()).expect_err(line);
            assert!(error.to_string().ends_with(&format!("-bad:3: {message}")), "{error}");
        }
        assert!(matches!(
            open("binary", b"\xff\xfe\x00"),
            Err(HandleError::Line { line: 1, error: LineError::NotPrefixLine(_), .. })
        ));
    }

    #[test]
    fn an_absent_file_is_named() {
        let path = PathBuf::from("/nonexistent/peerid.tbl");
        let error = PrefixTable::open(&path).expect_err("absent");
        assert!(
            error.to_string().starts_with("cannot read `/nonexistent/peerid.tbl`: "),
            "{error}"
        );
        let directory = PrefixTable::open(&std::env::temp_dir()).expect_err("a directory");
        assert!(matches!(directory, HandleError::Unreadable { .. }));
    }

    /// The definition: of all prefixes that contain the address, the longest; of equals, the last.
    fn naive(entries: &[(u32, u8, i32)], address: u32) -> Option<i32> {
        let covers = |prefix: u32, length: u8| {
            let shift = 32 - u32::from(length);
            prefix.checked_shr(shift) == address.checked_shr(shift)
        };
        let fitting = entries.iter().filter(|(prefix, length, _)| covers(*prefix, *length));
        fitting.max_by_key(|(_, length, _)| *length).map(|(_, _, id)| *id)
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_of_all_prefixes(
            entries in prop::collection::vec((any::<u32>(), 0u8..=32, any::<i32>()), 0..60),
            others in prop::collection::vec(any::<u32>(), 0..20),
            low_bits in any::<u8>(),
        ) {
            let mut table = PrefixTable::default();
            let mut wide = PrefixTable::default();
            for &(prefix, length, id) in &entries {
                table.insert(IpAddr::V4(prefix.into()), length, id);
                wide.insert(IpAddr::V6((u128::from(prefix) << 96).into()), length, id);
            }
            // Addresses at and near the prefixes, and others.
            let near = entries.iter().flat_map(|e| [e.0, e.0 ^ u32::from(low_bits), e.0 ^ 1 << (low_bits % 32)]);
            for address in near.chain(others) {
                let expected = naive(&entries, address);
                prop_assert_eq!(table.get(IpAddr::V4(address.into())), expected);
                prop_assert_eq!(wide.get(IpAddr::V6((u128::from(address) << 96 | 7).into())), expected);
            }
        }

        #[test]
        fn any_line_is_an_answer(line in "[0-9a-f:./|# -]{0,40}") {
            let _ = parse_line(line.as_bytes());
        }
    }
}
