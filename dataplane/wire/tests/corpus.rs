//! Every capture of the shared collection ends in an answer or a clean error, where it is present.

use std::fs;
use std::path::{Path, PathBuf};

use wt_wire::CaptureReader;

fn files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn every_shared_capture_ends_cleanly() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    if !root.is_dir() {
        return;
    }
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let (mut whole, mut damaged) = (0, 0);
    for path in &paths {
        let Ok(mut reader) = CaptureReader::open(path) else {
            damaged += 1;
            continue;
        };
        while let Ok(Some(record)) = reader.next() {
            assert!(record.offset < u64::MAX && record.data.len() <= 128 << 20);
        }
        match reader.damage() {
            None => whole += 1,
            Some(_) => damaged += 1,
        }
        assert!(matches!(reader.next(), Ok(None)), "{}", path.display());
        assert_eq!(reader.size_hint(), Some(fs::metadata(path).unwrap().len()));
    }
    assert_eq!(whole + damaged, paths.len());
    assert!(whole > damaged, "{whole} whole, {damaged} damaged");
}
