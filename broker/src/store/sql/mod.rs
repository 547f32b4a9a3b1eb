//! The queries. Compiled twice: as `pg::sql` and as `sqlite::sql`, with the
//! types and macros of the parent module.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8::PooledConnection};

use super::{Conn, Pool};
use crate::domain::error::{Error, Result};
use crate::store::{changes::Changes, lanes::AuditLanes};

mod answers;
mod api_keys;
mod audit;
mod audit_endings;
mod audit_rows;
mod confirmations;
mod connections;
mod consents;
mod credentials;
mod data_keys;
mod due;
mod events;
mod key_rotations;
mod providers;
mod retirements;
mod rows;
mod schema;
mod sealed_columns;
mod upkeep;
mod webhooks;
mod workspaces;

/// A store over one database.
pub(in crate::store) struct SqlStore {
    pool: Pool,
    /// Who waits for news.
    pub(in crate::store) changes: Changes,
    lanes: Arc<AuditLanes>,
}

/// A connection from the pool. `write_tx!` begins transactions on it, whose
/// audit rows come from `lanes`.
pub(in crate::store) struct Pooled<'a> {
    connection: PooledConnection<'a, Conn>,
    lanes: &'a Arc<AuditLanes>,
}

impl Pooled<'_> {
    fn lanes(&self) -> &Arc<AuditLanes> {
        self.lanes
    }
}

impl Deref for Pooled<'_> {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.connection
    }
}

impl DerefMut for Pooled<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.connection
    }
}

impl SqlStore {
    pub(in crate::store) async fn open(
        manager: AsyncDieselConnectionManager<Conn>,
        size: u32,
        changes: Changes,
    ) -> Result<Self> {
        let pool = Pool::builder()
            .max_size(size)
            .connection_timeout(crate::store::CONNECTION_WAIT)
            // What a test asks is the parent's choice: nothing of the database.
            .test_on_check_out(true)
            .build(manager)
            .await
            .map_err(Error::store_unavailable)?;
        let store = Self {
            pool,
            changes,
            lanes: Arc::default(),
        };
        store.connection_from_pool().await?;
        Ok(store)
    }

    pub(in crate::store) async fn connection_from_pool(&self) -> Result<Pooled<'_>> {
        let connection = self.pool.get().await.map_err(|error| {
            crate::store::count_error("connection");
            Error::store_unavailable(error.to_string())
        })?;
        Ok(Pooled {
            connection,
            lanes: &self.lanes,
        })
    }
}

/// Whether an insert met a row of the same key.
fn is_duplicate(error: &DieselError) -> bool {
    matches!(
        error,
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)
    )
}
