//! A transaction's audit rows: signed within it, and settled by how it ends.
//!
//! The database's library hands a transaction's body a bare connection, so the
//! ledger travels beside it, with the task.

use std::sync::{Arc, Mutex, PoisonError};

use super::lanes::{AuditLanes, Batch, Outcome};
use crate::domain::{
    audit::AuditEvent,
    audit_chain::ChainedEvent,
    error::{Error, Result},
};

tokio::task_local! {
    static LEDGER: Ledger;
}

struct Ledger {
    lanes: Arc<AuditLanes>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    batch: Option<Batch>,
    /// The body gave up, so nothing was asked to commit.
    gave_up: bool,
}

impl Ledger {
    fn with<T>(change: impl FnOnce(&Arc<AuditLanes>, &mut Entries) -> Result<T>) -> Result<T> {
        let changed = LEDGER.try_with(|ledger| {
            let mut entries = ledger
                .entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            change(&ledger.lanes, &mut entries)
        });
        changed.unwrap_or_else(|_| {
            Err(Error::internal(
                "an audit row outside a transaction of `write_tx!`",
            ))
        })
    }
}

/// Runs a transaction with a ledger. If it is dropped on the way, the rows'
/// fate is unknown, as it is after a failed commit.
pub(super) async fn keep<T>(
    lanes: Arc<AuditLanes>,
    transaction: impl Future<Output = Result<T>>,
) -> Result<T> {
    let ledger = Ledger {
        lanes,
        entries: Mutex::default(),
    };
    LEDGER
        .scope(ledger, async {
            let outcome = transaction.await;
            Ledger::with(|_, entries| {
                if let Some(batch) = entries.batch.take() {
                    batch.settle(match (&outcome, entries.gave_up) {
                        (Ok(_), _) => Outcome::Committed,
                        (Err(_), true) => Outcome::RolledBack,
                        (Err(_), false) => Outcome::Unknown,
                    });
                }
                Ok(())
            })?;
            outcome
        })
        .await
}

/// The end of a transaction's body, before the commit or the rollback.
pub(super) fn body<T>(outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        Ledger::with(|_, entries| {
            entries.gave_up = true;
            Ok(())
        })?;
    }
    outcome
}

/// Signs an event of the transaction that runs: the rows to insert.
pub(super) fn sign(event: AuditEvent) -> Result<Vec<ChainedEvent>> {
    Ledger::with(|lanes, entries| {
        let batch = match &mut entries.batch {
            Some(batch) => batch,
            none => none.insert(lanes.begin()?),
        };
        Ok(batch.sign([event]))
    })
}
