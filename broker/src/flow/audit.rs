//! The audit: group commits, so that a durable row per credential costs little.
//!
//! Events that come while commits are under way go into the next one together.
//! Whoever records an event waits until its commit has returned.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::Core;
use crate::{
    domain::{
        access::Caller,
        audit::{AuditEvent, AuditFilter},
        error::{Error, Result},
        page::{Page, PageRequest},
    },
    store::Store,
};

/// Events that may wait; beyond that, recording waits as well.
const QUEUE: usize = 4096;
/// Events in one commit.
const BATCH: usize = 512;
/// Commits at once: while the disk works on one, the database takes the next.
const LANES: usize = 2;

type Waiting = (
    AuditEvent,
    oneshot::Sender<std::result::Result<(), Arc<Error>>>,
);

/// Records events.
#[derive(Clone)]
pub struct AuditWriter {
    queue: mpsc::Sender<Waiting>,
}

impl AuditWriter {
    /// Starts the writer; it ends when the last handle to it is dropped.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..LANES {
            tokio::spawn(write(store.clone(), waiting.clone()));
        }
        Self { queue }
    }

    /// Records an event; when this returns, it is durable.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE: then nothing that the event speaks of may leave.
    pub async fn record(&self, event: AuditEvent) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let gone = || Error::store_unavailable("the audit writer is gone");
        self.queue.send((event, done)).await.map_err(|_| gone())?;
        outcome
            .await
            .map_err(|_| gone())?
            .map_err(Error::store_unavailable)
    }
}

async fn write(store: Arc<dyn Store>, waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
    let mut batch = Vec::with_capacity(BATCH);
    // The lock is held while waiting for events and given up before the commit.
    while waiting.lock().await.recv_many(&mut batch, BATCH).await > 0 {
        let (events, done): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let outcome = store.append_audit(events).await.map_err(Arc::new);
        for done in done {
            // Whoever has gone away does not need to know.
            let _ = done.send(outcome.clone());
        }
    }
}

/// A page of the workspace's audit.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(
    core: &Core,
    caller: &Caller,
    filter: &AuditFilter,
    page: PageRequest,
) -> Result<Page<AuditEvent>> {
    let events = core
        .store
        .audit_events(caller.workspace_id(), filter, page)
        .await?;
    Ok(page.page(events, |event| event.id.0))
}
