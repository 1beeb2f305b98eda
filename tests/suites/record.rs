//! The recorder as a user meets it: traces and interfaces into stores, other tools on its segments, kills, full disks.
//!
//! What captures from interfaces or mounts a disk needs root; without it those tests say that they are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use wt_tests::corpus::{Scratch, carried, is_damaged, short_name};
use wt_tests::live::{Running, expect_booked, send, wait_until};
use wt_tests::netns::{Netns, may_make, signal};
use wt_tests::program::{Outcome, run};
use wt_tests::rng::Rng;
use wt_trace::index::{self, Index};
use wt_trace::store::{Finding, Segment, Store};
use wt_wire::{CaptureReader, MergedCaptures};

/// A packet as any capture gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    timestamp_ns: u64,
    len: u32,
    link_type: u16,
    data: Vec<u8>,
}

/// All packets of captures, merged in time order, as far as they are good.
fn packets(readers: Vec<CaptureReader>) -> Vec<Packet> {
    let mut captures = MergedCaptures::new(readers);
    let mut packets = Vec::new();
    loop {
        match captures.next() {
            Ok(None) => return packets,
            Ok(Some(sourced)) => {
                let record = sourced.record;
                packets.push(Packet {
                    timestamp_ns: record.timestamp_ns,
                    len: record.len,
                    link_type: record.link_type.0,
                    data: record.data.to_vec(),
                });
            }
            Err(_) => {}
        }
    }
}

fn stored(dir: &Path) -> (Vec<Packet>, Vec<Finding>) {
    let (readers, findings) = Store::open(dir).unwrap().captures().unwrap();
    let packets = packets(readers);
    (packets, findings.all())
}

fn segments(dir: &Path) -> Vec<Segment> {
    Store::open(dir).unwrap().segments().unwrap()
}

fn record(arguments: &[&str], dir: &Path) -> Outcome {
    let dir = dir.display().to_string();
    run([&["record", "-w", &dir], arguments].concat())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_recorded_trace_is_the_trace() {
    let scratch = Scratch::new().unwrap();
    for (number, path) in carried().iter().enumerate() {
        let Ok(reader) = CaptureReader::open(path) else { continue };
        let dir = scratch.path(&number.to_string());
        let status = i32::from(is_damaged(path));
        let outcome = record(&["-r", &text(path)], &dir);
        assert!(outcome.status <= status, "{}: {}", short_name(path), outcome.stderr);
        let expected = packets(vec![reader]);
        let (found, findings) = stored(&dir);
        assert!(found == expected && findings.is_empty(), "{}", short_name(path));
        // The segments alone are what any reader of pcapng takes.
        let plain = segments(&dir);
        let plain = plain.iter().map(|segment| CaptureReader::open(&segment.path).unwrap());
        assert!(packets(plain.collect()) == expected, "{}", short_name(path));
    }
}

#[test]
fn several_traces_become_one_in_time_order_and_answer_queries() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let traces = ["eth0.pcap", "eth1.pcap", "tls.pcap.zst"].map(wt_tests::capture);
    let arguments = traces.iter().flat_map(|path| ["-r".to_owned(), text(path)]);
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = record(&[&arguments[..], &["--ledger", "--compress"]].concat(), &dir);
    let said = said.expect_status(0).expect_no_output().expect_said("recorded ");
    let expected = packets(traces.iter().map(|path| CaptureReader::open(path).unwrap()).collect());
    assert_eq!(stored(&dir).0, expected);
    let count = expected.len() as u64;
    expect_booked(
        &said.stderr,
        "writer",
        "traces",
        &[("captured", count), ("written", count), ("lost (buffer)", 0), ("lost (disk)", 0)],
    );
    let dir_text = text(&dir);
    for query in [
        "SELECT count(*) AS n, sum(len) AS bytes FROM packet",
        "SELECT tb, srcIP, count(*) AS n FROM tcp GROUP BY time/60 AS tb, srcIP",
    ] {
        let of_store = run(["query", query, "-r", &dir_text]).expect_status(0).expect_quiet();
        let of_traces = run([&["query", query][..], &arguments].concat()).expect_status(0);
        assert_eq!(of_store.stdout, of_traces.stdout);
    }
    // A store is recorded as any trace, cut shorter.
    let short = scratch.path("short");
    record(&["-r", &dir_text, "--snaplen", "40"], &short).expect_status(0);
    let cut = |mut packet: Packet| {
        packet.data.truncate(40);
        packet
    };
    assert_eq!(stored(&short).0, expected.into_iter().map(cut).collect::<Vec<_>>());
    let info = run(["store", "info", &dir_text]).expect_status(0).stdout;
    assert!(info.contains(&format!("packets     {count}\n")), "{info}");
    let list = run(["store", "list", &dir_text]).expect_status(0).stdout;
    assert_eq!(list.lines().count(), 1 + segments(&dir).len(), "{list}");
}

#[test]
fn other_tools_read_every_segment() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let trace = text(&big_trace(&scratch, 60_000));
    record(&["-r", &trace, "--segment-size", "1MiB"], &dir).expect_status(0);
    let segments = segments(&dir);
    assert!(segments.len() > 3);
    let mut counted = 0;
    for segment in &segments {
        let path = text(&segment.path);
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).arg(&path).output();
            let output = output.unwrap_or_else(|_| panic!("{program}: .ci/setup installs it"));
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program}: {error}");
            (String::from_utf8_lossy(&output.stdout).into_owned(), error)
        };
        let (read, error) = output("tshark", &["-T", "fields", "-e", "frame.time_epoch", "-r"]);
        let complaint = |error: &str| error.to_lowercase().contains("cut short");
        assert!(!complaint(&error), "{error}");
        let (about, error) = output("capinfos", &["-M", "-c", "-t"]);
        assert!(about.contains("pcapng") && !complaint(&error), "{about}{error}");
        let (dumped, _) = output("tcpdump", &["-n", "-r"]);
        let count = read.lines().count();
        // What is no protocol of its own is shown in lines that are indented.
        assert_eq!(dumped.lines().filter(|line| !line.starts_with('\t')).count(), count);
        assert!(about.lines().any(|line| line.ends_with(&format!(" {count}"))), "{about}");
        counted += count;
    }
    assert_eq!(counted, 60_000);
}

/// A trace of numbered packets.
fn big_trace(scratch: &Scratch, count: u64) -> PathBuf {
    let path = scratch.path("numbered.pcap");
    let file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    let mut writer = wt_wire::PcapWriter::new(
        file,
        wt_wire::PcapVariant::Nano,
        wt_wire::ByteOrder::Little,
        wt_wire::LinkType(1),
        65_535,
    )
    .unwrap();
    for number in 0..count {
        let frame = numbered(number, 60 + (number % 40) as usize);
        writer
            .write(1_795_000_000_000_000_000 + number * 1000, frame.len() as u32, &frame)
            .unwrap();
    }
    std::io::Write::flush(&mut writer.into_inner()).unwrap();
    path
}

/// A frame that says its number.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..22].copy_from_slice(&number.to_be_bytes());
    frame
}

/// The number that a frame says.
fn number_of(packet: &Packet) -> u64 {
    u64::from_be_bytes(packet.data[14..22].try_into().unwrap())
}

#[test]
fn what_is_not_wanted_is_left_out_and_counted() {
    let scratch = Scratch::new().unwrap();
    let traces = ["eth0.pcap", "vlan.pcap", "any-sll2.pcap"].map(wt_tests::capture);
    let reads: Vec<String> = traces.iter().flat_map(|t| ["-r".to_owned(), text(t)]).collect();
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    let all = packets(traces.iter().map(|path| CaptureReader::open(path).unwrap()).collect());
    for (number, (arguments, from, condition)) in [
        (&["--filter", "tcp port 80 or vlan"][..], "packet", "pcap_filter('tcp port 80 or vlan')"),
        (&["--where", "len > 300 OR time % 2 = 0"], "packet", "len > 300 OR time % 2 = 0"),
        (
            &["--protocol", "tcp", "--where", "destPort = 443 AND str_regex_match[data, 'a.*b']"],
            "tcp",
            "destPort = 443 AND str_regex_match[data, 'a.*b']",
        ),
        (
            &["--filter", "ip", "--protocol", "ip", "--where", "protocol = 17", "--snaplen", "20"],
            "ip",
            "pcap_filter('ip') AND protocol = 17",
        ),
        (&["--filter", "host 203.0.113.99"], "packet", "FALSE"),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = scratch.path(&number.to_string());
        let said = record(&[&reads[..], arguments, &["--ledger"]].concat(), &dir).expect_status(0);
        let (found, findings) = stored(&dir);
        assert!(findings.is_empty());
        // A query over the traces says which they are.
        let query = format!("SELECT timestamp AS t FROM {from} WHERE {condition}");
        let rows = run([&["query", &query][..], &reads, &["--format", "ndjson"]].concat());
        let times: Vec<_> = rows.expect_status(0).stdout.lines().map(str::to_owned).collect();
        assert_eq!(found.len(), times.len(), "{arguments:?}");
        let mut rest = all.iter();
        let snap = if arguments.contains(&"--snaplen") { 20 } else { usize::MAX };
        let is_in_order = found.iter().all(|packet| {
            rest.any(|other| {
                let data = &other.data[..other.data.len().min(snap)];
                packet.timestamp_ns == other.timestamp_ns && packet.data == data
            })
        });
        assert!(is_in_order, "{arguments:?}");
        let count = all.len() as u64;
        let written = found.len() as u64;
        let counts = [("captured", count), ("written", written), ("filtered", count - written)];
        expect_booked(&said.stderr, "writer", "traces", &counts);
    }
    let dir = scratch.path("wrong");
    for (arguments, said) in [
        (["--filter", "no such thing"], "syntax error"),
        (["--where", "destPrt = 1"], "unknown-field"),
        (["--where", "len >"], "error["),
    ] {
        record(&[&reads[..], &arguments].concat(), &dir).expect_status(1).expect_said(said);
        assert!(!dir.exists());
    }
}

#[test]
fn what_cannot_be_recorded_leaves_no_store() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let trace = text(&wt_tests::capture("dns.pcap"));
    for (arguments, status, said) in [
        (&["-r", "no-such-file.pcap"][..], 2, "no-such-file.pcap"),
        (&["-i", "no-such-interface"], 2, "no-such-interface"),
        (&["-r", &trace, "--for", "1s"], 1, "--for"),
        (&["-r", &trace, "--queues", "2"], 1, "--queues"),
        (&["-r", &trace, "--on-full", "pause"], 1, "--on-full pause"),
        (&["-r", &trace, "--keep-bytes", "1MiB"], 1, "two segments"),
        (&["-r", &trace, "--segment-size", "1"], 2, "not from 1MiB"),
        (&["-r", &trace, "--index-ratio", "4KiB"], 2, "not from 64KiB"),
        (&["-r", &trace, "--ring", "60s"], 1, "can be read again"),
        (&["-i", "lo", "--ring", "60m"], 2, "minutes or mebibytes"),
        (&["-i", "lo", "--ring", "60s", "--pre-trigger", "5s"], 1, "given twice"),
        (&["-i", "lo", "--ring", "1MiB", "--ring", "2MiB"], 1, "two sizes"),
        (&["-i", "lo", "--pre-trigger-size", "64MiB"], 1, "--ring 60s"),
    ] {
        record(arguments, &dir).expect_status(status).expect_no_output().expect_said(said);
        assert!(!dir.exists(), "{arguments:?}");
    }
    let strange = scratch.path("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("notes.txt"), "mine").unwrap();
    record(&["-r", &trace], &strange).expect_status(1).expect_said("notes.txt").expect_said("help");
    assert_eq!(fs::read_dir(&strange).unwrap().count(), 1);
    run(["query", "SELECT len FROM packet", "-r", &text(&strange)])
        .expect_status(2)
        .expect_said("wiretable-store.toml");
}

#[test]
fn damage_is_reported_and_fails_unless_lenient() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    record(&["-r", &text(&wt_tests::capture("http.pcap"))], &dir).expect_status(0);
    let path = &segments(&dir)[0].path;
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
    let query = ["query", "SELECT count(*) AS n FROM packet", "-r", &text(&dir)];
    let refused = run(query).expect_status(1).expect_said("are damaged and were left out");
    let lenient = run([&query[..], &["--lenient"]].concat()).expect_status(0);
    assert_eq!(refused.stdout, lenient.stdout);
}

#[test]
fn pins_are_set_shown_and_taken_back() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    record(&["-r", &text(&wt_tests::capture("dns.pcap"))], &dir).expect_status(0);
    let dir = text(&dir);
    let pin = |arguments: &[&str]| run([&["store", "pin", &dir], arguments].concat());
    pin(&["seven", "--from", "2026-11-21T10:00:00Z", "--to", "2026-11-22"]).expect_status(0);
    pin(&["late", "--from", "-10m"]).expect_status(0);
    pin(&["odd", "--from", "yesterday"]).expect_status(1).expect_said("is no time");
    pin(&["odd", "--from", "now", "--to", "2026-01-01"]).expect_status(1).expect_said("later than");
    let info = run(["store", "info", &dir]).expect_status(0).stdout;
    assert!(info.contains("seven: 2026-11-21T10:00:00Z to 2026-11-22T00:00:00Z"), "{info}");
    let list = run(["store", "list", &dir]).expect_status(0).stdout;
    assert!(list.ends_with(",pinned\n"), "{list}");
    run(["store", "unpin", &dir, "none"]).expect_status(1).expect_said("there are: late, seven");
    run(["store", "unpin", &dir, "seven"]).expect_status(0);
}

// ── Interfaces ──────────────────────────────────────────────────────────────────────────────────────────────

/// Starts a recorder of `near`.
fn start(netns: &Netns, dir: &Path, more: &[&str], queues: usize) -> Running {
    let store = text(dir);
    let arguments = ["record", "-i", "near", "-w", &store, "--ledger"];
    let running = Running::start(netns, &[&arguments[..], more].concat(), queues);
    let pid = i64::from(running.child.0.id());
    wait_until("the store says who records", || {
        let recorder = Store::open(dir).ok().and_then(|store| store.recorder());
        recorder.is_some_and(|run| run.get("pid").and_then(|pid| pid.as_integer()) == Some(pid))
    });
    running
}

#[test]
fn every_packet_of_the_wire_is_recorded() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let frames: Vec<_> = (0..20_000).map(|n| numbered(n, 60 + (n % 1400) as usize)).collect();
    let dir = scratch.path("one");
    let more = ["--packets", "20000", "--segment-size", "4MiB", "--ring", "64MiB"];
    let running = start(&netns, &dir, &more, 1);
    send(&netns, "far", &frames);
    let ended = running.end().expect_status(0);
    let counts = [
        ("received", 20_000),
        ("kernel dropped", 0),
        ("captured", 20_000),
        ("written", 20_000),
        ("lost (buffer)", 0),
    ];
    expect_booked(&ended.stderr, "writer", "near", &counts);
    let (found, findings) = stored(&dir);
    assert!(findings.is_empty());
    assert!(found.iter().map(|packet| &packet.data).eq(&frames));
    // The kernel's counts stand at the end of each segment.
    let last = text(&segments(&dir).last().unwrap().path);
    let about = Command::new("tshark").args(["-r", &last, "-c", "1"]).output().unwrap();
    assert!(about.status.success());

    // Flows are shared by sockets; each writer numbers its own, and together they have all.
    let dir = scratch.path("shared");
    let running = start(&netns, &dir, &["--queues", "2", "--snaplen", "60"], 2);
    send(&netns, "far", &frames[..5000]);
    wait_until("the packets come", || {
        let store = Store::open(&dir).unwrap();
        (0..2).filter_map(|writer| store.mark(writer)).map(|mark| mark.next).sum::<u64>() == 5000
    });
    // A store is read while it is written, and not written by two.
    let (found, findings) = stored(&dir);
    assert!(findings.is_empty() && found.len() == 5000);
    let second = netns.wiretable().args(["record", "-i", "near", "-w", &text(&dir)]).output();
    let second = wt_tests::program::outcome(second.unwrap());
    second.expect_status(2).expect_said("another recorder writes to").expect_said("process");
    let ended = running.interrupt();
    assert!(ended.stderr.contains("recorded 5000 packets"), "{}", ended.stderr);
    let mut numbers: Vec<_> = found.iter().map(number_of).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..5000));
    assert!(found.iter().all(|packet| packet.data.len() == 60));
}

#[test]
fn the_kernel_leaves_out_what_a_filter_refuses_and_tags_are_judged_as_on_the_wire() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let names = ["vlan.pcap", "http.pcap", "dns.pcap"];
    let frames: Vec<_> = names.iter().flat_map(|name| wt_tests::live::frames(name)).collect();
    let reads = names.map(|name| text(&wt_tests::capture(name)));
    for (number, expression) in
        ["tcp port 80", "vlan", "udp port 53 or vlan 100", "udp and not vlan"].iter().enumerate()
    {
        let dir = scratch.path(&format!("live{number}"));
        let running = start(&netns, &dir, &["--filter", expression, "--ring", "64MiB"], 1);
        send(&netns, "far", &frames);
        let file = scratch.path(&format!("file{number}"));
        let mut expected = Vec::new();
        for read in &reads {
            let dir = file.join(Path::new(read).file_stem().unwrap());
            record(&["-r", read, "--filter", expression], &dir).expect_status(0);
            expected.extend(stored(&dir).0.into_iter().map(|packet| packet.data));
        }
        let count = expected.len() as u64;
        assert!(count > 0 && count < frames.len() as u64, "{expression}: {count}");
        let store = || Store::open(&dir).unwrap();
        wait_until("the packets come", || store().mark(0).is_some_and(|m| m.next == count));
        let ended = running.interrupt();
        let found: Vec<_> = stored(&dir).0.into_iter().map(|packet| packet.data).collect();
        assert!(found == expected, "{expression}");
        let booked: std::collections::HashMap<String, u64> =
            wt_tests::live::booked(&ended.stderr, "writer", "near").into_iter().collect();
        assert_eq!(booked["written"], count);
        // Of what has no tag the kernel gives only what is wanted.
        assert!(booked["received"] < frames.len() as u64, "{expression}: {booked:?}");
        assert_eq!(booked["received"], booked["written"] + booked["filtered"]);
    }
}

#[test]
fn what_came_before_is_saved_when_someone_asks() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let socket = text(&scratch.path("control.sock"));
    let more = ["--ring", "60s", "--ring", "8MiB", "--control", &socket];
    let running = start(&netns, &dir, &more, 1);
    let frames: Vec<_> = (0..900).map(|n| numbered(n, 100)).collect();
    send(&netns, "far", &frames[..500]);
    let ctl = |arguments: &[&str]| run([&["ctl", "-s", &socket], arguments].concat());
    wait_until("the packets come", || {
        let ledger = ctl(&["ledger"]).expect_status(0).stdout;
        wt_tests::live::booked(&ledger, "writer", "near").contains(&("written".to_owned(), 500))
    });
    // What was, and nothing else; no segment was written meanwhile.
    let said = ctl(&["save", "before", "--from", "-30s"]).expect_status(0).stdout;
    assert!(said.starts_with("saved 500 packets from "), "{said}");
    let saved = |name: &str| {
        let path = dir.join("saved").join(format!("{name}.pcapng"));
        path.exists().then(|| packets(vec![CaptureReader::open(&path).unwrap()]))
    };
    assert!(saved("before").unwrap().iter().map(number_of).eq(0..500));
    assert_eq!(segments(&dir), []);
    // What was, and what comes.
    let said = ctl(&["save", "around", "--from", "-30s", "--to", "+1s"]).expect_status(0).stdout;
    assert!(said.starts_with("saving until "), "{said}");
    assert_eq!(saved("around"), None);
    send(&netns, "far", &frames[500..800]);
    wait_until("the end of the save passes", || saved("around").is_some());
    assert!(saved("around").unwrap().iter().map(number_of).eq(0..800));
    let tshark = Command::new("tshark")
        .args(["-r", &text(&dir.join("saved/around.pcapng")), "-T", "fields", "-e", "frame.len"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&tshark.stdout).lines().count(), 800);
    ctl(&["save", "before", "--from", "-30s"]).expect_status(1).expect_said("is there already");
    ctl(&["save", "../out", "--from", "-30s"]).expect_status(1).expect_said("no name");
    ctl(&["save", "odd", "--from", "soon"]).expect_status(1).expect_said("is no time");
    ctl(&["list"]).expect_status(1).expect_said("is a recorder");
    // A save that waits is written at the end as it is.
    ctl(&["save", "last", "--from", "-30s", "--to", "+1h"]).expect_status(0);
    send(&netns, "far", &frames[800..]);
    wait_until("the packets come", || {
        let ledger = ctl(&["ledger"]).expect_status(0).stdout;
        wt_tests::live::booked(&ledger, "writer", "near").contains(&("written".to_owned(), 900))
    });
    let ended = running.interrupt();
    ended.expect_said("kept 900 packets in memory");
    assert!(saved("last").unwrap().iter().map(number_of).eq(0..900));

    // A recorder that writes keeps the time from being deleted.
    let running = start(&netns, &dir, &["--control", &socket], 1);
    send(&netns, "far", &frames[..10]);
    ctl(&["save", "incident", "--from", "-30s"]).expect_status(0);
    running.interrupt();
    let list = run(["store", "list", &text(&dir)]).expect_status(0).stdout;
    assert!(list.ends_with(",pinned\n"), "{list}");
}

/// Indices, also those that were left half written, say of their segments what a scan says.
fn expect_true_indices(dir: &Path) {
    for segment in segments(dir) {
        // The last one may have been killed before there was anything in it.
        let Ok(index) = Index::open(&segment.path) else { continue };
        let scanned = index::scan(&segment.path, index.ratio(), &mut |_| {}).unwrap();
        assert!(scanned.starts_with(&index.entries()), "{}", segment.path.display());
    }
}

#[test]
fn a_killed_recorder_loses_nothing_that_it_had_written() {
    if !may_make() {
        return;
    }
    let runs = if std::env::var_os("WT_SOAK").is_some_and(|soak| soak == "1") { 200 } else { 10 };
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    let mut rng = Rng::new(77);
    let mut sent = 0;
    let mut kept: Vec<u64> = Vec::new();
    let sender = netns.sender("far").unwrap();
    for _ in 0..runs {
        let more = ["--segment-size", "1MiB", "--sync-interval", "20ms", "--index-ratio", "64KiB"];
        let mut running = start(&netns, &dir, &more, 1);
        let first = sent;
        let stop_after = first + 200 + rng.below(6000) as u64;
        while sent < stop_after {
            sender.send(&numbered(sent, 200)).unwrap();
            sent += 1;
            if sent % 500 == 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        std::thread::sleep(Duration::from_millis(rng.below(150) as u64));
        signal(running.child.0.id(), 9).unwrap();
        running.child.0.wait().unwrap();
        let store = Store::open(&dir).unwrap();
        assert!(!store.is_recorded());
        let mark = store.mark(0).unwrap();
        let (found, findings) = stored(&dir);
        assert!(findings.iter().all(|finding| !finding.is_loss()), "{findings:?}");
        let numbers: Vec<_> = found.iter().map(number_of).collect();
        // What was written is there, and the rest is a piece of what was sent, from its first packet on.
        assert!(numbers.starts_with(&kept), "what was there before");
        let of_run = &numbers[kept.len()..];
        assert!(of_run.iter().copied().eq(first..first + of_run.len() as u64));
        assert!(mark.next <= numbers.len() as u64 && mark.synced <= mark.next, "{mark:?}");
        assert!(found.iter().all(|packet| packet.data == numbered(number_of(packet), 200)));
        expect_true_indices(&dir);
        kept = numbers;
    }
    assert!(kept.len() > 200 * runs / 2, "{} of {sent}", kept.len());
    // The next recorder closes what was left, and all of it stays.
    let store = Store::open(&dir).unwrap();
    let mut left = store.segments().unwrap();
    left.retain(|segment| store.summary(segment).is_none());
    let (with_packets, empty): (Vec<_>, Vec<_>) =
        left.iter().partition(|segment| segment.name.first < kept.len() as u64);
    let running = start(&netns, &dir, &[], 1);
    let ended = running.interrupt();
    // Killed between two segments, it leaves none.
    let said = |what: &str| ended.stderr.matches(what).count();
    assert_eq!(said("had not been closed: closed and indexed"), with_packets.len());
    assert_eq!(said("had not been closed: deleted"), empty.len());
    run(["index", "verify", &text(&dir)]).expect_status(0);
    let (found, findings) = stored(&dir);
    assert!(findings.is_empty(), "{findings:?}");
    assert!(found.iter().map(number_of).eq(kept));
}

#[test]
fn a_store_has_a_name_in_queries_and_batches() {
    let scratch = Scratch::new().unwrap();
    let dir = scratch.path("store");
    record(&["-r", &text(&wt_tests::capture("http.pcap"))], &dir).expect_status(0);
    let store = format!("past={}", text(&dir));
    let ask = "SELECT count(*) AS n, sum(len) AS bytes FROM past.tcp";
    let of_store = run(["query", ask, "--store", &store]).expect_status(0).expect_quiet();
    let capture = format!("past={}", text(&wt_tests::capture("http.pcap")));
    assert_eq!(of_store.stdout, run(["query", ask, "-r", &capture]).expect_status(0).stdout);
    let batch = scratch.path("batch.toml");
    let lines = format!(
        "[store.past]\npath = '{}'\n[[query]]\ntext = '{ask}'\n",
        dir.file_name().unwrap().display()
    );
    fs::write(&batch, lines).unwrap();
    assert_eq!(run(["run", &text(&batch)]).expect_status(0).stdout, of_store.stdout);
    let explained = run(["explain", ask, "--store", &store]).expect_status(0).stdout;
    assert!(explained.contains("past.tcp"), "{explained}");
    for (arguments, said) in [
        (&["query", ask, "--store", "/nowhere"][..], "names no store"),
        (&["query", ask, "--store", &store, "-r", &capture], "a store and an interface"),
        (&["query", ask, "--store", &store, "--store", &store], "given twice"),
        (&["query", "SELECT len FROM store.tcp", "--store", &store], "--store store=DIR"),
        (&["query", "SELECT len FROM past.tcp THEN past.tcp", "--store", &store], "THEN stands"),
    ] {
        run(arguments).expect_status(1).expect_no_output().expect_said(said);
    }
}

/// A small disk of its own, in a file.
struct Disk {
    mount: PathBuf,
}

impl Disk {
    fn new(scratch: &Scratch, bytes: u64) -> Self {
        let image = scratch.path("disk.img");
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        let mount = scratch.path("disk");
        fs::create_dir(&mount).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {error}");
        };
        run("mkfs.ext4", &["-q", "-m", "0", &text(&image)]);
        run("mount", &["-o", "loop", &text(&image), &text(&mount)]);
        Self { mount }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).output();
    }
}

#[test]
fn a_full_disk_costs_packets_that_are_counted_and_nothing_else() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let scratch = Scratch::new().unwrap();
    let disk = Disk::new(&scratch, 24 << 20);
    let filler = disk.mount.join("filler");
    fs::write(&filler, vec![7; 6 << 20]).unwrap();
    let dir = disk.mount.join("store");
    let running = start(&netns, &dir, &["--segment-size", "2MiB", "--ring", "64MiB"], 1);
    let mut sent = 0;
    let mut send_some = |count: u64| {
        let frames: Vec<_> = (sent..sent + count).map(|n| numbered(n, 1400)).collect();
        send(&netns, "far", &frames);
        sent += count;
        sent
    };
    wait_until("the disk is full", || {
        send_some(500);
        running.stderr.text().contains("is full; packets are lost")
    });
    // Queries go on meanwhile.
    let answer = run(["query", "SELECT count(*) AS n FROM packet", "-r", &text(&dir)]);
    let before: u64 =
        answer.expect_status(0).expect_quiet().stdout.lines().nth(1).unwrap().parse().unwrap();
    assert!(before > 1000);
    send_some(500);
    fs::remove_file(filler).unwrap();
    let mut all = 0;
    wait_until("it goes on by itself", || {
        all = send_some(50);
        running.stderr.text().contains("there is room on the disk again")
    });
    let ended = running.interrupt();
    let store = Store::open(&dir).unwrap();
    let (found, findings) = stored(&dir);
    assert!(findings.is_empty(), "{findings:?}");
    let written = found.len() as u64;
    let counts = [
        ("received", all),
        ("captured", all),
        ("written", written),
        ("lost (buffer)", 0),
        ("lost (disk)", all - written),
    ];
    expect_booked(&ended.stderr, "writer", "near", &counts);
    assert!(written > before && written < all);
    let numbers: Vec<_> = found.iter().map(number_of).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(store.mark(0).unwrap().next, written);

    // With the oldest deleted nothing is lost, and the newest are there.
    let more = ["--segment-size", "2MiB", "--ring", "64MiB", "--on-full", "drop-oldest"];
    let running = start(&netns, &dir, &more, 1);
    let from = all;
    for _ in 0..40 {
        all = send_some(500);
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = running.interrupt();
    let count = all - from;
    let counts = [("received", count), ("written", count), ("lost (disk)", 0)];
    expect_booked(&ended.stderr, "writer", "near", &counts);
    let (found, findings) = stored(&dir);
    assert!(findings.is_empty(), "{findings:?}");
    assert!(found.len() as u64 > 2000);
    assert!(found.iter().map(number_of).rev().zip((0..all).rev()).all(|(a, b)| a == b));

    // A trace that does not fit ends with an error; what fits is there.
    let other = disk.mount.join("other");
    let trace = text(&big_trace(&scratch, 400_000));
    record(&["-r", &trace], &other).expect_status(2).expect_said("No space left on device");
    let (found, findings) = stored(&other);
    assert!(findings.iter().all(|finding| !finding.is_loss()), "{findings:?}");
    assert!(found.iter().map(number_of).eq(0..found.len() as u64));
}
