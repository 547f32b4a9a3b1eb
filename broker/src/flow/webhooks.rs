//! Webhooks: who is told what happens, and where.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Core, workspaces};
use crate::{
    domain::{
        access::Caller,
        audit::{Action, Actor, AuditEvent},
        error::{Error, ErrorKind, Result},
        event::EventKind,
        id::{DeliveryId, WebhookId},
        page::{Page, PageRequest},
        sealed::Sealed,
        webhook::{Delivery, DeliveryStatus, PREVIOUS_SECRET, Webhook, new_secret},
    },
    egress::guard::Guard,
};

/// Webhooks that a workspace may have: each event looks at all of them.
const MOST: i64 = 50;
const MAX_URL: usize = 2048;

fn not_found() -> Error {
    let message = "there is no such webhook in this workspace";
    Error::new(ErrorKind::WebhookNotFound, message)
}

fn guard(core: &Core) -> Guard {
    Guard {
        allow_private_networks: core.allow_private_networks,
    }
}

fn conflict() -> Error {
    let message = "the webhook keeps changing; try again";
    Error::new(ErrorKind::StoreUnavailable, message)
}

/// What a person may set.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where messages go.
    pub url: String,
    /// What it is told; empty: everything.
    pub event_types: Vec<String>,
    /// Whether it is told nothing for now.
    pub disabled: bool,
}

impl WebhookSettings {
    fn checked(&self, guard: Guard) -> Result<(Url, Vec<EventKind>)> {
        let wrong = |why: &str| Error::invalid("url", why.to_owned());
        let url: Url = match self.url.len() {
            0..=MAX_URL => self.url.parse().map_err(|_| wrong("is not a URL"))?,
            _ => return Err(wrong("has more than 2048 bytes")),
        };
        // As it is stored and shown: it must be possible to send it back.
        if url.as_str().len() > MAX_URL {
            return Err(wrong("has more than 2048 bytes when it is percent-encoded"));
        }
        guard
            .check(&url)
            .map_err(|problem| wrong(&format!("is refused: {problem}")))?;
        if url.fragment().is_some() {
            return Err(wrong("has a fragment, which is never sent"));
        }
        let mut kinds = vec![];
        for text in &self.event_types {
            let kind = EventKind::parse(text).ok_or_else(|| {
                let all: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let known = format!("holds what is not one of {}", all.join(", "));
                Error::invalid("event_types", known)
            })?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok((url, kinds))
    }
}

/// Creates a webhook. Its secret is in the answer and nowhere else in plain.
///
/// # Errors
/// INVALID_ARGUMENT, STORE_UNAVAILABLE.
pub async fn create(
    core: &Core,
    caller: &Caller,
    settings: &WebhookSettings,
) -> Result<(Webhook, SecretString)> {
    let (url, event_types) = settings.checked(guard(core))?;
    // A deleted one's keys are known for a few seconds more.
    workspaces::get(core, caller.workspace_id()).await?;
    let now = core.ambient.now();
    let mut webhook = Webhook {
        id: WebhookId(core.ambient.id()),
        workspace_id: caller.workspace_id(),
        url,
        event_types,
        disabled: settings.disabled,
        disabled_reason: String::new(),
        secret: Sealed(vec![]),
        secret_generation: 1,
        previous_secret: None,
        created_at: now,
        updated_at: now,
    };
    let secret = new_secret(&core.ambient);
    let event = audit(core, caller, Action::WebhookCreated);
    let inserted = with_active_key!(
        core,
        webhook.workspace_id,
        async {
            webhook.secret = seal(core, &webhook, &secret).await?;
            core.store
                .insert_webhook(&webhook, MOST, event.clone())
                .await
        }
        .await
    )?;
    if !inserted {
        let full = format!("the workspace has {MOST} already; delete one first");
        return Err(Error::invalid("webhook", full));
    }
    Ok((webhook, secret))
}

async fn seal(core: &Core, webhook: &Webhook, secret: &SecretString) -> Result<Sealed> {
    let place = webhook.secret_place(webhook.secret_generation);
    core.vault
        .seal(&place, secret.expose_secret().as_bytes())
        .await
}

fn audit(core: &Core, caller: &Caller, action: Action) -> AuditEvent {
    AuditEvent::new(&core.ambient, action, Actor::Caller(caller))
}

/// One webhook, without its secret.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn get(core: &Core, caller: &Caller, id: WebhookId) -> Result<Webhook> {
    let found = core.store.webhook(caller.workspace_id(), id).await?;
    found.ok_or_else(not_found)
}

/// A page of the workspace's webhooks.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn list(core: &Core, caller: &Caller, page: PageRequest) -> Result<Page<Webhook>> {
    let webhooks = core.store.webhooks(caller.workspace_id(), page).await?;
    Ok(page.page(webhooks, |webhook| webhook.id.0))
}

/// Replaces the settings of a webhook that was just read.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, INVALID_ARGUMENT, STORE_UNAVAILABLE.
pub async fn update(
    core: &Core,
    caller: &Caller,
    read: Webhook,
    settings: &WebhookSettings,
) -> Result<Webhook> {
    let (url, event_types) = settings.checked(guard(core))?;
    let read_at = read.updated_at;
    let mut webhook = Webhook {
        url,
        event_types,
        disabled: settings.disabled,
        // Whoever enables it again has seen why it was not.
        disabled_reason: match settings.disabled {
            true => read.disabled_reason.clone(),
            false => String::new(),
        },
        updated_at: after(core, read_at),
        ..read
    };
    let event = audit(core, caller, Action::WebhookUpdated);
    if store_again(core, &mut webhook, read_at, event).await? {
        return Ok(webhook);
    }
    get(core, caller, webhook.id).await?;
    Err(conflict())
}

/// Stores a webhook with the secrets that it was read with, or as a rotation of
/// the data key has encrypted them since. False where it was changed meanwhile.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub(super) async fn store_again(
    core: &Core,
    webhook: &mut Webhook,
    read_at: crate::domain::Timestamp,
    event: AuditEvent,
) -> Result<bool> {
    let (workspace, id) = (webhook.workspace_id, webhook.id);
    with_active_key!(
        core,
        workspace,
        async {
            let stored = core
                .store
                .update_webhook(webhook, read_at, event.clone())
                .await;
            if stored.as_ref().is_err_and(|error| error.is_stale_seal)
                && let Some(held) = core.store.webhook(workspace, id).await?
                && held.updated_at == read_at
            {
                webhook.secret = held.secret;
                webhook.previous_secret = held.previous_secret;
            }
            stored
        }
        .await
    )
}

/// Now, but later than before: it tells versions apart.
fn after(core: &Core, before: crate::domain::Timestamp) -> crate::domain::Timestamp {
    core.ambient
        .now()
        .max(before + chrono::TimeDelta::microseconds(1))
}

/// Deletes a webhook and what it has yet to deliver.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn delete(core: &Core, caller: &Caller, id: WebhookId) -> Result<()> {
    let event = audit(core, caller, Action::WebhookDeleted);
    let deleted = core.store.delete_webhook(caller.workspace_id(), id, event);
    if deleted.await? {
        Ok(())
    } else {
        Err(not_found())
    }
}

/// Gives a webhook a new secret; the one before signs as well for a while.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn rotate_secret(
    core: &Core,
    caller: &Caller,
    id: WebhookId,
) -> Result<(Webhook, SecretString)> {
    let read = get(core, caller, id).await?;
    let read_at = read.updated_at;
    let previous_place = read.secret_place(read.secret_generation);
    let previous_until = core.ambient.now() + PREVIOUS_SECRET;
    let previous = read.secret.clone();
    let mut webhook = Webhook {
        secret_generation: read.secret_generation + 1,
        updated_at: after(core, read_at),
        ..read
    };
    let secret = new_secret(&core.ambient);
    let event = audit(core, caller, Action::WebhookSecretRotated);
    let stored = with_active_key!(
        core,
        webhook.workspace_id,
        async {
            // A column that changes takes what the active data key seals only.
            let previous = core.vault.reseal(&previous_place, &previous).await?;
            webhook.previous_secret = Some((previous, previous_until));
            webhook.secret = seal(core, &webhook, &secret).await?;
            core.store
                .update_webhook(&webhook, read_at, event.clone())
                .await
        }
        .await
    )?;
    if stored {
        Ok((webhook, secret))
    } else {
        Err(conflict())
    }
}

/// A page of a webhook's deliveries.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn deliveries(
    core: &Core,
    caller: &Caller,
    id: WebhookId,
    status: Option<DeliveryStatus>,
    page: PageRequest,
) -> Result<Page<Delivery>> {
    get(core, caller, id).await?;
    let found = core
        .store
        .deliveries(caller.workspace_id(), id, status, page)
        .await?;
    Ok(page.page(found, |delivery| delivery.id.0))
}

/// Sends a message again, for another day.
///
/// # Errors
/// WEBHOOK_NOT_FOUND, WEBHOOK_DELIVERY_NOT_FOUND, INVALID_ARGUMENT where the
/// webhook is disabled, STORE_UNAVAILABLE.
pub async fn replay(
    core: &Core,
    caller: &Caller,
    id: WebhookId,
    delivery: DeliveryId,
) -> Result<Delivery> {
    if get(core, caller, id).await?.disabled {
        return Err(Error::invalid("webhook_id", "is disabled; enable it first"));
    }
    let event = audit(core, caller, Action::WebhookDeliveryReplayed);
    core.store
        .replay_delivery(
            caller.workspace_id(),
            id,
            delivery,
            core.ambient.now(),
            event,
        )
        .await?
        .ok_or_else(|| {
            Error::new(
                ErrorKind::WebhookDeliveryNotFound,
                "there is no such delivery of this webhook; they are kept for seven days",
            )
        })
}

#[cfg(test)]
#[path = "webhooks_tests.rs"]
mod tests;
