//! Rows of values as words: small columns share a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wt_catalog::{Type, Value};

/// How a value of a type is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// One word: the pattern that `Value::as_u64` gives.
    Word,
    /// Two words, the more significant first.
    Ipv6,
    /// Family (4 or 6), then two words; an IPv4 address is in the last.
    Inet,
}

impl Class {
    /// The class of a type; none for floats, strings and prefixes.
    pub(crate) fn of(ty: Type) -> Option<Self> {
        match ty {
            Type::Ipv6 => Some(Class::Ipv6),
            Type::Inet => Some(Class::Inet),
            Type::String | Type::Bytes | Type::Prefix | Type::Float => None,
            _ => Some(Class::Word),
        }
    }

    /// Words of a value.
    pub(crate) fn words(self) -> usize {
        match self {
            Class::Word => 1,
            Class::Ipv6 => 2,
            Class::Inet => 3,
        }
    }
}

/// The words of a value as one of a class; nothing when it is none.
pub(crate) fn words_of(value: &Value, class: Class) -> Option<[u64; 3]> {
    let halves = |a: Ipv6Addr| [(u128::from(a) >> 64) as u64, u128::from(a) as u64];
    Some(match class {
        Class::Word => [value.as_u64()?, 0, 0],
        Class::Ipv6 => match value.as_addr()? {
            IpAddr::V6(a) => [halves(a)[0], halves(a)[1], 0],
            IpAddr::V4(_) => return None,
        },
        Class::Inet => match value.as_addr()? {
            IpAddr::V4(a) => [4, 0, u64::from(u32::from(a))],
            IpAddr::V6(a) => [6, halves(a)[0], halves(a)[1]],
        },
    })
}

/// Where a column lies in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bits of a word that it shares.
    Field {
        /// The word.
        word: u32,
        /// Its lowest bit.
        shift: u32,
        /// How many.
        bits: u32,
    },
    /// Whole words: one, or the two of an IPV6.
    Words {
        /// The first.
        word: u32,
    },
    /// The two words of an address, and one bit of a shared word that tells IPv6.
    Inet {
        /// The first.
        word: u32,
        /// The shared word.
        family_word: u32,
        /// Its bit.
        family_shift: u32,
    },
}

/// A column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Type of its values.
    pub ty: Type,
    /// Where it lies.
    pub place: Place,
}

/// Lays out columns.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    next: u32,
    /// A shared word and its bits used.
    open: Option<(u32, u32)>,
}

impl Packer {
    fn words(&mut self, count: u32) -> u32 {
        let word = self.next;
        self.next += count;
        word
    }

    fn field(&mut self, bits: u32) -> (u32, u32) {
        if let Some((word, used)) = self.open
            && used + bits <= 64
        {
            self.open = Some((word, used + bits));
            return (word, used);
        }
        let word = self.words(1);
        self.open = Some((word, bits));
        (word, 0)
    }

    /// Places a column; nothing for types that have no words.
    pub(crate) fn place(&mut self, ty: Type) -> Option<Column> {
        let place = match Class::of(ty)? {
            Class::Word => match ty.bits().filter(|bits| *bits <= 32 && !ty.is_signed()) {
                Some(bits) => {
                    let (word, shift) = self.field(bits);
                    Place::Field { word, shift, bits }
                }
                None => Place::Words { word: self.words(1) },
            },
            Class::Ipv6 => Place::Words { word: self.words(2) },
            Class::Inet => {
                let word = self.words(2);
                let (family_word, family_shift) = self.field(1);
                Place::Inet { word, family_word, family_shift }
            }
        };
        Some(Column { ty, place })
    }

    /// Words of all columns.
    pub(crate) fn len(&self) -> u32 {
        self.next
    }
}

impl Column {
    /// Its value in a row; nothing when the row is too short or the words are no value of the type.
    pub fn value(&self, row: &[u64]) -> Option<Value> {
        let word = |at: u32| row.get(at as usize).copied();
        let v6 = |high: u64, low: u64| Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
        match self.place {
            Place::Field { word: at, shift, bits } => {
                let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
                value_of(self.ty, word(at)? >> shift & mask)
            }
            Place::Words { word: at } if self.ty == Type::Ipv6 => {
                Some(Value::Ipv6(v6(word(at)?, word(at + 1)?)))
            }
            Place::Words { word: at } => value_of(self.ty, word(at)?),
            Place::Inet { word: at, family_word, family_shift } => {
                let (high, low) = (word(at)?, word(at + 1)?);
                Some(Value::Inet(match word(family_word)? >> family_shift & 1 {
                    0 => IpAddr::V4(Ipv4Addr::from(low as u32)),
                    _ => IpAddr::V6(v6(high, low)),
                }))
            }
        }
    }
}

/// The value of a type that a word stands for, cut to the width of the type; nothing for types that are not words.
pub(crate) fn value_of(ty: Type, word: u64) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(word != 0),
        Type::Ushort => Value::Uint(u64::from(word as u16)),
        Type::Uint => Value::Uint(u64::from(word as u32)),
        Type::Ullong => Value::Uint(word),
        Type::Int => Value::Int(i64::from(word as u32 as i32)),
        Type::Llong => Value::Int(word as i64),
        Type::Ip => Value::Ip(Ipv4Addr::from(word as u32)),
        Type::Mac => {
            let [_, _, mac @ ..] = word.to_be_bytes();
            Value::Mac(mac)
        }
        Type::TimeVal => Value::TimeVal(word),
        Type::Time => Value::Time(word),
        Type::Duration => Value::Duration(word as i64),
        Type::Float | Type::Ipv6 | Type::Inet | Type::Prefix | Type::String | Type::Bytes => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_columns_share_a_word_and_come_back() {
        let mut packer = Packer::default();
        let types = [Type::Uint, Type::Inet, Type::Ushort, Type::Llong, Type::Bool, Type::Ipv6];
        let columns: Vec<Column> = types.iter().map(|ty| packer.place(*ty).unwrap()).collect();
        assert_eq!(packer.len(), 1 + 2 + 1 + 2);
        let mut row = vec![0u64; packer.len() as usize];
        row[0] = 7 | 1 << 32 | 0xbeef << 33 | 1 << 49;
        (row[1], row[2]) = (0x2001_0db8 << 32, 5);
        row[3] = -3i64 as u64;
        (row[4], row[5]) = (0, 1);
        let values: Vec<Value> = columns.iter().map(|c| c.value(&row).unwrap()).collect();
        let expected = [
            Value::Uint(7),
            Value::Inet("2001:db8::5".parse().unwrap()),
            Value::Uint(0xbeef),
            Value::Int(-3),
            Value::Bool(true),
            Value::Ipv6("::1".parse().unwrap()),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn short_rows_and_wordless_types_have_no_value() {
        assert_eq!(Packer::default().place(Type::String), None);
        let column = Packer::default().place(Type::Llong).unwrap();
        assert_eq!(column.value(&[]), None);
    }
}
