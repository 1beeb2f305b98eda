//! Log records as rows. They have no id of their own: a digest of all they say tells them apart.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use sha2::{Digest, Sha256};

use super::rows::{Kind, Origin, Rows, Signal};
use super::value::{any, object, time};

/// time_ns, digest, observed_ns, severity, severity_text, body, attributes, trace_id, span_id.
pub(super) static SIGNAL: Signal = Signal {
    procedure: "otel.put_logs",
    columns: &[
        Kind::Big,
        Kind::Bytes,
        Kind::Big,
        Kind::Small,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Bytes,
        Kind::Bytes,
    ],
};

pub(super) fn add(log: &LogRecord, origin: &Origin, rows: &mut Rows) {
    let observed = time(log.observed_time_unix_nano);
    // A record without a time of its own happened when it was seen.
    let Some(at) = time(log.time_unix_nano).or(observed) else { return rows.reject() };
    let is_id = |id: &[u8], len: usize| id.is_empty() || id.len() == len;
    if !is_id(&log.trace_id, 16) || !is_id(&log.span_id, 8) {
        return rows.reject();
    }
    let digest =
        Sha256::new().chain_update(origin.digest).chain_update(log.encode_to_vec()).finalize();
    let severity = if (0..=24).contains(&log.severity_number) { log.severity_number } else { 0 };
    rows.add(origin, |row| {
        row.number(at).bytes_if_any(&digest);
        match observed {
            Some(observed) => row.number(observed),
            None => row.null(),
        };
        row.number(severity).text_if_any(&log.severity_text);
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

    #[test]
    fn a_record_is_known_by_what_it_says() {
        let at = |ns| LogRecord { time_unix_nano: ns, ..LogRecord::default() };
        let mut rows = Rows::new(&SIGNAL);
        let origin = rows.origin("system", None, None);
        for log in [at(5), at(5), at(6), at(0)] {
            add(&log, &origin, &mut rows);
        }
        let other = rows.origin("red", None, None);
        add(&at(5), &other, &mut rows);
        assert_eq!((rows.len(), rows.invalid), (4, 1));
        assert_eq!(rows.shown(0), ["5", "5", "6", "5"]);
        let digests = rows.shown(1);
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
        assert_ne!(digests[0], digests[3]);
    }
}
