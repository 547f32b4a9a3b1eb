//! Messages to JSON text.

use std::io::Write as _;

use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value,
};

use super::{WellKnown, mask, time};

/// How field names are spelled on output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Names {
    /// As in the `.proto` file.
    #[default]
    Original,
    /// lowerCamelCase, or the field's `json_name`.
    LowerCamel,
}

/// The message holds a value that proto3 JSON cannot write: a timestamp or a
/// duration out of range, or a `google.protobuf.Value` that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unrepresentable;

type Written = Result<(), Unrepresentable>;

/// An `Any` inside an `Any` opens a fresh message, which the protobuf
/// decoder's own limit on nesting does not see.
const MAX_ANY_DEPTH: usize = 16;

/// Appends JSON to a buffer.
pub(crate) struct Writer<'b> {
    out: &'b mut Vec<u8>,
    names: Names,
    any_depth: usize,
}

/// Appends a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    scalar(out, text);
}

fn scalar<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a scalar is written to memory");
}

impl<'b> Writer<'b> {
    pub(crate) fn new(out: &'b mut Vec<u8>, names: Names) -> Self {
        Self {
            out,
            names,
            any_depth: 0,
        }
    }

    pub(crate) fn message(&mut self, message: &DynamicMessage) -> Written {
        let desc = message.descriptor();
        match WellKnown::of(&desc) {
            None => {
                self.out.push(b'{');
                self.fields(message, true)?;
                self.out.push(b'}');
                Ok(())
            }
            Some(WellKnown::Any) => self.any(message),
            Some(WellKnown::Timestamp) => {
                let (seconds, nanos) = seconds_and_nanos(message);
                self.text(time::format_timestamp(seconds, nanos))
            }
            Some(WellKnown::Duration) => {
                let (seconds, nanos) = seconds_and_nanos(message);
                self.text(time::format_duration(seconds, nanos))
            }
            Some(WellKnown::FieldMask) => {
                let paths = message.get_field_by_number(1).ok_or(Unrepresentable)?;
                let paths = paths.as_list().unwrap_or_default();
                self.text(Some(mask::write(paths.iter().filter_map(Value::as_str))))
            }
            Some(WellKnown::Struct | WellKnown::ListValue | WellKnown::Wrapper) => {
                let field = desc.get_field(1).ok_or(Unrepresentable)?;
                self.field(&field, &message.get_field(&field))
            }
            Some(WellKnown::Value) => self.dynamic_value(message),
        }
    }

    /// A field's value alone, as `response_body` asks for it: `null` when the
    /// field has presence and is not set.
    pub(crate) fn field_of(
        &mut self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
    ) -> Written {
        if field.supports_presence() && !message.has_field(field) {
            self.out.extend_from_slice(b"null");
            return Ok(());
        }
        self.field(field, &message.get_field(field))
    }

    /// An `Any` given by its parts. A type that the pool does not know, or a
    /// value that does not decode, is written as base64 under `value`.
    pub(crate) fn any_parts(
        &mut self,
        pool: &prost_reflect::DescriptorPool,
        type_url: &str,
        value: &[u8],
    ) {
        let start = self.out.len();
        if self.any_decoded(pool, type_url, value).is_err() {
            self.out.truncate(start);
            self.out.extend_from_slice(b"{\"@type\":");
            string(self.out, type_url);
            self.out.extend_from_slice(b",\"value\":");
            self.bytes(value);
            self.out.push(b'}');
        }
    }

    fn any(&mut self, message: &DynamicMessage) -> Written {
        let url = message.get_field_by_number(1).ok_or(Unrepresentable)?;
        let value = message.get_field_by_number(2).ok_or(Unrepresentable)?;
        let (Some(url), Some(value)) = (url.as_str(), value.as_bytes()) else {
            return Err(Unrepresentable);
        };
        if url.is_empty() && value.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.any_parts(message.descriptor().parent_pool(), url, value);
        Ok(())
    }

    fn any_decoded(
        &mut self,
        pool: &prost_reflect::DescriptorPool,
        type_url: &str,
        value: &[u8],
    ) -> Written {
        let (_, name) = type_url.rsplit_once('/').ok_or(Unrepresentable)?;
        let desc = pool.get_message_by_name(name).ok_or(Unrepresentable)?;
        if self.any_depth == MAX_ANY_DEPTH {
            return Err(Unrepresentable);
        }
        let boxed = WellKnown::is_boxed_in_any(&desc);
        let message = DynamicMessage::decode(desc, value).map_err(|_| Unrepresentable)?;
        self.out.extend_from_slice(b"{\"@type\":");
        string(self.out, type_url);
        self.any_depth += 1;
        let written = if boxed {
            self.out.extend_from_slice(b",\"value\":");
            self.message(&message)
        } else {
            self.fields(&message, false)
        };
        self.any_depth -= 1;
        self.out.push(b'}');
        written
    }

    fn fields(&mut self, message: &DynamicMessage, mut first: bool) -> Written {
        for field in message.descriptor().fields() {
            // Unset fields with presence are left out; all others are written.
            if field.supports_presence() && !message.has_field(&field) {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            let name = match self.names {
                Names::Original => field.name(),
                Names::LowerCamel => field.json_name(),
            };
            string(self.out, name);
            self.out.push(b':');
            self.field(&field, &message.get_field(&field))?;
        }
        Ok(())
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) -> Written {
        let kind = field.kind();
        match value {
            Value::List(values) => {
                self.out.push(b'[');
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.value(&kind, value)?;
                }
                self.out.push(b']');
                Ok(())
            }
            Value::Map(entries) => {
                let Kind::Message(entry) = &kind else {
                    return Err(Unrepresentable);
                };
                let kind = entry.map_entry_value_field().kind();
                // Sorted, so that equal messages give equal text.
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                self.out.push(b'{');
                for (i, (key, value)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.map_key(key);
                    self.out.push(b':');
                    self.value(&kind, value)?;
                }
                self.out.push(b'}');
                Ok(())
            }
            value => self.value(&kind, value),
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value) -> Written {
        match value {
            Value::Bool(v) => scalar(self.out, v),
            Value::I32(v) => scalar(self.out, v),
            Value::U32(v) => scalar(self.out, v),
            Value::I64(v) => self.quoted(v),
            Value::U64(v) => self.quoted(v),
            Value::F32(v) => self.float(*v, f64::from(*v)),
            Value::F64(v) => self.float(*v, *v),
            Value::String(v) => string(self.out, v),
            Value::Bytes(v) => self.bytes(v),
            Value::EnumNumber(number) => match kind {
                Kind::Enum(desc) => self.enum_number(desc, *number),
                _ => return Err(Unrepresentable),
            },
            Value::Message(message) => return self.message(message),
            Value::List(_) | Value::Map(_) => return Err(Unrepresentable),
        }
        Ok(())
    }

    fn dynamic_value(&mut self, message: &DynamicMessage) -> Written {
        let Some((field, value)) = message.fields().next() else {
            self.out.extend_from_slice(b"null");
            return Ok(());
        };
        match value {
            // JSON has no number for these, and a string would read back as one.
            Value::F64(number) if !number.is_finite() => Err(Unrepresentable),
            value => self.value(&field.kind(), value),
        }
    }

    fn enum_number(&mut self, desc: &EnumDescriptor, number: i32) {
        if desc.full_name() == "google.protobuf.NullValue" {
            self.out.extend_from_slice(b"null");
            return;
        }
        match desc.get_value(number) {
            Some(value) => string(self.out, value.name()),
            None => scalar(self.out, &number),
        }
    }

    fn map_key(&mut self, key: &MapKey) {
        match key {
            MapKey::String(v) => string(self.out, v),
            MapKey::Bool(v) => self.quoted(v),
            MapKey::I32(v) => self.quoted(v),
            MapKey::I64(v) => self.quoted(v),
            MapKey::U32(v) => self.quoted(v),
            MapKey::U64(v) => self.quoted(v),
        }
    }

    /// Writes the shortest text that reads back as the same number, without
    /// a trailing `.0`. The narrow type decides the digits.
    fn float<T: serde::Serialize>(&mut self, number: T, wide: f64) {
        if wide.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else if wide.is_infinite() {
            let text: &[u8] = if wide > 0.0 {
                b"\"Infinity\""
            } else {
                b"\"-Infinity\""
            };
            self.out.extend_from_slice(text);
        } else {
            scalar(self.out, &number);
            if self.out.ends_with(b".0") {
                self.out.truncate(self.out.len() - 2);
            }
        }
    }

    fn quoted<T: serde::Serialize>(&mut self, value: &T) {
        self.out.push(b'"');
        scalar(self.out, value);
        self.out.push(b'"');
    }

    fn bytes(&mut self, value: &[u8]) {
        write!(
            self.out,
            "\"{}\"",
            Base64Display::new(value, &BASE64_STANDARD)
        )
        .expect("base64 is written to memory");
    }

    fn text(&mut self, text: Option<String>) -> Written {
        string(self.out, &text.ok_or(Unrepresentable)?);
        Ok(())
    }
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message
        .get_field_by_number(1)
        .and_then(|v| v.as_i64())
        .unwrap_or_default();
    let nanos = message
        .get_field_by_number(2)
        .and_then(|v| v.as_i32())
        .unwrap_or_default();
    (seconds, nanos)
}
