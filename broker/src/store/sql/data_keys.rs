//! Wrapped data keys.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::types::DbId;
use super::{SqlStore, is_duplicate, rows::DataKeyRow, schema::data_keys};
use crate::domain::{
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
        let row = DataKeyRow {
            workspace_id: DbId(key.workspace_id.0),
            data_key_id: DbId(key.data_key_id.0),
            kek_id: key.kek_id.clone(),
            wrapped: key.wrapped.clone(),
            active: true,
            created_at: key.created_at,
        };
        let inserted = diesel::insert_into(data_keys::table)
            .values(&row)
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

    async fn any_data_key(&self) -> Result<Option<WrappedDataKey>> {
        let row: Option<DataKeyRow> = data_keys::table
            .order(data_keys::created_at.desc())
            .select(DataKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(row.map(WrappedDataKey::from))
    }
}
