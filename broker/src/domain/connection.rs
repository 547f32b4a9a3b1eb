//! Connections and how they may change.

use std::collections::BTreeMap;

use super::{
    Timestamp,
    id::{ConnectionId, ProviderId, WorkspaceId},
};

macro_rules! statuses {
    ($($(#[$doc:meta])* $status:ident => $text:literal;)*) => {
        /// Where a connection stands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Status { $($(#[$doc])* $status,)* }

        impl Status {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$status,)*];

            /// As it is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$status => $text,)* }
            }

            /// As it was stored.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|status| status.as_str() == text)
            }
        }
    };
}

statuses! {
    /// The user has not consented yet.
    Pending => "pending";
    /// A credential is held.
    Active => "active";
    /// The provider refused the grant.
    Attention => "attention";
    /// The credential expired and can't be refreshed.
    Expired => "expired";
    /// Revoked for good.
    Revoked => "revoked";
    /// The consent was refused, timed out, or could not be completed.
    Failed => "failed";
}

/// What can happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A consent yielded a credential.
    ConsentSucceeded,
    /// A consent was refused, timed out, or could not be completed.
    ConsentFailed,
    /// A refresh yielded new tokens.
    Refreshed,
    /// The provider refused the grant.
    GrantRefused,
    /// The credential expired and can't be refreshed.
    ExpiredUnrefreshable,
    /// It was revoked.
    Revoked,
}

impl Event {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::ConsentSucceeded,
        Self::ConsentFailed,
        Self::Refreshed,
        Self::GrantRefused,
        Self::ExpiredUnrefreshable,
        Self::Revoked,
    ];
}

impl Status {
    /// The status after an event; where the event changes nothing, the same.
    #[must_use]
    pub const fn after(self, event: Event) -> Self {
        match (self, event) {
            // Terminal: nothing leads out of it.
            (Self::Revoked, _) | (_, Event::Revoked) => Self::Revoked,
            (_, Event::ConsentSucceeded) => Self::Active,
            (Self::Pending, Event::ConsentFailed) => Self::Failed,
            (Self::Active, Event::GrantRefused) => Self::Attention,
            (Self::Active, Event::ExpiredUnrefreshable) => Self::Expired,
            // A slow refresh may win against a refusal that was recorded first.
            (Self::Attention, Event::Refreshed) => Self::Active,
            (status, _) => status,
        }
    }
}

/// A user's connection to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// The workspace it belongs to.
    pub workspace_id: WorkspaceId,
    /// Whose it is; opaque.
    pub user_id: String,
    /// The provider.
    pub provider_id: ProviderId,
    /// The provider's name, which never changes.
    pub provider_name: String,
    /// The status as last stored; ask [`Connection::status_at`] for the true one.
    pub status: Status,
    /// Why it stands there.
    pub reason: String,
    /// Scopes granted or, before that, asked for.
    pub scopes: Vec<String>,
    /// Fills the provider's URLs.
    pub connection_config: BTreeMap<String, String>,
    /// The application's notes.
    pub metadata: BTreeMap<String, String>,
    /// The provider's subject (`sub`) that consented; a reconnect must bring
    /// the same.
    pub subject: Option<String>,
    /// Until when a PENDING connection waits for its consent.
    pub consent_expires_at: Timestamp,
    /// When the credential expires.
    pub expires_at: Option<Timestamp>,
    /// Whether the credential can be refreshed.
    pub refreshable: bool,
    /// When it was requested.
    pub created_at: Timestamp,
    /// When its status or credential last changed.
    pub updated_at: Timestamp,
}

/// The reason of a consent that nobody completed in time.
pub const CONSENT_TIMEOUT: &str = "consent_timeout";
/// The reason of a credential that ran out and can't be refreshed.
pub const CREDENTIAL_EXPIRED: &str = "credential_expired";

impl Connection {
    /// The status and its reason at a time: time itself fails a consent that
    /// nobody completed, and expires a credential that can't be refreshed.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> (Status, &str) {
        match self.status {
            Status::Pending if self.consent_expires_at <= now => {
                (self.status.after(Event::ConsentFailed), CONSENT_TIMEOUT)
            }
            Status::Active if !self.refreshable && self.expires_at.is_some_and(|at| at <= now) => (
                self.status.after(Event::ExpiredUnrefreshable),
                CREDENTIAL_EXPIRED,
            ),
            status => (status, &self.reason),
        }
    }
}

/// Which connections a list shows.
#[derive(Debug, Clone, Default)]
pub struct ConnectionFilter {
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this provider's.
    pub provider_name: Option<String>,
    /// Only those in this status, at this time.
    pub status: Option<(Status, Timestamp)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_event_has_its_successor() {
        use Event as E;
        use Status as S;
        let changes = [
            (S::Pending, E::ConsentSucceeded, S::Active),
            (S::Pending, E::ConsentFailed, S::Failed),
            (S::Active, E::GrantRefused, S::Attention),
            (S::Active, E::ExpiredUnrefreshable, S::Expired),
            (S::Attention, E::ConsentSucceeded, S::Active),
            (S::Attention, E::Refreshed, S::Active),
            (S::Expired, E::ConsentSucceeded, S::Active),
            (S::Failed, E::ConsentSucceeded, S::Active),
        ];
        for &status in S::ALL {
            for &event in E::ALL {
                let expected = changes
                    .iter()
                    .find(|change| (change.0, change.1) == (status, event))
                    .map(|change| change.2)
                    .unwrap_or(if event == E::Revoked {
                        S::Revoked
                    } else {
                        status
                    });
                assert_eq!(status.after(event), expected, "{status:?} after {event:?}");
            }
        }
    }
}
