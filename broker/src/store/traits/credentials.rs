//! Credentials and their refresh leases.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    credential::{Credential, NewCredential, TokenView},
    error::Result,
    id::{ConnectionId, WorkspaceId},
};

/// Credentials and their refresh leases.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    /// What GetToken needs, of several connections in one query by primary
    /// key. What is not there is left out.
    async fn token_views(
        &self,
        workspace: WorkspaceId,
        ids: Vec<ConnectionId>,
    ) -> Result<Vec<(ConnectionId, Result<TokenView>)>>;
    /// The credential as a whole.
    async fn credential(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Credential>>;
    /// Takes the lease, on the database's clock: the new epoch, or none where
    /// the generation has moved on, a lease is unexpired, or it is too early.
    async fn claim_refresh(&self, claim: Claim) -> Result<Option<i64>>;
    /// New tokens: accepted if their epoch is above the committed one.
    async fn commit_refresh(&self, refreshed: Refreshed, audit: AuditEvent) -> Result<Committed>;
    /// The provider refused the grant: counts only if epoch and generation are
    /// unchanged; tells whether it did.
    async fn refuse_refresh(
        &self,
        attempt: Attempt,
        reason: &str,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// The attempt yielded nothing: releases the lease.
    async fn release_refresh(
        &self,
        attempt: Attempt,
        release: Release,
        audit: AuditEvent,
    ) -> Result<()>;
}

/// Asks for the refresh lease.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The generation that was read.
    pub generation: u32,
    /// This broker.
    pub owner: uuid::Uuid,
    /// Now; for `next_attempt_at`.
    pub at: Timestamp,
    /// A person asked: `next_attempt_at` does not hold them up.
    pub forced: bool,
}

/// A refresh attempt that holds, or held, the lease.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The lease's epoch.
    pub epoch: i64,
    /// The generation that was refreshed.
    pub generation: u32,
    /// Now.
    pub at: Timestamp,
}

/// A refresh's success.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// The attempt.
    pub attempt: Attempt,
    /// The credential, sealed under the next generation.
    pub credential: NewCredential,
    /// The scopes granted, where the answer named them.
    pub scopes: Option<Vec<String>>,
}

/// What became of a refresh's success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Stored.
    Done,
    /// A newer epoch was committed before, by a reconnect or another refresh.
    Superseded,
    /// The connection is revoked: the new tokens have to be revoked upstream.
    Revoked,
}

/// How an attempt without new tokens ends.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    /// Not before this time is another one made.
    pub next_attempt_at: Timestamp,
    /// When the broker's own loop looks at it again.
    pub due_at: Option<Timestamp>,
    /// Since when the outcome of a refresh is unknown, where it is: bytes were
    /// sent and no complete answer came.
    pub uncertain_since: Option<Timestamp>,
}
