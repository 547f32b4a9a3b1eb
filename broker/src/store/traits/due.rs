//! Credentials that are due.

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::domain::{
    Timestamp,
    error::Result,
    id::{ConnectionId, ProviderId, WorkspaceId},
};

/// How long what was taken is nobody else's: a little longer than a lease, so
/// that whoever comes after a broker that died finds its lease run out.
pub const RESERVED_FOR: TimeDelta = TimeDelta::seconds(crate::store::LEASE_SECONDS + 5);

/// Credentials that are due.
#[async_trait]
pub trait DueStore: Send + Sync {
    /// Takes up to `limit` credentials that are due, the longest due first, and
    /// reserves them for [`RESERVED_FOR`]. What another broker takes at the
    /// same time is left out and not waited for.
    async fn take_due(&self, at: Timestamp, limit: i64) -> Result<Vec<Due>>;
    /// Puts taken ones off, where nothing else has happened to them since.
    async fn put_off(&self, due: Vec<(Due, Timestamp)>) -> Result<()>;
}

/// A credential that was due, and is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Its provider.
    pub provider_id: ProviderId,
    /// The generation that is due.
    pub generation: u32,
    /// Since when it has been due.
    pub due_at: Timestamp,
    /// Until when it is reserved.
    pub reserved_until: Timestamp,
}
