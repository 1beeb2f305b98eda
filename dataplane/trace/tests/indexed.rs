//! Segments that are indexed while they are written: their indices are those that a scan makes, also when the recorder was killed.

mod store_support;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store_support::{TempDir, made, read, read_whole, record};
use wt_trace::index::{self, Index, IndexError};
use wt_trace::record::{Interface, RecordOptions};
use wt_trace::store::{OwnStore, Store};
use wt_wire::CaptureReader;

fn small() -> RecordOptions {
    RecordOptions { segment_bytes: 1 << 20, waits: true, ..RecordOptions::default() }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let segments = Store::open(dir).unwrap().segments().unwrap();
    segments.into_iter().map(|segment| segment.path).collect()
}

/// Every index is whole, and that which is made later.
fn expect_indexed(segments: &[PathBuf], ratio: u64) {
    for path in segments {
        let index = Index::open(path).unwrap();
        let len = fs::metadata(path).unwrap().len();
        assert_eq!((index.covered(), index.ratio()), ((len, len), ratio));
        let scanned = index::scan(path, ratio, &mut |_| {}).unwrap();
        assert!(index.entries() == scanned, "{}", path.display());
        let sidecar = index::path_of(path);
        let made = fs::read(&sidecar).unwrap();
        index::build(path, ratio, &mut |_| {}).unwrap();
        assert!(made == fs::read(&sidecar).unwrap(), "{}", path.display());
    }
}

/// Carried captures of several kinds, again and again: tags, tunnels, IPv6, fragments, several link types.
fn record_captures(dir: &Path, ratio: u64, times: u64, options: &RecordOptions) {
    let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/captures");
    let (store, _) = OwnStore::open(dir, ratio).unwrap();
    let (mut feed, writer) = wt_trace::record::start(&Arc::new(store), 0, options).unwrap();
    for time in 0..times {
        let mut files: Vec<_> =
            fs::read_dir(captures).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for path in files {
            let Ok(mut reader) = CaptureReader::open(&path) else { continue };
            // Damaged ones are here too.
            while let Ok(Some(record)) = reader.next() {
                // A writer describes an interface when it is met first, which is also in the middle of a segment.
                let name = format!("{}", time * 40 / times);
                let of =
                    Interface { name: Some(name.into()), link_type: record.link_type, snap_len: 0 };
                let packet = store_support::Made {
                    timestamp_ns: record.timestamp_ns,
                    len: record.len,
                    direction: record.direction,
                    data: record.data.to_vec(),
                };
                let interface = feed.interface(&of);
                feed.packets(interface, &packet.data, &[packet.record()]);
            }
        }
    }
    feed.finish();
    assert!(writer.join().failure.is_none());
}

#[test]
fn every_segment_has_the_index_that_a_scan_makes() {
    for (ratio, used) in [(4096, 64 << 10), (1 << 20, 1 << 20), (100_000, 100_000)] {
        let dir = TempDir::new();
        let options = RecordOptions { segment_bytes: 5 << 20, ..small() };
        record_captures(dir.path(), ratio, 8, &options);
        let segments = segments(dir.path());
        assert!(segments.len() > 1, "{}", segments.len());
        expect_indexed(&segments, used);
    }
}

#[test]
fn without_an_index_there_is_none() {
    let dir = TempDir::new();
    let packets = made(5000, 1, 300);
    record(dir.path(), &packets, &RecordOptions { index: false, ..small() });
    for path in segments(dir.path()) {
        assert!(matches!(Index::open(&path), Err(IndexError::Absent)));
    }
    // What is compressed has none either, however it was asked for.
    record(dir.path(), &packets, &RecordOptions { compress: Some(1), ..small() });
    let names = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".wti")));
}

/// A segment is cut anywhere, its index too: the next recorder makes the index anew.
#[test]
fn an_index_that_was_left_half_written_is_made_anew() {
    let original = TempDir::new();
    let packets = made(9000, 4, 300);
    let options = RecordOptions { segment_bytes: 4 << 20, ..small() };
    record(original.path(), &packets, &options);
    let path = segments(original.path()).pop().unwrap();
    let name = path.file_name().unwrap();
    let (bytes, sidecar) = (fs::read(&path).unwrap(), fs::read(index::path_of(&path)).unwrap());
    assert!(sidecar.len() > 96 + 2 * (88 + 4096));
    let long_ago =
        fs::metadata(&path).unwrap().modified().unwrap() - std::time::Duration::from_secs(9);
    for step in 0..40 {
        let dir = TempDir::new();
        for file in ["wiretable-store.toml", "w00.mark"] {
            fs::copy(original.path().join(file), dir.path().join(file)).unwrap();
        }
        let copy = dir.path().join(name);
        let (cut, index_cut) =
            (bytes.len() * (step + 1) / 41, sidecar.len() * (step * 7 % 40) / 40);
        fs::write(&copy, &bytes[..cut]).unwrap();
        fs::write(index::path_of(&copy), &sidecar[..index_cut]).unwrap();
        OpenOptions::new().write(true).open(&copy).unwrap().set_modified(long_ago).unwrap();
        // Whatever is there, readers find what a scan finds.
        let (found, _) = read(dir.path());
        assert!(packets.starts_with(&found));
        let (_, recovered) = OwnStore::open(dir.path(), 1 << 20).unwrap();
        let [recovered] = &recovered[..] else { panic!("{recovered:?}") };
        assert_eq!(recovered.is_indexed, !recovered.is_deleted);
        expect_indexed(&segments(dir.path()), 1 << 20);
        assert_eq!(read_whole(dir.path()), found);
    }
}

/// A recorder that was killed between the end of a segment and that of its index.
#[test]
fn the_index_of_the_last_segment_is_completed() {
    let dir = TempDir::new();
    record(dir.path(), &made(9000, 4, 300), &RecordOptions { segment_bytes: 4 << 20, ..small() });
    let path = segments(dir.path()).pop().unwrap();
    let sidecar = index::path_of(&path);
    let whole = fs::read(&sidecar).unwrap();
    for len in [0, 10, 96, 96 + 88 + 4096, whole.len() - 1] {
        fs::write(&sidecar, &whole[..len]).unwrap();
        let (_, recovered) = OwnStore::open(dir.path(), 1 << 20).unwrap();
        assert!(recovered.is_empty(), "the segment was closed");
        expect_indexed(std::slice::from_ref(&path), 1 << 20);
    }
    // One of an earlier version, whole as it is, and one with damage that only a look at all entries finds.
    let mut earlier = whole.clone();
    earlier[8] = 2;
    let crc = crc32fast::hash(&earlier[..60]);
    earlier[60..64].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&earlier[..92]);
    earlier[92..96].copy_from_slice(&crc.to_le_bytes());
    let mut damaged = whole.clone();
    damaged[96 + 88 + 1000] ^= 1;
    for (bytes, is_of_this_version) in [(&earlier, false), (&damaged, true)] {
        fs::write(&sidecar, bytes).unwrap();
        match Index::open(&path) {
            Err(IndexError::Foreign { .. }) => assert!(!is_of_this_version),
            opened => assert!(is_of_this_version && opened.is_ok()),
        }
        assert_eq!(read_whole(dir.path()).len(), 9000);
        OwnStore::open(dir.path(), 1 << 20).unwrap();
        assert!(fs::read(&sidecar).unwrap() == whole);
    }
    // One that is not wanted is not made.
    fs::remove_file(&sidecar).unwrap();
    OwnStore::open(dir.path(), 1 << 20).unwrap();
    assert!(!sidecar.exists());
}
