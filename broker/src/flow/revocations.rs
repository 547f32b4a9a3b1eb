//! Telling providers what was revoked (RFC 7009), in the background: each
//! broker claims what is due, and a provider that can't be reached is left
//! alone for longer and longer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Core, retire,
    upstream::{self, Told},
};
use crate::{
    domain::{ambient::Ambient, error::Result},
    store::UpstreamRevocation,
};

const INTERVAL: Duration = Duration::from_secs(5);
/// Claimed at once.
const BATCH: i64 = 64;
/// How long a claim holds: a broker that dies leaves it to the next one.
pub(super) const CLAIM: TimeDelta = TimeDelta::seconds(60);
/// How long a claimed batch is worked on. With one exchange more, it ends
/// within the claim.
const ROUND: Duration = Duration::from_secs(40);
/// Deletions that are taken up again in one round.
const RETIREMENTS: i64 = 100;

const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// Runs for as long as the broker does.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(&core).await {
            tracing::warn!(cause = ?error.cause, "revocations wait; they are tried again");
        }
    }
}

/// One round: what is due, and deletions that are not done.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn once(core: &Core) -> Result<()> {
    tell_due(core).await?;
    for retirement in core.store.retirements(RETIREMENTS).await? {
        if let Err(error) = retire::finish(core, retirement, "").await {
            tracing::warn!(cause = ?error.cause, "a deletion is not done yet; it is tried again");
        }
    }
    Ok(())
}

/// Tells the providers everything that is due.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub(super) async fn tell_due(core: &Core) -> Result<()> {
    loop {
        let now = core.ambient.now();
        let due = core
            .store
            .claim_upstream_revocations(now, now + CLAIM, BATCH)
            .await?;
        if due.is_empty() {
            return Ok(());
        }
        let mut by_provider: HashMap<_, Vec<UpstreamRevocation>> = HashMap::new();
        for revocation in due {
            by_provider
                .entry(revocation.provider_id)
                .or_default()
                .push(revocation);
        }
        let giving_up = Instant::now() + ROUND;
        let told = by_provider
            .into_values()
            .map(|revocations| tell_one_provider(core, revocations, giving_up));
        join_all(told).await.into_iter().collect::<Result<()>>()?;
    }
}

/// One after the other: a deletion of thousands is no flood for a provider.
async fn tell_one_provider(
    core: &Core,
    revocations: Vec<UpstreamRevocation>,
    giving_up: Instant,
) -> Result<()> {
    let mut unreachable = None;
    for revocation in revocations {
        let next_attempt_at = match unreachable {
            // It would not answer these, either.
            Some(until) => until,
            None if Instant::now() > giving_up => core.ambient.now(),
            None => match upstream::tell(core, &revocation).await {
                Told::Ended | Told::Failed => continue,
                Told::Unreachable(until) => {
                    unreachable = Some(until);
                    continue;
                }
            },
        };
        core.store
            .postpone_upstream_revocation(&revocation, revocation.attempts, next_attempt_at)
            .await?;
    }
    Ok(())
}

/// How long to wait after so many attempts: twice as long each time, give or
/// take a quarter, so that what failed together does not come back together.
pub(super) fn backoff(ambient: &Ambient, attempts: u32) -> TimeDelta {
    let doubled = FIRST_WAIT * 2_i32.pow(attempts.saturating_sub(1).min(10));
    let wait = doubled.min(LONGEST_WAIT).num_milliseconds();
    let [random] = ambient.bytes::<1>();
    TimeDelta::milliseconds(wait * 3 / 4 + wait / 2 * i64::from(random) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_never_agree_for_long() {
        let ambient = Ambient::system();
        for (attempts, seconds) in [
            (1, 30),
            (2, 60),
            (3, 120),
            (7, 1920),
            (8, 3600),
            (1000, 3600),
        ] {
            for _ in 0..100 {
                let wait = backoff(&ambient, attempts).num_milliseconds();
                assert!(
                    (seconds * 750..=seconds * 1250).contains(&wait),
                    "{attempts}: {wait} ms"
                );
            }
        }
        let waits: std::collections::HashSet<_> = (0..100).map(|_| backoff(&ambient, 5)).collect();
        assert!(waits.len() > 10);
    }
}
