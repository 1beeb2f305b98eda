//! Metric points as rows, one for each; what is more than a number stands in `detail`.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
};
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::rows::{Kind, Origin, Rows, Signal};
use super::value::{object, real, time};

/// time_ns, digest, start_ns, name, unit, kind, monotonic, temporality, value, detail, attributes.
pub(super) static SIGNAL: Signal = Signal {
    procedure: "otel.put_metrics",
    columns: &[
        Kind::Big,
        Kind::Bytes,
        Kind::Big,
        Kind::Text,
        Kind::Text,
        Kind::Text,
        Kind::Bool,
        Kind::Small,
        Kind::Real,
        Kind::Text,
        Kind::Text,
    ],
};

/// What the points of a metric have in common.
struct Of<'m> {
    metric: &'m Metric,
    origin: &'m Origin,
    kind: &'static str,
    monotonic: Option<bool>,
    temporality: Option<i32>,
}

/// A point.
struct Point<'p> {
    time: u64,
    start: u64,
    attributes: &'p [KeyValue],
    value: Option<f64>,
    detail: Option<Value>,
    encoded: Vec<u8>,
}

pub(super) fn add(metric: &Metric, origin: &Origin, rows: &mut Rows) {
    let of = |kind, monotonic, temporality| Of { metric, origin, kind, monotonic, temporality };
    match &metric.data {
        None => rows.reject(),
        Some(Data::Gauge(gauge)) => {
            let of = of("gauge", None, None);
            gauge.data_points.iter().for_each(|point| of.add(number(point), rows));
        }
        Some(Data::Sum(sum)) => {
            let of = of("sum", Some(sum.is_monotonic), Some(sum.aggregation_temporality));
            sum.data_points.iter().for_each(|point| of.add(number(point), rows));
        }
        Some(Data::Histogram(all)) => {
            let of = of("histogram", None, Some(all.aggregation_temporality));
            all.data_points.iter().for_each(|point| of.add(histogram(point), rows));
        }
        Some(Data::ExponentialHistogram(all)) => {
            let of = of("exponential_histogram", None, Some(all.aggregation_temporality));
            all.data_points.iter().for_each(|point| of.add(exponential(point), rows));
        }
        Some(Data::Summary(all)) => {
            let of = of("summary", None, None);
            all.data_points.iter().for_each(|point| of.add(summary(point), rows));
        }
    }
}

fn number(point: &NumberDataPoint) -> Point<'_> {
    Point {
        time: point.time_unix_nano,
        start: point.start_time_unix_nano,
        attributes: &point.attributes,
        value: point.value.as_ref().map(|value| match value {
            number_data_point::Value::AsDouble(value) => *value,
            number_data_point::Value::AsInt(value) => *value as f64,
        }),
        // An integer above 2^53 is not exact as a number.
        detail: match point.value {
            Some(number_data_point::Value::AsInt(value)) if value.unsigned_abs() > 1 << 53 => {
                Some(json!({ "int": value }))
            }
            _ => None,
        },
        encoded: point.encode_to_vec(),
    }
}

fn histogram(point: &HistogramDataPoint) -> Point<'_> {
    Point {
        time: point.time_unix_nano,
        start: point.start_time_unix_nano,
        attributes: &point.attributes,
        value: point.sum,
        detail: Some(json!({
            "count": point.count,
            "min": point.min.map(real),
            "max": point.max.map(real),
            "bounds": point.explicit_bounds.iter().map(|bound| real(*bound)).collect::<Value>(),
            "counts": point.bucket_counts,
        })),
        encoded: point.encode_to_vec(),
    }
}

fn exponential(point: &ExponentialHistogramDataPoint) -> Point<'_> {
    let buckets = |buckets: &Option<Buckets>| {
        buckets.as_ref().map(|b| json!({ "offset": b.offset, "counts": b.bucket_counts }))
    };
    Point {
        time: point.time_unix_nano,
        start: point.start_time_unix_nano,
        attributes: &point.attributes,
        value: point.sum,
        detail: Some(json!({
            "count": point.count,
            "min": point.min.map(real),
            "max": point.max.map(real),
            "scale": point.scale,
            "zero_count": point.zero_count,
            "zero_threshold": real(point.zero_threshold),
            "positive": buckets(&point.positive),
            "negative": buckets(&point.negative),
        })),
        encoded: point.encode_to_vec(),
    }
}

fn summary(point: &SummaryDataPoint) -> Point<'_> {
    let quantiles = point.quantile_values.iter();
    let quantiles =
        quantiles.map(|q| json!({ "quantile": real(q.quantile), "value": real(q.value) }));
    Point {
        time: point.time_unix_nano,
        start: point.start_time_unix_nano,
        attributes: &point.attributes,
        value: Some(point.sum),
        detail: Some(json!({ "count": point.count, "quantiles": quantiles.collect::<Value>() })),
        encoded: point.encode_to_vec(),
    }
}

impl Of<'_> {
    fn add(&self, point: Point<'_>, rows: &mut Rows) {
        let Some(at) = time(point.time) else { return rows.reject() };
        let digest = Sha256::new()
            .chain_update(self.origin.digest)
            .chain_update((self.metric.name.len() as u64).to_le_bytes())
            .chain_update(&self.metric.name)
            .chain_update(self.kind)
            .chain_update(point.encoded)
            .finalize();
        rows.add(self.origin, |row| {
            row.number(at).bytes_if_any(&digest);
            match time(point.start) {
                Some(start) => row.number(start),
                None => row.null(),
            };
            row.text(&self.metric.name).text(&self.metric.unit).text(self.kind);
            match self.monotonic {
                Some(monotonic) => row.bool(monotonic),
                None => row.null(),
            };
            match self.temporality.filter(|temporality| (0..=2).contains(temporality)) {
                Some(temporality) => row.number(temporality),
                None => row.null(),
            };
            match point.value {
                Some(value) => row.real(value),
                None => row.null(),
            };
            match &point.detail {
                Some(detail) => row.json(detail),
                None => row.null(),
            };
            row.json(&object(point.attributes));
        });
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, Histogram, Sum};

    use super::*;

    fn rows(data: Data) -> Rows {
        let metric = Metric { name: "m".to_owned(), data: Some(data), ..Metric::default() };
        let mut rows = Rows::new(&SIGNAL);
        let origin = rows.origin("system", None, None);
        add(&metric, &origin, &mut rows);
        assert_eq!(rows.invalid, 0);
        rows
    }

    #[test]
    fn points_are_rows_with_all_columns() {
        let number = |value| NumberDataPoint {
            time_unix_nano: 5,
            value: Some(value),
            ..NumberDataPoint::default()
        };
        let points = vec![
            number(number_data_point::Value::AsInt(i64::MAX)),
            number(number_data_point::Value::AsDouble(0.5)),
        ];
        let gauge = rows(Data::Gauge(Gauge { data_points: points.clone() }));
        assert_eq!(gauge.shown(9), [format!("{{\"int\":{}}}", i64::MAX), "NULL".to_owned()]);
        assert_eq!((&gauge.shown(5)[1][..], &gauge.shown(8)[1][..]), ("gauge", "0.5"));
        let sum = Sum { data_points: points, aggregation_temporality: 2, is_monotonic: true };
        let sum = rows(Data::Sum(sum));
        assert_eq!((&sum.shown(6)[1][..], &sum.shown(7)[1][..]), ("true", "2"));
        // The same point of another kind is another point.
        assert_ne!(gauge.shown(1)[1], sum.shown(1)[1]);
        let point = HistogramDataPoint {
            time_unix_nano: 5,
            count: 3,
            sum: Some(7.0),
            bucket_counts: vec![1, 2],
            explicit_bounds: vec![f64::INFINITY],
            ..HistogramDataPoint::default()
        };
        let histogram = Histogram { data_points: vec![point], aggregation_temporality: 1 };
        let histogram = rows(Data::Histogram(histogram));
        assert!(histogram.shown(9)[0].contains("\"Infinity\""), "{:?}", histogram.shown(9));
    }
}
