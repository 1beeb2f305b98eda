//! Link types as libpcap's compiler knows them, and how a capture file differs from a live interface.

/// LINKTYPE_ numbers of whose packets libpcap's compiler knows more than their bytes. The code for each may differ.
pub const KNOWN: [u16; 70] = [
    0, 1, 6, 7, 8, 9, 10, 11, 12, 15, 16, 19, 50, 51, 99, 100, 101, 102, 103, 104, 105, 106, 107,
    108, 109, 112, 113, 114, 117, 119, 122, 123, 127, 129, 130, 131, 132, 133, 134, 135, 136, 137,
    138, 139, 140, 163, 164, 165, 166, 167, 168, 178, 179, 180, 181, 183, 192, 194, 197, 200, 226,
    228, 229, 232, 233, 234, 238, 240, 241, 276,
];

/// Stands for every link type from [`OTHERS_FROM`] on that is not listed: only lengths and raw bytes (`link[…]`) can be asked for.
pub const OTHER: u16 = 147;

/// libpcap knows nothing at all of unlisted numbers below.
pub const OTHERS_FROM: u16 = 104;

/// LINKTYPE_ numbers whose DLT_ number on Linux differs (libpcap `pcap-common.c`).
const DLT_OF_LINK_TYPE: [(u16, i32); 5] = [(100, 11), (101, 12), (102, 15), (103, 16), (106, 19)];

/// The number that libpcap's compiler takes.
pub fn dlt_of(link_type: u16) -> i32 {
    let differing = DLT_OF_LINK_TYPE.iter().find(|(l, _)| *l == link_type);
    differing.map_or(i32::from(link_type), |(_, dlt)| *dlt)
}

/// The header of a BSD loopback packet is the number of an address family. Whose number of IPv6 it is, and in whose byte order, depends on
/// the host that captured. libpcap's compiler asks for this host's numbers, as it must on a live interface; from a file it
/// takes those of all BSDs, in the byte order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// LINKTYPE_NULL and LINKTYPE_ENC: byte order of the capturing host. A query may read files of both, so either is taken.
    HostOrder,
    /// LINKTYPE_LOOP: big-endian.
    NetworkOrder,
}

/// AF_INET on every system.
const INET: u32 = 2;
/// AF_INET6 on Linux, which never stands in such a file: the compiler's constant.
const INET6_LINUX: u32 = 10;
/// AF_INET6 on NetBSD and OpenBSD, FreeBSD, macOS.
const INET6_BSD: [u32; 3] = [24, 28, 30];

impl Loopback {
    /// Of a link type, when it is one of these.
    pub fn of(link_type: u16) -> Option<Self> {
        match link_type {
            0 | 109 => Some(Self::HostOrder),
            108 => Some(Self::NetworkOrder),
            _ => None,
        }
    }

    /// Big-endian words of the header that mean a family, and the word by which the compiled code knows it.
    pub fn families(self) -> [(Vec<u32>, u32); 3] {
        let words = |families: &[u32]| {
            let swapped =
                families.iter().map(|f| f.swap_bytes()).filter(|_| self == Self::HostOrder);
            families.iter().copied().chain(swapped).collect::<Vec<u32>>()
        };
        let known_as = |family: u32| match self {
            // The code compares a number in the order of this host.
            Self::HostOrder => family.to_be(),
            Self::NetworkOrder => family,
        };
        [
            (words(&[INET]), known_as(INET)),
            (words(&INET6_BSD), known_as(INET6_LINUX)),
            (words(&[INET6_LINUX]), 0),
        ]
    }

    /// A header word as the compiled code knows it.
    pub fn canonical(self, word: u32) -> u32 {
        let families = self.families();
        families.iter().find(|(words, _)| words.contains(&word)).map_or(word, |(_, known)| *known)
    }
}
