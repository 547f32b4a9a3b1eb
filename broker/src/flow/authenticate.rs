//! Who is calling: an API key's secret, looked up by its hash.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use tokio::time::Instant;

use super::Core;
use crate::domain::{
    access::{ApiKey, KeyHash},
    error::{Error, ErrorKind, Result},
    id::{ApiKeyId, WorkspaceId},
};

/// A key that was deleted on another broker is refused after this long.
const CACHE_TIME: Duration = Duration::from_secs(5);
/// How old the look at a stream's key may be.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// `last_used_at` is true to this.
const USE_RESOLUTION: TimeDelta = TimeDelta::minutes(1);
/// Keys kept; beyond that, all are looked up again.
const CACHE_SIZE: usize = 10_000;

/// Keys seen in the last seconds. Only good ones: a refusal is never kept.
#[derive(Default)]
pub struct Authenticator {
    seen: Mutex<HashMap<KeyHash, (Arc<ApiKey>, Instant)>>,
    /// Keys of streams, when they were last found in the store.
    living: Mutex<HashMap<ApiKeyId, Instant>>,
}

impl Authenticator {
    fn get(&self, hash: KeyHash) -> Option<Arc<ApiKey>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&hash)
            .filter(|entry| entry.1.elapsed() < CACHE_TIME)
            .map(|entry| entry.0.clone())
    }

    fn keep(&self, hash: KeyHash, key: Arc<ApiKey>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CACHE_SIZE {
            seen.clear();
        }
        seen.insert(hash, (key, Instant::now()));
    }

    /// Forgets all keys that match: they were deleted.
    pub fn forget(&self, is_deleted: impl Fn(&ApiKey) -> bool) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, entry| !is_deleted(&entry.0));
        // Which of them match can't be told: all are asked for again.
        self.living
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Forgets a workspace's keys.
    pub fn forget_workspace(&self, workspace: WorkspaceId) {
        self.forget(|key| key.workspace_id == workspace);
    }
}

/// Takes one request of a key.
///
/// # Errors
/// RATE_LIMITED, with how long to wait.
pub async fn limit(core: &Core, key: &ApiKey) -> Result<()> {
    let Some(limits) = &core.limits else {
        return Ok(());
    };
    limits.take(&key.id.to_string()).await.map_err(|wait| {
        Error::new(
            ErrorKind::RateLimited,
            "this API key has made more requests than it may; wait as long as retry_delay says, or spread the requests",
        )
        .retry_after(Some(wait))
    })
}

/// Whether the key that began a stream is still there and valid; true to
/// [`LOOK_TIME`] for one that another broker deletes.
///
/// # Errors
/// UNAUTHENTICATED where it is not; STORE_UNAVAILABLE.
pub async fn still_valid(core: &Core, key: &ApiKey) -> Result<()> {
    let refused = || {
        Error::new(
            ErrorKind::Unauthenticated,
            "the API key is not valid any more",
        )
    };
    if !key.is_valid_at(core.ambient.now()) {
        return Err(refused());
    }
    let living = || {
        let living = core.authenticator.living.lock();
        living.unwrap_or_else(PoisonError::into_inner)
    };
    let seen = living().get(&key.id).copied();
    if seen.is_some_and(|seen| seen.elapsed() < LOOK_TIME) {
        return Ok(());
    }
    let began = Instant::now();
    if core
        .store
        .api_key(key.workspace_id, key.id)
        .await?
        .is_none()
    {
        return Err(refused());
    }
    let mut living = living();
    if living.len() >= CACHE_SIZE {
        living.clear();
    }
    living.insert(key.id, began);
    Ok(())
}

/// The key with this secret.
///
/// # Errors
/// UNAUTHENTICATED where there is none, or it has expired; STORE_UNAVAILABLE.
pub async fn authenticate(core: &Core, secret: &str) -> Result<Arc<ApiKey>> {
    let hash = KeyHash::of(secret);
    let now = core.ambient.now();
    let refused = || {
        Error::new(
            ErrorKind::Unauthenticated,
            "the API key is not valid; send `Authorization: Bearer <key>`",
        )
    };
    if let Some(key) = core.authenticator.get(hash) {
        return if key.is_valid_at(now) {
            Ok(key)
        } else {
            Err(refused())
        };
    }
    let key = core
        .store
        .api_key_by_hash(hash)
        .await?
        .filter(|key| key.is_valid_at(now))
        .ok_or_else(refused)?;
    if key
        .last_used_at
        .is_none_or(|used| now - used >= USE_RESOLUTION)
    {
        // Not on the caller's time, and not their error if it fails.
        let (store, id) = (core.store.clone(), key.id);
        core.tasks.spawn(async move {
            if let Err(error) = store.touch_api_key(id, now).await {
                tracing::warn!(error = ?error.cause, "an API key's use was not recorded");
            }
        });
    }
    let key = Arc::new(key);
    core.authenticator.keep(hash, key.clone());
    Ok(key)
}
