//! The audit's chain: each row has a place behind another, and a MAC that
//! covers both. Who signs, and how, is the vault's part.

use uuid::Uuid;

use super::{
    Timestamp,
    audit::{Action, AuditEvent},
    id::{AuditEventId, DataKeyId, WorkspaceId},
};

/// A MAC of the chain.
pub type Mac = [u8; 32];

/// What stands before a writer's first row.
pub const GENESIS: Mac = [0; 32];

impl WorkspaceId {
    /// The workspace of what speaks of the audit itself, and of its key. Real
    /// workspaces have UUIDv7s, so no caller can name it.
    pub const SYSTEM: Self = Self(Uuid::nil());
}

/// A row in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainedEvent {
    /// The writer whose chain it is in.
    pub writer_id: Uuid,
    /// Its number there, from 0, without a gap.
    pub seq: i64,
    /// Its MAC; empty in rows from before there was a chain.
    pub mac: Vec<u8>,
    /// What is recorded.
    pub event: AuditEvent,
}

/// A writer's newest durable row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// The writer.
    pub writer_id: Uuid,
    /// The row's number.
    pub seq: i64,
    /// The row's MAC.
    pub mac: Mac,
}

/// Up to where a writer's rows were deleted on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The writer.
    pub writer_id: Uuid,
    /// The number of the last row that was deleted.
    pub seq: i64,
    /// That row's MAC.
    pub row_mac: Vec<u8>,
    /// The key under which this is signed.
    pub key_id: DataKeyId,
    /// When.
    pub at: Timestamp,
    /// The MAC of this checkpoint.
    pub mac: Vec<u8>,
}

/// Signs rows.
pub trait AuditSigner: Send + Sync {
    /// The key it signs with.
    fn key_id(&self) -> DataKeyId;

    /// The MAC of a row in its place behind one with the MAC `previous`.
    fn sign(&self, writer_id: Uuid, seq: i64, previous: &Mac, event: &AuditEvent) -> Mac;
}

/// A row that speaks of the audit itself.
#[must_use]
pub fn system_event(
    id: Uuid,
    occurred_at: Timestamp,
    action: Action,
    request_id: String,
) -> AuditEvent {
    AuditEvent {
        id: AuditEventId(id),
        workspace_id: WorkspaceId::SYSTEM,
        occurred_at,
        action: action.as_str().to_owned(),
        error: None,
        api_key_id: None,
        user_id: String::new(),
        connection_id: None,
        provider_name: String::new(),
        request_id,
    }
}
