//! What the kernel can hold of values: numbers and addresses, as words.

use std::net::IpAddr;

use wt_catalog::layout::{self, Class, Column, Packer};
use wt_catalog::{Type, Value};

/// How values of a type are held; nothing for floats, strings and prefixes.
pub(crate) fn class_of(ty: Type) -> Option<Class> {
    match Class::of(ty) {
        Class::Bytes | Class::Kept => None,
        Class::Word if ty == Type::Float => None,
        class => Some(class),
    }
}

/// The words of a value as one of a class; nothing when it is none.
pub(crate) fn words_of(value: &Value, class: Class) -> Option<[u64; 3]> {
    match (class, value.as_addr()) {
        (Class::Word, _) => Some([value.as_u64()?, 0, 0]),
        (Class::Ipv6, Some(IpAddr::V6(address))) => layout::words_of(&Value::Ipv6(address)),
        (Class::Inet, Some(address)) => layout::words_of(&Value::Inet(address)),
        _ => None,
    }
}

/// Places a column, unsigned numbers of up to 32 bits packed together; nothing for types without words.
pub(crate) fn place(packer: &mut Packer, ty: Type) -> Option<Column> {
    class_of(ty)?;
    let small = ty.bits().filter(|_| !ty.is_signed());
    Some(packer.place(ty, small.unwrap_or(64)))
}
