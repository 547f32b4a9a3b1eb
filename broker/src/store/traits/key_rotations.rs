//! Rotations of keys: the jobs, and the rows they re-encrypt.

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::Result,
    id::{DataKeyId, WorkspaceId},
    keys::{DataKey, KeyRotation, Progress},
    page::PageRequest,
    sealed::{Sealed, SealedColumn, WrappedDataKey},
};

/// Rotations of keys: the jobs, and the rows they re-encrypt.
#[async_trait]
pub trait KeyRotationStore: Send + Sync {
    /// A page of data keys, oldest first; of one workspace or of all.
    async fn data_keys(
        &self,
        workspace: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Vec<DataKey>>;
    /// How many data keys each key-encryption key wraps.
    async fn count_by_kek(&self) -> Result<Vec<(String, i64)>>;
    /// Active data keys that may have sealed this often.
    async fn worn_data_keys(&self, seals: i64) -> Result<Vec<(WorkspaceId, DataKeyId)>>;

    /// Adds a rotation, unless one of the same target and workspace is not
    /// finished yet; answers the one that there is then.
    async fn insert_rotation(&self, new: &KeyRotation, audit: AuditEvent) -> Result<KeyRotation>;
    /// The rotations begun last, newest first.
    async fn rotations(&self, limit: i64) -> Result<Vec<KeyRotation>>;
    /// Takes the lease of the oldest unfinished rotation that no broker holds.
    async fn claim_rotation(&self, owner: Uuid, at: Timestamp) -> Result<Option<KeyRotation>>;
    /// Records how far it is, and renews the lease; false where it is lost.
    async fn advance_rotation(
        &self,
        id: Uuid,
        owner: Uuid,
        progress: Progress,
        at: Timestamp,
    ) -> Result<bool>;
    /// Gives the lease back; `finished` where there is nothing left to do.
    async fn release_rotation(
        &self,
        id: Uuid,
        owner: Uuid,
        progress: Progress,
        finished: Option<Timestamp>,
    ) -> Result<()>;

    /// Active data keys made no later than `asked_at`, the next few.
    async fn data_keys_to_replace(
        &self,
        workspace: Option<WorkspaceId>,
        asked_at: Timestamp,
        limit: i64,
    ) -> Result<Vec<(WorkspaceId, DataKeyId)>>;
    /// Data keys that another key-encryption key wraps than `current`, or that
    /// were wrapped no later than `asked_at` (by a KMS whose key has newer
    /// material since): the next few after `after`.
    async fn data_keys_to_rewrap(
        &self,
        current: &str,
        asked_at: Timestamp,
        after: Option<DataKeyId>,
        limit: i64,
    ) -> Result<Vec<WrappedDataKey>>;
    /// How many data keys that is.
    async fn count_data_keys_to_rewrap(&self, current: &str, asked_at: Timestamp) -> Result<i64>;
    /// Retired data keys that rows may still name.
    async fn retired_data_keys(
        &self,
        workspace: Option<WorkspaceId>,
    ) -> Result<Vec<(WorkspaceId, DataKeyId)>>;
    /// How many ciphertexts name one of these keys of a workspace, by key.
    async fn count_sealed_rows(
        &self,
        workspace: WorkspaceId,
        keys: &[DataKeyId],
    ) -> Result<Vec<(DataKeyId, i64)>>;
    /// Ciphertexts of one column under one of these keys, by row, the next few
    /// after `after`.
    async fn sealed_rows(
        &self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        keys: &[DataKeyId],
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<SealedRow>>;
    /// Replaces ciphertexts, each only while its row still holds the very one
    /// that was read, in the same generation; how many it replaced.
    async fn reseal(
        &self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        rows: Vec<Reseal>,
    ) -> Result<usize>;
    /// Records that no row is left that names a retired key.
    async fn mark_emptied(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
        at: Timestamp,
    ) -> Result<()>;
}

/// A ciphertext in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The row's id.
    pub row: Uuid,
    /// The row's generation; 0 where it has none.
    pub generation: u32,
    /// The ciphertext.
    pub sealed: Sealed,
}

/// A ciphertext, and the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reseal {
    /// As it was read.
    pub read: SealedRow,
    /// The same secret under another data key.
    pub sealed: Sealed,
}
