//! The time, injected so that expiry can be tested without waiting for it.

use std::{fmt, time::SystemTime};

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now, by the wall clock: `expires_at` is on it.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is injected"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
