//! The audit.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::{SqlStore, rows::AuditRow, schema::audit_events};
use crate::domain::{
    audit::{AuditEvent, AuditFilter},
    error::Result,
    id::WorkspaceId,
    page::PageRequest,
};
use crate::store::AuditStore;

/// Adds a row within the transaction of what it speaks of.
pub(super) async fn insert(tx: &mut Conn, event: AuditEvent) -> Result<()> {
    diesel::insert_into(audit_events::table)
        .values(AuditRow::from(event))
        .execute(tx)
        .await?;
    Ok(())
}

#[async_trait]
impl AuditStore for SqlStore {
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        append_audit!(*connection, events);
        Ok(())
    }

    async fn audit_events(
        &self,
        workspace: WorkspaceId,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Vec<AuditEvent>> {
        let mut query = audit_events::table
            .filter(audit_events::workspace_id.eq(DbId(workspace.0)))
            .order(audit_events::audit_event_id)
            .limit(page.limit())
            .select(AuditRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(audit_events::audit_event_id.gt(DbId(after)));
        }
        if let Some(id) = filter.connection_id {
            query = query.filter(audit_events::connection_id.eq(DbId(id.0)));
        }
        if let Some(action) = &filter.action {
            query = query.filter(audit_events::action.eq(action.clone()));
        }
        let rows: Vec<AuditRow> = query.load(&mut self.connection_from_pool().await?).await?;
        Ok(rows.into_iter().map(AuditEvent::from).collect())
    }
}
