//! The packets of a time range out of a sorted trace: both ends by bisection, and a copy of the bytes between them.
//!
//! A place in the middle is looked at with one read; a record boundary is found there by resynchronising. The copy is the kernel's
//! (`copy_file_range`), so that the bytes do not pass through the program.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::capture::{BoundError, FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, header};
use super::resync;

/// Bytes that are read at a place: enough for a chain of headers to be found in.
const WINDOW_LEN: usize = 64 << 10;

struct Sorted<'a> {
    file: &'a File,
    len: u64,
    header: FileHeader,
}

impl Sorted<'_> {
    /// The first record boundary at or behind a place, and the stamp there in ns; the end of the file when there is none.
    fn look(&self, at: u64) -> io::Result<(u64, u64)> {
        let mut window_len = WINDOW_LEN;
        loop {
            let len = window_len.min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
            let mut window = vec![0; len];
            self.file.read_exact_at(&mut window, at)?;
            let is_whole = at + len as u64 == self.len;
            // Within a window a chain may end early; only the end of the file is the end of one.
            match resync::boundary(&window, 0, &self.header) {
                Some(place) if place == len && is_whole => return Ok((self.len, u64::MAX)),
                Some(place) if place + RECORD_HEADER_LEN <= len && place < len => {
                    return Ok((at + place as u64, self.stamp(&window[place..])));
                }
                _ if is_whole => return Ok((self.len, u64::MAX)),
                _ => window_len *= 2,
            }
        }
    }

    fn stamp(&self, head: &[u8]) -> u64 {
        let word = |at: usize| {
            u64::from(u32::from_le_bytes(
                [0, 1, 2, 3].map(|i| head.get(at + i).copied().unwrap_or(0)),
            ))
        };
        word(0) * 1_000_000_000 + word(4) * if self.header.nanoseconds { 1 } else { 1000 }
    }

    /// Where the first record stands that was not stamped before this time.
    fn first_from(&self, ns: u64) -> io::Result<u64> {
        let (mut low, mut high) = (FILE_HEADER_LEN as u64, self.len);
        while high.saturating_sub(low) > WINDOW_LEN as u64 {
            let middle = low.midpoint(high);
            match self.look(middle)? {
                (at, stamp) if stamp < ns => low = at,
                _ => high = middle,
            }
        }
        // The last steps from record to record.
        let mut head = [0; RECORD_HEADER_LEN];
        while low + RECORD_HEADER_LEN as u64 <= self.len {
            self.file.read_exact_at(&mut head, low)?;
            if self.stamp(&head) >= ns {
                return Ok(low);
            }
            let caplen = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
            low += RECORD_HEADER_LEN as u64 + u64::from(caplen);
        }
        Ok(self.len)
    }
}

/// Writes the packets of `trace` from one time to before another (ns since the epoch) to a file; their bytes in the trace.
///
/// # Errors
/// The trace is no pcap that these programs read, or something cannot be read or written.
pub fn slice(trace: &Path, from_ns: u64, to_ns: u64, output: &Path) -> Result<u64, BoundError> {
    let io = |source| BoundError::Read { path: trace.to_owned(), source };
    let mut file = File::open(trace).map_err(io)?;
    let mut head = [0; FILE_HEADER_LEN];
    file.read_exact(&mut head).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    let sorted = Sorted { file: &file, len, header: header(&head, trace)? };
    let from = sorted.first_from(from_ns).map_err(io)?;
    let to = sorted.first_from(to_ns).map_err(io)?.max(from);
    let mut out = File::create(output).map_err(io)?;
    out.write_all(&head).map_err(io)?;
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    io::copy(&mut file.take(to - from), &mut out).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wt_wire::{ByteOrder, CaptureReader, LinkType, PcapVariant, PcapWriter};

    #[test]
    fn what_is_cut_out_is_what_a_scan_finds() {
        let dir = std::env::temp_dir().join(format!("wt-slice-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (trace, output) = (dir.join("a.pcap"), dir.join("b.pcap"));
        let file = io::BufWriter::new(File::create(&trace).unwrap());
        let mut writer =
            PcapWriter::new(file, PcapVariant::Nano, ByteOrder::Little, LinkType(1), 65_535)
                .unwrap();
        for n in 0..3000_u64 {
            let data = vec![n as u8; 60 + (n * 37 % 1400) as usize];
            writer.write(1_000_000_000_000 + n / 3 * 1000, data.len() as u32, &data).unwrap();
        }
        writer.into_inner().flush().unwrap();
        let stamps = |path: &Path, from: u64, to: u64| {
            let mut reader = CaptureReader::open(path).unwrap();
            let mut found = Vec::new();
            while let Some(record) = reader.next().unwrap() {
                if (from..to).contains(&record.timestamp_ns) {
                    found.push((record.timestamp_ns, record.data.to_vec()));
                }
            }
            found
        };
        for (from, to) in [(0, 5), (0, 700), (17, 18), (500, 20_000), (999, 1000), (1000, 2000)] {
            let (from, to) = (1_000_000_000_000 + from * 1000, 1_000_000_000_000 + to * 1000);
            slice(&trace, from, to, &output).unwrap();
            assert!(stamps(&output, 0, u64::MAX) == stamps(&trace, from, to), "{from} {to}");
        }
        assert!(slice(Path::new("/dev/null"), 0, 1, &output).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
