//! Many callers' work in few trips: what comes while others are under way goes
//! together into the next one. Alone, a caller waits for nobody.

use std::{future::Future, sync::Arc};

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::domain::error::{Error, Result};

/// Items that may wait; beyond that, callers wait to hand theirs in.
const QUEUE: usize = 4096;
/// Items in one trip.
const SIZE: usize = 512;

type Outcome<T> = std::result::Result<T, Arc<Error>>;
type Waiting<I, T> = (I, oneshot::Sender<Outcome<T>>);

/// Takes items to wherever `trip` brings them. Cheap to clone.
pub struct Batches<I, T> {
    queue: mpsc::Sender<Waiting<I, T>>,
}

impl<I, T> Clone for Batches<I, T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<I: Send + 'static, T: Send + 'static> Batches<I, T> {
    /// Starts `lanes` trips at once at most: while the database works on one,
    /// the next gathers. `trip` answers one outcome for each item, in order.
    /// It ends when the last handle is dropped.
    pub fn start<F, R>(lanes: usize, trip: F) -> Self
    where
        F: Fn(Vec<I>) -> R + Clone + Send + 'static,
        R: Future<Output = Result<Vec<T>>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..lanes {
            tokio::spawn(run(waiting.clone(), trip.clone()));
        }
        Self { queue }
    }

    /// The item's outcome.
    ///
    /// # Errors
    /// The trip's, of the same kind for everyone who was on it.
    pub async fn take(&self, item: I) -> Result<T> {
        let (done, outcome) = oneshot::channel();
        let gone = || Error::store_unavailable("whoever does this has ended");
        self.queue.send((item, done)).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?.map_err(|error| {
            let message = error.message.clone();
            Error::new(error.kind, message).because(error)
        })
    }
}

async fn run<I, T, F, R>(waiting: Arc<Mutex<mpsc::Receiver<Waiting<I, T>>>>, trip: F)
where
    F: Fn(Vec<I>) -> R,
    R: Future<Output = Result<Vec<T>>>,
{
    let mut batch = Vec::with_capacity(SIZE);
    while gather(&waiting, &mut batch).await {
        let (items, done): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        // Whoever has gone away does not need to know.
        match trip(items).await {
            Ok(outcomes) => {
                for (done, outcome) in done.into_iter().zip(outcomes) {
                    let _ = done.send(Ok(outcome));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for done in done {
                    let _ = done.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Waits for items; false where no more will come. The lock is given up before
/// the trip.
async fn gather<T>(waiting: &Mutex<mpsc::Receiver<T>>, batch: &mut Vec<T>) -> bool {
    let mut waiting = waiting.lock().await;
    if waiting.recv_many(batch, SIZE).await == 0 {
        return false;
    }
    // Callers that can hand in theirs right now do so first: a trip more would
    // cost everybody more than the moment that this takes.
    tokio::task::yield_now().await;
    while batch.len() < SIZE
        && let Ok(item) = waiting.try_recv()
    {
        batch.push(item);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::error::ErrorKind;

    #[tokio::test]
    async fn what_comes_during_a_trip_goes_together_into_the_next_and_everyone_gets_their_own() {
        let gate = Arc::new(Semaphore::new(0));
        let trips = Arc::new(StdMutex::new(Vec::new()));
        let (open, taken) = (gate.clone(), trips.clone());
        let batches = Batches::start(1, move |items: Vec<u32>| {
            let (open, taken) = (open.clone(), taken.clone());
            async move {
                taken.lock().unwrap().push(items.len());
                open.acquire().await.unwrap().forget();
                Ok(items.iter().map(|item| item * 10).collect())
            }
        });
        let first = tokio::spawn({
            let batches = batches.clone();
            async move { batches.take(1).await }
        });
        while trips.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let rest = tokio::spawn({
            let batches = batches.clone();
            async move { join_all((2..10).map(|item| batches.take(item))).await }
        });
        while batches.queue.capacity() > QUEUE - 8 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap(), 10);
        let rest: Vec<u32> = rest
            .await
            .unwrap()
            .into_iter()
            .map(|got| got.unwrap())
            .collect();
        assert_eq!(rest, [20, 30, 40, 50, 60, 70, 80, 90]);
        assert_eq!(*trips.lock().unwrap(), [1, 8]);
    }

    #[tokio::test]
    async fn a_failed_trip_fails_for_everyone_on_it_and_the_next_goes() {
        let batches = Batches::start(1, |items: Vec<bool>| async move {
            match items.iter().all(|fine| *fine) {
                true => Ok(items),
                false => Err(Error::store_unavailable("the line is cut")),
            }
        });
        let failed = batches.take(false).await.unwrap_err();
        assert_eq!(failed.kind, ErrorKind::StoreUnavailable);
        assert!(failed.retry_after.is_some());
        assert!(batches.take(true).await.unwrap());
    }
}
