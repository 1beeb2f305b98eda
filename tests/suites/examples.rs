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
