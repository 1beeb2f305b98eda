//! Log records as rows. They have no id of their own: a digest of all they say tells them apart.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use sha2::{Digest, Sha256};

use super::Signal;
use super::copy::Rows;
use super::value::{any, object, time};

pub(super) const SIGNAL: Signal = Signal {
    name: "log",
    columns: "time_ns, digest, observed_ns, resource_id, scope_id, severity, severity_text, body, attributes, trace_id, span_id",
};

pub(super) fn add(log: &LogRecord, resource: i64, scope: i64, rows: &mut Rows) {
    let observed = time(log.observed_time_unix_nano);
    // A record without a time of its own happened when it was seen.
    let Some(at) = time(log.time_unix_nano).or(observed) else { return rows.reject() };
    let is_id = |id: &[u8], len: usize| id.is_empty() || id.len() == len;
    if !is_id(&log.trace_id, 16) || !is_id(&log.span_id, 8) {
        return rows.reject();
    }
    let digest = Sha256::new()
        .chain_update(resource.to_le_bytes())
        .chain_update(scope.to_le_bytes())
        .chain_update(log.encode_to_vec())
        .finalize();
    let severity = if (0..=24).contains(&log.severity_number) { log.severity_number } else { 0 };
    rows.add(|row| {
        row.number(at).bytes_if_any(&digest);
        match observed {
            Some(observed) => row.number(observed),
            None => row.null(),
        };
        row.number(resource).number(scope).number(severity).text_if_any(&log.severity_text);
        match &log.body {
            Some(body) => row.json(&any(body)),
            None => row.null(),
        };
        row.json(&object(&log.attributes));
        row.bytes_if_any(&log.trace_id).bytes_if_any(&log.span_id);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(logs: &[LogRecord]) -> (Vec<String>, i64) {
        let mut rows = Rows::default();
        logs.iter().for_each(|log| add(log, 1, 2, &mut rows));
        let (bytes, invalid) = rows.end();
        (String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect(), invalid)
    }

    #[test]
    fn a_record_is_known_by_what_it_says() {
        let at = |ns| LogRecord { time_unix_nano: ns, ..LogRecord::default() };
        let (rows, invalid) = rows(&[at(5), at(5), at(6), at(0)]);
        assert_eq!(invalid, 1);
        assert_eq!(rows[0], rows[1]);
        assert_ne!(rows[0].split('\t').nth(1), rows[2].split('\t').nth(1));
        assert_eq!(rows[0].split('\t').count(), SIGNAL.columns.split(',').count());
    }
}
