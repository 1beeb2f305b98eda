//! A batch of `configs/` at one end of a link, tcpreplay and live frames at the other: its rows are those of the same batch over a recording of the same
//! run, its totals those of the capture that is sent, and both books balance to the packet, also at more than the host can take. Needs root and tcpreplay.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{Scratch, wiretable};
use wt_bench::live::books::Books;
use wt_bench::live::frames::Frames;
use wt_bench::live::lab::{End, FAR, Lab, NEAR};
use wt_bench::live::receiver::{Ended, Receiver};
use wt_bench::live::sweep::sweep;
use wt_bench::live::trial::{Place, Sender, Trial, books};
use wt_bench::live::{is_root, packets, tcpreplay};
use wt_bench::peers;

/// Where packets are sent from, and where they are received.
const CORES: [usize; 2] = [0, 1];

/// A rate that any machine takes.
const LIGHT: f64 = 2000.0;

/// Packets and bytes are what rows count; a total does not depend on when they came.
const COUNTS: [&str; 5] = ["segments", "payload_bytes", "http", "requests", "answers"];

/// The lines of a batch's sinks by file: heads, and rows in the order of their text, as those of a window are a multiset.
type Rows = BTreeMap<String, Vec<String>>;

/// Sums by file and what rows say beside their minute and their counts.
type Totals = BTreeMap<(String, String), Vec<u64>>;

/// A batch, the packets it is sent, and where both are kept.
struct Stage {
    scratch: Scratch,
    batch: PathBuf,
    packets: Vec<Vec<u8>>,
    lab: Lab,
}

impl Stage {
    /// None where it cannot be.
    fn set(name: &str) -> Option<Self> {
        let tools = ["ip", "ethtool", "tcpreplay"];
        let missing: Vec<_> = tools.iter().filter(|tool| peers::find(tool).is_none()).collect();
        if !is_root() {
            eprintln!("SKIPPED: network namespaces and programs in the kernel need root");
            return None;
        } else if !missing.is_empty() {
            eprintln!(
                "SKIPPED: {missing:?} are not here; `wt-bench peers --install` installs them"
            );
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tree");
        let captures =
            ["http.pcap", "eth0.pcap"].map(|name| root.join("tests/captures").join(name));
        let packets = captures.iter().flat_map(|path| packets::of_capture(path).expect("packets"));
        Some(Self {
            scratch: Scratch::new(name),
            batch: root.join("configs/web.toml"),
            packets: packets.collect(),
            lab: Lab::new(1).expect("two namespaces"),
        })
    }

    /// A folder for a run's results.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.scratch.0.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// The batch on the wire, with its results in a folder.
    fn live(&self, folder: &Path, cores: &[usize], way: [&str; 2]) -> Command {
        self.arguments(self.lab.command(End::Near, wiretable(), cores), folder, way)
    }

    /// As [`Self::live`], where everything else comes first.
    fn live_behind(&self, folder: &Path, core: usize, way: [&str; 2]) -> Command {
        let mut command = self.lab.command(End::Near, "nice", &[core]);
        command.args(["-n", "19"]).arg(wiretable());
        self.arguments(command, folder, way)
    }

    fn arguments(&self, mut command: Command, folder: &Path, way: [&str; 2]) -> Command {
        command.arg("run").arg(&self.batch).args(["-i", &format!("eth0={NEAR}")]);
        command.args(["--capture", way[0], "--disposition", way[1], "--control", "none"]);
        command.args(["--ledger", "--no-progress"]).current_dir(folder);
        command
    }

    /// A recorder of an end's interface.
    fn recorder(&self, end: End, interface: &str, store: &Path) -> Command {
        let mut command = self.lab.command(end, wiretable(), &[]);
        command.args(["record", "-i", interface, "--capture", "socket", "--ledger", "-w"]);
        command.arg(store).arg("--no-progress");
        command
    }

    /// The rows of the batch over a capture or a store.
    fn replayed(&self, trace: &Path, folder: &Path) -> Rows {
        let mut command = Command::new(wiretable());
        command.arg("run").arg(&self.batch).arg("-r").arg(format!("eth0={}", trace.display()));
        let output = command.arg("--ledger").current_dir(folder).output().expect("wiretable runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(Books::read(&said).check(), Ok(()), "{said}");
        rows(folder)
    }

    /// Totals of the batch over what a sender of so many packets has sent: all of them so many times, and the first ones once more.
    fn totals_of_sent(&self, sent: u64) -> Totals {
        let (rounds, rest) = (sent / self.packets.len() as u64, sent as usize % self.packets.len());
        let of = |name: &str, packets: &[Vec<u8>]| {
            let trace = self.scratch.0.join(name);
            tcpreplay::write_trace(&trace, packets).expect("a trace");
            let folder = self.folder(&format!("{name}-rows"));
            let rows = self.replayed(&trace, &folder);
            std::fs::remove_dir_all(folder).expect("a folder");
            totals(&rows)
        };
        let mut all = of("whole.pcap", &self.packets);
        all.values_mut().flatten().for_each(|n| *n *= rounds);
        add(&mut all, &of("rest.pcap", &self.packets[..rest]));
        all.retain(|_, counts| counts.iter().any(|n| *n > 0));
        all
    }

    fn frames(&self) -> Sender {
        let frames = self.lab.inside(End::Far, || Frames::replay(FAR, &self.packets));
        Sender::Frames(frames.expect("live frames"))
    }
}

/// The sinks below a folder.
fn rows(folder: &Path) -> Rows {
    let files = std::fs::read_dir(folder.join("out/web")).expect("sinks of the batch").flatten();
    let sorted = |path: PathBuf| {
        let text = std::fs::read_to_string(path).expect("a sink");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..].sort_unstable();
        lines
    };
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.map(|file| (name(&file.path()), sorted(file.path()))).collect()
}

/// Time is the first column, counts are the last ones.
fn totals(rows: &Rows) -> Totals {
    let mut totals = Totals::new();
    for (file, lines) in rows {
        let counts = lines[0].split(',').filter(|name| COUNTS.contains(name)).count();
        assert!(lines[0].starts_with("minute,") && counts > 0, "{file}: {}", lines[0]);
        for line in &lines[1..] {
            let mut cells = line.rsplitn(counts + 1, ',');
            let last = cells.by_ref().take(counts).map(|n| n.parse().expect("a count"));
            let mut numbers: Vec<u64> = last.collect();
            numbers.reverse();
            let key = cells.next().expect("a minute");
            let key = key.split_once(',').map_or("", |(_, key)| key);
            add(&mut totals, &[((file.clone(), key.to_owned()), numbers)].into());
        }
    }
    totals
}

fn add(all: &mut Totals, more: &Totals) {
    for (key, counts) in more {
        let sums = all.entry(key.clone()).or_insert_with(|| vec![0; counts.len()]);
        sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
}

/// The sum of a file's first count.
fn sum(totals: &Totals, file: &str) -> u64 {
    totals.iter().filter(|((of, _), _)| of == file).map(|(_, counts)| counts[0]).sum()
}

/// Windows are minutes, and the stamps of two captures of a packet are some µs apart: nothing is sent around the full minute.
fn keep_clear_of_the_minute() {
    let second =
        || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() % 60;
    while !(1..54).contains(&second()) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn checked(ended: &Ended) -> Books {
    let books = Books::read(&ended.error);
    assert_eq!(books.check(), Ok(()), "{}", ended.error);
    books
}

#[test]
fn a_batch_on_the_wire_answers_as_over_a_recording_of_it() {
    let Some(stage) = Stage::set("wire") else { return };
    let trace = stage.scratch.0.join("sent.pcap");
    tcpreplay::write_trace(&trace, &stage.packets).expect("a trace");
    // Packets that end in the driver are recorded where they are sent: there a socket sees those of tcpreplay, but no live frames.
    for (number, (way, end)) in
        [(["xdp", "pass"], End::Near), (["socket", "pass"], End::Near), (["xdp", "drop"], End::Far)]
            .into_iter()
            .enumerate()
    {
        keep_clear_of_the_minute();
        let (store, folder) =
            (stage.scratch.0.join(format!("store{number}")), format!("live{number}"));
        let folder = stage.folder(&folder);
        let (interface, captures) = if end == End::Near { (NEAR, 2) } else { (FAR, 1) };
        let recorder = stage.recorder(end, interface, &store);
        let recorder = Receiver::start_at(&stage.lab, end, recorder, 1).expect("a recorder");
        let live = Receiver::start(&stage.lab, stage.live(&folder, &[], way), captures);
        let live = live.expect("the batch");
        let link = stage.lab.counters().expect("counters");
        let mut senders = vec![Sender::Tcpreplay(trace.clone())];
        if end == End::Near {
            senders.push(stage.frames());
        }
        let (mut sent, mut expected) = (0, Totals::new());
        for sender in &senders {
            let by = sender.send(&stage.lab, CORES[0], Some(LIGHT), Duration::from_millis(500));
            let frames = by.expect("packets").frames;
            assert!(frames > 0, "{way:?}: none by {}", sender.name());
            add(&mut expected, &stage.totals_of_sent(frames));
            sent += frames;
        }
        assert_eq!(stage.lab.counters().expect("counters").since(link).lost(), 0, "{way:?}");
        let live = live.interrupt(Duration::ZERO).expect("an end");
        let recorder = recorder.interrupt(Duration::ZERO).expect("an end");
        let books = (checked(&live), checked(&recorder));
        let summary = books.0.summary();
        let counted = (summary.seen, summary.records, summary.lost + summary.shed);
        assert_eq!(counted, (sent, sent, 0), "{way:?}\n{}", live.error);
        assert_eq!(books.1.sum("writer", "written"), sent, "{way:?}\n{}", recorder.error);
        if way[1] == "drop" {
            let came = books.0.sum("sockets", "received");
            assert!(came > 0 && came == books.0.sum("sockets", "redirected"), "{}", live.error);
        }
        let on_the_wire = rows(&folder);
        let recorded = stage.replayed(&store, &stage.folder(&format!("recorded{number}")));
        assert_eq!(on_the_wire, recorded, "{way:?}");
        assert_eq!(on_the_wire.len(), 4, "{way:?}: a sink of each query");
        assert_eq!(totals(&on_the_wire), expected, "{way:?}");
    }
}

#[test]
fn books_balance_at_three_times_what_the_host_can_take() {
    let Some(stage) = Stage::set("overload") else { return };
    let way = ["xdp", "drop"];
    let place = |duration| Place {
        lab: &stage.lab,
        pairs: 1,
        sender_core: CORES[0],
        napi: None,
        duration: Duration::from_millis(duration),
    };
    let folder = stage.folder("live");
    // What AF_XDP and the regular expressions take, and then as many as can be sent. Where that is less than three times as much, the batch has what the
    // sender leaves of its core.
    let overload = CORES.into_iter().rev().find_map(|core| {
        let command = || match core == CORES[0] {
            true => stage.live_behind(&folder, core, way),
            false => stage.live(&folder, &[core], way),
        };
        let searched =
            sweep(0.02, 4, |rate| place(150).trial(&stage.frames(), command(), rate, books));
        let searched = searched.expect("trials");
        searched.trials.iter().for_each(expect_balance);
        let taken = searched.best().map_or(0.0, |best| best.sent.rate());
        std::fs::remove_dir_all(folder.join("out")).expect("results");
        let trial = place(500).trial(&stage.frames(), command(), None, books).expect("a trial");
        let rate = trial.sent.rate();
        eprintln!("core {core}: {taken:.0} packets/s are taken, {rate:.0} sent");
        (rate >= 3.0 * taken).then_some(trial)
    });
    let trial = overload.expect("three times the rate that the host takes");
    let sent = trial.sent.frames;
    expect_balance(&trial);
    let books = checked(&trial.receiver);
    let ledger = &trial.receiver.error;
    let dropped = books.sum("sockets", "no frame") + books.sum("sockets", "ring full");
    assert!(dropped > 0, "nothing was lost\n{ledger}");
    assert_eq!(books.sum("sockets", "received") + dropped, books.sum("sockets", "redirected"));

    let (found, expected) = (totals(&rows(&folder)), stage.totals_of_sent(sent));
    let of = |totals: &Totals, file: &str| -> Totals {
        totals.clone().into_iter().filter(|((of, _), _)| of == file).collect()
    };
    // What runs in the driver has seen all that came over the link, whatever the host has lost.
    if trial.lost_on_link() == 0 {
        assert_eq!(of(&found, "servers.csv"), of(&expected, "servers.csv"), "{ledger}");
    }
    let matched = books.of_query("_fta_servers", "matched").expect("a query");
    assert_eq!(sum(&found, "servers.csv"), matched, "{ledger}");
    // What runs on the host lacks at most what its books say.
    for (file, query) in [
        ("share.csv", "_fta_share"),
        ("requests.csv", "_fta_requests"),
        ("statuses.csv", "_fta_statuses"),
    ] {
        let (found, all) = (sum(&found, file), sum(&expected, file));
        let lost = books.of_query(query, "lost").expect("a query") + trial.lost_on_link();
        assert!(
            lost > 0 && found <= all && all <= found + lost,
            "{file}: {found} of {all}\n{ledger}"
        );
    }
}

/// Every packet is in exactly one place, of those that the sender has counted.
#[track_caller]
fn expect_balance(trial: &Trial) {
    assert_eq!(trial.balance, Ok(()), "{}", trial.receiver.error);
    let (sent, seen, lost) = (trial.sent.frames, trial.summary.seen, trial.lost_on_link());
    assert_eq!(sent, seen + lost, "seen {seen}, lost on the link {lost}\n{}", trial.receiver.error);
}
