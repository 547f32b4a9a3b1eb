//! Delivering webhooks: what is due is claimed, signed, and sent once; what
//! does not arrive becomes due again.
//!
//! Several brokers share the work by claims. A claim ends by itself, so what a
//! killed broker was sending is sent again by another.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::Core;
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        error::{Error, Result},
        id::WebhookId,
        sealed::{Place, Sealed},
        webhook::{Delivery, DeliveryStatus, Webhook, backoff, signature},
    },
    egress::{EgressError, EgressRequest},
};

/// How long an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a claim holds: longer than an attempt.
const CLAIM: TimeDelta = TimeDelta::seconds(60);
/// Attempts at once in this process, and to one webhook: an endpoint that
/// hangs must not hold up the others.
const AT_ONCE: usize = 32;
const PER_WEBHOOK: usize = 4;
/// How often what is due is looked for, beside the news of this process.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until shutdown begins, and then until what was sent has ended.
pub async fn run(core: Arc<Core>) {
    let mut under_way = JoinSet::new();
    let mut busy: HashMap<WebhookId, usize> = HashMap::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let news = core.store.any_news();
    loop {
        match claim(&core, AT_ONCE - under_way.len(), &busy).await {
            Ok(claimed) => {
                let more = claimed.len() == PER_WEBHOOK;
                for delivery in claimed {
                    *busy.entry(delivery.webhook_id).or_default() += 1;
                    under_way.spawn(attempt(core.clone(), delivery));
                }
                if more && !core.closing.is_cancelled() {
                    continue;
                }
            }
            Err(error) => tracing::warn!(cause = ?error.cause, "webhooks were not looked for"),
        }
        tokio::select! {
            () = core.closing.cancelled() => break,
            _ = ticks.tick() => {}
            () = news.notified() => {}
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                if let Ok(webhook) = ended
                    && let Some(count) = busy.get_mut(&webhook)
                {
                    *count -= 1;
                    busy.retain(|_, count| *count > 0);
                }
            }
        }
    }
    // Whoever is not done by then is tried again by another broker.
    let _ = timeout(TIMEOUT, async {
        while under_way.join_next().await.is_some() {}
    })
    .await;
}

async fn claim(
    core: &Core,
    free: usize,
    busy: &HashMap<WebhookId, usize>,
) -> Result<Vec<Delivery>> {
    // One claim may bring several of one webhook: few enough not to matter.
    let limit = i64::try_from(free.min(PER_WEBHOOK)).unwrap_or_default();
    if limit == 0 {
        return Ok(vec![]);
    }
    let full: Vec<WebhookId> = busy
        .iter()
        .filter(|(_, count)| **count >= PER_WEBHOOK)
        .map(|(id, _)| *id)
        .collect();
    let now = core.ambient.now();
    core.store
        .claim_deliveries(now, now + CLAIM, limit, &full)
        .await
}

/// One attempt, and the record of what became of it.
async fn attempt(core: Arc<Core>, delivery: Delivery) -> WebhookId {
    let webhook_id = delivery.webhook_id;
    if let Err(error) = try_to_deliver(&core, delivery).await {
        // Still claimed: it is due again when the claim ends.
        tracing::warn!(%webhook_id, cause = ?error.cause, "a webhook was not delivered yet");
    }
    webhook_id
}

async fn try_to_deliver(core: &Core, mut delivery: Delivery) -> Result<()> {
    let webhook = core
        .store
        .webhook(delivery.workspace_id, delivery.webhook_id)
        .await?
        .filter(|webhook| !webhook.disabled);
    let Some(webhook) = webhook else {
        delivery.status = DeliveryStatus::Dead;
        "webhook_disabled".clone_into(&mut delivery.error);
        return core.store.end_delivery_attempt(&delivery).await;
    };
    let headers = headers(core, &webhook, &delivery).await?;
    let sent = core
        .egress
        .send_and_ignore_body(EgressRequest {
            method: Method::POST,
            url: webhook.url.clone(),
            headers,
            body: delivery.payload.clone().into_bytes(),
            timeout: TIMEOUT,
        })
        .await;
    let now = core.ambient.now();
    let (response_status, error) = match &sent {
        Ok(status) if status.is_success() => (Some(status.as_u16()), ""),
        Ok(status) => (Some(status.as_u16()), "status"),
        Err(EgressError::Refused(_)) => (None, "refused_address"),
        Err(EgressError::NotSent(_)) => (None, "no_connection"),
        Err(EgressError::NoAnswer(_)) => (None, "no_answer"),
    };
    delivery.response_status = response_status;
    error.clone_into(&mut delivery.error);
    let gone = matches!(sent, Ok(StatusCode::GONE));
    let pause = backoff(delivery.attempts, core.ambient.bytes::<1>()[0]);
    let outcome = if error.is_empty() {
        delivery.status = DeliveryStatus::Delivered;
        delivery.delivered_at = Some(now);
        "delivered"
    } else if gone || now + pause > delivery.give_up_at {
        delivery.status = DeliveryStatus::Dead;
        "dead"
    } else {
        delivery.next_attempt_at = now + pause;
        "failed"
    };
    metrics::counter!("webhook_attempts_total", "outcome" => outcome).increment(1);
    core.store.end_delivery_attempt(&delivery).await?;
    if gone {
        disable(core, webhook).await?;
    }
    Ok(())
}

/// The headers of a message, with one signature for each secret that is valid.
async fn headers(core: &Core, webhook: &Webhook, delivery: &Delivery) -> Result<HeaderMap> {
    let now = core.ambient.now();
    let generation = webhook.secret_generation;
    let mut secrets = vec![(webhook.secret_place(generation), &webhook.secret)];
    if let Some((previous, until)) = &webhook.previous_secret
        && now < *until
    {
        secrets.push((webhook.secret_place(generation.saturating_sub(1)), previous));
    }
    let timestamp = now.timestamp();
    let mut signatures = vec![];
    for (place, sealed) in secrets {
        let secret = open(core, &place, sealed).await?;
        signatures.push(signature(
            &secret,
            delivery.event_id,
            timestamp,
            &delivery.payload,
        ));
    }
    let text = |text: String| HeaderValue::try_from(text).map_err(Error::internal);
    Ok(HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            HeaderName::from_static("webhook-id"),
            text(delivery.event_id.to_string())?,
        ),
        (
            HeaderName::from_static("webhook-timestamp"),
            text(timestamp.to_string())?,
        ),
        (
            HeaderName::from_static("webhook-signature"),
            text(signatures.join(" "))?,
        ),
    ]))
}

async fn open(core: &Core, place: &Place, sealed: &Sealed) -> Result<SecretString> {
    let opened = core.vault.open(place, sealed).await?;
    let text = std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?;
    Ok(SecretString::from(text))
}

/// The endpoint said 410 Gone: it wants no more (Standard Webhooks).
async fn disable(core: &Core, webhook: Webhook) -> Result<()> {
    let read_at = webhook.updated_at;
    let actor = Actor::Anonymous(webhook.workspace_id, "");
    let event = AuditEvent::new(&core.ambient, Action::WebhookDisabled, actor);
    let mut webhook = Webhook {
        disabled: true,
        disabled_reason: "gone".to_owned(),
        updated_at: core.ambient.now().max(read_at + TimeDelta::microseconds(1)),
        ..webhook
    };
    // If it changed meanwhile, somebody is looking after it.
    super::webhooks::store_again(core, &mut webhook, read_at, event).await?;
    Ok(())
}
