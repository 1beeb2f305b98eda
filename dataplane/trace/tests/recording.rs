//! Stores: what is written is read again, packet by packet, whatever happened to the files in between.

mod store_support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store_support::{Made, TempDir, all_of, made, read, read_whole, record};
use wt_trace::record::memory::{self, MemoryOptions};
use wt_trace::record::{Interface, RecordOptions};
use wt_trace::store::{Finding, Keep, OwnStore, Pin, Store, StoreError};
use wt_wire::{CaptureReader, LinkType};

/// Small segments, of a source that waits.
fn small() -> RecordOptions {
    RecordOptions { segment_bytes: 1 << 20, waits: true, ..RecordOptions::default() }
}

#[test]
fn packets_come_back_in_order_over_segments_and_runs() {
    let dir = TempDir::new();
    let first = made(20_000, 1, 300);
    let second = made(500, 2, 300);
    let ended = record(dir.path(), &first, &small());
    assert_eq!((ended.books.written, ended.books.captured), (20_000, 20_000));
    assert!(ended.books.segments > 3 && ended.books.balance() && ended.failure.is_none());
    record(dir.path(), &second, &small());
    let store = Store::open(dir.path()).unwrap();
    // Sequence numbers are consecutive, over the end of a run too.
    let segments = store.segments().unwrap();
    let mut next = 0;
    for segment in &segments {
        let summary = store.summary(segment).unwrap();
        assert_eq!((segment.name.writer, segment.name.first), (0, next));
        assert!(segment.bytes <= (1 << 20) + 200 && segment.bytes == summary.bytes + 80);
        next += summary.packets;
    }
    assert_eq!(next, 20_500);
    assert_eq!(read_whole(dir.path()), [first, second].concat());
}

#[test]
fn interfaces_keep_their_names_and_link_types() {
    let dir = TempDir::new();
    let (store, _) = OwnStore::open(dir.path(), 1 << 20).unwrap();
    let store = Arc::new(store);
    let (mut feed, writer) = wt_trace::record::start(&store, 0, &small()).unwrap();
    let of = |name: &str, link_type: u16| Interface {
        name: Some(name.into()),
        link_type: LinkType(link_type),
        snap_len: 64,
    };
    // The second is met only when segments have been written.
    for (number, packet) in made(10_000, 3, 250).iter().enumerate() {
        let interface = if number < 6000 { of("one", 1) } else { of("two", 101) };
        let interface = feed.interface(&interface);
        feed.packets(interface, &packet.data, &[packet.record()]);
    }
    feed.finish();
    assert!(writer.join().books.balance());
    let (mut readers, _) = store.captures().unwrap();
    let mut number = 0;
    let mut reader = readers.pop().unwrap();
    while let Some(record) = reader.next().unwrap() {
        let expected = if number < 6000 { LinkType(1) } else { LinkType(101) };
        assert_eq!(record.link_type, expected, "packet {number}");
        let interface = record.interface as usize;
        let name = reader.interfaces()[interface].name.clone();
        assert_eq!(name.as_deref(), Some(if number < 6000 { "one" } else { "two" }));
        number += 1;
    }
    assert_eq!(number, 10_000);
}

#[test]
fn a_clock_that_steps_back_is_recorded_as_it_was() {
    let dir = TempDir::new();
    let mut packets = made(3000, 4, 100);
    for packet in &mut packets[1000..2000] {
        packet.timestamp_ns -= 3_600_000_000_000;
    }
    record(dir.path(), &packets, &small());
    assert_eq!(read_whole(dir.path()), packets);
    let store = Store::open(dir.path()).unwrap();
    let segments = store.segments().unwrap();
    let range = store.summary(&segments[0]).unwrap().range_ns.unwrap();
    let stamps = || packets.iter().map(|packet| packet.timestamp_ns);
    assert_eq!(range, (stamps().min().unwrap(), stamps().max().unwrap()));
}

#[test]
fn without_waiting_every_packet_is_written_or_counted_as_lost() {
    let dir = TempDir::new();
    let packets = made(400_000, 5, 60);
    let options = RecordOptions { buffer_bytes: 2 << 20, waits: false, ..small() };
    let books = record(dir.path(), &packets, &options).books;
    assert_eq!(books.captured, 400_000);
    assert_eq!(books.written + books.lost_buffer, 400_000);
    let found = read_whole(dir.path());
    assert_eq!(found.len() as u64, books.written);
    let mut all = packets.iter();
    assert!(found.iter().all(|found| all.any(|packet| packet == found)), "in order, none twice");
}

/// A store of one small segment, and its bytes.
fn small_segment() -> (TempDir, Vec<Made>, std::path::PathBuf, Vec<u8>) {
    let dir = TempDir::new();
    // Several frames: packets that are ticked over go by themselves.
    let (store, _) = OwnStore::open(dir.path(), 1 << 20).unwrap();
    let (mut feed, writer) = wt_trace::record::start(&Arc::new(store), 0, &small()).unwrap();
    let all = made(24, 6, 40);
    let interface = Interface { name: Some("eth0".into()), link_type: LinkType(1), snap_len: 0 };
    let interface = feed.interface(&interface);
    for packets in all.chunks(8) {
        packets.iter().for_each(|p| feed.packets(interface, &p.data, &[p.record()]));
        feed.tick(None);
        std::thread::sleep(Duration::from_millis(110));
        feed.tick(None);
    }
    feed.finish();
    assert_eq!(writer.join().books.written, 24);
    let store = Store::open(dir.path()).unwrap();
    let path = store.segments().unwrap()[0].path.clone();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(read_whole(dir.path()), all);
    (dir, all, path, bytes)
}

/// Whether packets are some of others, in order.
fn are_some_of(found: &[Made], all: &[Made]) -> bool {
    let mut all = all.iter();
    found.iter().all(|found| all.any(|packet| packet == found))
}

#[test]
fn damage_at_any_offset_gives_no_wrong_packet_and_is_reported() {
    let (dir, all, path, bytes) = small_segment();
    let first_frame = bytes.windows(8).position(|window| window == b"wt-frame").unwrap() - 8;
    let mut whole = 0;
    for at in 0..bytes.len() {
        for damage in [0xff, 0x01] {
            let mut damaged = bytes.clone();
            damaged[at] ^= damage;
            fs::write(&path, &damaged).unwrap();
            let (found, findings) = read(dir.path());
            assert!(are_some_of(&found, &all), "byte {at}");
            let lost: u64 = findings
                .iter()
                .map(|finding| match finding {
                    Finding::Damaged { skipped, .. } | Finding::Unfinished { skipped, .. } => {
                        assert!(skipped.bytes > 0);
                        skipped.packets
                    }
                    other => panic!("byte {at}: {other}"),
                })
                .sum();
            if found.len() == all.len() {
                whole += 1;
                // Only what begins and ends a segment holds no packets; what it says of itself at its begin is not checked.
                assert!(at < first_frame || !findings.is_empty(), "byte {at}");
            } else {
                assert!(!findings.is_empty(), "byte {at}: {} packets, nothing said", found.len());
                let is_last = findings.iter().any(|f| matches!(f, Finding::Unfinished { .. }));
                assert!(is_last || found.len() as u64 + lost == 24, "byte {at}: {findings:?}");
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn cut_at_any_offset_a_store_is_put_in_order_and_goes_on() {
    let (dir, all, path, bytes) = small_segment();
    let more = made(5, 7, 50);
    let mark = dir.path().join("w00.mark");
    let marked = fs::read(&mark).unwrap();
    // As if it had never been closed.
    let open = &bytes[..bytes.len() - 80];
    for at in (0..=open.len()).step_by(3).chain([open.len()]) {
        for zeros in [0, 300] {
            let mut cut = open[..at].to_vec();
            cut.resize(at + zeros, 0);
            fs::write(&path, &cut).unwrap();
            let (before, findings) = read(dir.path());
            assert!(all.starts_with(&before) && findings.iter().all(|f| !f.is_loss()), "{at}");
            let (store, recovered) = OwnStore::open(dir.path(), 1 << 20).unwrap();
            assert_eq!(recovered.len(), 1, "{at}");
            assert_eq!(recovered[0].packets, before.len() as u64, "{at}");
            // The mark says that all had been written.
            assert_eq!(recovered[0].lost_packets, 24 - before.len() as u64, "{at}");
            assert_eq!(recovered[0].is_deleted, before.is_empty());
            drop(store);
            let (after, findings) = read(dir.path());
            assert!(after == before && findings.is_empty(), "{at}: {findings:?}");
            if at % 30 == 0 && zeros == 0 {
                record(dir.path(), &more, &small());
                assert_eq!(read_whole(dir.path()), [&before[..], &more].concat(), "{at}");
            }
            for segment in Store::open(dir.path()).unwrap().segments().unwrap() {
                fs::remove_file(segment.path).unwrap();
            }
            // It says again what it said when all had been written.
            fs::write(&mark, &marked).unwrap();
        }
    }
}

#[test]
fn a_second_recorder_and_a_strange_directory_are_refused() {
    let dir = TempDir::new();
    let (store, _) = OwnStore::open(dir.path(), 4096).unwrap();
    assert!(store.is_recorded());
    let refused = OwnStore::open(dir.path(), 4096).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(!store.is_recorded());
    assert_eq!(store.index_ratio(), 4096);
    // Who made it says how it is indexed.
    assert_eq!(OwnStore::open(dir.path(), 8192).unwrap().0.index_ratio(), 4096);

    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    for refused in [OwnStore::open(dir.path(), 4096).unwrap_err(), store.segments().unwrap_err()] {
        assert!(matches!(&refused, StoreError::Foreign { file, .. } if file == "notes.txt"));
    }
    let other = TempDir::new();
    fs::write(other.path().join("w00-0000000000000000.pcapng"), "mine").unwrap();
    let refused = OwnStore::open(other.path(), 4096).unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    assert!(matches!(Store::open(other.path()).unwrap_err(), StoreError::NotAStore { .. }));

    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    let manifest = dir.path().join(wt_trace::store::MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    for (wrong, expected) in [
        (text.replace("version = 1", "version = 2"), "version 2"),
        (text.replace("id = \"", "id = \"x"), "hexadecimal"),
        ("version".to_owned(), "wiretable-store.toml"),
    ] {
        fs::write(&manifest, wrong).unwrap();
        let message = Store::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// A segment that was put among those of another store is told of, and left as it is.
#[test]
fn a_segment_of_another_store_is_told_of_and_not_touched() {
    let (_other, _, path, bytes) = small_segment();
    let (dir, packets, ours, _) = small_segment();
    let strange = ours.with_file_name("w00-0000000000999999.pcapng");
    fs::copy(path, &strange).unwrap();
    let (found, findings) = read(dir.path());
    assert_eq!(found, packets);
    let segment = "w00-0000000000999999.pcapng".to_owned();
    assert_eq!(findings, [Finding::OfAnotherStore { segment }]);
    let refused = OwnStore::open(dir.path(), 4096).unwrap_err();
    assert!(matches!(refused, StoreError::OfAnotherStore { .. }), "{refused}");
    assert!(fs::read(&strange).unwrap() == bytes);
}

#[test]
fn the_oldest_segments_go_first_and_pinned_ones_stay() {
    let dir = TempDir::new();
    let packets = made(30_000, 8, 300);
    record(dir.path(), &packets, &small());
    let store = Store::open(dir.path()).unwrap();
    let before = store.segments().unwrap();
    assert!(before.len() >= 8, "{}", before.len());
    // All were written at the same time; the clock of files says otherwise.
    for (number, segment) in (0..).zip(&before) {
        let file = OpenOptions::new().write(true).open(&segment.path).unwrap();
        let age = Duration::from_secs(1000 - number);
        file.set_modified(SystemTime::now() - age).unwrap();
    }
    let (from_ns, to_ns) = store.summary(&before[1]).unwrap().range_ns.unwrap();
    store.pin(Pin { name: "kept".to_owned(), from_ns: from_ns + 1, to_ns: to_ns - 1 }).unwrap();
    let keep = Keep { bytes_max: Some(4 << 20), ..Keep::default() };
    let options = RecordOptions { keep, ..small() };
    let more = made(10, 9, 300);
    let books = record(dir.path(), &more, &options).books;
    assert!(books.deleted >= before.len() as u64 - 5, "{books:?}");
    let after = store.segments().unwrap();
    let bytes: u64 = after.iter().map(|segment| segment.disk_bytes).sum();
    assert!(bytes <= 5 << 20, "{bytes}");
    assert_eq!(after[0].name, before[1].name, "the pinned one");
    assert!(after[1].name.first > before[3].name.first);
    // What is left is whole, and the newest is there.
    let (found, findings) = read(dir.path());
    assert!(findings.is_empty() && found.ends_with(&more));
    assert!(are_some_of(&found, &[packets, more].concat()));
    assert!(store.unpin("kept").unwrap() && !store.unpin("kept").unwrap());
    let keep = Keep { age_max: Some(Duration::from_secs(500)), ..Keep::default() };
    record(dir.path(), &made(1, 10, 60), &RecordOptions { keep, ..small() });
    let young = store.segments().unwrap();
    assert!(young.iter().all(|segment| segment.modified.elapsed().unwrap().as_secs() < 500));
}

#[test]
fn compressed_segments_read_as_the_others() {
    let dir = TempDir::new();
    let packets = made(12_000, 11, 300);
    record(dir.path(), &packets, &RecordOptions { compress: Some(1), ..small() });
    let store = Store::open(dir.path()).unwrap();
    let segments = store.segments().unwrap();
    assert!(segments.len() > 2 && segments.iter().all(|segment| segment.name.is_compressed));
    assert!(segments.iter().all(|segment| store.summary(segment).is_some()));
    assert_eq!(read_whole(dir.path()), packets);
    // Damage is found by the checksums of both.
    let file = OpenOptions::new().write(true).open(&segments[1].path).unwrap();
    file.write_all_at(&[0x55; 64], segments[1].bytes / 2).unwrap();
    let (found, findings) = read(dir.path());
    assert!(are_some_of(&found, &packets) && found.len() < packets.len());
    assert!(findings.iter().any(Finding::is_loss), "{findings:?}");
    // The next run goes on behind the last one.
    let more = made(3, 12, 60);
    record(dir.path(), &more, &small());
    assert!(read(dir.path()).0.ends_with(&more));
}

#[test]
fn memory_keeps_the_newest_and_no_more_than_it_may() {
    let dir = TempDir::new();
    let options = MemoryOptions {
        age_max: Duration::from_secs(3600),
        bytes_max: 3 << 20,
        buffer_bytes: 64 << 20,
        snap_len: 262_144,
    };
    let (mut feed, memory) = memory::start(0, &options).unwrap();
    let interface = Interface { name: None, link_type: LinkType(1), snap_len: 0 };
    let interface = feed.interface(&interface);
    let packets = made(30_000, 20, 300);
    packets.iter().for_each(|packet| feed.packets(interface, &packet.data, &[packet.record()]));
    let handle = memory.handle();
    let path = dir.path().join("all.pcapng");
    // It waits for its end: it has what was kept when it began, and all that came then.
    let from_ns = packets[29_000].timestamp_ns;
    let all = handle.save(&path, 0, u64::MAX - 1);
    let late = handle.save(&dir.path().join("late.pcapng"), from_ns, u64::MAX - 1);
    let denied = handle.save(std::path::Path::new("/proc/none.pcapng"), 0, 1);
    assert!(denied.recv().unwrap().is_err());
    feed.finish();
    let books = memory.join();
    assert_eq!((books.written, books.captured), (30_000, 30_000));
    let saved = all.recv().unwrap().unwrap();
    let found = all_of(CaptureReader::open(&path).unwrap());
    assert_eq!(found.len() as u64, saved.packets);
    assert!(packets.ends_with(&found), "the newest, in order");
    assert!((5_000..=30_000).contains(&found.len()), "{}", found.len());
    late.recv().unwrap().unwrap();
    let late = all_of(CaptureReader::open(&dir.path().join("late.pcapng")).unwrap());
    assert!(late == packets[29_000..], "{}", late.len());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing half written");
    assert!(handle.save(&path, 0, 1).recv().is_err(), "it has ended");
}
