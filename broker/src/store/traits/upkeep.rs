//! What keeps the store in order.

use async_trait::async_trait;

use crate::domain::{Timestamp, connection::Status, error::Result};

/// What keeps the store in order.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// Brings the schema up to date; how many migrations that took.
    async fn migrate(&self) -> Result<usize>;
    /// Whether the schema is up to date.
    async fn is_migrated(&self) -> Result<bool>;
    /// Forgets consents a day after they ended, answers after 24 hours and
    /// events after seven days, and records what time has done to connections.
    async fn tidy(&self, at: Timestamp) -> Result<()>;
    /// How many connections stand where.
    async fn count_by_status(&self) -> Result<Vec<(Status, i64)>>;
    /// Since when the refresh that is longest due has been due.
    async fn longest_due(&self, at: Timestamp) -> Result<Option<Timestamp>>;
    /// When the oldest data key that still seals was made.
    async fn oldest_active_data_key(&self) -> Result<Option<Timestamp>>;
    /// The pool: connections open, and of these idle.
    fn pool_state(&self) -> (u32, u32);
}
