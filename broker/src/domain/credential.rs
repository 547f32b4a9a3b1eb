//! Credentials: what a connection holds, and when it is refreshed.

use chrono::TimeDelta;
use secrecy::SecretString;

use super::{
    Timestamp,
    id::{ConnectionId, WorkspaceId},
    provider::StrategySpec,
    sealed::Sealed,
};

/// A token endpoint's successful answer (RFC 6749 §5.1), in memory.
#[derive(Debug, Clone)]
pub struct TokenSet {
    /// The access token.
    pub access_token: SecretString,
    /// Its type, as the provider wrote it.
    pub token_type: String,
    /// The refresh token, where one was issued.
    pub refresh_token: Option<SecretString>,
    /// The id_token (OpenID Connect Core §2), where one was issued.
    pub id_token: Option<SecretString>,
    /// The scopes granted, where they were named.
    pub scope: Option<String>,
    /// The access token's lifetime, where it is known.
    pub lifetime: Option<TimeDelta>,
}

/// A credential on its way into the store: usage and refresh secrets are
/// sealed apart, so that answering one never opens the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// What agents get: a JSON object, sealed.
    pub usage: Sealed,
    /// The refresh token, sealed; never leaves the broker.
    pub refresh: Option<Sealed>,
    /// When the access token was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// From when on whoever asks for it gets a fresh one.
    pub refresh_at: Option<Timestamp>,
    /// When the broker looks at it by itself: first ahead of `refresh_at`,
    /// then whenever another attempt may be made.
    pub due_at: Option<Timestamp>,
    /// The origin of the token endpoint that issued it: its refresh token goes
    /// nowhere else.
    pub token_origin: String,
}

/// A stored credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// Rises with every change.
    pub generation: u32,
    /// The parts.
    pub content: NewCredential,
    /// The epoch of the last refresh lease.
    pub lease_epoch: i64,
    /// Until when that lease holds; absent when it was released.
    pub lease_until: Option<Timestamp>,
    /// Not before this time is another refresh tried.
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts that yielded nothing since the last that did.
    pub attempts: u32,
    /// Since when the outcome of a refresh is unknown.
    pub uncertain_since: Option<Timestamp>,
}

/// What GetToken reads, in one query.
#[derive(Debug, Clone)]
pub struct TokenView {
    /// The connection's user, for the audit.
    pub user_id: String,
    /// The provider's name.
    pub provider_name: String,
    /// How the credentials are applied.
    pub strategy: StrategySpec,
    /// The stored status and its reason.
    pub status: super::connection::Status,
    /// Why it stands there.
    pub reason: String,
    /// Until when a PENDING connection waits.
    pub consent_expires_at: Timestamp,
    /// The credential, once there is one.
    pub credential: Option<UsableCredential>,
}

/// The part of a credential that agents may have.
#[derive(Debug, Clone)]
pub struct UsableCredential {
    /// The sealed JSON object.
    pub usage: Sealed,
    /// Its generation.
    pub generation: u32,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it should be refreshed; absent where it can't be.
    pub refresh_at: Option<Timestamp>,
}

impl UsableCredential {
    /// Whether it can still be used.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Whether it is within the refresh margin.
    #[must_use]
    pub fn is_due_at(&self, now: Timestamp) -> bool {
        self.refresh_at.is_some_and(|refresh_at| refresh_at <= now)
    }
}

/// When a token is to be refreshed: the lesser of the provider's margin and
/// 20 % of the lifetime before it expires, so that a short-lived token is not
/// due at once.
#[must_use]
pub fn refresh_at(issued_at: Timestamp, lifetime: TimeDelta, margin: TimeDelta) -> Timestamp {
    issued_at + lifetime - margin.min(lifetime / 5)
}

/// Tokens that live shorter than this are refreshed when somebody asks for
/// them; a broker that kept them all fresh would do little else.
const SHORTEST: TimeDelta = TimeDelta::seconds(30);

/// When the broker refreshes a token by itself: at 80 % of its lifetime, give
/// or take 2.5 % by chance, so that what was issued together is not due
/// together; and never after `refresh_at`.
#[must_use]
pub fn due_at(
    issued_at: Timestamp,
    lifetime: TimeDelta,
    refresh_at: Timestamp,
    chance: u16,
) -> Option<Timestamp> {
    if lifetime < SHORTEST {
        return None;
    }
    let thousandths = 775 + i64::from(chance) * 50 / i64::from(u16::MAX);
    let ahead = TimeDelta::milliseconds(lifetime.num_milliseconds() / 1000 * thousandths);
    Some((issued_at + ahead).min(refresh_at))
}

/// The first pause after an attempt that yielded nothing.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(5);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(300);

/// How long the next attempt waits after so many that yielded nothing: twice
/// as long each time, the latter half of it by chance.
#[must_use]
pub fn pause_after(attempts: u32, chance: u16) -> TimeDelta {
    let doubled = FIRST_PAUSE * 2_i32.pow(attempts.min(6));
    let pause = doubled.min(LONGEST_PAUSE);
    let half = pause.num_milliseconds() / 2;
    TimeDelta::milliseconds(half + half * i64::from(chance) / i64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_lesser_of_the_providers_and_a_fifth_of_the_lifetime() {
        let issued = Timestamp::UNIX_EPOCH;
        let at = |lifetime, margin| {
            (refresh_at(
                issued,
                TimeDelta::seconds(lifetime),
                TimeDelta::seconds(margin),
            ) - issued)
                .num_seconds()
        };
        assert_eq!(at(3600, 300), 3300);
        assert_eq!(at(60, 300), 48);
        assert_eq!(at(600, 10), 590);
    }

    #[test]
    fn the_broker_refreshes_around_four_fifths_of_the_lifetime_and_never_after_the_margin() {
        let issued = Timestamp::UNIX_EPOCH;
        let at = |lifetime, chance| {
            let lifetime = TimeDelta::seconds(lifetime);
            let margin = refresh_at(issued, lifetime, TimeDelta::seconds(300));
            let due = due_at(issued, lifetime, margin, chance);
            due.map(|due| (due - issued).num_seconds())
        };
        assert_eq!(at(3600, 0), Some(2790));
        assert_eq!(at(3600, u16::MAX / 2), Some(2876));
        assert_eq!(at(3600, u16::MAX), Some(2970));
        assert_eq!(at(60, u16::MAX), Some(48), "the margin");
        assert_eq!(at(29, 0), None);
    }

    #[test]
    fn the_pause_doubles_up_to_five_minutes() {
        let longest = |attempts| pause_after(attempts, u16::MAX).num_seconds();
        assert_eq!([0, 1, 2, 5].map(longest), [5, 10, 20, 160]);
        assert_eq!([6, 7, u32::MAX].map(longest), [300; 3]);
        assert_eq!(pause_after(3, 0), TimeDelta::seconds(20));
    }
}
