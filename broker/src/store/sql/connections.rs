//! Connections.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::rows::{ConnectionRow, ConsentRow, UpstreamRevocationRow};
use super::schema::{connections, consents, credentials, providers, upstream_revocations};
use super::{SqlStore, audit, events};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::{Connection, ConnectionFilter, Status},
    consent::Consent,
    error::{Error, ErrorKind, Result},
    event::EventKind,
    id::{ConnectionId, WorkspaceId},
    page::PageRequest,
};
use crate::store::{ConnectionStore, Revocation, Revoked, UpstreamRevocation};

/// Spends whatever consents of a connection are still open.
pub(super) async fn spend_consents(
    tx: &mut Conn,
    workspace: DbId,
    connection: DbId,
    at: Timestamp,
) -> Result<()> {
    let open = consents::table
        .filter(consents::workspace_id.eq(workspace))
        .filter(consents::connection_id.eq(connection))
        .filter(consents::spent_at.is_null());
    diesel::update(open)
        .set(consents::spent_at.eq(at))
        .execute(tx)
        .await?;
    Ok(())
}

async fn revoke_in(tx: &mut Conn, revocation: Revocation, event: AuditEvent) -> Result<Revoked> {
    let Revocation {
        workspace_id,
        connection_id,
        at,
        generation,
        upstream,
    } = revocation;
    let key = (DbId(workspace_id.0), DbId(connection_id.0));
    let stored: Option<String> =
        for_update!(connections::table.find(key).select(connections::status))
            .first(tx)
            .await
            .optional()?;
    if stored.is_none_or(|stored| stored == Status::Revoked.as_str()) {
        return Ok(Revoked::Before);
    }
    let held: Option<i64> =
        for_update!(credentials::table.find(key).select(credentials::generation))
            .first(tx)
            .await
            .optional()?;
    if held.unwrap_or(0) != i64::from(generation) {
        return Ok(Revoked::Conflict);
    }
    diesel::update(connections::table.find(key))
        .set((
            connections::status.eq(Status::Revoked.as_str()),
            connections::reason.eq("revoked"),
            connections::refreshable.eq(false),
            connections::expires_at.eq(None::<Timestamp>),
            connections::updated_at.eq(at),
        ))
        .execute(tx)
        .await?;
    spend_consents(tx, key.0, key.1, at).await?;
    diesel::delete(credentials::table.find(key))
        .execute(tx)
        .await?;
    if let Some(upstream) = upstream {
        diesel::insert_into(upstream_revocations::table)
            .values(UpstreamRevocationRow::from(upstream))
            .execute(tx)
            .await?;
    }
    events::insert(tx, key, EventKind::ConnectionRevoked, at).await?;
    audit::insert(tx, event).await?;
    Ok(Revoked::Done)
}

#[async_trait]
impl ConnectionStore for SqlStore {
    async fn insert_connection(
        &self,
        new: &Connection,
        consent: &Consent,
        event: AuditEvent,
    ) -> Result<()> {
        let (row, consent) = (ConnectionRow::from(new), ConsentRow::from(consent));
        let mut connection = self.changing((row.workspace_id, row.connection_id)).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            // Locked, so that the provider can't go before its connection is in.
            let provider: Option<DbId> = for_update!(
                providers::table
                    .find((row.workspace_id, row.provider_id))
                    .filter(providers::deleted_at.is_null())
                    .select(providers::provider_id)
            )
            .first(tx)
            .await
            .optional()?;
            if provider.is_none() {
                return Err(Error::new(
                    ErrorKind::ProviderNotFound,
                    "the provider was just deleted",
                ));
            }
            diesel::insert_into(connections::table)
                .values(&row)
                .execute(tx)
                .await?;
            diesel::insert_into(consents::table)
                .values(&consent)
                .execute(tx)
                .await?;
            let key = (row.workspace_id, row.connection_id);
            events::insert(tx, key, EventKind::ConnectionRequested, row.created_at).await?;
            audit::insert(tx, event).await
        })
    }

    async fn connection(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Connection>> {
        let row: Option<ConnectionRow> = connections::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(ConnectionRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Connection::try_from).transpose()
    }

    async fn connections(
        &self,
        workspace: WorkspaceId,
        filter: &ConnectionFilter,
        page: PageRequest,
    ) -> Result<Vec<Connection>> {
        let mut query = connections::table
            .filter(connections::workspace_id.eq(DbId(workspace.0)))
            .order(connections::connection_id)
            .limit(page.limit())
            .select(ConnectionRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(connections::connection_id.gt(DbId(after)));
        }
        if let Some(user_id) = &filter.user_id {
            query = query.filter(connections::user_id.eq(user_id.clone()));
        }
        if let Some(name) = &filter.provider_name {
            query = query.filter(connections::provider_name.eq(name.clone()));
        }
        if let Some((status, now)) = filter.status {
            // What time has done and nobody recorded yet counts as recorded.
            let timed_out = connections::status
                .eq(Status::Pending.as_str())
                .and(connections::consent_expires_at.le(now));
            let expired = connections::status
                .eq(Status::Active.as_str())
                .and(connections::refreshable.eq(false))
                .and(connections::expires_at.is_not_null())
                .and(connections::expires_at.assume_not_null().le(now));
            let stored = connections::status.eq(status.as_str());
            query = match status {
                Status::Pending => query
                    .filter(stored)
                    .filter(connections::consent_expires_at.gt(now)),
                Status::Failed => query.filter(stored.or(timed_out)),
                Status::Expired => query.filter(stored.or(expired)),
                Status::Active => query.filter(stored).filter(
                    connections::refreshable
                        .eq(true)
                        .or(connections::expires_at.is_null())
                        .or(connections::expires_at.assume_not_null().gt(now)),
                ),
                Status::Attention | Status::Revoked => query.filter(stored),
            };
        }
        let rows: Vec<ConnectionRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(Connection::try_from).collect()
    }

    async fn count_connections(&self, workspace: WorkspaceId) -> Result<i64> {
        let living = connections::table
            .filter(connections::workspace_id.eq(DbId(workspace.0)))
            .filter(connections::status.ne(Status::Revoked.as_str()));
        Ok(living
            .count()
            .get_result(&mut self.connection_from_pool().await?)
            .await?)
    }

    async fn revoke_connection(
        &self,
        revocation: Revocation,
        event: AuditEvent,
    ) -> Result<Revoked> {
        let key = (
            DbId(revocation.workspace_id.0),
            DbId(revocation.connection_id.0),
        );
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<Revoked> {
            revoke_in(tx, revocation, event).await
        })
    }

    async fn revoke_connections(
        &self,
        revocations: Vec<(Revocation, AuditEvent)>,
    ) -> Result<Vec<Revoked>> {
        let keys: Vec<_> = revocations
            .iter()
            .map(|(revocation, _)| (revocation.workspace_id.0, revocation.connection_id.0))
            .collect();
        let mut connection = self.connection_from_pool().await?;
        let outcomes = write_tx!(*connection, async |tx: &mut Conn| -> Result<Vec<Revoked>> {
            let mut outcomes = Vec::with_capacity(revocations.len());
            for (revocation, event) in revocations {
                outcomes.push(revoke_in(tx, revocation, event).await?);
            }
            Ok(outcomes)
        });
        drop(connection);
        for key in keys {
            self.changes.announce(key);
        }
        outcomes
    }

    async fn insert_upstream_revocation(&self, revocation: &UpstreamRevocation) -> Result<()> {
        diesel::insert_into(upstream_revocations::table)
            .values(UpstreamRevocationRow::from(revocation.clone()))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn claim_upstream_revocations(
        &self,
        at: Timestamp,
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<UpstreamRevocation>> {
        let mut connection = self.connection_from_pool().await?;
        let rows = write_tx!(*connection, async |tx: &mut Conn| -> Result<
            Vec<UpstreamRevocationRow>,
        > {
            let due: Vec<UpstreamRevocationRow> = for_update_skip_locked!(
                upstream_revocations::table
                    .filter(upstream_revocations::next_attempt_at.le(at))
                    // Of equals, those first that failed least.
                    .order((
                        upstream_revocations::next_attempt_at,
                        upstream_revocations::attempts
                    ))
                    .limit(limit)
                    .select(UpstreamRevocationRow::as_select())
            )
            .load(tx)
            .await?;
            for row in &due {
                let key = (row.workspace_id, row.upstream_revocation_id);
                diesel::update(upstream_revocations::table.find(key))
                    .set(upstream_revocations::next_attempt_at.eq(until))
                    .execute(tx)
                    .await?;
            }
            Ok(due)
        })?;
        Ok(rows.into_iter().map(UpstreamRevocation::from).collect())
    }

    async fn postpone_upstream_revocation(
        &self,
        revocation: &UpstreamRevocation,
        attempts: u32,
        next_attempt_at: Timestamp,
    ) -> Result<()> {
        let key = (DbId(revocation.workspace_id.0), DbId(revocation.id));
        diesel::update(upstream_revocations::table.find(key))
            .set((
                upstream_revocations::attempts.eq(i64::from(attempts)),
                upstream_revocations::next_attempt_at.eq(next_attempt_at),
            ))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn count_upstream_revocations(&self) -> Result<i64> {
        Ok(upstream_revocations::table
            .count()
            .get_result(&mut self.connection_from_pool().await?)
            .await?)
    }

    async fn end_upstream_revocation(
        &self,
        revocation: &UpstreamRevocation,
        event: AuditEvent,
    ) -> Result<()> {
        let key = (DbId(revocation.workspace_id.0), DbId(revocation.id));
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            let ended = diesel::delete(upstream_revocations::table.find(key))
                .execute(tx)
                .await?;
            if ended == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(())
        })
    }
}
