//! API keys.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    access::{ApiKey, KeyHash},
    audit::AuditEvent,
    error::Result,
    id::{ApiKeyId, WorkspaceId},
    page::PageRequest,
};

/// API keys.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Adds one; false where its workspace does not exist.
    async fn insert_api_key(&self, key: &ApiKey, hash: KeyHash, audit: AuditEvent) -> Result<bool>;
    /// Adds the bootstrap key if there never was a key; tells whether it did.
    async fn take_bootstrap_key(
        &self,
        key: &ApiKey,
        hash: KeyHash,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// The key with this secret.
    async fn api_key_by_hash(&self, hash: KeyHash) -> Result<Option<ApiKey>>;
    /// One of a workspace.
    async fn api_key(&self, workspace: WorkspaceId, id: ApiKeyId) -> Result<Option<ApiKey>>;
    /// A page of a workspace's.
    async fn api_keys(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<ApiKey>>;
    /// Deletes one; false where there is none.
    async fn delete_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// Records a use.
    async fn touch_api_key(&self, id: ApiKeyId, at: Timestamp) -> Result<()>;
}
