//! Providers.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::Result,
    id::{ProviderId, WorkspaceId},
    page::PageRequest,
    provider::Provider,
};

/// Providers.
#[async_trait]
pub trait ProviderStore: Send + Sync {
    /// Adds one; false where its name is taken.
    async fn insert_provider(&self, provider: &Provider, audit: AuditEvent) -> Result<bool>;
    /// One, by id.
    async fn provider(&self, workspace: WorkspaceId, id: ProviderId) -> Result<Option<Provider>>;
    /// One, by name.
    async fn provider_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Provider>>;
    /// A page of a workspace's.
    async fn providers(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Provider>>;
    /// Replaces one that was read with this `updated_at`; false where it has
    /// changed since, or is gone.
    async fn update_provider(
        &self,
        provider: &Provider,
        read_at: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool>;
}
