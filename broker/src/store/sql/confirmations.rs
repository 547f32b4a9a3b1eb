//! Credentials that wait for a confirmation.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::super::{Conn, Db, types::DbId};
use super::rows::{UpstreamRevocationRow, from_json, hash, to_json};
use super::schema::{confirmations, connections, consents, upstream_revocations};
use super::{SqlStore, audit};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    confirmation::{CONFIRMATION_REQUIRED, Confirmation, MAX_TRIES},
    connection::Status,
    error::{Error, Result},
    id::{ConnectionId, ConsentId, WorkspaceId},
    sealed::Sealed,
};
use crate::store::{ConfirmationStore, UpstreamRevocation};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = confirmations, check_for_backend(Db))]
struct ConfirmationRow {
    workspace_id: DbId,
    connection_id: DbId,
    consent_id: DbId,
    code_hash: Vec<u8>,
    credential: Vec<u8>,
    scopes: Value,
    subject: Option<String>,
    token_origin: String,
    tries: i64,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl From<&Confirmation> for ConfirmationRow {
    fn from(held: &Confirmation) -> Self {
        Self {
            workspace_id: DbId(held.workspace_id.0),
            connection_id: DbId(held.connection_id.0),
            consent_id: DbId(held.consent_id.0),
            code_hash: held.code_hash.to_vec(),
            credential: held.credential.0.clone(),
            scopes: to_json(&held.scopes),
            subject: held.subject.clone(),
            token_origin: held.token_origin.clone(),
            tries: 0,
            created_at: held.created_at,
            expires_at: held.expires_at,
        }
    }
}

impl TryFrom<ConfirmationRow> for Confirmation {
    type Error = Error;
    fn try_from(row: ConfirmationRow) -> Result<Self> {
        Ok(Self {
            workspace_id: WorkspaceId(row.workspace_id.0),
            connection_id: ConnectionId(row.connection_id.0),
            consent_id: ConsentId(row.consent_id.0),
            code_hash: hash(row.code_hash)?,
            credential: Sealed(row.credential),
            scopes: from_json(row.scopes, "scopes")?,
            subject: row.subject,
            token_origin: row.token_origin,
            created_at: row.created_at,
            expires_at: row.expires_at,
        })
    }
}

#[async_trait]
impl ConfirmationStore for SqlStore {
    async fn insert_confirmation(&self, held: &Confirmation, event: AuditEvent) -> Result<bool> {
        let row = ConfirmationRow::from(held);
        let key = (row.workspace_id, row.connection_id);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let status: Option<String> =
                for_update!(connections::table.find(key).select(connections::status))
                    .first(tx)
                    .await
                    .optional()?;
            let known: i64 = consents::table
                .filter(consents::workspace_id.eq(key.0))
                .filter(consents::connection_id.eq(key.1))
                .filter(consents::consent_id.eq(row.consent_id))
                .count()
                .get_result(tx)
                .await?;
            if status.is_none_or(|status| status == Status::Revoked.as_str()) || known == 0 {
                return Ok(false);
            }
            diesel::delete(confirmations::table.find(key))
                .execute(tx)
                .await?;
            diesel::insert_into(confirmations::table)
                .values(&row)
                .execute(tx)
                .await?;
            // It goes on waiting, now for the application.
            let pending = connections::table
                .find(key)
                .filter(connections::status.eq(Status::Pending.as_str()));
            diesel::update(pending)
                .set((
                    connections::reason.eq(CONFIRMATION_REQUIRED),
                    connections::consent_expires_at.eq(row.expires_at),
                    connections::updated_at.eq(row.created_at),
                ))
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn confirmation(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
    ) -> Result<Option<Confirmation>> {
        let row: Option<ConfirmationRow> = confirmations::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(ConfirmationRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Confirmation::try_from).transpose()
    }

    async fn try_confirmation(
        &self,
        workspace: WorkspaceId,
        id: ConnectionId,
        code_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<Option<Confirmation>> {
        let key = (DbId(workspace.0), DbId(id.0));
        let mut connection = self.connection_from_pool().await?;
        let row = write_tx!(
            *connection,
            async |tx: &mut Conn| -> Result<Option<ConfirmationRow>> {
                let row: Option<ConfirmationRow> = for_update!(
                    confirmations::table
                        .find(key)
                        .filter(confirmations::expires_at.gt(at))
                        .filter(confirmations::tries.lt(MAX_TRIES))
                        .select(ConfirmationRow::as_select())
                )
                .first(tx)
                .await
                .optional()?;
                let Some(row) = row else { return Ok(None) };
                // Digests of digests: how far they agree tells nothing.
                let blurred = |hash: &[u8]| digest(&SHA256, hash).as_ref().to_vec();
                if blurred(&row.code_hash) == blurred(&code_hash) {
                    return Ok(Some(row));
                }
                diesel::update(confirmations::table.find(key))
                    .set(confirmations::tries.eq(confirmations::tries + 1))
                    .execute(tx)
                    .await?;
                Ok(None)
            }
        )?;
        row.map(Confirmation::try_from).transpose()
    }

    async fn lost_confirmations(&self, at: Timestamp, limit: i64) -> Result<Vec<Confirmation>> {
        let lost = confirmations::expires_at
            .le(at)
            .or(confirmations::tries.ge(MAX_TRIES));
        let rows: Vec<ConfirmationRow> = confirmations::table
            .filter(lost)
            .order(confirmations::expires_at)
            .limit(limit)
            .select(ConfirmationRow::as_select())
            .load(&mut self.connection_from_pool().await?)
            .await?;
        rows.into_iter().map(Confirmation::try_from).collect()
    }

    async fn drop_confirmation(
        &self,
        held: &Confirmation,
        upstream: Option<&UpstreamRevocation>,
    ) -> Result<bool> {
        let same = confirmations::table
            .find((DbId(held.workspace_id.0), DbId(held.connection_id.0)))
            .filter(confirmations::consent_id.eq(DbId(held.consent_id.0)));
        let upstream = upstream.cloned().map(UpstreamRevocationRow::from);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let dropped = diesel::delete(same).execute(tx).await?;
            if dropped == 1
                && let Some(upstream) = &upstream
            {
                diesel::insert_into(upstream_revocations::table)
                    .values(upstream)
                    .execute(tx)
                    .await?;
            }
            Ok(dropped == 1)
        })
    }
}
