//! Writes pcap records through one large buffer.

use std::io::{self, Write};

const BUFFER_LEN: usize = 1 << 18;
/// Bytes of a file header.
pub const FILE_HEADER_LEN: u64 = 24;
/// Bytes before each packet.
pub const RECORD_HEADER_LEN: usize = 16;
const SNAP_LEN: u32 = 262_144;

/// A pcap file (little-endian, microseconds) being written.
#[derive(Debug)]
pub struct Sink<W> {
    output: W,
    buffer: Box<[u8]>,
    used: usize,
    /// Packets so far.
    pub packets: u64,
    /// Bytes of the file so far.
    pub bytes: u64,
}

impl<W: Write> Sink<W> {
    /// Begins a file of Ethernet frames.
    ///
    /// # Errors
    /// What the output says.
    pub fn new(output: W) -> io::Result<Self> {
        let mut sink = Self {
            output,
            buffer: vec![0; BUFFER_LEN].into(),
            used: 0,
            packets: 0,
            bytes: FILE_HEADER_LEN,
        };
        const ETHERNET: u32 = 1;
        const MAGIC_US: u32 = 0xa1b2_c3d4;
        for word in [MAGIC_US, 2 | 4 << 16, 0, 0, SNAP_LEN, ETHERNET] {
            sink.output.write_all(&word.to_le_bytes())?;
        }
        Ok(sink)
    }

    /// Appends a packet that `write` puts into the `N` bytes it is given; it returns how many it used, and the length on the wire.
    ///
    /// # Errors
    /// What the output says.
    #[inline]
    pub fn packet<const N: usize>(
        &mut self,
        time_ns: u64,
        write: impl FnOnce(&mut [u8; N]) -> (usize, u32),
    ) -> io::Result<()> {
        const { assert!(RECORD_HEADER_LEN + N <= BUFFER_LEN) };
        if BUFFER_LEN - self.used < RECORD_HEADER_LEN + N {
            self.flush()?;
        }
        let free = &mut self.buffer[self.used..self.used + RECORD_HEADER_LEN + N];
        let (head, body) = free.split_at_mut(RECORD_HEADER_LEN);
        let Ok(body) = <&mut [u8; N]>::try_from(body) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (len, wire) = write(body);
        let words = [
            (time_ns / 1_000_000_000) as u32,
            (time_ns % 1_000_000_000 / 1000) as u32,
            len as u32,
            wire,
        ];
        for (place, word) in head.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        self.used += RECORD_HEADER_LEN + len;
        self.bytes += (RECORD_HEADER_LEN + len) as u64;
        self.packets += 1;
        Ok(())
    }

    /// Hands what is buffered to the output.
    ///
    /// # Errors
    /// What the output says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer[..self.used])?;
        self.used = 0;
        Ok(())
    }
}
