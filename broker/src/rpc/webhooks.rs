//! dromos.v1.WebhookService.

use dromos_proto::v1::{
    CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest, GetWebhookRequest,
    ListWebhookDeliveriesRequest, ListWebhookDeliveriesResponse, ListWebhooksRequest,
    ListWebhooksResponse, ReplayWebhookDeliveryRequest, RotateWebhookSecretRequest,
    RotateWebhookSecretResponse, UpdateWebhookRequest, Webhook as ProtoWebhook, WebhookDelivery,
    webhook_delivery::Status as ProtoStatus, webhook_service_server::WebhookService,
};
use secrecy::ExposeSecret;
use tonic::{Request, Response, Status};

use super::{
    Rpc,
    connections::reply,
    convert::{Checks, parse_id, timestamp},
    field_mask,
    repeatable::once,
    split,
};
use crate::{
    domain::{
        error::{Error, Result},
        page::PageRequest,
        webhook::{Delivery, DeliveryStatus, Webhook},
    },
    flow::webhooks::{self, WebhookSettings},
};

#[tonic::async_trait]
impl WebhookService for Rpc {
    async fn create_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> std::result::Result<Response<CreateWebhookResponse>, Status> {
        reply(self.new_webhook(request).await)
    }

    async fn get_webhook(
        &self,
        request: Request<GetWebhookRequest>,
    ) -> std::result::Result<Response<ProtoWebhook>, Status> {
        reply(self.webhook(request).await)
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> std::result::Result<Response<ListWebhooksResponse>, Status> {
        reply(self.list_webhooks_page(request).await)
    }

    async fn update_webhook(
        &self,
        request: Request<UpdateWebhookRequest>,
    ) -> std::result::Result<Response<ProtoWebhook>, Status> {
        reply(self.change_webhook(request).await)
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> std::result::Result<Response<()>, Status> {
        reply(self.drop_webhook(request).await)
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<RotateWebhookSecretRequest>,
    ) -> std::result::Result<Response<RotateWebhookSecretResponse>, Status> {
        reply(self.new_webhook_secret(request).await)
    }

    async fn list_webhook_deliveries(
        &self,
        request: Request<ListWebhookDeliveriesRequest>,
    ) -> std::result::Result<Response<ListWebhookDeliveriesResponse>, Status> {
        reply(self.list_deliveries_page(request).await)
    }

    async fn replay_webhook_delivery(
        &self,
        request: Request<ReplayWebhookDeliveryRequest>,
    ) -> std::result::Result<Response<WebhookDelivery>, Status> {
        reply(self.replay(request).await)
    }
}

impl Rpc {
    async fn new_webhook(
        &self,
        request: Request<CreateWebhookRequest>,
    ) -> Result<CreateWebhookResponse> {
        let (caller, CreateWebhookRequest { webhook }) = split(request)?;
        let settings = settings(webhook)?;
        let (webhook, secret) = webhooks::create(&self.0, &caller, &settings).await?;
        Ok(CreateWebhookResponse {
            webhook: Some(to_proto(webhook)),
            secret: secret.expose_secret().to_owned(),
        })
    }

    async fn webhook(&self, request: Request<GetWebhookRequest>) -> Result<ProtoWebhook> {
        let (caller, GetWebhookRequest { webhook_id }) = split(request)?;
        webhooks::get(&self.0, &caller, parse_id("webhook_id", &webhook_id)?)
            .await
            .map(to_proto)
    }

    async fn list_webhooks_page(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Result<ListWebhooksResponse> {
        let (caller, message) = split(request)?;
        let ListWebhooksRequest {
            page_size,
            page_token,
        } = message;
        let page = PageRequest::parse(page_size, &page_token)?;
        let page = webhooks::list(&self.0, &caller, page).await?;
        Ok(ListWebhooksResponse {
            webhooks: page.items.into_iter().map(to_proto).collect(),
            next_page_token: page.next_page_token,
        })
    }

    async fn change_webhook(&self, request: Request<UpdateWebhookRequest>) -> Result<ProtoWebhook> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WebhookService/UpdateWebhook";
        let call = || async {
            let UpdateWebhookRequest {
                webhook,
                update_mask,
                request_id: _,
            } = message.clone();
            let update = webhook.ok_or_else(|| Error::invalid("webhook", "is required"))?;
            let id = parse_id("webhook.id", &update.id)?;
            let read = webhooks::get(&self.0, &caller, id).await?;
            let merged = field_mask::apply(
                "dromos.v1.Webhook",
                &to_proto(read.clone()),
                &update,
                update_mask,
            )?;
            let settings = settings(Some(merged))?;
            webhooks::update(&self.0, &caller, read, &settings)
                .await
                .map(to_proto)
        };
        let request_id = &message.request_id;
        once(&self.0, &caller, method, request_id, &message, call).await
    }

    async fn drop_webhook(&self, request: Request<DeleteWebhookRequest>) -> Result<()> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WebhookService/DeleteWebhook";
        let call = || async {
            let DeleteWebhookRequest {
                webhook_id,
                request_id: _,
            } = &message;
            webhooks::delete(&self.0, &caller, parse_id("webhook_id", webhook_id)?).await
        };
        let request_id = &message.request_id;
        once(&self.0, &caller, method, request_id, &message, call).await
    }

    async fn new_webhook_secret(
        &self,
        request: Request<RotateWebhookSecretRequest>,
    ) -> Result<RotateWebhookSecretResponse> {
        let (caller, RotateWebhookSecretRequest { webhook_id }) = split(request)?;
        let id = parse_id("webhook_id", &webhook_id)?;
        let (webhook, secret) = webhooks::rotate_secret(&self.0, &caller, id).await?;
        let until = webhook.previous_secret.as_ref().map(|previous| previous.1);
        Ok(RotateWebhookSecretResponse {
            previous_secret_until: until.map(timestamp),
            webhook: Some(to_proto(webhook)),
            secret: secret.expose_secret().to_owned(),
        })
    }

    async fn list_deliveries_page(
        &self,
        request: Request<ListWebhookDeliveriesRequest>,
    ) -> Result<ListWebhookDeliveriesResponse> {
        let (caller, message) = split(request)?;
        let ListWebhookDeliveriesRequest {
            webhook_id,
            page_size,
            page_token,
            status,
        } = message;
        let id = parse_id("webhook_id", &webhook_id)?;
        let page = PageRequest::parse(page_size, &page_token)?;
        let status = match ProtoStatus::try_from(status) {
            Ok(ProtoStatus::Unspecified) => None,
            Ok(ProtoStatus::Pending) => Some(DeliveryStatus::Pending),
            Ok(ProtoStatus::Delivered) => Some(DeliveryStatus::Delivered),
            Ok(ProtoStatus::Dead) => Some(DeliveryStatus::Dead),
            Err(_) => return Err(Error::invalid("status", "is not a status")),
        };
        let page = webhooks::deliveries(&self.0, &caller, id, status, page).await?;
        Ok(ListWebhookDeliveriesResponse {
            deliveries: page.items.into_iter().map(delivery_to_proto).collect(),
            next_page_token: page.next_page_token,
        })
    }

    async fn replay(
        &self,
        request: Request<ReplayWebhookDeliveryRequest>,
    ) -> Result<WebhookDelivery> {
        let (caller, message) = split(request)?;
        let method = "/dromos.v1.WebhookService/ReplayWebhookDelivery";
        let call = || async {
            let ReplayWebhookDeliveryRequest {
                webhook_id,
                delivery_id,
                request_id: _,
            } = &message;
            let id = parse_id("webhook_id", webhook_id)?;
            let delivery = parse_id("delivery_id", delivery_id)?;
            webhooks::replay(&self.0, &caller, id, delivery)
                .await
                .map(delivery_to_proto)
        };
        let request_id = &message.request_id;
        once(&self.0, &caller, method, request_id, &message, call).await
    }
}

fn settings(webhook: Option<ProtoWebhook>) -> Result<WebhookSettings> {
    let webhook = webhook.ok_or_else(|| Error::invalid("webhook", "is required"))?;
    let ProtoWebhook {
        id: _,
        url,
        event_types,
        disabled,
        disabled_reason: _,
        created_at: _,
        updated_at: _,
    } = webhook;
    let mut checks = Checks::default();
    if url.is_empty() {
        checks.wrong("url", "is required");
    }
    checks.list("event_types", &event_types);
    checks.done()?;
    Ok(WebhookSettings {
        url,
        event_types,
        disabled,
    })
}

fn to_proto(webhook: Webhook) -> ProtoWebhook {
    let kinds = webhook.event_types.iter();
    ProtoWebhook {
        id: webhook.id.to_string(),
        url: webhook.url.into(),
        event_types: kinds.map(|kind| kind.as_str().to_owned()).collect(),
        disabled: webhook.disabled,
        disabled_reason: webhook.disabled_reason,
        created_at: Some(timestamp(webhook.created_at)),
        updated_at: Some(timestamp(webhook.updated_at)),
    }
}

fn delivery_to_proto(delivery: Delivery) -> WebhookDelivery {
    let (status, is_pending) = match delivery.status {
        DeliveryStatus::Pending => (ProtoStatus::Pending, true),
        DeliveryStatus::Delivered => (ProtoStatus::Delivered, false),
        DeliveryStatus::Dead => (ProtoStatus::Dead, false),
    };
    WebhookDelivery {
        id: delivery.id.to_string(),
        webhook_id: delivery.webhook_id.to_string(),
        event_id: delivery.event_id.to_string(),
        event_type: delivery.event_type,
        connection_id: delivery.connection_id.to_string(),
        status: status.into(),
        attempts: delivery.attempts,
        response_status: delivery.response_status.unwrap_or_default().into(),
        error: delivery.error,
        created_at: Some(timestamp(delivery.created_at)),
        next_attempt_at: is_pending.then(|| timestamp(delivery.next_attempt_at)),
        delivered_at: delivery.delivered_at.map(timestamp),
    }
}
