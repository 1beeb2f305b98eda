//! The programs that answers are compared with: tcpdump, tshark and capinfos.
//!
//! A missing one is a failure that says what to run; no comparison is skipped.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why a reference program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be started.
    #[error("cannot run {program} ({source}): .ci/setup installs it")]
    Missing {
        /// Its name.
        program: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The capture could not be opened for it.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The capture.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It refused the filter or the file.
    #[error("{program}: {message}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The last line of its complaint.
        message: String,
    },
    /// It said something that is not understood here.
    #[error("{program} answered what is not understood: {output}")]
    Unexpected {
        /// Its name.
        program: &'static str,
        /// What it said.
        output: String,
    },
}

/// Packets and bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub packets: u64,
    /// Sum of their lengths on the wire.
    pub bytes: u64,
}

/// tcpdump's count of the packets of an uncompressed capture that pass a filter (all of them when it is empty).
///
/// # Errors
/// [`PeerError::Refused`] when tcpdump refuses the filter for the capture's link type, or finds the file damaged.
pub fn tcpdump_count(capture: &Path, filter: &str) -> Result<u64, PeerError> {
    // From standard input: the name then plays no part, and neither do the rights of the user that tcpdump becomes.
    let file = open(capture)?;
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-r", "-", "--count", "--", filter]).stdin(file);
    let output = run("tcpdump", &mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .find_map(packets_said)
        .ok_or_else(|| PeerError::Unexpected { program: "tcpdump", output: said.trim().to_owned() })
}

/// `17 packets`, `1 packet`.
fn packets_said(line: &str) -> Option<u64> {
    let (number, noun) = line.split_once(' ')?;
    noun.starts_with("packet").then(|| number.parse().ok())?
}

/// Preferences under which tshark judges each packet alone, as a query does: nothing is put together again, nothing is
/// guessed from what came before.
const TSHARK_ALONE: &[&str] = &[
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
    "tcp.relative_sequence_numbers:FALSE",
    "udp.try_heuristic_first:FALSE",
    "tcp.try_heuristic_first:FALSE",
    "sctp.reassembly:FALSE",
];

/// tshark's packets and bytes for each display filter, in one pass over the capture. No filter may contain a comma.
///
/// # Errors
/// [`PeerError`]: tshark is missing, refuses a filter, or prints a table of another shape.
pub fn tshark_totals(capture: &Path, filters: &[&str]) -> Result<Vec<Totals>, PeerError> {
    let statistics = format!("io,stat,0,{}", filters.join(","));
    let mut command = Command::new("tshark");
    command.args(["-n", "-q", "-r"]).arg(capture);
    for preference in TSHARK_ALONE {
        command.args(["-o", preference]);
    }
    command.args(["-z", &statistics]);
    let output = run("tshark", &mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    totals_said(&said, filters.len())
        .ok_or_else(|| PeerError::Unexpected { program: "tshark", output: said.into_owned() })
}

/// The one row `|  0.0 <> 2.5 | 3 | 180 | 0 | 0 |` of tshark's table; without packets there is none.
fn totals_said(table: &str, filters: usize) -> Option<Vec<Totals>> {
    let Some(row) = table.lines().find(|line| line.contains("<>")) else {
        return table.contains("IO Statistics").then(|| vec![Totals::default(); filters]);
    };
    let cells: Vec<u64> =
        row.split('|').skip(2).filter_map(|cell| cell.trim().parse().ok()).collect();
    (cells.len() == 2 * filters)
        .then(|| cells.chunks(2).map(|c| Totals { packets: c[0], bytes: c[1] }).collect())
}

/// capinfos's number of packets and size of all packets, per capture; nothing for one that it cannot read to the end.
///
/// # Errors
/// [`PeerError::Missing`] when capinfos is not there.
pub fn capinfos(captures: &[PathBuf]) -> Result<Vec<Option<Totals>>, PeerError> {
    let mut command = Command::new("capinfos");
    command.args(["-c", "-d", "-M"]).args(captures);
    // Its exit status tells no more than that one of the files is damaged.
    let output = start("capinfos", &mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let damaged: HashSet<&str> = complaints
        .lines()
        .filter(|line| line.contains("error occurred after reading"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    let blocks = blocks_said(&said);
    let of = |capture: &PathBuf| {
        let name = capture.to_string_lossy();
        blocks.get(name.as_ref()).filter(|_| !damaged.contains(name.as_ref())).copied()
    };
    Ok(captures.iter().map(of).collect())
}

/// The blocks of capinfos, each of which begins with `File name:`.
fn blocks_said(said: &str) -> HashMap<&str, Totals> {
    let mut blocks = HashMap::new();
    let mut name = "";
    for line in said.lines() {
        let Some((label, value)) = line.split_once(':') else { continue };
        let number = || value.split_whitespace().next()?.parse::<u64>().ok();
        match label {
            "File name" => name = value.trim(),
            "Number of packets" => {
                blocks.entry(name).or_insert_with(Totals::default).packets = number().unwrap_or(0);
            }
            "Data size" => {
                blocks.entry(name).or_insert_with(Totals::default).bytes = number().unwrap_or(0);
            }
            _ => {}
        }
    }
    blocks
}

fn open(capture: &Path) -> Result<File, PeerError> {
    File::open(capture)
        .map_err(|source| PeerError::Open { path: capture.display().to_string(), source })
}

fn start(program: &'static str, command: &mut Command) -> Result<Output, PeerError> {
    // The peers print their own words; nothing of the user's surroundings may change them.
    command.env("LC_ALL", "C").env("TZ", "UTC").stderr(Stdio::piped());
    command.output().map_err(|source| PeerError::Missing { program, source })
}

fn run(program: &'static str, command: &mut Command) -> Result<Output, PeerError> {
    let output = start(program, command)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().last().unwrap_or("no message").trim().to_owned();
    Err(PeerError::Refused { program, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_peers_are_understood() {
        assert_eq!(packets_said("17 packets"), Some(17));
        assert_eq!(packets_said("1 packet"), Some(1));
        assert_eq!(packets_said("reading from file"), None);
        let table =
            "| IO Statistics |\n| Interval | Frames | Bytes |\n| 0.0 <> 2.5 |  3 | 180 | 0 | 0 |\n";
        let three = Totals { packets: 3, bytes: 180 };
        assert_eq!(totals_said(table, 2), Some(vec![three, Totals::default()]));
        assert_eq!(totals_said(table, 1), None);
        assert_eq!(totals_said("| IO Statistics |", 1), Some(vec![Totals::default()]));
        assert_eq!(totals_said("tshark: no such filter", 1), None);
        let blocks = blocks_said(
            "File name:   /a: b.pcap\nNumber of packets:   3\nData size:   180 bytes\n\nFile name:  c\n",
        );
        assert_eq!(blocks.get("/a: b.pcap"), Some(&three));
        assert_eq!(blocks.len(), 1);
    }
}
