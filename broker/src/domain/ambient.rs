//! The ambient world, injected: the clock and the source of randomness.

use std::sync::Arc;

use uuid::Uuid;

use super::{Timestamp, failpoint::Failpoints};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Yields unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The clock and the randomness that a broker runs with.
#[derive(Clone)]
pub struct Ambient {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub random: Arc<dyn Random>,
    /// The mishaps: none.
    pub failpoints: Failpoints,
}

impl Ambient {
    /// The operating system's.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            failpoints: Failpoints::default(),
        }
    }

    /// Now, in the resolution that the store keeps.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    /// The same, at another time, which stands still.
    #[must_use]
    pub fn at(&self, time: Timestamp) -> Self {
        Self {
            clock: Arc::new(Stopped(time)),
            ..self.clone()
        }
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// Any number, each as likely as the others: for jitter.
    #[must_use]
    pub fn chance(&self) -> u16 {
        u16::from_be_bytes(self.bytes())
    }

    /// A new UUIDv7 (RFC 9562 §5.7).
    #[must_use]
    pub fn id(&self) -> Uuid {
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }
}

struct Stopped(Timestamp);

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.0
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the real clock"
    )]
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that draws real randomness"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        use ring::rand::SecureRandom as _;
        ring::rand::SystemRandom::new()
            .fill(buffer)
            .expect("the operating system yields randomness");
    }
}
