//! The text form of single values, as they stand in a URL or a JSON string.

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::json::{WellKnown, mask, time};

/// What is wrong with a value. Never holds the value.
pub(crate) type Problem = Cow<'static, str>;

const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// Decodes base64 in either alphabet, padded or not.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// Whether a value of this kind can be written as plain text.
pub(crate) fn has_text_form(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => matches!(
            WellKnown::of(message),
            Some(
                WellKnown::Timestamp
                    | WellKnown::Duration
                    | WellKnown::FieldMask
                    | WellKnown::Wrapper
            )
        ),
        _ => true,
    }
}

/// Reads a value out of a URL: enums by name or number, `true` and `false`,
/// well-known types as in JSON but without the quotes.
pub(crate) fn from_text(kind: &Kind, text: &str) -> Result<Value, Problem> {
    match kind {
        Kind::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(expected(kind)),
        },
        Kind::Enum(desc) => match text.parse::<i32>() {
            Ok(number) => Ok(Value::EnumNumber(number)),
            Err(_) => enum_by_name(desc, text),
        },
        Kind::Message(desc) if WellKnown::of(desc) == Some(WellKnown::Wrapper) => {
            let inner = wrapped(desc);
            Ok(wrap(desc, from_text(&inner, text)?))
        }
        _ => from_json_string(kind, text),
    }
}

/// Reads a value out of a JSON string.
pub(crate) fn from_json_string(kind: &Kind, text: &str) -> Result<Value, Problem> {
    let bad = || expected(kind);
    Ok(match kind {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => Value::Bytes(base64(text.as_bytes()).ok_or_else(bad)?.into()),
        Kind::Enum(desc) => return enum_by_name(desc, text),
        Kind::Bool => return Err(bad()),
        Kind::Double | Kind::Float => {
            let number = match text {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => decimal(text).ok_or_else(bad)?,
            };
            return from_f64(kind, number);
        }
        Kind::Message(desc) => return message_from_string(desc, text),
        _ if text.starts_with('+') => return Err(bad()),
        _ => {
            if let Ok(number) = text.parse::<i64>() {
                return from_i64(kind, number);
            }
            if let Ok(number) = text.parse::<u64>() {
                return from_u64(kind, number);
            }
            return from_f64(kind, decimal(text).ok_or_else(bad)?);
        }
    })
}

/// A number without a fraction, of any size that JSON readers give.
pub(crate) fn from_i64(kind: &Kind, number: i64) -> Result<Value, Problem> {
    let bad = |_| out_of_range(kind);
    Ok(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number.try_into().map_err(bad)?),
        Kind::Enum(_) => Value::EnumNumber(number.try_into().map_err(bad)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number.try_into().map_err(bad)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number.try_into().map_err(bad)?),
        Kind::Double => Value::F64(number as f64),
        Kind::Float => Value::F32(number as f32),
        _ => return Err(expected(kind)),
    })
}

/// As [`from_i64`], for numbers above its range.
pub(crate) fn from_u64(kind: &Kind, number: u64) -> Result<Value, Problem> {
    match (i64::try_from(number), kind) {
        (Ok(number), _) => from_i64(kind, number),
        (Err(_), Kind::Uint64 | Kind::Fixed64) => Ok(Value::U64(number)),
        (Err(_), Kind::Double) => Ok(Value::F64(number as f64)),
        (Err(_), Kind::Float) => Ok(Value::F32(number as f32)),
        (Err(_), kind) if is_integer(kind) => Err(out_of_range(kind)),
        (Err(_), kind) => Err(expected(kind)),
    }
}

/// A number written with a fraction or an exponent. Integers take it if it
/// is whole: proto3 JSON reads `1.0` and `1e3` as integers.
pub(crate) fn from_f64(kind: &Kind, number: f64) -> Result<Value, Problem> {
    match kind {
        Kind::Double => Ok(Value::F64(number)),
        Kind::Float => {
            let narrow = number as f32;
            if narrow.is_infinite() && number.is_finite() {
                return Err(out_of_range(kind));
            }
            Ok(Value::F32(narrow))
        }
        _ if is_integer(kind) => {
            // 2^63 and 2^64: the first values that no longer fit.
            if number.fract() != 0.0 || !number.is_finite() {
                Err(expected(kind))
            } else if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number)
            {
                from_i64(kind, number as i64)
            } else if (0.0..18_446_744_073_709_551_616.0).contains(&number) {
                from_u64(kind, number as u64)
            } else {
                Err(out_of_range(kind))
            }
        }
        _ => Err(expected(kind)),
    }
}

/// The key of a map entry, which JSON always writes as a string.
pub(crate) fn map_key(kind: &Kind, text: String) -> Result<MapKey, Problem> {
    if matches!(kind, Kind::String) {
        return Ok(MapKey::String(text));
    }
    from_text(kind, &text)
        .ok()
        .and_then(Value::into_map_key)
        .ok_or(Problem::Borrowed("a map key is not of its type"))
}

/// The kind inside a wrapper such as `google.protobuf.Int64Value`.
pub(crate) fn wrapped(desc: &MessageDescriptor) -> Kind {
    desc.get_field(1).map_or(Kind::String, |field| field.kind())
}

/// Puts a value into its wrapper message.
pub(crate) fn wrap(desc: &MessageDescriptor, value: Value) -> Value {
    let mut message = DynamicMessage::new(desc.clone());
    message.set_field_by_number(1, value);
    Value::Message(message)
}

fn message_from_string(desc: &MessageDescriptor, text: &str) -> Result<Value, Problem> {
    let kind = || expected(&Kind::Message(desc.clone()));
    let pair = |(seconds, nanos): (i64, i32)| {
        let mut message = DynamicMessage::new(desc.clone());
        message.set_field_by_number(1, Value::I64(seconds));
        message.set_field_by_number(2, Value::I32(nanos));
        Value::Message(message)
    };
    match WellKnown::of(desc) {
        Some(WellKnown::Timestamp) => time::parse_timestamp(text).map(pair).ok_or_else(kind),
        Some(WellKnown::Duration) => time::parse_duration(text).map(pair).ok_or_else(kind),
        Some(WellKnown::FieldMask) => {
            let paths = mask::parse(text).ok_or_else(kind)?;
            let paths = paths.into_iter().map(Value::String).collect();
            Ok(wrap(desc, Value::List(paths)))
        }
        Some(WellKnown::Wrapper) => Ok(wrap(desc, from_json_string(&wrapped(desc), text)?)),
        _ => Err(kind()),
    }
}

fn enum_by_name(desc: &EnumDescriptor, text: &str) -> Result<Value, Problem> {
    desc.get_value_by_name(text)
        .map(|value| Value::EnumNumber(value.number()))
        .ok_or_else(|| format!("not a value of {}", desc.full_name()).into())
}

fn decimal(text: &str) -> Option<f64> {
    // Rust also reads "inf", "nan" and "+1", which JSON does not have.
    let plain = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if !starts || !text.bytes().all(plain) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

pub(crate) fn is_integer(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Double | Kind::Float | Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_)
    )
}

fn out_of_range(kind: &Kind) -> Problem {
    format!("out of range, {}", expected(kind)).into()
}

/// "expected …" for a kind.
pub(crate) fn expected(kind: &Kind) -> Problem {
    Problem::Borrowed(match kind {
        Kind::Double | Kind::Float => "expected a number",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "expected a 32-bit integer",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "expected a 64-bit integer",
        Kind::Uint32 | Kind::Fixed32 => "expected an unsigned 32-bit integer",
        Kind::Uint64 | Kind::Fixed64 => "expected an unsigned 64-bit integer",
        Kind::Bool => "expected true or false",
        Kind::String => "expected a string",
        Kind::Bytes => "expected base64",
        Kind::Enum(desc) => return format!("expected a value of {}", desc.full_name()).into(),
        Kind::Message(desc) => match WellKnown::of(desc) {
            Some(WellKnown::Timestamp) => "expected an RFC 3339 timestamp",
            Some(WellKnown::Duration) => "expected a duration in seconds, such as \"1.5s\"",
            Some(WellKnown::FieldMask) => "expected field paths, separated by commas",
            Some(WellKnown::ListValue) => "expected an array",
            Some(WellKnown::Value) => "expected a value",
            Some(WellKnown::Wrapper) => return expected(&wrapped(desc)),
            _ => "expected an object",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_whole_numbers_in_any_notation_and_nothing_else() {
        for (text, value) in [("7", 7), ("-7", -7), ("1e3", 1000), ("2.0", 2)] {
            assert_eq!(from_text(&Kind::Int32, text), Ok(Value::I32(value)));
        }
        for text in ["", " 1", "+1", "0x1", "1.5", "2147483648", "inf", "1_0"] {
            assert!(from_text(&Kind::Int32, text).is_err(), "{text}");
        }
        let max = "18446744073709551615";
        assert_eq!(from_text(&Kind::Uint64, max), Ok(Value::U64(u64::MAX)));
        assert!(from_text(&Kind::Int64, max).is_err());
        assert!(from_text(&Kind::Uint32, "-1").is_err());
        assert!(from_f64(&Kind::Int64, 9_223_372_036_854_775_808.0).is_err());
    }

    #[test]
    fn floats_know_their_range_and_the_three_words() {
        assert_eq!(
            from_text(&Kind::Float, "Infinity"),
            Ok(Value::F32(f32::INFINITY))
        );
        assert!(from_text(&Kind::Float, "1e39").is_err());
        assert!(from_text(&Kind::Double, "1e400").is_err());
        assert!(from_text(&Kind::Double, "inf").is_err());
        assert!(matches!(from_text(&Kind::Double, "NaN"), Ok(Value::F64(n)) if n.is_nan()));
    }

    #[test]
    fn bytes_come_in_either_alphabet_padded_or_not() {
        for text in ["-_8=", "+/8=", "-_8", "+/8"] {
            let value = Value::Bytes(vec![0xfb, 0xff].into());
            assert_eq!(from_text(&Kind::Bytes, text), Ok(value), "{text}");
        }
        assert!(from_text(&Kind::Bytes, "a").is_err());
    }

    #[test]
    fn map_keys_are_checked() {
        assert_eq!(map_key(&Kind::Bool, "true".into()), Ok(MapKey::Bool(true)));
        assert!(map_key(&Kind::Int32, "x".into()).is_err());
    }
}
