//! News of connections, between the brokers on one database.
//!
//! It travels by NOTIFY, but not in the transactions that it speaks of: a
//! transaction with a NOTIFY holds a lock of the whole server until its commit
//! is on disk, so that no two could commit together. It is sent right after,
//! many at once. News that is lost on the way (a kill in between, a broken
//! connection, a pooler that knows no LISTEN) is made up for by a look at the
//! table, every few seconds, at what is watched here.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use diesel::{
    result::ConnectionError,
    sql_types::{Array, BigInt, Text, Uuid as SqlUuid},
};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use uuid::Uuid;

use super::{Conn, link::Link, sql::SqlStore};
use crate::{domain::error::Result, store::changes::Key};

const CHANNEL: &str = "dromos_changes";
/// How long a lost piece of news stays unnoticed.
const LOOK: Duration = Duration::from_secs(5);
/// Connections in one look's query.
const LOOK_AT_ONCE: usize = 1000;
/// Keys in one notification: 65 bytes each, and PostgreSQL takes 8000.
const NEWS_AT_ONCE: usize = 100;
/// How long a listening connection may be silent before it is tried.
const SILENCE: Duration = Duration::from_secs(15);
const RECONNECT: Duration = Duration::from_secs(1);

/// Tells and hears news for as long as the store lives.
pub(super) fn start(store: &Arc<SqlStore>, told: mpsc::Receiver<Key>, link: Arc<Link>) {
    let weak = Arc::downgrade(store);
    tokio::spawn(tell(weak.clone(), told));
    tokio::spawn(look(weak.clone()));
    tokio::spawn(async move {
        while weak.strong_count() > 0 {
            if let Err(error) = hear(&weak, &link).await {
                tracing::debug!(%error, "news from other brokers is not heard");
            }
            sleep(RECONNECT).await;
        }
    });
}

async fn tell(store: Weak<SqlStore>, mut told: mpsc::Receiver<Key>) {
    let mut news = Vec::new();
    while told.recv_many(&mut news, NEWS_AT_ONCE).await > 0 {
        let Some(store) = store.upgrade() else { return };
        let keys: BTreeSet<Key> = news.drain(..).collect();
        let keys: Vec<String> = keys.iter().map(|(w, c)| format!("{w}{c}")).collect();
        let query = diesel::sql_query("select pg_notify($1, $2)")
            .bind::<Text, _>(CHANNEL)
            .bind::<Text, _>(keys.concat());
        let sent = match store.connection_from_pool().await {
            Ok(mut connection) => query.execute(&mut connection).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(cause = ?error.cause, "news was not told to other brokers");
        }
    }
}

async fn look(store: Weak<SqlStore>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        for keys in store.changes.watched().chunks(LOOK_AT_ONCE) {
            match last_events(&store, keys).await {
                Ok(found) => found.iter().for_each(|last| {
                    let key = (last.workspace_id, last.connection_id);
                    store.changes.found(key, last.event_sequence);
                }),
                Err(error) => {
                    tracing::debug!(cause = ?error.cause, "what is watched was not looked at");
                    break;
                }
            }
        }
    }
}

#[derive(diesel::QueryableByName)]
struct LastEvent {
    #[diesel(sql_type = SqlUuid)]
    workspace_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    connection_id: Uuid,
    #[diesel(sql_type = BigInt)]
    event_sequence: i64,
}

async fn last_events(store: &SqlStore, keys: &[Key]) -> Result<Vec<LastEvent>> {
    let (workspaces, ids): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
    let found = diesel::sql_query(
        "select workspace_id, connection_id, event_sequence \
         from unnest($1, $2) as watched (workspace_id, connection_id) \
         join connections using (workspace_id, connection_id)",
    )
    .bind::<Array<SqlUuid>, _>(workspaces)
    .bind::<Array<SqlUuid>, _>(ids)
    .load(&mut store.connection_from_pool().await?)
    .await?;
    Ok(found)
}

async fn hear(store: &Weak<SqlStore>, link: &Link) -> std::result::Result<(), ConnectionError> {
    let mut connection = link.connect().await?;
    run(&mut connection, "listen dromos_changes").await?;
    // What happened before that was not heard.
    if let Some(store) = store.upgrade() {
        store.changes.wake_all();
    }
    while store.strong_count() > 0 {
        {
            let mut news = pin!(connection.notifications_stream());
            while let Ok(heard) = timeout(SILENCE, news.next()).await {
                let Some(store) = store.upgrade() else {
                    return Ok(());
                };
                match heard {
                    Some(Ok(notification)) => parse(&notification.payload)
                        .into_iter()
                        .for_each(|key| store.changes.wake(key)),
                    Some(Err(error)) => {
                        return Err(ConnectionError::CouldntSetupConfiguration(error));
                    }
                    None => return Ok(()),
                }
            }
        }
        // A server that takes no writes any more takes no news either.
        run(&mut connection, "notify dromos_changes").await?;
    }
    Ok(())
}

async fn run(connection: &mut Conn, sql: &str) -> std::result::Result<(), ConnectionError> {
    let done = connection.batch_execute(sql).await;
    done.map_err(ConnectionError::CouldntSetupConfiguration)
}

/// The keys in a notification: pairs of UUIDs, end to end.
fn parse(payload: &str) -> Vec<Key> {
    const LEN: usize = uuid::fmt::Hyphenated::LENGTH;
    let id = |bytes: &[u8]| Uuid::try_parse_ascii(bytes).ok();
    payload
        .as_bytes()
        .chunks_exact(2 * LEN)
        .filter_map(|pair| Some((id(&pair[..LEN])?, id(&pair[LEN..])?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_a_foreign_text_is_not() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(u128::MAX));
        assert_eq!(parse(&format!("{a}{b}{b}{a}")), [(a, b), (b, a)]);
        assert_eq!(parse(""), []);
        assert_eq!(parse(&"ü".repeat(100)), []);
    }
}
