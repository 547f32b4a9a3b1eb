//! Webhooks and their deliveries.

use async_trait::async_trait;

use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::Result,
    id::{DeliveryId, WebhookId, WorkspaceId},
    page::PageRequest,
    webhook::{Delivery, DeliveryStatus, Webhook},
};

/// Webhooks. Deliveries are made by the events themselves, in their
/// transactions.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Adds one; false where the workspace has `most` already.
    async fn insert_webhook(&self, webhook: &Webhook, most: i64, audit: AuditEvent)
    -> Result<bool>;
    /// One.
    async fn webhook(&self, workspace: WorkspaceId, id: WebhookId) -> Result<Option<Webhook>>;
    /// A page of a workspace's.
    async fn webhooks(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Webhook>>;
    /// Replaces one that was read with this `updated_at`; false where it has
    /// changed since, or is gone.
    async fn update_webhook(
        &self,
        webhook: &Webhook,
        read_at: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// Deletes one and its deliveries; false where there is none.
    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        audit: AuditEvent,
    ) -> Result<bool>;
    /// Takes deliveries that are due, none of them of `busy` webhooks. Each is
    /// one attempt on, and nobody else's until `until`.
    async fn claim_deliveries(
        &self,
        at: Timestamp,
        until: Timestamp,
        limit: i64,
        busy: &[WebhookId],
    ) -> Result<Vec<Delivery>>;
    /// Records what became of an attempt, unless another one was begun since.
    async fn end_delivery_attempt(&self, delivery: &Delivery) -> Result<()>;
    /// A page of a webhook's deliveries.
    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        page: PageRequest,
    ) -> Result<Vec<Delivery>>;
    /// Makes a delivery due again, as if it were new; none where there is none.
    async fn replay_delivery(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        id: DeliveryId,
        at: Timestamp,
        audit: AuditEvent,
    ) -> Result<Option<Delivery>>;
}
