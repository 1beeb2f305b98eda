//! Frames: headers of a flow, and payloads that look like what their port carries.

use super::flow::{Flow, Tunnel};
use super::random::Random;

/// Most bytes of headers before a payload: VLAN, IPv4, UDP, VXLAN around Ethernet, IPv6, TCP, and room.
pub const HEADERS_MAX: usize = 160;
/// Largest frame that is made.
pub const FRAME_MAX: usize = 2048;

/// A growing header.
struct Header<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Header<'_> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    #[inline(always)]
    fn ethernet(&mut self, from: u32, to: u32, vlan: u16, ethertype: u16) {
        let station = |host: u32| {
            let h = host.to_be_bytes();
            [0x02, 0, h[0], h[1], h[2], h[3]]
        };
        self.put(station(to));
        self.put(station(from));
        if vlan != 0 {
            self.put([0x81, 0]);
            self.put(vlan.to_be_bytes());
        }
        self.put(ethertype.to_be_bytes());
    }

    #[inline(always)]
    fn ipv4(&mut self, ip: &Ipv4) {
        let at = self.len;
        self.put([0x45, 0]);
        self.put(ip.len.to_be_bytes());
        self.put(ip.id.to_be_bytes());
        self.put(ip.fragment.to_be_bytes());
        self.put([64, ip.protocol, 0, 0]);
        self.put(ip.from.to_be_bytes());
        self.put(ip.to.to_be_bytes());
        let sum = !fold(sum(&self.bytes[at..at + 20]));
        self.bytes[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }

    #[inline(always)]
    fn udp(&mut self, from: u16, to: u16, len: u16) {
        self.put(from.to_be_bytes());
        self.put(to.to_be_bytes());
        self.put(len.to_be_bytes());
        self.put([0, 0]);
    }
}

struct Ipv4 {
    from: u32,
    to: u32,
    len: u16,
    id: u16,
    fragment: u16,
    protocol: u8,
}

const DONT_FRAGMENT: u16 = 0x4000;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The sum of 16-bit words (RFC 1071), not folded.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u64 = words.iter().map(|w| u64::from(u16::from_be_bytes(*w))).sum();
    whole + rest.first().map_or(0, |&b| u64::from(b) << 8)
}

/// Folds a sum to 16 bits.
#[inline]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes frames.
#[derive(Clone, Debug)]
pub struct Frames {
    payloads: Payloads,
    checksums: bool,
}

impl Frames {
    /// A writer of frames; with `checksums`, those of TCP and UDP are right, else 0.
    pub fn new(seed: u64, checksums: bool) -> Self {
        Self { payloads: Payloads::new(seed), checksums }
    }

    /// Writes a frame of about `size` bytes at the start of `out` and tells its length: more when the headers need more.
    #[inline]
    pub fn write(
        &self,
        flow: &Flow,
        size: usize,
        random: &mut Random,
        out: &mut [u8; FRAME_MAX],
    ) -> usize {
        let mut header = Header { bytes: out, len: 0 };
        let entropy = random.draw();
        let (client, server) = (flow.client, flow.server);
        let (from, to) = if flow.from_client { (client, server) } else { (server, client) };
        let ethertype = if flow.v6 { IPV6 } else { IPV4 };
        let ip_len = if flow.v6 { 40 } else { 20 };
        let l4_len = if flow.tcp { 20 } else { 8 };
        let outer = if flow.vlan == 0 { 14 } else { 18 };
        // A bare acknowledgment leaves the end of the smallest frame as padding.
        let bare = flow.tcp && size <= 64;
        let room = size.saturating_sub(outer + ip_len + l4_len);
        let payload_len = if bare { 0 } else { room.max(payload_len_min(flow)) };
        let inner_len = ip_len + l4_len + payload_len;
        let endpoint = |host: u32| 0x0a80_0000 | host & 0xff;
        match flow.tunnel {
            Tunnel::None => header.ethernet(from, to, flow.vlan, ethertype),
            Tunnel::Vxlan => {
                header.ethernet(endpoint(from), endpoint(to), flow.vlan, IPV4);
                let len = (20 + 8 + 8 + 14 + inner_len) as u16;
                header.ipv4(&Ipv4 {
                    from: endpoint(from),
                    to: endpoint(to),
                    len,
                    id: entropy as u16,
                    fragment: DONT_FRAGMENT,
                    protocol: UDP,
                });
                header.udp(DYNAMIC_SOURCE | (flow.client & 0xfff) as u16, 4789, len - 20);
                header.put([8, 0, 0, 0, 0, (client >> 4 & 0xf) as u8, 1, 0]);
                header.ethernet(from, to, 0, ethertype);
            }
            Tunnel::Gre => {
                header.ethernet(endpoint(from), endpoint(to), flow.vlan, IPV4);
                header.ipv4(&Ipv4 {
                    from: endpoint(from),
                    to: endpoint(to),
                    len: (20 + 4 + inner_len) as u16,
                    id: entropy as u16,
                    fragment: DONT_FRAGMENT,
                    protocol: GRE,
                });
                header.put([0, 0]);
                header.put(ethertype.to_be_bytes());
            }
        }
        let protocol = if flow.tcp { TCP } else { UDP };
        let ip_at = header.len;
        let (from, to) = if flow.from_client {
            (client_v4(client), server_v4(server))
        } else {
            (server_v4(server), client_v4(client))
        };
        if flow.v6 {
            header.put([0x60, 0, 0, 0]);
            header.put(((l4_len + payload_len) as u16).to_be_bytes());
            header.put([protocol, 64]);
            for (address, from_client) in [(from, flow.from_client), (to, !flow.from_client)] {
                header.put([
                    0x20,
                    0x01,
                    0x0d,
                    0xb8,
                    0,
                    1 + u8::from(!from_client),
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
                header.put(address.to_be_bytes());
            }
        } else {
            header.ipv4(&Ipv4 {
                from,
                to,
                len: inner_len as u16,
                id: (entropy >> 16) as u16,
                fragment: DONT_FRAGMENT,
                protocol,
            });
        }
        let l4_at = header.len;
        let (from_port, to_port) = if flow.from_client {
            (flow.client_port, flow.server_port)
        } else {
            (flow.server_port, flow.client_port)
        };
        if flow.tcp {
            header.put(from_port.to_be_bytes());
            header.put(to_port.to_be_bytes());
            header.put(entropy.to_be_bytes());
            header.put([0x50, tcp_flags(bare, flow.from_client, entropy)]);
            header.put([0xfa, 0, 0, 0, 0, 0]);
        } else {
            header.udp(from_port, to_port, (8 + payload_len) as u16);
        }
        let payload_at = header.len;
        let end = (payload_at + payload_len).max(size);
        self.payloads.write(flow, entropy, &mut out[payload_at..payload_at + payload_len]);
        out[payload_at + payload_len..end].fill(0);
        if self.checksums {
            let end = payload_at + payload_len;
            let addresses =
                if flow.v6 { &out[ip_at + 8..ip_at + 40] } else { &out[ip_at + 12..ip_at + 20] };
            let pseudo = sum(addresses) + u64::from(protocol) + (end - l4_at) as u64;
            let value = !fold(pseudo + sum(&out[l4_at..end]));
            let place = l4_at + if flow.tcp { 16 } else { 6 };
            // A UDP checksum of 0 would mean none.
            let value = if value == 0 && !flow.tcp { 0xffff } else { value };
            out[place..place + 2].copy_from_slice(&value.to_be_bytes());
        }
        end
    }

    /// A SYN of a flood: any source, one destination.
    #[inline]
    pub fn write_syn(&self, random: &mut Random, out: &mut [u8; FRAME_MAX]) -> usize {
        let r = random.draw();
        let flow = Flow {
            v6: false,
            tcp: true,
            vlan: 0,
            tunnel: Tunnel::None,
            client: (r >> 8) as u32 & 0xff_ffff,
            server: 1,
            client_port: 1024 + (r >> 40) as u16 % 64_000,
            server_port: 80,
            from_client: true,
        };
        let len = self.write(&flow, 64, random, out);
        const FLAGS_AT: usize = 14 + 20 + 13;
        out[FLAGS_AT] = SYN;
        len
    }

    /// A piece of a datagram whose other pieces never come.
    #[inline]
    pub fn write_fragment(
        &self,
        size: usize,
        random: &mut Random,
        out: &mut [u8; FRAME_MAX],
    ) -> usize {
        let r = random.draw();
        let size = size.max(64);
        let mut header = Header { bytes: out, len: 0 };
        let from = client_v4((r >> 8) as u32 & 0xff_ffff);
        header.ethernet(from, 2, 0, IPV4);
        const MORE_FRAGMENTS: u16 = 0x2000;
        let offset = (r >> 32) as u16 % 40 * 185;
        header.ipv4(&Ipv4 {
            from,
            to: server_v4(2),
            len: (size - 14) as u16,
            id: r as u16,
            fragment: MORE_FRAGMENTS | offset,
            protocol: UDP,
        });
        if offset == 0 {
            header.udp((r >> 40) as u16, 53, 7400);
        }
        let at = header.len;
        self.payloads.noise(r, &mut out[at..size]);
        size
    }
}

const DYNAMIC_SOURCE: u16 = 0xc000;
const SYN: u8 = 2;

fn client_v4(host: u32) -> u32 {
    0x0a00_0000 | host
}

/// In 198.18.0.0/15, which RFC 2544 sets aside for benchmarks.
fn server_v4(host: u32) -> u32 {
    0xc612_0000 | host
}

/// What a message has at least; the smallest frame has less room behind IPv6.
#[inline]
fn payload_len_min(flow: &Flow) -> usize {
    if flow.server_port == 53 && !flow.tcp { DNS_LEN } else { 0 }
}

/// Bytes of a question for a name of three letters.
const DNS_LEN: usize = 21;

#[inline]
fn tcp_flags(bare: bool, from_client: bool, entropy: u64) -> u8 {
    const FIN_ACK: u8 = 0x11;
    const SYN_ACK: u8 = 0x12;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    const PSH_ACK: u8 = 0x18;
    match (bare, entropy >> 40 & 0xff) {
        (true, 0..8) => {
            if from_client {
                SYN
            } else {
                SYN_ACK
            }
        }
        (true, 8..16) => FIN_ACK,
        (true, 16) => RST,
        (true, _) => ACK,
        (false, 0..64) => PSH_ACK,
        (false, _) => ACK,
    }
}

/// Bytes that payloads are cut from.
#[derive(Clone, Debug)]
struct Payloads {
    /// Without pattern, as encrypted data is.
    noise: Box<[u8]>,
    /// Lines of text.
    text: Box<[u8]>,
    requests: Vec<Vec<u8>>,
    responses: Vec<Vec<u8>>,
}

const POOL_LEN: usize = 1 << 16;

impl Payloads {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x7061_796c);
        let noise = (0..POOL_LEN + FRAME_MAX).map(|_| random.draw() as u8).collect();
        const WORDS: [&str; 12] = [
            "<p>", "packet", "stream", "the", "of", "window", "</p>\n", "table", "wire", "a",
            "query", "group",
        ];
        let mut text = Vec::with_capacity(POOL_LEN + FRAME_MAX + 8);
        while text.len() < POOL_LEN + FRAME_MAX {
            text.extend_from_slice(WORDS[random.below(WORDS.len() as u32) as usize].as_bytes());
            text.push(b' ');
        }
        let requests = (0..16).map(|n| {
            let (method, path) = (["GET", "POST", "HEAD", "GET"][n % 4], random.draw());
            format!(
                "{method} /path/{path:x}/index.html HTTP/1.1\r\nHost: www{n}.example.net\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
            )
            .into_bytes()
        }).collect();
        let responses = (0..16).map(|n| {
            let status = ["200 OK", "200 OK", "304 Not Modified", "404 Not Found"][n % 4];
            format!(
                "HTTP/1.{} {status}\r\nServer: bench\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                n % 2,
                random.below(90_000)
            )
            .into_bytes()
        }).collect();
        Self { noise, text: text.into(), requests, responses }
    }

    #[inline]
    fn write(&self, flow: &Flow, entropy: u64, out: &mut [u8]) {
        match (flow.server_port, flow.tcp) {
            (80 | 8080, true) => self.http(flow.from_client, entropy, out),
            (53, false) => self.dns(flow.from_client, entropy, out),
            _ => self.noise(entropy, out),
        }
    }

    #[inline]
    fn noise(&self, entropy: u64, out: &mut [u8]) {
        let at = (entropy >> 48) as usize;
        out.copy_from_slice(&self.noise[at..at + out.len()]);
    }

    /// Half of the segments begin a message, the others continue one.
    fn http(&self, from_client: bool, entropy: u64, out: &mut [u8]) {
        let heads = if from_client { &self.requests } else { &self.responses };
        let head: &[u8] = if entropy & 1 == 0 { &heads[(entropy >> 1 & 15) as usize] } else { &[] };
        let len = head.len().min(out.len());
        let (first, rest) = out.split_at_mut(len);
        first.copy_from_slice(&head[..len]);
        let at = (entropy >> 48) as usize;
        rest.copy_from_slice(&self.text[at..at + rest.len()]);
    }

    fn dns(&self, query: bool, entropy: u64, out: &mut [u8]) {
        self.noise(entropy, out);
        let id = (entropy as u16).to_be_bytes();
        let flags = if query { [1, 0] } else { [0x81, 0x80] };
        let name = (entropy >> 16) as u8 % 26 + b'a';
        let message: [u8; DNS_LEN] = [
            id[0], id[1], flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'w', name, 0, 0, 1,
            0, 1,
        ];
        let len = message.len().min(out.len());
        out[..len].copy_from_slice(&message[..len]);
    }
}

const _: () = assert!(HEADERS_MAX + 1500 < FRAME_MAX);
