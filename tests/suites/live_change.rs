//! Live runs whose queries change under load: each packet is in exactly one generation, and the books balance.
//!
//! `WT_SOAK=1` makes a thousand changes of each kind instead of some, `WT_WAY=socket` (`driver`, `frames`) by one way to capture alone. Needs root;
//! without it every test says that it is skipped.

use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wt_tests::corpus::Scratch;
use wt_tests::live::{Running, Stream, WAYS, booked, expect_booked, frames, send, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{Outcome, outcome, wiretable};

/// Changes of each kind.
fn rounds() -> usize {
    if std::env::var_os("WT_SOAK").is_some() { 1000 } else { 12 }
}

/// A run that can be spoken with.
struct Spoken {
    running: Running,
    socket: PathBuf,
    _folder: Scratch,
}

impl Spoken {
    fn start(netns: &Netns, text: &str, more: &[&str]) -> Self {
        Self::start_reading(netns, text, more, Stream::of)
    }

    fn start_reading(
        netns: &Netns,
        text: &str,
        more: &[&str],
        read: impl FnOnce(ChildStdout) -> Stream,
    ) -> Self {
        let folder = Scratch::new().unwrap();
        let socket = folder.path("run.sock");
        let path = socket.display().to_string();
        let arguments =
            ["query", text, "-i", "near", "--control", &path, "--ledger", "--format", "ndjson"];
        let mut command = netns.wiretable();
        command.args(arguments).args(more);
        let running = Running::spawn_reading(netns, &mut command, 1, read);
        wait_until("the socket is there", || socket.exists());
        Self { running, socket, _folder: folder }
    }

    fn ask(&self, arguments: &[&str]) -> Outcome {
        let socket = self.socket.display().to_string();
        let mut command: Command = wiretable(["ctl", "-s", &socket]);
        outcome(command.args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> Outcome {
        self.ask(arguments).expect_status(0)
    }
}

/// The rows of a query as numbers of a column.
fn column(rows: &str, query: &str, column: &str) -> Vec<u64> {
    let rows = rows.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter(|row| row["query"] == query).map(|row| row[column].as_u64().unwrap()).collect()
}

/// Numbers that have come: a bit for each, so that millions of rows take little memory.
#[derive(Debug, Default)]
struct Numbers {
    words: Vec<u64>,
    count: u64,
    twice: Vec<u64>,
}

impl Numbers {
    fn insert(&mut self, number: u64) {
        let (word, bit) = ((number >> 6) as usize, 1 << (number & 63));
        if word >= self.words.len() {
            // A number that was never sent must not take all memory.
            assert!(number >> 32 == 0, "{number}");
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        if self.words[word] & bit != 0 {
            self.twice.push(number);
        }
        self.words[word] |= bit;
        self.count += 1;
    }

    /// The largest.
    fn last(&self) -> Option<u64> {
        let word = self.words.iter().rposition(|word| *word != 0)?;
        Some(64 * word as u64 + 63 - u64::from(self.words[word].leading_zeros()))
    }

    /// Takes a row of the query `each`: whether the line is one.
    fn take(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(b"{\"query\":\"each\",\"srcPort\":") else {
            return false;
        };
        let mut numbers = rest.split(|byte| !byte.is_ascii_digit()).filter(|n| !n.is_empty());
        let mut next = || -> u64 {
            let digits = std::str::from_utf8(numbers.next().expect("two ports")).unwrap();
            digits.parse().unwrap()
        };
        self.insert(next() << 16 | next());
        true
    }
}

/// A frame that carries a number: UDP from 10.0.0.1:1000 to 10.0.0.2:2000, the number as its IPv4 identification and total of ports.
fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(((number >> 16) as u16).to_be_bytes());
    frame.extend((number as u16).to_be_bytes());
    frame.extend([0, 26, 0, 0]);
    frame.resize(60, 0);
    frame
}

#[test]
fn each_packet_is_in_exactly_one_generation() {
    if !may_make() {
        return;
    }
    let to_sockets = ["--capture", "xdp", "--disposition", "drop", "--ring", "64MiB"];
    // On the host, so that the packets come by sockets; in the driver where there is one.
    let on_host = "SELECT srcPort, destPort, len * 0.5 AS half FROM udp";
    let anywhere = "SELECT srcPort, destPort FROM udp";
    let ways = [
        ("socket", &WAYS[0][..], anywhere),
        ("driver", &WAYS[1], anywhere),
        ("frames", &to_sockets, on_host),
    ];
    let only = std::env::var("WT_WAY").ok();
    for (name, way, each) in ways {
        if only.as_ref().is_none_or(|only| only == name) {
            one_generation_each(way, each, name == "frames");
        }
    }
}

/// A run that changes under load, by one way to capture.
fn one_generation_each(way: &[&str], each: &str, may_lose: bool) {
    let netns = Netns::new();
    let text = "DEFINE { query_name total; } SELECT day, count(*) AS n, sum(len) AS bytes FROM udp GROUP BY time/86400 AS day; \
        DEFINE { query_name by; } PARAM { least uint; } SELECT day, count(*) AS n FROM udp WHERE destPort >= $least GROUP BY time/86400 AS day";
    let text = format!("{text}; DEFINE {{ query_name each; }} {each}");
    let numbers = Arc::new(Mutex::new(Numbers::default()));
    let taken = Arc::clone(&numbers);
    let read = move |pipe| Stream::of_lines(pipe, move |line| !taken.lock().unwrap().take(line));
    let run = Spoken::start_reading(&netns, &text, &[&["-p", "least=0"][..], way].concat(), read);
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let sender = netns.sender("far").unwrap();
        let (done, sent) = (&done, &sent);
        scope.spawn(move || {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                sender.send(&frame(number)).unwrap();
                sent.store(number + 1, Ordering::Relaxed);
                if number % 64 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let begin = Instant::now();
        for round in 0..rounds() {
            if round % 100 == 99 {
                let sent = sent.load(Ordering::Relaxed);
                eprintln!("{way:?}: {} rounds, {sent} packets, {:.0?}", round + 1, begin.elapsed());
            }
            let add = "SELECT day, count(*) AS n FROM ip GROUP BY time/86400 AS day";
            run.done(&["add", "--name", "more", add]);
            run.done(&["set", &format!("least={}", round % 2)]);
            let replace = "SELECT day, count(*) AS n FROM udp GROUP BY time/86400 AS day";
            run.done(&["replace", "--name", "more", replace]);
            run.done(&["flush"]);
            run.done(&["remove", "more"]);
        }
        done.store(true, Ordering::Relaxed);
    });
    let sent = sent.load(Ordering::Relaxed);
    wait_until("all packets are seen", || {
        let ledger = run.done(&["ledger"]).stdout;
        booked(&ledger, "live", "near").iter().any(|(name, n)| name == "seen" && *n == sent)
    });
    let ended = run.running.interrupt();
    let numbers = numbers.lock().unwrap();
    // Sockets have frames for as long as a reader may well be kept waiting; what a busy machine loses beyond that is in the books.
    let lost = booked(&ended.stderr, "shed", "each @ near");
    let lost: u64 = lost.iter().filter(|(name, _)| name == "lost").map(|(_, n)| n).sum();
    assert!(lost == 0 || may_lose, "{way:?}\n{}", ended.stderr);
    assert_eq!(numbers.twice, [0; 0], "{way:?}: these came twice");
    assert!(numbers.last().is_none_or(|last| last < sent), "{way:?}");
    assert_eq!(numbers.count + lost, sent, "{way:?}\n{}", ended.stderr);
    assert!(numbers.count > 0, "{way:?}\n{}", ended.stderr);
    assert_eq!(column(&ended.stdout, "each", "srcPort"), [0; 0], "a row of another form");
    assert_eq!(column(&ended.stdout, "total", "n").iter().sum::<u64>(), sent, "{way:?}");
    assert_eq!(column(&ended.stdout, "total", "bytes").iter().sum::<u64>(), 60 * sent);
    // What the query was not there for stands beside what it was offered.
    let number = |table: &str, name: &str| {
        let books = booked(&ended.stderr, table, "_fta_more @ near");
        books.into_iter().find(|(known, _)| known == name).unwrap().1
    };
    assert_eq!(number("queries", "offered") + number("shed", "outside"), sent);
    assert_eq!(
        column(&ended.stdout, "more", "n").iter().sum::<u64>(),
        number("queries", "matched")
    );
    let said = ended.stderr.lines().filter(|line| line.starts_with("wiretable:")).count();
    assert_eq!(said > 0, lost > 0, "{}", ended.stderr);
}

#[test]
fn windows_of_queries_that_stay_go_on() {
    if !may_make() {
        return;
    }
    for way in WAYS {
        let netns = Netns::new();
        let text = "DEFINE { query_name ports; } SELECT day, destPort, count(*) AS n FROM tcp GROUP BY time/86400 AS day, destPort HAVING count(*) > 3; \
                    DEFINE { query_name sums; } SELECT day, sum(n) AS n FROM ports GROUP BY day";
        let run = Spoken::start(&netns, text, &way);
        let frames = frames("http.pcap");
        send(&netns, "far", &frames);
        let seen = |count: usize| {
            wait_until("packets are seen", || {
                let ledger = run.done(&["ledger"]).stdout;
                booked(&ledger, "live", "near")
                    .iter()
                    .any(|(name, n)| name == "seen" && *n == count as u64)
            });
        };
        seen(frames.len());
        run.done(&[
            "add",
            "--name",
            "all",
            "SELECT day, count(*) AS n FROM packet GROUP BY time/86400 AS day",
        ]);
        send(&netns, "far", &frames);
        seen(2 * frames.len());
        // One that others read takes them along: their windows end.
        run.done(&["remove", "all"]);
        run.done(&["replace", "DEFINE { query_name sums; } SELECT day, sum(n) AS n, count(*) AS ports FROM ports GROUP BY day"]);
        send(&netns, "far", &frames);
        seen(3 * frames.len());
        let ended = run.running.interrupt();
        assert_eq!(column(&ended.stdout, "all", "n"), [frames.len() as u64]);
        // The ports' window was never closed by what happened to others.
        let tcp = column(&ended.stdout, "sums", "n");
        assert_eq!(tcp.len(), 1, "{}", ended.stdout);
        assert_eq!(tcp[0] % 3, 0, "{tcp:?}");
        assert_eq!(
            booked(&ended.stderr, "operators", "ports (aggregate)")
                .iter()
                .find(|(name, _)| name == "out")
                .unwrap()
                .1,
            column(&ended.stdout, "sums", "ports")[0]
        );
    }
}

#[test]
fn watchlists_get_other_entries_while_windows_go_on() {
    if !may_make() {
        return;
    }
    let folder = Scratch::new().unwrap();
    let file = folder.path("ports.csv");
    std::fs::write(&file, "# port, why\n7,echo\nwrong\n").unwrap();
    let text = format!(
        "DEFINE {{ query_name watched; filename '{}'; refresh_interval '60'; }} WATCHLIST FIELDS {{ ushort port (key); string why; }}; \
         DEFINE {{ query_name hits; }} SELECT day, count(*) AS n FROM udp WHERE destPort IN watched GROUP BY time/86400 AS day; \
         DEFINE {{ query_name per; }} SELECT day, destPort, count(*) AS n FROM udp GROUP BY time/86400 AS day, destPort; \
         DEFINE {{ query_name late; }} SELECT day, sum(n) AS n FROM per WHERE destPort IN watched GROUP BY day",
        file.display()
    );
    for way in WAYS {
        std::fs::write(&file, "# port, why\n7,echo\nwrong\n").unwrap();
        let netns = Netns::new();
        let run = Spoken::start(&netns, &text, &way);
        let sent = AtomicU64::new(0);
        let send_to = |port: u64, count: u64| {
            let to_port: Vec<Vec<u8>> = (0..count).map(|_| frame(port)).collect();
            send(&netns, "far", &to_port);
            let total = sent.fetch_add(count, Ordering::Relaxed) + count;
            wait_until("packets are seen", || {
                let ledger = run.done(&["ledger"]).stdout;
                booked(&ledger, "live", "near").iter().any(|(k, n)| k == "seen" && *n == total)
            });
        };
        assert_eq!(run.done(&["watch", "watched"]).stdout, "7,echo\n");
        send_to(7, 5);
        send_to(8, 20);
        let edit = ["watch", "watched", "--remove", "7", "--add", "8,new", "--add", "9,more"];
        assert!(run.done(&edit).stdout.starts_with("watched has 2 entries now ("));
        send_to(7, 30);
        send_to(8, 4);

        // What is no record, or no list, changes nothing.
        let refused = |arguments: &[&str]| run.ask(arguments).expect_status(1).expect_no_output();
        refused(&["watch", "watched", "--add", "10"]).expect_said("expected 2 fields");
        refused(&["watch", "watched", "--add", "10,x", "--add", "ten,x"])
            .expect_said("entry 4 of the watchlist: field `port`");
        refused(&["watch", "watched", "--remove", "7"]).expect_said("no key `7`");
        refused(&["watch", "unwatched"]).expect_said("there are: watched");
        refused(&["watch", "hits", "--add", "1,x"]).expect_said("there are: watched");
        assert_eq!(run.done(&["watch", "watched"]).stdout, "8,new\n9,more\n");
        assert!(run.done(&["watch", "watched", "--add", "9,more"]).stdout.contains("already"));

        // A file in its place; other changes leave it so; then its own file, read anew.
        let other = folder.path("other.csv");
        std::fs::write(&other, "# none but this\n\n9,nine\n").unwrap();
        run.done(&["watch", "watched", "--file", &other.display().to_string()]);
        run.done(&[
            "add",
            "--name",
            "more",
            "SELECT day, count(*) AS n FROM udp GROUP BY time/86400 AS day",
        ]);
        run.done(&["remove", "more"]);
        assert_eq!(run.done(&["watch", "watched"]).stdout, "9,nine\n");
        send_to(8, 40);
        send_to(9, 2);
        std::fs::write(&file, "8,own\n").unwrap();
        run.done(&["watch", "watched", "--reread"]);
        assert_eq!(run.done(&["watch", "watched"]).stdout, "8,own\n");
        send_to(8, 1);
        let ended = run.running.interrupt();
        // One window all the time: 5 to port 7, 4 to 8, 2 to 9, 1 to 8.
        assert_eq!(column(&ended.stdout, "hits", "n"), [12], "{way:?}\n{}", ended.stdout);
        // The operators above see the list as it is when the window ends.
        assert_eq!(column(&ended.stdout, "late", "n"), [65], "{way:?}\n{}", ended.stdout);
    }
}

#[test]
fn what_a_run_cannot_take_changes_nothing() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name len; } PARAM { p uint; } SELECT time, len FROM packet WHERE len >= $p; \
                DEFINE { query_name tb; } PARAM { step uint; } SELECT t, count(*) AS n FROM packet GROUP BY time/$step AS t";
    for way in WAYS {
        let run =
            Spoken::start(&netns, text, &[&["-p", "p=0", "-p", "step=60"][..], &way].concat());
        let refused = |arguments: &[&str]| run.ask(arguments).expect_status(1).expect_no_output();
        refused(&["add", "--name", "len", "SELECT time FROM packet"]).expect_said("runs already");
        refused(&["add", "SELECT time FROM packet"]).expect_said("has no name");
        refused(&["add", "--name", "x", "SELECT nothing FROM packet"]).expect_said("unknown-field");
        refused(&["add", "--name", "x", "SELECT count(*) FROM packet"]).expect_said("never");
        refused(&["replace", "--name", "lne", "SELECT time FROM packet"])
            .expect_said("Did you mean `len`?");
        refused(&["remove", "x"]).expect_said("no query `x` runs");
        refused(&["set", "q=1"]).expect_said("no query has a parameter `q`");
        refused(&["set", "p=many"]).expect_said("many");
        refused(&["set", "step=30"]).expect_said("may not change");
        run.done(&["add", "--name", "y", "PARAM { p uint; } SELECT time FROM len"]);
        refused(&["remove", "len"]).expect_said("len");
        let frames = frames("dns.pcap");
        send(&netns, "far", &frames);
        wait_until("rows", || run.running.stdout.text().lines().count() >= 2 * frames.len());
        let ended = run.running.interrupt();
        expect_booked(&ended.stderr, "live", "near", &[("seen", frames.len() as u64)]);
        assert_eq!(column(&ended.stdout, "len", "len").len(), frames.len());
    }
    let nobody = wiretable(["ctl", "-s", "/nonexistent/run.sock", "list"]).output().unwrap();
    outcome(nobody).expect_status(2).expect_said("cannot reach the run");
}

#[test]
fn the_books_are_served_while_it_runs() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let text = "DEFINE { query_name len; } SELECT time, len FROM packet";
    let run = Spoken::start(&netns, text, &["--metrics", "127.0.0.1:0"]);
    netns.ip(&["link", "set", "lo", "up"]);
    let frames = frames("dns.pcap");
    send(&netns, "far", &frames);
    let said = || run.running.stderr.text();
    wait_until("the address is said", || said().contains("/metrics"));
    let address = said().split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let get = |path: &str| {
        netns.inside(|| {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    let line = format!("wiretable_interface_seen_total{{interface=\"near\"}} {}\n", frames.len());
    wait_until("the count is served", || get("/metrics").contains(&line));
    assert!(get("/metrics").contains("# TYPE wiretable_query_matched_total counter\n"));
    assert!(get("/").starts_with("HTTP/1.1 404"));
    assert!(run.done(&["metrics"]).stdout.contains(&line));
    let status = run.done(&["ledger", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["accounts"][0]["seen"], frames.len() as u64);
    let socket = run.socket.display().to_string();
    let top = wiretable(["top", "-s", &socket, "-d", "200ms", "-n", "2"]).output().unwrap();
    let top = outcome(top).expect_status(0).stdout;
    assert_eq!(top.matches("query  up 0:00:").count(), 2, "{top}");
    let lines: Vec<Vec<&str>> = top.lines().map(|l| l.split_whitespace().collect()).collect();
    let count = frames.len().to_string();
    assert!(lines.contains(&vec!["near", "0", "0", &count, "0", "0", "0", "0"]), "{top}");
    assert!(run.done(&["list"]).stdout.starts_with("len  DEFINE { query_name len; } SELECT"));
    run.running.interrupt();
    assert!(!run.socket.exists(), "the socket goes with the run");
}
