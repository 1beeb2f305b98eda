//! Address and protocol helpers (protocols.md): `in_subnet`, `prefix`, `port_name`, `proto_name`, `flag_string`.

use wt_catalog::{Value, arith};

use super::args::{address, integer, uint};
use super::{Handle, ScalarFn, names};

/// The code behind a symbol of this family.
pub(super) fn scalar(symbol: &str) -> Option<ScalarFn> {
    Some(match symbol {
        "in_subnet" => in_subnet,
        "prefix" => prefix,
        "port_name" => |args, _| Some(Value::bytes(names::port(uint(args, 0)?))),
        "proto_name" => |args, _| Some(Value::bytes(names::protocol(uint(args, 0)?))),
        "flag_string" => |args, _| Some(Value::bytes(flag_string(uint(args, 0)?))),
        _ => return None,
    })
}

/// (address, block): FALSE when they are of different families.
fn in_subnet(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let Value::Prefix(block, length) = *args.get(1)? else { return None };
    let address = address(args, 0)?;
    let same_family = address.is_ipv4() == block.is_ipv4();
    Some(Value::Bool(
        same_family && arith::network(address, length) == arith::network(block, length),
    ))
}

/// (address, length): the block of that length which contains the address; fails when its family has no such length.
fn prefix(args: &[Value], _: Option<&Handle>) -> Option<Value> {
    let length = u8::try_from(integer(args, 1)?).ok()?;
    Some(Value::Prefix(arith::network(address(args, 0)?, length)?, length))
}

/// One letter for each flag that is set, from the lowest bit: **F**IN, **S**YN, **R**ST, **P**SH, **A**CK, **U**RG, **E**CE,
/// **C**WR, **N**S (RFC 9293 §3.1, RFC 3168, RFC 3540). `SA` is the second packet of a connection. No flag: `''`.
fn flag_string(flags: u64) -> Vec<u8> {
    const LETTERS: &[u8; 9] = b"FSRPAUECN";
    (0..).zip(LETTERS).filter(|(bit, _)| flags >> bit & 1 != 0).map(|(_, &letter)| letter).collect()
}
