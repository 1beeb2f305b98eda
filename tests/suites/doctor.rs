//! `wiretable doctor`, on hosts and interfaces that have something in the way.

use std::process::Command;

use serde_json::Value;
use wt_tests::corpus::Scratch;
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

#[test]
fn a_batch_places_what_doctor_advises() {
    if !may_make() {
        return;
    }
    let netns = Netns::new();
    netns.add_wide_pair("1");
    let queues = || {
        let mut command = netns.wiretable();
        command.args(["doctor", "-i", "wide", "--format", "json"]);
        finding(&outcome(command.output().unwrap()), "wide", "queues").expect("a finding")
    };
    let has_two_cores = std::thread::available_parallelism().unwrap().get() > 1;
    assert_eq!(queues().0, if has_two_cores { "advice" } else { "ok" });

    let scratch = Scratch::new().unwrap();
    let config = scratch.path("placed.toml");
    let write = |placed: &str| {
        let text = format!(
            "[[source]]\ndevice = \"wide\"\n{placed}\n[[query]]\nname = \"all\"\ntext = \"SELECT count(*) AS n FROM packet\"\n"
        );
        std::fs::write(&config, text).unwrap();
        config.display().to_string()
    };
    let run = |placed: &str| {
        let mut command = netns.wiretable();
        command.args(["run", &write(placed), "--for", "100ms"]);
        outcome(command.output().unwrap())
    };
    let refused = |placed: &str| run(placed).expect_status(2);
    refused("interrupts = \"4000\"").expect_said("this host has no core 4000; there are 0 to");
    refused("queues = 7").expect_said("`wide` cannot have 7 receive queues");

    let placed = "queues = 2\ninterrupts = \"0\"";
    let said = run(placed).expect_status(0).stderr;
    assert!(said.contains("wide has 2 receive queues now; it had 1"), "{said}");
    for queue in ["rx-0", "rx-1"] {
        assert!(said.contains(&format!("queue {queue} of wide is served by core 0 now")), "{said}");
        let path = format!("/sys/class/net/wide/queues/{queue}/rps_cpus");
        let mask = netns.command("cat").arg(path).output().unwrap().stdout;
        let mask = String::from_utf8_lossy(&mask).trim().replace(',', "");
        assert_eq!(u64::from_str_radix(&mask, 16), Ok(1), "{mask}");
    }
    assert_eq!(queues(), ("ok".to_owned(), "2".to_owned()));
    // What is in its place is not said again.
    let said = run(placed).expect_status(0).stderr;
    assert!(!said.contains("now"), "{said}");
}
