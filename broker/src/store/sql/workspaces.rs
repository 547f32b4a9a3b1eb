//! Workspaces.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::schema::{
    answers, api_keys, confirmations, connections, consents, credentials, data_keys, events,
    providers, upstream_revocations, webhook_deliveries, webhooks, workspaces,
};
use super::{SqlStore, audit, rows::WorkspaceRow};
use crate::domain::{
    audit::AuditEvent, error::Result, id::WorkspaceId, page::PageRequest, workspace::Workspace,
};
use crate::store::WorkspaceStore;

#[async_trait]
impl WorkspaceStore for SqlStore {
    async fn insert_workspace(&self, workspace: &Workspace, event: AuditEvent) -> Result<()> {
        let row = WorkspaceRow::from(workspace);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            diesel::insert_into(workspaces::table)
                .values(&row)
                .execute(tx)
                .await?;
            audit::insert(tx, event).await
        })
    }

    async fn ensure_workspace(&self, workspace: &Workspace) -> Result<()> {
        diesel::insert_into(workspaces::table)
            .values(WorkspaceRow::from(workspace))
            .on_conflict_do_nothing()
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>> {
        let row: Option<WorkspaceRow> = workspaces::table
            .find(DbId(id.0))
            .select(WorkspaceRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Workspace::try_from).transpose()
    }

    async fn workspaces(&self, page: PageRequest) -> Result<Vec<Workspace>> {
        let mut query = workspaces::table
            .order(workspaces::workspace_id)
            .limit(page.limit())
            .select(WorkspaceRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(workspaces::workspace_id.gt(DbId(after)));
        }
        let rows: Vec<WorkspaceRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(Workspace::try_from).collect()
    }

    async fn update_workspace(&self, workspace: &Workspace, event: AuditEvent) -> Result<bool> {
        let row = WorkspaceRow::from(workspace);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let changed = diesel::update(workspaces::table.find(row.workspace_id))
                .set(&row)
                .execute(tx)
                .await?;
            if changed == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(changed == 1)
        })
    }

    async fn delete_workspace(&self, id: WorkspaceId, event: AuditEvent) -> Result<bool> {
        let id = DbId(id.0);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // The keys go first: whoever comes meanwhile finds no way in.
            diesel::delete(api_keys::table.filter(api_keys::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(consents::table.filter(consents::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(credentials::table.filter(credentials::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(connections::table.filter(connections::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(confirmations::table.filter(confirmations::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(webhooks::table.filter(webhooks::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(
                webhook_deliveries::table.filter(webhook_deliveries::workspace_id.eq(id)),
            )
            .execute(tx)
            .await?;
            diesel::delete(events::table.filter(events::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(providers::table.filter(providers::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(answers::table.filter(answers::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(
                upstream_revocations::table.filter(upstream_revocations::workspace_id.eq(id)),
            )
            .execute(tx)
            .await?;
            diesel::delete(data_keys::table.filter(data_keys::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            let deleted = diesel::delete(workspaces::table.find(id))
                .execute(tx)
                .await?;
            if deleted == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(deleted == 1)
        })
    }
}
