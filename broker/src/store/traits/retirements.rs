//! The end of providers and workspaces, on which thousands of connections may
//! hang: at once for everybody, then batch by batch.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::Connection,
    credential::Credential,
    error::Result,
    id::{ProviderId, WorkspaceId},
    provider::Provider,
};

/// Something that was deleted and is not gone yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retirement {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The provider; none where it is the workspace itself.
    pub provider_id: Option<ProviderId>,
}

/// What became of a provider's deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// Nobody sees it any more, and no credential of it is handed out.
    Done,
    /// So many connections use it, and it was not forced.
    InUse(i64),
    /// There is none.
    Gone,
}

/// How far the removal of something retired has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// Nothing is left.
    All,
    /// There is more to remove.
    Some,
    /// A connection lives, or a provider has yet to be told: not now.
    HeldUp,
}

/// The end of providers and workspaces.
#[async_trait]
pub trait RetirementStore: Send + Sync {
    /// Ends a provider for everybody who looks for it or for a credential of
    /// it. Its connections are revoked after that.
    async fn retire_provider(
        &self,
        retirement: Retirement,
        at: Timestamp,
        force: bool,
        audit: AuditEvent,
    ) -> Result<Retired>;
    /// Ends a workspace, its providers and its API keys likewise; false where
    /// there is none.
    async fn retire_workspace(
        &self,
        workspace: WorkspaceId,
        at: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// What is not gone yet, the oldest first.
    async fn retirements(&self, limit: i64) -> Result<Vec<Retirement>>;
    /// Connections that have yet to be revoked, with their credentials.
    async fn living_connections(
        &self,
        retirement: Retirement,
        limit: i64,
    ) -> Result<Vec<(Connection, Option<Credential>)>>;
    /// Removes the next rows of what was retired.
    async fn remove_retired(&self, retirement: Retirement, limit: i64) -> Result<Removed>;
    /// A provider, though it may be retired: to tell it of revocations.
    async fn provider_even_retired(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
    ) -> Result<Option<Provider>>;
}
