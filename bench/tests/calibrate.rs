//! Costs of a machine: fitted from short traces, and read by the command that they are for.

mod support;

use std::process::Command;

use support::{Scratch, wiretable};

#[test]
fn fitted_costs_are_what_the_command_reads() {
    let scratch = Scratch::new("costs");
    let dir = &scratch.0;
    let costs = dir.join("costs.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args(["calibrate", "--packets", "20k", "--repeat", "1", "--core", "0"])
        .arg("--wiretable")
        .arg(wiretable())
        .args(["--dir".as_ref(), dir.as_os_str(), "-o".as_ref(), costs.as_os_str()])
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    // Every query is in the report, those that were held back too; its traces are gone.
    assert!(said.contains("T4: flows") && said.contains("within a factor of two"), "{said}");
    let left = std::fs::read_dir(dir).expect("the folder").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["costs.toml"]);
    let explained = Command::new(wiretable())
        .args(["explain", "--capacity", "SELECT count(*) FROM tcp", "--calibration"])
        .arg(&costs)
        .output()
        .expect("wiretable runs");
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.status.success() && text.contains("one core"), "{text}");
}
