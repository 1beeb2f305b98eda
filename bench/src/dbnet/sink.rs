//! Rows of a query through the sink into Postgres.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Instant;

use super::{DbnetError, Outcome, Server};
use crate::generate::{Amount, Spec, generate};

/// Result rows of a round: one for each packet.
pub const ROWS: u64 = 1_000_000;
/// A row of every packet: its time, addresses and length.
const EACH: &str = "DEFINE { query_name each; } SELECT ts, srcIP, destIP, len FROM ipv4";

/// Loads a million rows, by the clock of the whole command: it reads a trace, and each row is committed when it ends, with provenance of its batch.
pub(super) fn load(server: &Server, dir: &Path, rounds: usize) -> Result<Outcome, DbnetError> {
    let trace = dir.join("rows.pcap");
    let spec = Spec { amount: Amount::Packets(ROWS), ..Spec::default() };
    generate(&spec, BufWriter::new(File::create(&trace)?))?;
    let (trace, spool) = (trace.display().to_string(), dir.join("spool").display().to_string());
    let url = server.run(&["db", "url"])?;
    let mut outcome = Outcome::new("1,000,000 result rows through the sink", None, Some(2000.0));
    for round in 0..rounds {
        if round > 0 {
            server.run(&["sql", "SELECT res.drop('each')"])?;
        }
        let arguments =
            ["query", EACH, "-r", &trace, "-o", &url, "--spool", &spool, "--no-progress"];
        let began = Instant::now();
        server.plain(&arguments)?;
        outcome.took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        server.count("result rows", "SELECT count(*) FROM result.each", ROWS)?;
        let meant = ROWS * (round as u64 + 1);
        let all = "SELECT sum(n) FROM prov.event WHERE object = 'result.each' AND op = 'batch'";
        server.count("rows in events", all, meant)?;
    }
    Ok(outcome)
}
