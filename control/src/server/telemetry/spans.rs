//! Spans as rows.

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use super::rows::{Kind, Origin, Rows, Signal};
use super::value::{hex, object, plain, time};

/// trace_id, span_id, parent_id, start_ns, end_ns, name, kind, status, message, trace_state, attributes, events, links.
pub(super) static SIGNAL: Signal = Signal {
    procedure: "otel.put_spans",
    columns: &[
        Kind::Bytes,
        Kind::Bytes,
        Kind::Bytes,
        Kind::Big,
        Kind::Big,
        Kind::Text,
        Kind::Small,
        Kind::Small,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Text,
    ],
};

pub(super) fn add(span: &Span, origin: &Origin, rows: &mut Rows) {
    let is_id = |id: &[u8], len: usize| id.len() == len && id.iter().any(|byte| *byte != 0);
    let has_parent = !span.parent_span_id.is_empty();
    let times = (time(span.start_time_unix_nano), time(span.end_time_unix_nano));
    let (Some(start), Some(end)) = times else { return rows.reject() };
    if !is_id(&span.trace_id, 16)
        || !is_id(&span.span_id, 8)
        || has_parent && span.parent_span_id.len() != 8
    {
        return rows.reject();
    }
    let status = span.status.clone().unwrap_or_default();
    // Kinds and codes of a later version are what their absence is.
    let within = |code: i32, most: i32| if (0..=most).contains(&code) { code } else { 0 };
    rows.add(origin, |row| {
        row.bytes_if_any(&span.trace_id).bytes_if_any(&span.span_id);
        row.bytes_if_any(&span.parent_span_id).number(start).number(end);
        row.text(&span.name);
        row.number(within(span.kind, 5)).number(within(status.code, 2));
        row.text_if_any(&status.message).text_if_any(&span.trace_state);
        row.json(&object(&span.attributes)).json(&events(span)).json(&links(span));
    });
}

fn events(span: &Span) -> Value {
    let event = |event: &opentelemetry_proto::tonic::trace::v1::span::Event| {
        json!({
            "time_ns": event.time_unix_nano,
            "name": plain(&event.name),
            "attributes": object(&event.attributes),
        })
    };
    span.events.iter().map(event).collect()
}

fn links(span: &Span) -> Value {
    let link = |link: &opentelemetry_proto::tonic::trace::v1::span::Link| {
        json!({
            "trace_id": hex(&link.trace_id),
            "span_id": hex(&link.span_id),
            "trace_state": plain(&link.trace_state),
            "attributes": object(&link.attributes),
        })
    };
    span.links.iter().map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "GET /".to_owned(),
            kind: 2,
            start_time_unix_nano: 1000,
            end_time_unix_nano: 2000,
            ..Span::default()
        }
    }

    fn rows(span: &Span) -> Rows {
        let mut rows = Rows::new(&SIGNAL);
        let origin = rows.origin("system", None, None);
        add(span, &origin, &mut rows);
        rows
    }

    #[test]
    fn a_span_is_a_row_with_all_columns() {
        let rows = rows(&span());
        assert_eq!((rows.len(), rows.invalid), (1, 0));
        let shown: Vec<String> =
            (2..SIGNAL.columns.len()).map(|i| rows.shown(i)[0].clone()).collect();
        let expected =
            ["NULL", "1000", "2000", "GET /", "2", "0", "NULL", "NULL", "{}", "[]", "[]"];
        assert_eq!(shown, expected);
        let rows = self::rows(&Span { kind: 99, ..span() });
        assert_eq!(rows.shown(6), ["0"]);
    }

    #[test]
    fn spans_without_ids_or_times_are_rejected() {
        for wrong in [
            Span { trace_id: vec![0; 16], ..span() },
            Span { trace_id: vec![1; 15], ..span() },
            Span { span_id: Vec::new(), ..span() },
            Span { parent_span_id: vec![1], ..span() },
            Span { start_time_unix_nano: u64::MAX, ..span() },
            Span { end_time_unix_nano: 0, ..span() },
        ] {
            let rows = rows(&wrong);
            assert_eq!((rows.len(), rows.invalid), (0, 1));
        }
    }
}
