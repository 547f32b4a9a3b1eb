//! A strategy with its settings, ready to sign.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, request::Parts};
use serde_json::{Map, Value};

use crate::{
    ApplyError, ConfigError, ConfigErrorKind,
    config::Config,
    kind::{ALL, Configured},
};

/// How to apply credentials to a request: parsed and validated, so that what
/// can still go wrong is the credentials alone. Holds no secret; cheap to clone.
#[derive(Debug, Clone)]
pub struct Strategy {
    kind: &'static str,
    configured: Arc<dyn Configured>,
}

impl Strategy {
    /// Reads a strategy as the API carries it: `strategy.type` and
    /// `strategy.config`.
    ///
    /// # Errors
    ///
    /// Names the field at fault (`type`, `config.header_name`): an unknown
    /// type, a setting that the type does not know, of the wrong JSON type, or
    /// with a value that can't work.
    pub fn parse(kind: &str, config: &Map<String, Value>) -> Result<Self, ConfigError> {
        let found = ALL.iter().find(|member| member.name() == kind);
        let member = found.ok_or_else(|| {
            let known: Vec<&str> = Self::kinds().collect();
            ConfigError::new(
                "type",
                ConfigErrorKind::UnknownType,
                format!("is not a known strategy (known: {})", known.join(", ")),
            )
        })?;
        let mut config = Config::new(config);
        let configured = member.parse(&mut config)?;
        config.finish()?;
        Ok(Self {
            kind: member.name(),
            configured: configured.into(),
        })
    }

    /// The types there are, as `strategy.type` names them.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|member| member.name())
    }

    /// The type, as `strategy.type` names it.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The settings with every default filled in; parsing them again gives the
    /// same strategy.
    pub fn config(&self) -> Map<String, Value> {
        self.configured.config()
    }

    /// The keys of `credentials` that must be there, each with a non-empty
    /// string.
    pub fn required_credentials(&self) -> Vec<&str> {
        self.configured.required_credentials()
    }

    /// Puts the credentials on a request. Headers that it sets replace those
    /// of the same name and are marked sensitive, so that HTTP/2 never indexes
    /// them (RFC 7541 §7.1.3) and `Debug` hides them.
    ///
    /// # Errors
    ///
    /// A credential that is missing, empty, not a string, or that would break
    /// the header. The request is then as it was.
    pub fn apply(
        &self,
        credentials: &Map<String, Value>,
        request: &mut Parts,
    ) -> Result<(), ApplyError> {
        self.configured.apply(credentials, request)
    }

    /// What a gRPC call carries as metadata for the same effect.
    ///
    /// # Errors
    ///
    /// As [`Strategy::apply`], and [`ApplyErrorKind::NotMetadata`] where gRPC
    /// keeps the header's name for itself.
    ///
    /// [`ApplyErrorKind::NotMetadata`]: crate::ApplyErrorKind::NotMetadata
    pub fn metadata(
        &self,
        credentials: &Map<String, Value>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ApplyError> {
        self.configured.metadata(credentials)
    }
}
