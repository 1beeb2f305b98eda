//! Longest-prefix match over a table read from a file: `getlpmid`, `getv6lpmid`, `lpm` (gsql.md §20.3, protocols.md).

mod trie;

use std::net::IpAddr;
use std::path::Path;

use wt_catalog::Value;

use self::trie::{Prefix, Trie};
use super::args::address;
use super::table_file::{self, TABLE_BYTES_MAX, TABLE_ENTRIES_MAX};
use super::{Handle, HandleError, LineError, ScalarFn};

/// The identifier of addresses that no prefix contains.
const NO_ID: i64 = -1;

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    is_symbol(symbol).then_some(id)
}

/// Whether a symbol looks an address up in a table: its one argument.
pub(crate) fn is_symbol(symbol: &str) -> bool {
    matches!(
        symbol,
        "getlpmid_ip" | "getlpmid_inet" | "getv6lpmid_ipv6" | "getv6lpmid_inet" | "lpm"
    )
}

fn id(args: &[Value], handle: Option<&Handle>) -> Option<Value> {
    let Handle::Prefixes(table) = handle? else { return None };
    Some(Value::Int(id_of(table.get(address(args, 0)?))))
}

/// What the functions give for the identifier found.
#[inline]
pub(crate) fn id_of(found: Option<i32>) -> i64 {
    found.map_or(NO_ID, i64::from)
}

/// Identifiers by prefix, both families in one table. It does not change once it is made.
#[derive(Debug, Default)]
pub struct PrefixTable {
    v4: Trie<u32>,
    v6: Trie<u128>,
    len: usize,
}

/// Prefixes for a table.
#[derive(Default)]
struct Prefixes {
    v4: Vec<Prefix<u32>>,
    v6: Vec<Prefix<u128>>,
    /// How many there may be before equal ones are dropped again.
    room: usize,
}

impl Prefixes {
    /// Adds a prefix. Whether there are no more than a table may have.
    fn add(&mut self, address: IpAddr, length: u8, id: i32) -> bool {
        match address {
            IpAddr::V4(a) => self.v4.push(Prefix::new(u32::from(a), length, id)),
            IpAddr::V6(a) => self.v6.push(Prefix::new(u128::from(a), length, id)),
        }
        if self.len() <= TABLE_ENTRIES_MAX.max(self.room) {
            return true;
        }
        // Equal ones count once: they are only looked for when there seem to be too many.
        self.sort();
        self.room = self.len() + TABLE_ENTRIES_MAX / 4;
        self.len() <= TABLE_ENTRIES_MAX
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn sort(&mut self) {
        trie::sort(&mut self.v4);
        trie::sort(&mut self.v6);
    }

    /// The table, unless there are too many.
    fn table(mut self) -> Option<PrefixTable> {
        self.sort();
        let len = self.len();
        (len <= TABLE_ENTRIES_MAX).then(|| PrefixTable {
            v4: Trie::new(&self.v4),
            v6: Trie::new(&self.v6),
            len,
        })
    }
}

impl PrefixTable {
    /// Reads lines `prefix/length|id` of either family. Bits of an address beyond its length are ignored; of two lines with
    /// the same prefix the last counts.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or a line is malformed.
    pub fn open(path: &Path) -> Result<Self, HandleError> {
        let text = table_file::read(path, TABLE_BYTES_MAX)?;
        let mut prefixes = Prefixes::default();
        let limit = TABLE_ENTRIES_MAX;
        let too_many = || HandleError::TooManyEntries { path: path.to_path_buf(), limit };
        for (line, content) in table_file::lines(&text) {
            let (address, length, id) = parse_line(content).map_err(|error| HandleError::Line {
                path: path.to_path_buf(),
                line,
                error,
            })?;
            if !prefixes.add(address, length, id) {
                return Err(too_many());
            }
        }
        prefixes.table().ok_or_else(too_many)
    }

    /// A table of these prefixes, of which the last of equal ones counts. A length beyond the family's is cut to it. Nothing when there are
    /// more than [`TABLE_ENTRIES_MAX`].
    pub fn of(prefixes: impl IntoIterator<Item = (IpAddr, u8, i32)>) -> Option<Self> {
        let mut all = Prefixes::default();
        for (address, length, id) in prefixes {
            if !all.add(address, length, id) {
                return None;
            }
        }
        all.table()
    }

    /// How many prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory in use, bytes.
    pub fn bytes(&self) -> u64 {
        self.v4.bytes() + self.v6.bytes()
    }

    /// The identifier of the longest prefix of the address's family that contains it.
    #[inline]
    pub fn get(&self, address: IpAddr) -> Option<i32> {
        match address {
            IpAddr::V4(a) => self.get_v4(u32::from(a)),
            IpAddr::V6(a) => self.get_v6(u128::from(a)),
        }
    }

    /// As [`Self::get`], of IPv4.
    #[inline]
    pub(crate) fn get_v4(&self, address: u32) -> Option<i32> {
        self.v4.get(address)
    }

    /// As [`Self::get`], of IPv6.
    #[inline]
    pub(crate) fn get_v6(&self, address: u128) -> Option<i32> {
        self.v6.get(address)
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

    #[test]
    fn equal_prefixes_count_once_however_many() {
        let host = |n: usize| IpAddr::V4((n as u32 % 1000).into());
        let many = (0..TABLE_ENTRIES_MAX + 2000).map(|n| (host(n), 32, n as i32));
        let table = PrefixTable::of(many).expect("a thousand");
        assert_eq!(table.len(), 1000);
        let last = (0..1000).map(|n| table.get(host(n)).expect("listed")).max();
        assert_eq!(last, Some(TABLE_ENTRIES_MAX as i32 + 1999));
        let different = (0..=TABLE_ENTRIES_MAX as u32).map(|n| (IpAddr::V4(n.into()), 32, 0));
        assert!(PrefixTable::of(different).is_none());
    }

    proptest! {
        #[test]
        fn any_line_is_an_answer(line in "[0-9a-f:./|# -]{0,40}") {
            let _ = parse_line(line.as_bytes());
        }
    }
}
