//! Reads `credentials` and makes header values of them.

use http::HeaderValue;
use serde_json::{Map, Value};

use crate::{ApplyError, ApplyErrorKind};

/// A credential that must be there: a non-empty string.
pub(crate) fn required<'a>(
    credentials: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a str, ApplyError> {
    match optional(credentials, name)? {
        None => Err(error(name, ApplyErrorKind::Missing)),
        Some("") => Err(error(name, ApplyErrorKind::Empty)),
        Some(value) => Ok(value),
    }
}

/// A credential that may be absent or null. A number is refused rather than
/// printed: its text would differ from language to language.
pub(crate) fn optional<'a>(
    credentials: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, ApplyError> {
    match credentials.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(error(name, ApplyErrorKind::WrongType)),
    }
}

/// The header value `prefix ‖ credential`, marked sensitive. Only visible
/// ASCII and inner spaces pass (RFC 9110 §5.5): CR, LF and NUL would end the
/// header, and HTTP libraries disagree on the rest.
pub(crate) fn header_value(
    prefix: &str,
    credential: &str,
    name: &str,
) -> Result<HeaderValue, ApplyError> {
    let text = format!("{prefix}{credential}");
    let carried = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !text.starts_with(' ')
        && !text.ends_with(' ');
    let value = HeaderValue::try_from(text).ok().filter(|_| carried);
    let mut value = value.ok_or_else(|| error(name, ApplyErrorKind::Invalid))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A fault of the credential `name`.
pub(crate) fn error(name: &str, kind: ApplyErrorKind) -> ApplyError {
    ApplyError::new(format!("credentials.{name}"), kind)
}
