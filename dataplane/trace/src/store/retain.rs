//! Retention: whole segments are deleted, oldest first, so that a store stays within what it may take.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Segment, Store, StoreError, sidecar};

/// What a store may take, and what is kept. Segments that are being written, and those of pinned ranges, stay in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Most bytes of all segments together, with their indexes.
    pub bytes_max: Option<u64>,
    /// How old a segment may become since its last packet was written.
    pub age_max: Option<Duration>,
    /// Bytes that stay free on the disk.
    pub free_min: Option<u64>,
}

impl Keep {
    /// Whether anything is ever deleted.
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }
}

impl Store {
    /// Deletes what may not be kept any more; says how many segments and bytes that were.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not be deleted.
    pub(crate) fn retain(&self, keep: &Keep, now: SystemTime) -> Result<(u64, u64), StoreError> {
        if !keep.is_limited() {
            return Ok((0, 0));
        }
        let segments = self.segments()?;
        let mut all_bytes: u64 = segments.iter().map(|segment| segment.disk_bytes).sum();
        let mut free = free_bytes(&self.dir)?;
        let mut deleted = (0, 0);
        let is_too_old = |segment: &Segment| {
            keep.age_max.is_some_and(|age| {
                now.duration_since(segment.modified).is_ok_and(|since| since > age)
            })
        };
        // Most of the time there is nothing to do, and no segment need be looked into.
        if keep.bytes_max.is_none_or(|max| all_bytes <= max)
            && keep.free_min.is_none_or(|min| free >= min)
            && !segments.iter().any(is_too_old)
        {
            return Ok(deleted);
        }
        for segment in self.deletable()? {
            let is_old = is_too_old(&segment);
            let is_over = keep.bytes_max.is_some_and(|max| all_bytes > max);
            let is_short = keep.free_min.is_some_and(|min| free < min);
            if !(is_old || is_over || is_short) {
                continue;
            }
            delete(&segment)?;
            all_bytes -= segment.disk_bytes.min(all_bytes);
            free += segment.disk_bytes;
            deleted = (deleted.0 + 1, deleted.1 + segment.disk_bytes);
        }
        Ok(deleted)
    }

    /// Deletes the oldest segment that may be; whether there was one.
    ///
    /// # Errors
    /// As [`Self::retain`].
    pub(crate) fn delete_oldest(&self) -> Result<bool, StoreError> {
        let Some(oldest) = self.deletable()?.into_iter().next() else { return Ok(false) };
        delete(&oldest)?;
        Ok(true)
    }

    /// Closed segments of no pinned range, the oldest first.
    fn deletable(&self) -> Result<Vec<Segment>, StoreError> {
        let pins = self.pins()?;
        let mut segments = self.segments()?;
        segments.retain(|segment| {
            self.summary(segment).is_some_and(|summary| !pins.iter().any(|pin| pin.holds(&summary)))
        });
        segments.sort_by_key(|segment| (segment.modified, segment.name));
        Ok(segments)
    }
}

/// Deletes a segment and what belongs to it. The index goes first: a segment without one is whole, an index without its segment is not.
fn delete(segment: &Segment) -> Result<(), StoreError> {
    for path in [sidecar(&segment.path), segment.path.clone()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("delete", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes that this user may still take of a disk.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| StoreError::io("look at", dir)(e.into()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}
