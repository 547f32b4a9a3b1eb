//! Keys as an operator sees them, and their rotation.

use uuid::Uuid;

use super::{
    Timestamp,
    id::{DataKeyId, WorkspaceId},
};

/// A data key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKey {
    /// Its id.
    pub id: DataKeyId,
    /// The workspace it encrypts for.
    pub workspace_id: WorkspaceId,
    /// Which key-encryption key wraps it.
    pub kek_id: String,
    /// Whether new ciphertexts use it.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was wrapped as it is now.
    pub wrapped_at: Timestamp,
    /// How often it may have sealed.
    pub seals: i64,
    /// A retired key's: since when no row is left that names it.
    pub emptied_at: Option<Timestamp>,
}

/// What a rotation replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotationTarget {
    /// Data keys: new ones are made, and what is stored is encrypted again.
    DataKeys,
    /// The key-encryption key: every data key is wrapped again, under the key
    /// provider's current one.
    KeyEncryptionKey,
}

impl RotationTarget {
    /// All of them.
    pub const ALL: &[Self] = &[Self::DataKeys, Self::KeyEncryptionKey];

    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataKeys => "data_keys",
            Self::KeyEncryptionKey => "key_encryption_key",
        }
    }

    /// From what is stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|target| target.as_str() == text)
    }
}

/// A rotation: a job that any broker goes on with, for as long as it is not
/// finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// Its id.
    pub id: Uuid,
    /// What it replaces.
    pub target: RotationTarget,
    /// The workspace whose data key it replaces; none: everybody's.
    pub workspace_id: Option<WorkspaceId>,
    /// How far it is.
    pub progress: Progress,
    /// When it was asked for. Keys that are younger are not replaced.
    pub created_at: Timestamp,
    /// When a broker began it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How far a rotation is, in ciphertexts or, of the key-encryption key, in data
/// keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many there are.
    pub total: i64,
    /// How many are done.
    pub done: i64,
    /// Of these, how many did not open. They are left as they are.
    pub failed: i64,
}
