//! Every packet is in the answer or in the books: totals per second plus the late tuples equal `capinfos`, and without
//! GROUP BY the totals are equal outright.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use wt_tests::answers::{ask, batch_text};
use wt_tests::corpus;
use wt_tests::peers::{Totals, capinfos};
use wt_wire::CaptureReader;

const PER_SECOND: &str =
    "SELECT tb, count(*) AS pkts, sum(len) AS bytes FROM packet GROUP BY time/1 AS tb";
const OUTRIGHT: &str = "SELECT count(*) AS pkts, sum(len) AS bytes FROM packet";

/// SunATM captures (three of the reference captures): each record begins with a pseudo header of four bytes, which
/// Wireshark takes off the length. Here, as for tcpdump, it is part of the packet.
const SUNATM_LINK_TYPE: u16 = 123;
const SUNATM_HEADER_BYTES: u64 = 4;

/// Wireshark reads a pcap version that does not exist; libpcap refuses it, and so is it here.
const REFUSED: &[&str] = &["unknown-version.pcap"];

/// Captures per run of capinfos, so that its command line stays short.
const BATCH: usize = 200;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("carried", || agree(&corpus::carried(), 60))];
    if let Some(files) = corpus::shared("tcpdump") {
        // Several trials, so that they run side by side.
        for (i, part) in files.chunks(BATCH).enumerate() {
            let part = part.to_vec();
            let least = part.len() * 9 / 10;
            trials.push(Trial::test(format!("shared::{i}"), move || agree(&part, least)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Compares the captures that capinfos reads; at least `least` of them, or nothing would be shown.
fn agree(captures: &[PathBuf], least: usize) -> Result<(), Failed> {
    let mut wrong = String::new();
    let mut compared = 0;
    for batch in captures.chunks(BATCH) {
        let theirs = capinfos(batch).map_err(|e| e.to_string())?;
        for (path, theirs) in batch.iter().zip(theirs) {
            let Some(theirs) = theirs else { continue };
            // capinfos takes what it does not know for a capture without packets.
            let refused = CaptureReader::open(path).is_err();
            if refused && (theirs.packets == 0 || REFUSED.contains(&&*corpus::name_of(path))) {
                continue;
            }
            compared += 1;
            if let Err(e) = agree_on(path, theirs) {
                wrong += &format!("{}: {e}\n", path.display());
            }
        }
    }
    if compared < least {
        wrong += &format!("only {compared} captures were compared\n");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}

fn agree_on(path: &Path, theirs: Totals) -> Result<(), String> {
    let answers = ask(path, &batch_text([("per_second", PER_SECOND), ("outright", OUTRIGHT)]))?;
    let taken_off = sunatm_bytes(path)?;

    let outright = answers.numbers("outright");
    let ours = Totals { packets: outright[0], bytes: outright[1] - taken_off };
    if ours != theirs {
        return Err(format!("{ours:?} here, {theirs:?} by capinfos"));
    }

    let late = late_by_hand(path)?;
    let mut sum = Totals::default();
    for row in answers.rows("per_second") {
        let number = |i: usize| row[i].as_u64().ok_or("a cell is no number");
        sum.packets += number(1)?;
        sum.bytes += number(2)?;
    }
    if answers.report.ledger.late() != late.packets {
        return Err(format!(
            "{} late tuples in the books, {} by hand",
            answers.report.ledger.late(),
            late.packets
        ));
    }
    sum.packets += late.packets;
    sum.bytes += late.bytes;
    sum.bytes -= taken_off;
    if sum == theirs {
        Ok(())
    } else {
        Err(format!("{sum:?} per second and late here, {theirs:?} by capinfos"))
    }
}

/// Packets whose second is behind one that came before.
fn late_by_hand(path: &Path) -> Result<Totals, String> {
    let mut reader = CaptureReader::open(path).map_err(|e| e.to_string())?;
    let mut newest = 0;
    let mut late = Totals::default();
    // Damage ends the records for the query as well.
    while let Ok(Some(record)) = reader.next() {
        let second = record.timestamp_ns / 1_000_000_000;
        if second < newest {
            late.packets += 1;
            late.bytes += u64::from(record.len);
        }
        newest = newest.max(second);
    }
    Ok(late)
}

/// Bytes that capinfos does not count.
fn sunatm_bytes(path: &Path) -> Result<u64, String> {
    let mut reader = CaptureReader::open(path).map_err(|e| e.to_string())?;
    let mut bytes = 0;
    while let Ok(Some(record)) = reader.next() {
        if record.link_type.0 == SUNATM_LINK_TYPE {
            bytes += SUNATM_HEADER_BYTES;
        }
    }
    Ok(bytes)
}
