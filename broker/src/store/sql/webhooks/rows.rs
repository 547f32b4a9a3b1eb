//! Rows of webhooks and deliveries.

use diesel::prelude::*;
use serde_json::Value;

use super::super::super::{Db, types::DbId};
use super::super::{
    rows::{from_json, impossible, to_u32},
    schema,
};
use super::kinds_to_json;
use crate::domain::{
    Timestamp,
    error::{Error, Result},
    event::EventKind,
    id::{ConnectionId, DeliveryId, EventId, WebhookId, WorkspaceId},
    sealed::Sealed,
    webhook::{Delivery, DeliveryStatus, Webhook},
};

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = schema::webhooks, check_for_backend(Db), treat_none_as_null = true)]
pub(super) struct WebhookRow {
    pub workspace_id: DbId,
    pub webhook_id: DbId,
    pub url: String,
    pub event_types: Value,
    pub disabled: bool,
    pub disabled_reason: String,
    pub secret: Vec<u8>,
    pub secret_generation: i64,
    pub previous_secret: Option<Vec<u8>>,
    pub previous_secret_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<&Webhook> for WebhookRow {
    fn from(webhook: &Webhook) -> Self {
        let (previous_secret, previous_secret_until) = webhook.previous_secret.clone().unzip();
        Self {
            workspace_id: DbId(webhook.workspace_id.0),
            webhook_id: DbId(webhook.id.0),
            url: webhook.url.to_string(),
            event_types: kinds_to_json(&webhook.event_types),
            disabled: webhook.disabled,
            disabled_reason: webhook.disabled_reason.clone(),
            secret: webhook.secret.0.clone(),
            secret_generation: webhook.secret_generation.into(),
            previous_secret: previous_secret.map(|sealed| sealed.0),
            previous_secret_until,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

impl TryFrom<WebhookRow> for Webhook {
    type Error = Error;
    fn try_from(row: WebhookRow) -> Result<Self> {
        let kinds: Vec<String> = from_json(row.event_types, "event_types")?;
        let kinds = kinds
            .iter()
            .map(|kind| EventKind::parse(kind).ok_or_else(|| impossible("an event's kind")));
        Ok(Self {
            id: WebhookId(row.webhook_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            url: row.url.parse().map_err(|_| impossible("a webhook's url"))?,
            event_types: kinds.collect::<Result<_>>()?,
            disabled: row.disabled,
            disabled_reason: row.disabled_reason,
            secret: Sealed(row.secret),
            secret_generation: to_u32(row.secret_generation)?,
            previous_secret: row
                .previous_secret
                .map(Sealed)
                .zip(row.previous_secret_until),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = schema::webhook_deliveries, check_for_backend(Db))]
pub(super) struct DeliveryRow {
    pub workspace_id: DbId,
    pub delivery_id: DbId,
    pub webhook_id: DbId,
    pub event_id: DbId,
    pub event_type: String,
    pub connection_id: DbId,
    pub payload: String,
    pub status: String,
    pub attempts: i64,
    pub next_attempt_at: Timestamp,
    pub give_up_at: Timestamp,
    pub response_status: Option<i64>,
    pub error: String,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryRow {
    fn from(delivery: Delivery) -> Self {
        Self {
            workspace_id: DbId(delivery.workspace_id.0),
            delivery_id: DbId(delivery.id.0),
            webhook_id: DbId(delivery.webhook_id.0),
            event_id: DbId(delivery.event_id.0),
            event_type: delivery.event_type,
            connection_id: DbId(delivery.connection_id.0),
            payload: delivery.payload,
            status: delivery.status.as_str().to_owned(),
            attempts: delivery.attempts.into(),
            next_attempt_at: delivery.next_attempt_at,
            give_up_at: delivery.give_up_at,
            response_status: delivery.response_status.map(i64::from),
            error: delivery.error,
            created_at: delivery.created_at,
            delivered_at: delivery.delivered_at,
        }
    }
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = Error;
    fn try_from(row: DeliveryRow) -> Result<Self> {
        let status = DeliveryStatus::parse(&row.status);
        let response_status = row.response_status.map(u16::try_from).transpose();
        Ok(Self {
            id: DeliveryId(row.delivery_id.0),
            workspace_id: WorkspaceId(row.workspace_id.0),
            webhook_id: WebhookId(row.webhook_id.0),
            event_id: EventId(row.event_id.0),
            event_type: row.event_type,
            connection_id: ConnectionId(row.connection_id.0),
            payload: row.payload,
            status: status.ok_or_else(|| impossible("a delivery's status"))?,
            attempts: to_u32(row.attempts)?,
            next_attempt_at: row.next_attempt_at,
            give_up_at: row.give_up_at,
            response_status: response_status.map_err(|_| impossible("an HTTP status"))?,
            error: row.error,
            created_at: row.created_at,
            delivered_at: row.delivered_at,
        })
    }
}
