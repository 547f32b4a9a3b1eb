//! Many credentials as real ones are: each sealed in its own place, under the
//! data key that the broker uses.

use anyhow::{Context, Result, anyhow};
use diesel::{QueryableByName, sql_types};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use dromos_broker::{
    domain::{ambient::Ambient, error::Error, id::WorkspaceId, sealed::SEALED_COLUMNS},
    store,
    vault::{
        Vault,
        kms::{self, KeySource},
    },
};
use secrecy::ExposeSecret;
use uuid::Uuid;

use crate::services::ENCRYPTION_KEY;

/// Rows of one statement.
const BATCH: usize = 1000;

/// A row like that of the one connection.
const CONNECTION: &str = "
    insert into connections
        (workspace_id, connection_id, user_id, provider_id, provider_name, status, reason, scopes, connection_config,
         metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at)
    select workspace_id, new.id, 'user-' || new.id, provider_id, provider_name, status, reason, scopes, connection_config,
         metadata, subject, consent_expires_at, expires_at, refreshable, created_at, updated_at
    from connections, unnest($1) as new (id) where connection_id = $2";
const CREDENTIAL: &str = "
    insert into credentials
        (workspace_id, connection_id, usage, refresh, generation, issued_at, expires_at, refresh_at, token_origin,
         lease_epoch, committed_epoch, attempts, provider_id)
    select workspace_id, new.id, new.usage, new.refresh, generation, issued_at, expires_at, null, token_origin,
         lease_epoch, committed_epoch, attempts, provider_id
    from credentials, unnest($1, $2, $3) as new (id, usage, refresh) where connection_id = $4";

#[derive(QueryableByName)]
struct Generation {
    #[diesel(sql_type = sql_types::BigInt)]
    generation: i64,
}

fn told(error: Error) -> anyhow::Error {
    anyhow!("{error}: {:?}", error.cause)
}

/// Gives `count` more connections the credential of this one, sealed anew for
/// each: their ids.
///
/// # Errors
/// The database refuses, or what is stored does not open.
pub async fn multiply(url: &str, connection_id: &str, count: usize) -> Result<Vec<Uuid>> {
    let store = store::open(url).await.map_err(told)?;
    let setting = |name: &str| (name == "ENCRYPTION_KEY").then(|| ENCRYPTION_KEY.to_owned());
    let ambient = Ambient::system();
    let source = KeySource {
        setting: &setting,
        has_data_keys: true,
        ambient: &ambient,
    };
    let keys = kms::make("env", &source).map_err(|bad| anyhow!("{}: {}", bad.name, bad.advice))?;
    let vault = Vault::new(keys, store.clone(), ambient.clone());
    let one: Uuid = connection_id.parse()?;

    let mut connection = AsyncPgConnection::establish(url).await?;
    let generation: Generation =
        diesel::sql_query("select generation from credentials where connection_id = $1")
            .bind::<sql_types::Uuid, _>(one)
            .get_result(&mut connection)
            .await?;
    let generation = u32::try_from(generation.generation)?;
    let credential = store
        .credential(
            WorkspaceId::DEFAULT,
            dromos_broker::domain::id::ConnectionId(one),
        )
        .await
        .map_err(told)?
        .context("the connection has a credential")?;
    let column = |field: &str| {
        let found = SEALED_COLUMNS
            .iter()
            .find(|column| column.table == "credentials" && column.column == field);
        found.context("credentials are sealed")
    };
    let (usage, refresh) = (column("usage")?, column("refresh")?);
    let place = usage.place(WorkspaceId::DEFAULT, one, generation);
    let opened_usage = vault
        .open(&place, &credential.content.usage)
        .await
        .map_err(told)?;
    let sealed = credential.content.refresh.context("a refresh token")?;
    let place = refresh.place(WorkspaceId::DEFAULT, one, generation);
    let opened_refresh = vault.open(&place, &sealed).await.map_err(told)?;

    let ids: Vec<Uuid> = (0..count).map(|_| ambient.id()).collect();
    for ids in ids.chunks(BATCH) {
        let (mut usages, mut refreshes) = (vec![], vec![]);
        for id in ids {
            for (column, opened, sealed) in [
                (usage, &opened_usage, &mut usages),
                (refresh, &opened_refresh, &mut refreshes),
            ] {
                let place = column.place(WorkspaceId::DEFAULT, *id, generation);
                let again = vault.seal(&place, opened.expose_secret()).await;
                sealed.push(again.map_err(told)?.0);
            }
        }
        diesel::sql_query(CONNECTION)
            .bind::<sql_types::Array<sql_types::Uuid>, _>(ids)
            .bind::<sql_types::Uuid, _>(one)
            .execute(&mut connection)
            .await?;
        diesel::sql_query(CREDENTIAL)
            .bind::<sql_types::Array<sql_types::Uuid>, _>(ids)
            .bind::<sql_types::Array<sql_types::Binary>, _>(usages)
            .bind::<sql_types::Array<sql_types::Binary>, _>(refreshes)
            .bind::<sql_types::Uuid, _>(one)
            .execute(&mut connection)
            .await?;
    }
    connection.batch_execute("vacuum analyze").await?;
    Ok(ids)
}
