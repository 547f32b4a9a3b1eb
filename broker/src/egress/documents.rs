//! Documents that providers publish, fetched as rarely as they allow: kept
//! while they are fresh (RFC 9111), then asked for by their ETag (RFC 9110
//! §13.1.2), one call at a time. Only good answers are kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::{Egress, EgressAnswer, EgressError, EgressRequest, discovery::DiscoveryError};
use crate::{
    cache::{Cache, Entry},
    domain::{Timestamp, ambient::Ambient},
};

const TIMEOUT: Duration = Duration::from_secs(10);
const MIN_AGE: TimeDelta = TimeDelta::minutes(1);
const DEFAULT_AGE: TimeDelta = TimeDelta::minutes(10);
const MAX_AGE: TimeDelta = TimeDelta::hours(1);
/// How long a document with an ETag is kept beyond its freshness.
const REVALIDATION: TimeDelta = TimeDelta::days(1);
/// A document that lacks something is fetched anew, but not more often.
const REFETCH_INTERVAL: TimeDelta = TimeDelta::seconds(10);
/// Longer ETags are not worth keeping.
const MAX_ETAG: usize = 256;
/// Documents whose turns are remembered before idle ones are dropped.
const TURNS: usize = 1024;

/// A document as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    /// Its text.
    pub(super) body: String,
    /// When the provider last said that this is it.
    pub(super) fetched_at: Timestamp,
    fresh_until: Timestamp,
    etag: Option<String>,
}

/// Which document is wanted.
pub(super) struct Wanted {
    /// Its name in the cache.
    pub(super) name: String,
    /// Where it is.
    pub(super) url: Url,
    /// One of this time lacked something.
    pub(super) newer_than: Option<Timestamp>,
}

/// One document's calls: one at a time, and what became of the last.
#[derive(Default)]
struct Turn {
    /// Locked by whoever asks.
    last_failure: tokio::sync::Mutex<Option<(Instant, DiscoveryError)>>,
    asked_at: Mutex<Option<Timestamp>>,
}

impl Turn {
    fn is_too_soon(&self, now: Timestamp) -> bool {
        let asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner);
        asked_at.is_some_and(|asked_at| now - asked_at < REFETCH_INTERVAL)
    }
}

/// Fetches and keeps documents.
pub(super) struct Documents {
    egress: Egress,
    cache: Arc<dyn Cache>,
    ambient: Ambient,
    turns: Mutex<HashMap<String, Arc<Turn>>>,
}

impl Documents {
    pub(super) fn new(egress: Egress, cache: Arc<dyn Cache>, ambient: Ambient) -> Self {
        Self {
            egress,
            cache,
            ambient,
            turns: Mutex::default(),
        }
    }

    /// The document, and whether it was asked for just now. `check` says
    /// whether a text is one: only then it is kept.
    pub(super) async fn get(
        &self,
        wanted: Wanted,
        check: impl Fn(&str) -> Result<(), DiscoveryError>,
    ) -> Result<(Document, bool), DiscoveryError> {
        let began = Instant::now();
        let turn = self.turn(&wanted.name);
        if let Some(document) = self.fresh(&wanted, &turn).await.0 {
            return Ok((document, false));
        }
        let mut last_failure = turn.last_failure.lock().await;
        let (fresh, stale) = self.fresh(&wanted, &turn).await;
        if let Some(document) = fresh {
            return Ok((document, false));
        }
        // Whoever waited for a call that failed does not make the next one.
        if let Some((at, failure)) = &*last_failure
            && *at >= began
        {
            return Err(failure.clone());
        }
        let now = self.ambient.now();
        *turn.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let fetched = self.fetch(wanted.url, stale.as_ref(), now).await;
        let fetched = fetched.and_then(|document| {
            check(&document.body)?;
            Ok(document)
        });
        match fetched {
            Ok(document) => {
                *last_failure = None;
                self.keep(&wanted.name, &document).await;
                Ok((document, true))
            }
            Err(error) => {
                *last_failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets a document.
    pub(super) async fn forget(&self, name: &str) {
        self.cache.forget(name).await;
    }

    /// The document that is kept, if it will do, and else if it may serve to
    /// ask whether it has changed.
    async fn fresh(&self, wanted: &Wanted, turn: &Turn) -> (Option<Document>, Option<Document>) {
        let kept = match wanted.newer_than {
            None => self.cache.get(&wanted.name).await,
            Some(_) => self.cache.get_newest(&wanted.name).await,
        };
        let kept: Option<Document> =
            kept.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let Some(document) = kept else {
            return (None, None);
        };
        let now = self.ambient.now();
        let lacking = wanted
            .newer_than
            .is_some_and(|lacking| document.fetched_at <= lacking);
        let too_soon = now - document.fetched_at < REFETCH_INTERVAL || turn.is_too_soon(now);
        if now < document.fresh_until && (!lacking || too_soon) {
            (Some(document), None)
        } else {
            (None, Some(document))
        }
    }

    fn turn(&self, name: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= TURNS {
            let now = self.ambient.now();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1 || turn.is_too_soon(now));
        }
        turns.entry(name.to_owned()).or_default().clone()
    }

    async fn keep(&self, name: &str, document: &Document) {
        let Ok(value) = serde_json::to_vec(document) else {
            return;
        };
        let until = match document.etag {
            Some(_) => document.fresh_until + REVALIDATION,
            None => document.fresh_until,
        };
        self.cache.put(name, Entry { value, until }).await;
    }

    async fn fetch(
        &self,
        url: Url,
        stale: Option<&Document>,
        now: Timestamp,
    ) -> Result<Document, DiscoveryError> {
        let mut headers =
            HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
        let etag = stale.and_then(|stale| HeaderValue::from_str(stale.etag.as_ref()?).ok());
        if let Some(etag) = etag {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
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
                EgressError::Refused(_) => {
                    DiscoveryError::Unusable("the egress guard refuses the URL")
                }
                error => DiscoveryError::Unavailable(Arc::new(error)),
            })?;
        let fresh_until = now + max_age(&answer.headers);
        match (answer.status, stale) {
            (StatusCode::OK, _) => Ok(Document {
                etag: etag_of(&answer),
                body: String::from_utf8(answer.body.into())
                    .map_err(|_| DiscoveryError::Unusable("the document is not text"))?,
                fetched_at: now,
                fresh_until,
            }),
            (StatusCode::NOT_MODIFIED, Some(stale)) => Ok(Document {
                fetched_at: now,
                fresh_until,
                ..stale.clone()
            }),
            (status, _) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                let status: Box<dyn std::error::Error + Send + Sync> =
                    format!("status {status}").into();
                Err(DiscoveryError::Unavailable(status.into()))
            }
            _ => Err(DiscoveryError::Unusable(
                "there is no document at the well-known path",
            )),
        }
    }
}

fn etag_of(answer: &EgressAnswer) -> Option<String> {
    let etag = answer.headers.get(header::ETAG)?.to_str().ok()?;
    (etag.len() <= MAX_ETAG).then(|| etag.to_owned())
}

/// How long an answer is fresh (RFC 9111 §4.2), within our own bounds.
fn max_age(headers: &HeaderMap) -> TimeDelta {
    let directives = || {
        headers
            .get_all(header::CACHE_CONTROL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|directive| directive.trim().to_ascii_lowercase())
    };
    if directives().any(|directive| directive == "no-store" || directive == "no-cache") {
        return MIN_AGE;
    }
    let seconds = |text: &str| text.trim_matches('"').parse().ok();
    let named = directives()
        .find_map(|directive| seconds(directive.strip_prefix("max-age=")?))
        .and_then(TimeDelta::try_seconds);
    // What a cache on the way has used up of it (RFC 9111 §5.1).
    let used = headers
        .get(header::AGE)
        .and_then(|age| seconds(age.to_str().ok()?))
        .and_then(TimeDelta::try_seconds)
        .unwrap_or_default()
        .clamp(TimeDelta::zero(), MAX_AGE);
    named
        .map_or(DEFAULT_AGE, |named| named.min(MAX_AGE + used) - used)
        .clamp(MIN_AGE, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(headers: &[(header::HeaderName, &'static str)]) -> i64 {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        max_age(&headers.collect()).num_seconds()
    }

    #[test]
    fn freshness_follows_the_answer_within_bounds() {
        use header::{AGE, CACHE_CONTROL};
        assert_eq!(age(&[]), 600);
        assert_eq!(age(&[(CACHE_CONTROL, "public, max-age=300")]), 300);
        assert_eq!(age(&[(CACHE_CONTROL, "Max-Age=300")]), 300);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=300"), (AGE, "120")]), 180);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=0")]), 60);
        assert_eq!(age(&[(CACHE_CONTROL, "no-store, max-age=300")]), 60);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=999999999999")]), 3600);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=9223372036854775807")]), 600);
        assert_eq!(age(&[(CACHE_CONTROL, "max-age=-1")]), 60);
    }
}
