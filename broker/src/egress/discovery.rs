//! OpenID Connect Discovery 1.0 and JWKS (RFC 7517), cached. Only good answers
//! are kept, and keys only until an unknown one is asked for.

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::{
    Egress,
    documents::{Documents, Wanted},
};
use crate::{
    cache::Cache,
    domain::{Timestamp, ambient::Ambient},
};

/// What a provider's discovery document says.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// The issuer; equal to the configured one.
    pub issuer: String,
    /// RFC 6749 §3.1.
    pub authorization_endpoint: Option<Url>,
    /// RFC 6749 §3.2.
    pub token_endpoint: Option<Url>,
    /// RFC 7517.
    pub jwks_uri: Option<Url>,
    /// RFC 7009.
    pub revocation_endpoint: Option<Url>,
    /// RFC 9207 §3.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// Why there is no metadata or no key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiscoveryError {
    /// The provider can't be reached, or has a fault: later may be better.
    #[error("the document can't be fetched")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The document is unusable.
    #[error("{0}")]
    Unusable(&'static str),
}

/// A provider's keys.
#[derive(Debug, Clone)]
pub struct KeySet {
    /// The JWK set (RFC 7517 §5).
    pub json: String,
    /// When the provider said so.
    pub fetched_at: Timestamp,
}

/// Fetches and keeps discovery documents and key sets.
pub struct Discovery {
    documents: Documents,
}

impl Discovery {
    /// Over the egress client and a cache.
    #[must_use]
    pub fn new(egress: Egress, cache: Arc<dyn Cache>, ambient: Ambient) -> Self {
        Self {
            documents: Documents::new(egress, cache, ambient),
        }
    }

    /// The metadata of an issuer (OpenID Connect Discovery 1.0 §4). Its
    /// `issuer` is the one that was configured, or it is refused (§4.3).
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn metadata(&self, issuer: &str) -> Result<Arc<Metadata>, DiscoveryError> {
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let url = url
            .parse()
            .map_err(|_| DiscoveryError::Unusable("the issuer is not a URL"))?;
        let wanted = Wanted {
            name: name_of(issuer),
            url,
            newer_than: None,
        };
        let document = self
            .documents
            .get(wanted, |body| parse(issuer, body).map(drop))
            .await;
        let result = match &document {
            Ok((_, true)) => "success",
            Ok((_, false)) => "cached",
            Err(_) => "error",
        };
        metrics::counter!("oidc_discovery_total", "result" => result).increment(1);
        // Checked again: whoever keeps it may not be the one who fetched it.
        parse(issuer, &document?.0.body).map(Arc::new)
    }

    /// The key set at a URI. `stale` is one that lacked a key: then a newer
    /// one is fetched, within a limit.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn keys(
        &self,
        jwks_uri: &Url,
        stale: Option<&KeySet>,
    ) -> Result<KeySet, DiscoveryError> {
        let wanted = Wanted {
            name: format!("jwks:{jwks_uri}"),
            url: jwks_uri.clone(),
            newer_than: stale.map(|stale| stale.fetched_at),
        };
        let is_json = |body: &str| {
            serde_json::from_str::<serde::de::IgnoredAny>(body)
                .map(drop)
                .map_err(|_| DiscoveryError::Unusable("the key set is malformed"))
        };
        let (document, _) = self.documents.get(wanted, is_json).await?;
        Ok(KeySet {
            json: document.body,
            fetched_at: document.fetched_at,
        })
    }

    /// Forgets what an issuer announced: a provider of it was changed, so that
    /// whoever mended something does not wait for a cache.
    pub async fn forget(&self, issuer: &str) {
        self.documents.forget(&name_of(issuer)).await;
    }
}

fn name_of(issuer: &str) -> String {
    format!("discovery:{issuer}")
}

fn parse(issuer: &str, body: &str) -> Result<Metadata, DiscoveryError> {
    let metadata: Metadata = serde_json::from_str(body)
        .map_err(|_| DiscoveryError::Unusable("the discovery document is malformed"))?;
    if metadata.issuer == issuer {
        Ok(metadata)
    } else {
        Err(DiscoveryError::Unusable(
            "the discovery document names another issuer than the configured one",
        ))
    }
}
