//! Values as machine words: how generated code holds a value of each type, and how rows of values are laid out. Compiled code, XDP programs and
//! what reads their rows agree by this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Type, Value};

/// How a value of a type is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One word, the pattern that [`Value::as_u64`] gives; floats by their bits.
    Word,
    /// Two words, the more significant first.
    Ipv6,
    /// Family (4 or 6), then two words; an IPv4 address is in the last.
    Inet,
    /// Address and length of bytes that live as long as the batch.
    Bytes,
    /// Kept by the host, by number.
    Kept,
}

impl Class {
    /// How values of a type are held.
    pub fn of(ty: Type) -> Self {
        match ty {
            Type::Ipv6 => Class::Ipv6,
            Type::Inet => Class::Inet,
            Type::String | Type::Bytes => Class::Bytes,
            Type::Prefix => Class::Kept,
            _ => Class::Word,
        }
    }

    /// Words of a value.
    pub fn words(self) -> usize {
        match self {
            Class::Word | Class::Kept => 1,
            Class::Ipv6 | Class::Bytes => 2,
            Class::Inet => 3,
        }
    }
}

/// The words of a value; `None` for bytes and prefixes, which the host keeps.
pub fn words_of(value: &Value) -> Option<[u64; 3]> {
    let halves = |a: Ipv6Addr| [(u128::from(a) >> 64) as u64, u128::from(a) as u64];
    Some(match *value {
        Value::Float(f) => [f.to_bits(), 0, 0],
        Value::Ipv6(a) => {
            let [high, low] = halves(a);
            [high, low, 0]
        }
        Value::Inet(IpAddr::V4(a)) => [4, 0, u64::from(u32::from(a))],
        Value::Inet(IpAddr::V6(a)) => {
            let [high, low] = halves(a);
            [6, high, low]
        }
        _ => [value.as_u64()?, 0, 0],
    })
}

/// The value of a type that a bit pattern stands for, cut to the type's width. Nothing for types that are not bit patterns
/// of at most 64 bits.
#[inline]
pub fn word_value(pattern: u64, ty: Type) -> Option<Value> {
    Some(match ty {
        Type::Bool => Value::Bool(pattern != 0),
        Type::Ushort => Value::Uint(u64::from(pattern as u16)),
        Type::Uint => Value::Uint(u64::from(pattern as u32)),
        Type::Ullong => Value::Uint(pattern),
        Type::Int => Value::Int(i64::from(pattern as u32 as i32)),
        Type::Llong => Value::Int(pattern as i64),
        Type::Ip => Value::Ip(Ipv4Addr::from(pattern as u32)),
        Type::Inet => Value::Inet(IpAddr::V4(Ipv4Addr::from(pattern as u32))),
        Type::Mac => {
            let [_, _, mac @ ..] = pattern.to_be_bytes();
            Value::Mac(mac)
        }
        Type::TimeVal => Value::TimeVal(pattern),
        Type::Time => Value::Time(pattern),
        Type::Duration => Value::Duration(pattern as i64),
        Type::Float | Type::Ipv6 | Type::Prefix | Type::String | Type::Bytes => return None,
    })
}

/// The value of a type from its words; bytes and prefixes have none.
pub fn value_of(ty: Type, words: &[u64]) -> Option<Value> {
    let v6 = |high: u64, low: u64| Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
    Some(match Class::of(ty) {
        Class::Word if ty == Type::Float => Value::Float(f64::from_bits(words[0])),
        Class::Word => word_value(words[0], ty)?,
        Class::Ipv6 => Value::Ipv6(v6(words[0], words[1])),
        Class::Inet if words[0] == 4 => Value::Inet(Ipv4Addr::from(words[2] as u32).into()),
        Class::Inet => Value::Inet(v6(words[1], words[2]).into()),
        Class::Bytes | Class::Kept => return None,
    })
}

/// Where a column lies in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `bits` bits of a word that it shares. An INET that lies so is an IPv4 address.
    Field {
        /// The word.
        word: usize,
        /// The lowest of its bits.
        shift: u32,
        /// How many.
        bits: u32,
    },
    /// Whole words: one, or the two of an IPV6.
    Words {
        /// The first.
        word: usize,
    },
    /// Two words, and one bit of a shared word that tells IPv6.
    Inet {
        /// The first.
        word: usize,
        /// The shared word.
        family_word: usize,
        /// Its bit.
        family_shift: u32,
    },
    /// The number of a value that the host keeps until the batch ends.
    Kept {
        /// The word.
        word: usize,
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

/// Lays columns out from a given word on, small ones packed together.
#[derive(Debug)]
pub struct Packer {
    next: usize,
    /// A shared word and its bits used.
    open: Option<(usize, u32)>,
}

impl Packer {
    /// Begins at a word.
    pub fn new(first_word: usize) -> Self {
        Self { next: first_word, open: None }
    }

    fn word(&mut self, count: usize) -> usize {
        let word = self.next;
        self.next += count;
        word
    }

    fn field(&mut self, bits: u32) -> (usize, u32) {
        if let Some((word, used)) = self.open
            && used + bits <= 64
        {
            self.open = Some((word, used + bits));
            return (word, used);
        }
        let word = self.word(1);
        self.open = Some((word, bits));
        (word, 0)
    }

    /// Places a column whose values have at most `bits` significant bits.
    pub fn place(&mut self, ty: Type, bits: u32) -> Column {
        let place = match Class::of(ty) {
            Class::Word if bits <= 32 => {
                let (word, shift) = self.field(bits.max(1));
                Place::Field { word, shift, bits: bits.max(1) }
            }
            Class::Word => Place::Words { word: self.word(1) },
            Class::Ipv6 => Place::Words { word: self.word(2) },
            Class::Inet => {
                let word = self.word(2);
                let (family_word, family_shift) = self.field(1);
                Place::Inet { word, family_word, family_shift }
            }
            Class::Bytes | Class::Kept => Place::Kept { word: self.word(1) },
        };
        Column { ty, place }
    }

    /// Places a column of INETs that are all IPv4 addresses.
    pub fn place_v4(&mut self) -> Column {
        let bits = 32;
        let (word, shift) = self.field(bits);
        Column { ty: Type::Inet, place: Place::Field { word, shift, bits } }
    }

    /// Places a column in words of its own.
    pub fn place_whole(&mut self, ty: Type) -> Column {
        self.place(ty, 64)
    }

    /// The first word behind all columns.
    pub fn end(&self) -> usize {
        self.next
    }
}

impl Column {
    /// The column in a row whose words begin `by` words later.
    pub fn shifted(self, by: usize) -> Self {
        let place = match self.place {
            Place::Field { word, shift, bits } => Place::Field { word: word - by, shift, bits },
            Place::Words { word } => Place::Words { word: word - by },
            Place::Inet { word, family_word, family_shift } => {
                Place::Inet { word: word - by, family_word: family_word - by, family_shift }
            }
            Place::Kept { word } => Place::Kept { word: word - by },
        };
        Self { place, ..self }
    }

    /// Where the column's value, or the first word of it, is: a word of the row, how far it is shifted there, and its bits once shifted
    /// back.
    pub fn word_bits(&self) -> (usize, u32, u64) {
        match self.place {
            Place::Words { word } | Place::Kept { word } | Place::Inet { word, .. } => {
                (word, 0, u64::MAX)
            }
            Place::Field { word, shift, bits } => (word, shift, u64::MAX >> (64 - bits)),
        }
    }

    /// The value of the column in a row; `kept` are the values that the host keeps.
    pub fn value(&self, row: &[u64], kept: &[Value]) -> Value {
        let read = || {
            Some(match self.place {
                Place::Field { word, shift, bits } => {
                    let mask = u64::MAX >> (64 - bits);
                    word_value(row[word] >> shift & mask, self.ty)?
                }
                Place::Words { word } => value_of(self.ty, &row[word..])?,
                Place::Inet { word, family_word, family_shift } => {
                    let family = if row[family_word] >> family_shift & 1 == 1 { 6 } else { 4 };
                    value_of(self.ty, &[family, row[word], row[word + 1]])?
                }
                Place::Kept { word } => kept.get(row[word] as usize)?.clone(),
            })
        };
        read().unwrap_or_else(|| Value::default_of(self.ty))
    }
}

impl Column {
    /// The words of the value in a row, as [`words_of`] gives them; of one that the host keeps, its number.
    pub fn words(&self, row: &[u64]) -> [u64; 3] {
        match self.place {
            Place::Field { word, shift, bits } => {
                let field = row[word] >> shift & u64::MAX >> (64 - bits);
                if self.ty == Type::Inet { [4, 0, field] } else { [field, 0, 0] }
            }
            Place::Words { word } if Class::of(self.ty) == Class::Ipv6 => {
                [row[word], row[word + 1], 0]
            }
            Place::Words { word } | Place::Kept { word } => [row[word], 0, 0],
            Place::Inet { word, family_word, family_shift } => {
                let family = if row[family_word] >> family_shift & 1 == 1 { 6 } else { 4 };
                [family, row[word], row[word + 1]]
            }
        }
    }

    /// Puts the words of a value into a row of zeros.
    pub fn put(&self, row: &mut [u64], words: [u64; 3]) {
        match self.place {
            Place::Field { word, shift, .. } if self.ty == Type::Inet => {
                row[word] |= words[2] << shift;
            }
            Place::Field { word, shift, .. } => row[word] |= words[0] << shift,
            Place::Words { word } if Class::of(self.ty) == Class::Ipv6 => {
                row[word..word + 2].copy_from_slice(&words[..2]);
            }
            Place::Words { word } | Place::Kept { word } => row[word] = words[0],
            Place::Inet { word, family_word, family_shift } => {
                row[family_word] |= u64::from(words[0] == 6) << family_shift;
                row[word..word + 2].copy_from_slice(&words[1..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_columns_share_words_and_come_back() {
        let mut packer = Packer::new(1);
        let columns = [
            packer.place(Type::Inet, 64),
            packer.place_v4(),
            packer.place(Type::Uint, 16),
            packer.place(Type::Ipv6, 64),
            packer.place(Type::Inet, 64),
            packer.place(Type::Uint, 16),
            packer.place(Type::Ullong, 64),
            packer.place(Type::Uint, 8),
        ];
        assert_eq!(packer.end(), 1 + 2 + 1 + 2 + 2 + 1 + 1);
        let mut row = vec![0u64; packer.end()];
        let values = [
            Value::Inet("2001:db8::1".parse().unwrap()),
            Value::Inet("192.0.2.1".parse().unwrap()),
            Value::Uint(65_535),
            Value::Ipv6("2001:db8::2".parse().unwrap()),
            Value::Inet("10.0.0.1".parse().unwrap()),
            Value::Uint(80),
            Value::Uint(u64::MAX),
            Value::Uint(17),
        ];
        for (column, value) in columns.iter().zip(&values) {
            let words = words_of(value).unwrap();
            column.put(&mut row, words);
        }
        for (column, value) in columns.iter().zip(&values) {
            assert_eq!(column.value(&row, &[]), *value);
            assert_eq!(column.words(&row), words_of(value).unwrap());
        }
    }

    #[test]
    fn every_type_of_words_comes_back() {
        let values = [
            (Type::Bool, Value::Bool(true)),
            (Type::Int, Value::Int(-3)),
            (Type::Llong, Value::Int(i64::MIN)),
            (Type::Float, Value::Float(-0.5)),
            (Type::Ip, Value::Ip(Ipv4Addr::LOCALHOST)),
            (Type::Ipv6, Value::Ipv6(Ipv6Addr::LOCALHOST)),
            (Type::Inet, Value::Inet(Ipv6Addr::LOCALHOST.into())),
            (Type::Mac, Value::Mac([1, 2, 3, 4, 5, 6])),
            (Type::Duration, Value::Duration(-1)),
        ];
        for (ty, value) in values {
            assert_eq!(value_of(ty, &words_of(&value).unwrap()), Some(value));
        }
        assert_eq!(words_of(&Value::bytes("a")), None);
    }

    #[test]
    fn patterns_become_values_of_the_type() {
        assert_eq!(word_value(u64::MAX, Type::Ushort), Some(Value::Uint(0xffff)));
        assert_eq!(word_value(0xffff_ffff, Type::Int), Some(Value::Int(-1)));
        assert_eq!(word_value(2, Type::Bool), Some(Value::Bool(true)));
        assert_eq!(word_value(0x0a00_0001, Type::Ip), Some(Value::Ip(Ipv4Addr::new(10, 0, 0, 1))));
        assert_eq!(word_value(0x0200_0000_0001, Type::Mac), Some(Value::Mac([2, 0, 0, 0, 0, 1])));
        assert_eq!(word_value(1, Type::Bytes), None);
    }
}
