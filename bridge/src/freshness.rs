//! When a held credential is fresh, due for a new one, or spent: pure rules on
//! a clock's readings.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::Credential;

/// A new one is fetched when this much of the lifetime remains, or less.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);
/// The margin of a short-lived credential: this part of its lifetime.
const MARGIN_DIVISOR: u32 = 5;
/// How long a credential without expiry is kept before the gateway is asked
/// again: it may have been revoked or replaced.
const KEPT_WITHOUT_EXPIRY: Duration = Duration::from_secs(300);
/// Any credential is used this long, however soon it expires: where the clocks
/// disagree by more than its lifetime, the gateway is not asked at every request.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// What may be done with a held credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and fetch the next one meanwhile.
    Due,
    /// Fetch the next one first; use it if the gateway is away. Only a
    /// credential without expiry comes here.
    Stale,
    /// Don't use it.
    Expired,
}

/// A credential and when it was fetched.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) credential: Arc<Credential>,
    due_at: SystemTime,
    ends_at: SystemTime,
}

impl Held {
    pub(crate) fn new(credential: Arc<Credential>, fetched_at: SystemTime) -> Self {
        let shortest = fetched_at + SHORTEST_USE;
        let ends_at = credential
            .expires_at()
            .unwrap_or(fetched_at + KEPT_WITHOUT_EXPIRY);
        let ends_at = ends_at.max(shortest);
        let lifetime = ends_at.duration_since(fetched_at).unwrap_or_default();
        let margin = LONGEST_MARGIN.min(lifetime / MARGIN_DIVISOR);
        Self {
            credential,
            due_at: ends_at - margin,
            ends_at,
        }
    }

    pub(crate) fn freshness(&self, now: SystemTime) -> Freshness {
        if now < self.due_at {
            Freshness::Fresh
        } else if now < self.ends_at {
            Freshness::Due
        } else if self.credential.expires_at().is_none() {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }

    /// Whether it may be sent at all.
    pub(crate) fn is_usable(&self, now: SystemTime) -> bool {
        self.freshness(now) != Freshness::Expired
    }
}
