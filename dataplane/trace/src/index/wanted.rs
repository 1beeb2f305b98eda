//! What is asked of packets, as far as a block's times and summary can answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::summary::{Key, Summary};

/// Networks of at most so many addresses are looked up address by address; larger ones exclude no block.
const NETWORK_ADDRESSES_MAX: u32 = 256;

/// Stamps from here on (year 2106, ns since the epoch) never exclude a block: seconds of them do not fit the 32 bits of `time`.
pub(super) const TELLING_NS_MAX: u64 = (1 << 32) * 1_000_000_000;

/// What must be true of a packet that is wanted. A block without one is not read; a block that is read may have none.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Nothing: every packet is.
    Any,
    /// No packet is.
    Never,
    /// Its stamp lies between these, both included, ns since the epoch.
    Between(u64, u64),
    /// It has this.
    Has(Key),
    /// It has an address of a network: its first address, and the length of its prefix.
    Network(IpAddr, u8),
    /// All of these hold.
    All(Vec<Wanted>),
    /// One of these holds.
    OneOf(Vec<Wanted>),
}

impl Wanted {
    /// A time, both ends included, ns since the epoch, outside of which no packet is wanted; nothing when none is.
    pub(super) fn time(&self) -> Option<(u64, u64)> {
        let common = |a: (u64, u64), b: (u64, u64)| (a.0.max(b.0), a.1.min(b.1));
        match self {
            Self::Any | Self::Has(_) | Self::Network(..) => Some((0, u64::MAX)),
            Self::Never => None,
            Self::Between(from_ns, to_ns) => Some((*from_ns, *to_ns)),
            Self::All(parts) => parts
                .iter()
                .try_fold((0, u64::MAX), |time, part| part.time().map(|other| common(time, other))),
            Self::OneOf(parts) => {
                parts.iter().filter_map(Self::time).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            }
        }
    }

    /// Whether it asks for more than a time.
    pub(super) fn asks_summaries(&self) -> bool {
        match self {
            Self::Any | Self::Never | Self::Between(..) => false,
            Self::Has(_) | Self::Network(..) => true,
            Self::All(parts) | Self::OneOf(parts) => parts.iter().any(Self::asks_summaries),
        }
    }

    /// Whether a packet of a block, or of a whole trace, may be wanted: one of those with stamps from `range_ns`, both included, that have what
    /// the summary says, or anything where there is none.
    pub fn may_be_in(&self, range_ns: (u64, u64), summary: Option<&Summary>) -> bool {
        let may_have = |key: Key| summary.is_none_or(|summary| summary.may_have(key));
        match self {
            Self::Any => true,
            Self::Never => false,
            Self::Between(from_ns, to_ns) => {
                let (min_ns, max_ns) = range_ns;
                max_ns >= TELLING_NS_MAX || min_ns <= *to_ns && max_ns >= *from_ns
            }
            Self::Has(key) => may_have(*key),
            Self::Network(first, len) => {
                addresses(*first, *len).is_none_or(|mut all| all.any(|a| may_have(Key::Address(a))))
            }
            Self::All(parts) => parts.iter().all(|part| part.may_be_in(range_ns, summary)),
            Self::OneOf(parts) => parts.iter().any(|part| part.may_be_in(range_ns, summary)),
        }
    }
}

/// The addresses of a network, if they are few.
fn addresses(first: IpAddr, len: u8) -> Option<impl Iterator<Item = IpAddr>> {
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let count = 1_u32.checked_shl(bits - u32::from(len).min(bits))?;
    (count <= NETWORK_ADDRESSES_MAX).then(|| {
        (0..count).map(move |n| match first {
            IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) | n).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) | u128::from(n)).into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn times_and_summaries_exclude_and_nothing_else_does() {
        let mut summary = Summary::new(64);
        summary.add(Key::Address(address("192.0.2.77")));
        summary.add(Key::Port(53));
        let asks = |wanted: &Wanted| wanted.may_be_in((100, 200), Some(&summary));
        let port = |port| Wanted::Has(Key::Port(port));
        for (wanted, expected) in [
            (Wanted::Any, true),
            (Wanted::Never, false),
            (Wanted::Between(200, 300), true),
            (Wanted::Between(201, 300), false),
            (Wanted::Between(0, 100), true),
            (Wanted::Between(0, 99), false),
            (port(53), true),
            (port(54), false),
            (Wanted::OneOf(vec![port(54), port(53)]), true),
            (Wanted::OneOf(Vec::new()), false),
            (Wanted::All(vec![port(54), port(53)]), false),
            (Wanted::All(vec![port(53), Wanted::Between(150, 150)]), true),
            (Wanted::Network(address("192.0.2.0"), 24), true),
            (Wanted::Network(address("192.0.2.76"), 31), true),
            (Wanted::Network(address("198.51.100.0"), 30), false),
            (Wanted::Network(address("10.0.0.0"), 8), true),
            (Wanted::Network(address("2001:db8::"), 32), true),
            (Wanted::Network(address("2001:db8::"), 127), false),
        ] {
            assert_eq!(asks(&wanted), expected, "{wanted:?}");
        }
        // Without a summary a header may hold anything, and times still exclude.
        assert!(port(54).may_be_in((100, 200), None));
        assert!(!Wanted::Between(0, 99).may_be_in((100, 200), None));
        assert!(Wanted::Between(0, 99).may_be_in((100, TELLING_NS_MAX), None));
    }
}
