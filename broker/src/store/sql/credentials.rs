//! Credentials and their refresh leases.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::super::{Conn, types::DbId};
use super::rows::{CredentialContentRow, CredentialRow, from_json, status, to_json, to_u32};
use super::schema::{connections, credentials, providers};
use super::{SqlStore, audit, events};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::Status,
    credential::{Credential, TokenView, UsableCredential},
    error::Result,
    event::EventKind,
    id::{ConnectionId, WorkspaceId},
    sealed::Sealed,
};
use crate::store::{Attempt, Claim, Committed, CredentialStore, Refreshed, Release};

type TokenRow = (
    DbId,
    (String, String, String, String, Timestamp),
    Option<Value>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Timestamp>,
    Option<Timestamp>,
);

#[async_trait]
impl CredentialStore for SqlStore {
    async fn token_views(
        &self,
        workspace: WorkspaceId,
        ids: Vec<ConnectionId>,
    ) -> Result<Vec<(ConnectionId, Result<TokenView>)>> {
        let on_provider = providers::workspace_id
            .eq(connections::workspace_id)
            .and(providers::provider_id.eq(connections::provider_id))
            .and(providers::deleted_at.is_null());
        let on_credential = credentials::workspace_id
            .eq(connections::workspace_id)
            .and(credentials::connection_id.eq(connections::connection_id));
        let ids: Vec<DbId> = ids.into_iter().map(|id| DbId(id.0)).collect();
        let rows: Vec<TokenRow> = connections::table
            .left_join(providers::table.on(on_provider))
            .left_join(credentials::table.on(on_credential))
            .filter(connections::workspace_id.eq(DbId(workspace.0)))
            .filter(connections::connection_id.eq_any(ids))
            .select((
                connections::connection_id,
                (
                    connections::user_id,
                    connections::provider_name,
                    connections::status,
                    connections::reason,
                    connections::consent_expires_at,
                ),
                // A connection may outlive its provider, revoked or about to be.
                providers::strategy.nullable(),
                credentials::usage.nullable(),
                credentials::generation.nullable(),
                credentials::expires_at.nullable(),
                credentials::refresh_at.nullable(),
            ))
            .load(&mut self.connection_from_pool().await?)
            .await?;
        let view = |row: TokenRow| (ConnectionId(row.0.0), token_view(row));
        Ok(rows.into_iter().map(view).collect())
    }

    async fn credential(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Credential>> {
        let row: Option<CredentialRow> = credentials::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(CredentialRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Credential::try_from).transpose()
    }

    async fn claim_refresh(&self, claim: Claim) -> Result<Option<i64>> {
        let (now, until) = lease_clock!(claim.at);
        // Nobody waits for years: a caller who insists does not wait at all.
        let patience = chrono::TimeDelta::days(if claim.forced { 3650 } else { 0 });
        let free = credentials::table
            .find((DbId(claim.workspace_id.0), DbId(claim.connection_id.0)))
            .filter(credentials::generation.eq(i64::from(claim.generation)))
            .filter(
                credentials::lease_until
                    .is_null()
                    .or(credentials::lease_until.assume_not_null().le(now)),
            )
            .filter(
                credentials::next_attempt_at
                    .is_null()
                    .or(credentials::next_attempt_at
                        .assume_not_null()
                        .le(claim.at + patience)),
            );
        let epoch = diesel::update(free)
            .set((
                credentials::lease_owner.eq(DbId(claim.owner)),
                credentials::lease_epoch.eq(credentials::lease_epoch + 1),
                credentials::lease_until.eq(until),
            ))
            .returning(credentials::lease_epoch)
            .get_result(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(epoch)
    }

    async fn commit_refresh(&self, refreshed: Refreshed, event: AuditEvent) -> Result<Committed> {
        let Refreshed {
            attempt,
            credential,
            scopes,
        } = refreshed;
        let key = (DbId(attempt.workspace_id.0), DbId(attempt.connection_id.0));
        let (expires_at, refreshable) = (credential.expires_at, credential.refresh.is_some());
        let content = CredentialContentRow::from(credential);
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<Committed> {
            let stored: Option<String> =
                for_update!(connections::table.find(key).select(connections::status))
                    .first(tx)
                    .await
                    .optional()?;
            if stored.is_none_or(|stored| stored == Status::Revoked.as_str()) {
                return Ok(Committed::Revoked);
            }
            let older = credentials::table
                .find(key)
                .filter(credentials::committed_epoch.lt(attempt.epoch))
                .filter(credentials::generation.eq(i64::from(attempt.generation)));
            let changed = diesel::update(older)
                .set((
                    &content,
                    credentials::generation.eq(credentials::generation + 1),
                    credentials::lease_owner.eq(None::<DbId>),
                    credentials::lease_until.eq(None::<Timestamp>),
                    credentials::committed_epoch.eq(attempt.epoch),
                    credentials::next_attempt_at.eq(None::<Timestamp>),
                    credentials::attempts.eq(0),
                    credentials::uncertain_since.eq(None::<Timestamp>),
                ))
                .execute(tx)
                .await?;
            if changed == 0 {
                return Ok(Committed::Superseded);
            }
            diesel::update(connections::table.find(key))
                .set((
                    connections::status.eq(Status::Active.as_str()),
                    connections::reason.eq(""),
                    connections::expires_at.eq(expires_at),
                    connections::refreshable.eq(refreshable),
                    connections::updated_at.eq(attempt.at),
                ))
                .execute(tx)
                .await?;
            if let Some(scopes) = scopes {
                diesel::update(connections::table.find(key))
                    .set(connections::scopes.eq(to_json(&scopes)))
                    .execute(tx)
                    .await?;
            }
            events::insert(tx, key, EventKind::CredentialRefreshed, attempt.at).await?;
            audit::insert(tx, event).await?;
            Ok(Committed::Done)
        })
    }

    async fn refuse_refresh(
        &self,
        attempt: Attempt,
        reason: &str,
        event: AuditEvent,
    ) -> Result<bool> {
        let key = (DbId(attempt.workspace_id.0), DbId(attempt.connection_id.0));
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // The connection's row is always locked first: one order, no deadlock.
            let stored: Option<String> =
                for_update!(connections::table.find(key).select(connections::status))
                    .first(tx)
                    .await
                    .optional()?;
            let unchanged = credentials::table
                .find(key)
                .filter(credentials::lease_epoch.eq(attempt.epoch))
                .filter(credentials::generation.eq(i64::from(attempt.generation)));
            let released = diesel::update(unchanged)
                .set((
                    credentials::lease_owner.eq(None::<DbId>),
                    credentials::lease_until.eq(None::<Timestamp>),
                    credentials::refresh_at.eq(None::<Timestamp>),
                    credentials::due_at.eq(None::<Timestamp>),
                ))
                .execute(tx)
                .await?;
            if released == 0 || stored.is_none_or(|stored| stored != Status::Active.as_str()) {
                return Ok(false);
            }
            diesel::update(connections::table.find(key))
                .set((
                    connections::status.eq(Status::Attention.as_str()),
                    connections::reason.eq(reason.to_owned()),
                    connections::updated_at.eq(attempt.at),
                ))
                .execute(tx)
                .await?;
            events::insert(tx, key, EventKind::ConnectionAttention, attempt.at).await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn release_refresh(
        &self,
        attempt: Attempt,
        release: Release,
        event: AuditEvent,
    ) -> Result<()> {
        let key = (DbId(attempt.workspace_id.0), DbId(attempt.connection_id.0));
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            let ours = credentials::table
                .find(key)
                .filter(credentials::lease_epoch.eq(attempt.epoch));
            diesel::update(ours)
                .set((
                    credentials::lease_owner.eq(None::<DbId>),
                    credentials::lease_until.eq(None::<Timestamp>),
                    credentials::next_attempt_at.eq(Some(release.next_attempt_at)),
                    credentials::attempts.eq(credentials::attempts + 1),
                    credentials::due_at.eq(release.due_at),
                ))
                .execute(tx)
                .await?;
            if let Some(since) = release.uncertain_since {
                let first = credentials::table
                    .find(key)
                    .filter(credentials::lease_epoch.eq(attempt.epoch))
                    .filter(credentials::uncertain_since.is_null());
                diesel::update(first)
                    .set(credentials::uncertain_since.eq(since))
                    .execute(tx)
                    .await?;
            }
            audit::insert(tx, event).await
        })
    }
}

fn token_view(row: TokenRow) -> Result<TokenView> {
    let (_, connection, strategy, usage, generation, expires_at, refresh_at) = row;
    let (user_id, provider_name, stored, reason, consent_expires_at) = connection;
    // A connection without its provider is revoked, or about to be.
    let stored = match strategy {
        Some(_) => status(&stored)?,
        None => Status::Revoked,
    };
    let credential = match (usage, generation) {
        _ if stored == Status::Revoked => None,
        (Some(usage), Some(generation)) => Some(UsableCredential {
            usage: Sealed(usage),
            generation: to_u32(generation)?,
            expires_at,
            refresh_at,
        }),
        _ => None,
    };
    let strategy = strategy.unwrap_or_else(|| serde_json::json!({ "type": "" }));
    Ok(TokenView {
        user_id,
        provider_name,
        strategy: from_json(strategy, "a strategy")?,
        status: stored,
        reason,
        consent_expires_at,
        credential,
    })
}
