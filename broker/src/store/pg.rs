//! PostgreSQL: what `sql/` needs to know of it.

use std::sync::Arc;

use super::changes::Changes;
use crate::domain::error::{Error, Result};

/// `now()` of the database, and the end of a lease that begins now.
macro_rules! lease_clock {
    ($at:expr) => {{
        let _ = $at;
        (
            diesel::dsl::sql::<diesel::sql_types::Timestamptz>("now()"),
            diesel::dsl::sql::<diesel::sql_types::Nullable<diesel::sql_types::Timestamptz>>(
                "now() + interval '60 seconds'",
            ),
        )
    }};
}
macro_rules! for_update {
    ($query:expr) => {
        $query.for_update()
    };
}
macro_rules! for_update_skip_locked {
    ($query:expr) => {
        $query.for_update().skip_locked()
    };
}
// A row that is locked stays where it is: there it is found again without its
// keys.
macro_rules! locator {
    () => {
        diesel::dsl::sql::<diesel::sql_types::Text>("ctid::text")
    };
}
macro_rules! located {
    ($rows:expr) => {{
        let places: Vec<&str> = $rows.iter().map(|row| row.0.as_str()).collect();
        credentials::table.filter(
            diesel::dsl::sql::<diesel::sql_types::Bool>("ctid = any(")
                .bind::<diesel::sql_types::Array<diesel::sql_types::Text>, _>(places)
                .sql("::tid[])"),
        )
    }};
}
macro_rules! write_tx {
    (*$connection:ident, $body:expr) => {{
        let lanes = $connection.lanes().clone();
        let body = async |tx: &mut Conn| $crate::store::ledger::body($body(tx).await);
        let transaction =
            diesel_async::AsyncConnection::transaction(&mut *$connection as &mut Conn, body);
        $crate::store::ledger::keep(lanes, transaction).await
    }};
}

// One statement, so outside a transaction it commits by itself.
macro_rules! append_audit {
    ($connection:expr, $rows:expr) => {
        $crate::store::pg::append_audit::AppendAudit::new($rows)
            .execute($connection)
            .await
    };
}

// The same, committed by itself: PostgreSQL does that with one statement.
macro_rules! commit_audit {
    ($connection:ident, $rows:expr) => {
        append_audit!(&mut *$connection as &mut Conn, $rows)
            .map_err($crate::domain::error::Error::from)
    };
}

mod append_audit;
mod link;
mod listen;
mod sessions;
mod tls;

pub(super) type Db = diesel::pg::Pg;
/// As `locator!()` reads it.
pub(super) type Locator = String;
pub(super) type Conn = diesel_async::AsyncPgConnection;
type Pool = diesel_async::pooled_connection::bb8::Pool<Conn>;
const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../migrations/postgres");

pub(super) mod types {
    pub(in crate::store) use diesel::sql_types::{
        BigInt, Binary, Bool, Jsonb, Nullable, Text, Timestamptz as Ts, Uuid as Id,
    };

    use diesel::{
        backend::Backend,
        deserialize::{self, FromSql},
        serialize::{self, Output, ToSql},
    };

    /// A UUID, as this database keeps it.
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
            ToSql::<Id, super::Db>::to_sql(&self.0, out)
        }
    }

    impl FromSql<Id, super::Db> for DbId {
        fn from_sql(bytes: <super::Db as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
            FromSql::<Id, super::Db>::from_sql(bytes).map(Self)
        }
    }
}

#[path = "sql/mod.rs"]
mod sql;

/// Connections to PostgreSQL. Enough for what two to eight cores can use; more
/// would only queue inside the database.
const POOL_SIZE: u32 = 16;

pub(super) async fn open(url: &str) -> Result<Arc<sql::SqlStore>> {
    let link = link::Link::to(&sessions::with_defaults(url)).map_err(Error::store_unavailable)?;
    let link = Arc::new(link);
    let (changes, told) = Changes::shared();
    let opened = sql::SqlStore::open(sessions::manager(link.clone()), POOL_SIZE, changes).await;
    // The pool knows only that it waited in vain.
    let store = opened.map_err(|error| match link.trouble() {
        Some(trouble) => error.because(trouble),
        None => error,
    })?;
    let store = Arc::new(store);
    listen::start(&store, told, link);
    Ok(store)
}

/// What is wrong with a URL, for whoever set it.
pub(super) fn check(url: &str) -> std::result::Result<(), String> {
    link::Link::to(url).map(drop)
}
