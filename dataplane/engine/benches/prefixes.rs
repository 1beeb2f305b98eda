//! Longest-prefix match: the tables of `getlpmid` and `lpm`, beside a trie of one bit a step (the crate `prefix-trie`): `cargo bench -p wt-engine --bench
//! prefixes`. Tables are made up after the routing tables of the Internet: six of ten prefixes of IPv4 have 24 bits, half of IPv6's 48, in blocks that crowd.

use std::net::IpAddr;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use prefix_trie::PrefixMap;
use wt_engine::functions::lpm::PrefixTable;

fn main() {
    divan::main();
}

/// Addresses looked up per measurement, all different: most of a large table is not in a cache.
const LOOKUPS: usize = 1 << 16;

const TABLES: [(&str, usize, bool); 5] = [
    ("ipv4, 8", 8, false),
    ("ipv4, 1 K", 1000, false),
    ("ipv4, 1 M", 1_000_000, false),
    ("ipv6, 1 K", 1000, true),
    ("ipv6, 200 K", 200_000, true),
];

/// Prefixes, and addresses of which nine in ten are in some.
struct Case {
    prefixes: Vec<(IpAddr, u8, i32)>,
    addresses: Vec<IpAddr>,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

impl Case {
    fn new(name: &str) -> Self {
        let (_, count, is_v6) = TABLES.iter().find(|(known, ..)| *known == name).expect("a name");
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let blocks: Vec<u128> = (0..count / 400 + 2).map(|_| block(&mut random, *is_v6)).collect();
        let mut prefixes = Vec::with_capacity(*count);
        for id in 0..*count {
            let within = u128::from(random.next()) << 64 | u128::from(random.next());
            let (shared, len) = match is_v6 {
                true => (32, random.pick(&[48, 48, 48, 48, 48, 32, 36, 40, 44, 64])),
                false => (12, random.pick(&[24, 24, 24, 24, 24, 24, 22, 23, 20, 16])),
            };
            let address = random.pick(&blocks) | within >> shared;
            prefixes.push((ip(address, *is_v6), len, id as i32 % 70_000));
        }
        let mut addresses = Vec::with_capacity(LOOKUPS);
        for _ in 0..LOOKUPS {
            let (of, len, _) = random.pick(&prefixes);
            let host = u128::from(random.next()) << 64 | u128::from(random.next());
            addresses.push(match random.next() % 10 {
                0 => ip(block(&mut random, *is_v6) | host >> 32, *is_v6),
                _ => ip(bits(of) & !(u128::MAX >> len) | host >> len, *is_v6),
            });
        }
        Self { prefixes, addresses }
    }
}

/// The first bits of a block that many prefixes lie in.
fn block(random: &mut Random, is_v6: bool) -> u128 {
    let high = u128::from(random.next() >> 32) << 96;
    match is_v6 {
        true => 0x2a00 << 112 | high >> 16 & 0xfff << 96,
        false => high & 0xfff << 116,
    }
}

/// An address from its bits, the first of which is bit 127.
fn ip(bits: u128, is_v6: bool) -> IpAddr {
    if is_v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4(((bits >> 96) as u32).into()) }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => a.into(),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, ..)| *name)
}

#[divan::bench(args = names())]
fn look_up(bencher: Bencher<'_, '_>, name: &str) {
    let case = Case::new(name);
    let table = PrefixTable::of(case.prefixes).expect("a table");
    bencher.counter(ItemsCount::new(LOOKUPS)).bench_local(|| {
        case.addresses.iter().filter_map(|a| table.get(*a)).fold(0, |all, id| all ^ id)
    });
}

#[divan::bench(args = names())]
fn look_up_bit_by_bit(bencher: Bencher<'_, '_>, name: &str) {
    let case = Case::new(name);
    let bencher = bencher.counter(ItemsCount::new(LOOKUPS));
    let numbers: Vec<u128> = case.addresses.iter().map(|address| bits(*address)).collect();
    if case.addresses[0].is_ipv6() {
        let table: PrefixMap<(u128, u8), i32> = six(&case).collect();
        bencher.bench_local(|| {
            let found = numbers.iter().filter_map(|a| table.get_lpm(&(*a, 128)));
            found.fold(0, |all, (_, id)| all ^ *id)
        });
    } else {
        let table: PrefixMap<(u32, u8), i32> = four(&case).collect();
        bencher.bench_local(|| {
            let found = numbers.iter().filter_map(|a| table.get_lpm(&((*a >> 96) as u32, 32)));
            found.fold(0, |all, (_, id)| all ^ *id)
        });
    }
}

fn six(case: &Case) -> impl Iterator<Item = ((u128, u8), i32)> {
    case.prefixes.iter().map(|(a, len, id)| ((bits(*a), *len), *id))
}

fn four(case: &Case) -> impl Iterator<Item = ((u32, u8), i32)> {
    case.prefixes.iter().map(|(a, len, id)| (((bits(*a) >> 96) as u32, *len), *id))
}

#[divan::bench(args = names(), sample_count = 5)]
fn build(bencher: Bencher<'_, '_>, name: &str) {
    let case = Case::new(name);
    bencher
        .counter(ItemsCount::new(case.prefixes.len()))
        .bench_local(|| black_box(PrefixTable::of(case.prefixes.iter().copied())));
}

#[divan::bench(args = names(), sample_count = 5)]
fn build_bit_by_bit(bencher: Bencher<'_, '_>, name: &str) {
    let case = Case::new(name);
    let bencher = bencher.counter(ItemsCount::new(case.prefixes.len()));
    if case.addresses[0].is_ipv6() {
        bencher.bench_local(|| six(&case).collect::<PrefixMap<(u128, u8), i32>>());
    } else {
        bencher.bench_local(|| four(&case).collect::<PrefixMap<(u32, u8), i32>>());
    }
}
