//! What can go wrong between a wish in the database and a device, at each step: the device ends up as wanted, each change is made once, and the log tells why.
//!
//! `WT_SOAK=1` makes 200 seeded runs instead of 10, `WT_SEED=N` one. Needs Postgres.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wt_tests::control_plane::{Serving, wait_settled, want};
use wt_tests::database::Database;
use wt_tests::live::wait_until;
use wt_tests::program::run;
use wt_tests::rng::Rng;
use wt_tests::service::{Device, Fault, Service};

/// The seeds of the runs.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("WT_SEED").map(|seed| seed.parse::<u64>()) {
        Ok(seed) => seed.map(|seed| seed..seed + 1).expect("WT_SEED is a number"),
        Err(_) => 0..if std::env::var_os("WT_SOAK").is_some() { 200 } else { 10 },
    }
}

/// Wishes of a run.
const CHANGES: usize = 6;

/// Where something dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The wish is committed, and perhaps claimed.
    Wished,
    /// The device was asked and has done nothing.
    Asked,
    /// The device has made the change, and nobody knows.
    Made,
    /// The device has answered.
    Answered,
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Proxy,
    Postgres,
    Device,
}

fn config(url: &str) -> String {
    format!(
        "[proxy]\nlease = '600ms'\npoll = '50ms'\ncheck = '400ms'\ntimeout = '300ms'\n[http]\nallow = ['{url}']\n"
    )
}

/// What must hold when all is quiet.
#[track_caller]
fn expect_settled(
    database: &Database,
    device: &Mutex<Device>,
    wanted: &BTreeMap<String, Option<Value>>,
    what: &str,
) {
    wait_settled(database, "%", what);
    let device = device.lock().unwrap();
    for (name, state) in wanted {
        assert_eq!(device.state(&format!("/pool/{name}")), *state, "{name}: {what}");
    }
    assert_eq!(device.repeated(), None, "each change once: {what}\n{:?}", device.effects);
    // Every command that was answered has the answer as its consequence, and the wish as its reason.
    let untold = database.sql(
        "SELECT count(*) FROM north.command k WHERE k.state = 'done' AND NOT (
           EXISTS (SELECT FROM prov.event d WHERE d.cause = k.event AND d.op = 'device')
           AND EXISTS (SELECT FROM prov.event c JOIN prov.event o ON o.id = c.cause WHERE c.id = k.event AND o.object = 'net.object'))",
    );
    assert_eq!(untold, "0", "{what}");
    assert_eq!(database.sql("SELECT count(*) FROM prov.event WHERE forged"), "0", "{what}");
}

#[test]
fn whoever_is_killed_each_change_is_made_once() {
    let Some(database) = Database::start() else { return };
    for seed in seeds() {
        one_run(&database, seed);
    }
}

fn one_run(database: &Database, seed: u64) {
    let mut rng = Rng::named(seed, "faults");
    let step = *rng.pick(&[Step::Wished, Step::Asked, Step::Made, Step::Answered]);
    let victim = *rng.pick(&[Victim::Proxy, Victim::Postgres, Victim::Device]);
    let at_change = 1 + rng.below(4);
    let what = format!("seed {seed}: {victim:?} dies, {step:?}, change {at_change}");
    let device = Arc::new(Mutex::new(Device::default()));
    // The device counts changes that reach it; at the one that is meant it stops until the test has killed whom it kills.
    let (asked, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let service = {
        let (asked, reached) = (Arc::clone(&asked), Arc::clone(&reached));
        Device::serve(&device, move |_| {
            let number = 1 + asked.fetch_add(1, Ordering::AcqRel);
            if number != at_change || step == Step::Wished {
                // What is away is away for some calls.
                let is_away =
                    victim == Victim::Device && number > at_change && number < at_change + 4;
                return if is_away && step == Step::Wished { Fault::Away } else { Fault::None };
            }
            reached.fetch_add(1, Ordering::AcqRel);
            let pause = Duration::from_millis(250);
            match (step, victim) {
                (Step::Asked, Victim::Device) => Fault::Away,
                (Step::Asked, _) => Fault::Hang(pause),
                (Step::Made, Victim::Device) => Fault::DoneAndGone,
                (Step::Made, _) => Fault::Late(pause),
                _ => Fault::None,
            }
        })
    };
    let name = format!("d{seed}");
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('{name}', 'http', '{}')",
        service.url()
    ));
    let mut serving = Serving::start(database, &config(&service.url()));
    let mut wanted: BTreeMap<String, Option<Value>> = BTreeMap::new();
    let mut is_over = false;
    for change in 1..=CHANGES {
        let object = format!("pool-{}", rng.below(3));
        let state = (!rng.one_in(4)).then(|| json!({"weight": change, "seed": seed}));
        let literal = state.as_ref().map_or("NULL".to_owned(), |state| format!("'{state}'"));
        // Removing what never was is no change.
        if state.is_some() || wanted.contains_key(&object) {
            want(database, &name, "pool", &object, &literal);
            wanted.insert(object, state);
        }
        // Whether the step has been reached; at the last change, that it will not be any more.
        let is_time = match step {
            _ if is_over => false,
            Step::Wished => change == at_change,
            _ => {
                let most = if change == CHANGES { 500 } else { 20 };
                let until = Instant::now() + Duration::from_millis(most);
                while reached.load(Ordering::Acquire) == 0 && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                reached.load(Ordering::Acquire) > 0 || change == CHANGES
            }
        };
        if is_time {
            is_over = true;
            if step == Step::Answered {
                std::thread::sleep(Duration::from_millis(rng.below(10) as u64));
            }
            match victim {
                Victim::Proxy => {
                    serving.kill();
                    serving = Serving::start(database, &config(&service.url()));
                }
                Victim::Postgres => {
                    database.kill();
                    database.restart();
                }
                // It has gone by itself.
                Victim::Device => {}
            }
        }
    }
    expect_settled(database, &device, &wanted, &what);
    // The story from a wish to the device and back, as people read it.
    let newest = database.sql(&format!(
        "SELECT max(id) FROM north.command WHERE device = '{name}' AND state = 'done'"
    ));
    let story = run(["why", &newest, "--database-url", &database.url]).expect_status(0).stdout;
    assert!(
        story.contains("net.object") && story.contains(&format!("device {name}/pool/")),
        "{story}"
    );
    serving.interrupt();
    database.sql(&format!("UPDATE net.device SET enabled = false WHERE device = '{name}'"));
}

/// One object on a device with faults by number of the change that is asked for.
fn with_faults(
    database: &Database,
    name: &str,
    faults: &'static [Fault],
) -> (Arc<Mutex<Device>>, Service) {
    let device = Arc::new(Mutex::new(Device::default()));
    let asked = AtomicUsize::new(0);
    let service = Device::serve(&device, move |_| {
        faults.get(asked.fetch_add(1, Ordering::AcqRel)).cloned().unwrap_or(Fault::None)
    });
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('{name}', 'http', '{}')",
        service.url()
    ));
    (device, service)
}

#[test]
fn devices_that_hang_answer_late_fail_after_doing_or_lie_end_up_as_wanted() {
    let Some(database) = Database::start() else { return };
    const HANG: &[Fault] =
        &[Fault::Hang(Duration::from_secs(2)), Fault::Hang(Duration::from_secs(2))];
    const LATE: &[Fault] = &[Fault::Late(Duration::from_secs(2))];
    const GONE: &[Fault] = &[Fault::DoneAndGone, Fault::Away, Fault::Away];
    const FAILED: &[Fault] = &[Fault::DoneAndFailed, Fault::DoneAndFailed];
    const LIE: &[Fault] = &[Fault::Lie];
    for (name, faults) in
        [("hang", HANG), ("late", LATE), ("gone", GONE), ("failed", FAILED), ("lie", LIE)]
    {
        let (device, service) = with_faults(&database, name, faults);
        let serving = Serving::start(&database, &config(&service.url()));
        let state = json!({"weight": 1});
        want(&database, name, "pool", "a", &format!("'{state}'"));
        wait_until(&format!("{name}: the device is as wanted"), || {
            device.lock().unwrap().state("/pool/a") == Some(state.clone())
        });
        let wanted = BTreeMap::from([("a".to_owned(), Some(state))]);
        expect_settled(&database, &device, &wanted, name);
        let made = device.lock().unwrap().effects.clone();
        assert_eq!(made.len(), 1, "{name}: {made:?}");
        // A lie shows in the full check, and is answered with a new generation.
        let generation = if name == "lie" { 2 } else { 1 };
        assert_eq!(made[0].1, generation, "{name}");
        serving.interrupt();
        database.sql(&format!("UPDATE net.device SET enabled = false WHERE device = '{name}'"));
    }
    let said = database.sql("SELECT string_agg(DISTINCT device, ',' ORDER BY device) FROM north.command WHERE attempts > 1");
    assert_eq!(said, "failed,gone,hang,late", "they were tried again");
}

#[test]
fn a_device_that_never_does_it_fails_in_sight_and_can_be_asked_again() {
    let Some(database) = Database::start() else { return };
    let is_mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let device = Arc::new(Mutex::new(Device::default()));
    let service = {
        let is_mended = Arc::clone(&is_mended);
        Device::serve(&device, move |_| match is_mended.load(Ordering::Acquire) {
            true => Fault::None,
            false => Fault::Away,
        })
    };
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('lb', 'http', '{}')",
        service.url()
    ));
    // Eleven tries take two minutes; one that is left takes none.
    let serving = Serving::start(&database, &config(&service.url()));
    want(&database, "lb", "pool", "a", "'{\"weight\": 1}'");
    wait_until("it was tried", || {
        database.sql("SELECT count(*) FROM north.command WHERE attempts >= 2") == "1"
    });
    database.sql("UPDATE north.command SET attempts = 11, next_at = now() WHERE state = 'pending'");
    wait_until("it has failed", || database.sql("SELECT count(*) FROM north.failed") == "1");
    let at = ["--database-url", &database.url];
    let listed = run([&["device", "list", "--format", "csv"][..], &at].concat()).expect_status(0);
    assert!(
        listed.stdout.contains("lb,http,") && listed.stdout.contains(",1,1,0,1,"),
        "{}",
        listed.stdout
    );
    // Nothing is sent any more until a person asks for it.
    let asked = database.sql("SELECT attempts FROM north.command");
    is_mended.store(true, Ordering::Release);
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(database.sql("SELECT attempts FROM north.command"), asked);
    let again = run([&["device", "reconcile", "lb"][..], &at].concat()).expect_status(0);
    assert!(again.stderr.contains("1 failed commands are tried again"), "{}", again.stderr);
    let wanted = BTreeMap::from([("a".to_owned(), Some(json!({"weight": 1})))]);
    expect_settled(&database, &device, &wanted, "asked again");
    serving.interrupt();
}

#[test]
fn a_proxy_that_slept_through_its_lease_cannot_answer_for_a_command() {
    let Some(database) = Database::start() else { return };
    let device = Arc::new(Mutex::new(Device::default()));
    let asked = Arc::new(AtomicUsize::new(0));
    let service = {
        let asked = Arc::clone(&asked);
        // It makes the first change at once, and answers when its proxy sleeps.
        Device::serve(&device, move |_| match asked.fetch_add(1, Ordering::AcqRel) {
            0 => Fault::Late(Duration::from_millis(200)),
            _ => Fault::None,
        })
    };
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('lb', 'http', '{}')",
        service.url()
    ));
    let sleeper = Serving::start(&database, &config(&service.url()));
    want(&database, "lb", "pool", "a", "'{\"weight\": 1}'");
    wait_until("the device was asked", || asked.load(Ordering::Acquire) == 1);
    sleeper.suspend();
    let other = Serving::start(&database, &config(&service.url()));
    let wanted = BTreeMap::from([("a".to_owned(), Some(json!({"weight": 1})))]);
    expect_settled(&database, &device, &wanted, "by another proxy");
    sleeper.resume();
    wait_until("the first is told", || sleeper.stderr.text().contains("the lease had run out"));
    // Whether it says that the device answered, or that it took too long, nothing comes of it.
    assert_eq!(database.sql("SELECT state || attempts FROM north.command"), "done2");
    expect_settled(&database, &device, &wanted, "both awake");
    sleeper.interrupt();
    other.interrupt();
}

/// A proxy that sleeps between two statements of a transaction holds what it has locked. It is made to sleep just there: its full check waits for a row that the
/// test has locked, with the rows before that one locked by itself.
#[test]
fn a_proxy_that_sleeps_within_a_transaction_holds_up_nobody_for_long() {
    let Some(database) = Database::start() else { return };
    let device = Arc::new(Mutex::new(Device::default()));
    let service = Device::serve(&device, |_| Fault::None);
    database.sql(&format!(
        "INSERT INTO net.device (device, driver, target) VALUES ('lb', 'http', '{}')",
        service.url()
    ));
    let sleeper = Serving::start(&database, &config(&service.url()));
    let mut wanted = BTreeMap::new();
    for name in ["a", "b"] {
        want(&database, "lb", "pool", name, "'{\"weight\": 1}'");
        wanted.insert(name.to_owned(), Some(json!({"weight": 1})));
    }
    expect_settled(&database, &device, &wanted, "before");
    let activity = |state: &str| {
        database.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%north.report%' AND pid <> pg_backend_pid() AND {state}"
        )) == "1"
    };
    let mut holder = database.psql();
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("psql");
    let mut to_holder = holder.stdin.take().expect("a pipe");
    let lock = b"BEGIN; SELECT FROM net.object WHERE name = 'b' FOR UPDATE;\n";
    to_holder.write_all(lock).expect("psql reads");
    wait_until("the full check waits for the row", || activity("wait_event_type = 'Lock'"));
    sleeper.suspend();
    // The statement ends now, and nobody is there to go on behind it.
    to_holder.write_all(b"COMMIT;\n").expect("psql reads");
    wait_until("it sleeps in its transaction", || activity("state = 'idle in transaction'"));
    drop(to_holder);
    holder.wait().expect("psql ends");

    // Another proxy, and a wish for the row that the sleeper has locked.
    let other = Serving::start(&database, &config(&service.url()));
    want(&database, "lb", "pool", "a", "'{\"weight\": 2}'");
    wanted.insert("a".to_owned(), Some(json!({"weight": 2})));
    expect_settled(&database, &device, &wanted, "while it sleeps");
    sleeper.resume();
    want(&database, "lb", "pool", "b", "'{\"weight\": 2}'");
    wanted.insert("b".to_owned(), Some(json!({"weight": 2})));
    expect_settled(&database, &device, &wanted, "both awake");
    sleeper.interrupt();
    other.interrupt();
}
