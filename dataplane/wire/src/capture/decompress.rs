//! The file as stored, counted, and what decompresses it.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::GzDecoder;

use super::format::Compression;

/// Largest zstd window that is decoded, as a power of two: 128 MiB, what `zstd --ultra -22` and
/// `--long` write without further options.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Memory an xz block may ask for, KiB: twice the 64 MiB dictionary of `xz -9`.
const XZ_MEMORY_MAX_KIB: u32 = 128 * 1024;

/// Buffer between the file and a decoder, bytes.
const STORED_BUFFER_LEN: usize = 64 * 1024;

/// What is known about the reading of the stored bytes while decoders own the reader.
#[derive(Debug, Default)]
pub(crate) struct StoredState {
    bytes_read: AtomicU64,
    failed: AtomicBool,
}

impl StoredState {
    /// Bytes of the file read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Whether the operating system failed, as opposed to a decoder.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The file as stored: counts what passes and remembers a fault.
pub(crate) struct Stored<R> {
    inner: R,
    state: Arc<StoredState>,
}

impl<R: Read> Stored<R> {
    pub(crate) fn new(inner: R) -> (Self, Arc<StoredState>) {
        let state = Arc::new(StoredState::default());
        (Self { inner, state: Arc::clone(&state) }, state)
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(out) {
            Ok(count) => {
                self.state.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.state.failed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

/// A streaming decoder of `stored`. Memory is bounded by the window that the format asks for, and
/// that by the limits above; never by the length of the output.
pub(crate) fn decoder(
    compression: Compression,
    stored: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let stored = BufReader::with_capacity(STORED_BUFFER_LEN, stored);
    Ok(match compression {
        Compression::Gzip => Box::new(GzipMembers { member: Some(GzDecoder::new(stored)) }),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(stored)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        Compression::Xz => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(stored, true, XZ_MEMORY_MAX_KIB))
        }
    })
}

/// All members of a gzip file, one after the other. Zero bytes behind the last are padding of
/// block devices and pass, as gzip lets them.
struct GzipMembers<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(out)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(stored) = self.member.take().map(GzDecoder::into_inner) else { break };
            self.member = next_member(stored)?.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// Looks behind a member: the reader when another one begins, nothing at the end.
fn next_member<R: BufRead>(mut stored: R) -> io::Result<Option<R>> {
    loop {
        let window = match stored.fill_buf() {
            Ok(window) => window,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match window.iter().position(|&byte| byte != 0) {
            None if window.is_empty() => return Ok(None),
            None => {
                let zeros = window.len();
                stored.consume(zeros);
            }
            Some(0) if window[0] == 0x1f => return Ok(Some(stored)),
            Some(zeros) if window[zeros] == 0x1f => stored.consume(zeros),
            Some(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "garbage behind the data"));
            }
        }
    }
}
