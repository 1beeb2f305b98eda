//! What the functions of the registry compute, found by their symbol.
//!
//! A scalar function takes its tuple arguments, handle arguments left out, and gives a value, or `None` when it fails as
//! a partial function does (gsql.md §20.2). A *handle* is an argument registered once, before the first tuple: a compiled
//! pattern, a table read from a file. An aggregate that every backend has is in [`basic`]; the others keep their state in
//! an [`Aggregator`].
//!
//! Nothing here panics on any argument, and everything is deterministic: no clock (re-reading a pattern file excepted),
//! no random numbers, fixed hash seeds, so a replay gives the same rows.

mod aggregate;
mod args;
pub mod basic;
#[cfg(test)]
mod contract;
pub mod ere;
mod error;
mod flow;
#[cfg(test)]
mod golden;
mod header;
pub mod lpm;
pub mod maps;
mod math;
mod names;
mod net;
mod numeric;
mod parse;
mod payload;
pub mod regex;
mod strings;
mod table_file;
pub mod watchlist;

pub use aggregate::{Aggregator, aggregator, approx_top, count_distinct, hist, quantile};
pub use error::{HandleError, LineError};
pub use table_file::{TABLE_BYTES_MAX, TABLE_ENTRIES_MAX};

use wt_catalog::Value;
use wt_plan::ir::{HandleArg, HandleSpec};

use self::lpm::PrefixTable;
use self::maps::IntNames;
use self::regex::{FileRegex, Regex};
use self::watchlist::Watchlist;

/// A scalar function or predicate. `None`: it fails, as partial functions do.
pub type ScalarFn = fn(args: &[Value], handle: Option<&Handle>) -> Option<Value>;

/// An argument registered once.
#[derive(Debug)]
pub enum Handle {
    /// A compiled pattern.
    Regex(Box<Regex>),
    /// A pattern read from a file, and again.
    FileRegex(FileRegex),
    /// Prefixes with identifiers.
    Prefixes(Box<PrefixTable>),
    /// Names of numbers.
    Names(IntNames),
    /// The keys of a watchlist.
    Watchlist(Box<Watchlist>),
    /// A value computed once.
    Constant(Value),
}

/// The code of a scalar function or predicate; `None` when none has the symbol.
pub fn scalar(symbol: &str) -> Option<ScalarFn> {
    const FAMILIES: [fn(&str) -> Option<ScalarFn>; 12] = [
        strings::scalar,
        regex::scalar,
        parse::scalar,
        maps::scalar,
        lpm::scalar,
        watchlist::scalar,
        numeric::scalar,
        math::scalar,
        net::scalar,
        flow::scalar,
        payload::scalar,
        header::scalar,
    ];
    FAMILIES.iter().find_map(|family| family(symbol))
}

/// Registers a handle of a plan whose parameters have these values.
///
/// # Errors
/// As [`prepare`]; what is wrong with the watchlist.
pub fn register(spec: &HandleSpec, params: &[Value]) -> Result<Handle, HandleError> {
    match &spec.argument {
        HandleArg::Const(value) => prepare(spec.symbol, value),
        HandleArg::Param(param) => prepare(spec.symbol, &params[param.0 as usize]),
        HandleArg::Watchlist(source) => Ok(Handle::Watchlist(Box::new(Watchlist::of(source)?))),
    }
}

/// Registers the handle argument of the function behind `symbol`.
///
/// # Errors
/// What is wrong with the pattern or the file that the argument names.
pub fn prepare(symbol: &str, arg: &Value) -> Result<Handle, HandleError> {
    let wrong = || HandleError::WrongArgument { symbol: symbol.to_owned() };
    let text = arg.as_bytes().ok_or_else(wrong)?;
    Ok(match symbol {
        "str_regex_match"
        | "str_regex_match_uint"
        | "str_partial_regex_match"
        | "str_partial_regex_match_uint"
        | "str_extract_regex"
        | "str_extract_regex_null" => Handle::Regex(Box::new(Regex::new(text)?)),
        "str_file_regex_match" | "str_file_regex_match_uint" => {
            Handle::FileRegex(FileRegex::open(table_file::path_of(text))?)
        }
        "getlpmid_ip" | "getlpmid_inet" | "getv6lpmid_ipv6" | "getv6lpmid_inet" | "lpm" => {
            Handle::Prefixes(Box::new(PrefixTable::open(&table_file::path_of(text))?))
        }
        "int_to_string_map" => Handle::Names(IntNames::open(&table_file::path_of(text))?),
        "strtoi_c" | "strtoip_c" => Handle::Constant(parse::constant_of(symbol, text)),
        _ => return Err(wrong()),
    })
}
