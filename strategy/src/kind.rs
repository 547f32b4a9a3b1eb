//! The open set of strategies: one file per member, and the list of them.

use std::fmt;

use http::{HeaderName, HeaderValue, request::Parts};
use serde_json::{Map, Value};

use crate::{ApplyError, ConfigError, config::Config, header, metadata, oauth2};

/// Every strategy there is. A new one is a file and a line here.
pub(crate) const ALL: &[&dyn Kind] = &[&oauth2::OAuth2, &header::Header];

/// A type of strategy, as `strategy.type` names it.
pub(crate) trait Kind: Sync {
    /// The name in `strategy.type`.
    fn name(&self) -> &'static str;

    /// Reads the settings. Fields that are not taken are refused afterwards,
    /// by the caller.
    fn parse(&self, config: &mut Config<'_>) -> Result<Box<dyn Configured>, ConfigError>;
}

/// A strategy with its settings.
pub(crate) trait Configured: fmt::Debug + Send + Sync {
    /// The settings, defaults filled in.
    fn config(&self) -> Map<String, Value>;

    /// The keys of `credentials` without which nothing can be signed.
    fn required_credentials(&self) -> Vec<&str>;

    /// Puts the credentials on the request, or leaves it untouched and says why.
    fn apply(
        &self,
        credentials: &Map<String, Value>,
        request: &mut Parts,
    ) -> Result<(), ApplyError> {
        for (name, value) in self.headers(credentials)? {
            request.headers.insert(name, value);
        }
        Ok(())
    }

    /// The headers that carry the credentials, each marked sensitive.
    fn headers(
        &self,
        credentials: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError>;

    /// The same as gRPC metadata.
    fn metadata(
        &self,
        credentials: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError> {
        let entries = self.headers(credentials)?;
        metadata::check(&entries)?;
        Ok(entries)
    }
}
