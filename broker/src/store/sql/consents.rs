//! Consents.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::rows::{ConsentRow, CredentialContentRow, to_json};
use super::schema::{confirmations, connections, consents, credentials};
use super::{SqlStore, audit, connections::spend_consents, events};
use crate::domain::{
    Timestamp, audit::AuditEvent, connection::Status, consent::Consent, error::Result,
    event::EventKind,
};
use crate::store::{CompletedConsent, Completion, ConsentStore};

#[async_trait]
impl ConsentStore for SqlStore {
    async fn insert_consent(&self, consent: &Consent, event: AuditEvent) -> Result<bool> {
        let row = ConsentRow::from(consent);
        let key = (row.workspace_id, row.connection_id);
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let living = connections::table
                .find((row.workspace_id, row.connection_id))
                .filter(connections::status.ne(Status::Revoked.as_str()));
            let changed = diesel::update(living)
                .set(connections::consent_expires_at.eq(row.expires_at))
                .execute(tx)
                .await?;
            if changed == 0 {
                return Ok(false);
            }
            // Gone, not only spent: an older one whose code is being exchanged
            // right now finds out by that. Ids and times can't tell which one
            // is older, because another broker's clock may have made them.
            let others = consents::table
                .filter(consents::workspace_id.eq(row.workspace_id))
                .filter(consents::connection_id.eq(row.connection_id));
            diesel::delete(others).execute(tx).await?;
            diesel::insert_into(consents::table)
                .values(&row)
                .execute(tx)
                .await?;
            let kind = EventKind::ConnectionReconnectRequested;
            events::insert(tx, key, kind, row.created_at).await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn consent_by_handle(&self, handle_hash: [u8; 32]) -> Result<Option<Consent>> {
        let row: Option<ConsentRow> = consents::table
            .filter(consents::handle_hash.eq(handle_hash.to_vec()))
            .select(ConsentRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Consent::try_from).transpose()
    }

    async fn consent_by_state(&self, state_hash: [u8; 32]) -> Result<Option<Consent>> {
        let row: Option<ConsentRow> = consents::table
            .find(state_hash.to_vec())
            .select(ConsentRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Consent::try_from).transpose()
    }

    async fn spend_consent(&self, state_hash: [u8; 32], at: Timestamp) -> Result<bool> {
        let open = consents::table
            .find(state_hash.to_vec())
            .filter(consents::spent_at.is_null())
            .filter(consents::expires_at.gt(at));
        let spent = diesel::update(open)
            .set(consents::spent_at.eq(at))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(spent == 1)
    }

    async fn fail_consent(
        &self,
        consent: &Consent,
        reason: &str,
        at: Timestamp,
        event: AuditEvent,
    ) -> Result<()> {
        let row = ConsentRow::from(consent);
        let key = (row.workspace_id, row.connection_id);
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<()> {
            // A connection with a newer, open consent still waits for that one.
            let newer: i64 = consents::table
                .filter(consents::workspace_id.eq(row.workspace_id))
                .filter(consents::connection_id.eq(row.connection_id))
                .filter(consents::spent_at.is_null())
                .count()
                .get_result(tx)
                .await?;
            if newer == 0 {
                let pending = connections::table
                    .find((row.workspace_id, row.connection_id))
                    .filter(connections::status.eq(Status::Pending.as_str()));
                let failed = diesel::update(pending)
                    .set((
                        connections::status.eq(Status::Failed.as_str()),
                        connections::reason.eq(reason.to_owned()),
                        connections::updated_at.eq(at),
                    ))
                    .execute(tx)
                    .await?;
                if failed == 1 {
                    events::insert(tx, key, EventKind::ConnectionFailed, at).await?;
                }
            }
            audit::insert(tx, event).await
        })
    }

    async fn complete_consent(
        &self,
        completed: CompletedConsent,
        event: AuditEvent,
    ) -> Result<Completion> {
        let CompletedConsent {
            workspace_id,
            connection_id,
            consent_id,
            at,
            generation,
            credential,
            scopes,
            subject,
            confirmed,
        } = completed;
        let key = (DbId(workspace_id.0), DbId(connection_id.0));
        let (expires_at, refreshable) = (credential.expires_at, credential.refresh.is_some());
        let content = CredentialContentRow::from(credential);
        let mut connection = self.changing(key).await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<Completion> {
            let status: Option<String> =
                for_update!(connections::table.find(key).select(connections::status))
                    .first(tx)
                    .await
                    .optional()?;
            let ours = consents::table
                .filter(consents::workspace_id.eq(key.0))
                .filter(consents::connection_id.eq(key.1))
                .filter(consents::consent_id.eq(DbId(consent_id.0)));
            let known: Option<Option<Timestamp>> = ours
                .select(consents::completed_at)
                .first(tx)
                .await
                .optional()?;
            let completed_before = match known {
                Some(completed_at)
                    if status.is_some_and(|status| status != Status::Revoked.as_str()) =>
                {
                    completed_at.is_some()
                }
                _ => return Ok(Completion::Superseded),
            };
            if completed_before {
                // A consent has one answer: this one, replayed.
                return Ok(if confirmed {
                    Completion::Superseded
                } else {
                    Completion::Done
                });
            }
            let stored: Option<(i64, i64)> = for_update!(
                credentials::table
                    .find(key)
                    .select((credentials::generation, credentials::lease_epoch))
            )
            .first(tx)
            .await
            .optional()?;
            if stored.map_or(0, |stored| stored.0) != i64::from(generation) {
                return Ok(Completion::Conflict);
            }
            let waiting = confirmations::table
                .find(key)
                .filter(confirmations::consent_id.eq(DbId(consent_id.0)));
            let spent = diesel::delete(waiting).execute(tx).await?;
            if confirmed && spent == 0 {
                return Ok(Completion::Superseded);
            }
            // Both epochs rise, so that a refresh of the former credential
            // that is still under way can't undo this one.
            let epoch = stored.map_or(0, |stored| stored.1) + 1;
            let lease = (
                credentials::generation.eq(i64::from(generation) + 1),
                credentials::lease_owner.eq(None::<DbId>),
                credentials::lease_epoch.eq(epoch),
                credentials::lease_until.eq(None::<Timestamp>),
                credentials::committed_epoch.eq(epoch),
                credentials::next_attempt_at.eq(None::<Timestamp>),
                credentials::attempts.eq(0),
                credentials::uncertain_since.eq(None::<Timestamp>),
            );
            if stored.is_some() {
                diesel::update(credentials::table.find(key))
                    .set((&content, lease))
                    .execute(tx)
                    .await?;
            } else {
                diesel::insert_into(credentials::table)
                    .values((
                        credentials::workspace_id.eq(key.0),
                        credentials::connection_id.eq(key.1),
                        credentials::provider_id.eq(connections::table
                            .find(key)
                            .select(connections::provider_id)
                            .single_value()),
                        &content,
                        lease,
                    ))
                    .execute(tx)
                    .await?;
            }
            diesel::update(connections::table.find(key))
                .set((
                    connections::status.eq(Status::Active.as_str()),
                    connections::reason.eq(""),
                    connections::scopes.eq(to_json(&scopes)),
                    connections::subject.eq(subject),
                    connections::expires_at.eq(expires_at),
                    connections::refreshable.eq(refreshable),
                    connections::updated_at.eq(at),
                ))
                .execute(tx)
                .await?;
            spend_consents(tx, key.0, key.1, at).await?;
            events::insert(tx, key, EventKind::ConnectionActivated, at).await?;
            diesel::update(ours)
                .set(consents::completed_at.eq(at))
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(Completion::Done)
        })
    }
}
