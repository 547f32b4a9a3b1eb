//! Rotations of keys.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::{Conn, Db, types::DbId};
use super::rows::{DataKeyRow, impossible, to_u32};
use super::schema::{data_keys, key_rotations};
use super::sealed_columns::{CompareAndSwap, CountByKey, NextRows, UnderKeys};
use super::{SqlStore, audit};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    keys::{DataKey, KeyRotation, Progress, RotationTarget},
    page::PageRequest,
    sealed::{SEALED_COLUMNS, Sealed, SealedColumn, WrappedDataKey},
};
use crate::store::{KeyRotationStore, Reseal, SealedRow};

#[derive(Queryable, Selectable)]
#[diesel(table_name = data_keys, check_for_backend(Db))]
struct DataKeyInfoRow {
    workspace_id: DbId,
    data_key_id: DbId,
    kek_id: String,
    active: bool,
    created_at: Timestamp,
    seals: i64,
    wrapped_at: Option<Timestamp>,
    emptied_at: Option<Timestamp>,
}

impl From<DataKeyInfoRow> for DataKey {
    fn from(row: DataKeyInfoRow) -> Self {
        Self {
            id: DataKeyId(row.data_key_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            kek_id: row.kek_id,
            active: row.active,
            created_at: row.created_at,
            wrapped_at: row.wrapped_at.unwrap_or(row.created_at),
            seals: row.seals,
            emptied_at: row.emptied_at,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = key_rotations, check_for_backend(Db))]
struct RotationRow {
    key_rotation_id: DbId,
    target: String,
    workspace_id: Option<DbId>,
    total: i64,
    done: i64,
    failed: i64,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl From<&KeyRotation> for RotationRow {
    fn from(rotation: &KeyRotation) -> Self {
        Self {
            key_rotation_id: DbId(rotation.id),
            target: rotation.target.as_str().to_owned(),
            workspace_id: rotation.workspace_id.map(|id| DbId(id.0)),
            total: rotation.progress.total,
            done: rotation.progress.done,
            failed: rotation.progress.failed,
            created_at: rotation.created_at,
            started_at: rotation.started_at,
            finished_at: rotation.finished_at,
        }
    }
}

impl TryFrom<RotationRow> for KeyRotation {
    type Error = Error;
    fn try_from(row: RotationRow) -> Result<Self> {
        Ok(Self {
            id: row.key_rotation_id.0,
            target: RotationTarget::parse(&row.target)
                .ok_or_else(|| impossible("a rotation's target"))?,
            workspace_id: row.workspace_id.map(|id| WorkspaceId(id.0)),
            progress: Progress {
                total: row.total,
                done: row.done,
                failed: row.failed,
            },
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

fn named(keys: Vec<(DbId, DbId)>) -> Vec<(WorkspaceId, DataKeyId)> {
    keys.into_iter()
        .map(|(workspace, id)| (WorkspaceId(workspace.0), DataKeyId(id.0)))
        .collect()
}

fn under<'a>(
    column: &'a SealedColumn,
    workspace: WorkspaceId,
    keys: &[DataKeyId],
) -> UnderKeys<'a> {
    UnderKeys {
        column,
        workspace: DbId(workspace.0),
        keys: keys.iter().map(|key| key.0.as_bytes().to_vec()).collect(),
    }
}

/// Data keys that were wrapped no later than a time.
macro_rules! wrapped_until {
    ($asked_at:expr) => {
        data_keys::wrapped_at
            .is_null()
            .and(data_keys::created_at.le($asked_at))
            .or(data_keys::wrapped_at
                .is_not_null()
                .and(data_keys::wrapped_at.assume_not_null().le($asked_at)))
    };
}

#[async_trait]
impl KeyRotationStore for SqlStore {
    async fn data_keys(
        &self,
        workspace: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Vec<DataKey>> {
        let mut query = data_keys::table
            .order(data_keys::data_key_id)
            .limit(page.limit())
            .select(DataKeyInfoRow::as_select())
            .into_boxed();
        if let Some(workspace) = workspace {
            query = query.filter(data_keys::workspace_id.eq(DbId(workspace.0)));
        }
        if let Some(after) = page.after {
            query = query.filter(data_keys::data_key_id.gt(DbId(after)));
        }
        let rows: Vec<DataKeyInfoRow> = query.load(&mut self.connection_from_pool().await?).await?;
        Ok(rows.into_iter().map(DataKey::from).collect())
    }

    async fn count_by_kek(&self) -> Result<Vec<(String, i64)>> {
        let rows = data_keys::table
            .group_by(data_keys::kek_id)
            .order(data_keys::kek_id)
            .select((data_keys::kek_id, diesel::dsl::count_star()))
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(rows)
    }

    async fn worn_data_keys(&self, seals: i64) -> Result<Vec<(WorkspaceId, DataKeyId)>> {
        let rows = data_keys::table
            .filter(data_keys::active.eq(true))
            .filter(data_keys::seals.ge(seals))
            .select((data_keys::workspace_id, data_keys::data_key_id))
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(named(rows))
    }

    async fn insert_rotation(&self, new: &KeyRotation, event: AuditEvent) -> Result<KeyRotation> {
        let row = RotationRow::from(new);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<KeyRotation> {
            let unfinished: Vec<RotationRow> = key_rotations::table
                .filter(key_rotations::finished_at.is_null())
                .filter(key_rotations::target.eq(row.target.clone()))
                .select(RotationRow::as_select())
                .load(tx)
                .await?;
            let same = unfinished
                .into_iter()
                .find(|found| found.workspace_id == row.workspace_id);
            if let Some(same) = same {
                return KeyRotation::try_from(same);
            }
            diesel::insert_into(key_rotations::table)
                .values(&row)
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(new.clone())
        })
    }

    async fn rotations(&self, limit: i64) -> Result<Vec<KeyRotation>> {
        let rows: Vec<RotationRow> = key_rotations::table
            .order(key_rotations::key_rotation_id.desc())
            .limit(limit)
            .select(RotationRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        rows.into_iter().map(KeyRotation::try_from).collect()
    }

    async fn claim_rotation(&self, owner: Uuid, at: Timestamp) -> Result<Option<KeyRotation>> {
        let (now, _) = lease_clock!(at);
        let mut connection = self.connection_from_pool().await?;
        let free = key_rotations::table
            .filter(key_rotations::finished_at.is_null())
            .filter(
                key_rotations::lease_until
                    .is_null()
                    .or(key_rotations::lease_until.assume_not_null().le(now)),
            )
            .order(key_rotations::key_rotation_id)
            .select(RotationRow::as_select());
        let found: Option<RotationRow> = free.first(&mut connection).await.optional()?;
        let Some(mut found) = found else {
            return Ok(None);
        };
        found.started_at = found.started_at.or(Some(at));
        let (now, until) = lease_clock!(at);
        let still_free = key_rotations::table
            .find(found.key_rotation_id)
            .filter(key_rotations::finished_at.is_null())
            .filter(
                key_rotations::lease_until
                    .is_null()
                    .or(key_rotations::lease_until.assume_not_null().le(now)),
            );
        let claimed = diesel::update(still_free)
            .set((
                key_rotations::lease_owner.eq(DbId(owner)),
                key_rotations::lease_until.eq(until),
                key_rotations::started_at.eq(found.started_at),
            ))
            .execute(&mut connection)
            .await?;
        if claimed == 0 {
            return Ok(None);
        }
        KeyRotation::try_from(found).map(Some)
    }

    async fn advance_rotation(
        &self,
        id: Uuid,
        owner: Uuid,
        progress: Progress,
        at: Timestamp,
    ) -> Result<bool> {
        let (_, until) = lease_clock!(at);
        let ours = key_rotations::table
            .find(DbId(id))
            .filter(key_rotations::finished_at.is_null())
            .filter(key_rotations::lease_owner.eq(Some(DbId(owner))));
        let advanced = diesel::update(ours)
            .set((
                key_rotations::total.eq(progress.total),
                key_rotations::done.eq(progress.done),
                key_rotations::failed.eq(progress.failed),
                key_rotations::lease_until.eq(until),
            ))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(advanced == 1)
    }

    async fn release_rotation(
        &self,
        id: Uuid,
        owner: Uuid,
        progress: Progress,
        finished: Option<Timestamp>,
    ) -> Result<()> {
        let ours = key_rotations::table
            .find(DbId(id))
            .filter(key_rotations::finished_at.is_null())
            .filter(key_rotations::lease_owner.eq(Some(DbId(owner))));
        diesel::update(ours)
            .set((
                key_rotations::total.eq(progress.total),
                key_rotations::done.eq(progress.done),
                key_rotations::failed.eq(progress.failed),
                key_rotations::finished_at.eq(finished),
                key_rotations::lease_owner.eq(None::<DbId>),
                key_rotations::lease_until.eq(None::<Timestamp>),
            ))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn data_keys_to_replace(
        &self,
        workspace: Option<WorkspaceId>,
        asked_at: Timestamp,
        limit: i64,
    ) -> Result<Vec<(WorkspaceId, DataKeyId)>> {
        let mut query = data_keys::table
            .filter(data_keys::active.eq(true))
            .filter(data_keys::created_at.le(asked_at))
            .order(data_keys::workspace_id)
            .limit(limit)
            .select((data_keys::workspace_id, data_keys::data_key_id))
            .into_boxed();
        if let Some(workspace) = workspace {
            query = query.filter(data_keys::workspace_id.eq(DbId(workspace.0)));
        }
        Ok(named(
            query.load(&mut self.connection_from_pool().await?).await?,
        ))
    }

    async fn data_keys_to_rewrap(
        &self,
        current: &str,
        asked_at: Timestamp,
        after: Option<DataKeyId>,
        limit: i64,
    ) -> Result<Vec<WrappedDataKey>> {
        let mut query = data_keys::table
            .filter(data_keys::kek_id.ne(current).or(wrapped_until!(asked_at)))
            .order(data_keys::data_key_id)
            .limit(limit)
            .select(DataKeyRow::as_select())
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(data_keys::data_key_id.gt(DbId(after.0)));
        }
        let rows: Vec<DataKeyRow> = query.load(&mut self.connection_from_pool().await?).await?;
        Ok(rows.into_iter().map(WrappedDataKey::from).collect())
    }

    async fn count_data_keys_to_rewrap(&self, current: &str, asked_at: Timestamp) -> Result<i64> {
        let count = data_keys::table
            .filter(data_keys::kek_id.ne(current).or(wrapped_until!(asked_at)))
            .count()
            .get_result(&mut self.connection_from_pool().await?)
            .await?;
        Ok(count)
    }

    async fn retired_data_keys(
        &self,
        workspace: Option<WorkspaceId>,
    ) -> Result<Vec<(WorkspaceId, DataKeyId)>> {
        let mut query = data_keys::table
            .filter(data_keys::active.eq(false))
            .filter(data_keys::emptied_at.is_null())
            .order((data_keys::workspace_id, data_keys::data_key_id))
            .select((data_keys::workspace_id, data_keys::data_key_id))
            .into_boxed();
        if let Some(workspace) = workspace {
            query = query.filter(data_keys::workspace_id.eq(DbId(workspace.0)));
        }
        Ok(named(
            query.load(&mut self.connection_from_pool().await?).await?,
        ))
    }

    async fn count_sealed_rows(
        &self,
        workspace: WorkspaceId,
        keys: &[DataKeyId],
    ) -> Result<Vec<(DataKeyId, i64)>> {
        let mut counts: Vec<(DataKeyId, i64)> = keys.iter().map(|key| (*key, 0)).collect();
        if keys.is_empty() {
            return Ok(counts);
        }
        let mut connection = self.connection_from_pool().await?;
        for column in SEALED_COLUMNS {
            let query = CountByKey(under(column, workspace, keys));
            let found: Vec<(Vec<u8>, i64)> = query.load(&mut connection).await?;
            for (key, count) in found {
                let of_key = counts
                    .iter_mut()
                    .find(|known| known.0.0.as_bytes()[..] == key[..]);
                if let Some(of_key) = of_key {
                    of_key.1 += count;
                }
            }
        }
        Ok(counts)
    }

    async fn sealed_rows(
        &self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        keys: &[DataKeyId],
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<SealedRow>> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let query = NextRows {
            under: under(column, workspace, keys),
            after: after.map(DbId),
            limit,
        };
        let rows: Vec<(DbId, i64, Vec<u8>)> =
            query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter()
            .map(|(row, generation, sealed)| {
                Ok(SealedRow {
                    row: row.0,
                    generation: to_u32(generation)?,
                    sealed: Sealed(sealed),
                })
            })
            .collect()
    }

    async fn reseal(
        &self,
        column: &SealedColumn,
        workspace: WorkspaceId,
        rows: Vec<Reseal>,
    ) -> Result<usize> {
        if rows.is_empty() {
            return Ok(0);
        }
        let swap = CompareAndSwap::new(column, DbId(workspace.0), rows);
        let mut connection = self.connection_from_pool().await?;
        Ok(swap.execute(&mut connection).await?)
    }

    async fn mark_emptied(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
        at: Timestamp,
    ) -> Result<()> {
        let retired = data_keys::table
            .find((DbId(workspace.0), DbId(id.0)))
            .filter(data_keys::active.eq(false));
        diesel::update(retired)
            .set(data_keys::emptied_at.eq(at))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }
}
