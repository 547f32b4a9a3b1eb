//! Events: what became of connections, in order.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::{
    Timestamp,
    error::Result,
    event::{ConnectionEvent, Numbered},
    id::{ConnectionId, WorkspaceId},
};
use crate::store::Subscription;

/// Events. They are written by what causes them, in its own transaction.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// A connection, read together with the number of its last event.
    async fn numbered_connection(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Numbered>>;
    /// A connection's events after one, in their order. One that is not there
    /// any more is missing at the front, never in between.
    async fn events_after(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<ConnectionEvent>>;
    /// Records what time alone has done to a connection: an unanswered consent
    /// fails it, a credential that can't be refreshed expires. Tells whether it
    /// did.
    async fn settle(&self, workspace: WorkspaceId, id: ConnectionId, at: Timestamp)
    -> Result<bool>;
    /// Notified, once for any number of them, of changes in this process.
    fn any_news(&self) -> Arc<Notify>;
    /// Waits for news of a connection: its own, and from other brokers on the
    /// same database. Subscribe first, then read.
    fn subscribe(&self, workspace: WorkspaceId, id: ConnectionId) -> Subscription;
}
