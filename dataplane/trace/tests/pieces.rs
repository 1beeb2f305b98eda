//! Stores in pieces: all pieces one after the other are what the whole store gives, with whatever is damaged.

#[expect(dead_code, reason = "other tests need more of it")]
mod store_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store_support::{Made, TempDir, all_of, made};
use wt_trace::index::Wanted;
use wt_trace::record::{self, Interface, RecordOptions};
use wt_trace::store::{Finding, OwnStore, PieceReader, Store};
use wt_wire::{LinkType, Record};

/// How stores are recorded here, unless something else is said.
fn plain() -> RecordOptions {
    RecordOptions { index: false, ..RecordOptions::default() }
}

/// A store of one writer, four segments of up to four frames; another interface is described in the middle.
fn stored(dir: &Path, options: &RecordOptions) -> Vec<Made> {
    stored_from(dir, options, |number| if number % 1700 > 900 { "two" } else { "one" })
}

/// The same, of packets of these interfaces.
fn stored_from(
    dir: &Path,
    options: &RecordOptions,
    name: impl Fn(usize) -> &'static str,
) -> Vec<Made> {
    let packets = made(10_000, 4, 1400);
    let (store, _) = OwnStore::open(dir, 1 << 20).unwrap();
    let options = RecordOptions { segment_bytes: 4 << 20, waits: true, ..options.clone() };
    let (mut feed, writer) = record::start(&Arc::new(store), 0, &options).unwrap();
    let interface =
        |name: &str| Interface { name: Some(name.into()), link_type: LinkType(1), snap_len: 0 };
    for (number, packet) in packets.iter().enumerate() {
        let of = feed.interface(&interface(name(number)));
        feed.packets(of, &packet.data, &[packet.record()]);
    }
    feed.finish();
    assert!(writer.join().failure.is_none());
    packets
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let segments = Store::open(dir).unwrap().segments().unwrap();
    segments.into_iter().map(|segment| segment.path).collect()
}

/// What the store gives as a whole.
fn whole(dir: &Path) -> (Vec<Made>, Vec<Finding>) {
    store_support::read(dir)
}

/// What a piece holds, each packet with the name of its interface; and how many records its largest batch has.
fn named(mut reader: PieceReader) -> (Vec<(Made, String)>, usize) {
    let (mut found, mut records, mut largest) = (Vec::new(), Vec::new(), 0);
    while let Some(batch) = reader.next_batch(&mut records, 1).expect("only good blocks are given")
    {
        let interface = batch.interface as usize;
        largest = largest.max(batch.records.len());
        let made = |record: Record<'_>| Made {
            timestamp_ns: record.timestamp_ns,
            len: record.len,
            direction: record.direction,
            data: record.data.to_vec(),
        };
        let packets: Vec<Made> = batch.iter().map(made).collect();
        let name = reader.interfaces()[interface].name.as_deref().unwrap_or_default();
        found.extend(packets.into_iter().map(|packet| (packet, name.to_owned())));
    }
    (found, largest)
}

/// What a piece holds.
fn of_piece(reader: PieceReader) -> Vec<Made> {
    named(reader).0.into_iter().map(|(packet, _)| packet).collect()
}

/// What its pieces of about so many bytes give, how many they are, and what is found.
fn in_pieces(dir: &Path, piece_bytes: u64) -> (Vec<Made>, Vec<Finding>, usize) {
    let mut captured = Store::open(dir).unwrap().captured(None).unwrap();
    let mut pieces = captured.pieces.pop().expect("a writer");
    pieces.begin(piece_bytes);
    let count = (0..).take_while(|number| pieces.bytes_of(*number).is_some()).count();
    let bytes: u64 = (0..count).map(|number| pieces.bytes_of(number).unwrap()).sum();
    assert_eq!(bytes, pieces.bytes());
    assert!(pieces.open(count).is_none());
    // They are read in any order, and told of in theirs.
    let mut parts = Vec::new();
    for number in (0..count).rev() {
        let (reader, findings) = pieces.open(number).unwrap().unwrap();
        parts.push((of_piece(reader), findings));
    }
    let mut found = Vec::new();
    for (packets, findings) in parts.into_iter().rev() {
        found.extend(packets);
        pieces.found(&findings);
    }
    (found, captured.findings.all(), count)
}

#[test]
fn pieces_are_the_store() {
    let dir = TempDir::new();
    let packets = stored(dir.path(), &plain());
    let whole = whole(dir.path());
    assert_eq!(whole, (packets, Vec::new()));
    let of_segments = segments(dir.path()).len();
    for (piece_bytes, least) in [(1, 12), (1_500_000, 7), (2 << 20, 6), (u64::MAX, 4)] {
        let (found, findings, count) = in_pieces(dir.path(), piece_bytes);
        assert!(found == whole.0 && findings.is_empty(), "{piece_bytes}: {findings:?}");
        assert!(count >= least && (count == of_segments) == (piece_bytes == u64::MAX), "{count}");
    }
    // Compressed segments are pieces as they are.
    let dir = TempDir::new();
    let packets = stored(dir.path(), &RecordOptions { compress: Some(1), ..plain() });
    let (found, findings, count) = in_pieces(dir.path(), 1);
    assert!(found == packets && findings.is_empty());
    assert_eq!(count, segments(dir.path()).len());
}

#[test]
fn what_is_damaged_is_left_out_and_told_of_as_by_one_reader() {
    let dir = TempDir::new();
    stored(dir.path(), &plain());
    let (mut damaged, mut several) = (0, 0);
    for segment in segments(dir.path()) {
        let good = fs::read(&segment).unwrap();
        let heads: Vec<usize> =
            memchr::memmem::find_iter(&good, b"wt-frame").map(|at| at - 8).collect();
        assert!(heads.len() > 3);
        // Frames of interfaces.
        let of = |at: &usize| good[at + 64] == 1;
        let described: Vec<_> = heads.iter().filter(|at| of(at)).map(|at| *at..*at + 200).collect();
        let count = heads.iter().filter(|at| good[**at + 64] == 0).count();
        assert!(!described.is_empty() && count > 1, "{count} frames");
        // Heads, what is behind them, several at once, and places in between.
        let mut places: Vec<Vec<usize>> =
            heads.iter().flat_map(|at| [vec![at + 30], vec![at + 100], vec![at + 68]]).collect();
        places.extend(heads.windows(2).map(|two| vec![two[0] + 100, two[1] + 100]));
        places.extend(heads.windows(3).map(|all| vec![all[0] + 100, all[1] + 30, all[2] + 100]));
        places.extend(heads.windows(3).map(|all| vec![all[0] + 100, all[2] + 100]));
        places.extend((0..8).map(|n| vec![5 + n * good.len() / 9]));
        places.push(vec![8]);
        for places in places {
            let mut bad = good.clone();
            places.iter().filter(|at| **at < good.len()).for_each(|at| bad[*at] ^= 0x10);
            fs::write(&segment, &bad).unwrap();
            let whole = whole(dir.path());
            for piece_bytes in [1, 2_200_000] {
                let (found, findings, _) = in_pieces(dir.path(), piece_bytes);
                assert!(found == whole.0, "{places:?} in pieces of {piece_bytes}");
                assert_eq!(findings, whole.1, "{places:?} in pieces of {piece_bytes}");
            }
            // What is whole is given: one bit takes no more than its frame, unless it describes interfaces.
            let missing = 10_000 - whole.0.len();
            let is_described = places.iter().any(|at| described.iter().any(|d| d.contains(at)));
            assert!(missing <= 740 * places.len() || is_described, "{missing} of {places:?}");
            damaged += usize::from(!whole.1.is_empty());
            several += usize::from(whole.1.len() > 1);
        }
        // Cut off, as a killed recorder leaves the last one.
        for cut in [0, 20, 200, good.len() / 2, good.len() - 80] {
            fs::write(&segment, &good[..cut]).unwrap();
            let whole = whole(dir.path());
            let (found, findings, _) = in_pieces(dir.path(), 1);
            assert!(found == whole.0, "cut at {cut}");
            assert_eq!(findings, whole.1, "cut at {cut}");
        }
        fs::write(&segment, &good).unwrap();
    }
    assert!(damaged > 60 && several > 2, "{damaged}, {several}");
}

#[test]
fn segments_go_while_they_are_read() {
    let dir = TempDir::new();
    let packets = stored(dir.path(), &plain());
    let mut captured = Store::open(dir.path()).unwrap().captured(None).unwrap();
    let mut pieces = captured.pieces.pop().expect("a writer");
    pieces.begin(1);
    let count = (0..).take_while(|number| pieces.bytes_of(*number).is_some()).count();
    // One is compressed, as a recorder does with those that are closed; one is deleted.
    let [first, second, ..] = &segments(dir.path())[..] else { panic!("some segments") };
    let compressed = first.with_extension("pcapng.zst");
    let bytes = fs::read(first).unwrap();
    fs::write(&compressed, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
    fs::remove_file(first).unwrap();
    fs::remove_file(second).unwrap();
    let mut found = Vec::new();
    for number in 0..count {
        let (reader, findings) = pieces.open(number).unwrap().unwrap();
        found.extend(of_piece(reader));
        pieces.found(&findings);
    }
    let missing = packets.len() - found.len();
    let at = (0..found.len()).find(|at| found[*at] != packets[*at]).unwrap();
    assert_eq!(found[at..], packets[at + missing..]);
    let segment = second.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(captured.findings.all(), [Finding::Deleted { segment }]);
    assert!(missing > 1000);
}

#[test]
fn what_is_wanted_comes_in_pieces_too() {
    for index in [false, true] {
        let dir = TempDir::new();
        let options = RecordOptions { index, ..plain() };
        let packets = stored_from(dir.path(), &options, |_| "one");
        let (first, last) = (packets[3000].timestamp_ns, packets[3100].timestamp_ns);
        let wanted = Wanted::Between(first, last);
        let store = Store::open(dir.path()).unwrap();
        let mut captured = store.captured(Some((&wanted, false))).unwrap();
        let taken = captured.reading.taken();
        assert_eq!((1..taken.blocks.1).contains(&taken.blocks.0), index);
        let mut pieces = captured.pieces.pop().expect("a writer");
        pieces.begin(1 << 20);
        assert_eq!(pieces.bytes(), taken.bytes.0);
        assert!(taken.segments.0 < taken.segments.1);
        let opened = (0..).map_while(|number| pieces.open(number));
        let all: Vec<Made> = opened.flat_map(|opened| of_piece(opened.unwrap().0)).collect();
        let of_all: Vec<Made> = captured.readers.into_iter().flat_map(all_of).collect();
        assert_eq!(all, of_all);
        assert!(all.len() < packets.len() && all.contains(&packets[3050]));
    }
}

#[test]
fn each_writer_has_its_pieces() {
    let dir = TempDir::new();
    let (store, _) = OwnStore::open(dir.path(), 1 << 20).unwrap();
    let store = Arc::new(store);
    let mut packets = Vec::new();
    for number in 0..2 {
        let options = RecordOptions { waits: true, ..plain() };
        let (mut feed, writer) = record::start(&store, number, &options).unwrap();
        let interface = Interface { name: None, link_type: LinkType(1), snap_len: 0 };
        let interface = feed.interface(&interface);
        for packet in made(10, u64::from(number), 100) {
            feed.packets(interface, &packet.data, &[packet.record()]);
            packets.push(packet);
        }
        feed.finish();
        assert!(writer.join().failure.is_none());
    }
    let captured = store.captured(None).unwrap();
    assert_eq!(captured.readers.len(), 2);
    let pieces = captured.pieces.iter().map(|pieces| pieces.open(0).unwrap().unwrap().0);
    assert!(pieces.flat_map(of_piece).collect::<Vec<_>>() == packets);
}

#[test]
fn frames_of_one_interface_are_read_where_they_are_checked() {
    let second = |number| if number < 6000 { "one" } else { "two" };
    let names: [fn(usize) -> &'static str; 2] = [|_| "one", second];
    for compress in [None, Some(1)] {
        for name in names {
            let dir = TempDir::new();
            let options = RecordOptions { compress, ..plain() };
            let packets = stored_from(dir.path(), &options, name);
            let expected = packets.into_iter().enumerate();
            let expected: Vec<_> = expected.map(|(n, packet)| (packet, name(n).into())).collect();
            for piece_bytes in [1, 2 << 20, u64::MAX] {
                let mut captured = Store::open(dir.path()).unwrap().captured(None).unwrap();
                let mut pieces = captured.pieces.pop().expect("a writer");
                pieces.begin(piece_bytes);
                let readers = (0..).map_while(|number| pieces.open(number));
                let parts: Vec<_> = readers.map(|opened| named(opened.unwrap().0)).collect();
                // Whole frames, until another interface is described.
                let has = |of: fn(usize) -> bool| parts.iter().any(|(_, largest)| of(*largest));
                assert!(has(|largest| largest > 100));
                assert_eq!(has(|largest| largest == 1), name(9999) == "two");
                let found = parts.into_iter().flat_map(|(packets, _)| packets);
                assert!(found.eq(expected.iter().cloned()), "{piece_bytes}");
            }
        }
    }
}

#[test]
fn what_the_recorder_does_not_write_is_read_as_anywhere() {
    let dir = TempDir::new();
    let packets = stored_from(dir.path(), &plain(), |_| "one");
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    // The first frame of packets; its fourth block becomes one of the obsolete type, which has the same fields here.
    let heads = memchr::memmem::find_iter(&bytes, b"wt-frame").map(|at| at - 8);
    let head = heads.into_iter().find(|at| bytes[at + 64] == 0).unwrap();
    let word =
        |bytes: &[u8], at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| bytes[at + n])) as usize;
    let body = head + 80..head + 80 + word(&bytes, head + 32);
    let fourth = (0..3).fold(body.start, |at, _| at + word(&bytes, at + 4));
    bytes[fourth] = 2;
    let crc = crc32fast::hash(&bytes[body]).to_le_bytes();
    bytes[head + 68..head + 72].copy_from_slice(&crc);
    let crc = crc32fast::hash(&bytes[head..head + 72]).to_le_bytes();
    bytes[head + 72..head + 76].copy_from_slice(&crc);
    fs::write(&segment, bytes).unwrap();
    let (found, findings, _) = in_pieces(dir.path(), 1 << 20);
    assert!(found == packets && findings.is_empty(), "{findings:?}");
}
