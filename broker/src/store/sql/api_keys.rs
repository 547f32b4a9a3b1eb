//! API keys.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::schema::{api_keys, taken_once, workspaces};
use super::{SqlStore, audit, rows::ApiKeyRow};
use crate::domain::{
    Timestamp,
    access::{ApiKey, KeyHash},
    audit::AuditEvent,
    error::Result,
    id::{ApiKeyId, WorkspaceId},
    page::PageRequest,
};
use crate::store::ApiKeyStore;

const BOOTSTRAP: &str = "bootstrap_admin_key";

#[async_trait]
impl ApiKeyStore for SqlStore {
    async fn insert_api_key(&self, key: &ApiKey, hash: KeyHash, event: AuditEvent) -> Result<bool> {
        let row = ApiKeyRow::new(key, hash.0);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // Locked, so that the workspace can't go before its new key is in.
            let workspace: Option<DbId> = for_update!(
                workspaces::table
                    .find(row.workspace_id)
                    .filter(workspaces::deleted_at.is_null())
                    .select(workspaces::workspace_id)
            )
            .first(tx)
            .await
            .optional()?;
            if workspace.is_none() {
                return Ok(false);
            }
            diesel::insert_into(api_keys::table)
                .values(&row)
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn take_bootstrap_key(
        &self,
        key: &ApiKey,
        hash: KeyHash,
        event: AuditEvent,
    ) -> Result<bool> {
        let row = ApiKeyRow::new(key, hash.0);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let taken = diesel::insert_into(taken_once::table)
                .values((
                    taken_once::name.eq(BOOTSTRAP),
                    taken_once::taken_at.eq(row.created_at),
                ))
                .on_conflict_do_nothing()
                .execute(tx)
                .await?;
            let keys: i64 = api_keys::table.count().get_result(tx).await?;
            if taken == 0 || keys > 0 {
                return Ok(false);
            }
            diesel::insert_into(api_keys::table)
                .values(&row)
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn api_key_by_hash(&self, hash: KeyHash) -> Result<Option<ApiKey>> {
        let row: Option<ApiKeyRow> = api_keys::table
            .find(hash.0.to_vec())
            .select(ApiKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(ApiKey::try_from).transpose()
    }

    async fn api_key(&self, workspace: WorkspaceId, id: ApiKeyId) -> Result<Option<ApiKey>> {
        let row: Option<ApiKeyRow> = api_keys::table
            .filter(api_keys::workspace_id.eq(DbId(workspace.0)))
            .filter(api_keys::api_key_id.eq(DbId(id.0)))
            .select(ApiKeyRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(ApiKey::try_from).transpose()
    }

    async fn api_keys(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<ApiKey>> {
        let mut query = api_keys::table
            .filter(api_keys::workspace_id.eq(DbId(workspace.0)))
            .order(api_keys::api_key_id)
            .limit(page.limit())
            .select(ApiKeyRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(api_keys::api_key_id.gt(DbId(after)));
        }
        let rows: Vec<ApiKeyRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(ApiKey::try_from).collect()
    }

    async fn delete_api_key(
        &self,
        workspace: WorkspaceId,
        id: ApiKeyId,
        event: AuditEvent,
    ) -> Result<bool> {
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let key = api_keys::table
                .filter(api_keys::workspace_id.eq(DbId(workspace.0)))
                .filter(api_keys::api_key_id.eq(DbId(id.0)));
            let deleted = diesel::delete(key).execute(tx).await?;
            if deleted == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(deleted == 1)
        })
    }

    async fn touch_api_key(&self, id: ApiKeyId, at: Timestamp) -> Result<()> {
        diesel::update(api_keys::table.filter(api_keys::api_key_id.eq(DbId(id.0))))
            .set(api_keys::last_used_at.eq(at))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }
}
