//! Workspaces.

use async_trait::async_trait;

use crate::domain::{
    audit::AuditEvent, error::Result, id::WorkspaceId, page::PageRequest, workspace::Workspace,
};

/// Workspaces.
#[async_trait]
pub trait WorkspaceStore: Send + Sync {
    /// Adds one.
    async fn insert_workspace(&self, workspace: &Workspace, audit: AuditEvent) -> Result<()>;
    /// Adds the default one, unless it is there.
    async fn ensure_workspace(&self, workspace: &Workspace) -> Result<()>;
    /// One.
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>>;
    /// A page of them.
    async fn workspaces(&self, page: PageRequest) -> Result<Vec<Workspace>>;
    /// Replaces one; false where there is none.
    async fn update_workspace(&self, workspace: &Workspace, audit: AuditEvent) -> Result<bool>;
}
