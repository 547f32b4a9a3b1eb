//! The end of providers and workspaces.

use async_trait::async_trait;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::super::{Conn, types::DbId};
use super::rows::{ConnectionRow, CredentialRow, ProviderRow};
use super::schema::{
    answers, api_keys, confirmations, connections, consents, credentials, data_keys, events,
    providers, upstream_revocations, webhook_deliveries, webhooks, workspaces,
};
use super::{SqlStore, audit};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    connection::{Connection, Status},
    credential::Credential,
    error::Result,
    id::{ProviderId, WorkspaceId},
    provider::Provider,
};
use crate::store::{Removed, Retired, Retirement, RetirementStore};

#[async_trait]
impl RetirementStore for SqlStore {
    async fn retire_provider(
        &self,
        retirement: Retirement,
        at: Timestamp,
        force: bool,
        event: AuditEvent,
    ) -> Result<Retired> {
        let workspace = DbId(retirement.workspace_id.0);
        let Some(id) = retirement.provider_id.map(|id| DbId(id.0)) else {
            return Ok(Retired::Gone);
        };
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<Retired> {
            // Locked first, so that no connection is begun in between.
            let provider: Option<DbId> = for_update!(
                providers::table
                    .find((workspace, id))
                    .filter(providers::deleted_at.is_null())
                    .select(providers::provider_id)
            )
            .first(tx)
            .await
            .optional()?;
            if provider.is_none() {
                return Ok(Retired::Gone);
            }
            let used: i64 = connections::table
                .filter(connections::workspace_id.eq(workspace))
                .filter(connections::provider_id.eq(id))
                .filter(connections::status.ne(Status::Revoked.as_str()))
                .count()
                .get_result(tx)
                .await?;
            if used > 0 && !force {
                return Ok(Retired::InUse(used));
            }
            diesel::update(providers::table.find((workspace, id)))
                .set(providers::deleted_at.eq(at))
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(Retired::Done)
        })
    }

    async fn retire_workspace(
        &self,
        workspace: WorkspaceId,
        at: Timestamp,
        event: AuditEvent,
    ) -> Result<bool> {
        let id = DbId(workspace.0);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            // The row is locked by its change, so that no key is made in it
            // after the keys are gone.
            let living = workspaces::table
                .find(id)
                .filter(workspaces::deleted_at.is_null());
            let retired = diesel::update(living)
                .set(workspaces::deleted_at.eq(at))
                .execute(tx)
                .await?;
            if retired == 0 {
                return Ok(false);
            }
            diesel::delete(api_keys::table.filter(api_keys::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            let living = providers::table
                .filter(providers::workspace_id.eq(id))
                .filter(providers::deleted_at.is_null());
            diesel::update(living)
                .set(providers::deleted_at.eq(at))
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn retirements(&self, limit: i64) -> Result<Vec<Retirement>> {
        let mut connection = self.connection_from_pool().await?;
        let providers: Vec<(DbId, DbId)> = providers::table
            .filter(providers::deleted_at.is_not_null())
            .order(providers::deleted_at)
            .limit(limit)
            .select((providers::workspace_id, providers::provider_id))
            .load(&mut connection)
            .await?;
        let workspaces: Vec<DbId> = workspaces::table
            .filter(workspaces::deleted_at.is_not_null())
            .order(workspaces::deleted_at)
            .limit(limit)
            .select(workspaces::workspace_id)
            .load(&mut connection)
            .await?;
        let providers = providers.into_iter().map(|(workspace, id)| Retirement {
            workspace_id: WorkspaceId(workspace.0),
            provider_id: Some(ProviderId(id.0)),
        });
        let workspaces = workspaces.into_iter().map(|id| Retirement {
            workspace_id: WorkspaceId(id.0),
            provider_id: None,
        });
        Ok(providers.chain(workspaces).collect())
    }

    async fn living_connections(
        &self,
        retirement: Retirement,
        limit: i64,
    ) -> Result<Vec<(Connection, Option<Credential>)>> {
        let on_credential = credentials::workspace_id
            .eq(connections::workspace_id)
            .and(credentials::connection_id.eq(connections::connection_id));
        let mut query = connections::table
            .left_join(credentials::table.on(on_credential))
            .filter(connections::workspace_id.eq(DbId(retirement.workspace_id.0)))
            .filter(connections::status.ne(Status::Revoked.as_str()))
            .order(connections::connection_id)
            .limit(limit)
            .select((
                ConnectionRow::as_select(),
                Option::<CredentialRow>::as_select(),
            ))
            .into_boxed();
        if let Some(id) = retirement.provider_id {
            query = query.filter(connections::provider_id.eq(DbId(id.0)));
        }
        let rows: Vec<(ConnectionRow, Option<CredentialRow>)> =
            query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter()
            .map(|(connection, credential)| {
                let credential = credential.map(Credential::try_from).transpose()?;
                Ok((Connection::try_from(connection)?, credential))
            })
            .collect()
    }

    async fn remove_retired(&self, retirement: Retirement, limit: i64) -> Result<Removed> {
        if self.is_held_up(retirement).await? {
            return Ok(Removed::HeldUp);
        }
        match retirement.provider_id {
            Some(id) => self.remove_provider(retirement.workspace_id, id).await,
            None => self.remove_workspace(retirement.workspace_id, limit).await,
        }
    }

    async fn provider_even_retired(
        &self,
        workspace: WorkspaceId,
        id: ProviderId,
    ) -> Result<Option<Provider>> {
        let row: Option<ProviderRow> = providers::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(ProviderRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Provider::try_from).transpose()
    }
}

impl SqlStore {
    /// Whether a connection lives, or a provider has yet to be told.
    async fn is_held_up(&self, retirement: Retirement) -> Result<bool> {
        let workspace = DbId(retirement.workspace_id.0);
        let mut connection = self.connection_from_pool().await?;
        let mut living = connections::table
            .filter(connections::workspace_id.eq(workspace))
            .filter(connections::status.ne(Status::Revoked.as_str()))
            .select(connections::connection_id)
            .limit(1)
            .into_boxed();
        let mut untold = upstream_revocations::table
            .filter(upstream_revocations::workspace_id.eq(workspace))
            .select(upstream_revocations::connection_id)
            .limit(1)
            .into_boxed();
        if let Some(id) = retirement.provider_id {
            living = living.filter(connections::provider_id.eq(DbId(id.0)));
            untold = untold.filter(upstream_revocations::provider_id.eq(DbId(id.0)));
        }
        // Tokens that wait for a confirmation nobody can give any more: upkeep
        // gives them up.
        let on_connection = connections::workspace_id
            .eq(confirmations::workspace_id)
            .and(connections::connection_id.eq(confirmations::connection_id));
        let mut held = confirmations::table
            .inner_join(connections::table.on(on_connection))
            .filter(confirmations::workspace_id.eq(workspace))
            .select(confirmations::connection_id)
            .limit(1)
            .into_boxed();
        if let Some(id) = retirement.provider_id {
            held = held.filter(connections::provider_id.eq(DbId(id.0)));
        }
        let held: Option<DbId> = held.first(&mut connection).await.optional()?;
        let living: Option<DbId> = living.first(&mut connection).await.optional()?;
        let untold: Option<DbId> = untold.first(&mut connection).await.optional()?;
        Ok(living.is_some() || untold.is_some() || held.is_some())
    }

    async fn remove_provider(&self, workspace: WorkspaceId, id: ProviderId) -> Result<Removed> {
        let retired = providers::table
            .find((DbId(workspace.0), DbId(id.0)))
            .filter(providers::deleted_at.is_not_null());
        diesel::delete(retired)
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(Removed::All)
    }

    /// Removes some connections, or when there are none, all the rest but the
    /// audit; the data keys with it.
    async fn remove_workspace(&self, workspace: WorkspaceId, limit: i64) -> Result<Removed> {
        let id = DbId(workspace.0);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<Removed> {
            let retired: Option<DbId> = for_update!(
                workspaces::table
                    .find(id)
                    .filter(workspaces::deleted_at.is_not_null())
                    .select(workspaces::workspace_id)
            )
            .first(tx)
            .await
            .optional()?;
            if retired.is_none() {
                return Ok(Removed::All);
            }
            let next: Vec<DbId> = connections::table
                .filter(connections::workspace_id.eq(id))
                .select(connections::connection_id)
                .limit(limit)
                .load(tx)
                .await?;
            for next in &next {
                let of_it = consents::table
                    .filter(consents::workspace_id.eq(id))
                    .filter(consents::connection_id.eq(*next));
                diesel::delete(of_it).execute(tx).await?;
                let of_it = events::table
                    .filter(events::workspace_id.eq(id))
                    .filter(events::connection_id.eq(*next));
                diesel::delete(of_it).execute(tx).await?;
                diesel::delete(connections::table.find((id, *next)))
                    .execute(tx)
                    .await?;
            }
            let deliveries: Vec<DbId> = webhook_deliveries::table
                .filter(webhook_deliveries::workspace_id.eq(id))
                .select(webhook_deliveries::delivery_id)
                .limit(limit)
                .load(tx)
                .await?;
            for next in &deliveries {
                diesel::delete(webhook_deliveries::table.find((id, *next)))
                    .execute(tx)
                    .await?;
            }
            if !next.is_empty() || !deliveries.is_empty() {
                return Ok(Removed::Some);
            }
            diesel::delete(webhooks::table.filter(webhooks::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(events::table.filter(events::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(consents::table.filter(consents::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(credentials::table.filter(credentials::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(providers::table.filter(providers::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(answers::table.filter(answers::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(data_keys::table.filter(data_keys::workspace_id.eq(id)))
                .execute(tx)
                .await?;
            diesel::delete(workspaces::table.find(id))
                .execute(tx)
                .await?;
            Ok(Removed::All)
        })
    }
}
