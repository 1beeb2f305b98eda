//! End to end: any text over any capture ends in rows and balanced books, or in a message.

use std::io::Cursor;

use wt_engine::{RunOptions, Source};
use wt_wire::CaptureReader;

use crate::answers::ValueSink;
use crate::run::Setup;

/// State that a query may keep, bytes.
const MEMORY_BYTES_MAX: u64 = 4 << 20;

/// The input is a query, a zero byte, and a capture.
pub(super) fn run(data: &[u8]) -> bool {
    let (text, capture) = super::split(data);
    // Functions that open files are left out: the input must not name any of this machine's.
    if ["file", "lpm", "strtoi_c", "int_to_string"].iter().any(|word| text.contains(word)) {
        return false;
    }
    let Ok(compiled) = Setup::default().compile(super::catalog(), &text, true) else {
        return false;
    };
    let Ok(reader) = CaptureReader::from_reader("input", Cursor::new(capture.to_vec())) else {
        return false;
    };
    let source = Source { interface: "default".to_owned(), captures: vec![reader].into() };
    let mut sink = ValueSink::new(&compiled.physical);
    let options = RunOptions { memory_bytes_max: Some(MEMORY_BYTES_MAX), ..RunOptions::default() };
    match wt_engine::run(&compiled.physical, vec![source], &options, &mut sink) {
        Ok(report) => {
            report.ledger.check().unwrap_or_else(|e| panic!("the books do not balance: {e}"));
            let answers = sink.into_answers(&compiled.physical, report);
            for answer in answers.results.values() {
                let columns = answer.schema.columns.len();
                assert!(answer.rows.iter().all(|row| row.len() == columns));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    true
}
