//! `header`: a credential in a header of the provider's choice.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::{
    ApplyError, ConfigError,
    config::Config,
    credential,
    kind::{Configured, Kind},
};

const HEADER_NAME: &str = "header_name";
const CREDENTIAL_FIELD: &str = "credential_field";
const VALUE_PREFIX: &str = "value_prefix";

/// The type `header`.
pub(crate) struct Header;

#[derive(Debug)]
struct Configuration {
    /// As it was spelt; header names are case-insensitive, people's eyes are not.
    header_name: String,
    name: HeaderName,
    credential_field: String,
    value_prefix: String,
}

impl Kind for Header {
    fn name(&self) -> &'static str {
        "header"
    }

    fn parse(&self, config: &mut Config<'_>) -> Result<Box<dyn Configured>, ConfigError> {
        let (header_name, name) = config.header_name(HEADER_NAME, "Authorization")?;
        Ok(Box::new(Configuration {
            header_name,
            name,
            credential_field: config.credential_field(CREDENTIAL_FIELD, "api_key")?,
            value_prefix: config.value_prefix(VALUE_PREFIX, "")?,
        }))
    }
}

impl Configured for Configuration {
    fn config(&self) -> Map<String, Value> {
        Map::from_iter([
            (HEADER_NAME.to_owned(), json!(self.header_name)),
            (CREDENTIAL_FIELD.to_owned(), json!(self.credential_field)),
            (VALUE_PREFIX.to_owned(), json!(self.value_prefix)),
        ])
    }

    fn required_credentials(&self) -> Vec<&str> {
        vec![&self.credential_field]
    }

    fn headers(
        &self,
        credentials: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError> {
        let credential = credential::required(credentials, &self.credential_field)?;
        let value =
            credential::header_value(&self.value_prefix, credential, &self.credential_field)?;
        Ok(vec![(self.name.clone(), value)])
    }
}
