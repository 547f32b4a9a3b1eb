//! The data keys that are unwrapped in this process, and their lives: made at
//! first use, counted, retired, wrapped again.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, Ordering},
    },
};

use aes_gcm::{Aes256Gcm, KeyInit};
use secrecy::{ExposeSecret, SecretBox};
use zeroize::Zeroizing;

use super::kms::{KeyProvider, WrapContext};
use crate::domain::{
    Timestamp,
    ambient::Ambient,
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    sealed::{DataKeyStore, SEALS_AT_MOST, WrappedDataKey},
};

pub(super) type DataKey = Arc<Aes256Gcm>;

/// How many uses a process reserves at once. What it has not used when it ends
/// is lost: 32,768 reservations are what a key has.
const SEALS_RESERVED: i64 = 1 << 16;

/// What one exchange with a provider may need, and more.
const SEALS_AT_HAND: i64 = 64;

/// A key that seals, and how often this process may still use it without
/// asking.
struct Active {
    id: DataKeyId,
    seals_left: AtomicI64,
}

/// Data keys, unwrapped.
pub(super) struct KeyRing {
    keys: Arc<dyn KeyProvider>,
    store: Arc<dyn DataKeyStore>,
    ambient: Ambient,
    unwrapped: RwLock<HashMap<(WorkspaceId, DataKeyId), DataKey>>,
    active: RwLock<HashMap<WorkspaceId, Arc<Active>>>,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl KeyRing {
    pub(super) fn new(
        keys: Arc<dyn KeyProvider>,
        store: Arc<dyn DataKeyStore>,
        ambient: Ambient,
    ) -> Self {
        Self {
            keys,
            store,
            ambient,
            unwrapped: RwLock::default(),
            active: RwLock::default(),
        }
    }

    /// The key that a workspace seals with, for one use.
    pub(super) async fn active(&self, workspace: WorkspaceId) -> Result<(DataKeyId, DataKey)> {
        // A key may be retired between two of these steps; hardly ever twice.
        for _ in 0..5 {
            let known = read(&self.active).get(&workspace).cloned();
            let active = match known {
                Some(active) => active,
                None => self.learn_active(workspace).await?,
            };
            if self.use_once(workspace, &active).await? {
                return Ok((active.id, self.key(workspace, active.id).await?));
            }
            self.forget_active(workspace);
        }
        Err(Error::store_unavailable(
            "the workspace's data key keeps being rotated",
        ))
    }

    /// Sees to it that the next seals need no database.
    pub(super) async fn warm(&self, workspace: WorkspaceId) -> Result<()> {
        let (id, _) = self.active(workspace).await?;
        let active = read(&self.active).get(&workspace).cloned();
        if let Some(active) = active
            && active.seals_left.load(Ordering::Relaxed) < SEALS_AT_HAND
            && active.id == id
        {
            self.reserve(workspace, &active).await?;
        }
        Ok(())
    }

    async fn learn_active(&self, workspace: WorkspaceId) -> Result<Arc<Active>> {
        let wrapped = self.stored_active(workspace).await?;
        self.remember(&wrapped).await?;
        let active = Arc::new(Active {
            id: wrapped.data_key_id,
            seals_left: AtomicI64::new(0),
        });
        write(&self.active).insert(workspace, active.clone());
        Ok(active)
    }

    /// A workspace's active key, as it is stored; made at first use.
    async fn stored_active(&self, workspace: WorkspaceId) -> Result<WrappedDataKey> {
        match self.store.active_data_key(workspace).await? {
            Some(wrapped) => Ok(wrapped),
            None => {
                let new = self.new_key(workspace, self.ambient.now()).await?;
                self.store.insert_data_key(&new).await
            }
        }
    }

    /// The secret of a workspace's active key, for another use than sealing.
    pub(super) async fn secret(
        &self,
        workspace: WorkspaceId,
    ) -> Result<(DataKeyId, SecretBox<[u8; 32]>)> {
        let wrapped = self.stored_active(workspace).await?;
        Ok((wrapped.data_key_id, self.open(&wrapped).await?))
    }

    /// A wrapped key's secret.
    pub(super) async fn open(&self, wrapped: &WrappedDataKey) -> Result<SecretBox<[u8; 32]>> {
        let context = WrapContext::of(wrapped);
        self.keys
            .unwrap(&wrapped.kek_id, &wrapped.wrapped, &context)
            .await
    }

    /// Takes one of the reserved uses; false where the key is retired.
    async fn use_once(&self, workspace: WorkspaceId, active: &Active) -> Result<bool> {
        let take = |left: i64| (left > 0).then(|| left - 1);
        let mut taken = active
            .seals_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        while taken.is_err() {
            if !self.reserve(workspace, active).await? {
                return Ok(false);
            }
            taken = active
                .seals_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        }
        Ok(true)
    }

    /// Reserves more uses; false where the key is retired.
    async fn reserve(&self, workspace: WorkspaceId, active: &Active) -> Result<bool> {
        let reserved = self
            .store
            .reserve_seals(workspace, active.id, SEALS_RESERVED)
            .await?;
        let Some(reserved) = reserved else {
            return Ok(false);
        };
        if reserved > SEALS_AT_MOST {
            return Err(Error::internal(
                "the workspace's data key has sealed as often as it may, and was not rotated",
            ));
        }
        active
            .seals_left
            .fetch_add(SEALS_RESERVED, Ordering::Relaxed);
        Ok(true)
    }

    /// Any key, to open with.
    pub(super) async fn key(&self, workspace: WorkspaceId, id: DataKeyId) -> Result<DataKey> {
        if let Some(key) = read(&self.unwrapped).get(&(workspace, id)).cloned() {
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

    pub(super) async fn check(&self) -> Result<()> {
        for key in self.store.data_key_of_each_kek().await? {
            self.unwrap(&key).await?;
        }
        Ok(())
    }

    pub(super) fn forget(&self, workspace: WorkspaceId) {
        self.forget_active(workspace);
        write(&self.unwrapped).retain(|key, _| key.0 != workspace);
    }

    pub(super) fn forget_active(&self, workspace: WorkspaceId) {
        write(&self.active).remove(&workspace);
    }

    pub(super) async fn follow(&self) -> Result<()> {
        let known: Vec<(WorkspaceId, DataKeyId)> = read(&self.unwrapped).keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let living = self.store.living_data_keys(&known).await?;
        let there: HashSet<_> = living.iter().map(|key| (key.0, key.1)).collect();
        let active: HashSet<_> = living
            .iter()
            .filter(|key| key.2)
            .map(|key| (key.0, key.1))
            .collect();
        let known: HashSet<_> = known.into_iter().collect();
        // What was learned while the store was asked stays.
        write(&self.unwrapped).retain(|key, _| there.contains(key) || !known.contains(key));
        write(&self.active).retain(|workspace, key| {
            let key = (*workspace, key.id);
            active.contains(&key) || !known.contains(&key)
        });
        Ok(())
    }

    pub(super) async fn rotate(
        &self,
        workspace: WorkspaceId,
        retired: DataKeyId,
        asked_at: Timestamp,
    ) -> Result<()> {
        let created_at = self.younger_than(asked_at);
        let new = self.new_key(workspace, created_at).await?;
        self.store.replace_data_key(retired, &new).await?;
        self.forget_active(workspace);
        Ok(())
    }

    pub(super) async fn rewrap(&self, key: &WrappedDataKey, asked_at: Timestamp) -> Result<()> {
        let context = WrapContext::of(key);
        let opened = self
            .keys
            .unwrap(&key.kek_id, &key.wrapped, &context)
            .await?;
        let wrapped = self.keys.wrap(opened.expose_secret(), &context).await?;
        let after = WrappedDataKey {
            kek_id: wrapped.kek_id,
            wrapped: wrapped.bytes,
            ..key.clone()
        };
        // What is stored from now on is all that opens the workspace.
        self.unwrap(&after).await?;
        let at = self.younger_than(asked_at);
        self.store.rewrap_data_key(key, &after, at).await?;
        Ok(())
    }

    pub(super) async fn current_kek_id(&self) -> Result<String> {
        self.keys.current_kek_id().await
    }

    /// Now; but whoever asked may have a faster clock, and a key that does not
    /// look younger than its rotation would be rotated again.
    fn younger_than(&self, asked_at: Timestamp) -> Timestamp {
        self.ambient
            .now()
            .max(asked_at + chrono::TimeDelta::microseconds(1))
    }

    async fn new_key(
        &self,
        workspace_id: WorkspaceId,
        created_at: Timestamp,
    ) -> Result<WrappedDataKey> {
        let data_key_id = DataKeyId(self.ambient.id());
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(self.ambient.bytes());
        let context = WrapContext {
            workspace_id,
            data_key_id,
        };
        let wrapped = self.keys.wrap(&key, &context).await?;
        Ok(WrappedDataKey {
            workspace_id,
            data_key_id,
            kek_id: wrapped.kek_id,
            wrapped: wrapped.bytes,
            created_at,
        })
    }

    async fn remember(&self, wrapped: &WrappedDataKey) -> Result<DataKey> {
        let id = (wrapped.workspace_id, wrapped.data_key_id);
        if let Some(key) = read(&self.unwrapped).get(&id).cloned() {
            return Ok(key);
        }
        let key = self.unwrap(wrapped).await?;
        write(&self.unwrapped).insert(id, key.clone());
        Ok(key)
    }

    async fn unwrap(&self, wrapped: &WrappedDataKey) -> Result<DataKey> {
        let key = self.open(wrapped).await?;
        Ok(Arc::new(Aes256Gcm::new(key.expose_secret().into())))
    }
}
