//! Webhooks, as the Standard Webhooks specification has them.

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{SecondsFormat, TimeDelta};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use super::{
    Timestamp,
    ambient::Ambient,
    event::{ConnectionEvent, EventKind, derived},
    id::{ConnectionId, DeliveryId, EventId, WebhookId, WorkspaceId},
    sealed::{Place, Sealed},
};

/// How long a message is tried.
pub const PATIENCE: TimeDelta = TimeDelta::days(1);
/// How long the secret before still signs.
pub const PREVIOUS_SECRET: TimeDelta = TimeDelta::hours(24);
const SECRET_PREFIX: &str = "whsec_";

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The workspace whose connections it hears of.
    pub workspace_id: WorkspaceId,
    /// Where messages go.
    pub url: Url,
    /// What it is told; empty: everything.
    pub event_types: Vec<EventKind>,
    /// Whether it is told nothing for now.
    pub disabled: bool,
    /// Why we disabled it; empty where a person did.
    pub disabled_reason: String,
    /// Its secret, sealed.
    pub secret: Sealed,
    /// Rises with every secret.
    pub secret_generation: u32,
    /// The secret of the generation before, and until when it signs as well.
    pub previous_secret: Option<(Sealed, Timestamp)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Webhook {
    /// Where its secret of a generation is sealed.
    #[must_use]
    pub fn secret_place(&self, generation: u32) -> Place {
        Place {
            workspace_id: self.workspace_id,
            table: "webhooks",
            row: self.id.0,
            field: "secret",
            generation,
        }
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $status:ident => $text:literal;)*) => {
        /// What became of a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DeliveryStatus { $($(#[$doc])* $status,)* }

        impl DeliveryStatus {
            /// As it is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$status => $text,)* }
            }

            /// As it was stored.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                [$(Self::$status,)*].into_iter().find(|status| status.as_str() == text)
            }
        }
    };
}

statuses! {
    /// It is being sent, or will be sent again.
    Pending => "pending";
    /// It arrived.
    Delivered => "delivered";
    /// It did not arrive in time, or can't any more.
    Dead => "dead";
}

/// A message to a webhook, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The event: the message's `webhook-id`.
    pub event_id: EventId,
    /// What happened.
    pub event_type: String,
    /// To which connection.
    pub connection_id: ConnectionId,
    /// The body, always the same bytes.
    pub payload: String,
    /// What became of it.
    pub status: DeliveryStatus,
    /// How often it was sent.
    pub attempts: u32,
    /// Not before this time is it sent next.
    pub next_attempt_at: Timestamp,
    /// After this time it is not sent again.
    pub give_up_at: Timestamp,
    /// The HTTP status of the last answer.
    pub response_status: Option<u16>,
    /// Why the last attempt failed, in a word of ours.
    pub error: String,
    /// When the event happened.
    pub created_at: Timestamp,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
}

impl Delivery {
    /// What a webhook is told of an event. The id is derived: the same event is
    /// never queued twice.
    #[must_use]
    pub fn of(event: &ConnectionEvent, webhook_id: WebhookId) -> Self {
        let parts = [&webhook_id.0.as_bytes()[..], event.id.0.as_bytes()];
        Self {
            id: DeliveryId(derived(b"delivery", &parts, event.occurred_at)),
            workspace_id: event.workspace_id,
            webhook_id,
            event_id: event.id,
            event_type: event.kind.as_str().to_owned(),
            connection_id: event.connection_id,
            payload: payload(event),
            status: DeliveryStatus::Pending,
            attempts: 0,
            next_attempt_at: event.occurred_at,
            give_up_at: event.occurred_at + PATIENCE,
            response_status: None,
            error: String::new(),
            created_at: event.occurred_at,
            delivered_at: None,
        }
    }
}

fn payload(event: &ConnectionEvent) -> String {
    json!({
        "type": event.kind.as_str(),
        "timestamp": event.occurred_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "data": {
            "connection_id": event.connection_id.to_string(),
            "user_id": event.user_id,
            "provider_name": event.provider_name,
            "status": event.status.as_str().to_ascii_uppercase(),
            "reason": event.reason,
            "generation": event.generation,
        },
    })
    .to_string()
}

/// A new secret: 256 random bits.
#[must_use]
pub fn new_secret(ambient: &Ambient) -> SecretString {
    let bytes = Zeroizing::new(ambient.bytes::<32>());
    format!("{SECRET_PREFIX}{}", STANDARD.encode(&bytes[..])).into()
}

/// The `webhook-signature` of a message under a secret.
#[must_use]
pub fn signature(secret: &SecretString, id: EventId, timestamp: i64, payload: &str) -> String {
    let text = secret.expose_secret();
    let text = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    let signed = format!("{id}.{timestamp}.{payload}");
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// How long to wait after so many attempts: 5 s, three times as long after
/// each, six hours at most; of that between a half and the whole, as `jitter`
/// has it, so that what failed together does not come back together.
#[must_use]
pub fn backoff(attempts: u32, jitter: u8) -> TimeDelta {
    const FIRST: i64 = 5_000;
    const MOST: i64 = 6 * 3600 * 1000;
    let whole = 3_i64
        .saturating_pow(attempts.saturating_sub(1))
        .saturating_mul(FIRST)
        .min(MOST);
    TimeDelta::milliseconds(whole / 2 + whole / 2 * i64::from(jitter) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_fill_a_day() {
        let seconds = |attempts| [0, 255].map(|jitter| backoff(attempts, jitter).num_seconds());
        assert_eq!(seconds(1), [2, 5]);
        assert_eq!(seconds(2), [7, 15]);
        assert_eq!(seconds(5), [202, 405]);
        assert_eq!(seconds(9), [10_800, 21_600]);
        assert_eq!(seconds(u32::MAX), [10_800, 21_600]);
        let day: i64 = (1..=12).map(|attempts| seconds(attempts)[1]).sum();
        assert!(day > 24 * 3600, "{day}");
    }

    #[test]
    fn a_secret_is_new_each_time_and_signs_what_it_is_given() {
        let ambient = Ambient::system();
        let (one, two) = (new_secret(&ambient), new_secret(&ambient));
        assert_ne!(one.expose_secret(), two.expose_secret());
        let id = EventId(ambient.id());
        let signed = signature(&one, id, 7, "{}");
        assert_eq!(signed, signature(&one, id, 7, "{}"));
        assert_ne!(signed, signature(&two, id, 7, "{}"));
        assert_ne!(signed, signature(&one, id, 8, "{}"));
        assert_ne!(signed, signature(&one, id, 7, "[]"));
    }
}
