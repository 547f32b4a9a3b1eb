//! One rotation, from where it is to its end. Whatever ends it in between — a
//! lost database, a killed broker — leaves nothing to mend: what is left to do
//! is read from the keys and the rows themselves.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::{
        error::{Error, ErrorKind, Result},
        id::{DataKeyId, WorkspaceId},
        keys::{KeyRotation, Progress, RotationTarget},
        sealed::{SEALED_COLUMNS, SealedColumn},
    },
    flow::Core,
    store::{Reseal, SealedRow},
};

/// Rows that are encrypted again in one statement.
const BATCH: i64 = 100;
/// After each batch the job rests this many times as long as the batch took.
/// What the database needs for serving makes a batch slower, and the rest
/// longer: serving comes first.
const REST: u32 = 3;

/// Works on the oldest rotation that nobody works on; false where there is none.
pub(super) async fn run_next(core: &Core) -> Result<bool> {
    let claimed = core
        .store
        .claim_rotation(core.owner, core.ambient.now())
        .await?;
    let Some(rotation) = claimed else {
        return Ok(false);
    };
    tracing::info!(rotation = %rotation.id, target = rotation.target.as_str(), "a key rotation begins, or goes on");
    let mut job = Job {
        core,
        progress: rotation.progress,
        rotation,
    };
    let outcome = match job.rotation.target {
        RotationTarget::DataKeys => job.rotate_data_keys().await,
        RotationTarget::KeyEncryptionKey => job.rewrap().await,
    };
    let finished = match &outcome {
        Ok(true) => Some(core.ambient.now()),
        // Another broker has taken it over.
        Ok(false) => return Ok(true),
        Err(_) => None,
    };
    core.store
        .release_rotation(job.rotation.id, core.owner, job.progress, finished)
        .await?;
    outcome?;
    let Progress { done, failed, .. } = job.progress;
    tracing::info!(rotation = %job.rotation.id, done, failed, "a key rotation has ended");
    Ok(true)
}

struct Job<'a> {
    core: &'a Core,
    rotation: KeyRotation,
    progress: Progress,
}

impl Job<'_> {
    /// Records the progress; false where another broker has taken the job.
    async fn advance(&self) -> Result<bool> {
        let Core { store, owner, .. } = self.core;
        store
            .advance_rotation(
                self.rotation.id,
                *owner,
                self.progress,
                self.core.ambient.now(),
            )
            .await
    }

    /// Goes on where `left` are left to do: what was done is the rest, whatever
    /// a killed broker could still record. What did not open is tried again.
    fn resume(&mut self, left: i64) {
        let total = self.progress.total.max(left);
        self.progress = Progress {
            total,
            done: total - left,
            failed: 0,
        };
    }

    /// New keys first, for everybody; then what is stored follows. False where
    /// another broker has taken the job.
    async fn rotate_data_keys(&mut self) -> Result<bool> {
        let Core { store, vault, .. } = self.core;
        let (workspace, asked_at) = (self.rotation.workspace_id, self.rotation.created_at);
        loop {
            let keys = store
                .data_keys_to_replace(workspace, asked_at, BATCH)
                .await?;
            if keys.is_empty() {
                break;
            }
            for (workspace, retired) in keys {
                vault.rotate(workspace, retired, asked_at).await?;
            }
            if !self.advance().await? {
                return Ok(false);
            }
        }
        let mut retired: BTreeMap<WorkspaceId, Vec<DataKeyId>> = BTreeMap::new();
        for (workspace, key) in store.retired_data_keys(workspace).await? {
            retired.entry(workspace).or_default().push(key);
        }
        let mut left = 0;
        for (workspace, keys) in &retired {
            let counts = store.count_sealed_rows(*workspace, keys).await?;
            left += counts.iter().map(|count| count.1).sum::<i64>();
            if !self.advance().await? {
                return Ok(false);
            }
        }
        self.resume(left);
        for (workspace, keys) in &retired {
            for column in SEALED_COLUMNS {
                if !self.encrypt_again(column, *workspace, keys).await? {
                    return Ok(false);
                }
            }
            for (key, left) in store.count_sealed_rows(*workspace, keys).await? {
                if left == 0 {
                    store
                        .mark_emptied(*workspace, key, self.core.ambient.now())
                        .await?;
                }
            }
        }
        // Rows that went away meanwhile leave nothing to do.
        self.progress.total = self.progress.done;
        Ok(true)
    }

    async fn encrypt_again(
        &mut self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        keys: &[DataKeyId],
    ) -> Result<bool> {
        let mut after = None;
        loop {
            let began = Instant::now();
            let rows = self
                .core
                .store
                .sealed_rows(column, workspace, keys, after, BATCH)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(true);
            };
            after = Some(last.row);
            self.swap(column, workspace, rows).await?;
            if !self.advance().await? {
                return Ok(false);
            }
            rest(began.elapsed()).await;
        }
    }

    async fn swap(
        &mut self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        rows: Vec<SealedRow>,
    ) -> Result<()> {
        let Core { store, vault, .. } = self.core;
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let (failed, swapped) = with_active_key!(self.core, workspace, async {
            let mut failed = 0;
            let mut reseals = vec![];
            for row in &rows {
                let place = column.place(workspace, row.row, row.generation);
                match vault.reseal(&place, &row.sealed).await {
                    Ok(sealed) => reseals.push(Reseal {
                        read: row.clone(),
                        sealed,
                    }),
                    Err(error) if error.kind == ErrorKind::Internal => {
                        tracing::error!(table = column.table, row = %row.row, cause = ?error.cause, "a ciphertext does not open; it stays as it is");
                        failed += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            let swapped = store.reseal(column, workspace, reseals).await?;
            Ok::<_, Error>((failed, swapped))
        }
        .await)?;
        // Of the others somebody has stored something newer, under a newer key.
        metrics::counter!("key_rotation_rows_total").increment(swapped as u64);
        self.progress.done += count;
        self.progress.failed += failed;
        Ok(())
    }

    /// Wraps every data key again that was wrapped before the rotation was
    /// asked for. False where another broker has taken the job.
    async fn rewrap(&mut self) -> Result<bool> {
        let Core { store, vault, .. } = self.core;
        let asked_at = self.rotation.created_at;
        let current = vault.current_kek_id().await?;
        self.resume(store.count_data_keys_to_rewrap(&current, asked_at).await?);
        let mut after = None;
        loop {
            let began = Instant::now();
            let keys = store
                .data_keys_to_rewrap(&current, asked_at, after, BATCH)
                .await?;
            let Some(last) = keys.last() else {
                return Ok(true);
            };
            after = Some(last.data_key_id);
            for key in &keys {
                match vault.rewrap(key, asked_at).await {
                    Ok(()) => {}
                    Err(error) if error.kind == ErrorKind::Internal => {
                        tracing::error!(data_key = %key.data_key_id, cause = ?error.cause, "a data key can't be wrapped again; it stays as it is");
                        self.progress.failed += 1;
                    }
                    Err(error) => return Err(error),
                }
                self.progress.done += 1;
            }
            if !self.advance().await? {
                return Ok(false);
            }
            rest(began.elapsed()).await;
        }
    }
}

async fn rest(worked: Duration) {
    tokio::time::sleep(worked * REST).await;
}
