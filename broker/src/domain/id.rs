//! Ids: lower-case UUIDv7, one type for each kind of thing.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that is not a lower-case UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a lower-case UUIDv7")]
pub struct NotAnId;

fn parse(text: &str) -> Result<Uuid, NotAnId> {
    let id = Uuid::try_parse(text).map_err(|_| NotAnId)?;
    // One spelling only: braces, URNs and upper case are other texts.
    let canonical = id.get_version_num() == 7
        && id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
    if canonical { Ok(id) } else { Err(NotAnId) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// A workspace's id.
    WorkspaceId;
    /// An API key's id (not its secret).
    ApiKeyId;
    /// A provider's id.
    ProviderId;
    /// A connection's id.
    ConnectionId;
    /// A consent's id; never leaves the broker.
    ConsentId;
    /// A data key's id.
    DataKeyId;
    /// An audit event's id.
    AuditEventId;
    /// An event's id, as watches and webhooks are told it.
    EventId;
    /// A webhook's id.
    WebhookId;
    /// The id of a message to a webhook.
    DeliveryId;
}

impl WorkspaceId {
    /// The workspace that exists from the start: the smallest UUIDv7, so that
    /// every broker names it alike without asking.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(
            text.parse::<ConnectionId>().map(|id| id.to_string()),
            Ok(text.to_owned())
        );
        for other in [
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "{01890a5d-ac96-774b-bcce-b302099a8057}",
            "01890a5dac96774bbcceb302099a8057",
            "2c5ea4c0-4067-41fe-8bad-9b1deb4d3b7d",
            "",
        ] {
            assert_eq!(other.parse::<ConnectionId>(), Err(NotAnId), "{other}");
        }
    }
}
