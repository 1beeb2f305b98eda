//! wiretable answers every task as the hand-written programs and the tools on this machine do, on small traces.

mod support;

use std::path::Path;
use std::process::Command;

use support::{Scratch, wiretable};

fn check(scratch: &Scratch, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args(["run", "--check", "--core", "0", "--dir"])
        .arg(&scratch.0)
        .arg("--wiretable")
        .arg(wiretable())
        .args(arguments)
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all answers agree"), "{said}");
}

#[test]
fn all_tasks_on_small_traces() {
    let scratch = Scratch::new("tasks");
    check(
        &scratch,
        &["--traces", "real,imix", "--packets", "4k", "--peers", "none", "--two-cores"],
    );
}

#[test]
fn other_forms_have_the_same_packets() {
    let scratch = Scratch::new("forms");
    let forms = ["--packets", "4k", "--peers", "tcpdump,softflowd", "--forms", "--two-cores"];
    check(&scratch, &[&["--traces", "real,imix"], &forms[..]].concat());
}

#[test]
fn peers_count_the_same() {
    let scratch = Scratch::new("peers");
    check(
        &scratch,
        &["--traces", "real,imix", "--packets", "2k", "--peers", "libpcap,tcpdump,capinfos,tshark"],
    );
}

#[test]
fn tasks_on_tagged_and_fragmented_packets() {
    let scratch = Scratch::new("tagged");
    let generate = |name: &str, arguments: &[&str]| {
        let path = scratch.0.join(name).display().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
            .args(["generate", "--packets", "3k", "-o", &path])
            .args(arguments)
            .output()
            .expect("wt-bench runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    };
    let shares = ["--vlan", "0.3", "--ipv6", "0.4", "--rate", "1000"];
    let tagged = generate("tagged.pcap", &shares);
    let attack = generate("attack.pcap", &[&["--profile", "attack"][..], &shares].concat());
    // libpcap and tcpdump do not look behind tags, so they take no part.
    check(&scratch, &["--traces", &format!("{tagged},{attack}"), "--peers", "none"]);
}

/// A difference must be seen: a command that answers something else is not timed.
#[test]
fn a_disagreement_fails_and_shows_both() {
    let scratch = Scratch::new("lies");
    let liar = scratch.0.join("liar");
    let script = "#!/bin/sh\ncase \"$2\" in --help) ;; *) printf 'packets,bytes\\n1,2\\n';; esac\n";
    std::fs::write(&liar, script).expect("a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&liar, mode).expect("an executable");
    let output = Command::new(env!("CARGO_BIN_EXE_wt-bench"))
        .args([
            "run",
            "--core",
            "0",
            "--traces",
            "imix",
            "--packets",
            "100",
            "--tasks",
            "t1",
            "--peers",
            "none",
        ])
        .args([
            Path::new("--dir"),
            &scratch.0,
            Path::new("--results"),
            &scratch.0,
            Path::new("--wiretable"),
            &liar,
        ])
        .output()
        .expect("wt-bench runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("wiretable does not answer") && said.contains("1,2"), "{said}");
    assert!(!scratch.0.join("run.md").exists(), "nothing was measured");
}
