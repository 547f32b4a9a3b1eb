//! The audit's INSERT. Its rows travel as one array for each column, so the
//! statement is the same for any number of rows: it is prepared once, and,
//! outside a transaction, it is one of its own.

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz, Uuid},
};

use crate::domain::{Timestamp, audit::AuditEvent, audit_chain::ChainedEvent};

/// Adds rows to `audit_events`.
#[derive(Default, QueryId)]
pub(super) struct AppendAudit {
    workspace_ids: Vec<uuid::Uuid>,
    audit_event_ids: Vec<uuid::Uuid>,
    occurred_at: Vec<Timestamp>,
    actions: Vec<String>,
    errors: Vec<Option<String>>,
    api_key_ids: Vec<Option<uuid::Uuid>>,
    user_ids: Vec<String>,
    connection_ids: Vec<Option<uuid::Uuid>>,
    provider_names: Vec<String>,
    request_ids: Vec<String>,
    writer_ids: Vec<uuid::Uuid>,
    seqs: Vec<i64>,
    macs: Vec<Vec<u8>>,
}

impl AppendAudit {
    pub(super) fn new(rows: Vec<ChainedEvent>) -> Self {
        let mut columns = Self::default();
        for row in rows {
            let ChainedEvent {
                writer_id,
                seq,
                mac,
                event,
            } = row;
            columns.writer_ids.push(writer_id);
            columns.seqs.push(seq);
            columns.macs.push(mac);
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
            columns.workspace_ids.push(workspace_id.0);
            columns.audit_event_ids.push(id.0);
            columns.occurred_at.push(occurred_at);
            columns.actions.push(action);
            columns.errors.push(error);
            columns.api_key_ids.push(api_key_id.map(|id| id.0));
            columns.user_ids.push(user_id);
            columns.connection_ids.push(connection_id.map(|id| id.0));
            columns.provider_names.push(provider_name);
            columns.request_ids.push(request_id);
        }
        columns
    }
}

impl QueryFragment<Pg> for AppendAudit {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO audit_events (workspace_id, audit_event_id, occurred_at, action, error, \
             api_key_id, user_id, connection_id, provider_name, request_id, writer_id, seq, mac) SELECT * FROM unnest(",
        );
        out.push_bind_param::<Array<Uuid>, _>(&self.workspace_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.audit_event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.occurred_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.actions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.errors)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Uuid>>, _>(&self.api_key_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.user_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Uuid>>, _>(&self.connection_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.provider_names)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.request_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Uuid>, _>(&self.writer_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.seqs)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.macs)?;
        out.push_sql(")");
        Ok(())
    }
}
