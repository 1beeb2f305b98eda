//! Flows: a number becomes addresses, ports, and what the packets are wrapped in.
//!
//! Nothing is stored per flow, so ten million cost what ten do. Numbers 2c and 2c + 1 are the two directions of
//! conversation c; its client has an address and port of its own, so that no two flows share a 5-tuple.

use super::random::{mix, scale};

/// What stands between the link layer and the flow's own headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// Nothing.
    None,
    /// Ethernet in UDP.
    Vxlan,
    /// IP in IP.
    Gre,
}

/// Shares of flows, each of 2^32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// With a VLAN tag.
    pub vlan: u32,
    /// Over IPv6.
    pub ipv6: u32,
    /// In VXLAN or GRE, half each.
    pub tunnel: u32,
    /// TCP only, instead of three quarters TCP.
    pub tcp_only: bool,
}

/// One direction of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// TCP instead of UDP.
    pub tcp: bool,
    /// VLAN of the outer frame, 0 for none.
    pub vlan: u16,
    /// Around the flow's own headers.
    pub tunnel: Tunnel,
    /// The client's address: 24 bits of host.
    pub client: u32,
    /// The server's address: 17 bits of host.
    pub server: u32,
    /// The client's port.
    pub client_port: u16,
    /// The server's port.
    pub server_port: u16,
    /// Sent by the client.
    pub from_client: bool,
}

/// Server ports in 256 parts: what, how many of them, TCP or not. Roughly what an access link carries.
const SERVICES: &[(u16, u16, bool)] = &[
    (443, 110, true),
    (80, 48, true),
    (443, 28, false),
    (53, 24, false),
    (22, 8, true),
    (8080, 6, true),
    (25, 4, true),
    (993, 4, true),
    (123, 4, false),
    (3389, 3, true),
    (5432, 3, true),
    (500, 2, false),
    (5060, 2, false),
    (0, 10, true),
];

/// Bits of a client: 24 of address, 14 of port.
const CLIENT_BITS: u32 = 38;
const CLIENT_MASK: u64 = (1 << CLIENT_BITS) - 1;
/// Where the dynamic ports begin (RFC 6335).
const DYNAMIC_PORT: u16 = 49_152;

/// Makes flows of numbers.
#[derive(Clone, Debug)]
pub struct Flows {
    seed: u64,
    shares: Shares,
    /// Port and TCP by the low byte of a conversation's hash.
    services: [(u16, bool); 256],
}

impl Flows {
    /// The flows of a seed.
    pub fn new(seed: u64, shares: Shares) -> Self {
        let mut services = [(0, true); 256];
        let parts = SERVICES.iter().flat_map(|&(port, parts, tcp)| {
            std::iter::repeat_n((port, tcp || shares.tcp_only), usize::from(parts))
        });
        services.iter_mut().zip(parts).for_each(|(slot, service)| *slot = service);
        Self { seed: mix(seed), shares, services }
    }

    /// The flow of a number.
    #[inline]
    pub fn flow(&self, number: u64) -> Flow {
        let conversation = number >> 1;
        let hash = mix(self.seed ^ conversation);
        let more = mix(hash);
        let client = self.client(conversation);
        let (port, tcp) = self.services[(hash & 0xff) as usize];
        // The square of a uniform number makes low hosts popular.
        let skewed = ((hash >> 32) * (hash >> 32)) >> 47;
        let tunnelled = (more as u32) < self.shares.tunnel;
        Flow {
            v6: scale(more, u32::MAX) < self.shares.ipv6,
            tcp,
            vlan: if (mix(more) as u32) < self.shares.vlan {
                100 + (hash >> 8 & 7) as u16
            } else {
                0
            },
            tunnel: match (tunnelled, hash >> 16 & 1) {
                (false, _) => Tunnel::None,
                (true, 0) => Tunnel::Vxlan,
                (true, _) => Tunnel::Gre,
            },
            client: (client & 0xff_ffff) as u32,
            server: skewed as u32,
            client_port: DYNAMIC_PORT + (client >> 24) as u16,
            // Port 0 stands for one of the many without a name.
            server_port: if port == 0 { 10_000 + (hash >> 20 & 0x3fff) as u16 } else { port },
            from_client: number & 1 == 0,
        }
    }

    /// A permutation of 38 bits: odd factors and shifts to the right lose nothing.
    #[inline]
    fn client(&self, conversation: u64) -> u64 {
        let mut x = conversation.wrapping_add(self.seed) & CLIENT_MASK;
        x = x.wrapping_mul(0x9e_3779_b97f) & CLIENT_MASK;
        x ^= x >> 19;
        x = x.wrapping_mul(0x2545_f491_4f6d) & CLIENT_MASK;
        x ^ (x >> 19)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_flows_share_a_tuple() {
        let flows = Flows::new(3, Shares::default());
        let mut seen = HashSet::new();
        for number in 0..200_000 {
            let f = flows.flow(number);
            assert!(seen.insert((f.client, f.client_port, f.server, f.server_port, f.from_client)));
        }
    }

    #[test]
    fn services_fill_the_table() {
        assert_eq!(SERVICES.iter().map(|s| s.1).sum::<u16>(), 256);
    }

    #[test]
    fn shares_are_kept() {
        const QUARTER: u32 = 1 << 30;
        let shares = Shares { vlan: QUARTER, ipv6: QUARTER, tunnel: QUARTER, tcp_only: false };
        let flows = Flows::new(4, shares);
        let all: Vec<Flow> = (0..40_000).map(|n| flows.flow(n)).collect();
        let count = |p: fn(&Flow) -> bool| all.iter().filter(|f| p(f)).count();
        for (name, n, expected) in [
            ("vlan", count(|f| f.vlan != 0), 10_000),
            ("ipv6", count(|f| f.v6), 10_000),
            ("vxlan", count(|f| f.tunnel == Tunnel::Vxlan), 5_000),
            ("gre", count(|f| f.tunnel == Tunnel::Gre), 5_000),
            ("both", count(|f| f.v6 && f.vlan != 0), 2_500),
            ("udp", count(|f| !f.tcp), 9_375),
        ] {
            assert!(n.abs_diff(expected) < expected / 8, "{name}: {n} of {expected}");
        }
    }
}
