//! The tools of the field: how each is asked the same, and what of its answer must agree.

mod install;

use std::path::{Path, PathBuf};

pub use self::install::install;
use crate::agree::Facts;
use crate::bound::TaskName;
use crate::filters;
use crate::program::{Said, Step};

/// A tool.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// As a report calls it.
    pub name: &'static str,
    /// What must be on the path.
    pub programs: &'static [&'static str],
    /// The Debian package.
    pub package: &'static str,
    /// Traces of more packets take it too long.
    pub packets_max: u64,
    /// What its numbers mean, for the reader of a report.
    pub note: &'static str,
    steps: fn(TaskName, &Path, &Path) -> Option<Vec<Step>>,
    check: fn(TaskName, &Said, &Facts) -> Check,
}

/// What a tool should have said, and what it did; nothing expected of one that only copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// By the hand-written programs.
    pub expected: Vec<u64>,
    /// By the tool.
    pub said: Vec<u64>,
}

/// All tools.
pub const ALL: [Peer; 10] = [
    Peer {
        name: "tcpdump --count",
        programs: &["tcpdump"],
        package: "tcpdump",
        packets_max: u64::MAX,
        note: "counts packets only; T8 takes it one pass per filter",
        steps: tcpdump,
        check: tcpdump_check,
    },
    Peer {
        name: "capinfos",
        programs: &["capinfos"],
        package: "wireshark-common",
        packets_max: u64::MAX,
        note: "packets and bytes of the whole file",
        steps: |task, trace, _| {
            only(
                task,
                TaskName::T1,
                Step::new("capinfos", ["-Tm", "-c", "-d", "-M", "-r", &text(trace)]),
            )
        },
        check: |_, said, facts| {
            // FILE,packets,bytes
            let row = said.output.lines().last().unwrap_or("");
            let numbers = row.rsplit(',').take(2).filter_map(|n| n.trim_matches('"').parse().ok());
            Check { expected: vec![facts.bytes, facts.packets], said: numbers.collect() }
        },
    },
    Peer {
        name: "tcpstat",
        programs: &["tcpstat"],
        package: "tcpstat",
        packets_max: u64::MAX,
        note: "packets; its bytes leave out link headers",
        steps: |task, trace, _| {
            // One interval, longer than any trace.
            only(
                task,
                TaskName::T1,
                Step::new("tcpstat", ["-r", &text(trace), "-o", "%n\\n", "1000000000"]),
            )
        },
        check: |_, said, facts| Check {
            expected: vec![facts.packets],
            said: said.output.lines().filter_map(|line| line.trim().parse().ok()).collect(),
        },
    },
    Peer {
        name: "editcap (copy)",
        programs: &["editcap"],
        package: "wireshark-common",
        packets_max: u64::MAX,
        note: "reads and writes every record; counts nothing",
        steps: |task, trace, _| {
            only(task, TaskName::T1, Step::new("editcap", [&text(trace), "/dev/null"]))
        },
        check: |_, _, _| Check::default(),
    },
    Peer {
        name: "tcpslice (copy)",
        programs: &["tcpslice"],
        package: "tcpslice",
        packets_max: u64::MAX,
        note: "reads and writes every record; counts nothing",
        steps: |task, trace, _| {
            only(task, TaskName::T1, Step::new("tcpslice", ["-w", "/dev/null", &text(trace)]))
        },
        check: |_, _, _| Check::default(),
    },
    Peer {
        name: "tshark",
        programs: &["tshark"],
        package: "tshark",
        packets_max: 300_000,
        note: "dissects every layer; on traces of up to 300,000 packets",
        steps: tshark,
        check: tshark_check,
    },
    Peer {
        name: "nfpcapd, nfdump",
        programs: &["nfpcapd", "nfdump"],
        package: "nfdump",
        packets_max: u64::MAX,
        note: "flows of all protocols, split by its timeouts; TCP packets must agree",
        steps: |task, trace, scratch| {
            let dir = text(scratch);
            (task == TaskName::T4).then(|| {
                vec![
                    // It adds to the files of a run before.
                    Step::new("find", [&dir, "-name", "nfcapd.*", "-delete"]).silent(),
                    Step::new("nfpcapd", ["-r", &text(trace), "-w", &dir]).silent(),
                    Step::new("nfdump", ["-R", &dir, "-I"]),
                ]
            })
        },
        check: |_, said, facts| Check {
            expected: vec![facts.tcp_packets],
            said: said
                .output
                .lines()
                .filter_map(|line| line.strip_prefix("Packets_tcp: ")?.trim().parse().ok())
                .collect(),
        },
    },
    Peer {
        name: "softflowd",
        programs: &["softflowd"],
        package: "softflowd",
        packets_max: u64::MAX,
        note: "both directions as one flow, all protocols, exported to a closed port; TCP packets must agree",
        steps: |task, trace, _| {
            only(
                task,
                TaskName::T4,
                Step::new(
                    "softflowd",
                    // A million flows: its default of 8192 would measure their expiry.
                    [
                        "-r",
                        &text(trace),
                        "-d",
                        "-v",
                        // Version 9: before it, IPv6 is left out.
                        "9",
                        "-m",
                        "1048576",
                        "-n",
                        "127.0.0.1:9",
                        "-c",
                        "none",
                    ],
                ),
            )
        },
        check: |_, said, facts| Check {
            expected: vec![facts.tcp_packets],
            said: [&said.output, &said.error]
                .into_iter()
                .flat_map(|text| text.lines())
                .filter_map(|line| {
                    line.trim().strip_prefix("tcp (6):")?.split_whitespace().nth(1)?.parse().ok()
                })
                .collect(),
        },
    },
    Peer {
        name: "suricata",
        programs: &["suricata"],
        package: "suricata",
        packets_max: u64::MAX,
        note: "no rules, no logs, one thread; decodes, tracks flows and reassembles all the same",
        steps: suricata,
        check: |_, said, facts| {
            // pcap: read 1 file, 79 packets, 13662 bytes; before version 7: pcap-file module read 1 files, …
            let number = |text: &str| {
                let words: Vec<&str> = text.split_whitespace().collect();
                let at = words.iter().position(|w| w.starts_with("packets"))?;
                words.get(at.checked_sub(1)?)?.parse().ok()
            };
            let lines = said.output.lines().chain(said.error.lines());
            Check {
                expected: vec![facts.packets],
                said: lines
                    .filter(|line| line.contains("pcap") && line.contains(" packets, "))
                    .filter_map(number)
                    .collect(),
            }
        },
    },
    Peer {
        name: "ngrep",
        programs: &["ngrep"],
        package: "ngrep",
        packets_max: u64::MAX,
        note: "prints each match in a line",
        steps: |task, trace, _| {
            only(
                task,
                TaskName::T5,
                Step::new(
                    "ngrep",
                    ["-q", "-W", "single", "-I", &text(trace), r"^[^\n]*HTTP/1.*", "tcp port 80"],
                ),
            )
        },
        check: |_, said, facts| Check {
            expected: vec![facts.http_packets],
            said: vec![said.output.lines().filter(|line| line.starts_with("T ")).count() as u64],
        },
    },
];

impl Peer {
    /// Whether all of its programs are on the path.
    pub fn is_available(&self) -> bool {
        self.programs.iter().all(|program| find(program).is_some())
    }

    /// How it does a task; nothing when it cannot.
    pub fn steps(&self, task: TaskName, trace: &Path, scratch: &Path) -> Option<Vec<Step>> {
        (self.steps)(task, trace, scratch).map(|steps| steps.into_iter().map(limited).collect())
    }

    /// Compares what it said with what is known.
    ///
    /// # Errors
    /// Both, when they differ.
    pub fn check(&self, task: TaskName, said: &Said, facts: &Facts) -> Result<(), String> {
        let Check { expected, said: answered } = (self.check)(task, said, facts);
        if expected == answered {
            return Ok(());
        }
        let tail = |text: &str| text.lines().rev().take(4).collect::<Vec<_>>().join(" / ");
        Err(format!(
            "  expected {expected:?}\n       not {answered:?}\n  it said: {} / {}\n",
            tail(&said.output),
            tail(&said.error)
        ))
    }
}

/// Ends a tool that hangs: one that waits for something else than its file would hold up everything.
fn limited(step: Step) -> Step {
    const SECONDS_MAX: &str = "1200";
    let mut arguments = vec![SECONDS_MAX.to_owned(), step.program.display().to_string()];
    arguments.extend(step.arguments);
    Step { program: "timeout".into(), arguments, ..step }
}

/// A program on the path, or in the folders of programs for root.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// What commands that send live need, and the package of each.
pub const LIVE: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("unshare", "util-linux"),
    ("tcpreplay", "tcpreplay"),
    ("tcpdump", "tcpdump"),
    ("netsniff-ng", "netsniff-ng"),
    ("clang", "clang"),
];

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn only(task: TaskName, its: TaskName, step: Step) -> Option<Vec<Step>> {
    (task == its).then(|| vec![step])
}

fn tcpdump(task: TaskName, trace: &Path, _: &Path) -> Option<Vec<Step>> {
    // From standard input: the rights of the user that tcpdump becomes then play no part.
    let count = |filter: &str| {
        Step::new("tcpdump", ["-n", "-r", "-", "--count", "--", filter]).with_input(trace)
    };
    match task {
        TaskName::T1 => Some(vec![count("")]),
        TaskName::T2 => Some(vec![count("tcp and (port 80 or port 443)")]),
        TaskName::T8 => Some(filters::twenty().iter().map(|filter| count(&filter.pcap)).collect()),
        _ => None,
    }
}

fn tcpdump_check(task: TaskName, said: &Said, facts: &Facts) -> Check {
    let counted = said.output.lines().filter_map(|line| {
        let (number, noun) = line.split_once(' ')?;
        noun.starts_with("packet").then(|| number.parse().ok())?
    });
    let expected = match task {
        TaskName::T1 => vec![facts.packets],
        TaskName::T2 => vec![facts.web_packets],
        _ => facts.filters.clone(),
    };
    Check { expected, said: counted.collect() }
}

fn tshark(task: TaskName, trace: &Path, _: &Path) -> Option<Vec<Step>> {
    let filter = match task {
        TaskName::T1 => "frame",
        // Without the segments that ICMP errors quote.
        TaskName::T2 => "(tcp.port==80||tcp.port==443)&&!icmp&&!icmpv6",
        _ => return None,
    };
    Some(vec![Step::new(
        "tshark",
        ["-n", "-q", "-r", &text(trace), "-z", &format!("io,stat,0,{filter}")],
    )])
}

/// The one row `|  0.0 <> 2.5 | 3 | 180 |` of its table.
fn tshark_check(task: TaskName, said: &Said, facts: &Facts) -> Check {
    let row = said.output.lines().find(|line| line.contains("<>")).unwrap_or("");
    let packets = row.split('|').nth(2).and_then(|cell| cell.trim().parse().ok());
    let expected = if task == TaskName::T1 { facts.packets } else { facts.web_packets };
    Check { expected: vec![expected], said: packets.into_iter().collect() }
}

fn suricata(task: TaskName, trace: &Path, scratch: &Path) -> Option<Vec<Step>> {
    (task == TaskName::T4).then(|| {
        vec![Step::new(
            "suricata",
            [
                "-r",
                &text(trace),
                "-S",
                "/dev/null",
                "-l",
                &text(scratch),
                "-k",
                "none",
                "--runmode=single",
                "--set",
                "stats.enabled=false",
                "--set",
                "outputs.0.fast.enabled=no",
                "--set",
                "outputs.1.eve-log.enabled=no",
            ],
        )]
    })
}
