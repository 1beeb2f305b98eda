//! Lines of text: values as text, and many lines for each write.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use wt_catalog::{Type, Value};

/// Bytes of whole lines that are written at once.
const WRITE_BYTES: usize = 32 << 10;

/// Lines that wait to be written. What waits when this is dropped is written then.
pub(super) struct Lines<W: Write> {
    out: W,
    text: Vec<u8>,
    write_bytes: usize,
}

impl<W: Write> Lines<W> {
    /// Lines that go to `out` many at a time.
    pub(super) fn new(out: W) -> Self {
        Self::with(out, WRITE_BYTES)
    }

    /// Lines that go to `out` one by one, as others write there too.
    pub(super) fn one_by_one(out: W) -> Self {
        Self::with(out, 0)
    }

    fn with(out: W, write_bytes: usize) -> Self {
        Self { out, text: Vec::new(), write_bytes }
    }

    /// What the line at hand is appended to.
    #[inline]
    pub(super) fn line(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The line at hand is whole.
    #[inline]
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.text.len() < self.write_bytes { Ok(()) } else { self.write() }
    }

    /// Lets readers see all lines.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.out.flush()
    }

    fn write(&mut self) -> io::Result<()> {
        let done = self.out.write_all(&self.text);
        // Whatever came of it, no line is written twice.
        self.text.clear();
        done
    }
}

impl<W: Write> Drop for Lines<W> {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = self.write();
    }
}

/// The text of a value in every text format.
pub fn text(value: &Value, ty: Type) -> String {
    let mut text = Vec::new();
    push_text(&mut text, value, ty);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends [`text`]. Numbers and addresses of IPv4, of which most results consist, take no way through formatting.
#[inline]
pub(super) fn push_text(line: &mut Vec<u8>, value: &Value, ty: Type) {
    match value {
        Value::Uint(number) => push_number(line, *number),
        Value::Int(number) => push_str(line, itoa::Buffer::new().format(*number)),
        Value::Ip(address) | Value::Inet(IpAddr::V4(address)) => push_ipv4(line, *address),
        // A Vec takes all that is written.
        _ => drop(write!(line, "{}", wt_catalog::display::show(value, ty))),
    }
}

#[inline]
pub(super) fn push_str(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

#[inline]
fn push_number(line: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(digit @ 0..10) => line.push(b'0' + digit),
        _ => push_str(line, itoa::Buffer::new().format(number)),
    }
}

fn push_ipv4(line: &mut Vec<u8>, address: Ipv4Addr) {
    let mut text = [0; 16];
    let mut len = 0;
    for octet in address.octets() {
        let (digits, count) = OCTETS[usize::from(octet)];
        text[len..len + 4].copy_from_slice(&digits);
        len += count;
    }
    line.extend_from_slice(&text[..len - 1]);
}

/// Octets as addresses have them, with the dot that follows, and how long they are with it.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut first = if octet < 10 {
            2
        } else if octet < 100 {
            1
        } else {
            0
        };
        while first < 3 {
            let (text, count) = &mut octets[octet];
            text[*count] = b'0' + digits[first] as u8;
            *count += 1;
            first += 1;
        }
        octets[octet].1 += 1;
        octet += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_as_they_are_shown() {
        let numbers = (0..1200).chain([u64::MAX]).map(Value::Uint);
        let addresses = (0..=255).flat_map(|octet| {
            [[octet, 0, 9, 10], [1, octet, 99, 100], [0, 0, octet, 255], [255, 255, 255, octet]]
        });
        let addresses = addresses.map(|octets| Value::Ip(Ipv4Addr::from(octets)));
        for (value, ty) in
            numbers.map(|v| (v, Type::Ullong)).chain(addresses.map(|v| (v, Type::Ip)))
        {
            assert_eq!(text(&value, ty), wt_catalog::display::show(&value, ty).to_string());
        }
    }

    #[test]
    fn lines_are_written_whole_and_once() {
        /// Notes what comes with each write; takes only the first few.
        struct Writes<'a>(&'a mut Vec<Vec<u8>>, usize);
        impl Write for Writes<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0.len() == self.1 {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let line = [b'x'; 1000];
        let (mut together, mut apart, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut many = Lines::new(Writes(&mut together, usize::MAX));
            let mut single = Lines::one_by_one(Writes(&mut apart, usize::MAX));
            for _ in 0..40 {
                many.line().extend_from_slice(&line);
                many.end().unwrap();
                single.line().extend_from_slice(&line);
                single.end().unwrap();
            }
        }
        let lens: Vec<_> = together.iter().map(Vec::len).collect();
        assert_eq!(lens, [33_000, 7_000]);
        assert!(apart.iter().map(Vec::len).eq([1000; 40]));
        {
            let mut lines = Lines::new(Writes(&mut broken, 1));
            lines.line().extend_from_slice(b"first\n");
            lines.flush().unwrap();
            lines.line().extend_from_slice(b"second\n");
            assert_eq!(lines.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        assert_eq!(broken, [b"first\n"]);
    }
}
