//! Parameters of requests: from a query, a form or a JSON object.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use serde_json::Value;

use super::answer::OAuthError;
use crate::RequestFormat;

/// Parameters by name. An empty value counts as absent (RFC 6749 §3.1, §3.2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// From a query or a form; a repeated parameter is an error (RFC 6749 §3.1, §3.2).
    pub(crate) fn from_form(encoded: &[u8]) -> Result<Self, OAuthError> {
        let mut params = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if params
                .insert(name.to_string(), value.into_owned())
                .is_some()
            {
                return Err(OAuthError::new(
                    "invalid_request",
                    format!("{name} is repeated"),
                ));
            }
        }
        Ok(Self(params))
    }

    fn from_json(body: &[u8]) -> Result<Self, OAuthError> {
        let invalid = || {
            OAuthError::new(
                "invalid_request",
                "the body is not a flat JSON object of strings",
            )
        };
        let values: BTreeMap<String, Value> =
            serde_json::from_slice(body).map_err(|_| invalid())?;
        let text = |(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(number) => Ok((name, number.to_string())),
            _ => Err(invalid()),
        };
        values
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// From a body, which must have the wanted format and say so.
    pub(crate) fn from_body(
        format: RequestFormat,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, OAuthError> {
        let wanted = match format {
            RequestFormat::Form => "application/x-www-form-urlencoded",
            RequestFormat::Json => "application/json",
        };
        let declared = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = declared.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case(wanted) {
            return Err(OAuthError::new(
                "invalid_request",
                format!("the body must be {wanted}"),
            ));
        }
        match format {
            RequestFormat::Form => Self::from_form(body),
            RequestFormat::Json => Self::from_json(body),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name)
            .ok_or_else(|| OAuthError::new("invalid_request", format!("{name} is missing")))
    }

    /// Checks the parameters that this provider insists on.
    pub(crate) fn insist(&self, required: &BTreeMap<String, String>) -> Result<(), OAuthError> {
        match required
            .iter()
            .find(|(name, value)| self.get(name) != Some(value))
        {
            Some((name, value)) => Err(OAuthError::new(
                "invalid_request",
                format!("{name} must be {value}"),
            )),
            None => Ok(()),
        }
    }
}

/// The scopes in a `scope` parameter, written with this separator.
pub(crate) fn scopes(scope: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return vec![scope.to_owned()];
    }
    scope
        .split(separator)
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect()
}
