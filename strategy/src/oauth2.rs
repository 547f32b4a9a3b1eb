//! `oauth2`: the access token in `Authorization` (RFC 6750 §2.1).

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use serde_json::{Map, Value};

use crate::{
    ApplyError, ApplyErrorKind, ConfigError,
    config::Config,
    credential,
    kind::{Configured, Kind},
};

const ACCESS_TOKEN: &str = "access_token";
const TOKEN_TYPE: &str = "token_type";

/// The type `oauth2`. It has no settings.
pub(crate) struct OAuth2;

#[derive(Debug)]
struct Configuration;

impl Kind for OAuth2 {
    fn name(&self) -> &'static str {
        "oauth2"
    }

    fn parse(&self, _: &mut Config<'_>) -> Result<Box<dyn Configured>, ConfigError> {
        Ok(Box::new(Configuration))
    }
}

impl Configured for Configuration {
    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn required_credentials(&self) -> Vec<&str> {
        vec![ACCESS_TOKEN]
    }

    fn headers(
        &self,
        credentials: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError> {
        let access_token = credential::required(credentials, ACCESS_TOKEN)?;
        let prefix = format!("{} ", scheme(credentials)?);
        let value = credential::header_value(&prefix, access_token, ACCESS_TOKEN)?;
        Ok(vec![(AUTHORIZATION, value)])
    }
}

/// The authentication scheme: the provider's `token_type`. Absent, empty,
/// `N_A` (RFC 8693 §2.2.1) and any spelling of "bearer" mean `Bearer`, for
/// token types are case-insensitive (RFC 6749 §5.1) but servers are not always.
fn scheme(credentials: &Map<String, Value>) -> Result<&str, ApplyError> {
    let Some(token_type) = credential::optional(credentials, TOKEN_TYPE)? else {
        return Ok("Bearer");
    };
    if ["", "N_A", "bearer"]
        .iter()
        .any(|name| token_type.eq_ignore_ascii_case(name))
    {
        return Ok("Bearer");
    }
    // A header's name and a scheme are the same grammar: `token` (RFC 9110 §5.6.2).
    if HeaderName::from_bytes(token_type.as_bytes()).is_err() {
        return Err(credential::error(TOKEN_TYPE, ApplyErrorKind::Invalid));
    }
    Ok(token_type)
}
