//! Between protobuf and the domain: what several services need.

use std::collections::BTreeMap;

use prost_types::{
    ListValue, NullValue, Struct, Timestamp as ProtoTimestamp, Value as ProtoValue, value::Kind,
};
use serde_json::{Map, Number, Value};

use crate::domain::{
    Timestamp,
    error::{Error, FieldViolation, Result},
};

/// A point in time.
pub(super) fn timestamp(time: Timestamp) -> ProtoTimestamp {
    ProtoTimestamp {
        seconds: time.timestamp(),
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

/// A point in time that a caller names.
pub(super) fn parse_timestamp(field: &str, time: ProtoTimestamp) -> Result<Timestamp> {
    u32::try_from(time.nanos)
        .ok()
        .and_then(|nanos| Timestamp::from_timestamp(time.seconds, nanos))
        .ok_or_else(|| Error::invalid(field, "is not a point in time"))
}

/// An id that must be well-formed. What is no id at all names nothing, so it is
/// the field that is wrong.
pub(super) fn parse_id<T: std::str::FromStr>(field: &str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| Error::invalid(field, "must be a lower-case UUIDv7"))
}

/// A JSON object as a `Struct`.
pub(super) fn to_struct(object: &Map<String, Value>) -> Struct {
    Struct {
        fields: object
            .iter()
            .map(|(name, value)| (name.clone(), to_value(value)))
            .collect(),
    }
}

fn to_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(NullValue::NullValue.into()),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(to_value).collect(),
        }),
        Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    ProtoValue { kind: Some(kind) }
}

/// A `Struct` as a JSON object.
pub(super) fn from_struct(message: Struct) -> Map<String, Value> {
    message
        .fields
        .into_iter()
        .map(|(name, value)| (name, from_value(value)))
        .collect()
}

fn from_value(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => from_number(value),
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(from_value).collect())
        }
        Some(Kind::StructValue(object)) => Value::Object(from_struct(object)),
    }
}

/// A whole number stays one: 300, not 300.0.
fn from_number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Collects what is wrong with a request's texts and maps.
#[derive(Default)]
pub(super) struct Checks(Vec<FieldViolation>);

impl Checks {
    /// The longest text that a caller may give us to keep.
    pub(super) const MAX_TEXT: usize = 1024;
    const MAX_ENTRIES: usize = 64;

    pub(super) fn wrong(&mut self, field: &str, description: &str) {
        self.0.push(FieldViolation {
            field: field.to_owned(),
            description: description.to_owned(),
        });
    }

    pub(super) fn required(&mut self, field: &str, text: &str) {
        if text.is_empty() {
            self.wrong(field, "is required");
        }
        self.text(field, text);
    }

    pub(super) fn text(&mut self, field: &str, text: &str) {
        if text.len() > Self::MAX_TEXT {
            self.wrong(field, "has more than 1024 bytes");
        }
        // PostgreSQL keeps no NUL, and no other control character helps anyone.
        if text.chars().any(char::is_control) {
            self.wrong(field, "has a control character");
        }
    }

    pub(super) fn map(&mut self, field: &str, map: &BTreeMap<String, String>) {
        if map.len() > Self::MAX_ENTRIES {
            self.wrong(field, "has more than 64 entries");
        }
        for (key, value) in map.iter().take(Self::MAX_ENTRIES) {
            self.text(field, key);
            self.text(field, value);
        }
    }

    pub(super) fn list(&mut self, field: &str, list: &[String]) {
        if list.len() > Self::MAX_ENTRIES {
            self.wrong(field, "has more than 64 entries");
        }
        for text in list.iter().take(Self::MAX_ENTRIES) {
            self.required(field, text);
        }
    }

    pub(super) fn done(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::violations(self.0))
        }
    }
}
