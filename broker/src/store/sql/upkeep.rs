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
    connection::Status,
    error::{Error, Result},
};
use crate::store::{EventStore, Upkeep};

/// How long events can be read again, and deliveries seen and replayed.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(7);
/// What one round of upkeep does at most; the next one goes on.
const SETTLED_AT_ONCE: i64 = 2000;
const FORGOTTEN_AT_ONCE: i64 = 50_000;

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
        drop(connection);
        for (workspace, id) in self.unsettled(at, SETTLED_AT_ONCE).await? {
            self.settle(workspace, id, at).await?;
        }
        self.forget_events(at - EVENTS_KEPT, FORGOTTEN_AT_ONCE)
            .await?;
        self.forget_deliveries(at - EVENTS_KEPT, FORGOTTEN_AT_ONCE)
            .await
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
