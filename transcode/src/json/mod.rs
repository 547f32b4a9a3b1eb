//! The proto3 JSON mapping between JSON text and [`DynamicMessage`]s.
//!
//! prost-reflect has one of its own; this one differs where a public API
//! needs it: errors name the field and never echo a value, a key given twice
//! is refused, and whole numbers print without `.0`.
//!
//! [`DynamicMessage`]: prost_reflect::DynamicMessage

use prost_reflect::MessageDescriptor;

mod context;
mod de;
mod de_any;
mod de_message;
mod de_struct;
pub(crate) mod mask;
mod ser;
pub(crate) mod time;

pub(crate) use context::JsonError;
pub(crate) use de::{read_field, read_message};
pub(crate) use ser::{Names, Writer, string};

/// The messages that have a JSON form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WellKnown {
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    ListValue,
    Value,
    Wrapper,
}

impl WellKnown {
    pub(crate) fn of(desc: &MessageDescriptor) -> Option<Self> {
        Some(match desc.full_name().strip_prefix("google.protobuf.")? {
            "Any" => Self::Any,
            "Timestamp" => Self::Timestamp,
            "Duration" => Self::Duration,
            "FieldMask" => Self::FieldMask,
            "Struct" => Self::Struct,
            "ListValue" => Self::ListValue,
            "Value" => Self::Value,
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => Self::Wrapper,
            _ => return None,
        })
    }

    /// Whether an `Any` of this type holds its JSON under `value`.
    pub(crate) fn is_boxed_in_any(desc: &MessageDescriptor) -> bool {
        Self::of(desc).is_some() || desc.full_name() == "google.protobuf.Empty"
    }
}
