//! Providers.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::schema::providers;
use super::{SqlStore, audit, is_duplicate, rows::ProviderRow};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::{Error, Result},
    id::{ProviderId, WorkspaceId},
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
                .on_conflict_do_nothing()
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
            .filter(providers::deleted_at.is_null())
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
            .filter(providers::deleted_at.is_null())
            .select(ProviderRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Provider::try_from).transpose()
    }

    async fn providers(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Provider>> {
        let mut query = providers::table
            .filter(providers::workspace_id.eq(DbId(workspace.0)))
            .filter(providers::deleted_at.is_null())
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
                .filter(providers::deleted_at.is_null())
                .filter(providers::updated_at.eq(read_at));
            let changed = diesel::update(unchanged).set(&row).execute(tx).await?;
            if changed == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(changed == 1)
        })
    }
}
