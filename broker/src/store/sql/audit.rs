//! The audit.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use diesel::{dsl, prelude::*};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::{Conn, types::DbId};
use super::schema::{audit_checkpoints, audit_events, data_keys};
use super::{
    SqlStore,
    audit_rows::{AuditRow, CheckpointRow},
    rows::DataKeyRow,
};
use crate::domain::{
    Timestamp,
    ambient::Ambient,
    audit::{AuditEvent, AuditFilter},
    audit_chain::{AuditSigner, ChainHead, ChainedEvent, Checkpoint},
    error::Result,
    id::WorkspaceId,
    page::PageRequest,
    sealed::WrappedDataKey,
};
use crate::store::{AuditStore, lanes::Outcome, ledger};

/// Adds a row within the transaction of what it speaks of, which `write_tx!`
/// began.
pub(super) async fn insert(tx: &mut Conn, event: AuditEvent) -> Result<()> {
    let rows = ledger::sign(event)?;
    append_audit!(tx, rows)?;
    Ok(())
}

#[async_trait]
impl AuditStore for SqlStore {
    fn sign_audit_with(&self, signer: Arc<dyn AuditSigner>, ambient: Ambient) {
        self.lanes.sign_with(signer, ambient);
    }

    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        let mut batch = self.lanes.begin()?;
        let rows = batch.sign(events);
        let committed = commit_audit!(connection, rows);
        batch.settle(match committed {
            Ok(_) => Outcome::Committed,
            Err(_) => Outcome::Unknown,
        });
        committed.map(drop)
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
        let rows = rows.into_iter().map(ChainedEvent::from);
        Ok(rows.map(|row| row.event).collect())
    }

    async fn close_audit_writers(&self, all: bool) -> Result<()> {
        self.end_writers(all).await
    }

    fn untold_audit_heads(&self) -> Vec<ChainHead> {
        self.lanes.untold_heads()
    }

    fn audit_heads_told(&self, heads: &[ChainHead]) {
        self.lanes.told(heads);
    }

    async fn audit_keys(&self) -> Result<Vec<WrappedDataKey>> {
        let rows: Vec<DataKeyRow> = data_keys::table
            .filter(data_keys::workspace_id.eq(DbId(WorkspaceId::SYSTEM.0)))
            .order(data_keys::data_key_id)
            .select(DataKeyRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(rows.into_iter().map(WrappedDataKey::from).collect())
    }

    async fn audit_checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let rows: Vec<CheckpointRow> = audit_checkpoints::table
            .order(audit_checkpoints::writer_id)
            .select(CheckpointRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(rows.into_iter().map(Checkpoint::from).collect())
    }

    async fn next_audit_writer(&self, after: Option<Uuid>) -> Result<Option<Uuid>> {
        let mut query = audit_events::table
            .select(audit_events::writer_id)
            .order(audit_events::writer_id)
            .limit(1)
            .into_boxed();
        if let Some(after) = after {
            query = query.filter(audit_events::writer_id.gt(DbId(after)));
        }
        let next: Option<DbId> = query
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(next.map(|id| id.0))
    }

    async fn audit_chain(
        &self,
        writer_id: Uuid,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Vec<ChainedEvent>> {
        let rows: Vec<AuditRow> = audit_events::table
            .filter(audit_events::writer_id.eq(DbId(writer_id)))
            .filter(audit_events::seq.gt(after.unwrap_or(i64::MIN)))
            .order(audit_events::seq)
            .limit(limit)
            .select(AuditRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        Ok(rows.into_iter().map(ChainedEvent::from).collect())
    }

    async fn prunable_audit(&self, before: Timestamp) -> Result<Vec<(ChainedEvent, i64)>> {
        let mut connection = self.connection_from_pool().await?;
        let last: Vec<(DbId, Option<i64>)> = audit_events::table
            .group_by(audit_events::writer_id)
            .select((audit_events::writer_id, dsl::max(audit_events::seq)))
            .order(audit_events::writer_id)
            .load(&mut connection)
            .await?;
        let kept: Vec<(DbId, Option<i64>)> = audit_events::table
            .filter(audit_events::occurred_at.ge(before))
            .group_by(audit_events::writer_id)
            .select((audit_events::writer_id, dsl::min(audit_events::seq)))
            .load(&mut connection)
            .await?;
        let kept: HashMap<Uuid, i64> = kept
            .into_iter()
            .filter_map(|(writer, seq)| Some((writer.0, seq?)))
            .collect();
        let mut prunable = Vec::new();
        for (writer, last) in last {
            let Some(last) = last else { continue };
            let first_kept = kept.get(&writer.0).map_or(last, |seq| last.min(*seq));
            let old = audit_events::table
                .filter(audit_events::writer_id.eq(writer))
                .filter(audit_events::seq.lt(first_kept));
            let rows: i64 = old.count().get_result(&mut connection).await?;
            let row: Option<AuditRow> = old
                .order(audit_events::seq.desc())
                .select(AuditRow::as_select())
                .first(&mut connection)
                .await
                .optional()?;
            prunable.extend(row.map(|row| (row.into(), rows)));
        }
        Ok(prunable)
    }

    async fn prune_audit(
        &self,
        writer_id: Uuid,
        up_to: i64,
        checkpoint: Option<Checkpoint>,
    ) -> Result<usize> {
        let checkpoint = checkpoint.map(CheckpointRow::from);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<usize> {
            if let Some(row) = checkpoint {
                diesel::delete(audit_checkpoints::table.find(row.writer_id))
                    .execute(tx)
                    .await?;
                diesel::insert_into(audit_checkpoints::table)
                    .values(row)
                    .execute(tx)
                    .await?;
            }
            let old = audit_events::table
                .filter(audit_events::writer_id.eq(DbId(writer_id)))
                .filter(audit_events::seq.le(up_to));
            Ok(diesel::delete(old).execute(tx).await?)
        })
    }
}
