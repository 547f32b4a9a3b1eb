//! The only place that reads the machine's clock and its randomness; everything else is handed what it needs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Where a simulator and a browser read the time. Clones share the same time.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    ahead: Arc<Mutex<Duration>>,
}

impl Clock {
    /// The machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the real clock"
    )]
    pub fn system() -> Self {
        // The ambient clock enters here and nowhere else.
        Self::following(Arc::new(SystemTime::now))
    }

    /// A clock that stands still at `time` until it is advanced.
    pub fn at(time: SystemTime) -> Self {
        Self::following(Arc::new(move || time))
    }

    /// A clock that reads `source`, for instance the clock of the system under test.
    pub fn following(source: Arc<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        Self {
            source,
            ahead: Arc::default(),
        }
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        (self.source)() + ahead
    }

    /// Moves this clock, and every clone of it, forward.
    pub fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Seconds since 1970-01-01 UTC, as JWT dates are written (RFC 7519 §2, NumericDate).
    pub(crate) fn unix_seconds(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// The machine's random number generator, for keys.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that draws real randomness"
)]
pub(crate) fn randomness() -> SystemRandom {
    SystemRandom::new()
}

/// A fresh unguessable value with a readable prefix: 256 random bits, base64url.
pub(crate) fn random_token(prefix: &str) -> String {
    let mut bytes = [0_u8; 32];
    randomness()
        .fill(&mut bytes)
        .expect("the operating system provides random bytes");
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}
