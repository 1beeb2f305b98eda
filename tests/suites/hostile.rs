//! Nothing that a capture holds can crash, hang or unbalance a run: the carried captures, and seeded damage to them, end
//! in rows or in a typed error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use wt_catalog::Catalog;
use wt_plan::Compiled;
use wt_tests::answers::{Ending, ask, batch_text, run_bytes};
use wt_tests::corpus;
use wt_tests::rng::{Rng, mutate};
use wt_tests::run::Setup;

/// What is asked of every one of them.
const QUERIES: [(&str, &str); 4] = [
    (
        "per_minute",
        "SELECT tb, count(*) AS n, sum(len) AS bytes FROM packet GROUP BY time/60 AS tb",
    ),
    (
        "segments",
        "SELECT time, timestamp, srcIP, destIP, srcPort, destPort, seq, ack, flags, window, tcp_hdr_len, data_len, ttl, \
         ip_len, data FROM tcp",
    ),
    (
        "fragments",
        "SELECT tb, srcIP, destIP, protocol, count(*) AS n, max(frag_offset) AS furthest FROM ip WHERE fragment \
         GROUP BY time/60 AS tb, srcIP, destIP, protocol",
    ),
    (
        "requests",
        "SELECT tb, destIP, count(*) AS n FROM tcp WHERE str_regex_match[data, '^(GET|POST|HEAD) [^ ]+ HTTP'] \
         GROUP BY time/60 AS tb, destIP",
    ),
];

/// Mutants per trial and trials; the seed of a failing one is in its message.
const MUTANTS: usize = 400;
const TRIALS: u64 = 8;

/// Captures above this size are left to the trial that runs them whole, bytes.
const SEED_BYTES_MAX: u64 = 64 * 1024;

/// A run that takes longer hangs: all of them together need seconds.
const HANG: Duration = Duration::from_secs(300);

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("carried", || watched(carried)),
        Trial::test("nesting_is_counted", || watched(nesting_is_counted)),
    ];
    for seed in 0..TRIALS {
        trials
            .push(Trial::test(format!("mutants::{seed}"), move || watched(move || mutants(seed))));
    }
    if let Some(files) = corpus::shared("hostile") {
        trials.push(Trial::test("shared", move || watched(move || shared(&files))));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Fails instead of waiting for ever.
fn watched(trial: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Result<(), Failed> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(catch_unwind(AssertUnwindSafe(trial))));
    match ended.recv_timeout(HANG) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("panicked".into()),
        Err(_) => Err("still running".into()),
    }
}

fn compiled() -> Result<Compiled, String> {
    Setup::default().compile(&Catalog::builtin(), &batch_text(QUERIES), true)
}

/// Runs the queries over bytes and checks what must hold whatever the bytes are.
fn endure(compiled: &Compiled, name: &str, bytes: Vec<u8>) -> Result<(), String> {
    let size = bytes.len() as u64;
    let plain = !bytes.starts_with(&[0x1f, 0x8b])
        && !bytes.starts_with(&[0x28, 0xb5])
        && !bytes.starts_with(&[0xfd, b'7']);
    let ending = catch_unwind(AssertUnwindSafe(|| run_bytes(&compiled.physical, name, bytes)))
        .map_err(|_| format!("{name}: panicked"))?;
    let answers = match ending {
        Ending::Answered(answers) => answers,
        Ending::NoCapture(error) => return said(name, &error.to_string()),
        Ending::Refused(error) => return said(name, &error.to_string()),
    };
    let ledger = &answers.report.ledger;
    ledger.check().map_err(|e| format!("{name}: the books do not balance: {e}"))?;
    // A record has a header, so that the work is bounded by the size of the file.
    if plain && ledger.records() > size / 16 {
        return Err(format!("{name}: {} records in {size} bytes", ledger.records()));
    }
    let counted: u64 = answers.rows("per_minute").iter().filter_map(|row| row[1].as_u64()).sum();
    let late = ledger
        .queries
        .iter()
        .filter(|q| q.name.contains("per_minute"))
        .map(|q| q.tuples.late)
        .sum::<u64>();
    if counted + late != ledger.records() {
        return Err(format!("{name}: {counted} counted, {late} late, of {}", ledger.records()));
    }
    for (_, damage) in ledger.damage() {
        said(name, &damage.damage.to_string())?;
    }
    Ok(())
}

/// Errors are for people.
fn said(name: &str, message: &str) -> Result<(), String> {
    if message.is_empty() || message.contains("panicked") || message.contains("unwrap") {
        Err(format!("{name}: the message is `{message}`"))
    } else {
        Ok(())
    }
}

fn carried() -> Result<(), Failed> {
    let compiled = compiled()?;
    for path in corpus::carried() {
        endure(&compiled, &corpus::short_name(&path), std::fs::read(&path)?)?;
    }
    Ok(())
}

/// The reference captures that were made to hurt; the bomb is left to a run with a memory limit from outside.
fn shared(files: &[PathBuf]) -> Result<(), Failed> {
    let compiled = compiled()?;
    for path in files.iter().filter(|path| !corpus::name_of(path).starts_with("bomb")) {
        endure(&compiled, &corpus::short_name(path), std::fs::read(path)?)?;
    }
    Ok(())
}

fn mutants(seed: u64) -> Result<(), Failed> {
    let compiled = compiled()?;
    let seeds = corpus::carried();
    let small: Vec<&Path> = seeds
        .iter()
        .map(PathBuf::as_path)
        .filter(|path| path.metadata().is_ok_and(|m| m.len() <= SEED_BYTES_MAX))
        .collect();
    let mut rng = Rng::named(seed, "hostile");
    for i in 0..MUTANTS {
        let path = *rng.pick(&small);
        let mut bytes = std::fs::read(path)?;
        mutate(&mut bytes, &mut rng);
        let name = format!("{} with damage {seed}/{i}", corpus::short_name(path));
        endure(&compiled, &name, bytes)?;
    }
    Ok(())
}

/// Deeper headers than a protocol's contract allows end the path and are counted.
fn nesting_is_counted() -> Result<(), Failed> {
    let generated =
        ["ip-in-ip.pcap", "qinq.pcap"].map(|name| wt_tests::capture("generated").join(name));
    for path in generated {
        let name = corpus::name_of(&path);
        let query = "SELECT max(depth(ip) + depth(vlan)) AS deepest FROM packet";
        let answers = ask(&path, query)?;
        let packets = answers.report.ledger.interfaces[0].packets;
        if packets.too_deep == 0 {
            return Err(format!("{name}: no packet is too deep ({packets:?})").into());
        }
        if packets.too_deep >= packets.packets {
            return Err(format!("{name}: every packet is too deep").into());
        }
    }
    Ok(())
}
