//! The structure behind longest-prefix match: a trie of six bits a step whose branches end, as soon as few prefixes are left, in short lists of ranges.
//!
//! ```text
//! address ─ first bits ─▶ root: one link per value
//!         ─ next 6 bits ─▶ node: 64 links, neighbours that are alike held once
//!         ─ all of it ───▶ list: the last range that begins at or before the address
//! ```
//!
//! Nodes are those of Poptrie (Asai and Ohara, SIGCOMM 2015): two words of bits tell which links are nodes and where links change, so that a step is a
//! count of bits and children lie side by side. Lists are those of DXR (Zec, Rizzo and Mikuc, CCR 2012). Each makes up for the other: ranges alone need long
//! searches where prefixes crowd, nodes alone need long chains where they are sparse and long, as those of IPv6 are.
//!
//! Memory is bounded by the number of prefixes `n`, whatever they are. A list of `k` prefixes has at most `2k + 1` ranges. A node stands where more than
//! [`LIST_PREFIXES_MAX`] prefixes go on, so each of the 19 levels of IPv6 below a root of 18 bits has fewer than `n / 5` of them.

use std::fmt::Debug;

/// Prefixes that a list holds at most. More go into a node.
const LIST_PREFIXES_MAX: usize = 5;
/// Bits of an address that a node looks at.
const NODE_BITS: u32 = 6;
/// Bits of an address that the root looks at, at most: its links are 1 MiB then.
const ROOT_BITS_MAX: u32 = 18;

/// An address as a number.
pub(super) trait Bits: Copy + Ord + Debug {
    /// How many.
    const BITS: u32;
    /// `bits` bits, at most 31 of them, from bit `at` on, which is inside; the first is bit 0. Beyond the last bit they are 0.
    fn slice(self, at: u32, bits: u32) -> usize;
    /// With all bits from bit `at` on cleared.
    fn first(self, at: u32) -> Self;
    /// With all bits from bit `at` on set.
    fn last(self, at: u32) -> Self;
    /// 0.
    fn zero() -> Self;
    /// The next one; the last one is followed by itself.
    fn next(self) -> Self;
}

macro_rules! bits {
    ($ty:ty) => {
        impl Bits for $ty {
            const BITS: u32 = <$ty>::BITS;

            #[inline]
            fn slice(self, at: u32, bits: u32) -> usize {
                if bits == 0 { 0 } else { (self << at >> (Self::BITS - bits)) as usize }
            }

            fn first(self, at: u32) -> Self {
                self & !<$ty>::MAX.checked_shr(at).unwrap_or(0)
            }

            fn last(self, at: u32) -> Self {
                self | <$ty>::MAX.checked_shr(at).unwrap_or(0)
            }

            fn zero() -> Self {
                0
            }

            fn next(self) -> Self {
                self.saturating_add(1)
            }
        }
    };
}

bits!(u32);
bits!(u128);

/// A prefix and its identifier. Bits beyond the length are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix<A> {
    pub(super) address: A,
    pub(super) len: u8,
    pub(super) id: i32,
}

impl<A: Bits> Prefix<A> {
    /// Bits of the address beyond the length are cleared, a length beyond the address's is cut to it.
    pub(super) fn new(address: A, len: u8, id: i32) -> Self {
        let len = len.min(A::BITS as u8);
        Self { address: address.first(u32::from(len)), len, id }
    }

    fn last(&self) -> A {
        self.address.last(u32::from(self.len))
    }
}

/// Sorts prefixes: those that contain others come before them. Of equal ones the last in the list stays.
pub(super) fn sort<A: Bits>(prefixes: &mut Vec<Prefix<A>>) {
    prefixes.sort_by_key(|prefix| (prefix.address, prefix.len));
    prefixes.dedup_by(|later, kept| {
        let is_same = (later.address, later.len) == (kept.address, kept.len);
        if is_same {
            kept.id = later.id;
        }
        is_same
    });
}

/// What an address leads to: two bits for what it is, thirty for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link(u32);

/// What a link is.
enum Kind {
    /// An identifier of up to thirty bits.
    Near(i32),
    /// An identifier of more, by number; [`FAR_NONE`] is none at all.
    Far(u32),
    /// A node, by number.
    Node(u32),
    /// A list: its first range and how many there are.
    List(u32, u32),
}

/// The number that no identifier has.
const FAR_NONE: u32 = u32::MAX >> 2;
/// Bits of the number of ranges of a list.
const COUNT_BITS: u32 = 5;
const _: () = assert!(2 * LIST_PREFIXES_MAX + 1 < 1 << COUNT_BITS);
/// Bits of the number of a list's first range. Three ranges per prefix are more than there can be.
const FIRST_BITS: u32 = 30 - COUNT_BITS;
const _: () = assert!(3 * super::super::TABLE_ENTRIES_MAX < 1 << FIRST_BITS);

impl Link {
    const NONE: Self = Self(FAR_NONE << 2 | 1);

    fn node(number: u32) -> Self {
        Self(number << 2 | 2)
    }

    fn list(first: usize, count: usize) -> Self {
        Self((first as u32) << (COUNT_BITS + 2) | (count as u32) << 2 | 3)
    }

    #[inline]
    fn kind(self) -> Kind {
        let number = self.0 >> 2;
        match self.0 & 3 {
            0 => Kind::Near(self.0 as i32 >> 2),
            1 => Kind::Far(number),
            2 => Kind::Node(number),
            _ => Kind::List(number >> COUNT_BITS, number & ((1 << COUNT_BITS) - 1)),
        }
    }
}

/// Sixty-four links.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The links that are nodes.
    inner: u64,
    /// Of the other links those that differ from the one before them.
    starts: u64,
    /// Number of the first node.
    children: u32,
    /// Number of the first of the other links.
    links: u32,
}

/// Prefixes of one family, built at once.
#[derive(Debug)]
pub(super) struct Trie<A> {
    root_bits: u32,
    root: Box<[Link]>,
    nodes: Box<[Node]>,
    links: Box<[Link]>,
    /// First addresses of ranges, and what these lead to: no node and no list.
    bounds: Box<[A]>,
    ranges: Box<[Link]>,
    far: Box<[i32]>,
}

impl<A: Bits> Default for Trie<A> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<A: Bits> Trie<A> {
    /// Of prefixes that are [sorted](sort), at most [`super::super::TABLE_ENTRIES_MAX`].
    pub(super) fn new(prefixes: &[Prefix<A>]) -> Self {
        let root_bits = match prefixes.len() {
            0..=LIST_PREFIXES_MAX => 0,
            n => (n.ilog2() + 4).min(ROOT_BITS_MAX),
        };
        let mut builder = Builder::default();
        let root = match prefixes {
            [] => vec![Link::NONE],
            few if root_bits == 0 => vec![builder.list(few, 0, Link::NONE)],
            many => builder.root(many, root_bits),
        };
        let Builder { nodes, links, bounds, ranges, far } = builder;
        Self {
            root_bits,
            root: root.into(),
            nodes: nodes.into(),
            links: links.into(),
            bounds: bounds.into(),
            ranges: ranges.into(),
            far: far.into(),
        }
    }

    /// The identifier of the longest prefix that contains the address.
    #[inline]
    pub(super) fn get(&self, address: A) -> Option<i32> {
        let mut link = self.root[address.slice(0, self.root_bits)];
        let mut at = self.root_bits;
        loop {
            match link.kind() {
                Kind::Near(id) => return Some(id),
                Kind::Far(number) => return self.far.get(number as usize).copied(),
                Kind::Node(mut number) => loop {
                    let node = &self.nodes[number as usize];
                    let bit = 1u64 << address.slice(at, NODE_BITS);
                    at += NODE_BITS;
                    if node.inner & bit == 0 {
                        let before = (node.starts & (bit | (bit - 1))).count_ones() - 1;
                        link = self.links[(node.links + before) as usize];
                        break;
                    }
                    number = node.children + (node.inner & (bit - 1)).count_ones();
                },
                Kind::List(first, count) => {
                    let (first, count) = (first as usize, count as usize);
                    let bounds = &self.bounds[first..first + count];
                    // All are compared: a search would have to be foreseen.
                    let passed = bounds.iter().filter(|bound| **bound <= address).count();
                    // The first bound is where the list begins, so that at least one is passed.
                    link = self.ranges[first + passed - 1];
                }
            }
        }
    }

    /// Memory in use, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = size_of_val(&*self.root)
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.links)
            + size_of_val(&*self.bounds)
            + size_of_val(&*self.ranges)
            + size_of_val(&*self.far);
        bytes as u64
    }
}

/// A trie under construction.
struct Builder<A> {
    nodes: Vec<Node>,
    links: Vec<Link>,
    bounds: Vec<A>,
    ranges: Vec<Link>,
    far: Vec<i32>,
}

impl<A> Default for Builder<A> {
    fn default() -> Self {
        let (nodes, links, far) = (Vec::new(), Vec::new(), Vec::new());
        Self { nodes, links, bounds: Vec::new(), ranges: Vec::new(), far }
    }
}

/// What becomes of the addresses that have the same next bits.
#[derive(Clone, Copy)]
enum Slot<'a, A> {
    Link(Link),
    /// A node of these prefixes; other addresses go where the link says.
    Node(&'a [Prefix<A>], Link),
}

impl<A: Bits> Builder<A> {
    fn id(&mut self, id: i32) -> Link {
        // Thirty bits, signed.
        if id << 2 >> 2 == id {
            return Link((id as u32) << 2);
        }
        if self.far.last() != Some(&id) {
            self.far.push(id);
        }
        Link((self.far.len() as u32 - 1) << 2 | 1)
    }

    fn root(&mut self, prefixes: &[Prefix<A>], bits: u32) -> Vec<Link> {
        let slots = self.slots(prefixes, 0, bits, Link::NONE);
        let link = |slot| match slot {
            Slot::Link(link) => link,
            Slot::Node(inside, otherwise) => {
                let number = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[number] = self.node(inside, bits, otherwise);
                Link::node(number as u32)
            }
        };
        slots.into_iter().map(link).collect()
    }

    /// What becomes of addresses by their `bits` bits from bit `at` on. They share those before with all the prefixes, which are longer.
    fn slots<'p>(
        &mut self,
        prefixes: &'p [Prefix<A>],
        at: u32,
        bits: u32,
        otherwise: Link,
    ) -> Vec<Slot<'p, A>> {
        let mut slots = vec![Slot::Link(otherwise); 1 << bits];
        let mut rest = prefixes;
        while let Some((prefix, after)) = rest.split_first() {
            let slot = prefix.address.slice(at, bits);
            let looked_at = u32::from(prefix.len) - at;
            if looked_at <= bits {
                let link = Slot::Link(self.id(prefix.id));
                slots[slot..slot + (1 << (bits - looked_at))].fill(link);
                rest = after;
                continue;
            }
            // Those that end here and contain some that do not are before them.
            let is_inside = |p: &&Prefix<A>| p.address.slice(at, bits) == slot;
            let (inside, after) = rest.split_at(rest.iter().take_while(is_inside).count());
            rest = after;
            if let Slot::Link(otherwise) = slots[slot] {
                slots[slot] = match inside.len() <= LIST_PREFIXES_MAX {
                    true => Slot::Link(self.list(inside, at + bits, otherwise)),
                    false => Slot::Node(inside, otherwise),
                };
            }
        }
        slots
    }

    fn node(&mut self, prefixes: &[Prefix<A>], at: u32, otherwise: Link) -> Node {
        let slots = self.slots(prefixes, at, NODE_BITS, otherwise);
        let (children, links) = (self.nodes.len(), self.links.len());
        let mut node = Node { children: children as u32, links: links as u32, ..Node::default() };
        let mut inner = Vec::new();
        for (number, slot) in slots.into_iter().enumerate() {
            match slot {
                Slot::Node(inside, otherwise) => {
                    node.inner |= 1 << number;
                    inner.push((inside, otherwise));
                }
                Slot::Link(link) => {
                    if self.links[links..].last() != Some(&link) {
                        node.starts |= 1 << number;
                        self.links.push(link);
                    }
                }
            }
        }
        self.nodes.resize(children + inner.len(), Node::default());
        for (number, (inside, otherwise)) in (children..).zip(inner) {
            self.nodes[number] = self.node(inside, at + NODE_BITS, otherwise);
        }
        node
    }

    /// A list of prefixes that share their first `at` bits.
    fn list(&mut self, prefixes: &[Prefix<A>], at: u32, otherwise: Link) -> Link {
        let list = self.bounds.len();
        let start = prefixes.first().map_or_else(A::zero, |prefix| prefix.address.first(at));
        let last = start.last(at);
        self.range(list, start, otherwise);
        // The prefixes that contain the address at hand, and what is outside of all.
        let mut open = vec![(last, otherwise)];
        for prefix in prefixes {
            self.close(list, &mut open, |end| end < prefix.address);
            let link = self.id(prefix.id);
            self.range(list, prefix.address, link);
            open.push((prefix.last(), link));
        }
        self.close(list, &mut open, |end| end < last);
        Link::list(list, self.bounds.len() - list)
    }

    /// Ends ranges: behind them, what contains them goes on.
    fn close(&mut self, list: usize, open: &mut Vec<(A, Link)>, is_over: impl Fn(A) -> bool) {
        while let Some((end, _)) = open.pop_if(|(end, _)| is_over(*end)) {
            let around = open.last().map_or(Link::NONE, |(_, link)| *link);
            self.range(list, end.next(), around);
        }
    }

    /// Adds a range to the list that is being made. Of two that begin alike the later is meant, and what goes on alike is one range.
    fn range(&mut self, list: usize, bound: A, link: Link) {
        if self.bounds.len() > list && self.bounds.last() == Some(&bound) {
            self.bounds.pop();
            self.ranges.pop();
        }
        if self.bounds.len() > list && self.ranges.last() == Some(&link) {
            return;
        }
        self.bounds.push(bound);
        self.ranges.push(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trie<A: Bits>(prefixes: &[(A, u8, i32)]) -> (Trie<A>, Vec<Prefix<A>>) {
        let new = |&(address, len, id): &(A, u8, i32)| Prefix::new(address, len, id);
        let listed: Vec<_> = prefixes.iter().map(new).collect();
        let mut sorted = listed.clone();
        sort(&mut sorted);
        (Trie::new(&sorted), listed)
    }

    /// The definition: of all prefixes that contain the address, the longest; of equals, the last.
    fn naive<A: Bits>(prefixes: &[Prefix<A>], address: A) -> Option<i32> {
        let contains = |p: &&Prefix<A>| address.first(u32::from(p.len)) == p.address;
        prefixes.iter().filter(contains).max_by_key(|p| p.len).map(|p| p.id)
    }

    fn agrees<A: Bits>(prefixes: &[(A, u8, i32)], others: &[A]) -> Result<(), TestCaseError> {
        let (trie, listed) = trie(prefixes);
        // Where answers change: at the first and last address of each prefix, and next to them.
        let edges = listed.iter().flat_map(|p| [p.address, p.last(), p.last().next()]);
        for address in edges.chain(prefixes.iter().map(|p| p.0)).chain(others.iter().copied()) {
            prop_assert_eq!(trie.get(address), naive(&listed, address), "{:?}", address);
        }
        Ok(())
    }

    /// Crowds: addresses that share many bits with others, so that nodes lie below nodes.
    fn crowded_v4() -> impl Strategy<Value = (u32, u8, i32)> {
        let address = prop_oneof![
            any::<u32>(),
            any::<u16>().prop_map(|low| 0x0a00_0000 | u32::from(low)),
            any::<u8>().prop_map(|low| 0x0a00_0100 | u32::from(low)),
        ];
        (address, prop_oneof![0u8..=32, 20u8..=32, Just(32)], ids())
    }

    fn crowded_v6() -> impl Strategy<Value = (u128, u8, i32)> {
        let address = prop_oneof![
            any::<u128>(),
            any::<u32>().prop_map(|middle| 0x2001_0db8 << 96 | u128::from(middle) << 56),
            any::<u8>().prop_map(|low| 0x2001_0db8 << 96 | u128::from(low)),
        ];
        (address, prop_oneof![0u8..=128, 28u8..=72, 118u8..=128, Just(128)], ids())
    }

    /// Few, so that neighbours are alike, and such as do not fit into a link.
    fn ids() -> impl Strategy<Value = i32> {
        prop_oneof![0..3, Just(-1), Just(i32::MIN), Just(i32::MAX), Just(1 << 29), any::<i32>()]
    }

    proptest! {
        #[test]
        fn ipv4_agrees_with_a_search_of_all(
            prefixes in prop::collection::vec(crowded_v4(), 0..400),
            others in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            agrees(&prefixes, &others)?;
        }

        #[test]
        fn ipv6_agrees_with_a_search_of_all(
            prefixes in prop::collection::vec(crowded_v6(), 0..400),
            others in prop::collection::vec(any::<u128>(), 0..20),
        ) {
            agrees(&prefixes, &others)?;
        }
    }

    #[test]
    fn few_prefixes_are_one_list() {
        let (trie, _) = trie(&[(0u32, 0, 1), (10 << 24, 8, 2), (10 << 24, 32, 3)]);
        assert_eq!((trie.root.len(), trie.nodes.len(), trie.bounds.len()), (1, 0, 4));
        assert_eq!(trie.get(10 << 24), Some(3));
        assert_eq!(trie.get((10 << 24) + 1), Some(2));
        assert_eq!(trie.get(11 << 24), Some(1));
        assert_eq!(trie.get(u32::MAX), Some(1));
        assert_eq!(Trie::<u32>::default().get(7), None);
    }

    /// The bound that is stated: of long prefixes that part late, groups of just too many for a list.
    #[test]
    fn memory_is_bounded_by_the_number_of_prefixes() {
        let (count, together) = (90_000u128, LIST_PREFIXES_MAX as u128 + 1);
        let factor = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let spread = |n: u128| (n / together).wrapping_mul(factor);
        let of = |n: u128| (spread(n).first(120) | (n % together), 128, n as i32);
        let prefixes: Vec<_> = (0..count).map(of).collect();
        let (trie, listed) = trie(&prefixes);
        assert!(trie.nodes.len() as u128 <= 19 * count / 5, "{} nodes", trie.nodes.len());
        assert!(trie.bounds.len() as u128 <= 3 * count, "{} ranges", trie.bounds.len());
        assert!(trie.bytes() as u128 <= 160 * count, "{} bytes", trie.bytes());
        for prefix in listed.iter().step_by(97) {
            assert_eq!(trie.get(prefix.address), Some(prefix.id));
            assert_eq!(trie.get(prefix.address | 1 << 7), None);
        }
    }
}
