//! The command `index` at a tiny size: all answers must be of the same packets, which the command checks itself.

mod support;

use std::process::Command;

use support::{Scratch, wiretable};

#[test]
fn what_is_found_by_index_is_what_others_find() {
    let scratch = Scratch::new("index");
    let dir = &scratch.0;
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args(["index", "--sizes", "30MB", "--ratios", "256KiB,1MiB", "--rate", "5k"])
        .args(["--repeat", "1", "--scans", "1", "--wiretable"])
        .arg(wiretable())
        .args(["--dir".as_ref(), dir.as_os_str(), "--results".as_ref(), dir.as_os_str()])
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report = std::fs::read_to_string(dir.join("index.md")).expect("a report");
    for line in
        ["| 0.0 GB | 256 KiB |", "| 0.0 GB | index, R = 1 MiB |", "| 0.0 GB | 5000 | wiretable |"]
    {
        assert!(report.contains(line), "{line}\n{report}");
    }
    let left = std::fs::read_dir(dir).expect("the folder").flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("index-")).collect();
    assert!(left.is_empty(), "traces and stores are removed: {left:?}");
}
