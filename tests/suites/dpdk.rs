//! Captures by DPDK, for a command that is built with it (`make dpdk-test`): `net_pcap` over carried captures, `net_af_xdp` over a link in a
//! namespace.
//!
//! What needs a namespace needs root, and says that it is skipped without.

use std::process::Stdio;
use std::time::Duration;

use wt_tests::corpus::Scratch;
use wt_tests::live::{
    Guarded, PATIENCE, Running, Stream, booked, expect_booked, frames, programs, send, sorted,
    wait_until,
};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{Outcome, capture_argument, run, wiretable};

/// Queries of all kinds, one by time.
const QUERIES: &str = "\
    DEFINE { query_name headers; } SELECT srcIP, destIP, srcPort, destPort, seq, len FROM tcp; \
    DEFINE { query_name flows; no_temporal_aggr yes; } SELECT srcIP, destIP, protocol, count(*) AS n, sum(len) AS bytes FROM ip \
        GROUP BY srcIP, destIP, protocol; \
    DEFINE { query_name gets; no_temporal_aggr yes; } SELECT count(*) AS n FROM tcp WHERE str_regex_match[data, '^(GET|POST) ']; \
    DEFINE { query_name macs; no_temporal_aggr yes; } SELECT eth_src, eth_dst, vlan_depth, count(*) AS n FROM eth \
        GROUP BY eth_src, eth_dst, vlan_depth";
const BY_TIME: &str = "; DEFINE { query_name windows; } SELECT tb, count(*) AS n, sum(len) AS bytes FROM packet GROUP BY time/1 AS tb";

const COUNT: &str =
    "DEFINE { no_temporal_aggr yes; } SELECT count(*) AS n, sum(len) AS bytes FROM packet";

/// The device of an interface of a namespace.
const NEAR: &str = "default=net_af_xdp0,iface=near";

/// A query by DPDK, in a command of its own.
fn by_dpdk<'a>(query: &'a str, device: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["query", query, "--capture", "dpdk", "-i", device, "--format", "ndjson"];
    [&arguments[..], more].concat()
}

/// Starts a capture in a namespace, and waits until packets are received.
fn start(netns: &Netns, arguments: &[&str]) -> Running {
    let mut command = netns.wiretable();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded(command.spawn().expect("wiretable starts"));
    let stdout = Stream::of(child.0.stdout.take().unwrap());
    let stderr = Stream::of(child.0.stderr.take().unwrap());
    let mut running = Running { child, stdout, stderr };
    wait_until("packets are received", || {
        let ended = running.child.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", running.stderr.text());
        threads(running.child.0.id()).iter().any(|(name, _)| name.starts_with("capture "))
    });
    running
}

/// Threads of a process: their names, and the privileges that they have.
fn threads(process: u32) -> Vec<(String, u64)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let field = |name| status.lines().find_map(|l: &str| l.strip_prefix(name)).map(str::trim);
        Some((field("Name:")?.to_owned(), u64::from_str_radix(field("CapEff:")?, 16).ok()?))
    };
    tasks.filter_map(read).collect()
}

/// The number of a column of the books.
#[track_caller]
fn number(ledger: &str, head: &str, column: &str) -> u64 {
    let found = booked(ledger, head, "default").into_iter().find(|(known, _)| known == column);
    found.unwrap_or_else(|| panic!("no {column} in\n{ledger}")).1
}

/// Fails unless so many packets came, and none was lost.
#[track_caller]
fn expect_all(ledger: &str, count: u64) {
    let expected = [("seen", count), ("records", count), ("kernel dropped", 0), ("unread", 0)];
    expect_booked(ledger, "live", "default", &expected);
    let expected =
        [("received", count), ("missed", 0), ("errors", 0), ("no buffer", 0), ("left", 0)];
    expect_booked(ledger, "port", "default", &expected);
}

/// Programs that ran for packets of `near` in the driver, by the driver's count.
fn counted_by_driver(netns: &Netns) -> u64 {
    let shown = netns.command("ethtool").args(["-S", "near"]).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let of_queues = text.lines().filter(|line| line.contains("_xdp_packets:"));
    of_queues.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn rows_of_a_capture_are_those_without_dpdk() {
    let text = [QUERIES, BY_TIME].concat();
    for name in ["http.pcap", "dns.pcap", "vlan.pcap", "icmp.pcap", "vxlan.pcap", "fragments.pcap"]
    {
        let file = capture_argument(name);
        let device = format!("default=net_pcap0,rx_pcap={file}");
        let count = frames(name).len() as u64;
        for backend in ["auto", "interpreter"] {
            let ends = ["--packets", &count.to_string(), "--ledger", "--backend", backend];
            let live = run(by_dpdk(&text, &device, &ends)).expect_status(0);
            let rows = run(["query", &text, "-r", &file, "--format", "ndjson"]).expect_status(0);
            assert_eq!(sorted(&live.stdout), sorted(&rows.stdout), "{name} {backend}");
            expect_all(&live.stderr, count);
        }
    }
}

#[test]
fn packets_longer_than_a_buffer_come_whole() {
    let scratch = Scratch::new().unwrap();
    let path = scratch.path("long.pcap");
    // Packets of IPv4 without any known protocol, each with a payload of its own.
    let packet = |payload: usize| {
        let total = 20 + payload as u16;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend((0..payload).map(|at| (at / 7) as u8));
        frame
    };
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
    for (second, payload) in (1..).zip([40, 2_100, 5_000, 9_000, 30_000, 65_000]) {
        let frame = packet(payload);
        let len = frame.len() as u32;
        file.extend([second, 0, len, len].map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    std::fs::write(&path, file).unwrap();
    let path = path.display().to_string();
    let text = "SELECT time, len, caplen, to_hex_string(raw) AS bytes FROM packet";
    let rows = run(["query", text, "-r", &path, "--format", "ndjson"]).expect_status(0).stdout;
    assert!(rows.lines().count() == 6 && rows.len() > 200_000, "{}", rows.len());
    let device = format!("default=net_pcap0,rx_pcap={path}");
    let live = run(by_dpdk(text, &device, &["--packets", "6"])).expect_status(0).stdout;
    assert!(live == rows, "packets are cut or mixed up");
}

#[test]
fn all_queues_of_a_device_are_read() {
    let [http, dns] = ["http.pcap", "dns.pcap"].map(capture_argument);
    let device = format!("default=net_pcap0,rx_pcap={http},rx_pcap={dns}");
    let count = (frames("http.pcap").len() + frames("dns.pcap").len()) as u64;
    let live = run(by_dpdk(COUNT, &device, &["--packets", &count.to_string(), "--ledger"]));
    expect_all(&live.expect_status(0).stderr, count);
}

#[test]
fn two_devices_of_a_batch_are_captured_from_at_once() {
    let scratch = Scratch::new().unwrap();
    let captures = [("a", "http.pcap"), ("b", "dns.pcap")];
    let of = |(number, (name, file)): (usize, &(&str, &str))| {
        let capture = capture_argument(file);
        let rows = scratch.path(&format!("{name}.csv")).display().to_string();
        format!(
            "[[source]]\ninterface = \"{name}\"\ncapture = \"dpdk\"\ndevice = \"net_pcap{number},rx_pcap={capture}\"\n\
            [[query]]\nsink = {{ path = \"{rows}\" }}\n\
            text = \"DEFINE {{ query_name of_{name}; no_temporal_aggr yes; }} SELECT count(*) AS n FROM {name}.packet\"\n"
        )
    };
    let path = scratch.path("batch.toml");
    std::fs::write(&path, captures.iter().enumerate().map(of).collect::<String>()).unwrap();
    drop(run(["run", &path.display().to_string(), "--for", "1s"]).expect_status(0));
    for (name, file) in captures {
        let rows = std::fs::read_to_string(scratch.path(&format!("{name}.csv"))).unwrap();
        assert_eq!(rows, format!("n\n{}\n", frames(file).len()), "{file}");
    }
}

#[test]
fn rows_of_the_wire_are_those_of_the_file() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    for name in ["http.pcap", "vlan.pcap", "fragments.pcap"] {
        let frames = frames(name);
        // Each is a start of its own, on the interface that the one before has left.
        let running = start(&netns, &by_dpdk(QUERIES, NEAR, &["--ledger"]));
        assert_eq!(programs(&netns), 1);
        send(&netns, "far", &frames);
        wait_until("the frames have come", || counted_by_driver(&netns) >= frames.len() as u64);
        std::thread::sleep(Duration::from_millis(50));
        let live = running.interrupt();
        let rows = run(["query", QUERIES, "-r", &capture_argument(name), "--format", "ndjson"]);
        assert_eq!(sorted(&live.stdout), sorted(&rows.expect_status(0).stdout), "{name}");
        expect_all(&live.stderr, frames.len() as u64);
        assert_eq!(programs(&netns), 0, "something is left attached");
        // A new pair counts from 0.
        netns.ip(&["link", "del", "near"]);
        netns.add_pair();
    }
}

#[test]
fn a_flood_is_counted_to_the_packet() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    // So few rows leave that they are no limit; the buffers of the driver are.
    let running = start(&netns, &by_dpdk(COUNT, NEAR, &["--ledger"]));
    let frames: Vec<_> = frames("http.pcap").into_iter().cycle().take(100_000).collect();
    send(&netns, "far", &frames);
    let mut seen = 0;
    wait_until("nothing more comes", || {
        std::thread::sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut seen, counted_by_driver(&netns));
        seen > 0 && seen == before
    });
    let live = running.interrupt();
    assert_eq!(number(&live.stderr, "live", "seen"), seen, "{}", live.stderr);
    let [received, missed] = ["received", "missed"].map(|c| number(&live.stderr, "port", c));
    assert_eq!(received + missed, seen, "{}", live.stderr);
    assert!(live.stdout.contains(&format!("\"n\":{received},")), "{}", live.stdout);
    let is_said = live.stderr.contains("packets were dropped by drivers of DPDK");
    assert_eq!(is_said, missed > 0, "{}", live.stderr);
}

#[test]
fn windows_of_a_silent_port_close_by_the_clock() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "SELECT tb, count(*) AS n FROM packet GROUP BY time/1 AS tb";
    let running = start(&netns, &by_dpdk(text, NEAR, &[]));
    let frames = frames("dns.pcap");
    send(&netns, "far", &frames);
    wait_until("the window closes", || running.stdout.text().contains("\"n\":"));
    let counted: u64 = running
        .interrupt()
        .stdout
        .lines()
        .map(|row| {
            let n = row.rsplit("\"n\":").next().unwrap();
            n.trim_end_matches('}').parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(counted, frames.len() as u64);
}

#[test]
fn an_interface_that_comes_back_is_picked_up_again() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let running = start(&netns, &by_dpdk(COUNT, NEAR, &["--ledger"]));
    let frames = frames("dns.pcap");
    send(&netns, "far", &frames);
    wait_until("the frames have come", || counted_by_driver(&netns) >= frames.len() as u64);
    // Twice as long as it may take to notice that nothing more is in the queue.
    std::thread::sleep(Duration::from_millis(50));
    netns.ip(&["link", "del", "near"]);
    wait_until("it is missed", || running.stderr.text().contains("default is gone"));
    netns.add_pair();
    wait_until("it is back", || running.stderr.text().contains("default is back"));
    send(&netns, "far", &frames);
    wait_until("the frames have come", || counted_by_driver(&netns) >= frames.len() as u64);
    std::thread::sleep(Duration::from_millis(50));
    let live = running.interrupt();
    expect_all(&live.stderr, 2 * frames.len() as u64);
    expect_booked(&live.stderr, "live", "default", &[("gaps", 1)]);
    assert_eq!(programs(&netns), 0, "something is left attached");
}

#[test]
fn only_the_thread_that_has_the_ports_keeps_privileges() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let running = start(&netns, &by_dpdk(COUNT, NEAR, &[]));
    let of_dpdk = ["dpdk", "eal-intr-thread", "rte_mp_handle"];
    wait_until("privileges are let go of", || {
        let threads = threads(running.child.0.id());
        threads.iter().all(|(name, held)| *held == 0 || of_dpdk.contains(&name.as_str()))
    });
    drop(running.interrupt());
}

#[test]
fn a_port_can_be_had_again_after_a_kill() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let running = start(&netns, &by_dpdk(COUNT, NEAR, &[]));
    running.signal(9);
    drop(running.end().expect_status(128 + 9));
    // What the kernel still holds of it, such as its sockets, is let go of a moment later.
    let begin = std::time::Instant::now();
    let again = loop {
        let ends = ["--packets", "1", "--for", "500ms"];
        let mut command = netns.wiretable();
        command.args(by_dpdk(COUNT, NEAR, &ends));
        let ended = wt_tests::program::outcome(command.output().unwrap());
        if ended.status == 0 || begin.elapsed() > PATIENCE {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    drop(again.expect_status(0));
    assert_eq!(programs(&netns), 0, "something is left attached");
}

#[test]
fn a_device_that_another_program_has_is_refused() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let running = start(&netns, &by_dpdk(COUNT, NEAR, &[]));
    let second = refused_in(&netns, NEAR);
    let second = second.expect_said("DPDK cannot capture from `net_af_xdp0,iface=near` (a queue)");
    drop(second.expect_said("no other program has an AF_XDP socket"));
    drop(running.interrupt());
    let missing = refused_in(&netns, "net_af_xdp0,iface=neer");
    drop(missing.expect_said("did you mean `near`?"));
}

/// What a command says that cannot capture from a device in a namespace.
fn refused_in(netns: &Netns, device: &str) -> Outcome {
    let mut command = netns.wiretable();
    command.args(by_dpdk(COUNT, device, &["--for", "1s"]));
    wt_tests::program::outcome(command.output().unwrap()).expect_status(2).expect_no_output()
}

#[test]
fn what_dpdk_refuses_is_told_in_its_words_with_a_remedy() {
    let refused = |device: &str, more: &[&str]| {
        let more = [&["--for", "1s"], more].concat();
        run(by_dpdk(COUNT, device, &more)).expect_status(2).expect_no_output()
    };
    for (device, said) in [
        ("net_nix0", ["no port for `net_nix0`", "knows no such driver"]),
        (
            "net_pcap0,rx_pcap=/nix.pcap",
            ["Couldn't open /nix.pcap", "`/nix.pcap` cannot be opened"],
        ),
        (
            "net_pcap0,rx_pcap=tests/captures/damaged/text.pcap",
            ["unknown file format", "net_pcap0"],
        ),
        (
            "net_pcap0,rx_pcap=tests/captures/any-sll2.pcap",
            ["link type 276", "Read it without DPDK"],
        ),
        ("net_af_xdp0,iface=nix", ["interface: nix", "There is no interface `nix`"]),
        ("net_af_xdp0,face=lo", ["Invalid kvargs", "iface=eth0"]),
        ("0000:ff:1f.7", ["0000:ff:1f.7", "dpdk-devbind.py"]),
        ("", ["no port for ``", "Write a device as DPDK does"]),
    ] {
        let mut ended = refused(device, &[]);
        for text in said {
            ended = ended.expect_said(text);
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    let eal = refused("net_null0", &["--dpdk-args", "--nix"]).expect_said("DPDK does not start");
    drop(eal.expect_said("unrecognized option '--nix'").expect_said("It was told:"));
    let help = refused("net_null0", &["--dpdk-args", "-h"]);
    drop(help.expect_said("DPDK cannot be given `-h`"));
    let idle = ["query", COUNT, "-r", &capture_argument("dns.pcap"), "--dpdk-args", "-l 0"];
    drop(run(idle).expect_status(1).expect_said("--capture dpdk"));
}

#[test]
fn a_capture_that_is_damaged_ends_the_run_and_says_where() {
    let file = "tests/captures/damaged/record-cut.pcap";
    let device = format!("net_pcap0,rx_pcap={file}");
    let ended = run(by_dpdk("SELECT len FROM packet", &device, &["--for", "20s"]));
    drop(ended.expect_status(2).expect_said("the capture is damaged behind its first"));
}

#[test]
fn what_the_user_tells_the_eal_is_passed_on() {
    let device = format!("net_pcap0,rx_pcap={}", capture_argument("dns.pcap"));
    let more = ["--for", "300ms", "--dpdk-args", "--log-level=debug -m 256"];
    let ended = run(by_dpdk(COUNT, &device, &more)).expect_status(0);
    drop(ended.expect_said("wiretable: DPDK: EAL: Detected CPU lcores"));
}

#[test]
fn the_doctor_knows_dpdk() {
    let doctor = wiretable(["doctor", "--format", "json"]).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let found = all.as_array().unwrap().iter().find(|f| f["check"] == "DPDK").expect("a finding");
    assert!(found["found"].as_str().unwrap().starts_with("DPDK "), "{found}");
}
