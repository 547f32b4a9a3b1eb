//! The whole audit on its way out, with what its verification needs; and its
//! old part on its way to the bin.

use std::sync::Arc;

use dromos_audit::{ExportedRow, Mark, Record, WrappedKey};
use tokio::sync::mpsc;

use crate::{
    domain::{
        Timestamp,
        ambient::Ambient,
        audit::Action,
        audit_chain::{ChainedEvent, Checkpoint, system_event},
        error::{Error, Result},
    },
    store::Store,
    vault::AuditKey,
};

/// Rows that are read at once.
const ROWS: i64 = 500;
/// Records that wait for a slow reader.
const WAITING: usize = 1000;

/// What an export or a pruning works with.
#[derive(Clone)]
pub struct Auditor {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Signs what is stated about them.
    pub key: Arc<AuditKey>,
    /// The clock and the randomness.
    pub ambient: Ambient,
}

impl Auditor {
    /// The records of an export, as they are read. The last is an end, or an
    /// error.
    #[must_use]
    pub fn export(self) -> mpsc::Receiver<Result<Record>> {
        let (records, reader) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            if let Err(error) = self.write(&records).await {
                // Whoever has gone away does not need to know.
                let _ = records.send(Err(error)).await;
            }
        });
        reader
    }

    async fn write(&self, records: &mpsc::Sender<Result<Record>>) -> Result<()> {
        let mut rows = 0;
        // A reader that has gone away ends it.
        macro_rules! put {
            ($record:expr) => {
                if records.send(Ok($record)).await.is_err() {
                    return Ok(());
                }
            };
        }
        // Read before any row: all that was durable by then is in the export.
        put!(Record::Header(self.key.export(self.ambient.now())));
        for key in self.store.audit_keys().await? {
            put!(Record::Key(WrappedKey {
                key_id: key.data_key_id.0,
                kek_id: key.kek_id,
                wrapped: key.wrapped,
            }));
        }
        for checkpoint in self.store.audit_checkpoints().await? {
            put!(Record::Checkpoint(mark(checkpoint)));
        }
        let mut writer = None;
        while let Some(id) = self.store.next_audit_writer(writer).await? {
            let mut after = None;
            loop {
                let page = self.store.audit_chain(id, after, ROWS).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.seq);
                for row in page {
                    rows += 1;
                    put!(Record::Row(exported(row)));
                }
            }
            writer = Some(id);
        }
        put!(Record::End { rows });
        Ok(())
    }

    /// How many rows [`Auditor::prune`] would delete.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE.
    pub async fn prunable(&self, before: Timestamp) -> Result<usize> {
        let prunable = self.store.prunable_audit(before).await?;
        let rows: i64 = prunable.iter().map(|(_, rows)| rows).sum();
        usize::try_from(rows).map_err(Error::internal)
    }

    /// Deletes rows older than `before`, writer by writer, each up to a
    /// checkpoint from which its chain can still be verified: how many rows.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE. What was done until then stays done.
    pub async fn prune(&self, before: Timestamp) -> Result<usize> {
        let mut pruned = 0;
        for (last, _) in self.store.prunable_audit(before).await? {
            let now = self.ambient.now();
            let checkpoint = (!last.mac.is_empty()).then(|| self.key.checkpoint(&last, now));
            pruned += self
                .store
                .prune_audit(last.writer_id, last.seq, checkpoint)
                .await?;
        }
        if pruned > 0 {
            let (id, now) = (self.ambient.id(), self.ambient.now());
            let what = format!("before {}", before.to_rfc3339());
            let event = system_event(id, now, Action::AuditPruned, what);
            self.store.append_audit(vec![event]).await?;
        }
        Ok(pruned)
    }
}

fn mark(checkpoint: Checkpoint) -> Mark {
    Mark {
        writer_id: checkpoint.writer_id,
        seq: checkpoint.seq.unsigned_abs(),
        row_mac: checkpoint.row_mac,
        key_id: checkpoint.key_id.0,
        at: checkpoint.at,
        mac: checkpoint.mac,
    }
}

fn exported(row: ChainedEvent) -> ExportedRow {
    let ChainedEvent {
        writer_id,
        seq,
        mac,
        event,
    } = row;
    ExportedRow {
        writer_id,
        seq: seq.unsigned_abs(),
        mac,
        id: event.id.0,
        workspace_id: event.workspace_id.0,
        occurred_at: event.occurred_at,
        action: event.action,
        error: event.error,
        api_key_id: event.api_key_id.map(|id| id.0),
        user_id: event.user_id,
        connection_id: event.connection_id.map(|id| id.0),
        provider_name: event.provider_name,
        request_id: event.request_id,
    }
}
