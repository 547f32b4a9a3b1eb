//! The audit: group commits, so that a durable row per credential costs little.
//!
//! Events that come while commits are under way go into the next one together.
//! Whoever records an event waits until its commit has returned.

use std::sync::Arc;

use super::{Core, batch::Batches};
use crate::{
    domain::{
        access::Caller,
        audit::{AuditEvent, AuditFilter},
        error::{Error, Result},
        page::{Page, PageRequest},
    },
    store::Store,
};

/// Commits at once. What comes during one goes into the next: with two, each
/// would hold half as many rows and cost as much.
const LANES: usize = 1;

/// Records events.
#[derive(Clone)]
pub struct AuditWriter(Recorder);

#[derive(Clone)]
enum Recorder {
    Commits(Batches<AuditEvent, ()>),
    Instead(Arc<dyn RecordAudit>),
}

/// What may stand in the audit writer's place: a benchmark's own, to measure
/// what the writer costs. No setting puts one there.
pub trait RecordAudit: Send + Sync {
    /// Takes an event.
    ///
    /// # Errors
    /// Then nothing that the event speaks of may leave.
    fn record(&self, event: AuditEvent) -> Result<()>;
}

impl AuditWriter {
    /// Starts the writer; it ends when the last handle to it is dropped.
    #[must_use]
    pub fn start(store: Arc<dyn Store>) -> Self {
        // There from the start: an alert sees a counter's first step only so.
        failures().increment(0);
        let commit = move |events: Vec<AuditEvent>| {
            let store = store.clone();
            async move {
                let count = events.len();
                let outcome = store.append_audit(events).await;
                if outcome.is_err() {
                    failures().increment(count as u64);
                }
                outcome.map(|()| vec![(); count])
            }
        };
        Self(Recorder::Commits(Batches::start(LANES, commit)))
    }

    /// One in whose place something else stands.
    #[must_use]
    pub fn instead(recorder: Arc<dyn RecordAudit>) -> Self {
        Self(Recorder::Instead(recorder))
    }

    /// Records an event; when this returns, it is durable.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE: then nothing that the event speaks of may leave.
    pub async fn record(&self, event: AuditEvent) -> Result<()> {
        match &self.0 {
            Recorder::Commits(commits) => {
                commits.take(event).await.map_err(Error::store_unavailable)
            }
            Recorder::Instead(recorder) => recorder.record(event),
        }
    }
}

/// Events that could not be made durable, and so held back what they speak of.
fn failures() -> metrics::Counter {
    metrics::counter!("audit_failures_total")
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
