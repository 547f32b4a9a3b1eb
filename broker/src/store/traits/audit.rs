//! The audit.

use async_trait::async_trait;

use crate::domain::{
    audit::{AuditEvent, AuditFilter},
    error::Result,
    id::WorkspaceId,
    page::PageRequest,
};

/// The audit.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds rows; when it returns they are durable.
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<()>;
    /// A page of a workspace's.
    async fn audit_events(
        &self,
        workspace: WorkspaceId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Vec<AuditEvent>>;
}
