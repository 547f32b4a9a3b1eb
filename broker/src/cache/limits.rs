//! How many requests a second one key may make: the generic cell rate
//! algorithm, which keeps one number for each key. A second's worth may come
//! at once.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{link::Link, proofs::Proofs};
use crate::domain::ambient::Ambient;

const SECOND: i64 = 1_000_000;
/// Keys kept in this process before those at rest are dropped.
const ROOM: usize = 10_000;

/// The same as [`Cells::take`], for all brokers at once, on Redis's clock. It
/// answers 0, or the microseconds until the next request is taken. A number
/// that can't be right was planted: it counts as none.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = tonumber(redis.call('GET', KEYS[1]) or '') or now
if due ~= due or due < now or due > now + burst + interval then due = now end
local wait = due - burst - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.0f', due + interval), 'PX', 2000)
return 0
";

/// The limit of every key.
pub struct RateLimits {
    /// Microseconds between two requests at the full rate.
    interval: i64,
    own: Cells,
    shared: Option<(Arc<Link>, Arc<Proofs>)>,
    ambient: Ambient,
}

impl RateLimits {
    /// `rate` requests a second: of all brokers together while Redis is there,
    /// else of each.
    #[must_use]
    pub fn new(
        rate: NonZeroU32,
        shared: Option<(Arc<Link>, Arc<Proofs>)>,
        ambient: Ambient,
    ) -> Self {
        Self {
            interval: (SECOND / i64::from(rate.get())).max(1),
            own: Cells::default(),
            shared,
            ambient,
        }
    }

    /// Takes one request of `key`.
    ///
    /// # Errors
    /// The limit is reached: how long until the next one is taken.
    pub async fn take(&self, key: &str) -> Result<(), Duration> {
        // What is too much for one broker is too much for all of them, so this
        // spares Redis a question.
        let now = self.ambient.now().timestamp_micros();
        let mut wait = self.own.take(key, now, self.interval);
        if let (0, Some((link, proofs))) = (wait, &self.shared) {
            let mut script = redis::cmd("EVAL");
            script
                .arg(SCRIPT)
                .arg(1)
                .arg(proofs.name("rate", key))
                .arg(self.interval)
                .arg(SECOND - self.interval);
            wait = link.ask(&script).await.unwrap_or(0);
        }
        match u64::try_from(wait) {
            Ok(0) | Err(_) => Ok(()),
            Ok(wait) => {
                metrics::counter!("rate_limited_total").increment(1);
                Err(Duration::from_micros(wait))
            }
        }
    }
}

/// When each key's next request would be due, in microseconds.
#[derive(Default)]
struct Cells(Mutex<HashMap<String, i64>>);

impl Cells {
    /// 0, or the microseconds until the next request is taken.
    fn take(&self, key: &str, now: i64, interval: i64) -> i64 {
        let burst = SECOND - interval;
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= ROOM {
            cells.retain(|_, due| *due > now);
        }
        let due = cells.get(key).copied().unwrap_or(now);
        // Further away than ever possible: the clock was set back.
        let due = if due > now + burst + interval {
            now
        } else {
            due.max(now)
        };
        let wait = due - burst - now;
        if wait > 0 {
            return wait;
        }
        cells.insert(key.to_owned(), due + interval);
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_no_more_than_the_rate() {
        let cells = Cells::default();
        let interval = SECOND / 10;
        let taken = (0..50).filter(|_| cells.take("a", 0, interval) == 0);
        assert_eq!(taken.count(), 10);
        assert_eq!(cells.take("a", 0, interval), interval);
        assert_eq!(cells.take("b", 0, interval), 0, "another key's own limit");
        assert_eq!(cells.take("a", interval, interval), 0);
        assert!(cells.take("a", interval, interval) > 0);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let cells = Cells::default();
        assert_eq!(cells.take("a", 3600 * SECOND, SECOND / 10), 0);
        assert_eq!(cells.take("a", 0, SECOND / 10), 0);
    }

    proptest! {
        #[test]
        fn no_span_takes_more_than_a_second_beyond_the_rate(
            rate in 1..200i64,
            steps in proptest::collection::vec(0..SECOND / 20, 1..400),
        ) {
            let cells = Cells::default();
            let interval = SECOND / rate;
            let (mut now, mut taken) = (0, 0);
            for step in steps {
                now += step;
                taken += i64::from(cells.take("a", now, interval) == 0);
            }
            prop_assert!(taken <= rate + now / interval + 1);
        }

        #[test]
        fn whoever_waits_as_told_is_taken(rate in 1..1000i64, asked in 1..2000usize) {
            let cells = Cells::default();
            let interval = SECOND / rate;
            let mut now = 0;
            for _ in 0..asked {
                let wait = cells.take("a", now, interval);
                if wait > 0 {
                    now += wait;
                    prop_assert_eq!(cells.take("a", now, interval), 0);
                }
            }
        }
    }
}
