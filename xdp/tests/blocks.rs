//! The block list in the kernel: what it drops, that it drops only what was counted, that it outlives programs.

use std::time::Duration;

mod support;

use support::program;
use wt_xdp::codegen::spec::packet_counters;
use wt_xdp::codegen::{Disposition, Options, compile};
use wt_xdp::loader::{BlockError, BlockList, Loaded, OnOneCpu, Prefix};

const DROP: u32 = 1;

/// A list, and a program that consults it; nothing where the kernel does not let us.
fn loaded(text: &str, disposition: Disposition) -> Option<(BlockList, Loaded)> {
    let blocks = match BlockList::new() {
        Ok(blocks) => blocks,
        Err(BlockError::Kernel { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            eprintln!("skipped: no privilege to make maps in the kernel");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let loaded = with(&blocks, text, disposition);
    Some((blocks, loaded))
}

fn with(blocks: &BlockList, text: &str, disposition: Disposition) -> Loaded {
    let (program, params) = program(text);
    let options = Options { disposition, has_block_list: true, ..Options::default() };
    let made = compile(&program, &params, &options).unwrap_or_else(|e| panic!("{e}"));
    let spec = made.spec.unwrap_or_else(|| panic!("no program for {text}"));
    Loaded::load_blocking(&spec, Some(blocks)).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// An Ethernet frame with so many VLAN tags in front of `rest`.
fn frame(tags: usize, ether_type: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in 0..tags {
        let kind: u16 = if tag + 1 < tags { 0x88a8 } else { 0x8100 };
        frame.extend(kind.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(rest);
    frame
}

fn ipv4(tags: usize, source: [u8; 4]) -> Vec<u8> {
    let mut rest = vec![0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    rest.extend(source);
    rest.extend([10, 0, 0, 2, 3, 232, 7, 208, 0, 26, 0, 0]);
    rest.resize(46, 0);
    frame(tags, 0x0800, &rest)
}

fn ipv6(tags: usize, source: &str) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().unwrap_or_else(|e| panic!("{e}"));
    let mut rest = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    rest.extend(source.octets());
    rest.extend([
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 232, 7, 208, 0, 8, 0, 0,
    ]);
    frame(tags, 0x86dd, &rest)
}

fn action(loaded: &mut Loaded, packet: &[u8]) -> u32 {
    loaded.try_packet(packet, 1).unwrap_or_else(|e| panic!("{e}")).action
}

fn counted(loaded: &Loaded) -> (u64, u64) {
    let frames = loaded.frames();
    let layout = &loaded.spec().layout;
    let blocked = layout.blocks.map(|b| b.counter).unwrap_or_else(|| panic!("no block list"));
    let sum = |word: u32| frames.iter().map(|frame| frame[word as usize]).sum();
    (sum(packet_counters::PACKETS), sum(blocked))
}

const TEXTS: [&str; 5] = [
    "SELECT count(*) AS n FROM packet",
    "SELECT tb, srcIP, count(*) AS n FROM ip GROUP BY time/60 AS tb, srcIP",
    "SELECT srcIP, destIP FROM tcp WHERE destPort = 80",
    "SELECT vxlan.ip.srcIP AS a FROM vxlan.ip",
    "SELECT len FROM packet WHERE pcap_filter('tcp port 80 or vlan and udp')",
];

#[test]
fn sources_in_the_list_are_dropped_after_they_are_counted() {
    for text in TEXTS {
        let Some((blocks, mut loaded)) = loaded(text, Disposition::Pass) else { return };
        let _here = OnOneCpu::pin().unwrap_or_else(|e| panic!("{e}"));
        let passed = Disposition::Pass.action();
        for tags in 0..=2 {
            assert_eq!(action(&mut loaded, &ipv4(tags, [198, 51, 100, 7])), passed, "{text}");
        }
        assert_eq!(counted(&loaded), (3, 0), "an empty list drops nothing");
        for text in ["198.51.100.0/24", "2001:db8:7::/48", "10.1.2.3/32"] {
            assert!(blocks.add(prefix(text), None).unwrap_or_else(|e| panic!("{e}")));
        }
        for tags in 0..=2 {
            for (packet, expected) in [
                (ipv4(tags, [198, 51, 100, 7]), DROP),
                (ipv4(tags, [198, 51, 101, 7]), passed),
                (ipv4(tags, [10, 1, 2, 3]), DROP),
                (ipv4(tags, [10, 1, 2, 4]), passed),
                (ipv6(tags, "2001:db8:7::9"), DROP),
                (ipv6(tags, "2001:db8:8::9"), passed),
            ] {
                assert_eq!(action(&mut loaded, &packet), expected, "{text}, {tags} tags");
            }
        }
        assert_eq!(counted(&loaded), (21, 9), "{text}");
        let listed = blocks.list().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(listed.iter().map(|b| b.packets).collect::<Vec<_>>(), [3, 3, 3]);
        assert!(listed.iter().all(|b| b.first_ns.is_some() && b.left.is_none()));
        assert_eq!(listed[0].bytes, (60 + 64 + 68), "of 10.1.2.3/32");
        assert!(blocks.remove(prefix("198.51.100.0/24")).unwrap_or_else(|e| panic!("{e}")));
        assert_eq!(action(&mut loaded, &ipv4(0, [198, 51, 100, 7])), passed, "lifted");
        assert!(!blocks.remove(prefix("198.51.100.0/24")).unwrap_or_else(|e| panic!("{e}")));
    }
}

#[test]
fn frames_that_end_early_or_are_something_else_pass() {
    let Some((blocks, mut loaded)) = loaded(TEXTS[0], Disposition::Pass) else { return };
    blocks.add(prefix("10.0.0.0/8"), None).unwrap_or_else(|e| panic!("{e}"));
    blocks.add(prefix("2001::/16"), None).unwrap_or_else(|e| panic!("{e}"));
    for tags in 0..=3 {
        for whole in [ipv4(tags, [10, 1, 2, 3]), ipv6(tags, "2001:db8::1")] {
            let is_v6 = whole[12 + 4 * tags] == 0x86;
            let header = 14 + 4 * tags + if is_v6 { 40 } else { 20 };
            for bytes in 14..whole.len() {
                let is_looked_at = tags <= 2 && bytes >= header;
                let expected = if is_looked_at { DROP } else { Disposition::Pass.action() };
                assert_eq!(action(&mut loaded, &whole[..bytes]), expected, "{tags} {bytes}");
            }
        }
    }
    let arp = frame(0, 0x0806, &[10; 46]);
    assert_eq!(action(&mut loaded, &arp), Disposition::Pass.action());
}

#[test]
fn the_longest_prefix_counts_and_its_end_uncovers_a_shorter_one() {
    let Some((blocks, mut loaded)) = loaded(TEXTS[0], Disposition::Pass) else { return };
    let add = |text: &str, lasts| blocks.add(prefix(text), lasts).unwrap_or_else(|e| panic!("{e}"));
    assert!(add("10.0.0.0/8", None));
    assert!(add("10.1.0.0/16", Some(Duration::from_millis(200))));
    assert!(!add("10.1.0.0/16", Some(Duration::from_millis(100))), "it was there");
    let packet = ipv4(0, [10, 1, 2, 3]);
    assert_eq!(action(&mut loaded, &packet), DROP);
    let packets = |text: &str| {
        let found = blocks.get(prefix(text)).unwrap_or_else(|e| panic!("{e}"));
        found.map(|blocked| blocked.packets)
    };
    assert_eq!((packets("10.0.0.0/8"), packets("10.1.0.0/16")), (Some(0), Some(1)));
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(action(&mut loaded, &packet), Disposition::Pass.action(), "its time is over");
    blocks.sweep().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((packets("10.0.0.0/8"), packets("10.1.0.0/16")), (Some(0), None));
    assert_eq!(action(&mut loaded, &packet), DROP, "the shorter one holds");
    // What is added again counts anew, not on from the shorter one.
    assert!(add("10.1.0.0/16", None));
    assert_eq!(packets("10.1.0.0/16"), Some(0));
}

#[test]
fn another_program_goes_on_with_the_list() {
    let Some((blocks, mut first)) = loaded(TEXTS[0], Disposition::Drop) else { return };
    blocks.add(prefix("10.0.0.0/8"), None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(action(&mut first, &ipv4(0, [10, 1, 2, 3])), DROP);
    drop(first);
    let mut second = with(&blocks, TEXTS[1], Disposition::Pass);
    assert_eq!(action(&mut second, &ipv4(0, [10, 1, 2, 3])), DROP);
    assert_eq!(action(&mut second, &ipv4(0, [11, 1, 2, 3])), Disposition::Pass.action());
    let listed = blocks.list().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(listed[0].packets, 2);
    assert_eq!(counted(&second), (2, 1));
}

#[test]
fn a_full_list_takes_no_more() {
    let Some((blocks, _loaded)) = loaded(TEXTS[0], Disposition::Pass) else { return };
    for i in 0..10_000u32 {
        let address = std::net::Ipv4Addr::from(0x0b00_0000 + i);
        blocks.add(prefix(&address.to_string()), None).unwrap_or_else(|e| panic!("{e}"));
    }
    let refused = blocks.add(prefix("12.0.0.0/24"), None);
    assert!(matches!(refused, Err(BlockError::Full { max: 10_000 })), "{refused:?}");
    assert!(!blocks.add(prefix("11.0.0.1"), None).unwrap_or_else(|e| panic!("{e}")));
    assert!(blocks.remove(prefix("11.0.0.1")).unwrap_or_else(|e| panic!("{e}")));
    assert!(blocks.add(prefix("12.0.0.0/24"), None).unwrap_or_else(|e| panic!("{e}")));
}
