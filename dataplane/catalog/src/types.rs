//! Types of GSQL (gsql.md §3) with those protocols.md adds.

use serde::{Deserialize, Serialize};

/// A scalar type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Type {
    /// Truth value.
    Bool,
    /// Unsigned 16 bit.
    Ushort,
    /// Unsigned 32 bit.
    Uint,
    /// Signed 32 bit.
    Int,
    /// Unsigned 64 bit.
    Ullong,
    /// Signed 64 bit.
    Llong,
    /// IEEE double.
    Float,
    /// IPv4 address.
    Ip,
    /// IPv6 address.
    Ipv6,
    /// IPv4 or IPv6 address with a family tag; an IPv4 address never equals its IPv6-mapped form.
    Inet,
    /// CIDR block of either family.
    Prefix,
    /// Ethernet address.
    Mac,
    /// Length-counted bytes shown as text.
    String,
    /// Raw bytes; STRING functions apply.
    Bytes,
    /// Seconds and milliseconds.
    TimeVal,
    /// Nanoseconds since the epoch.
    Time,
    /// Nanoseconds, signed.
    Duration,
}

impl Type {
    /// Every type, in declaration order.
    pub const ALL: [Type; 17] = [
        Type::Bool,
        Type::Ushort,
        Type::Uint,
        Type::Int,
        Type::Ullong,
        Type::Llong,
        Type::Float,
        Type::Ip,
        Type::Ipv6,
        Type::Inet,
        Type::Prefix,
        Type::Mac,
        Type::String,
        Type::Bytes,
        Type::TimeVal,
        Type::Time,
        Type::Duration,
    ];

    /// The name used in DDL, EXPLAIN and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::Ushort => "ushort",
            Type::Uint => "uint",
            Type::Int => "int",
            Type::Ullong => "ullong",
            Type::Llong => "llong",
            Type::Float => "float",
            Type::Ip => "IP",
            Type::Ipv6 => "IPV6",
            Type::Inet => "INET",
            Type::Prefix => "PREFIX",
            Type::Mac => "MAC",
            Type::String => "string",
            Type::Bytes => "BYTES",
            Type::TimeVal => "timeval",
            Type::Time => "TIME",
            Type::Duration => "DURATION",
        }
    }

    /// The type a name denotes, in any case; `v_str` and `v_string` are strings, `UBYTE`-like aliases are not known.
    pub fn parse(name: &str) -> Option<Type> {
        let lower = name.to_ascii_lowercase();
        if lower == "v_str" {
            return Some(Type::String);
        }
        Type::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(&lower))
    }

    /// ushort, uint, int, ullong or llong.
    pub const fn is_integer(self) -> bool {
        matches!(self, Type::Ushort | Type::Uint | Type::Int | Type::Ullong | Type::Llong)
    }

    /// An integer or float.
    pub const fn is_numeric(self) -> bool {
        self.is_integer() || matches!(self, Type::Float)
    }

    /// int, llong, float or duration.
    pub const fn is_signed(self) -> bool {
        matches!(self, Type::Int | Type::Llong | Type::Float | Type::Duration)
    }

    /// IP, IPV6 or INET.
    pub const fn is_address(self) -> bool {
        matches!(self, Type::Ip | Type::Ipv6 | Type::Inet)
    }

    /// string or BYTES.
    pub const fn is_bytes(self) -> bool {
        matches!(self, Type::String | Type::Bytes)
    }

    /// Width in bits of an integer type, of bool (1), of TIME and DURATION (64).
    pub const fn bits(self) -> Option<u32> {
        match self {
            Type::Bool => Some(1),
            Type::Ushort => Some(16),
            Type::Uint | Type::Int | Type::Ip => Some(32),
            Type::Ullong | Type::Llong | Type::Time | Type::Duration => Some(64),
            Type::Mac => Some(48),
            _ => None,
        }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
