//! The audit's rows, between the tables and the domain.

use diesel::prelude::*;

use super::super::{Db, types::DbId};
use super::schema::{audit_checkpoints, audit_events};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    audit_chain::{ChainedEvent, Checkpoint},
    id::{ApiKeyId, AuditEventId, ConnectionId, DataKeyId, WorkspaceId},
};

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_events, check_for_backend(Db))]
pub(super) struct AuditRow {
    workspace_id: DbId,
    audit_event_id: DbId,
    occurred_at: Timestamp,
    action: String,
    error: Option<String>,
    api_key_id: Option<DbId>,
    user_id: String,
    connection_id: Option<DbId>,
    provider_name: String,
    request_id: String,
    writer_id: DbId,
    seq: i64,
    mac: Vec<u8>,
}

impl From<ChainedEvent> for AuditRow {
    fn from(row: ChainedEvent) -> Self {
        let ChainedEvent {
            writer_id,
            seq,
            mac,
            event,
        } = row;
        Self {
            workspace_id: DbId(event.workspace_id.0),
            audit_event_id: DbId(event.id.0),
            occurred_at: event.occurred_at,
            action: event.action,
            error: event.error,
            api_key_id: event.api_key_id.map(|id| DbId(id.0)),
            user_id: event.user_id,
            connection_id: event.connection_id.map(|id| DbId(id.0)),
            provider_name: event.provider_name,
            request_id: event.request_id,
            writer_id: DbId(writer_id),
            seq,
            mac,
        }
    }
}

impl From<AuditRow> for ChainedEvent {
    fn from(row: AuditRow) -> Self {
        Self {
            writer_id: row.writer_id.0,
            seq: row.seq,
            mac: row.mac,
            event: AuditEvent {
                id: AuditEventId(row.audit_event_id.0),
                workspace_id: WorkspaceId(row.workspace_id.0),
                occurred_at: row.occurred_at,
                action: row.action,
                error: row.error,
                api_key_id: row.api_key_id.map(|id| ApiKeyId(id.0)),
                user_id: row.user_id,
                connection_id: row.connection_id.map(|id| ConnectionId(id.0)),
                provider_name: row.provider_name,
                request_id: row.request_id,
            },
        }
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = audit_checkpoints, check_for_backend(Db))]
pub(super) struct CheckpointRow {
    pub(super) writer_id: DbId,
    seq: i64,
    row_mac: Vec<u8>,
    key_id: DbId,
    made_at: Timestamp,
    mac: Vec<u8>,
}

impl From<Checkpoint> for CheckpointRow {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            writer_id: DbId(checkpoint.writer_id),
            seq: checkpoint.seq,
            row_mac: checkpoint.row_mac,
            key_id: DbId(checkpoint.key_id.0),
            made_at: checkpoint.at,
            mac: checkpoint.mac,
        }
    }
}

impl From<CheckpointRow> for Checkpoint {
    fn from(row: CheckpointRow) -> Self {
        Self {
            writer_id: row.writer_id.0,
            seq: row.seq,
            row_mac: row.row_mac,
            key_id: DataKeyId(row.key_id.0),
            at: row.made_at,
            mac: row.mac,
        }
    }
}
