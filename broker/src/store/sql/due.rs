//! Credentials that are due.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, Locator, types::DbId};
use super::SqlStore;
use super::rows::to_u32;
use super::schema::{connections, credentials};
use crate::domain::{
    Timestamp,
    error::Result,
    id::{ConnectionId, ProviderId, WorkspaceId},
};
use crate::store::{Due, DueStore, RESERVED_FOR};

/// Where a row is, its keys, its provider, its generation, and when it was due.
type Taken = (Locator, DbId, DbId, Option<DbId>, i64, Timestamp);

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
        let rows = write_tx!(*connection, async |tx: &mut Conn| -> Result<Vec<Taken>> {
            let rows: Vec<Taken> =
                for_update_skip_locked!(due().order(credentials::due_at).limit(limit).select((
                    locator!(),
                    credentials::workspace_id,
                    credentials::connection_id,
                    credentials::provider_id,
                    credentials::generation,
                    credentials::due_at.assume_not_null(),
                )))
                .load(tx)
                .await?;
            diesel::update(located!(rows))
                .set(credentials::due_at.eq(reserved_until))
                .execute(tx)
                .await?;
            Ok(rows)
        })?;
        let mut taken = Vec::with_capacity(rows.len());
        for (_, workspace, id, provider, generation, due_at) in rows {
            let provider = match provider {
                Some(provider) => Some(provider),
                // Stored by a broker of the version before.
                None => connections::table
                    .find((workspace, id))
                    .select(connections::provider_id)
                    .first(&mut connection)
                    .await
                    .optional()?,
            };
            if let Some(provider) = provider {
                taken.push(Due {
                    workspace_id: WorkspaceId(workspace.0),
                    connection_id: ConnectionId(id.0),
                    provider_id: ProviderId(provider.0),
                    generation: to_u32(generation)?,
                    due_at,
                    reserved_until,
                });
            }
        }
        Ok(taken)
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
