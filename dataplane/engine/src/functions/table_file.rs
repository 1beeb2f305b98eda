//! Reading the text files that handles name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::HandleError;

/// Largest table file, bytes.
pub const TABLE_BYTES_MAX: u64 = 256 << 20;
/// Most entries of a table.
pub const TABLE_ENTRIES_MAX: usize = 4 << 20;

/// The path that a string argument names.
pub(super) fn path_of(argument: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(argument))
}

/// The whole file, when it is within the limit.
pub(super) fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, HandleError> {
    let unreadable = |source| HandleError::Unreadable { path: path.to_path_buf(), source };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit_bytes + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > limit_bytes {
        return Err(HandleError::FileTooLarge { path: path.to_path_buf(), limit_bytes });
    }
    Ok(text)
}

/// The lines that count, with their numbers from 1: blank ones and those that start with `#` do not.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split(|&b| b == b'\n')
        .enumerate()
        .map(|(i, line)| (i + 1, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty() && !line.starts_with(b"#"))
}

/// A piece of a line for a message.
pub(super) fn shown(piece: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 80;
    String::from_utf8_lossy(&piece[..piece.len().min(SHOWN_BYTES_MAX)]).into_owned()
}
