//! Credentials that wait for a confirmation.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    confirmation::Confirmation,
    error::Result,
    id::{ConnectionId, WorkspaceId},
};
use crate::store::UpstreamRevocation;

/// Credentials that wait for a confirmation; one for each connection at most.
#[async_trait]
pub trait ConfirmationStore: Send + Sync {
    /// Keeps one, in place of an earlier one; false where a newer consent was
    /// begun, or the connection is revoked or gone.
    async fn insert_confirmation(&self, held: &Confirmation, audit: AuditEvent) -> Result<bool>;
    /// The connection's, whatever its state.
    async fn confirmation(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Confirmation>>;
    /// The connection's, if this is its code, it still waits, and there were
    /// not too many wrong codes; a wrong one is counted.
    async fn try_confirmation(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
        code_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<Confirmation>>;
    /// Those that nobody will confirm any more.
    async fn lost_confirmations(&self, at: Timestamp, limit: i64) -> Result<Vec<Confirmation>>;
    /// Gives one up; tells whether it was still there.
    async fn drop_confirmation(
        &self,
        held: &Confirmation,
        upstream: Option<&UpstreamRevocation>,
    ) -> Result<bool>;
}
