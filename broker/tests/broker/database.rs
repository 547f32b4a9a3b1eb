//! A world's database, past the broker: what an operator, a thief of backups
//! or a fault of ours could do to its rows.

use diesel::{QueryableByName, sql_types::Text};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    sync_connection_wrapper::SyncConnectionWrapper,
};

use crate::world::World;

type Sqlite = SyncConnectionWrapper<diesel::SqliteConnection>;

enum Connected {
    Postgres(Box<AsyncPgConnection>),
    Sqlite(Sqlite),
}

/// A connection to the database itself.
pub struct Database(Connected);

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Database {
    pub async fn of(world: &World) -> Self {
        Self::open(&world.database_url).await
    }

    pub async fn open(url: &str) -> Self {
        Self(if url.starts_with("postgres") {
            let connection = AsyncPgConnection::establish(url).await;
            Connected::Postgres(Box::new(connection.expect("PostgreSQL answers")))
        } else {
            let mut connection = Sqlite::establish(url).await.expect("the file opens");
            connection
                .batch_execute("pragma busy_timeout = 5000")
                .await
                .expect("a pragma");
            Connected::Sqlite(connection)
        })
    }

    /// Runs statements.
    pub async fn execute(&mut self, sql: &str) {
        match &mut self.0 {
            Connected::Postgres(connection) => connection.batch_execute(sql).await,
            Connected::Sqlite(connection) => connection.batch_execute(sql).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// From now on what this connection writes need not be sealed under the
    /// active data key: so much can be done by whoever owns the database.
    pub async fn unguarded(&mut self) {
        let sql = match &self.0 {
            Connected::Postgres(_) => "set session_replication_role = replica".to_owned(),
            Connected::Sqlite(_) => {
                let names = "select name as line from sqlite_master where type = 'trigger'";
                let drop = |name: String| format!("drop trigger {name};");
                self.lines(names).await.into_iter().map(drop).collect()
            }
        };
        self.execute(&sql).await;
    }

    /// The texts in the column `line`.
    pub async fn lines(&mut self, sql: &str) -> Vec<String> {
        let query = diesel::sql_query(sql);
        let lines: Result<Vec<Line>, _> = match &mut self.0 {
            Connected::Postgres(connection) => query.load(&mut **connection).await,
            Connected::Sqlite(connection) => query.load(connection).await,
        };
        let lines = lines.unwrap_or_else(|error| panic!("{sql}: {error}"));
        lines.into_iter().map(|line| line.line).collect()
    }

    /// An id as this database writes it.
    pub fn id(&self, id: &str) -> String {
        match &self.0 {
            Connected::Postgres(_) => format!("'{id}'::uuid"),
            Connected::Sqlite(_) => format!("x'{}'", id.replace('-', "")),
        }
    }

    /// A time as this database writes it.
    pub fn time(&self, text: &str) -> String {
        match &self.0 {
            Connected::Postgres(_) => format!("'{text}+00:00'::timestamptz"),
            Connected::Sqlite(_) => format!("'{text}+00:00'"),
        }
    }

    /// Every row of every table as text, byte strings in hex: what a dump has.
    pub async fn dump(&mut self) -> String {
        let tables = match &self.0 {
            Connected::Postgres(_) => {
                "select tablename::text as line from pg_tables where schemaname = 'public'"
            }
            Connected::Sqlite(_) => "select name as line from sqlite_master where type = 'table'",
        };
        let mut dump = String::new();
        for table in self.lines(tables).await {
            let rows = match &self.0 {
                Connected::Postgres(_) => format!("select t::text as line from {table} t"),
                Connected::Sqlite(_) => {
                    let columns = self
                        .lines(&format!(
                            "select name as line from pragma_table_info('{table}')"
                        ))
                        .await;
                    let columns: Vec<String> = columns
                        .iter()
                        .map(|name| format!("quote({name})"))
                        .collect();
                    format!(
                        "select {} as line from {table}",
                        columns.join(" || ',' || ")
                    )
                }
            };
            for row in self.lines(&rows).await {
                dump.push_str(&format!("{table}: {row}\n"));
            }
        }
        dump
    }
}
