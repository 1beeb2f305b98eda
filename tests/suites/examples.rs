//! The examples of the control plane (`configs/examples`), as their readers run them.
//!
//! They need Postgres; the flood needs root as well, and the built `wt-bench`.

use std::process::{Command, Stdio};

use wt_tests::netns::may_make;
use wt_tests::program::{Outcome, binary, outcome, root};

/// Runs a script of the examples.
fn script(name: &str, settings: &[(&str, &str)]) -> Outcome {
    let wiretable = binary();
    let bench = wiretable.with_file_name("wt-bench");
    let mut command = Command::new("bash");
    command.arg(root().join("configs/examples").join(name)).stdin(Stdio::null());
    command.env("WIRETABLE", &wiretable).env("WT_BENCH", bench);
    command.env_remove("WIRETABLE_DATABASE_URL").envs(settings.iter().copied());
    outcome(command.output().expect("bash runs"))
}

/// Whether there is a Postgres to run them with.
fn has_postgres() -> bool {
    wt_tests::database::Database::start().is_some()
}

#[test]
fn an_overloaded_pod_gets_a_node_and_the_log_says_why() {
    if !has_postgres() {
        return;
    }
    let Outcome { stdout, .. } = script("load-balancing/run.sh", &[]).expect_status(0);
    let rows: Vec<String> =
        stdout.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    // Table 1 of the paper, then with the node that was made.
    for row in [
        "pod-1 0.595 2",
        "pod-2 0.14 1",
        "pod-1 301.5 {node-1,node-2}",
        "pod-2 67 {node-3}",
        "pod-1 277.3333333333333 {node-1,node-2,node-4}",
    ] {
        assert!(rows.iter().any(|found| found == row), "{row}\n{stdout}");
    }
    assert!(stdout.contains("node-1, node-2, node-3, node-4."), "{stdout}");
    for step in [
        "update net.nodes [node-1]",
        "trigger overload on net.load_balancers",
        "balance.scale_out",
        "command north.command",
    ] {
        assert!(stdout.contains(step), "{step}\n{stdout}");
    }
}

#[test]
fn a_node_that_fails_is_replaced_and_the_log_says_why() {
    if !has_postgres() {
        return;
    }
    let Outcome { stdout, .. } = script("telemetry/run.sh", &[]).expect_status(0);
    assert!(stdout.contains("node-1, node-3, node-4."), "{stdout}");
    for step in [
        "insert otel.span",
        "trigger sick on otel.span",
        "health.replace_sick",
        "delete net.nodes [node-2]",
        "device cluster/node/node-2",
    ] {
        assert!(stdout.contains(step), "{step}\n{stdout}");
    }
}

#[test]
fn a_flood_is_seen_blocked_and_lifted_and_the_log_says_why() {
    if !may_make() || !has_postgres() {
        return;
    }
    let ran = script("flood/run.sh", &[("PHASES", "0.5 1.5 0.5"), ("FLOOD", "10000")]);
    let Outcome { stdout, .. } = ran.expect_status(0);
    // Each arrow of the story, from the row to the driver.
    let steps = [
        "batch result.flood [",
        "trigger hot on result.flood",
        "→ defence.block_flood version 1",
        "insert net.block [nic,198.51.100.0/24]",
        "insert net.object [nic,block,198.51.100.0/24]",
        "command north.command [nic,block,198.51.100.0/24]",
        "device nic/block/198.51.100.0/24",
    ];
    let mut from = 0;
    for step in steps {
        let at = stdout[from..].find(step);
        from += at.unwrap_or_else(|| panic!("no `{step}` behind the one before\n{stdout}"));
    }
    // What was sent was counted, dropped or not; some of it was dropped.
    let line =
        stdout.lines().find(|line| line.starts_with("Sent ")).unwrap_or_else(|| panic!("{stdout}"));
    let digits = |c: char| !c.is_ascii_digit();
    let numbers: Vec<u64> = line.split(digits).filter_map(|word| word.parse().ok()).collect();
    let [sent, seen, dropped] = numbers[..] else { panic!("{line}") };
    assert_eq!(sent, seen, "{line}");
    assert!(dropped > 100 && dropped < sent, "{line}");
    assert!(stdout.contains("From the first packet of the flood to the first that was dropped:"));
    assert!(stdout.contains("dropped/s  ") && stdout.contains('█'), "{stdout}");
}
