//! Ciphertext, and the place it belongs to.

use super::id::{DataKeyId, WorkspaceId};
use super::{Timestamp, error::Result};
use uuid::Uuid;

/// Ciphertext in its stored form: `version ‖ key id ‖ nonce ‖ ciphertext+tag`.
/// What the store takes for a secret; only the vault makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Where a ciphertext lives. It opens nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The workspace whose data key seals it.
    pub workspace_id: WorkspaceId,
    /// The table.
    pub table: &'static str,
    /// The row's id.
    pub row: Uuid,
    /// The column.
    pub field: &'static str,
    /// The row's generation; 0 where it has none.
    pub generation: u32,
}

/// A data-encryption key, wrapped by the key provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedDataKey {
    /// The workspace it encrypts for.
    pub workspace_id: WorkspaceId,
    /// Its id, which every ciphertext names.
    pub data_key_id: DataKeyId,
    /// Which key-encryption key wraps it.
    pub kek_id: String,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Where wrapped data keys are kept.
#[async_trait::async_trait]
pub trait DataKeyStore: Send + Sync {
    /// The key that a workspace's new ciphertexts use.
    async fn active_data_key(&self, workspace: WorkspaceId) -> Result<Option<WrappedDataKey>>;
    /// One key.
    async fn data_key(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
    ) -> Result<Option<WrappedDataKey>>;
    /// Makes the key the workspace's active one, unless it has one; answers
    /// the active one.
    async fn insert_data_key(&self, key: &WrappedDataKey) -> Result<WrappedDataKey>;
    /// Any key: to see at start whether the key provider can unwrap it.
    async fn any_data_key(&self) -> Result<Option<WrappedDataKey>>;
}
