//! What watches and webhooks are told: every change of a connection, numbered
//! without gaps. Nothing here is secret.

use ring::digest::{Context, SHA256};
use uuid::Uuid;

use super::{
    Timestamp,
    connection::{Connection, Status},
    id::{ConnectionId, EventId, WorkspaceId},
};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $text:literal;)*) => {
        /// What happened to a connection.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $kind,)* }

        impl EventKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// As it is stored and told.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }

            /// As it was stored.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }
    };
}

kinds! {
    /// It was requested; the user has not consented yet.
    ConnectionRequested => "connection.requested";
    /// A new consent was begun for it.
    ConnectionReconnectRequested => "connection.reconnect_requested";
    /// A consent yielded its credential, or a new one.
    ConnectionActivated => "connection.activated";
    /// The provider refused the grant.
    ConnectionAttention => "connection.attention";
    /// Its credential expired and can't be refreshed.
    ConnectionExpired => "connection.expired";
    /// Its consent was refused, timed out, or could not be completed.
    ConnectionFailed => "connection.failed";
    /// It was revoked for good.
    ConnectionRevoked => "connection.revoked";
    /// Its credential was refreshed: a new generation.
    CredentialRefreshed => "credential.refreshed";
}

/// One change of a connection, and where it stood after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Its id: the same however often it is told.
    pub id: EventId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Its number: 1 for the connection's first, then without gaps, in the
    /// order in which they were committed.
    pub sequence: i64,
    /// What happened.
    pub kind: EventKind,
    /// Where the connection stood then.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// The credential's generation then; 0 where there was none.
    pub generation: u32,
    /// Whose connection it is.
    pub user_id: String,
    /// To which provider.
    pub provider_name: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// A connection, read together with the number of its last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// The connection.
    pub connection: Connection,
    /// The number of its last event.
    pub sequence: i64,
    /// The credential's generation; 0 where there is none.
    pub generation: u32,
}

impl EventId {
    /// The id of a connection's event: a UUIDv7 of its time, whose random part
    /// is derived from what it names. Whoever tells the event, and however
    /// often, gives it the same id.
    #[must_use]
    pub fn of(connection_id: ConnectionId, sequence: i64, at: Timestamp) -> Self {
        Self(derived(
            b"event",
            &[connection_id.0.as_bytes(), &sequence.to_be_bytes()],
            at,
        ))
    }
}

/// A UUIDv7 of a time, whose random part is derived from some parts.
pub(super) fn derived(label: &[u8], parts: &[&[u8]], at: Timestamp) -> Uuid {
    let mut context = Context::new(&SHA256);
    for part in [label].iter().chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let mut random = [0; 10];
    random.copy_from_slice(&digest.as_ref()[..10]);
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_id_and_shares_it_with_no_other() {
        let connection = |n| ConnectionId(Uuid::from_u128(n));
        let at = Timestamp::UNIX_EPOCH;
        let id = EventId::of(connection(1), 7, at);
        assert_eq!(id, EventId::of(connection(1), 7, at));
        assert_ne!(id, EventId::of(connection(1), 8, at));
        assert_ne!(id, EventId::of(connection(2), 7, at));
        assert_eq!(id.to_string().parse(), Ok(id), "it is a UUIDv7");
    }
}
