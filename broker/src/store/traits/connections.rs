//! Connections, and what providers have yet to be told of their end.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::{Connection, ConnectionFilter},
    consent::Consent,
    error::Result,
    id::{ConnectionId, ProviderId, WorkspaceId},
    page::PageRequest,
    sealed::Sealed,
};

/// Connections.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Adds one with its first consent.
    async fn insert_connection(
        &self,
        connection: &Connection,
        consent: &Consent,
        audit: AuditEvent,
    ) -> Result<()>;
    /// One.
    async fn connection(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Connection>>;
    /// A page of a workspace's.
    async fn connections(
        &self,
        workspace: WorkspaceId,
        filter: &ConnectionFilter,
        page: PageRequest,
    ) -> Result<Vec<Connection>>;
    /// How many of a workspace's are not revoked.
    async fn count_connections(&self, workspace: WorkspaceId) -> Result<i64>;
    /// Revokes one: deletes its credential, spends its consents, and keeps the
    /// sealed token until the provider has been told.
    async fn revoke_connection(&self, revocation: Revocation, audit: AuditEvent)
    -> Result<Revoked>;
    /// The same for several, in one transaction; what became of each.
    async fn revoke_connections(
        &self,
        revocations: Vec<(Revocation, AuditEvent)>,
    ) -> Result<Vec<Revoked>>;
    /// Keeps a token until the provider has been told.
    async fn insert_upstream_revocation(&self, revocation: &UpstreamRevocation) -> Result<()>;
    /// Claims what providers have yet to be told and is due: nobody else gets
    /// it before `until`.
    async fn claim_upstream_revocations(
        &self,
        at: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<UpstreamRevocation>>;
    /// It could not be told yet; after so many attempts it is due again then.
    async fn postpone_upstream_revocation(
        &self,
        revocation: &UpstreamRevocation,
        attempts: u32,
        next_attempt_at: Timestamp,
    ) -> Result<()>;
    /// How much providers have yet to be told.
    async fn count_upstream_revocations(&self) -> Result<i64>;
    /// The provider has been told, or can't be.
    async fn end_upstream_revocation(
        &self,
        revocation: &UpstreamRevocation,
        audit: AuditEvent,
    ) -> Result<()>;
}

/// A connection's end.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Now.
    pub at: Timestamp,
    /// Ends only a credential of this generation (0: none), so that the sealed
    /// token below is the one that was deleted.
    pub generation: u32,
    /// What the provider has to be told.
    pub upstream: Option<UpstreamRevocation>,
}

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The connection is revoked.
    Done,
    /// It was before, or is gone.
    Before,
    /// Another credential was stored in between: read again and retry.
    Conflict,
}

/// A token that the provider has yet to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRevocation {
    /// Its own id.
    pub id: uuid::Uuid,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection it came from.
    pub connection_id: ConnectionId,
    /// The provider to tell.
    pub provider_id: ProviderId,
    /// The token, sealed.
    pub token: Sealed,
    /// When the connection was revoked.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// Nobody tries before.
    pub next_attempt_at: Timestamp,
}
