//! The control plane's database: its schema by pgTAP (`sql/tests`), and the command that manages it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use wt_tests::corpus::Scratch;
use wt_tests::database::Database;
use wt_tests::program::{Outcome, outcome, root, run, wiretable};

fn sql_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Runs a script in psql.
fn script(database: &Database, text: &str) -> Outcome {
    let mut command = database.psql();
    let mut child = command
        .args(["-P", "pager=off", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let text = text.to_owned();
    let feeder = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let done = child.wait_with_output().expect("psql ends");
    let _ = feeder.join();
    outcome(done)
}

/// Every line of a TAP stream that tells of a failure, and whether the plan was kept.
fn failures(tap: &Outcome) -> Vec<String> {
    let planned = tap.stdout.lines().find_map(|l| l.strip_prefix("1..")?.parse::<usize>().ok());
    let ran = tap.stdout.lines().filter(|l| l.starts_with("ok ") || l.starts_with("not ok "));
    let (ran, mut wrong) = (ran.count(), Vec::new());
    if planned != Some(ran) {
        wrong.push(format!("planned {planned:?} tests, ran {ran}"));
    }
    let mut lines = tap.stdout.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("not ok") {
            wrong.push(line.to_owned());
            while let Some(more) = lines.next_if(|l| l.starts_with('#')) {
                wrong.push(more.to_owned());
            }
        }
    }
    wrong.extend(tap.stderr.lines().map(str::to_owned));
    wrong
}

#[test]
fn the_schema_does_what_its_tests_say() {
    let Some(database) = Database::start() else { return };
    let helpers = fs::read_to_string(root().join("sql/tests/helpers.sql")).expect("helpers");
    let helpers = script(&database, &format!("\\set ON_ERROR_STOP on\n{helpers}"));
    assert_eq!(helpers.stderr, "", "pgTAP is not to be had: .ci/setup installs it");
    let mut wrong = Vec::new();
    let mut files = 0;
    for file in sql_files("sql/tests") {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        if name == "helpers.sql" {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&file).expect("a test file");
        let tap = script(&database, &text);
        wrong.extend(failures(&tap).into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(files >= 9, "{files} test files");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whatever runs or decides by itself in our schemas is named in some test: functions, triggers of tables and of commands, policies.
#[test]
fn every_procedure_trigger_and_policy_has_a_test() {
    let Some(database) = Database::start() else { return };
    let tests: String = sql_files("sql/tests")
        .iter()
        .map(|f| fs::read_to_string(f).expect("a test file"))
        .collect();
    let has_word = |text: &str, name: &str| {
        let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        text.match_indices(name).any(|(at, _)| {
            boundary(text[..at].chars().next_back())
                && boundary(text[at + name.len()..].chars().next())
        })
    };
    let schemas = "('sec', 'prov', 'wt', 'net', 'north', 'otel', 'res', 'result')";
    let list = |statement: &str| -> Vec<(String, String, String)> {
        let rows = database.sql(&statement.replace("$schemas", schemas));
        let row = |line: &str| {
            let mut columns = line.splitn(3, '|').map(str::to_owned);
            let mut next = || columns.next().unwrap_or_default();
            (next(), next(), next())
        };
        rows.lines().map(row).collect()
    };
    let functions = list(
        "SELECT DISTINCT n.nspname, p.proname, '' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE n.nspname IN $schemas ORDER BY 1, 2",
    );
    let triggers = list(
        "SELECT n.nspname, c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND n.nspname IN $schemas ORDER BY 1, 2, 3",
    );
    let of_commands = list("SELECT '', evtname, '' FROM pg_event_trigger ORDER BY 2");
    let policies = list(
        "SELECT schemaname, tablename, policyname FROM pg_policies WHERE schemaname IN $schemas ORDER BY 1, 2, 3",
    );
    assert!(functions.len() > 80 && triggers.len() > 40, "{functions:?} {triggers:?}");
    assert!(of_commands.len() == 3 && policies.len() > 30, "{of_commands:?} {policies:?}");
    let mut missing = Vec::new();
    for (schema, name, _) in &functions {
        let (dotted, pair) = (format!("{schema}.{name}"), format!("'{schema}', '{name}'"));
        if !has_word(&tests, &dotted) && !tests.contains(&pair) {
            missing.push(format!("function {dotted}"));
        }
    }
    for (_, name, _) in &of_commands {
        if !has_word(&tests, name) {
            missing.push(format!("event trigger {name}"));
        }
    }
    // What is on a table is named in one statement with it, as pgTAP's arguments.
    let statements: Vec<&str> = tests.split(";\n").collect();
    for (what, rows) in [("trigger", &triggers), ("policy", &policies)] {
        for (schema, table, name) in rows {
            let (of_table, quoted) = (format!("'{schema}', '{table}'"), format!("'{name}'"));
            if !statements.iter().any(|s| s.contains(&of_table) && s.contains(&quoted)) {
                missing.push(format!("{what} {name} on {schema}.{table}"));
            }
        }
    }
    assert!(missing.is_empty(), "no test names\n{}", missing.join("\n"));
}

// ── The command ─────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_cluster_is_made_once_and_goes_on() {
    let Some(database) = Database::start() else { return };
    database.command(&["url"]).expect_status(0).expect_quiet();
    database.sql("CREATE TABLE public.kept (v int); INSERT INTO public.kept VALUES (7)");
    let again = database.command(&["start"]).expect_status(0).expect_said("it was running");
    assert_eq!(again.stdout.trim(), database.url);
    let status = database.command(&["status"]).expect_status(0);
    assert!(status.stdout.contains("running") && status.stdout.contains("0 pending"), "{status:?}");
    database.command(&["stop"]).expect_status(0).expect_said("stopped");
    database.command(&["stop"]).expect_status(0).expect_said("was not running");
    assert_eq!(database.command(&["status"]).expect_status(1).stdout, "stopped\n");
    database.command(&["migrate"]).expect_status(2).expect_said("db start");
    database.restart();
    assert_eq!(database.sql("SELECT v FROM public.kept"), "7");
    assert_eq!(database.sql("SHOW listen_addresses"), "");
}

#[test]
fn a_killed_server_comes_back() {
    let Some(database) = Database::start() else { return };
    database.sql("CREATE TABLE public.kept (v int); INSERT INTO public.kept VALUES (7)");
    database.kill();
    database.restart();
    assert_eq!(database.sql("SELECT v FROM public.kept"), "7");
}

#[test]
fn reset_asks_first_and_takes_everything() {
    let Some(database) = Database::start() else { return };
    database.sql("CREATE TABLE public.gone (v int)");
    database.sql("SELECT sec.create_tenant('red')");
    database.command(&["reset"]).expect_status(1).expect_said("--yes");
    database.sql("SELECT v FROM public.gone");
    database.command(&["reset", "--yes"]).expect_status(0);
    assert_eq!(database.sql("SELECT to_regclass('public.gone')"), "");
    database.sql("SELECT sec.create_tenant('red')");
}

#[test]
fn a_history_that_differs_is_refused() {
    let Some(database) = Database::start() else { return };
    database.command(&["migrate"]).expect_status(0).expect_said("up to date");
    database.sql("UPDATE public.wt_migration SET checksum = '1' WHERE version = 3");
    database.command(&["migrate"]).expect_status(2).expect_said("V03__mirror");
    database.command(&["reset", "--yes"]).expect_status(0);
    database.sql("INSERT INTO public.wt_migration SELECT 99, 'future', applied_on, checksum FROM public.wt_migration WHERE version = 1");
    database.command(&["migrate"]).expect_status(2).expect_said("newer wiretable");
}

/// A migration that cannot have its lock gives up, and nothing is changed.
#[test]
fn a_migration_waits_for_a_lock_only_so_long() {
    let Some(database) = Database::start() else { return };
    database.command(&["reset", "--yes"]).expect_status(0);
    let mut holder = database.psql();
    // The key of `db migrate`.
    let hold = "SELECT pg_advisory_lock(131341935535986); SELECT pg_sleep(30)";
    let mut holder = holder.args(["-c", hold]).spawn().expect("psql starts");
    for _ in 0..100 {
        if database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
            == "1"
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let waited = database.command(&["migrate", "--lock-timeout", "1"]);
    holder.kill().expect("the holder ends");
    holder.wait().expect("the holder ends");
    waited.expect_status(2).expect_said("another migration is running");
}

#[test]
fn logins_without_rights_and_wrong_urls_are_told_so() {
    let Some(database) = Database::start() else { return };
    database.sql("CREATE ROLE weak LOGIN IN ROLE wt_viewer");
    let weak = database.url.replace("postgres@", "weak@");
    run(["db", "migrate", "--database-url", &weak]).expect_status(2).expect_said("no superuser");
    let gone = database.url.replace("/wiretable?", "/nothing?");
    run(["db", "status", "--database-url", &gone])
        .expect_status(2)
        .expect_said("create the database");
    run(["db", "status", "--database-url", "mysql://x"])
        .expect_status(1)
        .expect_said("postgres://");
    run(["db", "status", "--database-url", "postgres://u:geheim@127.0.0.1:1/d"])
        .expect_status(2)
        .expect_said("cannot connect to u@127.0.0.1:1/d");
    let system = database.url.replace("/wiretable?", "/postgres?");
    run(["db", "reset", "--yes", "--database-url", &system])
        .expect_status(1)
        .expect_said("Postgres itself");
}

#[test]
fn places_that_will_not_do_are_refused() {
    let scratch = Scratch::new().expect("a scratch folder");
    let absent = scratch.path("absent");
    run(["db", "stop", "--data-dir", &absent.display().to_string()])
        .expect_status(2)
        .expect_said("db start");
    let long = scratch.path(&"x".repeat(120));
    run(["db", "url", "--data-dir", &long.display().to_string()])
        .expect_status(2)
        .expect_said("shorter --data-dir");
    let mut nowhere = wiretable(["db", "start", "--data-dir", &absent.display().to_string()]);
    let nowhere = nowhere.env("WIRETABLE_PG_BIN", scratch.path("bin")).output().expect("starts");
    outcome(nowhere).expect_status(2).expect_said("no PostgreSQL 15 or later");
}

#[test]
fn two_starts_at_once_make_one_cluster() {
    let Some(database) = Database::start() else { return };
    database.command(&["stop"]).expect_status(0);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| database.command(&["start"]))).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    for outcome in outcomes {
        assert_eq!(outcome.expect_status(0).stdout.trim(), database.url);
    }
}
