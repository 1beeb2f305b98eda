//! Recording packets that end in the driver (`record --disposition drop`): each receive queue has an AF_XDP socket and a writer. Needs root; without it every
//! test says that it is skipped.

use std::path::Path;

use wt_tests::corpus::Scratch;
use wt_tests::live::{Running, booked, capturing, expect_booked, frames, send, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{outcome, run};
use wt_trace::index::Index;
use wt_trace::store::Store;
use wt_wire::MergedCaptures;

const DROP: [&str; 2] = ["--disposition", "drop"];

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Starts a recorder of an interface.
fn start(netns: &Netns, interface: &str, dir: &Path, more: &[&str]) -> Running {
    let store = text(dir);
    let arguments = ["record", "-i", interface, "-w", &store, "--ledger"];
    let running = Running::start(netns, &[&arguments[..], &DROP, more].concat(), 1);
    wait_until("the store says who records", || {
        Store::open(dir).is_ok_and(|store| store.recorder().is_some())
    });
    running
}

/// What a store holds, in time order: length on the wire and bytes.
fn stored(dir: &Path) -> Vec<(u32, Vec<u8>)> {
    let (readers, findings) = Store::open(dir).unwrap().captures().unwrap();
    let mut captures = MergedCaptures::new(readers);
    let (mut all, mut last_ns) = (Vec::new(), 0);
    while let Some(sourced) = captures.next().unwrap() {
        let record = sourced.record;
        assert!(record.timestamp_ns >= last_ns, "stamps step back");
        last_ns = record.timestamp_ns;
        all.push((record.len, record.data.to_vec()));
    }
    assert_eq!(findings.all(), []);
    all
}

/// UDP from port `flow`, so many bytes long.
fn udp(flow: u16, bytes: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let [high, low] = ((bytes - 14) as u16).to_be_bytes();
    frame.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(flow.to_be_bytes());
    frame.extend([7, 208]);
    frame.extend(((bytes - 34) as u16).to_be_bytes());
    frame.resize(bytes, b'.');
    frame
}

#[test]
fn every_packet_that_ends_in_the_driver_is_recorded() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let frames: Vec<_> = (0..20_000_u16).map(|n| udp(n, 60 + usize::from(n % 1400))).collect();
    let more = ["--packets", "20000", "--segment-size", "4MiB", "--ring", "64MiB"];
    let running = start(&netns, "near", &dir, &more);
    send(&netns, "far", &frames);
    let ended = running.end().expect_status(0);
    let counts =
        [("received", 20_000), ("kernel dropped", 0), ("captured", 20_000), ("written", 20_000)];
    expect_booked(&ended.stderr, "writer", "near", &counts);
    assert!(stored(&dir).iter().map(|(_, data)| data).eq(&frames));
    let segments = Store::open(&dir).unwrap().segments().unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    for segment in segments {
        assert!(Index::open(&segment.path).unwrap().is_whole());
    }
    assert_eq!(capturing(&netns), 0, "the program is gone");
}

#[test]
fn conditions_are_judged_in_the_driver_and_behind_it() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let sent = frames("http.pcap");
    let count = sent.len().to_string();
    let trace = text(&wt_tests::capture("http.pcap"));
    // The last one cannot be judged in the driver: its address cannot, its payload neither.
    for (number, condition) in [
        &["--filter", "tcp dst port 80"][..],
        &["--protocol", "tcp", "--where", "destPort = 80 AND len > 100"],
        &["--protocol", "tcp", "--where", "destPort = 80 AND str_regex_match[data, '^GET ']"],
    ]
    .into_iter()
    .enumerate()
    {
        let expected = scratch.path(&format!("expected{number}.pcapng"));
        let extract = ["extract", "-r", &trace, "-o", &text(&expected)];
        run([&extract[..], condition].concat()).expect_status(0);
        let mut expected = wt_wire::CaptureReader::open(&expected).unwrap();
        let mut wanted = Vec::new();
        while let Some(record) = expected.next().unwrap() {
            wanted.push(record.data[..record.data.len().min(70)].to_vec());
        }
        let dir = scratch.path(&format!("store{number}"));
        let more = ["--packets", &count, "--snaplen", "70"];
        let running = start(&netns, "near", &dir, &[&more[..], condition].concat());
        send(&netns, "far", &sent);
        // What the program ends itself is never taken, so the number of packets ends nothing.
        wait_until("the packets come", || {
            let store = Store::open(&dir).unwrap();
            store.mark(0).is_some_and(|mark| mark.next == wanted.len() as u64)
        });
        let ended = running.interrupt();
        let kept: Vec<_> = stored(&dir).into_iter().map(|(_, data)| data).collect();
        assert!(!wanted.is_empty() && kept == wanted, "{condition:?}");
        let all = sent.len() as u64;
        let written = wanted.len() as u64;
        let counts = [
            ("received", all),
            ("kernel dropped", 0),
            ("captured", all),
            ("written", written),
            ("filtered", all - written),
        ];
        expect_booked(&ended.stderr, "writer", "near", &counts);
    }
}

#[test]
fn each_receive_queue_has_a_writer() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    netns.add_wide_pair("2");
    let frames: Vec<_> = (0..3000).map(|flow| udp(flow, 60)).collect();
    let running = start(&netns, "wide", &dir, &["--packets", "3000"]);
    send(&netns, "peer", &frames);
    let ended = running.end().expect_status(0);
    let of = |queue: u32, column: &str| {
        let row = booked(&ended.stderr, "writer", &format!("wide queue {queue}"));
        row.into_iter().find(|(known, _)| known == column).unwrap().1
    };
    assert!(of(0, "written") > 0 && of(1, "written") > 0, "{}", ended.stderr);
    assert_eq!(of(0, "written") + of(1, "written"), 3000);
    assert_eq!(of(0, "received") + of(1, "received"), 3000);
    let mut found: Vec<_> = stored(&dir).into_iter().map(|(_, data)| data).collect();
    found.sort();
    assert!(found == frames);
}

#[test]
fn what_frames_cannot_hold_is_counted_and_long_packets_come_whole() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("flood");
    let running = start(&netns, "near", &dir, &["--ring", "512KiB"]);
    // Nothing is read while the recorder is stopped.
    running.suspend();
    let sender = netns.sender("far").unwrap();
    (0..20_000).for_each(|n| sender.send(&udp(n, 100)).unwrap());
    running.resume();
    // It goes on, which may take a while on a busy machine.
    let mut sent = 20_000;
    wait_until("packets come that were sent since", || {
        (0..100).for_each(|n| sender.send(&udp(n, 100)).unwrap());
        sent += 100;
        Store::open(&dir).unwrap().mark(0).is_some_and(|mark| mark.next > 256)
    });
    let ended = running.interrupt();
    let row = booked(&ended.stderr, "writer", "near");
    let of = |column: &str| row.iter().find(|(known, _)| known == column).unwrap().1;
    assert_eq!(of("received"), sent, "{}", ended.stderr);
    assert!(of("kernel dropped") > 0, "{}", ended.stderr);
    assert_eq!(of("kernel dropped") + of("written"), sent, "{}", ended.stderr);
    assert_eq!(stored(&dir).len() as u64, of("written"));

    for interface in ["near", "far"] {
        netns.ip(&["link", "set", interface, "mtu", "9000"]);
    }
    let dir = scratch.path("long");
    let frames: Vec<_> = [60, 1514, 3000, 3900, 6000, 9014].map(|bytes| udp(7, bytes)).to_vec();
    let running = start(&netns, "near", &dir, &["--packets", "6"]);
    send(&netns, "far", &frames);
    running.end().expect_status(0);
    assert!(stored(&dir).iter().map(|(_, data)| data).eq(&frames));
}

#[test]
fn an_interface_that_comes_back_is_recorded_on_and_the_recorder_followed() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let recorder = start(&netns, "near", &dir, &[]);
    let store = format!("past={}", text(&dir));
    let ask = "SELECT len FROM past.packet THEN near.packet";
    let query = ["query", ask, "-i", "near", "--store", &store];
    let query = Running::spawn(&netns, netns.wiretable().args(query), 1);
    let come = |count: usize| {
        wait_until("packets come", || query.stdout.text().lines().count() > count);
    };
    let frames: Vec<_> = (0..100).map(|n| udp(n, 60 + usize::from(n))).collect();
    send(&netns, "far", &frames[..50]);
    come(50);
    netns.ip(&["link", "delete", "near"]);
    wait_until("the loss is told", || recorder.stderr.text().contains("near is gone"));
    netns.add_pair();
    wait_until("the return is told", || recorder.stderr.text().contains("near is back"));
    send(&netns, "far", &frames[50..]);
    come(100);
    let ended = recorder.interrupt();
    expect_booked(&ended.stderr, "writer", "near", &[("received", 100), ("written", 100)]);
    let ended = query.end().expect_status(0);
    let lengths: Vec<usize> = ended.stdout.lines().skip(1).map(|l| l.parse().unwrap()).collect();
    assert!(lengths.iter().eq(&(60..160).collect::<Vec<_>>()), "{lengths:?}");
}

#[test]
fn what_cannot_end_in_a_driver_is_refused() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = text(&scratch.path("store"));
    let taken = netns.xdp_socket("near").unwrap();
    let trace = text(&wt_tests::capture("dns.pcap"));
    for (arguments, status, said) in [
        (&["-i", "near", "--capture", "xdp"][..], 1, "--disposition drop"),
        (&["-i", "near", "--capture", "socket", "--disposition", "drop"], 1, "--capture xdp"),
        (&["-i", "near", "--disposition", "drop", "--queues", "2"], 1, "--queues"),
        (&["-i", "lo", "--disposition", "drop"], 2, "no driver"),
        (&["-i", "near", "--disposition", "drop"], 2, "socket of another program"),
        (&["-r", &trace, "--disposition", "drop"], 1, "for interfaces"),
    ] {
        let mut command = netns.wiretable();
        let refused = command.args(["record", "-w", &dir]).args(arguments).output().unwrap();
        outcome(refused).expect_status(status).expect_no_output().expect_said(said);
        assert!(!Path::new(&dir).exists(), "{arguments:?}");
    }
    drop(taken);
}
