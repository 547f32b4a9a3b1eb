//! The events outbox. A connection's events are numbered under the lock of its
//! row, which is held until the commit: the next number can't be given, let
//! alone read, before this one is there. So a reader who asks for what comes
//! after a number misses nothing, whatever order transactions end in.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use async_trait::async_trait;
use diesel::{dsl::sql, prelude::*, sql_types};
use diesel_async::RunQueryDsl;
use tokio::sync::Notify;

use super::super::{Conn, types::DbId};
use super::schema::{connections, credentials, events};
use super::{
    Pooled, SqlStore,
    rows::{ConnectionRow, EventRow, status, to_u32},
    webhooks,
};
use crate::domain::{
    Timestamp,
    connection::{CONSENT_TIMEOUT, CREDENTIAL_EXPIRED, Connection, Status},
    error::Result,
    event::{ConnectionEvent, EventKind, Numbered},
    id::{ConnectionId, EventId, WorkspaceId},
};
use crate::store::{EventStore, Subscription, changes::Changes, lanes::AuditLanes};

/// Adds an event within the transaction of what it speaks of, after it: the
/// event tells where the connection stands now.
pub(super) async fn insert(
    tx: &mut Conn,
    key: (DbId, DbId),
    kind: EventKind,
    at: Timestamp,
) -> Result<()> {
    type Now = (i64, String, String, String, String);
    let (sequence, now, reason, user_id, provider_name): Now =
        diesel::update(connections::table.find(key))
            .set(connections::event_sequence.eq(connections::event_sequence + 1))
            .returning((
                connections::event_sequence,
                connections::status,
                connections::reason,
                connections::user_id,
                connections::provider_name,
            ))
            .get_result(tx)
            .await?;
    let generation: Option<i64> = credentials::table
        .find(key)
        .select(credentials::generation)
        .first(tx)
        .await
        .optional()?;
    let event = ConnectionEvent {
        id: EventId::of(ConnectionId(key.1.0), sequence, at),
        workspace_id: WorkspaceId(key.0.0),
        connection_id: ConnectionId(key.1.0),
        sequence,
        kind,
        status: status(&now)?,
        reason,
        generation: to_u32(generation.unwrap_or(0))?,
        user_id,
        provider_name,
        occurred_at: at,
    };
    diesel::insert_into(events::table)
        .values(EventRow::from(&event))
        .execute(tx)
        .await?;
    webhooks::queue(tx, &event).await
}

/// A database connection for a transaction that changes a connection: when it
/// is given back, whoever watches that one is told to look.
pub(super) struct Changing<'a> {
    connection: Pooled<'a>,
    changes: &'a Changes,
    key: (uuid::Uuid, uuid::Uuid),
}

impl Changing<'_> {
    pub(super) fn lanes(&self) -> &Arc<AuditLanes> {
        self.connection.lanes()
    }
}

impl Deref for Changing<'_> {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.connection
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.connection
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.changes.announce(self.key);
    }
}

impl SqlStore {
    /// As `connection_from_pool`, for a transaction that adds an event.
    pub(super) async fn changing(&self, key: (DbId, DbId)) -> Result<Changing<'_>> {
        Ok(Changing {
            connection: self.connection_from_pool().await?,
            changes: &self.changes,
            key: (key.0.0, key.1.0),
        })
    }

    /// The connections that time has changed and nobody recorded yet.
    pub(super) async fn unsettled(
        &self,
        at: Timestamp,
        limit: i64,
    ) -> Result<Vec<(WorkspaceId, ConnectionId)>> {
        let keys = (connections::workspace_id, connections::connection_id);
        let mut connection = self.connection_from_pool().await?;
        // Literally as in the partial indexes, so that these are used.
        let mut found: Vec<(DbId, DbId)> = connections::table
            .filter(sql::<sql_types::Bool>("status = 'pending'"))
            .filter(connections::consent_expires_at.le(at))
            .order(connections::consent_expires_at)
            .limit(limit)
            .select(keys)
            .load(&mut connection)
            .await?;
        let expired: Vec<(DbId, DbId)> = connections::table
            .filter(sql::<sql_types::Bool>(
                "status = 'active' and not refreshable",
            ))
            .filter(connections::expires_at.le(at))
            .order(connections::expires_at)
            .limit(limit)
            .select(keys)
            .load(&mut connection)
            .await?;
        found.extend(expired);
        let found = found.into_iter();
        Ok(found
            .map(|(workspace, id)| (WorkspaceId(workspace.0), ConnectionId(id.0)))
            .collect())
    }

    /// Forgets events up to a time, at most about this many at once.
    pub(super) async fn forget_events(&self, until: Timestamp, limit: i64) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        let many: Option<Timestamp> = events::table
            .filter(events::occurred_at.le(until))
            .order(events::occurred_at)
            .offset(limit)
            .select(events::occurred_at)
            .first(&mut connection)
            .await
            .optional()?;
        let until = many.unwrap_or(until);
        diesel::delete(events::table.filter(events::occurred_at.le(until)))
            .execute(&mut connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl EventStore for SqlStore {
    async fn numbered_connection(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Numbered>> {
        let on_credential = credentials::workspace_id
            .eq(connections::workspace_id)
            .and(credentials::connection_id.eq(connections::connection_id));
        let row: Option<(ConnectionRow, i64, Option<i64>)> = connections::table
            .left_join(credentials::table.on(on_credential))
            .filter(connections::workspace_id.eq(DbId(workspace.0)))
            .filter(connections::connection_id.eq(DbId(id.0)))
            .select((
                ConnectionRow::as_select(),
                connections::event_sequence,
                credentials::generation.nullable(),
            ))
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        let Some((row, sequence, generation)) = row else {
            return Ok(None);
        };
        Ok(Some(Numbered {
            connection: Connection::try_from(row)?,
            sequence,
            generation: to_u32(generation.unwrap_or(0))?,
        }))
    }

    async fn events_after(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<ConnectionEvent>> {
        let rows: Vec<EventRow> = events::table
            .filter(events::workspace_id.eq(DbId(workspace.0)))
            .filter(events::connection_id.eq(DbId(id.0)))
            .filter(events::sequence.gt(after))
            .order(events::sequence)
            .limit(limit)
            .select(EventRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        rows.into_iter().map(ConnectionEvent::try_from).collect()
    }

    async fn settle(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
        at: Timestamp,
    ) -> Result<bool> {
        let key = (DbId(workspace.0), DbId(id.0));
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let timed_out = connections::table
                .find(key)
                .filter(connections::status.eq(Status::Pending.as_str()))
                .filter(connections::consent_expires_at.le(at));
            let failed = diesel::update(timed_out)
                .set((
                    connections::status.eq(Status::Failed.as_str()),
                    connections::reason.eq(CONSENT_TIMEOUT),
                    // When it happened, as whoever looked before was told.
                    connections::updated_at.eq(connections::consent_expires_at),
                ))
                .execute(tx)
                .await?;
            if failed == 1 {
                insert(tx, key, EventKind::ConnectionFailed, at).await?;
                return Ok(true);
            }
            let run_out = connections::table
                .find(key)
                .filter(connections::status.eq(Status::Active.as_str()))
                .filter(connections::refreshable.eq(false))
                .filter(connections::expires_at.le(at));
            let expired = diesel::update(run_out)
                .set((
                    connections::status.eq(Status::Expired.as_str()),
                    connections::reason.eq(CREDENTIAL_EXPIRED),
                    connections::updated_at.eq(connections::expires_at.assume_not_null()),
                ))
                .execute(tx)
                .await?;
            if expired == 1 {
                insert(tx, key, EventKind::ConnectionExpired, at).await?;
            }
            Ok(expired == 1)
        })
    }

    fn any_news(&self) -> Arc<Notify> {
        self.changes.any.clone()
    }

    fn subscribe(&self, workspace: WorkspaceId, id: ConnectionId) -> Subscription {
        self.changes.subscribe((workspace.0, id.0))
    }
}
