//! dromos.v1.AuditService.

use dromos_proto::v1::{
    AuditEvent as ProtoAuditEvent, ListAuditEventsRequest, ListAuditEventsResponse,
    audit_service_server::AuditService,
};
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{Checks, parse_id, timestamp},
    split,
};
use crate::{
    domain::{
        audit::{AuditEvent, AuditFilter},
        error::Result,
        page::PageRequest,
    },
    flow::audit,
};

#[tonic::async_trait]
impl AuditService for Rpc {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> std::result::Result<Response<ListAuditEventsResponse>, Status> {
        reply(self.list_audit_page(request).await)
    }
}

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
