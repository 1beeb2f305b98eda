//! Generated programs in the kernel: the verifier takes them, and single packets come to what they should.

use std::process::{Command, Stdio};

mod support;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use support::program;
use wt_catalog::layout::Place;
use wt_xdp::codegen::spec::{ActionLayout, control_words};
use wt_xdp::codegen::{Clock, Disposition, FeedBy, Options, compile, compile_except};
use wt_xdp::loader::{AttachError, Attachment, LoadError, Loaded, OnOneCpu};

/// A program in the kernel; nothing where the kernel does not let us.
fn loaded(text: &str, clock: Clock) -> Option<Loaded> {
    let (program, params) = program(text);
    let options = Options { clock, ..Options::default() };
    let made = compile(&program, &params, &options).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(made.host, [], "{text}");
    let spec = made.spec.unwrap_or_else(|| panic!("no program for {text}"));
    match Loaded::load(&spec) {
        Ok(loaded) => Some(loaded),
        Err(LoadError::NoPrivilege) => {
            eprintln!("skipped: no privilege to load programs into the kernel");
            None
        }
        Err(LoadError::Refused { reason, at, log }) => {
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            panic!("{text}\n{reason}\n{at:?}\n{}", tail.join("\n"))
        }
        Err(other) => panic!("{text}: {other}"),
    }
}

/// Queries that between them use every part of the generator.
const QUERIES: [&str; 14] = [
    "SELECT count(*) AS n FROM packet",
    "SELECT count(*) AS n FROM eth WHERE eth_type = 0x806",
    "SELECT timestamp, len, caplen FROM packet WHERE len > 100",
    "SELECT tb, eth_type, count(*) AS n, sum(len) AS bytes FROM eth GROUP BY time/60 AS tb, eth_type",
    "SELECT count(*) AS n FROM ipv4 WHERE ttl < 5",
    "SELECT tb, srcIP, count(*) AS n, sum(len) AS bytes FROM ip GROUP BY time/60 AS tb, srcIP",
    "SELECT srcIP, destIP, srcPort, destPort FROM tcp WHERE destPort = 80 AND srcPort > 1024",
    "SELECT srcPort, data_len, flags FROM tcp WHERE data_len > 0",
    "SELECT tb, destPort, min(len) AS a, max(len) AS b, or_aggr(flags) AS f FROM tcp GROUP BY time/10 AS tb, destPort",
    "SELECT vlan_id, depth(vlan) AS d FROM vlan",
    "SELECT srcIP FROM ip WHERE srcIP IN ['10.0.0.0/8', '2001:db8::/32']",
    "SELECT protocol, hdr_len FROM ipv6",
    "SELECT len FROM packet WHERE pcap_filter('tcp port 80 or vlan and udp')",
    "SELECT vxlan.ip.srcIP AS a FROM vxlan.ip",
];

#[test]
fn the_verifier_takes_every_program() {
    for text in QUERIES {
        for clock in [Clock::Kernel, Clock::Given] {
            let Some(mut loaded) = loaded(text, clock) else { return };
            let slots = loaded.spec().code.slots.len();
            let verified = loaded.verified_instructions().unwrap_or(0);
            eprintln!("{slots:6} instructions, {verified:7} verified: {text}");
            assert!(verified < 500_000, "{text}: {verified} instructions verified");
        }
    }
}

#[test]
fn the_verifier_takes_programs_that_send_packets_to_the_host() {
    for text in QUERIES {
        let batch = format!(
            "DEFINE {{ query_name a; }} {text}; DEFINE {{ query_name b; }} SELECT count(*) AS n FROM packet; \
             DEFINE {{ query_name c; }} SELECT len FROM tcp WHERE destPort = 80 AND str_regex_match[data, 'x']"
        );
        let (program, params) = program(&batch);
        let in_one = FeedBy::Sockets { queues: 4, bytes_max: 1776 };
        let in_several = FeedBy::Sockets { queues: 4, bytes_max: u32::MAX };
        let ways = [FeedBy::Ring, in_one, in_several];
        for (bytes, feed_by) in [100, 1514, 262_144].into_iter().flat_map(|n| ways.map(|w| (n, w)))
        {
            let options = Options {
                feed_bytes: Some(bytes),
                feed_by,
                disposition: Disposition::Drop,
                ..Options::default()
            };
            let made = compile_except(&program, &[0], &params, &options);
            let spec = made.unwrap_or_else(|e| panic!("{e}")).spec;
            let spec = spec.unwrap_or_else(|| panic!("no program for {text}"));
            assert_eq!(spec.layout.host.first(), Some(&0));
            match Loaded::load(&spec) {
                Ok(_) => {}
                Err(LoadError::NoPrivilege) => return,
                Err(error) => panic!("{text}: {error}"),
            }
        }
    }
}

/// Runs `ip` with arguments; whether it succeeded.
fn ip(arguments: &str) -> bool {
    let status = Command::new("ip").args(arguments.split(' ')).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether a program is attached to an interface.
fn is_attached(interface: &str) -> bool {
    let shown = Command::new("ip").args(["-details", "link", "show", interface]).output();
    shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("prog/xdp"))
}

/// Says to a test that it runs in a network namespace of its own.
const IN_NAMESPACE: &str = "WT_IN_NAMESPACE";

/// Runs a test of this program again in a network namespace of its own, which ends with it; whether that is the one we are in.
fn in_namespace(test: &str) -> bool {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let run = Command::new("unshare")
        .arg("--net")
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .output();
    match run {
        Ok(run) if run.status.success() => {}
        Ok(run) if String::from_utf8_lossy(&run.stderr).contains("unshare failed") => {
            eprintln!("skipped: no privilege to make a network namespace");
        }
        Ok(run) => panic!("{}", String::from_utf8_lossy(&run.stderr)),
        Err(_) => eprintln!("skipped: there is no unshare"),
    }
    false
}

#[test]
fn programs_are_attached_replaced_and_gone_with_their_owner() {
    if !in_namespace("programs_are_attached_replaced_and_gone_with_their_owner") {
        return;
    }
    let Some(mut first) = loaded(QUERIES[0], Clock::Kernel) else { return };
    let Some(mut second) = loaded(QUERIES[4], Clock::Kernel) else { return };
    let name = "wt0".to_owned();
    if !ip("link add wt0 type veth peer name wt1") {
        eprintln!("skipped: there are no pairs of interfaces");
        return;
    }
    assert!(ip("link set wt0 up") && ip("link set wt1 up"));
    let attached = first.attach(&name).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(attached, Attachment::Native);
    assert!(is_attached(&name));
    let Some(mut third) = loaded(QUERIES[1], Clock::Kernel) else { return };
    let refused = third.attach(&name);
    assert!(matches!(refused, Err(AttachError::Busy { .. })), "{refused:?}");
    second.replace(&mut first).unwrap_or_else(|e| panic!("{e}"));
    drop(first);
    assert!(is_attached(&name), "the second has taken the place");
    drop(second);
    assert!(!is_attached(&name), "nothing is left");
    assert!(matches!(third.attach("no-such-if"), Err(AttachError::NoInterface { .. })));
}

#[test]
fn groups_collide_leave_and_are_drained() {
    let text = "DEFINE { aggregate_slots 1; } SELECT tb, len, count(*) AS n FROM packet GROUP BY time/60 AS tb, len";
    let Some(mut loaded) = loaded(text, Clock::Given) else { return };
    let mut control = vec![0; loaded.spec().layout.control_words as usize];
    for (ordinal, len) in [100u64, 100, 200, 100].into_iter().enumerate() {
        control[control_words::TIMESTAMP_NS as usize] = 3_000_000_000;
        control[control_words::LEN as usize] = len;
        control[control_words::ORDINAL as usize] = ordinal as u64;
        loaded.set_control(&control).unwrap_or_else(|e| panic!("{e}"));
        let tried = loaded.try_packet(&[0; 60], 1).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(tried.action, Disposition::Pass.action());
    }
    let mut ejected = Vec::new();
    loaded.drain_ring(|record| {
        ejected.push(u64::from_le_bytes(record[8..16].try_into().unwrap_or_default()));
    });
    assert_eq!(ejected, [2, 1], "tuples of the groups that left");
    Loaded::quiesce().unwrap_or_else(|e| panic!("{e}"));
    let groups = loaded.take_groups(0, 0, u64::MAX, |_| true).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(groups.len(), 1);
    assert_eq!(&groups[0].words[..2], [1, 3], "one tuple, the fourth");
    assert_eq!(loaded.count_groups(0, 0).unwrap_or_else(|e| panic!("{e}")), 0);
}

/// Only the parts of a table have to be read that groups came to in the turn that is over.
#[test]
fn groups_are_where_the_frame_says() {
    for slots in [4096, 64, 4] {
        let text = format!(
            "DEFINE {{ aggregate_slots {slots}; }} SELECT tb, len, count(*) AS n FROM packet GROUP BY time/60 AS tb, len"
        );
        let Some(mut loaded) = loaded(&text, Clock::Given) else { return };
        let mut control = vec![0; loaded.spec().layout.control_words as usize];
        for word in loaded.spec().layout.secrets.clone() {
            control[word as usize] = 0x9e37_79b9_7f4a_7c15 + 2 * u64::from(word);
        }
        let ActionLayout::Groups(groups) = loaded.spec().layout.queries[0].action.clone() else {
            panic!("another layout")
        };
        let first = control_words::FIRST_TURN;
        // Each half twice: the second time it is not what it was the first time.
        for (turn, lens) in [(first, 40), (first + 1, 3), (first + 2, 1), (first + 3, 20)] {
            control[control_words::TURN as usize] = turn;
            for len in 0..2 * lens {
                control[control_words::LEN as usize] = 100 + len % lens;
                loaded.set_control(&control).unwrap_or_else(|e| panic!("{e}"));
                loaded.try_packet(&[0; 60], 1).unwrap_or_else(|e| panic!("{e}"));
            }
            let frames = loaded.frames();
            let used = |turn| frames.iter().fold(0, |all, f| all | groups.used(f, turn));
            let half = (turn & 1) as u32;
            let there = loaded.count_groups(0, half).unwrap_or_else(|e| panic!("{e}"));
            let parts = u64::from(used(turn).count_ones());
            assert!((1..=there).contains(&parts), "{parts} parts, {there} groups");
            assert_eq!(used(turn + 2), 0, "a turn that has not been");
            let taken = loaded.take_groups(0, half, used(turn), |_| true);
            assert_eq!(taken.unwrap_or_else(|e| panic!("{e}")).len() as u64, there);
            assert_eq!(loaded.count_groups(0, half).unwrap_or_else(|e| panic!("{e}")), 0);
        }
    }
}

/// User space never empties the group of a query without keys: the program does when the turn has come to it again.
#[test]
fn the_one_group_begins_anew_in_each_turn() {
    let text = "SELECT count(*) AS n, sum(len) AS bytes, min(caplen) AS least, max(len) AS most FROM packet WHERE len > 50";
    let Some(mut loaded) = loaded(text, Clock::Given) else { return };
    let ActionLayout::Totals(totals) = loaded.spec().layout.queries[0].action.clone() else {
        panic!("another layout")
    };
    let _cpu = OnOneCpu::pin().unwrap_or_else(|e| panic!("{e}"));
    let mut control = vec![0; loaded.spec().layout.control_words as usize];
    let mut ordinal = 0;
    // Of both groups: the turn, tuples, ordinal of the first, states.
    let mut groups = |turn: u64, lens: &[u64]| -> Vec<Vec<u64>> {
        for len in lens {
            ordinal += 1;
            control[control_words::TURN as usize] = turn;
            control[control_words::LEN as usize] = *len;
            control[control_words::ORDINAL as usize] = ordinal;
            loaded.set_control(&control).unwrap_or_else(|e| panic!("{e}"));
            loaded.try_packet(&[0; 60], 1).unwrap_or_else(|e| panic!("{e}"));
        }
        let frames = loaded.frames();
        let (first, stride) = (totals.first as usize, totals.stride() as usize);
        let used = frames.iter().find(|frame| frame[0] > 0).expect("a frame with packets");
        used[first..].chunks(stride).take(2).map(<[u64]>::to_vec).collect()
    };
    let first = control_words::FIRST_TURN;
    let one = groups(first, &[100, 40, 60]);
    assert_eq!(one[first as usize % 2], [first, 2, 1, 160, 60, 100]);
    assert_eq!(one[1 - first as usize % 2], [0; 6], "the other is as it was");
    let two = groups(first + 1, &[70]);
    assert_eq!(two[1 - first as usize % 2], [first + 1, 1, 4, 70, 60, 70]);
    assert_eq!(two[first as usize % 2], one[first as usize % 2], "it can be read in peace");
    let three = groups(first + 2, &[300, 200, 400]);
    assert_eq!(three[first as usize % 2], [first + 2, 3, 5, 900, 60, 400]);
}

/// What the frame keeps of a window of time is right for stamps in any order, at its ends, and beyond 32 bits of seconds.
#[test]
fn windows_of_time_are_those_of_the_stamps() {
    const NS_PER_S: u64 = 1_000_000_000;
    let Some(mut loaded) = loaded("SELECT time/60 AS tb, time AS t FROM packet", Clock::Given)
    else {
        return;
    };
    let last = u64::from(u32::MAX) * NS_PER_S;
    let stamps = [
        0,
        NS_PER_S - 1,
        NS_PER_S,
        60 * NS_PER_S - 1,
        60 * NS_PER_S,
        61 * NS_PER_S,
        59 * NS_PER_S,
        1_764_000_000 * NS_PER_S + 7,
        1_764_000_059 * NS_PER_S,
        1_764_000_060 * NS_PER_S,
        1_763_999_999 * NS_PER_S,
        last - 60 * NS_PER_S,
        last - 1,
        last,
        last + NS_PER_S - 1,
        last + NS_PER_S,
        last + 61 * NS_PER_S,
        u64::MAX,
        0,
    ];
    let mut control = vec![0; loaded.spec().layout.control_words as usize];
    for stamp in stamps {
        control[control_words::TIMESTAMP_NS as usize] = stamp;
        loaded.set_control(&control).unwrap_or_else(|e| panic!("{e}"));
        loaded.try_packet(&[0; 60], 1).unwrap_or_else(|e| panic!("{e}"));
    }
    let columns = loaded.spec().layout.queries[0].columns.clone();
    let mut found = Vec::new();
    loaded.drain_ring(|record| {
        let value = |index: usize| {
            let Place::Field { word, shift, bits } = columns[index].place else {
                panic!("{:?}", columns[index])
            };
            // Behind the head and the ordinal.
            let bytes = record[8 * (word + 2)..][..8].try_into().unwrap_or_default();
            u64::from_le_bytes(bytes) >> shift & ((1 << bits) - 1)
        };
        found.push((value(0), value(1)));
    });
    let seconds = |stamp: u64| (stamp / NS_PER_S) & u64::from(u32::MAX);
    let wanted: Vec<_> = stamps.iter().map(|ns| (seconds(*ns) / 60, seconds(*ns))).collect();
    assert_eq!(found, wanted);
}

/// By the kernel's clock and ticks: a window is none that had ended when the turn began, and none that has not begun; ordinals are stamps.
#[test]
fn windows_by_ticks_are_those_of_the_time() {
    const NS_PER_S: u64 = 1_000_000_000;
    let text = "SELECT t, count(*) AS n FROM packet GROUP BY time AS t";
    let now_ns = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec as u64 * NS_PER_S + now.tv_nsec as u64
    };
    // Ticks are not relied on, or are.
    for tick_ns in [0, NS_PER_S / 250] {
        let Some(mut loaded) = loaded(text, Clock::Kernel) else { return };
        let layout = &loaded.spec().layout;
        let mut control = vec![0; layout.control_words as usize];
        control[control_words::TICK_NS as usize] = tick_ns;
        let Place::Field { word, shift, bits } = layout.queries[0].columns[0].place else {
            panic!("{:?}", layout.queries[0].columns)
        };
        for turn in 0..20 {
            // In each turn the frame keeps the window of the one before; the clock has gone on by an hour meanwhile.
            let moved_ns = turn * 3_600 * NS_PER_S;
            control[control_words::CLOCK_OFFSET_NS as usize] = moved_ns;
            control[control_words::TURN as usize] = control_words::FIRST_TURN + turn;
            let before_ns = now_ns() + moved_ns;
            loaded.set_control(&control).unwrap_or_else(|e| panic!("{e}"));
            loaded.try_packet(&[0; 60], 100).unwrap_or_else(|e| panic!("{e}"));
            let after_ns = now_ns() + moved_ns;
            let groups = loaded.take_groups(0, (turn & 1) as u32, u64::MAX, |_| true);
            let groups = groups.unwrap_or_else(|e| panic!("{e}"));
            let tuples: u64 = groups.iter().map(|group| group.words[0]).sum();
            assert_eq!(tuples, 100);
            for group in groups {
                let t = group.words[2 + word] >> shift & ((1 << bits) - 1);
                assert!((before_ns / NS_PER_S..=after_ns / NS_PER_S).contains(&t), "{t}");
                assert!((before_ns..=after_ns).contains(&group.words[1]), "{group:?}");
            }
        }
    }
}

#[test]
fn each_cpu_counts_in_its_own_frame() {
    // Whoever computes and does not look a frame up finds that of another as easily.
    let Some(mut loaded) = loaded("SELECT count(*) AS n FROM packet", Clock::Given) else { return };
    let frames = loaded.frames();
    assert!(frames.len().is_power_of_two(), "{} frames", frames.len());
    let allowed = sched_getaffinity(None).unwrap_or_else(|e| panic!("{e}"));
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    for (number, cpu) in cpus.iter().enumerate() {
        let mut only = CpuSet::new();
        only.set(*cpu);
        sched_setaffinity(None, &only).unwrap_or_else(|e| panic!("{e}"));
        loaded.try_packet(&[0; 60], 10 + number as u32).unwrap_or_else(|e| panic!("{e}"));
    }
    sched_setaffinity(None, &allowed).unwrap_or_else(|e| panic!("{e}"));
    for (cpu, frame) in loaded.frames().iter().enumerate() {
        let number = cpus.iter().position(|known| *known == cpu);
        let packets = number.map_or(0, |number| 10 + number as u64);
        assert_eq!(frame[0], packets, "CPU {cpu}");
    }
}

#[test]
fn an_object_is_loaded_by_itself() {
    for text in QUERIES {
        let (program, params) = program(text);
        let made = compile(&program, &params, &Options::default());
        let spec = made.unwrap_or_else(|e| panic!("{e}")).spec;
        let spec = spec.unwrap_or_else(|| panic!("no program"));
        let bytes = wt_xdp::object::write(&spec).unwrap_or_else(|e| panic!("{e}"));
        let made = aya::EbpfLoader::new().btf(None).load(&bytes);
        let mut made = match made {
            Err(_) if loaded(text, Clock::Given).is_none() => return,
            made => made.unwrap_or_else(|e| panic!("{text}: {e}")),
        };
        let program = made.program_mut("wiretable").unwrap_or_else(|| panic!("no program"));
        let program: &mut aya::programs::Xdp = program.try_into().unwrap_or_else(|e| panic!("{e}"));
        program.load().unwrap_or_else(|e| panic!("{text}: {e}"));
    }
}

#[test]
fn objdump_reads_the_object() {
    let (program, params) = program(QUERIES[4]);
    let made = compile(&program, &params, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let spec = made.spec.unwrap_or_else(|| panic!("no program"));
    let bytes = wt_xdp::object::write(&spec).unwrap_or_else(|e| panic!("{e}"));
    let file = std::env::temp_dir().join(format!("wt-xdp-{}.o", std::process::id()));
    std::fs::write(&file, bytes).unwrap_or_else(|e| panic!("{e}"));
    let shown = Command::new("llvm-objdump").arg("-d").arg(&file).output();
    std::fs::remove_file(&file).unwrap_or_else(|e| panic!("{e}"));
    let Ok(shown) = shown else {
        eprintln!("skipped: there is no llvm-objdump");
        return;
    };
    let text = String::from_utf8_lossy(&shown.stdout);
    for wanted in ["<wiretable>:", "<step>:", "<find>:", "exit"] {
        assert!(text.contains(wanted), "{wanted} is missing");
    }
}
