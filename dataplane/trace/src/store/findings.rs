//! What is found while a store is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scan::Skipped;

/// What was found while a store was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Bytes of a segment are not what was written, and were left out.
    Damaged {
        /// Name of the segment.
        segment: String,
        /// Where, and how much.
        skipped: Skipped,
    },
    /// The end of a segment is not complete: its recorder was killed, or lost power. What it had not yet written whole is left out.
    Unfinished {
        /// Name of the segment.
        segment: String,
        /// Where, and how much.
        skipped: Skipped,
    },
    /// A segment was deleted before it was read: the recorder makes room.
    Deleted {
        /// Name of the segment.
        segment: String,
    },
    /// A segment says that it is of another store, and has nothing of this one.
    OfAnotherStore {
        /// Name of the segment.
        segment: String,
    },
    /// A segment cannot be read.
    Unreadable {
        /// Name of the segment.
        segment: String,
        /// What the operating system says.
        message: String,
    },
    /// A segment has an index that is not of it, or damaged, and was read as if there were none.
    NotIndexed {
        /// Name of the segment.
        segment: String,
        /// What is wrong.
        message: String,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { segment, skipped: Skipped { offset, bytes, packets } } => write!(
                f,
                "segment {segment}: {bytes} bytes at offset {offset} are damaged and were left out, with {packets} packets"
            ),
            Self::Unfinished { segment, skipped: Skipped { offset, bytes, .. } } => write!(
                f,
                "segment {segment} was not closed: {bytes} bytes at offset {offset} are not complete and were left out"
            ),
            Self::Deleted { segment } => {
                write!(f, "segment {segment} was deleted by the recorder before it was read")
            }
            Self::OfAnotherStore { segment } => {
                write!(f, "segment {segment} is of another store, and was left out")
            }
            Self::Unreadable { segment, message } => {
                write!(f, "segment {segment} cannot be read: {message}")
            }
            Self::NotIndexed { segment, message } => {
                write!(f, "the index of segment {segment} is not used: {message}")
            }
        }
    }
}

impl Finding {
    /// Whether something is missing that was there.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Unfinished { .. } | Self::NotIndexed { .. })
    }
}

/// What was found while a store was read, as far as it has been read.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Vec<Finding>>>);

impl Findings {
    /// All of it so far.
    pub fn all(&self) -> Vec<Finding> {
        self.lock().clone()
    }

    pub(super) fn add(&self, finding: Finding) {
        self.lock().push(finding);
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Forgets all but the first of them.
    pub(super) fn cut(&self, len: usize) {
        self.lock().truncate(len);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Finding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was found behind all others.
    pub(super) fn add_behind(&self, finding: Finding) {
        let mut all = self.lock();
        let skipped = |skipped: &Skipped, more: &Skipped| {
            (skipped.offset + skipped.bytes == more.offset).then(|| Skipped {
                offset: skipped.offset,
                bytes: skipped.bytes + more.bytes,
                packets: skipped.packets + more.packets,
            })
        };
        match (all.last_mut(), &finding) {
            // Damage that goes on in the next piece.
            (
                Some(Finding::Damaged { segment, skipped: before }),
                Finding::Damaged { segment: of, skipped: more },
            ) if segment == of
                && let Some(both) = skipped(before, more) =>
            {
                *before = both;
            }
            // Whatever is true of a segment as a whole is said once.
            (Some(last), _) if *last == finding => {}
            _ => all.push(finding),
        }
    }
}
