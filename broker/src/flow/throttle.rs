//! How much a provider is asked: a circuit breaker while it fails, a ramp once
//! it is back, and a token bucket for the refreshes that nobody waits for.
//!
//! Per provider and per process; brokers find out for themselves.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;

use crate::domain::{Timestamp, ambient::Ambient, id::ProviderId};

/// So many failures in a row open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open at first; doubled by every probe that fails.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(5);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(60);
/// A provider that is back gets one refresh a second at first, and twice as
/// many after each such step, until it has its full rate again.
const RAMP_START: f64 = 1.0;
const RAMP_STEP: TimeDelta = TimeDelta::seconds(10);
/// How far ahead what finds the bucket empty is put off at most.
const HORIZON: TimeDelta = TimeDelta::seconds(10);

enum Breaker {
    Closed,
    /// Nobody asks before this time; then one probe does.
    Open(Timestamp),
    /// A probe is under way.
    Probing,
}

/// What is known of one provider.
struct Line {
    name: String,
    breaker: Breaker,
    failures: u32,
    pause: TimeDelta,
    ramp_since: Option<Timestamp>,
    bucket: f64,
    filled_at: Timestamp,
    /// Who finds the bucket empty queues behind this time.
    queue: Timestamp,
}

/// All providers of this process.
pub struct Throttle {
    lines: Mutex<HashMap<ProviderId, Line>>,
    rate: f64,
}

impl Line {
    fn new(name: String, rate: f64, now: Timestamp) -> Self {
        Self {
            name,
            breaker: Breaker::Closed,
            failures: 0,
            pause: FIRST_PAUSE,
            ramp_since: None,
            bucket: rate,
            filled_at: now,
            queue: now,
        }
    }

    /// Refreshes per second at this time.
    fn rate(&mut self, full: f64, now: Timestamp) -> f64 {
        let Some(since) = self.ramp_since else {
            return full;
        };
        let steps = (now - since).as_seconds_f64() / RAMP_STEP.as_seconds_f64();
        let rate = RAMP_START * 2_f64.powf(steps.max(0.0).floor().min(60.0));
        if rate < full {
            return rate;
        }
        self.ramp_since = None;
        full
    }

    fn take(&mut self, full: f64, now: Timestamp) -> Result<(), Timestamp> {
        let rate = self.rate(full, now);
        let elapsed = (now - self.filled_at).as_seconds_f64().max(0.0);
        self.bucket = (self.bucket + elapsed * rate).min(rate.max(1.0));
        self.filled_at = now;
        if self.bucket >= 1.0 {
            self.bucket -= 1.0;
            return Ok(());
        }
        // One behind the other, not all at once when the bucket has one again.
        self.queue = (self.queue.max(now) + seconds(1.0 / rate)).min(now + HORIZON);
        Err(self.queue)
    }

    fn open(&mut self, now: Timestamp, wanted: Option<Duration>) {
        if matches!(self.breaker, Breaker::Closed) {
            metrics::gauge!("provider_breakers_open", "provider" => self.name.clone())
                .increment(1.0);
            tracing::warn!(provider = self.name, "a provider fails; it is asked less");
        }
        let wanted = wanted.and_then(|wanted| TimeDelta::from_std(wanted).ok());
        let until = now + self.pause.max(wanted.unwrap_or_default());
        (self.breaker, self.queue) = (Breaker::Open(until), until);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn close(&mut self, now: Timestamp) {
        self.failures = 0;
        if matches!(self.breaker, Breaker::Closed) {
            return;
        }
        metrics::gauge!("provider_breakers_open", "provider" => self.name.clone()).decrement(1.0);
        tracing::info!(provider = self.name, "a provider that failed is back");
        self.breaker = Breaker::Closed;
        self.pause = FIRST_PAUSE;
        self.ramp_since = Some(now);
        (self.bucket, self.filled_at, self.queue) = (0.0, now, now);
    }
}

fn seconds(seconds: f64) -> TimeDelta {
    #[expect(clippy::cast_possible_truncation, reason = "seconds to a minute")]
    TimeDelta::milliseconds((seconds * 1000.0) as i64)
}

impl Throttle {
    /// `rate`: how many refreshes per second the broker by itself sends to one
    /// provider at most.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            lines: Mutex::default(),
            rate: f64::from(rate),
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<ProviderId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker may refresh one credential of this provider by
    /// itself; else when to look again.
    ///
    /// # Errors
    /// The time.
    pub fn pace(&self, provider: ProviderId, ambient: &Ambient) -> Result<(), Timestamp> {
        let now = ambient.now();
        let mut lines = self.lines();
        // A provider that nobody has asked yet has a full bucket.
        let line = lines
            .entry(provider)
            .or_insert_with(|| Line::new(String::new(), self.rate, now));
        match line.breaker {
            Breaker::Closed => line.take(self.rate, now),
            // One at a time may find out whether it is back.
            Breaker::Open(until) if until <= now && line.queue <= now => {
                line.queue = now + FIRST_PAUSE;
                Ok(())
            }
            // Not all of them at the moment when it opens.
            Breaker::Open(until) if until > now => Err(until + spread(ambient)),
            Breaker::Open(_) | Breaker::Probing => Err(now + FIRST_PAUSE + spread(ambient)),
        }
    }

    /// Admits a refresh, or says how long the provider is left alone. `paced`:
    /// [`Throttle::pace`] has counted it.
    ///
    /// # Errors
    /// The wait.
    pub fn admit(
        &self,
        provider: ProviderId,
        name: &str,
        now: Timestamp,
        paced: bool,
    ) -> Result<Permit<'_>, Duration> {
        let mut lines = self.lines();
        let line = lines
            .entry(provider)
            .or_insert_with(|| Line::new(String::new(), self.rate, now));
        if line.name != name {
            name.clone_into(&mut line.name);
        }
        let wait = |until: Timestamp| (until - now).to_std().unwrap_or_default();
        match line.breaker {
            Breaker::Closed if paced || line.ramp_since.is_none() => {}
            Breaker::Closed => line.take(self.rate, now).map_err(wait)?,
            Breaker::Open(until) if until <= now => line.breaker = Breaker::Probing,
            Breaker::Open(until) => return Err(wait(until)),
            Breaker::Probing => return Err(Duration::from_secs(1)),
        }
        Ok(Permit {
            throttle: self,
            provider,
            concluded: false,
        })
    }

    /// A provider answered somebody who needed no permit.
    pub fn answered(&self, provider: ProviderId, now: Timestamp) {
        if let Some(line) = self.lines().get_mut(&provider) {
            line.close(now);
        }
    }
}

/// A quarter of a pause at most.
fn spread(ambient: &Ambient) -> TimeDelta {
    TimeDelta::milliseconds(i64::from(u16::from_be_bytes(ambient.bytes())) * 5 / 262)
}

/// Leave to send one request, whose outcome is told.
pub struct Permit<'a> {
    throttle: &'a Throttle,
    provider: ProviderId,
    concluded: bool,
}

impl Permit<'_> {
    /// The provider answered, whatever the answer was.
    pub fn answered(mut self, now: Timestamp) {
        self.concluded = true;
        self.throttle.answered(self.provider, now);
    }

    /// It did not answer, or not as one that works. `wanted`: how long it
    /// wants to be left alone.
    pub fn failed(mut self, now: Timestamp, wanted: Option<Duration>) {
        self.concluded = true;
        if let Some(line) = self.throttle.lines().get_mut(&self.provider) {
            line.failures = line.failures.saturating_add(1);
            match line.breaker {
                Breaker::Closed if line.failures < FAILURES => {}
                // Others that were under way when it opened say nothing new.
                Breaker::Open(_) => {}
                _ => line.open(now, wanted),
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // A probe that sent nothing leaves the next one to probe.
        if !self.concluded
            && let Some(line) = self.throttle.lines().get_mut(&self.provider)
            && matches!(line.breaker, Breaker::Probing)
        {
            (line.breaker, line.queue) = (Breaker::Open(line.filled_at), line.filled_at);
        }
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
