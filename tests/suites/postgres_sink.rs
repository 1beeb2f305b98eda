//! Results in Postgres: right types, each row exactly once whoever is killed, and what is lost is noted.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use wt_tests::database::Database;
use wt_tests::program::{
    Outcome, binary, capture_argument, outcome, run, run_with_input, wiretable,
};
use wt_tests::rng::Rng;
use wt_tests::synthetic::{Datagram, capture};

/// Packets of the made-up trace; no multiple of a batch.
const PACKETS: u64 = 123_457;
const EACH: &str = "DEFINE { query_name each; } SELECT ts, srcIP, destPort, len FROM udp";
/// Day of the first packet, in ns: 2026-11-26.
const BEGIN_NS: u64 = 1_795_651_200_000_000_000;

/// Writes a trace whose packets differ in their time; it crosses a midnight.
fn trace(database: &Database) -> PathBuf {
    let datagrams: Vec<Datagram> = (0..PACKETS)
        .map(|i| Datagram {
            timestamp_ns: BEGIN_NS - 50_000_000 + i * 1_000,
            source: std::net::Ipv4Addr::from(0x0a00_0000 + (i % 5_000) as u32),
            port: (i % 60_000) as u16,
            ttl: 64,
            payload: 18,
        })
        .collect();
    let path = database.path("trace.pcap");
    std::fs::write(&path, capture(&datagrams)).expect("written");
    path
}

/// `wiretable query EACH -r TRACE -o URL` with a spool of its own.
fn arguments(database: &Database, trace: &Path) -> Vec<String> {
    let spool = database.path("spool");
    let parts: [&str; 9] = [
        "query",
        EACH,
        "-r",
        &trace.display().to_string(),
        "-o",
        &database.url,
        "--spool",
        &spool.display().to_string(),
        "--no-progress",
    ];
    parts.iter().map(|p| (*p).to_owned()).chain(["--wait".to_owned(), "60".to_owned()]).collect()
}

fn load(database: &Database, trace: &Path) -> Outcome {
    run(arguments(database, trace))
}

fn spawn(database: &Database, trace: &Path) -> Child {
    let mut command = wiretable(arguments(database, trace));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wiretable starts")
}

/// Every packet is there, once.
#[track_caller]
fn expect_all(database: &Database) {
    let there = database.sql(
        "SELECT count(*), count(DISTINCT ts), min(extract(epoch FROM ts) * 1000000)::bigint, max(extract(epoch FROM ts) * 1000000)::bigint FROM result.each",
    );
    let begin_us = (BEGIN_NS - 50_000_000) / 1_000;
    assert_eq!(there, format!("{PACKETS}|{PACKETS}|{begin_us}|{}", begin_us + PACKETS - 1));
    assert_eq!(
        database.sql("SELECT sum(n) FROM res.batch WHERE relation = 'each'"),
        PACKETS.to_string()
    );
}

/// Waits a random while, at most as long as a whole run takes.
fn wait(rng: &mut Rng, whole: Duration) {
    let micros = usize::try_from(whole.as_micros()).expect("short");
    std::thread::sleep(Duration::from_micros(rng.below(micros.max(1)) as u64));
}

/// Runs of the fault tests: a few, or many with `WT_FUZZ=SEED`.
fn seeds() -> (u64, u64) {
    match std::env::var("WT_FUZZ").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => (seed, 200),
        None => (1, 6),
    }
}

#[test]
fn rows_arrive_with_their_types_and_once() {
    let Some(database) = Database::start() else { return };
    let trace = trace(&database);
    load(&database, &trace).expect_status(0).expect_quiet().expect_no_output();
    expect_all(&database);
    let types = database.sql(
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = 'result.each'::regclass AND attnum > 4",
    );
    assert_eq!(types, "ts timestamp with time zone, srcip inet, destport bigint, len bigint");
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'result.each'::regclass"),
        "2",
        "a partition for each day"
    );
    // The rows are the same as in every other format.
    let csv = run(["query", EACH, "-r", &trace.display().to_string()]).expect_status(0).stdout;
    let line = csv.lines().nth(77_777).expect("a line");
    let row = database.sql(
        "SELECT to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '000Z', host(srcip), destport, len FROM result.each ORDER BY ts OFFSET 77776 LIMIT 1",
    );
    assert_eq!(row.replace('|', ","), line);
    // Running it again adds nothing, and says so.
    load(&database, &trace).expect_status(0).expect_said("123457 rows were there already");
    expect_all(&database);
    // One event per batch, none besides.
    let events = "SELECT op, count(*), sum(n) FROM prov.event WHERE object = 'result.each' AND op IN ('batch', 'insert') GROUP BY op";
    assert_eq!(database.sql(events), format!("batch|13|{PACKETS}"));
    assert_eq!(database.sql("SELECT count(*) FROM prov.event WHERE forged"), "0");
}

#[test]
fn a_result_with_other_columns_is_refused_with_both() {
    let Some(database) = Database::start() else { return };
    let spool = database.path("spool").display().to_string();
    let send = |text: &str| {
        run([
            "query",
            text,
            "-r",
            &capture_argument("dns.pcap"),
            "-o",
            &database.url,
            "--spool",
            &spool,
        ])
    };
    send("DEFINE { query_name q; } SELECT srcIP, len FROM udp").expect_status(0);
    let before = database.sql("SELECT count(*) FROM result.q");
    send("DEFINE { query_name q; } SELECT srcIP, len, ttl FROM udp")
        .expect_status(2)
        .expect_said("columns of result.q have changed")
        .expect_said("(srcip inet, len bigint)")
        .expect_said("(srcip inet, len bigint, ttl");
    assert_eq!(database.sql("SELECT count(*) FROM result.q"), before);
    send("DEFINE { query_name q; } SELECT srcIP AS wt_at FROM udp")
        .expect_status(2)
        .expect_said("wt_at");
}

#[test]
fn a_database_that_will_not_do_is_refused_before_the_run() {
    let Some(database) = Database::start() else { return };
    let spool = database.path("spool").display().to_string();
    let trace = capture_argument("dns.pcap");
    let send = |url: &str| run(["query", EACH, "-r", &trace, "-o", url, "--spool", &spool]);
    send("postgres://nobody@127.0.0.1:1/x")
        .expect_status(2)
        .expect_said("is the server running there?");
    let more = ["query", EACH, "-r", &trace, "-o", &database.url, "--format", "csv"];
    run(more).expect_status(1).expect_said("have no format");
    let more = ["query", EACH, "-r", &trace, "--keep", "30d"];
    run(more).expect_status(1).expect_said("--keep is for rows that go to Postgres");
    send("postgres://").expect_status(1).expect_said("no database URL");
    let empty = database.url.replace("/wiretable?", "/postgres?");
    send(&empty).expect_status(2).expect_said("wiretable db migrate");
    database.sql("CREATE ROLE stranger LOGIN; GRANT CONNECT ON DATABASE wiretable TO stranger");
    send(&database.url.replace("postgres@", "stranger@"))
        .expect_status(2)
        .expect_said("GRANT wt_ingest");
    database.sql("CREATE ROLE collector LOGIN IN ROLE wt_ingest");
    send(&database.url.replace("postgres@", "collector@")).expect_status(0);
}

/// The client is killed anywhere: what it had sent is there, and running it again adds the rest.
#[test]
fn a_killed_client_loses_and_doubles_nothing() {
    let Some(database) = Database::start() else { return };
    let trace = trace(&database);
    let begin = Instant::now();
    load(&database, &trace).expect_status(0);
    let whole = begin.elapsed();
    let (seed, runs) = seeds();
    for run in 0..runs {
        let mut rng = Rng::named(seed + run, "client");
        database.sql("SELECT res.drop('each')");
        for _ in 0..3 {
            let mut child = spawn(&database, &trace);
            wait(&mut rng, whole);
            child.kill().expect("killed");
            child.wait().expect("ended");
            let (rows, different) = {
                let there = database.sql("SELECT to_regclass('result.each')");
                let counts = match there.is_empty() {
                    true => "0|0".to_owned(),
                    false => database.sql("SELECT count(*), count(DISTINCT ts) FROM result.each"),
                };
                let (a, b) = counts.split_once('|').expect("two numbers");
                (a.to_owned(), b.to_owned())
            };
            assert_eq!(rows, different, "seed {}: a row twice", seed + run);
        }
        load(&database, &trace).expect_status(0);
        expect_all(&database);
    }
}

/// The server is killed anywhere, and comes back: the client goes on by itself.
#[test]
fn a_killed_server_loses_and_doubles_nothing() {
    let Some(database) = Database::start() else { return };
    let trace = trace(&database);
    let begin = Instant::now();
    load(&database, &trace).expect_status(0);
    let whole = begin.elapsed();
    let (seed, runs) = seeds();
    for run in 0..runs {
        let mut rng = Rng::named(seed + run, "server");
        database.sql("SELECT res.drop('each')");
        let child = spawn(&database, &trace);
        // Not before the result is declared: a run does not begin without its database.
        while database.sql("SELECT to_regclass('result.each')").is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        for _ in 0..2 {
            wait(&mut rng, whole / 2);
            database.kill();
            database.restart();
        }
        let ended = outcome(child.wait_with_output().expect("ended"));
        ended.expect_status(0);
        expect_all(&database);
    }
}

/// A run that cannot be repeated: what was spooled arrives with the next one, and the break is a row.
#[test]
fn rows_of_a_stream_wait_in_the_spool_while_the_database_is_away() {
    let Some(database) = Database::start() else { return };
    let trace = trace(&database);
    let bytes = std::fs::read(&trace).expect("the trace");
    let spool = database.path("spool").display().to_string();
    let stream = |wait: &str, input: &[u8]| {
        run_with_input(
            ["query", EACH, "-r", "-", "-o", &database.url, "--spool", &spool, "--wait", wait],
            input,
        )
    };
    // The first run makes the result known; the second finds the database away.
    stream("60", &bytes[..24]).expect_status(0);
    database.command(&["stop"]).expect_status(0);
    stream("1", &bytes)
        .expect_status(2)
        .expect_said("123457 rows in 13 batches wait in")
        .expect_said("the next run with this result sends them");
    database.restart();
    stream("60", &bytes[..24]).expect_status(0);
    expect_all(&database);
    // It gave up and was not cut off in the middle of its rows; the sink cannot know that, and says so.
    assert_eq!(database.sql("SELECT reason, seq FROM res.gap"), "crash|13");
}

/// A stream whose reader is killed leaves a gap row; the rows before it are there once.
#[test]
fn a_killed_stream_leaves_a_gap() {
    let Some(database) = Database::start() else { return };
    let bytes = std::fs::read(trace(&database)).expect("the trace");
    let spool = database.path("spool").display().to_string();
    let arguments = ["query", EACH, "-r", "-", "-o", &database.url, "--spool", &spool];
    let mut command = std::process::Command::new(binary());
    let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().expect("starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let half = bytes.len() / 2;
    std::io::Write::write_all(&mut pipe, &bytes[..half]).expect("written");
    let there = || database.sql("SELECT coalesce(sum(n), 0) FROM res.batch");
    for _ in 0..200 {
        if there() != "0" {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    drop(pipe);
    run_with_input(arguments, &bytes[..24]).expect_status(0);
    assert_ne!(there(), "0");
    assert_eq!(database.sql("SELECT count(*) = count(DISTINCT ts) FROM result.each"), "t");
    assert_eq!(database.sql("SELECT count(*), min(reason) FROM res.gap"), "1|crash");
    let first_missing = "SELECT seq = (SELECT max(seq) + 1 FROM res.batch) FROM res.gap";
    assert_eq!(database.sql(first_missing), "t");
}

#[test]
fn a_full_spool_drops_and_says_what() {
    let Some(database) = Database::start() else { return };
    let bytes = std::fs::read(trace(&database)).expect("the trace");
    let spool = database.path("spool").display().to_string();
    let stream = |wait: &str, input: &[u8]| {
        run_with_input(
            [
                "query",
                EACH,
                "-r",
                "-",
                "-o",
                &database.url,
                "--spool",
                &spool,
                "--spool-max",
                "3MiB",
                "--wait",
                wait,
            ],
            input,
        )
    };
    stream("60", &bytes[..24]).expect_status(0);
    database.command(&["stop"]).expect_status(0);
    stream("0", &bytes).expect_status(2).expect_said("found no room in the spool");
    let used: u64 = std::fs::read_dir(&spool)
        .expect("the spool")
        .flat_map(|d| std::fs::read_dir(d.expect("a folder").path()).expect("files"))
        .map(|f| f.expect("a file").metadata().expect("its size").len())
        .sum();
    assert!(used < (3 << 20) + 4096, "{used} bytes");
    database.restart();
    stream("60", &bytes[..24]).expect_status(0);
    let books = "SELECT (SELECT count(*) FROM result.each) + (SELECT sum(n) FROM res.gap WHERE reason = 'spool_full')";
    assert_eq!(database.sql(books), PACKETS.to_string(), "rows and lost rows are all there were");
    assert_eq!(database.sql("SELECT count(*) = count(DISTINCT ts) FROM result.each"), "t");
}

#[test]
fn two_processes_do_not_write_one_spool() {
    let Some(database) = Database::start() else { return };
    let spool = database.path("spool").display().to_string();
    let arguments = ["query", EACH, "-r", "-", "-o", &database.url, "--spool", &spool];
    let mut command = std::process::Command::new(binary());
    let mut first = command.args(arguments).stdin(Stdio::piped()).spawn().expect("starts");
    let bytes = std::fs::read(trace(&database)).expect("the trace");
    let mut pipe = first.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut pipe, &bytes[..24]).expect("written");
    // It has the lock once the result is declared.
    for _ in 0..200 {
        if !database.sql("SELECT to_regclass('result.each')").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let bytes = std::fs::read(trace(&database)).expect("the trace");
    run_with_input(arguments, &bytes[..24])
        .expect_status(2)
        .expect_said("another process writes this result");
    drop(pipe);
    first.wait().expect("ended");
}

#[test]
fn a_batch_file_sends_its_results_too() {
    let Some(database) = Database::start() else { return };
    let config = database.path("batch.toml");
    let capture = wt_tests::program::root().join("tests/captures/dns.pcap");
    let text = format!(
        "[sink]\ntype = 'postgres'\nappliance = 'edge-1'\nspool = 'spool'\nkeep = '36500d'\n\
         [[source]]\ntraces = ['{}']\n\
         [[query]]\nname = 'Talkers'\ntext = 'SELECT srcIP, count(*) AS n FROM udp GROUP BY srcIP'\n\
         [[query]]\nname = 'sizes'\ntext = 'SELECT len FROM udp'\nsink = {{ type = 'postgres', table = 'lengths' }}\n\
         [[query]]\nname = 'printed'\ntext = 'SELECT count(*) AS n FROM udp'\nsink = {{ path = '{}' }}\n",
        capture.display(),
        database.path("printed.csv").display(),
    );
    std::fs::write(&config, text).expect("written");
    let mut command = wiretable(["run", &config.display().to_string()]);
    command.env("WIRETABLE_DATABASE_URL", &database.url);
    outcome(command.output().expect("starts")).expect_status(0).expect_quiet().expect_no_output();
    let printed = std::fs::read_to_string(database.path("printed.csv")).expect("printed");
    let packets = printed.lines().nth(1).expect("a row").to_owned();
    assert_eq!(database.sql("SELECT count(*) FROM result.lengths"), packets);
    assert_eq!(database.sql("SELECT sum(n) FROM result.talkers"), packets);
    assert_eq!(
        database.sql("SELECT DISTINCT wt_appliance FROM result.talkers UNION SELECT wt_appliance FROM result.lengths"),
        "edge-1"
    );
    assert_eq!(database.sql("SELECT DISTINCT keep FROM res.relation"), "36500 days");
    assert!(database.path("spool").is_dir(), "the spool lies beside the batch file");
}
