//! `wiretable doctor`, on hosts and interfaces that have something in the way.

use std::process::Command;

use serde_json::Value;
use wt_tests::netns::{Netns, may_make};
use wt_tests::program::{Outcome, outcome, run};

/// (state, what was found) of a check.
fn finding(doctor: &Outcome, subject: &str, check: &str) -> Option<(String, String)> {
    let all: Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    let all = all.as_array().expect("an array").clone();
    let found = all.into_iter().find(|f| f["subject"] == subject && f["check"] == check)?;
    let text = |field: &str| found[field].as_str().expect("text").to_owned();
    Some((text("state"), text("found")))
}

#[test]
fn an_interface_that_is_not_there_is_in_the_way() {
    let doctor = run(["doctor", "-i", "nix0", "--format", "json"]).expect_status(2);
    let doctor = doctor.expect_said("in the way");
    let (state, found) = finding(&doctor, "nix0", "link").expect("a finding");
    assert_eq!((&state[..], &found[..]), ("problem", "there is no such interface"));
    assert!(finding(&doctor, "host", "kernel").is_some());
    let text = run(["doctor", "-i", "nix0"]).expect_status(2);
    assert!(text.stdout.contains("✗ link"), "{}", text.stdout);
    assert!(!text.stdout.contains('\x1b'), "colour without a terminal");
}

#[test]
#[cfg(not(feature = "dpdk"))]
fn a_build_without_dpdk_says_how_to_have_it() {
    let doctor = run(["doctor", "--format", "json"]);
    let (state, found) = finding(&doctor, "host", "DPDK").expect("a finding");
    assert!(state == "note" && found.contains("--features dpdk"), "{state}: {found}");
    let arguments = ["query", "SELECT len FROM packet", "--capture", "dpdk", "-i", "net_null0"];
    let refused = run(arguments).expect_status(2).expect_no_output();
    drop(
        refused
            .expect_said("`net_null0` cannot be captured from by DPDK")
            .expect_said("libdpdk-dev"),
    );
}

#[test]
fn what_is_done_to_an_interface_is_seen() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    let look = || {
        let mut command = netns.wiretable();
        command.args(["doctor", "-i", "near", "--format", "json"]);
        outcome(command.output().expect("wiretable starts"))
    };
    let state = |check: &str| finding(&look(), "near", check).map(|(state, _)| state);
    assert_eq!(state("link").as_deref(), Some("ok"));
    assert_eq!(state("programs").as_deref(), Some("ok"));
    assert_eq!(state("MTU"), None);
    netns.ip(&["link", "set", "near", "mtu", "9000"]);
    assert_eq!(state("MTU").as_deref(), Some("advice"));
    let offload = |on: &str| {
        let mut command = netns.command("ethtool");
        let status = command.args(["-K", "near", "gro", on]).status().expect("ethtool starts");
        assert!(status.success());
    };
    offload("on");
    assert_eq!(state("GRO").as_deref(), Some("advice"));
    offload("off");
    assert_eq!(state("GRO"), None);
    netns.ip(&["link", "set", "near", "down"]);
    let doctor = look().expect_status(2);
    let (state, found) = finding(&doctor, "near", "link").expect("a finding");
    assert_eq!((&state[..], &found[..]), ("problem", "veth; down"));
}

#[test]
fn missing_privileges_are_told_with_the_command_that_grants_them() {
    if !may_make() {
        return;
    }
    let mut weak = Command::new("setpriv");
    weak.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(wt_tests::program::binary());
    let doctor = outcome(weak.arg("doctor").output().expect("setpriv starts")).expect_status(2);
    assert!(doctor.stdout.contains("CAP_NET_RAW is missing"), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("setcap cap_net_raw,"), "{}", doctor.stdout);
}
