//! What share of port 80 is HTTP: the experiment of the Gigascope paper (SIGMOD 2003, section 4), with traffic of port 80 at one rate and other traffic beside it at rising rates.

use memchr::memmem;

use crate::bound::packet;

/// The two counts, as GSQL.
pub const QUERIES: &str = r"DEFINE { query_name port80; }
SELECT count(*) AS packets FROM tcp WHERE srcPort = 80 OR destPort = 80;
DEFINE { query_name http; }
SELECT count(*) AS packets FROM tcp
WHERE (srcPort = 80 OR destPort = 80) AND str_regex_match[data, '^[^\n]*HTTP/1.*'];
";

/// Packets of port 80, and those of them that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Of TCP port 80.
    pub port80: u64,
    /// With HTTP/1 in a line of their payload.
    pub http: u64,
}

impl Share {
    /// Of one packet.
    pub fn of(frame: &[u8]) -> Self {
        let tcp = packet::ip(frame, frame.len() as u32).and_then(|ip| ip.tcp());
        let Some(tcp) = tcp.filter(|tcp| tcp.has_port(80)) else { return Self::default() };
        let http = memmem::find(tcp.payload, b"HTTP/1").is_some();
        Self { port80: 1, http: http.into() }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { port80: self.port80 + other.port80, http: self.http + other.http }
    }

    fn times(self, n: u64) -> Self {
        Self { port80: self.port80 * n, http: self.http * n }
    }

    /// The share.
    pub fn share(self) -> f64 {
        self.http as f64 / self.port80.max(1) as f64
    }
}

/// Packets that are sent in a cycle.
#[derive(Clone, Debug)]
pub struct Mix {
    /// The packets.
    pub packets: Vec<Vec<u8>>,
    /// By packet: what has been sent up to it, itself included.
    sums: Vec<Share>,
}

impl Mix {
    /// Spreads packets of port 80 evenly among others, so that the first have a share of all.
    pub fn new(web: &[Vec<u8>], others: &[Vec<u8>], share: f64, packets: usize) -> Self {
        let (mut web, mut others) = (web.iter().cycle(), others.iter().cycle());
        let mut owed = 0.0;
        let mut mixed = Vec::with_capacity(packets);
        for _ in 0..packets {
            owed += share.clamp(0.0, 1.0);
            let from = if owed >= 1.0 { &mut web } else { &mut others };
            if owed >= 1.0 {
                owed -= 1.0;
            }
            mixed.extend(from.next().cloned());
        }
        let sums = mixed.iter().scan(Share::default(), |sum, frame| {
            *sum = sum.plus(Share::of(frame));
            Some(*sum)
        });
        Self { sums: sums.collect(), packets: mixed }
    }

    /// What the first so many packets that are sent hold.
    pub fn sent(&self, packets: u64) -> Share {
        let Some(all) = self.sums.last() else { return Share::default() };
        let len = self.sums.len() as u64;
        let rest = (packets % len) as usize;
        let rest = rest.checked_sub(1).map_or(Share::default(), |last| self.sums[last]);
        all.times(packets / len).plus(rest)
    }

    /// Mean length, bytes.
    pub fn mean_bytes(&self) -> f64 {
        let bytes: usize = self.packets.iter().map(Vec::len).sum();
        bytes as f64 / self.packets.len().max(1) as f64
    }
}

/// The answer in rows of `wiretable … --format ndjson`.
pub fn read(output: &str) -> Share {
    let of = |query: &str| {
        let rows = output.lines().filter_map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).ok()?;
            if row["query"] == query { row["packets"].as_u64() } else { None }
        });
        rows.sum()
    };
    Share { port80: of("port80"), http: of("http") }
}

/// Packets written and dropped, of what tcpdump says at its end.
pub fn read_tcpdump(error: &str) -> Option<(u64, u64)> {
    let of = |end: &str| {
        let line = error.lines().find(|line| line.ends_with(end))?;
        line.split(' ').next()?.parse().ok()
    };
    let captured = of("packets captured").or_else(|| of("packet captured"))?;
    Some((captured, of("dropped by kernel")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::packets::smallest;

    /// A segment to port 80 that carries this.
    fn web(payload: &[u8]) -> Vec<u8> {
        let mut frame = smallest();
        frame.extend(payload);
        let len = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame
    }

    #[test]
    fn a_mix_knows_what_was_sent() {
        let http = web(b"GET / HTTP/1.1\r\n");
        let not = web(b"x\nHTTP 1.1");
        let second_line = web(b"x\nHTTP/1.1");
        let mut other = smallest();
        other[36..38].copy_from_slice(&[0, 25]);
        assert_eq!(Share::of(&http), Share { port80: 1, http: 1 });
        assert_eq!(Share::of(&not), Share { port80: 1, http: 0 });
        assert_eq!(Share::of(&second_line), Share { port80: 1, http: 1 });
        assert_eq!(Share::of(&other), Share::default());
        let mix = Mix::new(&[http, not], &[other], 0.25, 16);
        assert_eq!(mix.sent(16), Share { port80: 4, http: 2 });
        assert_eq!(mix.sent(36), Share { port80: 9, http: 5 });
        assert_eq!(mix.sent(0), Share::default());
    }

    #[test]
    fn answers_are_read() {
        let rows = "{\"query\":\"http\",\"packets\":48}\n{\"query\":\"port80\",\"packets\":225}\n";
        assert_eq!(read(rows), Share { port80: 225, http: 48 });
        let said = "tcpdump: listening on near\n12 packets captured\n15 packets received by filter\n3 packets dropped by kernel\n";
        assert_eq!(read_tcpdump(said), Some((12, 3)));
    }
}
