//! Watchlists (gsql.md §18): the keys of a comma-separated file, and IN over them.
//!
//! A record is a line; its fields are separated by commas and have no quotes. The key of an address type may be an address or
//! a block, as the members of IN may. A malformed line is skipped and counted.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use wt_catalog::text::parse_as;
use wt_catalog::{Type, Value};
use wt_plan::logical::IN_WATCHLIST;
use wt_plan::watchlist::{WatchlistField, WatchlistSource};

use super::lpm::PrefixTable;
use super::table_file::{self, TABLE_BYTES_MAX, TABLE_ENTRIES_MAX};
use super::{Handle, HandleError, LineError, ScalarFn};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    (symbol == IN_WATCHLIST).then_some(is_listed)
}

fn is_listed(args: &[Value], handle: Option<&Handle>) -> Option<Value> {
    let Handle::Watchlist(list) = handle? else { return None };
    Some(Value::Bool(list.contains(args.first()?)))
}

/// The keys of a watchlist.
#[derive(Debug)]
pub struct Watchlist {
    keys: Keys,
    skipped: Option<SkippedLines>,
}

/// Malformed lines of a file, which count for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedLines {
    /// The file.
    pub path: PathBuf,
    /// How many.
    pub lines: usize,
    /// The first of them, from 1.
    pub first: usize,
    /// What is wrong with that one.
    pub error: LineError,
}

impl fmt::Display for SkippedLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, lines, first, error } = self;
        let (noun, which) = if *lines == 1 { ("line", "") } else { ("lines", "the first: ") };
        write!(
            f,
            "skipped {lines} malformed {noun} of a watchlist; {which}{}:{first}: {error}",
            path.display()
        )
    }
}

/// Keys by what is compared.
#[derive(Debug)]
enum Keys {
    /// Whole numbers, truth values, times.
    Numbers(HashSet<i128>),
    /// Bit patterns; no negative zero.
    Floats(HashSet<u64>),
    /// Text and raw bytes.
    Bytes(HashSet<Box<[u8]>>),
    /// Ethernet addresses.
    Macs(HashSet<[u8; 6]>),
    /// Addresses, and blocks of more than one.
    Addresses { hosts: HashSet<IpAddr>, blocks: Box<PrefixTable> },
}

impl Watchlist {
    /// The watchlist of its entries, where there are any, else of its file, whose malformed lines are skipped.
    ///
    /// # Errors
    /// The file cannot be read or is too large; an entry is no record.
    pub fn of(source: &WatchlistSource) -> Result<Self, HandleError> {
        let (fields, key) = (&source.fields, key_of(source)?);
        let mut list = Self { keys: Keys::of(fields[key].ty), skipped: None };
        let path = Path::new(&source.path);
        let too_many =
            || HandleError::TooManyEntries { path: path.to_path_buf(), limit: TABLE_ENTRIES_MAX };
        if let Some(entries) = &source.entries {
            if entries.len() > TABLE_ENTRIES_MAX {
                return Err(too_many());
            }
            for (entry, text) in (1..).zip(entries.iter()) {
                let value = given(fields, key, text);
                list.insert(value.map_err(|error| HandleError::Entry { entry, error })?);
            }
            return Ok(list);
        }
        let text = table_file::read(path, TABLE_BYTES_MAX)?;
        for (line, content) in table_file::lines(&text) {
            match record(fields, key, content) {
                Ok(value) => list.insert(value),
                Err(error) => list.skip(path, line, error),
            }
            if list.len() > TABLE_ENTRIES_MAX {
                return Err(too_many());
            }
        }
        Ok(list)
    }

    fn skip(&mut self, path: &Path, line: usize, error: LineError) {
        match &mut self.skipped {
            Some(skipped) => skipped.lines += 1,
            none => {
                *none =
                    Some(SkippedLines { path: path.to_path_buf(), lines: 1, first: line, error });
            }
        }
    }

    /// The lines that are not in it because they are malformed.
    pub fn skipped(&self) -> Option<&SkippedLines> {
        self.skipped.as_ref()
    }

    fn insert(&mut self, key: Value) {
        match (&mut self.keys, key) {
            (Keys::Bytes(set), Value::Bytes(b)) => {
                set.insert((*b).into());
            }
            (Keys::Macs(set), Value::Mac(mac)) => {
                set.insert(mac);
            }
            (Keys::Floats(set), Value::Float(f)) => {
                set.insert(pattern(f));
            }
            (Keys::Addresses { hosts, blocks }, Value::Prefix(address, len)) => {
                if len == if address.is_ipv4() { 32 } else { 128 } {
                    hosts.insert(address);
                } else {
                    blocks.insert(address, len, 0);
                }
            }
            (Keys::Addresses { hosts, .. }, value) => hosts.extend(value.as_addr()),
            (Keys::Numbers(set), value) => set.extend(value.as_i128()),
            _ => {}
        }
    }

    /// How many different keys.
    pub fn len(&self) -> usize {
        match &self.keys {
            Keys::Numbers(set) => set.len(),
            Keys::Floats(set) => set.len(),
            Keys::Bytes(set) => set.len(),
            Keys::Macs(set) => set.len(),
            Keys::Addresses { hosts, blocks } => hosts.len() + blocks.len(),
        }
    }

    /// No key at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a key equals the value, as `=` compares, or is a block that contains it.
    pub fn contains(&self, value: &Value) -> bool {
        match &self.keys {
            Keys::Numbers(set) => match value {
                Value::Float(f) => whole(*f).is_some_and(|n| set.contains(&n)),
                value => value.as_i128().is_some_and(|n| set.contains(&n)),
            },
            Keys::Floats(set) => value.as_f64().is_some_and(|f| set.contains(&pattern(f))),
            Keys::Bytes(set) => value.as_bytes().is_some_and(|b| set.contains(b)),
            Keys::Macs(set) => matches!(value, Value::Mac(mac) if set.contains(mac)),
            Keys::Addresses { hosts, blocks } => match value {
                Value::Prefix(address, len) => {
                    let full = if address.is_ipv4() { 32 } else { 128 };
                    *len == full && hosts.contains(address) || blocks.has(*address, *len)
                }
                value => address_of(value).is_some_and(|address| {
                    hosts.contains(&address) || !blocks.is_empty() && blocks.get(address).is_some()
                }),
            },
        }
    }
}

impl Keys {
    fn of(ty: Type) -> Self {
        match ty {
            Type::Ip | Type::Ipv6 | Type::Inet | Type::Prefix => {
                Keys::Addresses { hosts: HashSet::new(), blocks: Box::default() }
            }
            Type::Mac => Keys::Macs(HashSet::new()),
            Type::Float => Keys::Floats(HashSet::new()),
            ty if ty.is_bytes() => Keys::Bytes(HashSet::new()),
            _ => Keys::Numbers(HashSet::new()),
        }
    }
}

/// An address, or the number that stands for one beside a key of type IP.
fn address_of(value: &Value) -> Option<IpAddr> {
    value.as_addr().or_else(|| {
        let bits = u32::try_from(value.as_i128()?).ok()?;
        Some(IpAddr::V4(Ipv4Addr::from(bits)))
    })
}

/// The bits of a float; both zeros have one pattern, and what is not a number equals nothing.
fn pattern(f: f64) -> u64 {
    if f == 0.0 { 0 } else { f.to_bits() }
}

/// The whole number that a float is.
fn whole(f: f64) -> Option<i128> {
    // Beyond 2^64 no key lies.
    (f.fract() == 0.0 && f.abs() < 2.0_f64.powi(65)).then_some(f as i128)
}

/// The records of the entries, where there are any, else of the file: those that are well-formed, in order.
///
/// # Errors
/// As [`Watchlist::of`]; a record is not text.
pub fn records(source: &WatchlistSource) -> Result<Vec<String>, HandleError> {
    if let Some(entries) = &source.entries {
        return Ok(entries.to_vec());
    }
    let (path, key) = (Path::new(&source.path), key_of(source)?);
    let text = table_file::read(path, TABLE_BYTES_MAX)?;
    let lines = table_file::lines(&text);
    let good = lines.filter(|(_, content)| record(&source.fields, key, content).is_ok());
    let texts = good.map(|(line, content)| match std::str::from_utf8(content) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => {
            let error = LineError::NotText(table_file::shown(content));
            Err(HandleError::Line { path: path.to_path_buf(), line, error })
        }
    });
    texts.collect()
}

/// The text of the key of a record.
pub fn key_text<'r>(source: &WatchlistSource, record: &'r str) -> Option<&'r str> {
    record.split(',').nth(key_of(source).ok()?)
}

/// Which field is the key. The binder lets IN read watchlists with exactly one.
fn key_of(source: &WatchlistSource) -> Result<usize, HandleError> {
    let keys = source.fields.iter().filter(|field| field.is_key).count();
    let first = source.fields.iter().position(|field| field.is_key);
    first
        .filter(|_| keys == 1)
        .ok_or_else(|| HandleError::WrongArgument { symbol: IN_WATCHLIST.to_owned() })
}

/// The key of an entry that stands for a line.
fn given(fields: &[WatchlistField], key: usize, text: &str) -> Result<Value, LineError> {
    let mut lines = table_file::lines(text.as_bytes());
    match (lines.next(), lines.next()) {
        (Some((1, line)), None) if line.len() == text.len() => record(fields, key, line),
        _ => Err(LineError::NotRecord(table_file::shown(text.as_bytes()))),
    }
}

/// The key of a line. All its fields must be of their types.
fn record(fields: &[WatchlistField], key: usize, line: &[u8]) -> Result<Value, LineError> {
    let pieces: Vec<&[u8]> = line.split(|&b| b == b',').collect();
    if pieces.len() != fields.len() {
        return Err(LineError::FieldCount {
            expected: fields.len(),
            found: pieces.len(),
            line: table_file::shown(line),
        });
    }
    let mut found = None;
    for (i, (field, piece)) in fields.iter().zip(pieces).enumerate() {
        let value = value_of(field, piece).ok_or_else(|| LineError::BadField {
            field: field.name.clone(),
            ty: field.ty,
            text: table_file::shown(piece),
        })?;
        if i == key {
            found = Some(value);
        }
    }
    found.ok_or_else(|| LineError::FieldCount {
        expected: fields.len(),
        found: 0,
        line: table_file::shown(line),
    })
}

fn value_of(field: &WatchlistField, piece: &[u8]) -> Option<Value> {
    if field.ty.is_bytes() {
        return Some(Value::bytes(piece));
    }
    let text = std::str::from_utf8(piece).ok()?;
    if field.is_key && field.ty.is_address() && text.contains('/') {
        let block = parse_as(text, Type::Prefix)?;
        let Value::Prefix(address, _) = block else { return None };
        let of_family = match field.ty {
            Type::Ip => address.is_ipv4(),
            Type::Ipv6 => address.is_ipv6(),
            _ => true,
        };
        return of_family.then_some(block);
    }
    parse_as(text, field.ty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `type name (key);` for each field.
    fn declared(text: &str) -> Vec<WatchlistField> {
        let field = |text: &str| {
            let mut words = text.split_whitespace();
            let ty = Type::parse(words.next().expect("a type")).expect("a type");
            let name = words.next().expect("a name").to_owned();
            WatchlistField { name, ty, is_key: words.next().is_some() }
        };
        text.split_terminator(';').map(field).collect()
    }

    fn source(fields: &str, path: &Path) -> WatchlistSource {
        WatchlistSource {
            name: "list".to_owned(),
            fields: declared(fields),
            path: path.display().to_string(),
            entries: None,
        }
    }

    /// A watchlist of a file with this content.
    fn list(name: &str, fields: &str, content: &[u8]) -> Result<Watchlist, HandleError> {
        let path = std::env::temp_dir().join(format!("wt-list-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("written");
        let list = Watchlist::of(&source(fields, &path));
        std::fs::remove_file(path).expect("removed");
        list
    }

    /// A watchlist of entries.
    fn of_entries(fields: &str, entries: &[&str]) -> Result<Watchlist, HandleError> {
        let entries = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let source = source(fields, Path::new("/nonexistent/list.csv"));
        Watchlist::of(&WatchlistSource { entries: Some(entries), ..source })
    }

    fn inet(text: &str) -> Value {
        Value::Inet(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_and_blocks_of_either_family() {
        let content = b"# address,why\n192.0.2.7,scanner\r\n10.0.0.0/8,inside\n\n2001:db8::/32,lab\n2001:db9::1,\n";
        let list = list("inet", "INET addr (key);string why;", content).expect("good");
        assert_eq!((list.len(), list.is_empty()), (4, false));
        for (text, listed) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("10.255.0.1", true),
            ("2001:db8:1::9", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(list.contains(&inet(text)), listed, "{text}");
        }
        assert!(list.contains(&Value::Ip([10, 1, 2, 3].into())));
        assert!(list.contains(&Value::Uint(0x0a00_0001)));
    }

    #[test]
    fn blocks_as_keys_hold_addresses_and_equal_blocks() {
        let list = list("prefix", "PREFIX block (key);", b"10.0.0.0/8\n192.0.2.1\n").expect("good");
        assert!(list.contains(&inet("10.9.9.9")) && list.contains(&inet("192.0.2.1")));
        let block = |text: &str| parse_as(text, Type::Prefix).expect("a block");
        assert!(list.contains(&block("10.0.0.0/8")) && list.contains(&block("192.0.2.1/32")));
        assert!(!list.contains(&block("10.0.0.0/9")));
    }

    #[test]
    fn keys_of_the_other_types() {
        let ports =
            list("ports", "string name;ushort port (key);", b"web,80\ntls,0x1bb\n").expect("good");
        assert!(ports.contains(&Value::Uint(443)) && ports.contains(&Value::Int(80)));
        assert!(ports.contains(&Value::Float(80.0)) && !ports.contains(&Value::Float(80.5)));
        assert!(!ports.contains(&Value::Uint(81)) && !ports.contains(&Value::Int(-80)));
        let names = list("names", "string s (key);", b"GET\n two words \n").expect("good");
        assert!(
            names.contains(&Value::bytes("GET")) && names.contains(&Value::bytes(" two words "))
        );
        assert!(!names.contains(&Value::bytes("get")));
        let macs = list("macs", "MAC m (key);", b"02:00:00:00:00:01\n").expect("good");
        assert!(
            macs.contains(&Value::Mac([2, 0, 0, 0, 0, 1])) && !macs.contains(&Value::Mac([0; 6]))
        );
        let times = list("times", "TIME t (key);", b"1970-01-01T00:00:01Z\n").expect("good");
        assert!(times.contains(&Value::Time(1_000_000_000)));
        let floats = list("floats", "float f (key);", b"0.0\n2.5\n").expect("good");
        assert!(floats.contains(&Value::Float(-0.0)) && floats.contains(&Value::Uint(0)));
        assert!(floats.contains(&Value::Float(2.5)) && !floats.contains(&Value::Float(f64::NAN)));
        let truths = list("truths", "bool b (key);", b"TRUE\n").expect("good");
        assert!(truths.contains(&Value::Bool(true)) && !truths.contains(&Value::Bool(false)));
    }

    #[test]
    fn an_empty_file_lists_nothing() {
        let list = list("empty", "INET addr (key);", b"# none today\n").expect("good");
        assert!(list.is_empty() && !list.contains(&inet("10.0.0.1")));
    }

    #[test]
    fn malformed_lines_are_skipped_and_the_first_is_named() {
        let fields = "IP addr (key);uint weight;string why;";
        for (line, message) in [
            ("10.0.0.1,5", "expected 3 fields separated by commas, found 2 in `10.0.0.1,5`"),
            (
                "10.0.0.1,5,a,b",
                "expected 3 fields separated by commas, found 4 in `10.0.0.1,5,a,b`",
            ),
            ("10.0.0,5,a", "field `addr` is IP, and `10.0.0` is none"),
            ("2001:db8::1,5,a", "field `addr` is IP, and `2001:db8::1` is none"),
            ("2001:db8::/32,5,a", "field `addr` is IP, and `2001:db8::/32` is none"),
            ("10.0.0.0/33,5,a", "field `addr` is IP, and `10.0.0.0/33` is none"),
            ("10.0.0.1,,a", "field `weight` is uint, and `` is none"),
            ("10.0.0.1,-1,a", "field `weight` is uint, and `-1` is none"),
        ] {
            let content = format!("10.0.0.9,1,good\n\n{line}\n10.0.0.8,2,good\n");
            let list = list("bad", fields, content.as_bytes()).expect(line);
            assert_eq!(list.len(), 2, "{line}");
            let skipped = list.skipped().expect(line).to_string();
            assert!(skipped.starts_with("skipped 1 malformed line of a watchlist; "), "{skipped}");
            assert!(skipped.ends_with(&format!("-bad:3: {message}")), "{skipped}");
        }
        let binary = list("binary", "IP addr (key);", b"\xff\xfe\n10.0.0.1\n,\n").expect("good");
        let skipped = binary.skipped().expect("two lines");
        assert_eq!((binary.len(), skipped.lines, skipped.first), (1, 2, 1));
        assert!(matches!(skipped.error, LineError::BadField { .. }));
        assert!(
            skipped.to_string().contains("skipped 2 malformed lines of a watchlist; the first: ")
        );
    }

    #[test]
    fn what_cannot_be_registered() {
        let path = Path::new("/nonexistent/list.csv");
        for fields in ["", "IP addr;", "IP a (key);IP b (key);"] {
            let wrong = Watchlist::of(&source(fields, path));
            assert!(matches!(wrong, Err(HandleError::WrongArgument { .. })), "{fields}");
        }
        let absent = Watchlist::of(&source("IP addr (key);", path));
        assert!(matches!(absent, Err(HandleError::Unreadable { .. })));
    }

    #[test]
    fn entries_stand_in_for_the_file_and_must_be_records() {
        let fields = "INET addr (key);string why;";
        let list = of_entries(fields, &["192.0.2.7,scanner", "10.0.0.0/8,inside"]).expect("good");
        assert!(list.contains(&inet("192.0.2.7")) && list.contains(&inet("10.9.9.9")));
        assert!(!list.contains(&inet("192.0.2.8")) && list.skipped().is_none());
        assert!(of_entries(fields, &[]).expect("good").is_empty());
        for (entry, message) in [
            ("192.0.2.7", "expected 2 fields separated by commas, found 1 in `192.0.2.7`"),
            ("192.0.2,x", "field `addr` is INET, and `192.0.2` is none"),
            ("", "`` is no record"),
            (" \t", "is no record"),
            ("#192.0.2.7,x", "`#192.0.2.7,x` is no record"),
            ("192.0.2.7,x\n192.0.2.8,x", "is no record"),
            ("\n192.0.2.7,x", "is no record"),
            ("192.0.2.7,x\r", "is no record"),
        ] {
            let error = of_entries(fields, &["192.0.2.9,x", entry]).expect_err(entry).to_string();
            assert!(error.starts_with("entry 2 of the watchlist: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn records_are_the_good_lines() {
        let path = std::env::temp_dir().join(format!("wt-list-{}-records", std::process::id()));
        std::fs::write(&path, "# head\n10.0.0.1,a\n\nwrong\n10.0.0.2,b\r\n").expect("written");
        let of_file = source("IP addr (key);string why;", &path);
        assert_eq!(records(&of_file).expect("good"), ["10.0.0.1,a", "10.0.0.2,b"]);
        assert_eq!(key_text(&of_file, "10.0.0.1,a"), Some("10.0.0.1"));
        std::fs::write(&path, b"10.0.0.1,\xff\n").expect("written");
        let error = records(&of_file).expect_err("not text").to_string();
        assert!(error.contains("records:1: ") && error.contains("is not UTF-8"), "{error}");
        std::fs::remove_file(path).expect("removed");
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_every_line(
            blocks in prop::collection::vec((any::<u32>(), 0u8..=32), 0..20),
            others in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let mut listed = Watchlist { keys: Keys::of(Type::Inet), skipped: None };
            for &(address, len) in &blocks {
                let block = parse_as(&format!("{}/{len}", Ipv4Addr::from(address)), Type::Prefix);
                listed.insert(block.expect("a block"));
            }
            for address in blocks.iter().flat_map(|b| [b.0, b.0 ^ 1, b.0 ^ 0x8000_0000]).chain(others) {
                let covers = |&(block, len): &(u32, u8)| {
                    let shift = 32 - u32::from(len);
                    block.checked_shr(shift) == address.checked_shr(shift)
                };
                let value = Value::Inet(IpAddr::V4(address.into()));
                prop_assert_eq!(listed.contains(&value), blocks.iter().any(covers));
            }
        }

        #[test]
        fn any_line_is_an_answer(line in "[0-9a-f:./,# -]{0,40}") {
            let fields = declared("INET addr (key);uint n;");
            let _ = record(&fields, 0, line.as_bytes());
        }
    }
}
