//! SQLite: what `sql/` needs to know of it.

use std::sync::Arc;

use diesel_async::{
    AsyncConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};

use super::changes::Changes;
use crate::domain::error::Result;

/// One process owns the file, so its clock is the database's.
macro_rules! lease_clock {
    ($at:expr) => {
        (
            $at,
            Some($at + chrono::TimeDelta::seconds(crate::store::LEASE_SECONDS)),
        )
    };
}
macro_rules! for_update {
    ($query:expr) => {
        $query
    };
}
macro_rules! for_update_skip_locked {
    ($query:expr) => {
        $query
    };
}
macro_rules! locator {
    () => {
        diesel::dsl::sql::<diesel::sql_types::BigInt>("rowid")
    };
}
macro_rules! located {
    ($rows:expr) => {
        credentials::table.filter(
            diesel::dsl::sql::<diesel::sql_types::BigInt>("rowid")
                .eq_any($rows.iter().map(|row| row.0)),
        )
    };
}
// A deferred transaction that reads first can't always become a writer.
macro_rules! write_tx {
    (*$connection:ident, $body:expr) => {{
        let lanes = $connection.lanes().clone();
        let body = async |tx: &mut Conn| $crate::store::ledger::body($body(tx).await);
        let transaction = (&mut *$connection as &mut Conn).immediate_transaction(body);
        $crate::store::ledger::keep(lanes, transaction).await
    }};
}

// SQLite takes several rows in one statement, but no more of them than its
// parameters allow; one process writes, so one by one costs no round trip.
macro_rules! append_audit {
    ($connection:expr, $rows:expr) => {
        async {
            for row in $rows {
                diesel::insert_into($crate::store::sqlite::sql::schema::audit_events::table)
                    .values($crate::store::sqlite::sql::audit_rows::AuditRow::from(row))
                    .execute($connection)
                    .await?;
            }
            Ok::<(), diesel::result::Error>(())
        }
        .await
    };
}

macro_rules! commit_audit {
    ($connection:ident, $rows:expr) => {{
        let rows = $rows;
        write_tx!(*$connection, async |tx: &mut Conn| -> Result<()> {
            append_audit!(tx, rows)?;
            Ok(())
        })
    }};
}

pub(super) type Db = diesel::sqlite::Sqlite;
/// As `locator!()` reads it.
pub(super) type Locator = i64;
pub(super) type Conn =
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>;
type Pool = diesel_async::pooled_connection::bb8::Pool<Conn>;
const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../migrations/sqlite");

pub(super) mod types {
    pub(in crate::store) use diesel::sql_types::{
        BigInt, Binary, Binary as Id, Bool, Jsonb, Nullable, Text, TimestamptzSqlite as Ts,
    };

    use diesel::{
        backend::Backend,
        deserialize::{self, FromSql},
        serialize::{self, IsNull, Output, ToSql},
    };

    /// A UUID, as this database keeps it: 16 bytes.
    #[derive(
        Debug,
        Clone,
        Copy,
        PartialEq,
        Eq,
        diesel::expression::AsExpression,
        diesel::deserialize::FromSqlRow,
    )]
    #[diesel(sql_type = Id)]
    pub(in crate::store) struct DbId(pub uuid::Uuid);

    impl ToSql<Id, super::Db> for DbId {
        fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, super::Db>) -> serialize::Result {
            out.set_value(self.0.as_bytes().to_vec());
            Ok(IsNull::No)
        }
    }

    impl FromSql<Id, super::Db> for DbId {
        fn from_sql(bytes: <super::Db as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
            let bytes: Vec<u8> = FromSql::<Id, super::Db>::from_sql(bytes)?;
            Ok(Self(uuid::Uuid::from_slice(&bytes)?))
        }
    }
}

#[path = "sql/mod.rs"]
mod sql;

/// Readers beside the one writer that SQLite has.
const POOL_SIZE: u32 = 4;

/// `synchronous=FULL`: a commit that was acknowledged survives a power cut.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";

pub(super) async fn open(path: &str) -> Result<Arc<sql::SqlStore>> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(|path| {
        let path = path.to_owned();
        Box::pin(async move {
            let mut connection = Conn::establish(&path).await?;
            let setup = connection.batch_execute(PRAGMAS).await;
            setup.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        })
    });
    let manager = AsyncDieselConnectionManager::new_with_config(path, config);
    let store = sql::SqlStore::open(manager, POOL_SIZE, Changes::local()).await?;
    Ok(Arc::new(store))
}
