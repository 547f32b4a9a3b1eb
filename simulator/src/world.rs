//! What all requests to one simulator share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::faults::Faults;
use crate::keys::KeyRing;
use crate::ledger::Ledger;
use crate::{Behaviour, Clock, SimulatorConfig};

pub(crate) struct World {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    redirect_uris: Mutex<Vec<String>>,
    behaviour: Mutex<Behaviour>,
    ledger: Mutex<Ledger>,
    keys: Mutex<KeyRing>,
}

impl World {
    pub(crate) fn new(issuer: String, config: SimulatorConfig) -> Self {
        let SimulatorConfig {
            client_id,
            client_secret,
            redirect_uris,
            port: _,
            behaviour,
            clock,
        } = config;
        Self {
            issuer,
            client_id,
            client_secret,
            clock,
            faults: Faults::default(),
            redirect_uris: Mutex::new(redirect_uris),
            behaviour: Mutex::new(behaviour),
            ledger: Mutex::default(),
            keys: Mutex::new(KeyRing::new()),
        }
    }

    /// The behaviour as it is now; one request sees one behaviour.
    pub(crate) fn behaviour(&self) -> Behaviour {
        lock(&self.behaviour).clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.behaviour));
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, KeyRing> {
        lock(&self.keys)
    }

    pub(crate) fn allow_redirect_uri(&self, redirect_uri: &str) {
        lock(&self.redirect_uris).push(redirect_uri.to_owned());
    }

    pub(crate) fn allows_redirect_uri(&self, redirect_uri: &str) -> bool {
        lock(&self.redirect_uris)
            .iter()
            .any(|allowed| allowed == redirect_uri)
    }
}

// A test that panics while it changes the behaviour should fail by itself, not poison the provider.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
