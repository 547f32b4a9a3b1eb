//! Workspaces.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::schema::workspaces;
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
            .filter(workspaces::deleted_at.is_null())
            .select(WorkspaceRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Workspace::try_from).transpose()
    }

    async fn workspaces(&self, page: PageRequest) -> Result<Vec<Workspace>> {
        let mut query = workspaces::table
            .filter(workspaces::deleted_at.is_null())
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
            let living = workspaces::table
                .find(row.workspace_id)
                .filter(workspaces::deleted_at.is_null());
            let changed = diesel::update(living).set(&row).execute(tx).await?;
            if changed == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(changed == 1)
        })
    }
}
