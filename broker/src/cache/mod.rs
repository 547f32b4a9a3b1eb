//! What brokers share beside the database: a cache, rate limits and change
//! notices. In one process, or over Redis among all of them.
//!
//! Nothing here is the only copy of anything, and no secret goes in: whatever
//! Redis forgets, changes or keeps to itself, the worst of it is more work.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::Timestamp;

pub mod limits;
pub mod link;
pub mod memory;
pub mod notices;
pub mod proofs;
pub mod redis;

/// What a cache keeps under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value: public, never a secret.
    pub value: Vec<u8>,
    /// From then on it is a miss.
    pub until: Timestamp,
}

/// Keeps values for a while. It never fails: a cache that can't answer has
/// nothing.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What is kept under a name and has not expired.
    async fn get(&self, name: &str) -> Option<Entry>;
    /// The same, from where all brokers put it: another one may have put a
    /// newer value than the one at hand.
    async fn get_newest(&self, name: &str) -> Option<Entry> {
        self.get(name).await
    }
    /// Keeps a value, in place of the one before.
    async fn put(&self, name: &str, entry: Entry);
    /// Keeps nothing under a name any more.
    async fn forget(&self, name: &str);
}

/// A near cache before a shared one.
pub struct Layered {
    near: memory::Memory,
    far: Arc<dyn Cache>,
}

impl Layered {
    /// `near` answers first; what only `far` has is kept near.
    #[must_use]
    pub fn new(near: memory::Memory, far: Arc<dyn Cache>) -> Self {
        Self { near, far }
    }
}

#[async_trait]
impl Cache for Layered {
    async fn get(&self, name: &str) -> Option<Entry> {
        match self.near.get(name).await {
            None => self.get_newest(name).await,
            found => found,
        }
    }

    async fn get_newest(&self, name: &str) -> Option<Entry> {
        let Some(entry) = self.far.get(name).await else {
            return self.near.get(name).await;
        };
        self.near.put(name, entry.clone()).await;
        Some(entry)
    }

    async fn put(&self, name: &str, entry: Entry) {
        self.near.put(name, entry.clone()).await;
        self.far.put(name, entry).await;
    }

    async fn forget(&self, name: &str) {
        self.near.forget(name).await;
        self.far.forget(name).await;
    }
}

fn count(backend: &'static str, result: &'static str) {
    metrics::counter!("cache_requests_total", "backend" => backend, "result" => result)
        .increment(1);
}
