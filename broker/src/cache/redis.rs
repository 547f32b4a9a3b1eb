//! The cache that brokers share: Redis, whose word is not taken for anything.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Cache, Entry, count, link::Link, proofs::Proofs};
use crate::domain::ambient::Ambient;

const KIND: &str = "cache";

/// Keeps values in Redis, authenticated.
pub struct RedisCache {
    link: Arc<Link>,
    proofs: Arc<Proofs>,
    ambient: Ambient,
}

impl RedisCache {
    /// Over a link.
    #[must_use]
    pub fn new(link: Arc<Link>, proofs: Arc<Proofs>, ambient: Ambient) -> Self {
        Self {
            link,
            proofs,
            ambient,
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, name: &str) -> Option<Entry> {
        let key = self.proofs.name(KIND, name);
        let found: Option<Vec<u8>> = match self.link.ask(::redis::cmd("GET").arg(key)).await {
            Ok(found) => found,
            Err(_) => {
                count("redis", "error");
                return None;
            }
        };
        let Some(sealed) = found else {
            count("redis", "miss");
            return None;
        };
        let Some(entry) = self.proofs.open_entry(name, &sealed) else {
            tracing::warn!("Redis holds an entry that no broker of this deployment put there");
            count("redis", "forged");
            return None;
        };
        // Its expiry is part of what is authenticated; Redis may forget late.
        let fresh = self.ambient.now() < entry.until;
        count("redis", if fresh { "hit" } else { "miss" });
        fresh.then_some(entry)
    }

    async fn put(&self, name: &str, entry: Entry) {
        let Some(millis) = (entry.until - self.ambient.now())
            .num_milliseconds()
            .try_into()
            .ok()
            .filter(|millis: &u64| *millis > 0)
        else {
            return;
        };
        let key = self.proofs.name(KIND, name);
        let sealed = self.proofs.seal_entry(name, &entry);
        let mut put = ::redis::cmd("SET");
        put.arg(key).arg(sealed).arg("PX").arg(millis);
        if self.link.ask::<()>(&put).await.is_err() {
            count("redis", "error");
        }
    }

    async fn forget(&self, name: &str) {
        let key = self.proofs.name(KIND, name);
        if self
            .link
            .ask::<()>(::redis::cmd("DEL").arg(key))
            .await
            .is_err()
        {
            count("redis", "error");
        }
    }
}
