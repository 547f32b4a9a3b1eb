//! The audit's key: a data key of the system's own workspace, so that whoever
//! holds the key-encryption key can verify the audit, and the database alone
//! can't forge it.

use std::sync::Arc;

use dromos_audit::{Key, Mark, MarkKind, Row};
use secrecy::ExposeSecret;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Vault;
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    audit_chain::{AuditSigner, ChainHead, ChainedEvent, Checkpoint, Mac},
    error::Result,
    id::{DataKeyId, WorkspaceId},
    sealed::WrappedDataKey,
};

/// Signs the audit's rows, and what is stated about them.
pub struct AuditKey(Key);

impl Vault {
    /// The audit's key; it is made at first use.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE, or INTERNAL where the key provider fails.
    pub async fn audit_key(&self) -> Result<Arc<AuditKey>> {
        let (id, secret) = self.ring.secret(WorkspaceId::SYSTEM).await?;
        let key = Key::new(id.0, secret.expose_secret());
        Ok(Arc::new(AuditKey(key)))
    }

    /// An audit key as the line of a key file, for who verifies without the
    /// key-encryption key.
    ///
    /// # Errors
    /// INTERNAL where the key provider fails.
    pub async fn audit_key_line(&self, wrapped: &WrappedDataKey) -> Result<Zeroizing<String>> {
        let secret = self.ring.open(wrapped).await?;
        let id = wrapped.data_key_id.0;
        Ok(dromos_audit::key_line(id, secret.expose_secret()))
    }
}

impl AuditSigner for AuditKey {
    fn key_id(&self) -> DataKeyId {
        DataKeyId(self.0.id())
    }

    fn sign(&self, writer_id: Uuid, seq: i64, previous: &Mac, event: &AuditEvent) -> Mac {
        let AuditEvent {
            id,
            workspace_id,
            occurred_at,
            action,
            error,
            api_key_id,
            user_id,
            connection_id,
            provider_name,
            request_id,
        } = event;
        let row = Row {
            writer_id,
            seq: seq.unsigned_abs(),
            id: id.0,
            workspace_id: workspace_id.0,
            occurred_at: occurred_at.timestamp_micros(),
            action,
            error: error.as_deref(),
            api_key_id: api_key_id.map(|id| id.0),
            user_id,
            connection_id: connection_id.map(|id| id.0),
            provider_name,
            request_id,
        };
        self.0.sign(previous, &row)
    }
}

impl AuditKey {
    /// States where a writer stands.
    #[must_use]
    pub fn head(&self, head: &ChainHead, at: Timestamp) -> Mark {
        let mark = self.mark(head.writer_id, head.seq, head.mac.to_vec(), at);
        mark.signed(MarkKind::Head, &self.0)
    }

    /// States that an export begins.
    #[must_use]
    pub fn export(&self, at: Timestamp) -> Mark {
        let mark = self.mark(Uuid::nil(), 0, Vec::new(), at);
        mark.signed(MarkKind::Export, &self.0)
    }

    /// States that a writer's rows up to this one are deleted on purpose.
    #[must_use]
    pub fn checkpoint(&self, last: &ChainedEvent, at: Timestamp) -> Checkpoint {
        let mark = self.mark(last.writer_id, last.seq, last.mac.clone(), at);
        let mark = mark.signed(MarkKind::Checkpoint, &self.0);
        Checkpoint {
            writer_id: last.writer_id,
            seq: last.seq,
            row_mac: mark.row_mac,
            key_id: self.key_id(),
            at,
            mac: mark.mac,
        }
    }

    fn mark(&self, writer_id: Uuid, seq: i64, row_mac: Vec<u8>, at: Timestamp) -> Mark {
        Mark {
            writer_id,
            seq: seq.unsigned_abs(),
            row_mac,
            key_id: self.0.id(),
            at,
            mac: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_binds_a_wrapped_audit_key_as_the_vault_does() {
        let id = Uuid::from_u128(7);
        assert_eq!(
            dromos_audit::wrapping_context(id),
            crate::vault::aad::of_data_key(WorkspaceId::SYSTEM, DataKeyId(id))
        );
    }
}
