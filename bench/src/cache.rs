//! How the page cache holds a trace. It decides more than any program does: mapping or copying 2 MiB takes several times longer in pages of 4 KiB than in one of 2 MiB, and
//! nobody who reads a file that is in the cache can change it. Files lie there in huge pages that were written in pieces of that size, or were read first by a program that
//! asked for it, as `wiretable` does; elsewhere in pages that grow with what was read ahead, and one by one where that is small.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;

use crate::sys::{self, Map};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// A trace is not read again if this much of it is as it should be.
const SHARE: f64 = 0.95;

/// In what the page cache holds a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pages {
    /// Pages of 2 MiB, where the kernel and the file system have them
    Huge,
    /// Pages of 4 KiB
    Small,
}

/// Has the page cache hold a file so; returns the share of it that lies in huge pages.
///
/// # Errors
/// What the operating system says.
pub fn hold(path: &Path, pages: Pages) -> io::Result<f64> {
    let file = File::open(path)?;
    let share = share_in_huge_pages(&file)?;
    let is_so = match pages {
        Pages::Huge => share >= SHARE,
        Pages::Small => share <= 1.0 - SHARE,
    };
    if is_so {
        return Ok(share);
    }
    // What is not on the disk yet stays in the cache.
    file.sync_all()?;
    sys::leave_cache(&file)?;
    match pages {
        Pages::Huge => drop(populated(&file)?),
        Pages::Small => {
            sys::read_at_random(&file)?;
            let mut buffer = vec![0; PIECE];
            while (&file).read(&mut buffer)? > 0 {}
        }
    }
    share_in_huge_pages(&file)
}

/// Maps a file and brings all of it into the cache, in huge pages as far as it is not there yet.
fn populated(file: &File) -> io::Result<Map> {
    let map = Map::new(file)?;
    map.ask_for_huge_pages();
    (0..map.len()).step_by(PIECE).for_each(|at| map.populate(at, PIECE));
    Ok(map)
}

fn share_in_huge_pages(file: &File) -> io::Result<f64> {
    let before = mapped_in_huge_pages()?;
    let map = populated(file)?;
    let mapped = mapped_in_huge_pages()?.saturating_sub(before);
    // The end is shorter than a page.
    let whole = (map.len() >> 21 << 21).max(1);
    Ok(mapped as f64 / whole as f64)
}

/// Bytes of files that this process has mapped in huge pages; 0 where the kernel does not tell.
fn mapped_in_huge_pages() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("FilePmdMapped:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.unwrap_or(0) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_as_asked_where_the_kernel_can() {
        let dir = std::env::temp_dir();
        let path = dir.join(format!("wt-bench-pages-{}", std::process::id()));
        fs::write(&path, vec![7_u8; 6 << 20]).unwrap();
        let small = hold(&path, Pages::Small).unwrap();
        assert!(small <= 1.0 - SHARE, "{small}");
        // Not every file system has huge pages.
        let huge = hold(&path, Pages::Huge).unwrap();
        assert!((small..=1.0).contains(&huge), "{huge}");
        assert_eq!(fs::read(&path).unwrap(), vec![7_u8; 6 << 20]);
        fs::remove_file(&path).unwrap();
    }
}
