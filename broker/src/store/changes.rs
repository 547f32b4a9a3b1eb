//! Who waits for news of which connection, in this process. News says only
//! "look again": what happened stands in the `events` table, so news that is
//! lost, late or told twice does no harm.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

/// A connection, by workspace and its own id.
pub(super) type Key = (Uuid, Uuid);

/// News that may wait to be told to other brokers; beyond that it is dropped,
/// and they find out when they look by themselves.
const OUTBOX: usize = 4096;

type Watching = HashMap<Key, watch::Sender<i64>>;

/// The registry.
#[derive(Clone)]
pub(super) struct Changes {
    /// Each with its last event, as of the last look.
    watching: Arc<Mutex<Watching>>,
    /// Of changes here, whichever.
    pub(super) any: Arc<Notify>,
    /// To the other brokers; absent where there are none.
    outbox: Option<mpsc::Sender<Key>>,
}

impl Changes {
    /// Of a database that this process has to itself.
    pub(super) fn local() -> Self {
        Self {
            watching: Arc::default(),
            any: Arc::default(),
            outbox: None,
        }
    }

    /// Of a database that other brokers share: what has to be told them comes
    /// out of the receiver.
    pub(super) fn shared() -> (Self, mpsc::Receiver<Key>) {
        let (outbox, told) = mpsc::channel(OUTBOX);
        let changes = Self {
            outbox: Some(outbox),
            ..Self::local()
        };
        (changes, told)
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may have happened to a connection here: wakes who waits here,
    /// and tells the other brokers.
    pub(super) fn announce(&self, key: Key) {
        self.wake(key);
        self.any.notify_one();
        if let Some(outbox) = &self.outbox {
            let _ = outbox.try_send(key);
        }
    }

    /// Wakes who waits here.
    pub(super) fn wake(&self, key: Key) {
        if let Some(sender) = self.lock().get(&key) {
            sender.send_modify(|_| {});
        }
    }

    /// Wakes everybody here: news may have been missed.
    pub(super) fn wake_all(&self) {
        for sender in self.lock().values() {
            sender.send_modify(|_| {});
        }
    }

    /// What is watched here.
    pub(super) fn watched(&self) -> Vec<Key> {
        self.lock().keys().copied().collect()
    }

    /// A look at a connection found this event its last: wakes who waits here,
    /// unless the look before found the same.
    pub(super) fn found(&self, key: Key, sequence: i64) {
        if let Some(sender) = self.lock().get(&key) {
            sender.send_if_modified(|last| std::mem::replace(last, sequence) != sequence);
        }
    }

    /// Waits for news of a connection from now on.
    pub(super) fn subscribe(&self, key: Key) -> Subscription {
        let mut watching = self.lock();
        let sender = watching.entry(key).or_insert_with(|| watch::channel(-1).0);
        Subscription {
            key,
            receiver: sender.subscribe(),
            changes: self.clone(),
        }
    }
}

/// Waits for news of one connection.
pub struct Subscription {
    key: Key,
    receiver: watch::Receiver<i64>,
    changes: Changes,
}

impl Subscription {
    /// Resolves when there may be news since the last time it did. May be
    /// dropped and asked again without missing any.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives in the registry for as long as this does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watching = self.changes.lock();
        let last = watching
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            watching.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        (Uuid::nil(), Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_news_of_that_connection_alone() {
        let (changes, mut told) = Changes::shared();
        let (mut one, mut other) = (changes.subscribe(key(1)), changes.subscribe(key(2)));
        changes.announce(key(1));
        one.changed().await;
        assert_eq!(told.recv().await, Some(key(1)));
        let idle = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(idle, other.changed()).await.is_err());
        changes.wake_all();
        other.changed().await;
    }

    #[tokio::test]
    async fn a_look_wakes_once_for_each_event_that_it_finds() {
        let changes = Changes::local();
        let mut one = changes.subscribe(key(1));
        changes.found(key(1), 3);
        one.changed().await;
        changes.found(key(1), 3);
        let idle = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(idle, one.changed()).await.is_err());
        changes.found(key(1), 4);
        one.changed().await;
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_left() {
        let changes = Changes::local();
        let (one, two) = (changes.subscribe(key(1)), changes.subscribe(key(1)));
        drop(one);
        assert_eq!(changes.watched(), [key(1)]);
        drop(two);
        assert_eq!(changes.watched(), []);
    }
}
