//! Stores that are followed: the recorded past, then what its recorder goes on to write, each packet once. Needs root; without it every test says that it is
//! skipped.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wt_tests::corpus::Scratch;
use wt_tests::live::{Running, expect_booked, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{Outcome, binary, run};
use wt_trace::store::Store;

fn record(arguments: &[&str], dir: &Path) -> Outcome {
    run([&["record", "-w", &text(dir)], arguments].concat())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Waits until the recorder of a store says who it is.
fn wait_for_recorder(dir: &Path) {
    wait_until("the store says who records", || {
        Store::open(dir).is_ok_and(|store| store.recorder().is_some())
    });
}

/// Starts a recorder of `near`.
fn start(netns: &Netns, dir: &Path, more: &[&str], queues: usize) -> Running {
    let store = text(dir);
    let arguments = ["record", "-i", "near", "-w", &store, "--ledger"];
    let running = Running::start(netns, &[&arguments[..], more].concat(), queues);
    wait_for_recorder(dir);
    running
}

/// A frame that says its number.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&number.to_be_bytes());
    frame
}

/// The lengths of the first frames that [`counted`] makes, as a result has them.
fn lengths(count: u64) -> String {
    std::iter::once("len".to_owned())
        .chain((0..count).map(|number| counted_len(number).to_string()))
        .map(|line| line + "\n")
        .collect()
}

/// Lengths that tell frames apart: one that is missing or comes twice shifts all behind it.
fn counted_len(number: u64) -> usize {
    60 + (number % 1399) as usize
}

#[test]
fn the_past_and_what_follows_are_one_stream_without_gap_or_overlap() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let store = format!("past={}", text(&dir));
    let ask = "SELECT len FROM past.packet THEN near.packet";
    let query = ["query", ask, "-i", "near", "--store", &store, "--ledger"];
    // Without a recorder nothing follows.
    record(&["-r", &text(&wt_tests::capture("dns.pcap"))], &scratch.path("other")).expect_status(0);
    let other = format!("past={}", text(&scratch.path("other")));
    let refused = netns.wiretable().args(["query", ask, "-i", "near", "--store", &other]).output();
    let refused = wt_tests::program::outcome(refused.unwrap());
    refused.expect_status(2).expect_said("no recorder").expect_said("wiretable record -i near");

    let more = ["--segment-size", "1MiB", "--ring", "64MiB"];
    let recorder = start(&netns, &dir, &more, 1);
    let sender = netns.sender("far").unwrap();
    let mut sent = 0;
    let mut queries: Vec<Running> = Vec::new();
    // Queries begin in the middle of it.
    for step in 0..60 {
        for _ in 0..100 {
            sender.send(&numbered(sent, counted_len(sent))).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
        if step % 15 == 7 {
            // No socket of their own: the recorder owns the capture.
            queries.push(Running::spawn(&netns, netns.wiretable().args(query), 1));
        }
    }
    for query in &queries {
        wait_until("all packets come", || query.stdout.text().lines().count() as u64 > sent);
    }
    // A window closes by the recorder's clock when nothing more comes.
    let windows = [
        "query",
        "SELECT tb, count(*) AS n FROM past.packet THEN near.packet GROUP BY time/1 AS tb",
        "-i",
        "near",
        "--store",
        &store,
    ];
    let windows = Running::spawn(&netns, netns.wiretable().args(windows), 1);
    wait_until("the windows close", || {
        let rows = windows.stdout.text();
        let counts = rows.lines().filter_map(|line| line.split_once(',')?.1.parse::<u64>().ok());
        counts.sum::<u64>() == sent
    });
    let last = queries.pop().unwrap();
    for query in queries {
        let ended = query.interrupt();
        assert!(ended.stdout == lengths(sent), "{}", ended.stdout.lines().count());
        expect_booked(&ended.stderr, "live", "past", &[("seen", sent), ("records", sent)]);
    }
    windows.interrupt();
    // When the recorder ends, so does what follows it.
    for _ in 0..50 {
        sender.send(&numbered(sent, counted_len(sent))).unwrap();
        sent += 1;
    }
    recorder.interrupt();
    let ended = last.end().expect_status(0);
    assert!(ended.stdout == lengths(sent), "{} of {sent}", ended.stdout.lines().count());
    // The store alone has the same, and ends.
    let alone = run(["query", "SELECT len FROM past.packet", "--store", &store]);
    assert!(alone.expect_status(0).expect_quiet().stdout == lengths(sent));
    // A store of two interfaces is not the past of one.
    netns.ip(&["link", "add", "quiet", "type", "veth", "peer", "name", "mute"]);
    netns.ip(&["link", "set", "quiet", "up"]);
    let both = scratch.path("both");
    let recorder = start(&netns, &both, &["-i", "quiet"], 2);
    let both = format!("past={}", text(&both));
    let refused = netns.wiretable().args(["query", ask, "-i", "near", "--store", &both]).output();
    let refused = wt_tests::program::outcome(refused.unwrap());
    refused.expect_status(1).expect_said("a store of its own");
    recorder.interrupt();
}

/// A packet from an address that is its number: as many flows as packets.
fn addressed(number: u32) -> Vec<u8> {
    let mut frame = vec![0; 14 + 20 + 8 + 22 + (number % 300) as usize];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    let len = (frame.len() - 14) as u16;
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..30].copy_from_slice(&number.to_be_bytes());
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame[34..40].copy_from_slice(&[
        0x30,
        0x39,
        0,
        53,
        (len - 20).to_be_bytes()[0],
        (len - 20).to_be_bytes()[1],
    ]);
    frame
}

/// Nearly as fast as one process can send, from two queues into segments that end many times a second, with queries that begin in the middle of it.
#[test]
fn the_seam_holds_under_load() {
    if !may_make() {
        return;
    }
    const QUERIES: usize = 4;
    /// Sent after the last query has begun.
    const FRAMES_AFTER: u32 = 100_000;
    const FRAMES_MAX: u32 = 2_000_000;
    const BURST: u32 = 1000;
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let store = format!("past={}", text(&dir));
    let more = ["--segment-size", "1MiB", "--ring", "512MiB", "--queues", "2"];
    let recorder = start(&netns, &dir, &more, 2);
    let sender = netns.sender("far").unwrap();
    let ask = "SELECT timestamp, srcIP FROM past.ip THEN near.ip";
    let query = ["query", ask, "-i", "near", "--store", &store];
    let begun = Arc::new(AtomicBool::new(false));
    let have_begun = Arc::clone(&begun);
    let sending = std::thread::spawn(move || {
        let (mut sent, mut last) = (0, FRAMES_MAX);
        while sent < last {
            (sent..sent + BURST).for_each(|number| sender.send(&addressed(number)).unwrap());
            sent += BURST;
            if last == FRAMES_MAX {
                if have_begun.load(Ordering::Relaxed) {
                    last = FRAMES_MAX.min(sent + FRAMES_AFTER);
                }
                // Queries shall begin before millions are sent.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        sent
    });
    let begin = |_| Running::spawn(&netns, netns.wiretable().args(query), 2);
    let queries: Vec<Running> = (0..QUERIES).map(begin).collect();
    begun.store(true, Ordering::Relaxed);
    let sent = sending.join().unwrap();
    assert!(sent < FRAMES_MAX, "queries began while frames were sent");
    let written = || -> u64 {
        let store = Store::open(&dir).unwrap();
        (0..2).filter_map(|writer| store.mark(writer)).map(|mark| mark.next).sum()
    };
    wait_until("all packets are written", || written() == u64::from(sent));
    recorder.interrupt();
    for query in queries {
        let ended = query.end().expect_status(0);
        let mut came = vec![false; sent as usize];
        let mut before = String::new();
        for line in ended.stdout.lines().skip(1) {
            let (stamp, address) = line.split_once(',').unwrap();
            let (second, fraction) = stamp.trim_end_matches('Z').split_once('.').unwrap();
            let stamp = format!("{second}.{fraction:0<9}");
            assert!(stamp >= before, "{line} behind {before}");
            before = stamp;
            let number = u32::from(address.parse::<Ipv4Addr>().unwrap());
            assert!(!std::mem::replace(&mut came[number as usize], true), "{number} came twice");
        }
        assert_eq!(came.iter().filter(|came| !**came).count(), 0, "packets are missing");
    }
}

/// A recorder without root's rights, whose segments nobody else may read; who may read everything follows it, and keeps of root's rights that one alone.
#[test]
fn a_store_of_another_user_is_followed() {
    if !may_make() {
        return;
    }
    const READ_SEARCH: u64 = 1 << 2;
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(65_534), Some(65_534)).unwrap();
    let mut other = netns.command("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    other.args(["--inh-caps=+net_raw", "--ambient-caps=+net_raw", "sh", "-c"]);
    other.arg(format!(
        "umask 077; exec {} record -i near -w {} --segment-size 1MiB",
        binary().display(),
        text(&dir)
    ));
    let recorder = Running::spawn(&netns, &mut other, 1);
    wait_for_recorder(&dir);
    let sender = netns.sender("far").unwrap();
    let send = |numbers: std::ops::Range<u64>| {
        numbers.for_each(|n| sender.send(&numbered(n, 1400)).unwrap());
    };
    send(0..2000);
    let store = format!("past={}", text(&dir));
    let ask = "SELECT len FROM past.packet THEN near.packet";
    let query = ["query", ask, "-i", "near", "--store", &store];
    let query = Running::spawn(&netns, netns.wiretable().args(query), 1);
    wait_until("what was recorded comes", || query.stdout.text().lines().count() > 2000);
    let status = std::fs::read_to_string(format!("/proc/{}/status", query.child.0.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("CapPrm"));
    let kept = line.and_then(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    assert_eq!(kept, Some(READ_SEARCH), "{status}");
    // Some segments later.
    send(2000..6000);
    wait_until("what is recorded comes", || query.stdout.text().lines().count() > 6000);
    let segments = Store::open(&dir).unwrap().segments().unwrap();
    assert!(segments.len() > 4, "{segments:?}");
    let ended = query.interrupt();
    assert_eq!(ended.stdout.lines().count(), 6001, "{}", ended.stderr);
    recorder.interrupt();
}
