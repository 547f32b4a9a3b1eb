//! A database of the benchmark's own, as large as a small installation's, so
//! that the planner has reason to use the indexes.

use anyhow::{Context, Result, ensure};
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use url::Url;
use uuid::Uuid;

/// A database that was made for this run.
pub struct Database {
    /// Its address.
    pub url: String,
    name: String,
    connection: AsyncPgConnection,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = sql_types::BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = sql_types::Text)]
    #[diesel(column_name = "QUERY PLAN")]
    line: String,
}

/// Rows like those of a real connection, in its three tables.
const FILL: &str = "
    insert into providers
        (workspace_id, provider_id, name, definition, strategy, client_secret, secret_generation, created_at, updated_at)
    select workspace_id, gen_random_uuid(), 'filler-' || n, definition, strategy, client_secret, secret_generation, created_at, updated_at
    from providers, generate_series(1, 1000) n;
    with filler as (
        insert into connections
            (workspace_id, connection_id, user_id, provider_id, provider_name, status, reason, scopes, connection_config,
             metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at)
        select workspace_id, gen_random_uuid(), 'user-' || n, provider_id, provider_name, status, reason, scopes, connection_config,
             metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at
        from (select * from connections limit 1) one, generate_series(1, 20000) n
        returning workspace_id, connection_id)
    insert into credentials
        (workspace_id, connection_id, usage, refresh, generation, issued_at, expires_at, refresh_at, token_origin,
         lease_epoch, committed_epoch, attempts, provider_id)
    select filler.workspace_id, filler.connection_id, usage, refresh, generation, issued_at, expires_at, null, token_origin,
         lease_epoch, committed_epoch, attempts, provider_id
    from (select * from credentials limit 1) one, filler;
    analyze;";

/// The same without fillers among the providers, and with a time to be due.
const GROW: &str = "
    create temporary table filler as
        select workspace_id, gen_random_uuid() as connection_id, n
        from workspaces, generate_series(1, {fillers}) n
        where workspace_id = (select workspace_id from connections limit 1);
    insert into connections
        (workspace_id, connection_id, user_id, provider_id, provider_name, status, reason, scopes, connection_config,
         metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at)
    select one.workspace_id, filler.connection_id, 'user-' || n, provider_id, provider_name, status, reason, scopes, connection_config,
         metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at
    from (select * from connections limit 1) one, filler;
    insert into credentials
        (workspace_id, connection_id, usage, refresh, generation, issued_at, expires_at, refresh_at, due_at, token_origin,
         lease_epoch, committed_epoch, attempts, provider_id)
    select one.workspace_id, filler.connection_id, usage, refresh, generation, issued_at, expires_at,
         now() + interval '40 days', now() + interval '30 days' + random() * interval '30 days', token_origin,
         lease_epoch, committed_epoch, attempts, provider_id
    from (select * from credentials limit 1) one, filler;
    update credentials set due_at = now() + interval '30 days' + random() * interval '30 days'
    where due_at is null or due_at < now() + interval '30 days';
    drop table filler;";

impl Database {
    /// Makes one on the server of TEST_POSTGRES_URL.
    ///
    /// # Errors
    /// The variable is not set, or the server refuses.
    pub async fn create() -> Result<Self> {
        Self::create_as("one").await
    }

    /// Makes one of several.
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn create_as(which: &str) -> Result<Self> {
        let server = std::env::var("TEST_POSTGRES_URL").context(
            "TEST_POSTGRES_URL names a PostgreSQL server; `cargo xtask bench` starts one and sets it",
        )?;
        let name = format!("bench_{}_{which}", std::process::id());
        let mut connection = AsyncPgConnection::establish(&server).await?;
        connection
            .batch_execute(&format!("drop database if exists {name} with (force)"))
            .await?;
        connection
            .batch_execute(&format!("create database {name}"))
            .await?;
        let mut url = Url::parse(&server).context("TEST_POSTGRES_URL is no URL")?;
        url.set_path(&name);
        // The floor speaks without TLS, and what is counted on the wire is read.
        url.set_query(Some("sslmode=disable"));
        let mut connection = AsyncPgConnection::establish(url.as_str()).await?;
        // What this connection fills in is no ciphertext of the vault's, which
        // the triggers would refuse.
        connection
            .batch_execute("set session_replication_role = replica")
            .await?;
        Ok(Self {
            url: url.into(),
            name,
            connection,
        })
    }

    /// Removes it, whoever still uses it.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn remove(self) -> Result<()> {
        let server = std::env::var("TEST_POSTGRES_URL")?;
        drop(self.connection);
        let mut connection = AsyncPgConnection::establish(&server).await?;
        let name = &self.name;
        connection
            .batch_execute(&format!("drop database {name} with (force)"))
            .await?;
        Ok(())
    }

    /// Where the server listens, as host and port.
    ///
    /// # Errors
    /// The address names no host.
    pub fn address(&self) -> Result<String> {
        let url = Url::parse(&self.url)?;
        let host = url.host_str().context("the database's host")?;
        Ok(format!("{host}:{}", url.port().unwrap_or(5432)))
    }

    /// The same database at another address.
    ///
    /// # Errors
    /// The address can't be put into the URL.
    pub fn url_at(&self, port: u16) -> Result<String> {
        let mut url = Url::parse(&self.url)?;
        url.set_host(Some("127.0.0.1"))?;
        url.set_port(Some(port)).ok().context("a port")?;
        Ok(url.into())
    }

    /// Adds many rows like those of the one connection, and some whose usage
    /// secret is `floor`'s: their connections' ids.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn fill(&mut self, floor: &[u8], count: usize) -> Result<Vec<Uuid>> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::Uuid)]
            id: Uuid,
        }
        self.connection.batch_execute(FILL).await?;
        let rows: Vec<Row> = diesel::sql_query(
            "update credentials set usage = $1 where (workspace_id, connection_id) in \
             (select workspace_id, connection_id from connections \
              order by substr(user_id, 6)::int desc limit $2) \
             returning connection_id as id",
        )
        .bind::<sql_types::Binary, _>(floor)
        .bind::<sql_types::BigInt, _>(count as i64)
        .load(&mut self.connection)
        .await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    /// Adds rows like those of one connection, and lets all be due some day, in
    /// a month or later.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn grow(&mut self, fillers: u32) -> Result<()> {
        self.connection
            .batch_execute(&format!(
                "set statement_timeout = 0; {}",
                GROW.replace("{fillers}", &fillers.to_string())
            ))
            .await?;
        // Settled, as it would be after a day: nothing of this is left to write.
        self.connection.batch_execute("vacuum analyze").await?;
        self.connection.batch_execute("checkpoint").await?;
        Ok(())
    }

    /// Makes `count` connections due in eleven hours, the same ones each time.
    ///
    /// # Errors
    /// The database refuses, or they are not as many.
    pub async fn make_due(&mut self, count: usize) -> Result<()> {
        let again = "update credentials set due_at = now() + interval '11 hours' \
                     where due_at < now() + interval '10 days'";
        let mut made = diesel::sql_query(again)
            .execute(&mut self.connection)
            .await?;
        if made == 0 {
            made = diesel::sql_query(format!(
                "update credentials set due_at = now() + interval '11 hours' \
                 where (workspace_id, connection_id) in (select workspace_id, connection_id \
                 from credentials order by md5(connection_id::text) limit {count})"
            ))
            .execute(&mut self.connection)
            .await?;
        }
        ensure!(made == count, "{made} are due, not {count}");
        Ok(())
    }

    /// How many audit rows say that a credential of these connections was read.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn reads(&mut self, connection_ids: &[String]) -> Result<u64> {
        let count: Count = diesel::sql_query(
            "select count(*) from audit_events where action = 'credential.read' \
             and error is null and connection_id::text = any($1)",
        )
        .bind::<sql_types::Array<sql_types::Text>, _>(connection_ids)
        .get_result(&mut self.connection)
        .await?;
        Ok(count.count as u64)
    }

    /// How PostgreSQL carries out a statement with two UUIDs and whatever
    /// `more` parameters, as prepared once and run often.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn plan(&mut self, sql: &str, parameters: &[&str]) -> Result<Vec<String>> {
        let parameters = parameters.join(", ");
        self.connection
            .batch_execute(&format!(
                "set plan_cache_mode = force_generic_plan; prepare measured as {sql}"
            ))
            .await?;
        let lines: Vec<Line> = diesel::sql_query(format!(
            "explain (costs off) execute measured({parameters})"
        ))
        .load(&mut self.connection)
        .await?;
        self.connection.batch_execute("deallocate measured").await?;
        Ok(lines.into_iter().map(|line| line.line).collect())
    }

    /// The server's processes, where it runs on this machine.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn processes(&mut self) -> Result<Vec<u32>> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::Integer)]
            pid: i32,
        }
        if !self.address()?.starts_with("127.") {
            return Ok(vec![]);
        }
        let rows: Vec<Row> = diesel::sql_query("select pid from pg_stat_activity")
            .load(&mut self.connection)
            .await?;
        Ok(rows.into_iter().map(|row| row.pid as u32).collect())
    }
}
