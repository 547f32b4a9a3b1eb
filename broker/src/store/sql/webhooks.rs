//! Webhooks and their deliveries.

use async_trait::async_trait;
use diesel::{dsl::sql, prelude::*, sql_types};
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::super::{Conn, types::DbId};
use super::rows::{from_json, to_json};
use super::schema::{webhook_deliveries, webhooks};
use super::{SqlStore, audit};
use crate::domain::{
    Timestamp,
    audit::AuditEvent,
    error::Result,
    event::{ConnectionEvent, EventKind},
    id::{DeliveryId, WebhookId, WorkspaceId},
    page::PageRequest,
    webhook::{Delivery, DeliveryStatus, PATIENCE, Webhook},
};
use crate::store::WebhookStore;

mod rows;

use rows::{DeliveryRow, WebhookRow};

/// Queues an event for the webhooks that want it, within its transaction.
pub(super) async fn queue(tx: &mut Conn, event: &ConnectionEvent) -> Result<()> {
    let wanting: Vec<(DbId, Value)> = webhooks::table
        .filter(webhooks::workspace_id.eq(DbId(event.workspace_id.0)))
        .filter(webhooks::disabled.eq(false))
        .select((webhooks::webhook_id, webhooks::event_types))
        .load(tx)
        .await?;
    for (id, kinds) in wanting {
        let kinds: Vec<String> = from_json(kinds, "event_types")?;
        if kinds.is_empty() || kinds.iter().any(|kind| kind == event.kind.as_str()) {
            let row = DeliveryRow::from(Delivery::of(event, WebhookId(id.0)));
            diesel::insert_into(webhook_deliveries::table)
                .values(&row)
                .execute(tx)
                .await?;
        }
    }
    Ok(())
}

impl SqlStore {
    /// Forgets deliveries up to a time, at most about this many at once.
    pub(super) async fn forget_deliveries(&self, until: Timestamp, limit: i64) -> Result<()> {
        let mut connection = self.connection_from_pool().await?;
        let many: Option<Timestamp> = webhook_deliveries::table
            .filter(webhook_deliveries::created_at.le(until))
            .order(webhook_deliveries::created_at)
            .offset(limit)
            .select(webhook_deliveries::created_at)
            .first(&mut connection)
            .await
            .optional()?;
        let old = webhook_deliveries::created_at.le(many.unwrap_or(until));
        diesel::delete(webhook_deliveries::table.filter(old))
            .execute(&mut connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl WebhookStore for SqlStore {
    async fn insert_webhook(
        &self,
        webhook: &Webhook,
        most: i64,
        event: AuditEvent,
    ) -> Result<bool> {
        let row = WebhookRow::from(webhook);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let there: i64 = webhooks::table
                .filter(webhooks::workspace_id.eq(row.workspace_id))
                .count()
                .get_result(tx)
                .await?;
            if there >= most {
                return Ok(false);
            }
            diesel::insert_into(webhooks::table)
                .values(&row)
                .execute(tx)
                .await?;
            audit::insert(tx, event).await?;
            Ok(true)
        })
    }

    async fn webhook(&self, workspace: WorkspaceId, id: WebhookId) -> Result<Option<Webhook>> {
        let row: Option<WebhookRow> = webhooks::table
            .find((DbId(workspace.0), DbId(id.0)))
            .select(WebhookRow::as_select())
            .first(&mut self.connection_from_pool().await?)
            .await
            .optional()?;
        row.map(Webhook::try_from).transpose()
    }

    async fn webhooks(&self, workspace: WorkspaceId, page: PageRequest) -> Result<Vec<Webhook>> {
        let mut query = webhooks::table
            .filter(webhooks::workspace_id.eq(DbId(workspace.0)))
            .order(webhooks::webhook_id)
            .limit(page.limit())
            .select(WebhookRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(webhooks::webhook_id.gt(DbId(after)));
        }
        let rows: Vec<WebhookRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(Webhook::try_from).collect()
    }

    async fn update_webhook(
        &self,
        webhook: &Webhook,
        read_at: Timestamp,
        event: AuditEvent,
    ) -> Result<bool> {
        let row = WebhookRow::from(webhook);
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let unchanged = webhooks::table
                .find((row.workspace_id, row.webhook_id))
                .filter(webhooks::updated_at.eq(read_at));
            let changed = diesel::update(unchanged).set(&row).execute(tx).await?;
            if changed == 1 {
                audit::insert(tx, event).await?;
            }
            Ok(changed == 1)
        })
    }

    async fn delete_webhook(
        &self,
        workspace: WorkspaceId,
        id: WebhookId,
        event: AuditEvent,
    ) -> Result<bool> {
        let (workspace, id) = (DbId(workspace.0), DbId(id.0));
        let mut connection = self.connection_from_pool().await?;
        write_tx!(*connection, async |tx: &mut Conn| -> Result<bool> {
            let deleted = diesel::delete(webhooks::table.find((workspace, id)))
                .execute(tx)
                .await?;
            if deleted == 1 {
                let its = webhook_deliveries::table
                    .filter(webhook_deliveries::workspace_id.eq(workspace))
                    .filter(webhook_deliveries::webhook_id.eq(id));
                diesel::delete(its).execute(tx).await?;
                audit::insert(tx, event).await?;
            }
            Ok(deleted == 1)
        })
    }

    async fn claim_deliveries(
        &self,
        at: Timestamp,
        until: Timestamp,
        limit: i64,
        busy: &[WebhookId],
    ) -> Result<Vec<Delivery>> {
        let busy: Vec<DbId> = busy.iter().map(|id| DbId(id.0)).collect();
        let mut connection = self.connection_from_pool().await?;
        // Mostly there is nothing, and a look costs no transaction.
        let first: Option<DbId> = webhook_deliveries::table
            .filter(sql::<sql_types::Bool>("status = 'pending'"))
            .filter(webhook_deliveries::next_attempt_at.le(at))
            .select(webhook_deliveries::delivery_id)
            .first(&mut connection)
            .await
            .optional()?;
        if first.is_none() {
            return Ok(vec![]);
        }
        let rows = write_tx!(
            *connection,
            async |tx: &mut Conn| -> Result<Vec<DeliveryRow>> {
                let due: Vec<(DbId, DbId)> = for_update_skip_locked!(
                    webhook_deliveries::table
                        // Literally as in the partial index, so that it is used.
                        .filter(sql::<sql_types::Bool>("status = 'pending'"))
                        .filter(webhook_deliveries::next_attempt_at.le(at))
                        .filter(webhook_deliveries::webhook_id.ne_all(busy))
                        .order(webhook_deliveries::next_attempt_at)
                        .limit(limit)
                        .select((
                            webhook_deliveries::workspace_id,
                            webhook_deliveries::delivery_id,
                        ))
                )
                .load(tx)
                .await?;
                let mut claimed = Vec::with_capacity(due.len());
                for key in due {
                    let row: DeliveryRow = diesel::update(webhook_deliveries::table.find(key))
                        .set((
                            webhook_deliveries::next_attempt_at.eq(until),
                            webhook_deliveries::attempts.eq(webhook_deliveries::attempts + 1),
                        ))
                        .returning(DeliveryRow::as_returning())
                        .get_result(tx)
                        .await?;
                    claimed.push(row);
                }
                Ok(claimed)
            }
        )?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    async fn end_delivery_attempt(&self, delivery: &Delivery) -> Result<()> {
        let same = webhook_deliveries::table
            .find((DbId(delivery.workspace_id.0), DbId(delivery.id.0)))
            .filter(webhook_deliveries::attempts.eq(i64::from(delivery.attempts)));
        diesel::update(same)
            .set((
                webhook_deliveries::status.eq(delivery.status.as_str()),
                webhook_deliveries::next_attempt_at.eq(delivery.next_attempt_at),
                webhook_deliveries::response_status.eq(delivery.response_status.map(i64::from)),
                webhook_deliveries::error.eq(delivery.error.clone()),
                webhook_deliveries::delivered_at.eq(delivery.delivered_at),
            ))
            .execute(&mut self.connection_from_pool().await?)
            .await?;
        Ok(())
    }

    async fn deliveries(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        page: PageRequest,
    ) -> Result<Vec<Delivery>> {
        let mut query = webhook_deliveries::table
            .filter(webhook_deliveries::workspace_id.eq(DbId(workspace.0)))
            .filter(webhook_deliveries::webhook_id.eq(DbId(webhook.0)))
            .order(webhook_deliveries::delivery_id)
            .limit(page.limit())
            .select(DeliveryRow::as_select())
            .into_boxed();
        if let Some(after) = page.after {
            query = query.filter(webhook_deliveries::delivery_id.gt(DbId(after)));
        }
        if let Some(status) = status {
            query = query.filter(webhook_deliveries::status.eq(status.as_str()));
        }
        let rows: Vec<DeliveryRow> = query.load(&mut self.connection_from_pool().await?).await?;
        rows.into_iter().map(Delivery::try_from).collect()
    }

    async fn replay_delivery(
        &self,
        workspace: WorkspaceId,
        webhook: WebhookId,
        id: DeliveryId,
        at: Timestamp,
        event: AuditEvent,
    ) -> Result<Option<Delivery>> {
        let key = (DbId(workspace.0), DbId(id.0));
        let mut connection = self.connection_from_pool().await?;
        let row = write_tx!(
            *connection,
            async |tx: &mut Conn| -> Result<Option<DeliveryRow>> {
                let its = webhook_deliveries::table
                    .find(key)
                    .filter(webhook_deliveries::webhook_id.eq(DbId(webhook.0)));
                // The attempts go on counting: they also tell a late outcome of
                // an earlier attempt from this one's.
                let row: Option<DeliveryRow> = diesel::update(its)
                    .set((
                        webhook_deliveries::status.eq(DeliveryStatus::Pending.as_str()),
                        webhook_deliveries::next_attempt_at.eq(at),
                        webhook_deliveries::give_up_at.eq(at + PATIENCE),
                        webhook_deliveries::delivered_at.eq(None::<Timestamp>),
                    ))
                    .returning(DeliveryRow::as_returning())
                    .get_result(tx)
                    .await
                    .optional()?;
                if row.is_some() {
                    audit::insert(tx, event).await?;
                }
                Ok(row)
            }
        )?;
        // Whoever delivers looks at once.
        self.changes.any.notify_one();
        row.map(Delivery::try_from).transpose()
    }
}

fn kinds_to_json(kinds: &[EventKind]) -> Value {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    to_json(&kinds)
}
