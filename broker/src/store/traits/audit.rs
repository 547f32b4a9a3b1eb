//! The audit.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::{
    Timestamp,
    ambient::Ambient,
    audit::{AuditEvent, AuditFilter},
    audit_chain::{AuditSigner, ChainHead, ChainedEvent, Checkpoint},
    error::Result,
    id::WorkspaceId,
    page::PageRequest,
    sealed::WrappedDataKey,
};

/// The audit.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Says what rows are signed with; the first one stands. Before that,
    /// nothing that is audited can be stored.
    fn sign_audit_with(&self, signer: Arc<dyn AuditSigner>, ambient: Ambient);
    /// Adds rows; when it returns they are durable.
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<()>;
    /// A page of a workspace's.
    async fn audit_events(
        &self,
        workspace: WorkspaceId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Vec<AuditEvent>>;

    /// Writes the closing rows of writers whose last commit had an unknown
    /// outcome, and of `all` that nobody writes with right now.
    async fn close_audit_writers(&self, all: bool) -> Result<()>;
    /// The newest durable rows of this process's writers, where they have
    /// changed since they were last told.
    fn untold_audit_heads(&self) -> Vec<ChainHead>;
    /// These are kept elsewhere now.
    fn audit_heads_told(&self, heads: &[ChainHead]);

    /// The wrapped audit keys, oldest first.
    async fn audit_keys(&self) -> Result<Vec<WrappedDataKey>>;
    /// All checkpoints.
    async fn audit_checkpoints(&self) -> Result<Vec<Checkpoint>>;
    /// The writer whose id comes next after `after`; the first for none.
    async fn next_audit_writer(&self, after: Option<Uuid>) -> Result<Option<Uuid>>;
    /// At most `limit` rows of a writer's chain, behind the number `after`.
    async fn audit_chain(
        &self,
        writer_id: Uuid,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ChainedEvent>>;
    /// For each writer the last of its rows that are all older than `before`,
    /// leaving it one at least; and how many those are.
    async fn prunable_audit(&self, before: Timestamp) -> Result<Vec<(ChainedEvent, i64)>>;
    /// Deletes a writer's rows up to a number, and keeps the checkpoint that
    /// says so (none for rows that have no MAC): how many there were.
    async fn prune_audit(
        &self,
        writer_id: Uuid,
        up_to: i64,
        checkpoint: Option<Checkpoint>,
    ) -> Result<usize>;
}
