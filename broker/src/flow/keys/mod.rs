//! Keys: what an operator sees of them, and their rotation while everything
//! goes on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{Core, workspaces};
use crate::domain::{
    access::Caller,
    audit::{Action, Actor, AuditEvent},
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    keys::{DataKey, KeyRotation, Progress, RotationTarget},
    page::{Page, PageRequest},
    sealed::SEALS_UNTIL_RETIREMENT,
};

mod job;

/// How soon a broker hears of keys that others rotated or dropped. A key of a
/// deleted workspace is in no broker's memory 5 s later.
const FOLLOW: Duration = Duration::from_secs(2);
/// How often a broker looks for rotations that nobody works on.
const LOOK: Duration = Duration::from_secs(5);
/// Rotations that a list shows.
const SHOWN: i64 = 20;

/// Wakes the worker when a rotation was asked for here.
#[derive(Default)]
pub struct Rotations(Notify);

/// A key-encryption key that wraps data keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kek {
    /// Its id.
    pub id: String,
    /// Whether new data keys are wrapped under it.
    pub current: bool,
    /// How many data keys it wraps.
    pub data_keys: i64,
}

/// What an operator sees.
#[derive(Debug)]
pub struct Keys {
    /// The key-encryption keys in use.
    pub keks: Vec<Kek>,
    /// Data keys, each with the number of ciphertexts left to encrypt again.
    pub data_keys: Page<(DataKey, i64)>,
    /// The last rotations, newest first.
    pub rotations: Vec<KeyRotation>,
}

/// Lists keys; data keys of one workspace or of all.
///
/// # Errors
/// STORE_UNAVAILABLE; INTERNAL where the key provider fails.
pub async fn list(core: &Core, workspace: Option<WorkspaceId>, page: PageRequest) -> Result<Keys> {
    let data_keys = page.page(core.store.data_keys(workspace, page).await?, |key| key.id.0);
    // Only what is retired and not known to be empty has to be counted.
    let mut to_count: HashMap<WorkspaceId, Vec<DataKeyId>> = HashMap::new();
    for key in &data_keys.items {
        if !key.active && key.emptied_at.is_none() {
            to_count.entry(key.workspace_id).or_default().push(key.id);
        }
    }
    let mut left = HashMap::new();
    for (workspace, keys) in &to_count {
        left.extend(core.store.count_sealed_rows(*workspace, keys).await?);
    }
    let current = core.vault.current_kek_id().await?;
    let mut keks: Vec<Kek> = core
        .store
        .count_by_kek()
        .await?
        .into_iter()
        .map(|(id, data_keys)| Kek {
            current: id == current,
            id,
            data_keys,
        })
        .collect();
    if keks.iter().all(|kek| !kek.current) {
        keks.push(Kek {
            id: current,
            current: true,
            data_keys: 0,
        });
    }
    Ok(Keys {
        keks,
        data_keys: Page {
            items: data_keys
                .items
                .into_iter()
                .map(|key| {
                    let left = left.get(&key.id).copied().unwrap_or_default();
                    (key, left)
                })
                .collect(),
            next_page_token: data_keys.next_page_token,
        },
        rotations: core.store.rotations(SHOWN).await?,
    })
}

/// Begins a rotation, and answers it at once; or the one of the same kind that
/// is under way.
///
/// # Errors
/// WORKSPACE_NOT_FOUND, INVALID_ARGUMENT, STORE_UNAVAILABLE.
pub async fn rotate(
    core: &Core,
    caller: &Caller,
    target: RotationTarget,
    workspace: Option<WorkspaceId>,
) -> Result<KeyRotation> {
    if let Some(workspace) = workspace {
        if target == RotationTarget::KeyEncryptionKey {
            return Err(Error::invalid(
                "workspace_id",
                "must be empty: the key-encryption key is everybody's",
            ));
        }
        workspaces::get(core, workspace).await?;
    }
    begin(core, Actor::Caller(caller), target, workspace).await
}

async fn begin(
    core: &Core,
    actor: Actor<'_>,
    target: RotationTarget,
    workspace_id: Option<WorkspaceId>,
) -> Result<KeyRotation> {
    let rotation = KeyRotation {
        id: core.ambient.id(),
        target,
        workspace_id,
        progress: Progress::default(),
        created_at: core.ambient.now(),
        started_at: None,
        finished_at: None,
    };
    let event = AuditEvent::new(&core.ambient, Action::KeysRotationRequested, actor);
    let rotation = core.store.insert_rotation(&rotation, event).await?;
    core.rotations.0.notify_one();
    Ok(rotation)
}

/// Retires data keys long before they have sealed as often as they may.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn retire_worn(core: &Core) -> Result<()> {
    for (workspace, _) in core.store.worn_data_keys(SEALS_UNTIL_RETIREMENT).await? {
        let actor = Actor::Anonymous(workspace, "");
        begin(core, actor, RotationTarget::DataKeys, Some(workspace)).await?;
    }
    Ok(())
}

/// Runs for as long as the broker does.
pub async fn run(core: Arc<Core>) {
    tokio::join!(follow(&core), work(&core));
}

async fn follow(core: &Core) {
    let mut ticks = tokio::time::interval(FOLLOW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = core.vault.follow().await {
            tracing::warn!(cause = ?error.cause, "whether keys were rotated is not known; it is asked again");
        }
    }
}

async fn work(core: &Core) {
    loop {
        match once(core).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(cause = ?error.cause, "a key rotation was interrupted; it goes on soon");
            }
        }
        let _ = tokio::time::timeout(LOOK, core.rotations.0.notified()).await;
    }
}

/// Works on the next rotation until it ends; false where there is none.
///
/// # Errors
/// STORE_UNAVAILABLE, or INTERNAL where the key provider fails; the rotation
/// goes on where it was.
pub async fn once(core: &Core) -> Result<bool> {
    retire_worn(core).await?;
    job::run_next(core).await
}
