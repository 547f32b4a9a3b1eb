//! Providers.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::schema::{connections, providers};
use super::{SqlStore, audit, is_duplicate, rows::ProviderRow};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::Status,
    error::{Error, Result},
    id::{ConnectionId, ProviderId, WorkspaceId},
    page::PageRequest,
    provider::Provider,
};
use crate::store::ProviderStore;

#[async_trait]
impl ProviderStore for SqlStore {
    async fn insert_provider(&self, provider: &Provider, event: AuditEvent) -> Result<bool> {
        let row = ProviderRow::from(provider);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let inserted = diesel::insert_into(providers::table)
                .values(&row)
                .on_conflict((providers::workspace_id, providers::name))
                .do_nothing()
                .execute(tx)
                .await;
            match inserted {
                Ok(1) => audit::insert(tx, event).await.map(|()| true),
                Ok(_) => Ok(false),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(Error::from(error)),
            }
        })
    }

    async fn provider(&self, workspace: WorkspaceId, id: ProviderId) -> Result<Option<Provider>> {
        let row: Option<ProviderRow> = providers::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(ProviderRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Provider::try_from).transpose()
    }

    async fn provider_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<Provider>> {
        let row: Option<ProviderRow> = providers::table
            .filter(providers::workspace_id.eq(DbId(workspace.0)))
            .filter(providers::name.eq(name.to_owned()))
            .select(ProviderRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Provider::try_from).transpose()
    }

    async fn providers(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Provider>> {
        let mut query = providers::table
            .filter(providers::workspace_id.eq(DbId(workspace.0)))
            .order(providers::provider_id)
            .limit(page.limit())
            .select(ProviderRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(providers::provider_id.gt(DbId(after)));
        }
        let rows: Vec<ProviderRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(Provider::try_from).collect()
    }

    async fn update_provider(
        &self,
        provider: &Provider,
        read_at: Timestamp,
        event: AuditEvent,
    ) -> Result<bool> {
        let row = ProviderRow::from(provider);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let unchanged = providers::table
                .find((row.workspace_id, row.provider_id))
                .filter(providers::updated_at.eq(read_at));
            let changed = diesel::update(unchanged).set(&row).execute(tx).await?;
            if changed == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(changed == 1)
        })
    }

    async fn delete_provider(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
        event: AuditEvent,
    ) -> Result<bool> {
        let (workspace, id) = (DbId(workspace.0), DbId(id.0));
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // Locked first, so that no connection is begun in between.
            let provider: Option<DbId> = for_update!(
                providers::table
                    .find((workspace, id))
                    .select(providers::provider_id)
            )
            .first(tx)
            .await
            .optional()?;
            let used: i64 = connections::table
                .filter(connections::workspace_id.eq(workspace))
                .filter(connections::provider_id.eq(id))
                .filter(connections::status.ne(Status::Revoked.as_str()))
                .count()
                .get_result(tx)
                .await?;
            if provider.is_none() || used > 0 {
                return Ok(false);
            }
            diesel::delete(providers::table.find((workspace, id)))
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn connections_of_provider(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
    ) -> Result<Vec<ConnectionId>> {
        let ids: Vec<DbId> = connections::table
            .filter(connections::workspace_id.eq(DbId(workspace.0)))
            .filter(connections::provider_id.eq(DbId(id.0)))
            .filter(connections::status.ne(Status::Revoked.as_str()))
            .select(connections::connection_id)
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(ids.into_iter().map(|id| ConnectionId(id.0)).collect())
    }
}
