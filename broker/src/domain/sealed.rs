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

/// How often a data key may seal: with random 96-bit nonces, 2³² times (NIST
/// SP 800-38D §8.3). The vault seals no more than this with any.
pub const SEALS_AT_MOST: i64 = 1 << 32;

/// A data key that may have sealed this often is retired, long before it must.
pub const SEALS_UNTIL_RETIREMENT: i64 = 1 << 31;

/// A column that holds ciphertext, and how its rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table; its key begins with `workspace_id`.
    pub table: &'static str,
    /// The column with the row's id, as [`Place::row`] has it.
    pub row: &'static str,
    /// The column.
    pub column: &'static str,
    /// The column with the row's generation, where it has one.
    pub generation: Option<&'static str>,
    /// As [`Place::field`] has it.
    field: &'static str,
    /// How many generations behind the row's the ciphertext is.
    behind: u32,
}

const fn column(
    table: &'static str,
    row: &'static str,
    column: &'static str,
    generation: Option<&'static str>,
) -> SealedColumn {
    SealedColumn {
        table,
        row,
        column,
        generation,
        field: column,
        behind: 0,
    }
}

/// Every column that a rotation re-encrypts: a new one is a line here, and its
/// two triggers in a migration. (`answers.answer` is left out: those rows live
/// for a day, and their data key is never destroyed.)
pub const SEALED_COLUMNS: &[SealedColumn] = &[
    column(
        "providers",
        "provider_id",
        "client_secret",
        Some("secret_generation"),
    ),
    column("credentials", "connection_id", "usage", Some("generation")),
    column(
        "credentials",
        "connection_id",
        "refresh",
        Some("generation"),
    ),
    column("consents", "consent_id", "secrets", None),
    column("confirmations", "consent_id", "credential", None),
    column(
        "upstream_revocations",
        "upstream_revocation_id",
        "token",
        None,
    ),
    column(
        "webhooks",
        "webhook_id",
        "secret",
        Some("secret_generation"),
    ),
    SealedColumn {
        field: "secret",
        behind: 1,
        ..column(
            "webhooks",
            "webhook_id",
            "previous_secret",
            Some("secret_generation"),
        )
    },
];

impl SealedColumn {
    /// The place of one of its rows, which is in this generation.
    #[must_use]
    pub fn place(&self, workspace_id: WorkspaceId, row: Uuid, generation: u32) -> Place {
        Place {
            workspace_id,
            table: self.table,
            row,
            field: self.field,
            generation: generation.saturating_sub(self.behind),
        }
    }
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
    /// A key of each key-encryption key that wraps any: to see at start whether
    /// the key provider can unwrap them.
    async fn data_key_of_each_kek(&self) -> Result<Vec<WrappedDataKey>>;
    /// Any key: to see whether there is one.
    async fn any_data_key(&self) -> Result<Option<WrappedDataKey>>;
    /// Retires a workspace's active key in favour of a new one; false where
    /// another one is active by now. Whoever was writing under it has committed
    /// when this returns, and nobody writes under it afterwards.
    async fn replace_data_key(&self, retired: DataKeyId, new: &WrappedDataKey) -> Result<bool>;
    /// Stores a key as its new key-encryption key wraps it; false where it was
    /// wrapped otherwise meanwhile.
    async fn rewrap_data_key(
        &self,
        before: &WrappedDataKey,
        after: &WrappedDataKey,
        at: Timestamp,
    ) -> Result<bool>;
    /// Reserves uses of an active key: how many are reserved with these, ever;
    /// none where the key is retired or gone.
    async fn reserve_seals(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
        uses: i64,
    ) -> Result<Option<i64>>;
    /// Of these keys, those that there still are, and whether each is active.
    async fn living_data_keys(
        &self,
        keys: &[(WorkspaceId, DataKeyId)],
    ) -> Result<Vec<(WorkspaceId, DataKeyId, bool)>>;
}
