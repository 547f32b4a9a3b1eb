//! dromos.v1.AuditService.

use std::pin::Pin;

use dromos_audit::{ExportedRow, Mark, Record};
use dromos_proto::v1::{
    AuditEvent as ProtoAuditEvent, AuditExportEnd, AuditKey, AuditMark, AuditRow,
    ExportAuditEventsRequest, ExportAuditEventsResponse, ListAuditEventsRequest,
    ListAuditEventsResponse, audit_service_server::AuditService, export_audit_events_response,
};
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{Checks, parse_id, timestamp},
    split, status,
};
use crate::{
    domain::{
        audit::{AuditEvent, AuditFilter},
        error::Result,
        page::PageRequest,
    },
    flow::{audit, audit_export::Auditor},
};

#[tonic::async_trait]
impl AuditService for Rpc {
    type ExportAuditEventsStream = Records;

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> std::result::Result<Response<ListAuditEventsResponse>, Status> {
        reply(self.list_audit_page(request).await)
    }

    async fn export_audit_events(
        &self,
        _: Request<ExportAuditEventsRequest>,
    ) -> std::result::Result<Response<Records>, Status> {
        let auditor = Auditor {
            store: self.0.store.clone(),
            key: self.0.audit_key.clone(),
            ambient: self.0.ambient.clone(),
        };
        let records = stream::unfold(auditor.export(), |mut records| async {
            let record = records.recv().await?;
            Some((record.map(to_record).map_err(status::of), records))
        });
        Ok(Response::new(Box::pin(records)))
    }
}

/// An export on its way.
type Records =
    Pin<Box<dyn Stream<Item = std::result::Result<ExportAuditEventsResponse, Status>> + Send>>;

impl Rpc {
    async fn list_audit_page(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<ListAuditEventsResponse> {
        let (caller, message) = split(request)?;
        let ListAuditEventsRequest {
            page_size,
            page_token,
            connection_id,
            action,
        } = message;
        let mut checks = Checks::default();
        checks.text("action", &action);
        checks.done()?;
        let filter = AuditFilter {
            connection_id: match connection_id.as_str() {
                "" => None,
                id => Some(parse_id("connection_id", id)?),
            },
            action: (!action.is_empty()).then_some(action),
        };
        let page = audit::list(
            &self.0,
            &caller,
            &filter,
            PageRequest::parse(page_size, &page_token)?,
        )
        .await?;
        Ok(ListAuditEventsResponse {
            audit_events: page.items.into_iter().map(to_proto).collect(),
            next_page_token: page.next_page_token,
        })
    }
}

fn to_proto(event: AuditEvent) -> ProtoAuditEvent {
    let text = |id: Option<String>| id.unwrap_or_default();
    ProtoAuditEvent {
        id: event.id.to_string(),
        occurred_at: Some(timestamp(event.occurred_at)),
        action: event.action,
        outcome: if event.error.is_none() {
            "success"
        } else {
            "error"
        }
        .to_owned(),
        reason: event.error.unwrap_or_default(),
        api_key_id: text(event.api_key_id.map(|id| id.to_string())),
        user_id: event.user_id,
        connection_id: text(event.connection_id.map(|id| id.to_string())),
        provider_name: event.provider_name,
        request_id: event.request_id,
    }
}

fn to_record(record: Record) -> ExportAuditEventsResponse {
    use export_audit_events_response::Record as Proto;
    let record = match record {
        Record::Header(mark) => Some(Proto::Header(to_mark(mark))),
        Record::Key(key) => Some(Proto::Key(AuditKey {
            key_id: key.key_id.to_string(),
            kek_id: key.kek_id,
            wrapped: key.wrapped,
        })),
        Record::Checkpoint(mark) => Some(Proto::Checkpoint(to_mark(mark))),
        Record::Row(row) => Some(Proto::Row(to_row(row))),
        Record::End { rows } => Some(Proto::End(AuditExportEnd { rows })),
        // Not in an export.
        Record::Head(_) | Record::Error(_) => None,
    };
    ExportAuditEventsResponse { record }
}

fn to_mark(mark: Mark) -> AuditMark {
    let Mark {
        writer_id,
        seq,
        row_mac,
        key_id,
        at,
        mac,
    } = mark;
    AuditMark {
        writer_id: writer_id.to_string(),
        seq,
        row_mac,
        key_id: key_id.to_string(),
        at: Some(timestamp(at)),
        mac,
    }
}

fn to_row(row: ExportedRow) -> AuditRow {
    let ExportedRow {
        writer_id,
        seq,
        mac,
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
    } = row;
    AuditRow {
        writer_id: writer_id.to_string(),
        seq,
        mac,
        id: id.to_string(),
        workspace_id: workspace_id.to_string(),
        occurred_at: Some(timestamp(occurred_at)),
        action,
        error,
        api_key_id: api_key_id.map(|id| id.to_string()),
        user_id,
        connection_id: connection_id.map(|id| id.to_string()),
        provider_name,
        request_id,
    }
}
