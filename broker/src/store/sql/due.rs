//! Credentials that are due.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::SqlStore;
use super::rows::to_u32;
use super::schema::{connections, credentials};
use crate::domain::{
    Timestamp,
    error::Result,
    id::{ConnectionId, ProviderId, WorkspaceId},
};
use crate::store::{Due, DueStore, RESERVED_FOR};

#[async_trait]
impl DueStore for SqlStore {
    async fn take_due(&self, at: Timestamp, limit: i64) -> Result<Vec<Due>> {
        let reserved_until = at + RESERVED_FOR;
        let mut connection = self.connection_from_pool().await?;
        // Looked for before anything is locked: most rounds find nothing, and
        // SQLite has one writer.
        let due = || {
            credentials::table
                .filter(credentials::due_at.is_not_null())
                .filter(credentials::due_at.assume_not_null().le(at))
        };
        let any: Option<DbId> = due()
            .select(credentials::connection_id)
            .first(&mut connection)
            .await
            .optional()?;
        if any.is_none() {
            return Ok(vec![]);
        }
        let rows = write_tx!(*connection, async |tx: &mut Conn| -> Result<
            Vec<(DbId, DbId, i64, Timestamp)>,
        > {
            let rows: Vec<(DbId, DbId, i64, Timestamp)> =
                for_update_skip_locked!(due().order(credentials::due_at).limit(limit).select((
                    credentials::workspace_id,
                    credentials::connection_id,
                    credentials::generation,
                    credentials::due_at.assume_not_null(),
                )))
                .load(tx)
                .await?;
            let (workspaces, ids) = keys(&rows);
            let taken = credentials::table
                .filter(credentials::workspace_id.eq_any(workspaces))
                .filter(credentials::connection_id.eq_any(ids));
            diesel::update(taken)
                .set(credentials::due_at.eq(reserved_until))
                .execute(tx)
                .await?;
            Ok(rows)
        })?;
        let (workspaces, ids) = keys(&rows);
        let providers: Vec<(DbId, DbId)> = connections::table
            .filter(connections::workspace_id.eq_any(workspaces))
            .filter(connections::connection_id.eq_any(ids))
            .select((connections::connection_id, connections::provider_id))
            .load(&mut connection)
            .await?;
        let providers: std::collections::HashMap<uuid::Uuid, uuid::Uuid> = providers
            .into_iter()
            .map(|row| (row.0.0, row.1.0))
            .collect();
        rows.into_iter()
            .filter_map(|(workspace, id, generation, due_at)| {
                let provider = *providers.get(&id.0)?;
                Some(to_u32(generation).map(|generation| Due {
                    workspace_id: WorkspaceId(workspace.0),
                    connection_id: ConnectionId(id.0),
                    provider_id: ProviderId(provider),
                    generation,
                    due_at,
                    reserved_until,
                }))
            })
            .collect()
    }

    async fn put_off(&self, due: Vec<(Due, Timestamp)>) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            for (due, until) in due {
                let ours = credentials::table
                    .find((DbId(due.workspace_id.0), DbId(due.connection_id.0)))
                    .filter(credentials::generation.eq(i64::from(due.generation)))
                    .filter(credentials::due_at.eq(due.reserved_until));
                diesel::update(ours)
                    .set(credentials::due_at.eq(until))
                    .execute(tx)
                    .await?;
            }
            Ok(())
        })
    }
}

fn keys(rows: &[(DbId, DbId, i64, Timestamp)]) -> (Vec<DbId>, Vec<DbId>) {
    let mut workspaces: Vec<DbId> = rows.iter().map(|row| row.0).collect();
    workspaces.sort_by_key(|id| id.0);
    workspaces.dedup();
    (workspaces, rows.iter().map(|row| row.1).collect())
}
