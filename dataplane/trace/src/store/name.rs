//! Names of the files of a store. Those of segments sort in the order of their packets, writer by writer.

use std::fmt;

/// What a segment's name ends in.
const PLAIN: &str = ".pcapng";
const COMPRESSED: &str = ".pcapng.zst";

/// Digits of a writer's number and of a sequence number in a name.
const WRITER_DIGITS: usize = 2;
const SEQUENCE_DIGITS: usize = 16;

/// Most writers of a store.
pub const WRITERS_MAX: u16 = 100;

/// What a segment is called: `w00-0000000000000000.pcapng`, and `.zst` behind it when it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Number of the writer: one per queue of an interface.
    pub writer: u16,
    /// Sequence number of the first packet; those behind it are numbered by their place.
    pub first: u64,
    /// Whether it is compressed by zstd.
    pub is_compressed: bool,
}

impl SegmentName {
    /// The segment of this file name, if it is the name of one.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, is_compressed) = match name.strip_suffix(COMPRESSED) {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(PLAIN)?, false),
        };
        let (writer, first) = stem.strip_prefix('w')?.split_once('-')?;
        let number = |text: &str, digits: usize| -> Option<u64> {
            let fits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse().ok())?
        };
        let writer = number(writer, WRITER_DIGITS)? as u16;
        Some(Self { writer, first: number(first, SEQUENCE_DIGITS)?, is_compressed })
    }

    /// The same segment when it is compressed.
    pub fn compressed(self) -> Self {
        Self { is_compressed: true, ..self }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writer, first, is_compressed } = self;
        let end = if *is_compressed { COMPRESSED } else { PLAIN };
        write!(f, "w{writer:0WRITER_DIGITS$}-{first:0SEQUENCE_DIGITS$}{end}")
    }
}

/// The file that says how far a writer has come.
pub(crate) fn mark(writer: u16) -> String {
    format!("w{writer:0WRITER_DIGITS$}.mark")
}

/// Whether a name is one that a store has beside its segments and their sidecars.
pub(crate) fn is_known(name: &str) -> bool {
    let known = [super::MANIFEST, super::LOCK, super::PINS, super::RUN, super::SAVED];
    // Every ext file system has it.
    if name == "lost+found" {
        return true;
    }
    // What was being written when a process ended.
    let name = name.strip_suffix(super::PART).unwrap_or(name);
    let is_mark = || name.starts_with('w') && name.ends_with(".mark");
    // The index of a segment lies beside it.
    let is_sidecar =
        || name.strip_suffix(".wti").is_some_and(|of| SegmentName::parse(of).is_some());
    known.contains(&name) || SegmentName::parse(name).is_some() || is_mark() || is_sidecar()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_packets_do_and_read_back() {
        let name = |writer, first| SegmentName { writer, first, is_compressed: false };
        let all = [name(0, 0), name(0, 9), name(0, 10), name(0, 1 << 40), name(1, 0), name(11, 5)];
        let mut texts: Vec<_> = all.iter().map(SegmentName::to_string).collect();
        assert_eq!(texts[1], "w00-0000000000000009.pcapng");
        let before = texts.clone();
        texts.sort();
        assert_eq!(texts, before);
        for name in all.iter().flat_map(|name| [*name, name.compressed()]) {
            assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }
        for odd in [
            "",
            "w00-1.pcapng",
            "w0-0000000000000009.pcapng",
            "x.pcapng",
            "w00-+000000000000009.pcapng",
        ] {
            assert_eq!(SegmentName::parse(odd), None, "{odd}");
            assert!(!is_known(odd), "{odd}");
        }
        assert!(is_known("w00-0000000000000009.pcapng.wti") && is_known("w07.mark"));
    }
}
