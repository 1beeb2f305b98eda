//! Who dies at whatever moment, with devices of each kind: a live run of this program, a Linux host, a Kubernetes API server. The device ends up as wanted, each change is made
//! once, and the log tells why.
//!
//! `WT_SOAK=1` makes 200 seeded runs of each kind instead of 6, `WT_SEED=N` one. Needs Postgres; a live run and a Linux host need root, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wt_tests::cluster::Cluster;
use wt_tests::control_plane::{Serving, beside, wait_settled, want};
use wt_tests::database::Database;
use wt_tests::live::{Guarded, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{outcome, run, wiretable};
use wt_tests::rng::Rng;
use wt_tests::service::Service;

/// The seeds of the runs.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("WT_SEED").map(|seed| seed.parse::<u64>()) {
        Ok(seed) => seed.map(|seed| seed..seed + 1).expect("WT_SEED is a number"),
        Err(_) => 0..if std::env::var_os("WT_SOAK").is_some() { 200 } else { 6 },
    }
}

/// Wishes of a run.
const CHANGES: usize = 6;

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Proxy,
    Postgres,
    Device,
}

/// A device of some kind, its objects, and what was made of them.
trait Device {
    /// Its driver, and its target.
    fn address(&self) -> (&'static str, String);
    /// The configuration of its driver.
    fn config(&self) -> String;
    /// An object's kind, name, and a state that no other wish has.
    fn wish(&self, object: usize, number: usize) -> (&'static str, String, Value);
    /// Dies and comes back; false when it cannot die.
    fn die(&mut self) -> bool;
    /// What an object is, in the form of a wish.
    fn state(&self, name: &str) -> Option<Value>;
    /// A state that was made more than once.
    fn repeated(&self) -> Option<String>;
}

fn with_each(database: &Database, seed: u64, victims: &[Victim], device: &mut dyn Device) {
    let mut rng = Rng::named(seed, "kills");
    let victim = *rng.pick(victims);
    let at_change = 1 + rng.below(CHANGES);
    let pause = Duration::from_micros(100 * rng.below(1500) as u64);
    let (driver, target) = device.address();
    let what = format!("{driver}, seed {seed}: {victim:?} dies {pause:?} after change {at_change}");
    let name = format!("{driver}{seed}");
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('{name}', '{driver}', '{target}')"
    ));
    let config = format!(
        "[proxy]\nlease = '1500ms'\npoll = '50ms'\ncheck = '1s'\ntimeout = '5s'\n{}\n",
        device.config()
    );
    let mut serving = Serving::start(database, &config);
    let mut wanted: BTreeMap<String, Option<Value>> = BTreeMap::new();
    for change in 1..=CHANGES {
        let (kind, object, state) = device.wish(rng.below(2), change);
        let state = (!rng.one_in(4)).then_some(state);
        // Removing what never was is no change.
        if state.is_some() || wanted.contains_key(&object) {
            let literal = state.as_ref().map_or("NULL".to_owned(), |state| format!("'{state}'"));
            want(database, &name, kind, &object, &literal);
            wanted.insert(object, state);
        }
        if change == at_change {
            std::thread::sleep(pause);
            match victim {
                Victim::Proxy => {
                    serving.kill();
                    serving = Serving::start(database, &config);
                }
                Victim::Postgres => {
                    database.kill();
                    database.restart();
                }
                Victim::Device => assert!(device.die(), "{what}"),
            }
        } else if rng.one_in(2) {
            std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
        }
    }
    wait_settled(database, &name, &what);
    for (object, state) in &wanted {
        // That a device has forgotten everything shows in the next full check.
        wait_until(&format!("{object} is {state:?}: {what}"), || device.state(object) == *state);
    }
    wait_settled(database, &name, &what);
    assert_eq!(device.repeated(), None, "each change once: {what}");
    // Every command that was answered has the answer as its consequence, and the wish as its reason.
    let untold = database.sql(&format!(
        "SELECT count(*) FROM north.command k WHERE k.device = '{name}' AND k.state = 'done' AND NOT (
           EXISTS (SELECT FROM prov.event d WHERE d.cause = k.event AND d.op = 'device')
           AND EXISTS (SELECT FROM prov.event c JOIN prov.event o ON o.id = c.cause WHERE c.id = k.event AND o.object = 'net.object'))"
    ));
    assert_eq!(untold, "0", "{what}");
    assert_eq!(database.sql("SELECT count(*) FROM prov.event WHERE forged"), "0", "{what}");
    let newest = database.sql(&format!(
        "SELECT max(id) FROM north.command WHERE device = '{name}' AND state = 'done'"
    ));
    if !wanted.is_empty() {
        let story = run(["why", &newest, "--database-url", &database.url]).expect_status(0).stdout;
        let device = format!("device {name}/");
        assert!(story.contains("net.object") && story.contains(&device), "{what}\n{story}");
    }
    serving.interrupt();
    database.sql(&format!("UPDATE net.device SET enabled = false WHERE device = '{name}'"));
}

// ── Kubernetes ──────────────────────────────────────────────────────────────────────────────────────────────

struct Kubernetes {
    cluster: Arc<Mutex<Cluster>>,
    service: Service,
}

impl Device for Kubernetes {
    fn address(&self) -> (&'static str, String) {
        ("kubernetes", self.service.url())
    }

    fn config(&self) -> String {
        format!("[kubernetes]\nallow = ['{}']\nimage = 'pause:1'", self.service.url())
    }

    fn wish(&self, object: usize, number: usize) -> (&'static str, String, Value) {
        ("workload", format!("prod/w{object}"), json!({"replicas": number, "image": "nginx:1"}))
    }

    fn die(&mut self) -> bool {
        false
    }

    fn state(&self, name: &str) -> Option<Value> {
        let name = name.strip_prefix("prod/").unwrap();
        let path = format!("/apis/apps/v1/namespaces/prod/deployments/{name}");
        let cluster = self.cluster.lock().unwrap();
        let replicas = cluster.objects.get(&path)?["spec"]["replicas"].clone();
        Some(json!({"replicas": replicas, "image": "nginx:1"}))
    }

    fn repeated(&self) -> Option<String> {
        let made = &self.cluster.lock().unwrap().generations;
        let again = (1..made.len()).find(|at| made[..*at].contains(&made[*at]));
        again.map(|at| format!("{:?}", made[at]))
    }
}

#[test]
fn kubernetes_is_as_wanted_whoever_is_killed() {
    let Some(database) = Database::start() else { return };
    for seed in seeds() {
        let cluster: Arc<Mutex<Cluster>> = Arc::default();
        let asked = Arc::clone(&cluster);
        let service = Service::start(move |request| asked.lock().unwrap().answer(request));
        let mut device = Kubernetes { cluster, service };
        with_each(&database, seed, &[Victim::Proxy, Victim::Postgres], &mut device);
    }
}

// ── Linux ───────────────────────────────────────────────────────────────────────────────────────────────────

struct Linux {
    netns: Netns,
    /// Where generations are kept.
    state: String,
    /// What the kernel says of changes of its tables.
    said: std::path::PathBuf,
    _monitor: Guarded,
}

impl Linux {
    fn new(database: &Database, seed: u64) -> Self {
        let netns = Netns::new();
        let said = database.path(&format!("nft-{seed}"));
        let mut command = netns.command("nft");
        command.arg("monitor").stdin(Stdio::null()).stderr(Stdio::null());
        let monitor = command.stdout(std::fs::File::create(&said).unwrap()).spawn().unwrap();
        let linux = Self {
            netns,
            state: database.path("devices").display().to_string(),
            said,
            _monitor: Guarded(monitor),
        };
        // It listens once it has said something.
        wait_until("changes are told", || {
            linux.nft(&["add", "table", "ip", "probe"]);
            linux.nft(&["delete", "table", "ip", "probe"]);
            std::fs::read_to_string(&linux.said).unwrap().contains("probe")
        });
        linux
    }

    fn nft(&self, arguments: &[&str]) -> Option<String> {
        let output = self.netns.command("nft").args(arguments).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Device for Linux {
    fn address(&self) -> (&'static str, String) {
        ("linux", self.netns.name().to_owned())
    }

    fn config(&self) -> String {
        format!("state = '{}'", self.state)
    }

    fn wish(&self, object: usize, number: usize) -> (&'static str, String, Value) {
        let elements = [format!("203.0.113.{number}")];
        ("nft_set", format!("inet/t/s{object}"), json!({"type": "ipv4_addr", "elements": elements}))
    }

    fn die(&mut self) -> bool {
        false
    }

    fn state(&self, name: &str) -> Option<Value> {
        let parts: Vec<&str> = name.split('/').collect();
        let shown = self.nft(&["-j", "list", "set", parts[0], parts[1], parts[2]])?;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let sets = shown["nftables"].as_array().unwrap();
        let set = sets.iter().find_map(|entry| entry.get("set")).unwrap();
        Some(json!({"type": set["type"], "elements": set["elem"]}))
    }

    fn repeated(&self) -> Option<String> {
        let said = std::fs::read_to_string(&self.said).unwrap();
        // A transaction that makes a set and its elements is told with some of them twice.
        let mut added: Vec<&str> = Vec::new();
        for transaction in said.split("# new generation") {
            let lines = transaction.lines().filter(|line| line.starts_with("add element"));
            added.extend(lines.collect::<BTreeSet<&str>>());
        }
        added.sort_unstable();
        let again = added.windows(2).find(|pair| pair[0] == pair[1]);
        again.map(|pair| format!("{}\n{said}", pair[0]))
    }
}

#[test]
fn a_linux_host_is_as_wanted_whoever_is_killed() {
    if !may_make() {
        return;
    }
    if Command::new("nft").arg("--version").output().is_err() {
        eprintln!("skipped: nftables is not installed; .ci/setup installs it");
        return;
    }
    let Some(database) = Database::start() else { return };
    for seed in seeds() {
        let mut device = Linux::new(&database, seed);
        with_each(&database, seed, &[Victim::Proxy, Victim::Postgres], &mut device);
    }
}

// ── A live run ──────────────────────────────────────────────────────────────────────────────────────────────

struct Appliance {
    netns: Netns,
    socket: String,
    list: String,
    child: Guarded,
}

impl Appliance {
    fn new(database: &Database, seed: u64) -> Self {
        let netns = Netns::new();
        let (file, list) = beside(database, &format!("list-{seed}.csv"));
        std::fs::write(&file, "192.0.2.1\n").unwrap();
        let (_, socket) = beside(database, &format!("run-{seed}.sock"));
        let child = Guarded(Self::start(&netns, &socket, &list));
        Self { netns, socket, list, child }
    }

    fn start(netns: &Netns, socket: &str, list: &str) -> Child {
        let define = |name: &str| {
            format!(
                "DEFINE {{ query_name {name}; filename '{list}'; refresh_interval '60'; }} WATCHLIST FIELDS {{ INET addr (key); }}; \
                 DEFINE {{ query_name hits_{name}; }} SELECT time, srcIP FROM ip WHERE srcIP IN {name}"
            )
        };
        let text = format!("{}; {}", define("l0"), define("l1"));
        let _ = std::fs::remove_file(socket);
        let program = wiretable(["query"]).get_program().to_owned();
        let mut command = netns.command(program.to_str().unwrap());
        command.args(["query", &text, "-i", "near", "--control", socket, "--format", "ndjson"]);
        let said = std::fs::File::create(format!("{socket}.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let mut child = command.spawn().unwrap();
        wait_until("the socket is there", || {
            let ended = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(format!("{socket}.log"));
            assert!(ended.is_none(), "{ended:?} {:?}", said());
            Path::new(socket).exists()
        });
        child
    }

    /// What the run that lives has said.
    fn said(&self) -> String {
        std::fs::read_to_string(format!("{}.log", self.socket)).unwrap()
    }
}

impl Device for Appliance {
    fn address(&self) -> (&'static str, String) {
        ("appliance", self.socket.clone())
    }

    fn config(&self) -> String {
        String::new()
    }

    fn wish(&self, object: usize, number: usize) -> (&'static str, String, Value) {
        let entries = [format!("203.0.113.{number}")];
        ("watchlist", format!("l{object}"), json!({"entries": entries}))
    }

    fn die(&mut self) -> bool {
        self.child.0.kill().and_then(|()| self.child.0.wait()).unwrap();
        self.child = Guarded(Self::start(&self.netns, &self.socket, &self.list));
        true
    }

    fn state(&self, name: &str) -> Option<Value> {
        let mut command = wiretable(["ctl", "-s", &self.socket, "watch", name]);
        let shown = outcome(command.output().unwrap()).expect_status(0).stdout;
        let entries: Vec<&str> = shown.lines().collect();
        let state = (entries != ["192.0.2.1"]).then(|| json!({"entries": entries}))?;
        // Whoever runs it can read who made it so.
        let is_told = |line: &str| {
            line.starts_with(&format!("wiretable: watchlist {name} by generation "))
                && line.ends_with(&format!(": {state}"))
        };
        assert!(self.said().lines().any(is_told), "{state}: {}", self.said());
        Some(state)
    }

    fn repeated(&self) -> Option<String> {
        // Of the run that lives: it says each change that it makes.
        let said = self.said();
        let mut made: Vec<(&str, u64, &str)> = Vec::new();
        for line in said.lines() {
            let Some(change) = line.strip_prefix("wiretable: watchlist ") else { continue };
            let (object, state) = change.split_once(" by generation ").unwrap();
            let (generation, state) = state.split_once(": ").unwrap();
            let generation: u64 = generation.parse().unwrap();
            // A wish is a generation, and no two have the same state, unless both are that the object be gone.
            let is_again = made.iter().any(|(name, before, last)| {
                *name == object && (*before >= generation || (*last == state && state != "removed"))
            });
            if is_again {
                return Some(format!("{object} by {generation}: {state}\n{said}"));
            }
            made.push((object, generation, state));
        }
        None
    }
}

#[test]
fn a_live_run_is_as_wanted_whoever_is_killed() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let all = [Victim::Proxy, Victim::Postgres, Victim::Device];
    for seed in seeds() {
        let mut device = Appliance::new(&database, seed);
        with_each(&database, seed, &all, &mut device);
    }
}
