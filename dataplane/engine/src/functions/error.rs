//! Why an argument could not be registered.

use std::path::PathBuf;

use super::ere::PatternError;

/// A handle argument that cannot be registered; the query that has it does not start.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The pattern is not understood.
    #[error("bad regular expression `{pattern}`: {error}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What and where.
        error: PatternError,
    },
    /// The pattern compiles to too large an automaton.
    #[error(
        "regular expression `{pattern}` needs more than {limit_bytes} bytes; use smaller repetition counts"
    )]
    PatternTooLarge {
        /// As given.
        pattern: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("`{}` is larger than {limit_bytes} bytes", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file has too many lines.
    #[error("`{}` has more than {limit} entries", path.display())]
    TooManyEntries {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A line is malformed.
    #[error("{}:{line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// An entry that was given to a watchlist is no record of it.
    #[error("entry {entry} of the watchlist: {error}")]
    Entry {
        /// Which, from 1.
        entry: usize,
        /// What is wrong with it.
        error: LineError,
    },
    /// The argument is not what the function registers; the binder checks types, so a query cannot cause it.
    #[error("`{symbol}` cannot register this argument")]
    WrongArgument {
        /// The function.
        symbol: String,
    },
}

/// What is wrong with a line of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A prefix table's line without `|`.
    #[error("expected `prefix/length|id`, found `{0}`")]
    NotPrefixLine(String),
    /// Not an address.
    #[error("`{0}` is not an IPv4 or IPv6 address")]
    BadAddress(String),
    /// Not a length of the address's family.
    #[error("`{length}` is not a prefix length from 0 to {max}")]
    BadLength {
        /// As given.
        length: String,
        /// 32 or 128.
        max: u8,
    },
    /// Not an identifier.
    #[error("`{0}` is not an integer of 32 bits, signed")]
    BadId(String),
    /// A map's line without a comma.
    #[error("expected `integer,string`, found `{0}`")]
    NotMapLine(String),
    /// A watchlist's line with other than the declared fields.
    #[error("expected {expected} fields separated by commas, found {found} in `{line}`")]
    FieldCount {
        /// As declared.
        expected: usize,
        /// On the line.
        found: usize,
        /// The line.
        line: String,
    },
    /// A watchlist's field that is not of its type.
    #[error("field `{field}` is {}, and `{text}` is none", ty.name())]
    BadField {
        /// Its name.
        field: String,
        /// As declared.
        ty: wt_catalog::Type,
        /// As given.
        text: String,
    },
    /// A watchlist's entry that a line of its file could not be.
    #[error("`{0}` is no record: it is blank, begins with `#`, or has a line break")]
    NotRecord(String),
    /// Not text.
    #[error("`{0}` is not UTF-8")]
    NotText(String),
    /// Not an integer.
    #[error("`{0}` is not an integer of 64 bits")]
    BadInteger(String),
}
