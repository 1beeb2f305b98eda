//! The block list that programs consult: prefixes of source addresses in a map of its own, which outlives the programs that share it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sys;
use crate::asm::MapId;
use crate::broker::Broker;
use crate::clock;
use crate::codegen::PREFIXES_MAX;
use crate::codegen::spec::{MapKind, MapSpec, block_words};

/// Bits before an IPv4 address among IPv6 addresses.
const MAPPED_BITS: u8 = 96;

/// The shortest prefixes that can be blocked: more would cut off the host from a part of the world that nobody meant.
const IPV4_BITS_MIN: u8 = 8;
const IPV6_BITS_MIN: u8 = 16;

/// A prefix of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// What is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Something else.
    #[error(
        "`{text}` is no prefix\n  help: write an address or a prefix, such as 198.51.100.0/24 or 2001:db8::/32"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// Bits behind its length.
    #[error("`{text}` has bits behind its length\n  help: {prefix} is the prefix that it lies in")]
    HostBits {
        /// What was given.
        text: String,
        /// The prefix.
        prefix: Prefix,
    },
    /// It holds too much.
    #[error(
        "`{text}` is too much to block: at least /{min} is asked for\n  help: block several longer prefixes"
    )]
    TooShort {
        /// What was given.
        text: String,
        /// Fewest bits.
        min: u8,
    },
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let malformed = || PrefixError::Malformed { text: text.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let (most, min) = match address {
            IpAddr::V4(_) => (32, IPV4_BITS_MIN),
            IpAddr::V6(_) => (128, IPV6_BITS_MIN),
        };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(malformed)?
            }
            Some(_) => return Err(malformed()),
        };
        let prefix = Self { address: masked(address, bits), bits };
        if prefix.address != address {
            return Err(PrefixError::HostBits { text: text.to_owned(), prefix });
        }
        match bits < min {
            true => Err(PrefixError::TooShort { text: text.to_owned(), min }),
            false => Ok(prefix),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl Prefix {
    /// As the map has it.
    fn key(self) -> [u8; block_words::KEY_BYTES as usize] {
        let (address, bits): (Ipv6Addr, u8) = match self.address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), MAPPED_BITS + self.bits),
            IpAddr::V6(v6) => (v6, self.bits),
        };
        let mut key = [0; block_words::KEY_BYTES as usize];
        key[..4].copy_from_slice(&u32::from(bits).to_ne_bytes());
        key[4..].copy_from_slice(&address.octets());
        key
    }
}

/// A prefix that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// It.
    pub prefix: Prefix,
    /// How long it will be; nothing: until it is removed.
    pub left: Option<Duration>,
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first was dropped, ns since the epoch.
    pub first_ns: Option<u64>,
}

/// Why a block list does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The map has no room.
    #[error(
        "the block list holds {max} prefixes and takes no more\n  help: remove some, or block shorter ones"
    )]
    Full {
        /// Its size.
        max: u32,
    },
    /// The kernel refuses.
    #[error("cannot {what} the block list: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BlockError {
    move |source| BlockError::Kernel { what, source }
}

/// The maps of a block list.
#[derive(Debug)]
pub(crate) struct BlockMaps {
    prefixes: OwnedFd,
    active: OwnedFd,
}

impl BlockMaps {
    /// Makes them, empty.
    pub(crate) fn create() -> io::Result<Self> {
        let (key, value) = (block_words::KEY_BYTES, 8 * block_words::COUNT);
        Ok(Self {
            prefixes: sys::create(sys::kind::LPM_TRIE, key, value, PREFIXES_MAX, "blocks")?,
            active: sys::create(sys::kind::ARRAY, 4, 8, 1, "blocks_active")?,
        })
    }

    /// Others of the same.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(vec![self.prefixes.try_clone()?, self.active.try_clone()?])
    }

    /// Those that a process which has the privileges has made.
    fn of_descriptors(fds: Vec<OwnedFd>) -> io::Result<Self> {
        let mut fds = fds.into_iter();
        match (fds.next(), fds.next()) {
            (Some(prefixes), Some(active)) => Ok(Self { prefixes, active }),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }

    /// Those among a program's maps.
    pub(super) fn of(&self, maps: &[MapSpec]) -> Vec<(MapId, RawFd)> {
        let fd = |map: &MapSpec| match map.kind {
            MapKind::SharedPrefixes => Some(self.prefixes.as_raw_fd()),
            MapKind::SharedData => Some(self.active.as_raw_fd()),
            MapKind::Data
            | MapKind::PartPerCpu
            | MapKind::PerCpuArray
            | MapKind::Ring
            | MapKind::Sockets => None,
        };
        (0..).zip(maps).filter_map(|(at, map)| Some((MapId(at), fd(map)?))).collect()
    }
}

/// Prefixes whose packets are dropped in the driver, once they are counted. Programs of several interfaces, and those that follow each other on
/// one, share it.
#[derive(Debug)]
pub struct BlockList {
    maps: BlockMaps,
    /// By prefix: when it ends, by the monotonic clock, ns; 0: never.
    entries: Mutex<BTreeMap<Prefix, u64>>,
}

impl BlockList {
    /// An empty list.
    ///
    /// # Errors
    /// The kernel refuses: no privilege, or no such maps.
    pub fn new() -> Result<Self, BlockError> {
        let maps = BlockMaps::create().map_err(failed("make"))?;
        Ok(Self { maps, entries: Mutex::new(BTreeMap::new()) })
    }

    /// An empty list whose maps are made by a process that has the privileges, for the programs that it loads.
    ///
    /// # Errors
    /// As [`Self::new`], and that the broker is gone.
    pub fn by(broker: &Broker) -> Result<Self, BlockError> {
        let maps = broker.block_maps().and_then(BlockMaps::of_descriptors);
        Ok(Self { maps: maps.map_err(failed("make"))?, entries: Mutex::new(BTreeMap::new()) })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Prefix, u64>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn maps(&self) -> &BlockMaps {
        &self.maps
    }

    fn prefixes(&self) -> BorrowedFd<'_> {
        self.maps.prefixes.as_fd()
    }

    /// Blocks a prefix, for a time or until it is removed; whether it was not blocked before. One that is blocked gets the new time, and counts on.
    ///
    /// # Errors
    /// The list is full, or the kernel refuses.
    pub fn add(&self, prefix: Prefix, lasts: Option<Duration>) -> Result<bool, BlockError> {
        let mut entries = self.entries();
        self.sweep_locked(&mut entries)?;
        if !entries.contains_key(&prefix) && entries.len() >= PREFIXES_MAX as usize {
            return Err(BlockError::Full { max: PREFIXES_MAX });
        }
        let ends_ns = lasts.map_or(0, |lasts| {
            let ns = u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX);
            clock::monotonic_ns().saturating_add(ns).max(1)
        });
        let key = prefix.key();
        let known = sys::lookup_bytes::<{ block_words::COUNT as usize }>(self.prefixes(), &key);
        // A lookup finds a shorter prefix as well.
        let known = known.map_err(failed("read"))?.filter(|_| entries.contains_key(&prefix));
        let mut value = known.unwrap_or_default();
        value[block_words::EXPIRES_NS as usize] = ends_ns;
        sys::update_bytes(self.prefixes(), &key, &value).map_err(failed("write"))?;
        let is_new = entries.insert(prefix, ends_ns).is_none();
        self.tell_active(&entries)?;
        Ok(is_new)
    }

    /// Lifts the block of a prefix; whether there was one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, prefix: Prefix) -> Result<bool, BlockError> {
        let mut entries = self.entries();
        self.sweep_locked(&mut entries)?;
        self.remove_locked(&mut entries, prefix)
    }

    fn remove_locked(
        &self,
        entries: &mut BTreeMap<Prefix, u64>,
        prefix: Prefix,
    ) -> Result<bool, BlockError> {
        if !entries.contains_key(&prefix) {
            return Ok(false);
        }
        sys::delete_bytes(self.prefixes(), &prefix.key()).map_err(failed("write"))?;
        entries.remove(&prefix);
        self.tell_active(entries)?;
        Ok(true)
    }

    /// Tells programs whether looking is worth while.
    fn tell_active(&self, entries: &BTreeMap<Prefix, u64>) -> Result<(), BlockError> {
        sys::update(self.maps.active.as_fd(), 0, &[entries.len() as u64]).map_err(failed("write"))
    }

    /// Removes what has run out: programs let it pass already, but it may hide a shorter prefix.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn sweep(&self) -> Result<(), BlockError> {
        self.sweep_locked(&mut self.entries())
    }

    fn sweep_locked(&self, entries: &mut BTreeMap<Prefix, u64>) -> Result<(), BlockError> {
        if entries.values().all(|ends_ns| *ends_ns == 0) {
            return Ok(());
        }
        let now_ns = clock::monotonic_ns();
        let over = entries.iter().filter(|(_, ends_ns)| (1..=now_ns).contains(*ends_ns));
        let over: Vec<Prefix> = over.map(|(prefix, _)| *prefix).collect();
        over.into_iter().try_for_each(|prefix| self.remove_locked(entries, prefix).map(drop))
    }

    /// What is blocked now, in order.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn list(&self) -> Result<Vec<Blocked>, BlockError> {
        let mut entries = self.entries();
        self.sweep_locked(&mut entries)?;
        entries.iter().map(|(prefix, ends_ns)| self.blocked(*prefix, *ends_ns)).collect()
    }

    /// A prefix, if it is blocked itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self, prefix: Prefix) -> Result<Option<Blocked>, BlockError> {
        let mut entries = self.entries();
        self.sweep_locked(&mut entries)?;
        entries.get(&prefix).map(|ends_ns| self.blocked(prefix, *ends_ns)).transpose()
    }

    fn blocked(&self, prefix: Prefix, ends_ns: u64) -> Result<Blocked, BlockError> {
        let words = sys::lookup_bytes(self.prefixes(), &prefix.key());
        let words: Option<[u64; block_words::COUNT as usize]> = words.map_err(failed("read"))?;
        let word = |word: u32| words.map_or(0, |words| words[word as usize]);
        let left_ns = ends_ns.saturating_sub(clock::monotonic_ns());
        let first_ns = Some(word(block_words::FIRST_NS)).filter(|ns| *ns > 0);
        Ok(Blocked {
            prefix,
            left: (ends_ns > 0).then(|| Duration::from_nanos(left_ns)),
            packets: word(block_words::PACKETS),
            bytes: word(block_words::BYTES),
            first_ns: first_ns.map(|ns| ns.wrapping_add(clock::offset_ns())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_read_as_they_are_shown() {
        for (text, shown) in [
            ("198.51.100.0/24", "198.51.100.0/24"),
            ("198.51.100.7", "198.51.100.7/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(text.parse::<Prefix>().map(|prefix| prefix.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_a_way_out() {
        for (text, said) in [
            ("", "no prefix"),
            ("198.51.100.0/33", "no prefix"),
            ("198.51.100.0/+8", "no prefix"),
            ("198.51.100.0/", "no prefix"),
            ("2001:db8::/129", "no prefix"),
            ("host", "no prefix"),
            ("198.51.100.7/24", "198.51.100.0/24 is the prefix"),
            ("2001:db8::1/32", "2001:db8::/32 is the prefix"),
            ("0.0.0.0/0", "at least /8"),
            ("::/0", "at least /16"),
        ] {
            let message = text.parse::<Prefix>().unwrap_err().to_string();
            assert!(message.contains(said), "{text}: {message}");
        }
    }

    #[test]
    fn ipv4_lies_among_ipv6() {
        let key = "198.51.100.0/24".parse::<Prefix>().unwrap().key();
        assert_eq!(key[..4], 120u32.to_ne_bytes());
        assert_eq!(key[14..], [0xff, 0xff, 198, 51, 100, 0]);
    }
}
