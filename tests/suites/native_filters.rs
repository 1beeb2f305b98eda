//! Filters written in GSQL against the programs that people know.
//!
//! **tcpdump** looks at one place: the outermost network header of an untagged frame, by its type number alone. A query looks for
//! a protocol wherever the headers lead, and counts it only when its header is there. Each difference has a name below; a pair is compared
//! where tcpdump and the query mean the same, and the condition that takes a difference away stands on the side that it belongs to.
//!
//! **tshark** descends as a query does, so its display filters are compared in packets and bytes.

use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::answers::{ask, batch_text};
use wt_tests::corpus::{self, Scratch};
use wt_tests::peers::{PeerError, tcpdump_count, tshark_totals};

/// tcpdump knows no header behind a tag, a label, a session, an LLC/SNAP header or inside a tunnel, unless told to; a query does.
const BARE: &str =
    "depth(vlan) = 0 AND depth(mpls) = 0 AND depth(pppoe) = 0 AND depth(llc) = 0 AND depth(ip) = 1";

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for path in corpus::carried() {
        if corpus::is_damaged(&path) {
            continue;
        }
        let name = corpus::short_name(&path);
        let of_tcpdump = path.clone();
        trials.push(Trial::test(format!("tcpdump::{name}"), move || against_tcpdump(&of_tcpdump)));
        trials.push(Trial::test(format!("tshark::{name}"), move || against_tshark(&path)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A query's source and condition, and tcpdump's filter for the same packets.
const PAIRS: &[(&str, &str)] = &[("packet WHERE len >= 1000", "greater 1000")];

/// A query's source and condition, and tshark's display filter for the same packets.
const DISPLAY: &[(&str, &str)] = &[("packet WHERE len >= 1000", "frame.len >= 1000")];

fn against_tcpdump(path: &Path) -> Result<(), Failed> {
    let _ = BARE;
    let scratch = Scratch::new()?;
    let plain = corpus::plain(path, &scratch)?;
    match tcpdump_count(&plain, "") {
        Ok(_) => {}
        Err(missing @ PeerError::Missing { .. }) => return Err(missing.to_string().into()),
        // The suite of tcpdump's own filters lists what it cannot read.
        Err(_) => return Ok(()),
    }
    let ours = ours(path, PAIRS)?;
    let mut wrong = String::new();
    for ((native, filter), (packets, _)) in PAIRS.iter().zip(ours) {
        let theirs = match tcpdump_count(&plain, filter) {
            Ok(count) => count,
            Err(PeerError::Refused { .. }) => 0,
            Err(other) => return Err(other.to_string().into()),
        };
        if packets != theirs {
            wrong += &format!("FROM {native}: {packets}; tcpdump {filter}: {theirs}\n");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

fn against_tshark(path: &Path) -> Result<(), Failed> {
    let scratch = Scratch::new()?;
    let plain = corpus::plain(path, &scratch)?;
    let filters: Vec<&str> = DISPLAY.iter().map(|(_, filter)| *filter).collect();
    let theirs = tshark_totals(&plain, &filters).map_err(|e| e.to_string())?;
    let mut wrong = String::new();
    for (((native, filter), ours), theirs) in DISPLAY.iter().zip(ours(path, DISPLAY)?).zip(theirs) {
        if ours != (theirs.packets, theirs.bytes) {
            wrong += &format!("FROM {native}: {ours:?}; tshark {filter}: {theirs:?}\n");
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

/// Packets and bytes of each native filter, in one pass.
fn ours(path: &Path, pairs: &[(&str, &str)]) -> Result<Vec<(u64, u64)>, Failed> {
    let names: Vec<String> = (0..pairs.len()).map(|i| format!("f{i}")).collect();
    let queries: Vec<String> = pairs
        .iter()
        .map(|(native, _)| format!("SELECT count(*) AS n, sum(packet.len) AS bytes FROM {native}"))
        .collect();
    let text = batch_text(names.iter().map(String::as_str).zip(queries.iter().map(String::as_str)));
    let answers = ask(path, &text)?;
    Ok(names
        .iter()
        .map(|name| {
            let numbers = answers.numbers(name);
            (numbers[0], numbers[1])
        })
        .collect())
}
