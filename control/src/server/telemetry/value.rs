//! Values of OTLP as JSON.

use std::borrow::Cow;

use base64::Engine as _;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use serde_json::{Map, Value};

/// How deep values are looked into; what is deeper is null.
const DEPTH_MAX: u32 = 32;

/// Attributes as an object; of those with the same key the last one holds.
pub(super) fn object(attributes: &[KeyValue]) -> Value {
    list(attributes, DEPTH_MAX)
}

fn list(attributes: &[KeyValue], depth: u32) -> Value {
    let pair = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().map_or(Value::Null, |value| any_at(value, depth));
        (plain(&attribute.key).into_owned(), value)
    };
    Value::Object(attributes.iter().map(pair).collect::<Map<_, _>>())
}

/// A value.
pub(super) fn any(value: &AnyValue) -> Value {
    any_at(value, DEPTH_MAX)
}

fn any_at(value: &AnyValue, depth: u32) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    match &value.value {
        // Indices into a table of strings are of profiles, which are not taken.
        None | Some(any_value::Value::StringValueStrindex(_)) => Value::Null,
        Some(any_value::Value::StringValue(text)) => plain(text).into(),
        Some(any_value::Value::BoolValue(value)) => (*value).into(),
        Some(any_value::Value::IntValue(value)) => (*value).into(),
        Some(any_value::Value::DoubleValue(value)) => real(*value),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.iter().map(|value| any_at(value, depth)).collect()
        }
        Some(any_value::Value::KvlistValue(pairs)) => list(&pairs.values, depth),
        Some(any_value::Value::BytesValue(bytes)) => {
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
    }
}

/// A number; those that JSON has not are text, as in protobuf's JSON.
pub(super) fn real(number: f64) -> Value {
    match number {
        n if n.is_nan() => "NaN".into(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        n => n.into(),
    }
}

/// A text without the one character that the database has not.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// Bytes as digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time that the database can hold, ns since the epoch.
pub(super) fn time(ns: u64) -> Option<i64> {
    i64::try_from(ns).ok().filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use serde_json::json;

    use super::*;

    fn value(value: any_value::Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn values_are_json() {
        let text = value(any_value::Value::StringValue("a\0".to_owned()));
        let array = value(any_value::Value::ArrayValue(ArrayValue {
            values: vec![text, value(any_value::Value::DoubleValue(f64::NAN)), AnyValue::default()],
        }));
        let attribute = KeyValue { key: "k".to_owned(), value: Some(array), ..KeyValue::default() };
        assert_eq!(object(&[attribute]), json!({ "k": ["a\u{fffd}", "NaN", null] }));
        let bytes = value(any_value::Value::BytesValue(vec![1, 2]));
        assert_eq!(any(&bytes), json!("AQI="));
    }

    #[test]
    fn depth_has_a_limit() {
        let mut deep = value(any_value::Value::IntValue(1));
        for _ in 0..1000 {
            let pair = KeyValue { key: "x".to_owned(), value: Some(deep), ..KeyValue::default() };
            deep = value(any_value::Value::KvlistValue(KeyValueList { values: vec![pair] }));
        }
        assert!(any(&deep).to_string().ends_with(&format!("null{}", "}".repeat(32))));
    }
}
