//! Reading arguments. The binder has checked their types, so a mismatch cannot come from a query; it reads as a
//! partial failure rather than a panic.

use std::net::IpAddr;

use wt_catalog::Value;

/// The bytes of string or BYTES argument `i`.
pub(super) fn bytes(args: &[Value], i: usize) -> Option<&[u8]> {
    args.get(i)?.as_bytes()
}

/// Integer argument `i` as an unsigned pattern.
pub(super) fn uint(args: &[Value], i: usize) -> Option<u64> {
    args.get(i)?.as_u64()
}

/// Integer argument `i` as a mathematical integer.
pub(super) fn integer(args: &[Value], i: usize) -> Option<i128> {
    args.get(i)?.as_i128()
}

/// Integer argument `i` as an index or a length: negative reads as 0, beyond the address space as its end.
pub(super) fn index(args: &[Value], i: usize) -> Option<usize> {
    let value = integer(args, i)?;
    Some(usize::try_from(value.max(0)).unwrap_or(usize::MAX))
}

/// Integer argument `i` as an offset or a length that must exist: fails when it is negative.
pub(super) fn offset(args: &[Value], i: usize) -> Option<usize> {
    usize::try_from(integer(args, i)?).ok()
}

/// Numeric argument `i` as a double.
pub(super) fn float(args: &[Value], i: usize) -> Option<f64> {
    args.get(i)?.as_f64()
}

/// Address argument `i`.
pub(super) fn address(args: &[Value], i: usize) -> Option<IpAddr> {
    args.get(i)?.as_addr()
}
