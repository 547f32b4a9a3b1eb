//! Envelope encryption: a key provider's key-encryption key wraps one data key
//! per workspace, which seals with AES-256-GCM. What is sealed opens only in
//! the place it was sealed for.

use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use secrecy::{ExposeSecret, SecretSlice};

use crate::domain::{
    Timestamp,
    ambient::Ambient,
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    sealed::{DataKeyStore, Place, Sealed, WrappedDataKey},
};

mod aad;
mod audit;
mod format;
pub mod kms;
mod ring;

pub use audit::AuditKey;
use format::Envelope;
use kms::KeyProvider;
use ring::KeyRing;

/// Seals and opens. Unwrapped data keys stay in memory only.
pub struct Vault {
    ring: KeyRing,
    ambient: Ambient,
}

impl Vault {
    /// A vault over a key provider and the wrapped data keys.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyProvider>, store: Arc<dyn DataKeyStore>, ambient: Ambient) -> Self {
        Self {
            ring: KeyRing::new(keys, store, ambient.clone()),
            ambient,
        }
    }

    /// Seals a secret for a place, with the workspace's active data key, which
    /// is made at first use.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE, or INTERNAL where the key provider fails.
    pub async fn seal(&self, place: &Place, secret: &[u8]) -> Result<Sealed> {
        let (data_key_id, data_key) = self.ring.active(place.workspace_id).await?;
        let nonce: [u8; format::NONCE_LEN] = self.ambient.bytes();
        let payload = Payload {
            msg: secret,
            aad: &aad::of(place, data_key_id),
        };
        let ciphertext = data_key
            .encrypt(&nonce.into(), payload)
            .map_err(|_| Error::internal("AES-256-GCM refused to seal"))?;
        count("seal");
        Ok(Envelope {
            data_key_id,
            nonce,
            ciphertext: &ciphertext,
        }
        .to_sealed())
    }

    /// Makes sure that sealing for a workspace will not need the database: to
    /// be asked before something comes that must not be lost.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    pub async fn warm(&self, workspace: WorkspaceId) -> Result<()> {
        self.ring.warm(workspace).await
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// INTERNAL where it was not sealed for this place, or was changed;
    /// STORE_UNAVAILABLE.
    pub async fn open(&self, place: &Place, sealed: &Sealed) -> Result<SecretSlice<u8>> {
        let envelope = Envelope::parse(sealed).ok_or_else(|| {
            Error::internal(format!(
                "{}.{} holds no ciphertext",
                place.table, place.field
            ))
        })?;
        let data_key = self
            .ring
            .key(place.workspace_id, envelope.data_key_id)
            .await?;
        let payload = Payload {
            msg: envelope.ciphertext,
            aad: &aad::of(place, envelope.data_key_id),
        };
        let opened = data_key
            .decrypt(&envelope.nonce.into(), payload)
            .map_err(|_| {
                Error::internal(format!(
                    "{}.{} does not open in its place",
                    place.table, place.field
                ))
            })?;
        count("open");
        Ok(opened.into())
    }

    /// The same secret, sealed under the active data key.
    ///
    /// # Errors
    /// As [`Vault::open`] and [`Vault::seal`].
    pub async fn reseal(&self, place: &Place, sealed: &Sealed) -> Result<Sealed> {
        let opened = self.open(place, sealed).await?;
        self.seal(place, opened.expose_secret()).await
    }

    /// Whether the key provider can unwrap what the store holds; to be asked
    /// at start.
    ///
    /// # Errors
    /// The key provider's words on why not.
    pub async fn check(&self) -> Result<()> {
        self.ring.check().await
    }

    /// Forgets a deleted workspace's keys.
    pub fn forget(&self, workspace: WorkspaceId) {
        self.ring.forget(workspace);
    }

    /// Forgets which of a workspace's keys is active, after the store refused
    /// what was sealed with it: another broker has rotated it.
    pub fn forget_active(&self, workspace: WorkspaceId) {
        self.ring.forget_active(workspace);
    }

    /// Follows what other brokers do to the keys that are in memory here: keys
    /// of deleted workspaces are forgotten, retired ones do not seal any more.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE; then everything stays as it is.
    pub async fn follow(&self) -> Result<()> {
        self.ring.follow().await
    }

    /// Makes a new active key for a workspace in place of `retired`, younger
    /// than `asked_at`; nothing where that is not the active one.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE, or INTERNAL where the key provider fails.
    pub async fn rotate(
        &self,
        workspace: WorkspaceId,
        retired: DataKeyId,
        asked_at: Timestamp,
    ) -> Result<()> {
        self.ring.rotate(workspace, retired, asked_at).await
    }

    /// Wraps a data key again, under the current key-encryption key.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE, or INTERNAL where the key provider fails.
    pub async fn rewrap(&self, key: &WrappedDataKey, asked_at: Timestamp) -> Result<()> {
        self.ring.rewrap(key, asked_at).await
    }

    /// The id of the key-encryption key that wraps now.
    ///
    /// # Errors
    /// INTERNAL where the key provider fails.
    pub async fn current_kek_id(&self) -> Result<String> {
        self.ring.current_kek_id().await
    }
}

fn count(operation: &'static str) {
    metrics::counter!("vault_operations_total", "operation" => operation).increment(1);
}
