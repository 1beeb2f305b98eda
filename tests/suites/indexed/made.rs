//! Traces and stores to be queried.

use std::fs;
use std::path::{Path, PathBuf};

use wt_tests::corpus::Scratch;
use wt_tests::program::run;
use wt_tests::rng::Rng;
use wt_trace::index;
use wt_trace::store::Store;
use wt_wire::{
    ByteOrder, Direction, LinkType, PcapNgWriter, PcapVariant, PcapWriter, TimeResolution,
};

pub(super) const S: u64 = 1_000_000_000;
pub(super) const START_S: u64 = 1_700_000_000;

/// What packets of a phase have: addresses and ports of its own, so that blocks differ.
pub(super) fn payload(rng: &mut Rng, phase: u64) -> (u8, Vec<u8>) {
    let port = |rng: &mut Rng| (1000 + 10 * phase + rng.below(3) as u64) as u16;
    let (from, to) = (port(rng), if rng.one_in(2) { 53 } else { port(rng) });
    let mut data = [from.to_be_bytes(), to.to_be_bytes()].concat();
    match rng.below(4) {
        0 => {
            data.extend([0; 8]);
            data.extend([0x50, 0x02, 0, 0, 0, 0, 0, 0]);
            (6, data)
        }
        1 => (1, vec![8, 0, 0, 0, 0, 0, 0, 0]),
        2 => {
            data.extend([0; 8]);
            (132, data)
        }
        _ => {
            data.extend([0, 8, 0, 0]);
            (17, data)
        }
    }
}

pub(super) fn ipv4(rng: &mut Rng, phase: u64, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x45, 0];
    data.extend((20 + payload.len() as u16).to_be_bytes());
    let fragment = if rng.one_in(30) { [0, 5] } else { [0, 0] };
    data.extend([0, 1, fragment[0], fragment[1], 64, protocol, 0, 0]);
    data.extend([10, phase as u8, 0, rng.below(3) as u8, 192, 0, 2, rng.below(2) as u8]);
    data.extend(payload);
    data
}

pub(super) fn ipv6(rng: &mut Rng, phase: u64, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0x60, 0, 0, 0];
    data.extend((payload.len() as u16).to_be_bytes());
    data.extend([next, 64]);
    for end in 0..2 {
        data.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, end, phase as u8]);
        data.push(rng.below(2) as u8);
    }
    data.extend(payload);
    data
}

/// A frame of one of many kinds. Those that carry other packets are rare: one makes a block that may hold anything.
pub(super) fn frame(rng: &mut Rng, phase: u64) -> Vec<u8> {
    let (protocol, inner) = payload(rng, phase);
    let is_rare = rng.one_in(300);
    let (mut types, mut body) = match rng.below(9) {
        0 if is_rare => (vec![8, 0], {
            let carried = ipv4(rng, phase, protocol, &inner);
            ipv4(rng, phase, 4, &carried)
        }),
        1 if is_rare => (vec![0x88, 0x63], {
            // A session's protocol under the discovery type.
            let carried = ipv4(rng, phase, protocol, &inner);
            [&[0x11, 0, 0, 1, 0, 60, 0, 0x21][..], &carried].concat()
        }),
        2 if is_rare => (vec![8, 0], {
            let header = [&[protocol, 4][..], &[0; 22], &inner].concat();
            ipv4(rng, phase, 51, &header)
        }),
        3 | 4 => (vec![0x86, 0xdd], {
            // HIP, shim6 and hop-by-hop headers, a first fragment, an authentication header.
            let next = *rng.pick(&[139, 140, 0, 44, 51]);
            let header = match next {
                44 => vec![protocol, 0, 0, 1, 0, 0, 0, 9],
                51 => [&[protocol, 4][..], &[0; 22]].concat(),
                _ => [&[protocol, 0][..], &[0; 6]].concat(),
            };
            ipv6(rng, phase, next, &[header, inner].concat())
        }),
        5 => (vec![0x86, 0xdd], ipv6(rng, phase, protocol, &inner)),
        6 if rng.one_in(4) => (vec![8, 6], {
            let ends = [10, phase as u8, 0, 1, 0, 0, 0, 0, 0, 0, 10, phase as u8, 0, 2];
            [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1][..], &ends].concat()
        }),
        _ => (vec![8, 0], ipv4(rng, phase, protocol, &inner)),
    };
    if rng.one_in(5) {
        let vlan = 100 + phase as u16;
        types = [&[0x81, 0][..], &vlan.to_be_bytes(), &types].concat();
    }
    let mut data = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    data.append(&mut types);
    data.append(&mut body);
    // Cut off now and then; else long, so that a block has few.
    match rng.one_in(40) {
        true => data.truncate(14 + rng.below(40)),
        false => data.resize(data.len() + 500 + rng.below(500), 7),
    }
    data
}

/// Packets whose clock steps back now and then, by little or by much.
pub(super) fn packets(rng: &mut Rng, count: u64) -> Vec<(u64, Vec<u8>)> {
    let mut at = START_S * S;
    let steps_back = !rng.one_in(3);
    (0..count)
        .map(|number| {
            at += rng.next_u64() % (S / 4);
            if steps_back && rng.one_in(150) {
                at -= rng.next_u64() % (40 * S);
            }
            let early = if steps_back && rng.one_in(20) { rng.next_u64() % S } else { 0 };
            (at - early, frame(rng, number / 120))
        })
        .collect()
}

pub(super) fn write_pcap(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let (nano, order) = (PcapVariant::Nano, ByteOrder::Little);
    let mut writer = PcapWriter::new(file, nano, order, LinkType(1), 65_535).unwrap();
    for (at, data) in packets {
        writer.write(*at, data.len() as u32, data).unwrap();
    }
}

pub(super) fn write_pcapng(path: &Path, packets: &[(u64, Vec<u8>)]) {
    let file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut writer = PcapNgWriter::new(file, ByteOrder::Little).unwrap();
    writer.interface(Some("one"), LinkType(1), 0, TimeResolution::NANO).unwrap();
    for (number, (at, data)) in packets.iter().enumerate() {
        if number == packets.len() / 2 {
            writer.interface(Some("two"), LinkType(1), 0, TimeResolution::NANO).unwrap();
        }
        let interface = u32::from(number > packets.len() / 2 && number % 2 == 0);
        writer.write(interface, *at, data.len() as u32, Direction::Unknown, data).unwrap();
    }
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A trace, or a store of about 1 MiB a segment, indexed.
pub(super) fn make(scratch: &Scratch, name: &str, rng: &mut Rng) -> PathBuf {
    let packets = packets(rng, 2000);
    let path = scratch.path(name);
    match rng.below(3) {
        0 => write_pcap(&path, &packets),
        1 => write_pcapng(&path, &packets),
        _ => {
            let plain = scratch.path("plain");
            write_pcap(&plain, &packets);
            let arguments = ["record", "-r", &text(&plain), "-w", &text(&path)];
            run([&arguments[..], &["--segment-size", "1MiB"]].concat()).expect_status(0);
        }
    }
    if !path.is_dir() {
        index::build(&path, 64 << 10, &mut |_| {}).unwrap();
        return path;
    }
    for segment in Store::open(&path).unwrap().segments().unwrap() {
        // One is left without.
        if !rng.one_in(4) {
            index::build(&segment.path, 64 << 10, &mut |_| {}).unwrap();
        }
    }
    path
}

/// A trace of 2 MB in order, a packet a second, and its index.
pub(super) fn ordered(scratch: &Scratch, name: &str) -> PathBuf {
    let mut rng = Rng::new(7);
    let path = scratch.path(name);
    let packets: Vec<_> =
        (0..2500_u64).map(|n| ((START_S + n) * S, frame(&mut rng, n / 120))).collect();
    write_pcap(&path, &packets);
    path
}
