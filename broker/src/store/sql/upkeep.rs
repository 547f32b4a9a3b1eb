//! What keeps the store in order.

use async_trait::async_trait;
use chrono::TimeDelta;
use diesel::prelude::*;
use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::MigrationHarness;

use super::super::{Conn, Db, MIGRATIONS};
use super::schema::{answers, connections, consents, credentials, data_keys};
use super::{SqlStore, rows::status};
use crate::domain::{
    Timestamp,
    connection::{CONSENT_TIMEOUT, Status},
    error::{Error, Result},
};
use crate::store::Upkeep;

#[async_trait]
impl Upkeep for SqlStore {
    async fn ping(&self) -> Result<()> {
        let one = diesel::select(1.into_sql::<diesel::sql_types::Integer>());
        one.execute(&mut self.connection_from_pool().await?).await?;
        Ok(())
    }

    async fn migrate(&self) -> Result<usize> {
        let connection = self
            .pool
            .dedicated_connection()
            .await
            .map_err(Error::store_unavailable)?;
        tokio::task::spawn_blocking(move || run_pending(connection))
            .await
            .map_err(Error::internal)?
    }

    async fn is_migrated(&self) -> Result<bool> {
        let connection = self
            .pool
            .dedicated_connection()
            .await
            .map_err(Error::store_unavailable)?;
        tokio::task::spawn_blocking(move || {
            let mut harness = AsyncMigrationHarness::new(connection);
            let pending = harness
                .pending_migrations(MIGRATIONS)
                .map_err(Error::store_unavailable)?;
            Ok(pending.is_empty())
        })
        .await
        .map_err(Error::internal)?
    }

    async fn tidy(&self, at: Timestamp) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        let day_ago = at - TimeDelta::days(1);
        diesel::delete(consents::table.filter(consents::expires_at.le(day_ago)))
            .execute(&mut connection)
            .await?;
        diesel::delete(answers::table.filter(answers::created_at.le(day_ago)))
            .execute(&mut connection)
            .await?;
        let timed_out = connections::table
            .filter(connections::status.eq(Status::Pending.as_str()))
            .filter(connections::consent_expires_at.le(at));
        diesel::update(timed_out)
            .set((
                connections::status.eq(Status::Failed.as_str()),
                connections::reason.eq(CONSENT_TIMEOUT),
                connections::updated_at.eq(at),
            ))
            .execute(&mut connection)
            .await?;
        Ok(())
    }

    async fn count_by_status(&self) -> Result<Vec<(Status, i64)>> {
        let rows: Vec<(String, i64)> = connections::table
            .group_by(connections::status)
            .select((connections::status, diesel::dsl::count_star()))
            .load(&mut self.connection_from_pool().await?)
            .await?;
        rows.into_iter()
            .map(|(text, count)| Ok((status(&text)?, count)))
            .collect()
    }

    async fn longest_due(&self, at: Timestamp) -> Result<Option<Timestamp>> {
        let due = credentials::table
            .filter(credentials::refresh_at.is_not_null())
            .filter(credentials::refresh_at.assume_not_null().le(at))
            .select(credentials::refresh_at.assume_not_null())
            .order(credentials::refresh_at)
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(due)
    }

    async fn oldest_active_data_key(&self) -> Result<Option<Timestamp>> {
        let oldest = data_keys::table
            .filter(data_keys::active.eq(true))
            .select(data_keys::created_at)
            .order(data_keys::created_at)
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        Ok(oldest)
    }

    fn pool_state(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }
}

fn run_pending(connection: Conn) -> Result<usize> {
    let mut harness = AsyncMigrationHarness::new(connection);
    let ran = MigrationHarness::<Db>::run_pending_migrations(&mut harness, MIGRATIONS);
    ran.map(|ran| ran.len()).map_err(Error::store_unavailable)
}
