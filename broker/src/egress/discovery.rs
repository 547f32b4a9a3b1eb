//! OpenID Connect Discovery 1.0 and JWKS (RFC 7517), cached in the process.
//! Only good answers are kept, and keys only until an unknown one is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use url::Url;

use super::{Egress, EgressAnswer, EgressRequest};
use crate::domain::{Timestamp, ambient::Ambient};

const TIMEOUT: Duration = Duration::from_secs(10);
const MIN_AGE: TimeDelta = TimeDelta::minutes(1);
const DEFAULT_AGE: TimeDelta = TimeDelta::minutes(10);
const MAX_AGE: TimeDelta = TimeDelta::hours(1);
/// Unknown keys make us ask again, but not more often than this.
const REFETCH_INTERVAL: TimeDelta = TimeDelta::seconds(10);

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
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The provider can't be reached, or has a fault: later may be better.
    #[error("the document can't be fetched")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The document is unusable.
    #[error("{0}")]
    Unusable(&'static str),
}

struct Kept<T> {
    value: Arc<T>,
    fetched_at: Timestamp,
    until: Timestamp,
}

type Cache<T> = Mutex<HashMap<String, Kept<T>>>;

/// Fetches and keeps discovery documents and key sets.
pub struct Discovery {
    egress: Egress,
    ambient: Ambient,
    metadata: Cache<Metadata>,
    keys: Cache<Vec<u8>>,
}

impl Discovery {
    /// A cache over the egress client.
    #[must_use]
    pub fn new(egress: Egress, ambient: Ambient) -> Self {
        Self {
            egress,
            ambient,
            metadata: Cache::default(),
            keys: Cache::default(),
        }
    }

    /// The metadata of an issuer (OpenID Connect Discovery 1.0 §4). Its
    /// `issuer` is the one that was configured, or it is refused (§4.3).
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn metadata(&self, issuer: &str) -> Result<Arc<Metadata>, DiscoveryError> {
        let now = self.ambient.now();
        if let Some(kept) = get(&self.metadata, issuer, |kept| now < kept.until) {
            count("cached");
            return Ok(kept);
        }
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let url = url
            .parse()
            .map_err(|_| DiscoveryError::Unusable("the issuer is not a URL"))?;
        let fetched = self.fetch(url).await.and_then(|answer| {
            let metadata: Metadata = serde_json::from_slice(&answer.body)
                .map_err(|_| DiscoveryError::Unusable("the discovery document is malformed"))?;
            if metadata.issuer == issuer {
                Ok((metadata, answer.headers))
            } else {
                Err(DiscoveryError::Unusable(
                    "the discovery document names another issuer than the configured one",
                ))
            }
        });
        count(if fetched.is_ok() { "success" } else { "error" });
        let (metadata, headers) = fetched?;
        Ok(keep(&self.metadata, issuer, metadata, now, &headers))
    }

    /// The key set at a URI, as JSON. `stale` is one that lacked a key: then a
    /// newer one is fetched, within a limit.
    ///
    /// # Errors
    /// See [`DiscoveryError`].
    pub async fn keys(
        &self,
        jwks_uri: &Url,
        stale: Option<&Arc<Vec<u8>>>,
    ) -> Result<Arc<Vec<u8>>, DiscoveryError> {
        let now = self.ambient.now();
        let kept = get(&self.keys, jwks_uri.as_str(), |kept| {
            let lacking = stale.is_some_and(|stale| Arc::ptr_eq(stale, &kept.value));
            now < kept.until && !(lacking && now - kept.fetched_at >= REFETCH_INTERVAL)
        });
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let answer = self.fetch(jwks_uri.clone()).await?;
        if serde_json::from_slice::<serde_json::Value>(&answer.body).is_err() {
            return Err(DiscoveryError::Unusable("the key set is malformed"));
        }
        Ok(keep(
            &self.keys,
            jwks_uri.as_str(),
            answer.body.to_vec(),
            now,
            &answer.headers,
        ))
    }

    async fn fetch(&self, url: Url) -> Result<EgressAnswer, DiscoveryError> {
        let headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        let request = EgressRequest {
            method: Method::GET,
            url,
            headers,
            body: vec![],
            timeout: TIMEOUT,
        };
        let answer = self
            .egress
            .send(request)
            .await
            .map_err(|error| match error {
                super::EgressError::Refused(_) => {
                    DiscoveryError::Unusable("the egress guard refuses the URL")
                }
                error => DiscoveryError::Unavailable(error.into()),
            })?;
        match answer.status.as_u16() {
            200 => Ok(answer),
            429 | 500.. => Err(DiscoveryError::Unavailable(
                format!("status {}", answer.status).into(),
            )),
            _ => Err(DiscoveryError::Unusable(
                "there is no document at the well-known path",
            )),
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("oidc_discovery_total", "result" => result).increment(1);
}

fn get<T>(cache: &Cache<T>, key: &str, good: impl Fn(&Kept<T>) -> bool) -> Option<Arc<T>> {
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    cache
        .get(key)
        .filter(|kept| good(kept))
        .map(|kept| kept.value.clone())
}

fn keep<T>(cache: &Cache<T>, key: &str, value: T, now: Timestamp, headers: &HeaderMap) -> Arc<T> {
    let value = Arc::new(value);
    let kept = Kept {
        value: value.clone(),
        fetched_at: now,
        until: now + max_age(headers),
    };
    cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key.to_owned(), kept);
    value
}

/// How long an answer is fresh (RFC 9111 §5.2.2.1), within our own bounds.
fn max_age(headers: &HeaderMap) -> TimeDelta {
    let named = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())
        .and_then(TimeDelta::try_seconds);
    named.unwrap_or(DEFAULT_AGE).clamp(MIN_AGE, MAX_AGE)
}
