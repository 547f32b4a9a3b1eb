//! Reads `strategy.config`: every field is taken by name, and what nobody took
//! is refused, so that a misspelt setting can't be ignored.

use http::HeaderName;
use serde_json::{Map, Value};

use crate::{ConfigError, ConfigErrorKind};

/// Headers that frame a message or belong to one hop (RFC 9110 §7.2, §7.6.1
/// and §8.6; RFC 9112 §6). A strategy that set one could smuggle a request.
const REFUSED: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The settings of one strategy while they are read.
pub(crate) struct Config<'a> {
    fields: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Config<'a> {
    pub(crate) fn new(fields: &'a Map<String, Value>) -> Self {
        Self {
            fields,
            taken: Vec::new(),
        }
    }

    /// A string, or the default where the field is absent.
    pub(crate) fn string(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<String, ConfigError> {
        self.taken.push(name);
        match self.fields.get(name) {
            None => Ok(default.to_owned()),
            Some(Value::String(value)) => Ok(value.clone()),
            Some(_) => Err(error(name, ConfigErrorKind::WrongType, "must be a string")),
        }
    }

    /// The name of a header field (RFC 9110 §5.1), as it was spelt and parsed.
    pub(crate) fn header_name(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<(String, HeaderName), ConfigError> {
        let value = self.string(name, default)?;
        let Ok(parsed) = value.parse::<HeaderName>() else {
            return Err(error(
                name,
                ConfigErrorKind::InvalidValue,
                "is not a header name",
            ));
        };
        if REFUSED.contains(&parsed.as_str()) {
            let message = "names a header that frames the message and can't carry a credential";
            return Err(error(name, ConfigErrorKind::InvalidValue, message));
        }
        Ok((value, parsed))
    }

    /// The name of a key of `credentials`.
    pub(crate) fn credential_field(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<String, ConfigError> {
        let value = self.string(name, default)?;
        if value.is_empty() {
            return Err(error(
                name,
                ConfigErrorKind::InvalidValue,
                "must not be empty",
            ));
        }
        Ok(value)
    }

    /// What stands before the credential in a header.
    pub(crate) fn value_prefix(
        &mut self,
        name: &'static str,
        default: &str,
    ) -> Result<String, ConfigError> {
        let value = self.string(name, default)?;
        if !value
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            let message = "may hold visible ASCII and spaces only";
            return Err(error(name, ConfigErrorKind::InvalidValue, message));
        }
        if value.starts_with(' ') {
            return Err(error(
                name,
                ConfigErrorKind::InvalidValue,
                "must not begin with a space",
            ));
        }
        Ok(value)
    }

    /// Refuses the fields that nobody took.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        match self
            .fields
            .keys()
            .find(|name| !self.taken.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => Err(error(
                name,
                ConfigErrorKind::UnknownField,
                "is not a setting of this strategy",
            )),
        }
    }
}

fn error(name: &str, kind: ConfigErrorKind, message: &str) -> ConfigError {
    ConfigError::new(format!("config.{name}"), kind, message)
}
