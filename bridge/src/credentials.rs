//! The credential cache: it refreshes ahead of expiry, and however many ask at
//! once, the gateway is asked once.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use tracing::warn;

use crate::{
    Clock, Credential, Error, Gateway,
    slots::{Flight, Next, Outcome, Purpose, Slots},
    telemetry,
};

/// The credentials of any number of connections. Cheap to clone; the clones
/// share one cache.
#[derive(Clone)]
pub struct Credentials {
    cache: Arc<Cache>,
}

struct Cache {
    gateway: Gateway,
    clock: Arc<dyn Clock>,
    slots: Mutex<Slots>,
}

impl Credentials {
    /// A cache of at most `capacity` connections; the ones unused for longest
    /// make room.
    pub fn new(gateway: Gateway, clock: Arc<dyn Clock>, capacity: usize) -> Self {
        let slots = Mutex::new(Slots::new(capacity));
        Self {
            cache: Arc::new(Cache {
                gateway,
                clock,
                slots,
            }),
        }
    }

    /// The connection's current credential.
    ///
    /// It comes from the cache until the lesser of 60 s and 20 % of its
    /// lifetime remains; then the next caller still gets it, and starts one
    /// fetch that nobody waits for. Without a valid one, all callers wait for
    /// one fetch, which goes on though a caller goes away. A credential without
    /// expiry is asked for again after five minutes. A valid credential is
    /// served while the gateway or the provider is away.
    ///
    /// # Errors
    ///
    /// What the gateway answered; it is not remembered for the next call.
    pub async fn get(&self, connection_id: &str) -> Result<Arc<Credential>, Error> {
        loop {
            let flight = match self.cache.next(connection_id) {
                Step::Done(outcome) => return outcome,
                Step::Wait(flight) => flight,
            };
            match (flight.outcome.await, flight.purpose) {
                (Ok(credential), _) => return Ok(credential),
                // That a renewal failed says nothing of the current credential.
                (Err(_), Purpose::Renew(_)) => {}
                (Err(error), Purpose::Fetch) => return self.cache.fall_back(connection_id, error),
            }
        }
    }

    /// Tells that the far side refused the credential of this generation, and
    /// returns a newer one. All who tell so of one generation share one
    /// request to the gateway, which is made at most once while it makes sense.
    ///
    /// # Errors
    ///
    /// What the gateway answered, or [`Error::Refused`] where it has no newer
    /// one or where the credential that was refused is itself the fruit of a
    /// renewal within the last 30 s.
    pub async fn invalidate(
        &self,
        connection_id: &str,
        generation: u32,
    ) -> Result<Arc<Credential>, Error> {
        loop {
            let flight = match self.cache.next_renewal(connection_id, generation) {
                Step::Done(outcome) => return outcome,
                Step::Wait(flight) => flight,
            };
            let purpose = flight.purpose;
            match flight.outcome.await {
                Ok(credential) if credential.generation() > generation => return Ok(credential),
                Err(error) if purpose == Purpose::Renew(generation) => return Err(error),
                // Not the answer to this question: look again.
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.cache.slots().len();
        formatter
            .debug_struct("Credentials")
            .field("gateway", &self.cache.gateway)
            .field("connections", &connections)
            .finish_non_exhaustive()
    }
}

/// What a caller does next.
enum Step {
    Done(Outcome),
    Wait(Flight),
}

impl Cache {
    /// Nothing that holds the lock can leave the slots half changed, so a
    /// panic elsewhere is no reason to stop.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(self: &Arc<Self>, connection_id: &str) -> Step {
        let now = self.clock.now();
        let mut slots = self.slots();
        let next = slots.touch(connection_id).next(now);
        self.step(&mut slots, connection_id, next, Purpose::Fetch)
    }

    fn next_renewal(self: &Arc<Self>, connection_id: &str, generation: u32) -> Step {
        let now = self.clock.now();
        let mut slots = self.slots();
        let next = slots.touch(connection_id).next_renewal(generation, now);
        self.step(&mut slots, connection_id, next, Purpose::Renew(generation))
    }

    fn step(
        self: &Arc<Self>,
        slots: &mut Slots,
        connection_id: &str,
        next: Next,
        purpose: Purpose,
    ) -> Step {
        match next {
            Next::Answer(outcome) => Step::Done(outcome),
            Next::AnswerAndFetch(credential) => {
                self.ask(slots, connection_id, purpose);
                Step::Done(Ok(credential))
            }
            Next::Wait(flight) => Step::Wait(flight),
            Next::Ask => Step::Wait(self.ask(slots, connection_id, purpose)),
        }
    }

    /// Asks the gateway in a task of its own, which no caller's drop cancels.
    fn ask(self: &Arc<Self>, slots: &mut Slots, connection_id: &str, purpose: Purpose) -> Flight {
        let number = slots.tick();
        let (cache, connection) = (Arc::clone(self), connection_id.to_owned());
        let task = tokio::spawn(async move {
            let outcome = cache.call(&connection, purpose).await;
            // The slot is settled before a waiter can wake and look at it.
            cache.land(&connection, number, purpose, &outcome);
            outcome
        });
        // The slot holds this future: a strong reference would keep the cache alive.
        let (cache, connection) = (Arc::downgrade(self), connection_id.to_owned());
        let outcome = async move {
            match task.await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let outcome = Err(Error::Interrupted);
                    if let Some(cache) = cache.upgrade() {
                        cache.land(&connection, number, purpose, &outcome);
                    }
                    outcome
                }
            }
        };
        let flight = Flight {
            number,
            purpose,
            outcome: outcome.boxed().shared(),
        };
        slots.touch(connection_id).flight = Some(flight.clone());
        flight
    }

    /// Takes in the outcome of the request with this number.
    fn land(&self, connection_id: &str, number: u64, purpose: Purpose, outcome: &Outcome) {
        let now = self.clock.now();
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(connection_id) else {
            return;
        };
        if slot
            .flight
            .as_ref()
            .is_none_or(|flight| flight.number != number)
        {
            return;
        }
        let replaces = slot.is_held() || purpose != Purpose::Fetch;
        slot.land(purpose, outcome, now);
        if slot.is_empty() {
            slots.remove(connection_id);
        }
        drop(slots);
        let error = outcome.as_ref().err();
        if replaces {
            telemetry::token_refreshed(error);
        }
        if let Some(error) = error {
            warn!(
                connection_id,
                reason = error.reason(),
                "no credential from the gateway"
            );
        }
    }

    async fn call(&self, connection_id: &str, purpose: Purpose) -> Outcome {
        let credential = match purpose {
            Purpose::Fetch => self.gateway.get_token(connection_id).await,
            Purpose::Renew(generation) => {
                self.gateway
                    .refresh_connection(connection_id, generation)
                    .await
            }
        };
        credential.map(Arc::new)
    }

    /// What to answer when a fetch failed: the credential that is held, if it
    /// is valid and the failure will pass.
    fn fall_back(&self, connection_id: &str, error: Error) -> Outcome {
        let now = self.clock.now();
        let mut slots = self.slots();
        let usable = slots
            .get_mut(connection_id)
            .and_then(|slot| slot.usable(now));
        usable.filter(|_| error.is_temporary()).ok_or(error)
    }
}
