//! The built-in protocols as they come out of their declarations, so that not every process reads those: it takes two milliseconds, this a tenth.
//!
//! `protocols.postcard` holds them. Where the declarations are others since, they are read. A test compares both and, with `UPDATE=1` in its
//! environment, writes the file anew:
//!
//! ```text
//! UPDATE=1 cargo test -p wt-catalog snapshot
//! ```

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{functions, protocols};
use crate::Catalog;
use crate::protocol::{Enumeration, Over, Protocol};

static BYTES: &[u8] = include_bytes!("protocols.postcard");

/// Tells texts apart: FNV-1a.
const TEXT_HASH: u64 = {
    let text = protocols::TEXT.as_bytes();
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < text.len() {
        hash = (hash ^ text[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
};

/// What is kept of a catalog: all but the functions.
#[derive(Deserialize, Serialize)]
struct Snapshot {
    text_hash: u64,
    protocols: Vec<Protocol>,
    enumerations: Vec<Enumeration>,
    over: Vec<Over>,
}

/// The catalog of the snapshot; nothing where it is not of these declarations.
pub(super) fn taken() -> Option<Catalog> {
    let snapshot = postcard::from_bytes::<Snapshot>(BYTES).ok()?;
    let Snapshot { text_hash, protocols, enumerations, over } = snapshot;
    if text_hash != TEXT_HASH {
        return None;
    }
    Some(Catalog { protocols, enumerations, functions: functions::all(), over })
}

/// Reads the symbol of a function.
pub(crate) fn symbol<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    let read = <&str>::deserialize(from)?;
    let found = functions::all().into_iter().find(|function| function.symbol == read);
    found.map(|function| function.symbol).ok_or_else(|| D::Error::custom("no such function"))
}

#[cfg(test)]
mod tests {
    use super::super::declared;
    use super::*;

    #[test]
    fn the_snapshot_is_of_the_declarations() {
        let Catalog { protocols, enumerations, over, .. } = declared().0;
        let snapshot = Snapshot { text_hash: TEXT_HASH, protocols, enumerations, over };
        let bytes = postcard::to_allocvec(&snapshot).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/builtin/protocols.postcard");
            std::fs::write(path, &bytes).unwrap();
        }
        assert!(
            bytes == BYTES,
            "the built-in protocols have changed: run `UPDATE=1 cargo test -p wt-catalog snapshot`, then build again"
        );
    }

    #[test]
    fn what_is_taken_is_what_is_declared() {
        let (taken, declared) = (taken().expect("of these declarations"), declared().0);
        assert_eq!(format!("{:?}", taken.protocols), format!("{:?}", declared.protocols));
        assert_eq!(format!("{:?}", taken.over), format!("{:?}", declared.over));
        assert_eq!(format!("{:?}", taken.enumerations), format!("{:?}", declared.enumerations));
        assert_eq!(taken.functions.len(), declared.functions.len());
    }
}
