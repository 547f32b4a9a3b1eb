//! What the cache holds, one slot per connection, and what is to be done next
//! with a slot. Nothing here waits.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, Shared};

use crate::{
    Credential, Error,
    freshness::{Freshness, Held},
};

/// The gateway is asked ahead of need at most this often for one connection,
/// so that a credential already inside its margin does not loop.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
/// A credential that a renewal brought is not renewed again within this time:
/// a far side that refuses every credential must not drive the provider.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);
/// How long a renewal that was refused for good is remembered.
const REFUSAL_KEPT: Duration = Duration::from_secs(300);

/// What a request to the gateway came to.
pub(crate) type Outcome = Result<Arc<Credential>, Error>;

/// Why the gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For the current credential.
    Fetch,
    /// For a newer one than this generation.
    Renew(u32),
}

/// A request to the gateway that any number of callers wait for.
#[derive(Clone)]
pub(crate) struct Flight {
    pub(crate) number: u64,
    pub(crate) purpose: Purpose,
    pub(crate) outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// What to do for a caller.
pub(crate) enum Next {
    /// This is the answer.
    Answer(Outcome),
    /// Use this one, and start a fetch that nobody waits for.
    AnswerAndFetch(Arc<Credential>),
    /// Wait for a request under way.
    Wait(Flight),
    /// Ask the gateway.
    Ask,
}

/// What the last renewal came to.
struct Renewal {
    /// The generation that is not to be renewed again before `not_before`.
    generation: u32,
    not_before: SystemTime,
    error: Option<Error>,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Slot {
    held: Option<Held>,
    pub(crate) flight: Option<Flight>,
    /// Before this, the gateway is not asked ahead of need.
    not_before: Option<SystemTime>,
    renewal: Option<Renewal>,
    used: u64,
}

impl Slot {
    /// What to do for a caller who wants the current credential.
    pub(crate) fn next(&self, now: SystemTime) -> Next {
        let held = self
            .held
            .as_ref()
            .map(|held| (&held.credential, held.freshness(now)));
        let may_ask = self.not_before.is_none_or(|not_before| not_before <= now);
        match (held, &self.flight) {
            (Some((credential, Freshness::Fresh)), _) => Next::Answer(Ok(Arc::clone(credential))),
            (Some((credential, Freshness::Due)), None) if may_ask => {
                Next::AnswerAndFetch(Arc::clone(credential))
            }
            (Some((credential, Freshness::Due)), _) => Next::Answer(Ok(Arc::clone(credential))),
            (_, Some(flight)) => Next::Wait(flight.clone()),
            (Some((credential, Freshness::Stale)), None) if !may_ask => {
                Next::Answer(Ok(Arc::clone(credential)))
            }
            (_, None) => Next::Ask,
        }
    }

    /// What to do for a caller whose credential of this generation was refused.
    pub(crate) fn next_renewal(&self, generation: u32, now: SystemTime) -> Next {
        if let Some(held) = &self.held
            && held.credential.generation() > generation
            && held.is_usable(now)
        {
            return Next::Answer(Ok(Arc::clone(&held.credential)));
        }
        if let Some(flight) = &self.flight {
            return Next::Wait(flight.clone());
        }
        match &self.renewal {
            Some(last) if last.generation == generation && now < last.not_before => {
                let retry_after = last.not_before.duration_since(now).unwrap_or_default();
                let error = last.error.clone();
                Next::Answer(Err(error.unwrap_or(Error::Refused { retry_after })))
            }
            _ => Next::Ask,
        }
    }

    /// The credential that is held, if it may still be sent.
    pub(crate) fn usable(&self, now: SystemTime) -> Option<Arc<Credential>> {
        let held = self.held.as_ref().filter(|held| held.is_usable(now))?;
        Some(Arc::clone(&held.credential))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether nothing would be lost with the slot.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_none() && self.flight.is_none() && self.renewal.is_none()
    }

    /// Takes in what the gateway answered.
    pub(crate) fn land(&mut self, purpose: Purpose, outcome: &Outcome, now: SystemTime) {
        self.flight = None;
        let retry_after = outcome
            .as_ref()
            .err()
            .and_then(Error::retry_after)
            .unwrap_or_default();
        let interval = SHORTEST_INTERVAL.max(retry_after);
        self.not_before = Some(now + interval);
        if let Purpose::Renew(generation) = purpose {
            self.renewal = match outcome {
                Ok(credential) => Some(Renewal {
                    generation: credential.generation().max(generation),
                    not_before: now + RENEWAL_INTERVAL,
                    error: None,
                }),
                // The connection's own state answers the next caller.
                Err(error) if error.withdraws_credential() => None,
                Err(error) => Some(Renewal {
                    generation,
                    not_before: now
                        + if error.is_temporary() {
                            interval
                        } else {
                            REFUSAL_KEPT
                        },
                    error: Some(error.clone()),
                }),
            };
        }
        match outcome {
            Ok(credential) => self.held = Some(Held::new(Arc::clone(credential), now)),
            Err(error) if error.withdraws_credential() => self.held = None,
            // Access was taken from this API key: what it fetched before goes too.
            Err(error) if purpose == Purpose::Fetch && error.reason() == "SCOPE_MISSING" => {
                self.held = None;
            }
            Err(_) => {}
        }
    }
}

/// The slots by connection, no more than there is room for.
pub(crate) struct Slots {
    by_connection: HashMap<String, Slot>,
    capacity: usize,
    ticks: u64,
}

impl Slots {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            by_connection: HashMap::new(),
            capacity: capacity.max(1),
            ticks: 0,
        }
    }

    /// A number that was not given out before.
    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    pub(crate) fn get_mut(&mut self, connection_id: &str) -> Option<&mut Slot> {
        self.by_connection.get_mut(connection_id)
    }

    /// The connection's slot, made if there is none; the one unused for longest
    /// makes room for it.
    pub(crate) fn touch(&mut self, connection_id: &str) -> &mut Slot {
        let used = self.tick();
        if !self.by_connection.contains_key(connection_id)
            && self.by_connection.len() >= self.capacity
        {
            self.evict();
        }
        let slot = self
            .by_connection
            .entry(connection_id.to_owned())
            .or_default();
        slot.used = used;
        slot
    }

    pub(crate) fn remove(&mut self, connection_id: &str) {
        self.by_connection.remove(connection_id);
    }

    pub(crate) fn len(&self) -> usize {
        self.by_connection.len()
    }

    /// A slot with a request under way stays: others wait for it.
    fn evict(&mut self) {
        let idle = self
            .by_connection
            .iter()
            .filter(|(_, slot)| slot.flight.is_none());
        let oldest = idle
            .min_by_key(|(_, slot)| slot.used)
            .map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.by_connection.remove(&oldest);
        }
    }
}
