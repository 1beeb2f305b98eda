//! A trace gives what record by record gives, whatever the bytes.

mod support;

use std::fs;
use std::path::Path;

use support::*;

#[test]
fn every_capture() {
    let mut plains = 0;
    for path in captures() {
        check(&path, &path.display().to_string());
        plains += usize::from(plain(&path).is_some());
    }
    assert!(plains > 20, "{plains} of the captures are plain");
}

#[test]
fn every_cut_of_a_small_file() {
    let whole = fs::read(captures().iter().find(|p| p.ends_with("dns.pcap")).unwrap()).unwrap();
    for len in 0..whole.len() {
        let path = file("cut.pcap", &whole[..len]);
        check(&path, &format!("cut at {len}"));
    }
}

#[test]
fn what_cannot_be_opened_is_told_as_always() {
    check(Path::new("/nonexistent.pcap"), "a file that is not there");
    check(Path::new("/"), "a directory");
}
