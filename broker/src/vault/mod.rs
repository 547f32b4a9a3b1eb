//! Envelope encryption: a key provider's key-encryption key wraps one data key
//! per workspace, which seals with AES-256-GCM. What is sealed opens only in
//! the place it was sealed for.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use secrecy::{ExposeSecret, SecretSlice};
use zeroize::Zeroizing;

use crate::domain::{
    ambient::Ambient,
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    sealed::{DataKeyStore, Place, Sealed, WrappedDataKey},
};

mod aad;
mod format;
pub mod kms;

use format::Envelope;
use kms::KeyProvider;

type DataKey = Arc<Aes256Gcm>;

/// Seals and opens. Unwrapped data keys stay in memory only.
pub struct Vault {
    keys: Arc<dyn KeyProvider>,
    store: Arc<dyn DataKeyStore>,
    ambient: Ambient,
    unwrapped: RwLock<HashMap<(WorkspaceId, DataKeyId), DataKey>>,
    active: RwLock<HashMap<WorkspaceId, DataKeyId>>,
}

impl Vault {
    /// A vault over a key provider and the wrapped data keys.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyProvider>, store: Arc<dyn DataKeyStore>, ambient: Ambient) -> Self {
        Self {
            keys,
            store,
            ambient,
            unwrapped: RwLock::default(),
            active: RwLock::default(),
        }
    }

    /// Seals a secret for a place, with the workspace's active data key, which
    /// is made at first use.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE, or INTERNAL where the key provider fails.
    pub async fn seal(&self, place: &Place, secret: &[u8]) -> Result<Sealed> {
        let (data_key_id, data_key) = self.active_key(place.workspace_id).await?;
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
        self.active_key(workspace).await.map(drop)
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
        let data_key = self.key(place.workspace_id, envelope.data_key_id).await?;
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

    /// Whether the key provider can unwrap what the store holds; to be asked
    /// at start.
    ///
    /// # Errors
    /// The key provider's words on why not.
    pub async fn check(&self) -> Result<()> {
        match self.store.any_data_key().await? {
            Some(key) => self.unwrap(&key).await.map(drop),
            None => Ok(()),
        }
    }

    /// Forgets a deleted workspace's keys.
    pub fn forget(&self, workspace: WorkspaceId) {
        self.active
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&workspace);
        self.unwrapped
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|key, _| key.0 != workspace);
    }

    async fn active_key(&self, workspace: WorkspaceId) -> Result<(DataKeyId, DataKey)> {
        let known = self
            .active
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&workspace)
            .copied();
        if let Some(id) = known {
            return Ok((id, self.key(workspace, id).await?));
        }
        let wrapped = match self.store.active_data_key(workspace).await? {
            Some(wrapped) => wrapped,
            None => {
                self.store
                    .insert_data_key(&self.new_key(workspace).await?)
                    .await?
            }
        };
        let id = wrapped.data_key_id;
        let key = self.remember(&wrapped).await?;
        self.active
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(workspace, id);
        Ok((id, key))
    }

    async fn new_key(&self, workspace: WorkspaceId) -> Result<WrappedDataKey> {
        let data_key_id = DataKeyId(self.ambient.id());
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(self.ambient.bytes());
        let wrapped = self
            .keys
            .wrap(&key, &aad::of_data_key(workspace, data_key_id))
            .await?;
        Ok(WrappedDataKey {
            workspace_id: workspace,
            data_key_id,
            kek_id: wrapped.kek_id,
            wrapped: wrapped.bytes,
            created_at: self.ambient.now(),
        })
    }

    async fn key(&self, workspace: WorkspaceId, id: DataKeyId) -> Result<DataKey> {
        let known = self
            .unwrapped
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(workspace, id))
            .cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let wrapped = self.store.data_key(workspace, id).await?;
        self.remember(
            &wrapped.ok_or_else(|| {
                Error::internal("a ciphertext names a data key that is not there")
            })?,
        )
        .await
    }

    async fn remember(&self, wrapped: &WrappedDataKey) -> Result<DataKey> {
        let key = self.unwrap(wrapped).await?;
        self.unwrapped
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((wrapped.workspace_id, wrapped.data_key_id), key.clone());
        Ok(key)
    }

    async fn unwrap(&self, wrapped: &WrappedDataKey) -> Result<DataKey> {
        let context = aad::of_data_key(wrapped.workspace_id, wrapped.data_key_id);
        let key = self
            .keys
            .unwrap(&wrapped.kek_id, &wrapped.wrapped, &context)
            .await?;
        Ok(Arc::new(Aes256Gcm::new(key.expose_secret().into())))
    }
}

fn count(operation: &'static str) {
    metrics::counter!("vault_operations_total", "operation" => operation).increment(1);
}
