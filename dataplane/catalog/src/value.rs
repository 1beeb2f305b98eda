//! Values of the types in [`crate::types`].

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::Type;

/// One value. Integers of every width share two representations; the [`Type`] beside a value says
/// how wide it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Value {
    /// bool
    Bool(bool),
    /// ushort, uint, ullong
    Uint(u64),
    /// int, llong
    Int(i64),
    /// float
    Float(f64),
    /// IP
    Ip(Ipv4Addr),
    /// IPV6
    Ipv6(Ipv6Addr),
    /// INET
    Inet(IpAddr),
    /// PREFIX: address with host bits zero, and length
    Prefix(IpAddr, u8),
    /// MAC
    Mac([u8; 6]),
    /// string and BYTES
    Bytes(Arc<[u8]>),
    /// timeval, in milliseconds
    TimeVal(u64),
    /// TIME, nanoseconds since the epoch
    Time(u64),
    /// DURATION, nanoseconds
    Duration(i64),
}

impl Value {
    /// A string or BYTES value.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Value::Bytes(Arc::from(bytes.as_ref()))
    }

    /// The default of a type (gsql.md §3): stands where there is no value.
    pub fn default_of(ty: Type) -> Self {
        match ty {
            Type::Bool => Value::Bool(false),
            Type::Ushort | Type::Uint | Type::Ullong => Value::Uint(0),
            Type::Int | Type::Llong => Value::Int(0),
            Type::Float => Value::Float(0.0),
            Type::Ip => Value::Ip(Ipv4Addr::UNSPECIFIED),
            Type::Ipv6 => Value::Ipv6(Ipv6Addr::UNSPECIFIED),
            Type::Inet => Value::Inet(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Type::Prefix => Value::Prefix(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Type::Mac => Value::Mac([0; 6]),
            Type::String | Type::Bytes => Value::bytes(b""),
            Type::TimeVal => Value::TimeVal(0),
            Type::Time => Value::Time(0),
            Type::Duration => Value::Duration(0),
        }
    }

    /// The value as an unsigned 64-bit pattern, for integers, bool, IP, MAC, TIME and DURATION.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::Bool(b) => Some(u64::from(b)),
            Value::Uint(u) | Value::Time(u) | Value::TimeVal(u) => Some(u),
            Value::Int(i) | Value::Duration(i) => Some(i as u64),
            Value::Ip(a) => Some(u64::from(u32::from(a))),
            Value::Mac(m) => Some(m.iter().fold(0, |acc, &b| acc << 8 | u64::from(b))),
            _ => None,
        }
    }

    /// The value as a mathematical integer, for integers, bool, IP, TIME, DURATION and timeval.
    pub fn as_i128(&self) -> Option<i128> {
        match *self {
            Value::Bool(b) => Some(i128::from(b)),
            Value::Uint(u) | Value::Time(u) | Value::TimeVal(u) => Some(i128::from(u)),
            Value::Int(i) | Value::Duration(i) => Some(i128::from(i)),
            Value::Ip(a) => Some(i128::from(u32::from(a))),
            _ => None,
        }
    }

    /// The value as a double, for numerics.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::Float(f) => Some(f),
            _ => self.as_i128().map(|i| i as f64),
        }
    }

    /// The bytes of a string or BYTES value.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// The address of an IP, IPV6 or INET value.
    pub fn as_addr(&self) -> Option<IpAddr> {
        match *self {
            Value::Ip(a) => Some(IpAddr::V4(a)),
            Value::Ipv6(a) => Some(IpAddr::V6(a)),
            Value::Inet(a) => Some(a),
            _ => None,
        }
    }

    /// GSQL comparison (gsql.md §3): mathematical for numbers whatever their sign, bytewise for strings with the
    /// shorter first on a tie, IPv4 before IPv6 for INET. `None` for NaN and for kinds that do not compare.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Ipv6(a), Value::Ipv6(b)) => Some(a.cmp(b)),
            (Value::Mac(a), Value::Mac(b)) => Some(a.cmp(b)),
            (Value::Prefix(a, n), Value::Prefix(b, m)) => Some(a.cmp(b).then(n.cmp(m))),
            (Value::Float(_), _) | (_, Value::Float(_)) => {
                self.as_f64()?.partial_cmp(&other.as_f64()?)
            }
            (Value::Inet(_) | Value::Ipv6(_), _) | (_, Value::Inet(_) | Value::Ipv6(_)) => {
                Some(self.as_addr()?.cmp(&other.as_addr()?))
            }
            _ => Some(self.as_i128()?.cmp(&other.as_i128()?)),
        }
    }

    /// Total order for sorting and grouping: [`Value::compare`], with NaN last and kinds apart.
    pub fn total_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            _ => self.compare(other).unwrap_or_else(|| self.kind().cmp(&other.kind())),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Value::Bool(_) => 0,
            Value::Uint(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Ip(_) => 4,
            Value::Ipv6(_) => 5,
            Value::Inet(_) => 6,
            Value::Prefix(..) => 7,
            Value::Mac(_) => 8,
            Value::Bytes(_) => 9,
            Value::TimeVal(_) => 10,
            Value::Time(_) => 11,
            Value::Duration(_) => 12,
        }
    }
}

/// Identity of representation, as grouping needs it: floats by bits, `-0.0` and `0.0` alike.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Uint(a), Value::Uint(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => float_bits(*a) == float_bits(*b),
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Ipv6(a), Value::Ipv6(b)) => a == b,
            (Value::Inet(a), Value::Inet(b)) => a == b,
            (Value::Prefix(a, n), Value::Prefix(b, m)) => a == b && n == m,
            (Value::Mac(a), Value::Mac(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::TimeVal(a), Value::TimeVal(b)) | (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Value::Bool(b) => b.hash(state),
            Value::Uint(u) | Value::TimeVal(u) | Value::Time(u) => u.hash(state),
            Value::Int(i) | Value::Duration(i) => i.hash(state),
            Value::Float(f) => float_bits(*f).hash(state),
            Value::Ip(a) => a.hash(state),
            Value::Ipv6(a) => a.hash(state),
            Value::Inet(a) => a.hash(state),
            Value::Prefix(a, n) => (a, n).hash(state),
            Value::Mac(m) => m.hash(state),
            Value::Bytes(b) => b.hash(state),
        }
    }
}

fn float_bits(f: f64) -> u64 {
    if f == 0.0 { 0 } else { f.to_bits() }
}
