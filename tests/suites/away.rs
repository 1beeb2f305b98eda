//! The database goes away under a live capture: no packet is lost for that, and all rows are there afterwards, none twice.
//!
//! `WT_SOAK=1` has it away for a minute instead of three seconds. Needs root and Postgres.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wt_tests::database::Database;
use wt_tests::live::{Running, booked, privileges, wait_until};
use wt_tests::netns::{Netns, may_make};
use wt_tests::standby::Standby;
use wt_tests::synthetic::Datagram;

/// A row for each packet.
const EACH: &str = "DEFINE { query_name each; } SELECT ts, srcIP, len FROM udp";
/// Packets in a burst, and the time between bursts: 10,000 a second.
const BURST: u32 = 50;
const PAUSE: Duration = Duration::from_millis(5);

/// How long the database is away.
fn away() -> Duration {
    Duration::from_secs(if std::env::var_os("WT_SOAK").is_some() { 60 } else { 3 })
}

/// Captures numbered packets into the database while `fault` takes its course; how many were sent.
fn under_traffic(netns: &Netns, url: &str, spool: &str, fault: impl FnOnce()) -> u32 {
    let arguments =
        ["query", EACH, "-i", "near", "-o", url, "--spool", spool, "--wait", "60", "--ledger"];
    let running = Running::start(netns, &arguments, 1);
    let is_over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let sender = netns.sender("far").expect("the interface");
            let mut sent = 0;
            while !is_over.load(Ordering::Acquire) {
                let began = Instant::now();
                for _ in 0..BURST {
                    let source = Ipv4Addr::from(0x0a00_0000 + sent);
                    let datagram =
                        Datagram { timestamp_ns: 0, source, port: 9, ttl: 64, payload: 18 };
                    sender.send(&datagram.frame()).expect("it is sent");
                    sent += 1;
                }
                std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
            }
            sent
        });
        fault();
        // The thread that sends rows to the database too.
        privileges(running.child.0.id(), |status, mask| assert_eq!(mask, 0, "{status}"));
        // Rows go on coming afterwards.
        std::thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Release);
        sender.join().expect("no panic")
    });
    let seen = u64::from(sent);
    wait_until("the packets are seen", || {
        let counted =
            netns.command("cat").arg("/sys/class/net/near/statistics/rx_packets").output();
        String::from_utf8_lossy(&counted.expect("cat").stdout).trim().parse() == Ok(seen)
    });
    let ended = running.interrupt();
    let books = booked(&ended.stderr, "live", "near");
    for (column, number) in [("seen", seen), ("records", seen), ("kernel dropped", 0)] {
        let found = books.iter().find(|(name, _)| name == column);
        assert_eq!(found.map(|(_, n)| *n), Some(number), "{column}\n{}", ended.stderr);
    }
    assert!(ended.stderr.contains("is back"), "{}", ended.stderr);
    sent
}

/// Rows, and different ones; batches that lost something; gaps.
const BALANCE: &str = "SELECT count(*), count(DISTINCT srcip), (SELECT count(*) FROM res.batch WHERE lost IS NOT NULL), (SELECT count(*) FROM res.gap) FROM result.each";

#[test]
fn a_database_that_is_stopped_for_a_while_gets_all_rows() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let netns = Netns::new();
    let spool = database.path("spool").display().to_string();
    let sent = under_traffic(&netns, &database.url, &spool, || {
        wait_until("rows arrive", || database.sql("SELECT count(*) > 0 FROM res.batch") == "t");
        database.command(&["stop"]).expect_status(0);
        std::thread::sleep(away());
        database.restart();
    });
    assert_eq!(database.sql(BALANCE), format!("{sent}|{sent}|0|0"));
}

#[test]
fn a_standby_that_takes_over_gets_all_rows() {
    if !may_make() {
        return;
    }
    let Some(database) = Database::start() else { return };
    let standby = Standby::of(&database);
    let netns = Netns::new();
    let spool = database.path("spool").display().to_string();
    let sent = under_traffic(&netns, &standby.url, &spool, || {
        wait_until("rows arrive", || database.sql("SELECT count(*) > 1 FROM res.batch") == "t");
        database.kill();
        // As long as whoever watches over both takes to be sure.
        std::thread::sleep(Duration::from_millis(500));
        standby.promote();
        wait_until("rows arrive again", || {
            let before = standby.sql("SELECT count(*) FROM res.batch");
            std::thread::sleep(Duration::from_millis(300));
            before != standby.sql("SELECT count(*) FROM res.batch")
        });
    });
    assert_eq!(standby.sql(BALANCE), format!("{sent}|{sent}|0|0"));
}
