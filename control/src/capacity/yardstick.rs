//! A short fixed run in memory, whose time relates this machine to the one that costs were measured on. Change it, and every table of
//! costs has to be made again.

use std::io::Cursor;

use wt_catalog::Catalog;
use wt_engine::{RowSink, SinkError, Source, Tuple};
use wt_plan::{CompileInput, InterfaceInfo, compile};
use wt_wire::CaptureReader;

use super::measure::measure;
use crate::failure::Failure;

/// Flows of a few thousand groups, and tuples for one packet in eight.
const TEXT: &str = "\
DEFINE { query_name flows; } SELECT srcIP, destIP, srcPort, destPort, count(*), sum(len) FROM tcp \
GROUP BY srcIP, destIP, srcPort, destPort; \
DEFINE { query_name some; } SELECT time, srcIP, len FROM tcp WHERE destPort < 32";

const PACKETS: u32 = 1 << 15;

/// It is run until the two fastest agree, but no more often than this: others on the machine only make a run longer.
const RUNS_MAX: usize = 12;

/// By how much they may differ.
const AGREEMENT: f64 = 1.03;

/// What the run takes per packet on this machine, ns.
pub fn ns_per_packet() -> Result<f64, Failure> {
    let fault = |what: String| Failure::Environment(format!("the self-calibration fails: {what}"));
    let interfaces = [InterfaceInfo { name: "default".to_owned(), properties: Vec::new() }];
    let compiled = compile(&CompileInput {
        catalog: Catalog::builtin_ref(),
        text: TEXT,
        file_name: "",
        interfaces: &interfaces,
        interface_sets: &[],
        params: &[],
        watchlists: &[],
        finite: true,
        library: &|_| None,
    });
    let compiled = compiled.map_err(|errors| fault(format!("{errors:?}")))?;
    let capture = capture();
    let [mut fastest, mut second] = [f64::INFINITY; 2];
    for _ in 0..RUNS_MAX {
        let reader = CaptureReader::from_reader("memory", Cursor::new(capture.clone()));
        let reader = reader.map_err(|error| fault(error.to_string()))?;
        let captures = vec![reader].into();
        let source = Source { interface: "default".to_owned(), captures };
        let measured = measure(&compiled.physical, vec![source], None, &mut Nobody);
        let measured = measured.map_err(|error| fault(error.to_string()))?;
        let ns = measured.ns_per_packet.unwrap_or(f64::INFINITY);
        (fastest, second) = (fastest.min(ns), second.min(fastest.max(ns)));
        if second <= fastest * AGREEMENT {
            break;
        }
    }
    match fastest.is_finite() && fastest > 0.0 {
        true => Ok(fastest),
        false => Err(fault("the clock of the processor stands still".to_owned())),
    }
}

/// A pcap of small TCP packets, the ports and addresses of a linear congruential sequence.
fn capture() -> Vec<u8> {
    const FRAME_BYTES: u32 = 60;
    let mut bytes = Vec::with_capacity(24 + PACKETS as usize * 76);
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    let mut state = 1u32;
    for number in 0..PACKETS {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (host, port) = (state >> 28, (state >> 16 & 0xff) as u8);
        for word in [number >> 13, number & 0x1fff, FRAME_BYTES, FRAME_BYTES] {
            bytes.extend(word.to_le_bytes());
        }
        let mut frame = [0u8; FRAME_BYTES as usize];
        // Ethernet: IPv4.
        frame[12] = 0x08;
        // IPv4: 20 bytes of header, 46 in all, TTL, TCP.
        frame[14] = 0x45;
        frame[17] = 46;
        frame[22] = 64;
        frame[23] = 6;
        frame[26..30].copy_from_slice(&(0x0a00_0000 | host).to_be_bytes());
        frame[30..34].copy_from_slice(&[10, 1, 0, 1]);
        // TCP: ports, 20 bytes of header, ACK.
        frame[34..38].copy_from_slice(&[0x80, 0, 0, port]);
        frame[46] = 0x50;
        frame[47] = 0x10;
        bytes.extend(frame);
    }
    bytes
}

/// Takes rows and forgets them.
struct Nobody;

impl RowSink for Nobody {
    fn row(&mut self, _: usize, _: &Tuple) -> Result<(), SinkError> {
        Ok(())
    }

    fn window(&mut self, _: usize) -> Result<(), SinkError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yardstick_runs() {
        assert!(ns_per_packet().is_ok_and(|ns| ns > 0.0));
    }

    #[test]
    fn its_packets_are_what_the_queries_ask_for() {
        let mut reader = CaptureReader::from_reader("memory", Cursor::new(capture())).unwrap();
        let mut records = 0;
        while let Some(record) = reader.next().unwrap() {
            assert_eq!(record.data.len(), 60);
            records += 1;
        }
        assert_eq!(records, PACKETS);
    }
}
