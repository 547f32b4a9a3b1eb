//! Wrapped data keys.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::{SqlStore, is_duplicate, rows::DataKeyRow, schema::data_keys};
use crate::domain::{
    Timestamp,
    error::{Error, Result},
    id::{DataKeyId, WorkspaceId},
    sealed::{DataKeyStore, WrappedDataKey},
};

#[async_trait]
impl DataKeyStore for SqlStore {
    async fn active_data_key(&self, workspace: WorkspaceId) -> Result<Option<WrappedDataKey>> {
        let row: Option<DataKeyRow> = data_keys::table
            .filter(data_keys::workspace_id.eq(DbId(workspace.0)))
            .filter(data_keys::active.eq(true))
            .select(DataKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(row.map(WrappedDataKey::from))
    }

    async fn data_key(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
    ) -> Result<Option<WrappedDataKey>> {
        let row: Option<DataKeyRow> = data_keys::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(DataKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(row.map(WrappedDataKey::from))
    }

    async fn insert_data_key(&self, key: &WrappedDataKey) -> Result<WrappedDataKey> {
        let inserted = diesel::insert_into(data_keys::table)
            .values(DataKeyRow::active(key))
            .execute(&mut self.connection_from_pool().await?)
            .await;
        match inserted {
            Ok(_) => Ok(key.clone()),
            // Somebody else was first; theirs is the one.
            Err(error) if is_duplicate(&error) => self
                .active_data_key(key.workspace_id)
                .await?
                .ok_or_else(|| Error::internal("the active data key vanished")),
            Err(error) => Err(error.into()),
        }
    }

    async fn data_key_of_each_kek(&self) -> Result<Vec<WrappedDataKey>> {
        let mut connection = self.connection_from_pool().await?;
        let keks: Vec<String> = data_keys::table
            .select(data_keys::kek_id)
            .distinct()
            .load(&mut connection)
            .await?;
        let mut keys = Vec::with_capacity(keks.len());
        for kek in keks {
            let row: Option<DataKeyRow> = data_keys::table
                .filter(data_keys::kek_id.eq(kek))
                .order(data_keys::created_at.desc())
                .select(DataKeyRow::as_select())
                .first(&mut connection)
                .await
                .optional()?;
            keys.extend(row.map(WrappedDataKey::from));
        }
        Ok(keys)
    }

    async fn any_data_key(&self) -> Result<Option<WrappedDataKey>> {
        let row: Option<DataKeyRow> = data_keys::table
            .order(data_keys::created_at.desc())
            .select(DataKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(row.map(WrappedDataKey::from))
    }

    async fn replace_data_key(&self, retired: DataKeyId, new: &WrappedDataKey) -> Result<bool> {
        let row = DataKeyRow::active(new);
        let active = data_keys::table
            .find((row.workspace_id, DbId(retired.0)))
            .filter(data_keys::active.eq(true));
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // Waits for whoever writes under it: see the triggers.
            let held: Option<DbId> = for_update!(active.select(data_keys::data_key_id))
                .first(tx)
                .await
                .optional()?;
            if held.is_none() {
                return Ok(false);
            }
            diesel::update(active)
                .set(data_keys::active.eq(false))
                .execute(tx)
                .await?;
            diesel::insert_into(data_keys::table)
                .values(&row)
                .execute(tx)
                .await?;
            Ok(true)
        })
    }

    async fn rewrap_data_key(
        &self,
        before: &WrappedDataKey,
        after: &WrappedDataKey,
        at: Timestamp,
    ) -> Result<bool> {
        let unchanged = data_keys::table
            .find((DbId(before.workspace_id.0), DbId(before.data_key_id.0)))
            .filter(data_keys::kek_id.eq(before.kek_id.clone()))
            .filter(data_keys::wrapped.eq(before.wrapped.clone()));
        let rewrapped = diesel::update(unchanged)
            .set((
                data_keys::kek_id.eq(after.kek_id.clone()),
                data_keys::wrapped.eq(after.wrapped.clone()),
                data_keys::wrapped_at.eq(at),
            ))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(rewrapped == 1)
    }

    async fn reserve_seals(
        &self,
        workspace: WorkspaceId,
        id: DataKeyId,
        uses: i64,
    ) -> Result<Option<i64>> {
        let active = data_keys::table
            .find((DbId(workspace.0), DbId(id.0)))
            .filter(data_keys::active.eq(true));
        let reserved = diesel::update(active)
            .set(data_keys::seals.eq(data_keys::seals + uses))
            .returning(data_keys::seals)
            .get_result(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(reserved)
    }

    async fn living_data_keys(
        &self,
        keys: &[(WorkspaceId, DataKeyId)],
    ) -> Result<Vec<(WorkspaceId, DataKeyId, bool)>> {
        let mut living = vec![];
        let mut connection = self.connection_from_pool().await?;
        for some in keys.chunks(500) {
            let ids = some.iter().map(|key| DbId(key.1.0));
            let workspaces = some.iter().map(|key| DbId(key.0.0));
            let found: Vec<(DbId, DbId, bool)> = data_keys::table
                .filter(data_keys::workspace_id.eq_any(workspaces))
                .filter(data_keys::data_key_id.eq_any(ids))
                .select((
                    data_keys::workspace_id,
                    data_keys::data_key_id,
                    data_keys::active,
                ))
                .load(&mut connection)
                .await?;
            living.extend(found.into_iter().map(|(workspace, id, active)| {
                (WorkspaceId(workspace.0), DataKeyId(id.0), active)
            }));
        }
        Ok(living)
    }
}
