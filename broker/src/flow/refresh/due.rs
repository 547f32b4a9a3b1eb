//! Refreshing ahead: the broker's own loop finds what is due, takes it in
//! batches that no other broker takes, and refreshes it as anybody would.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{Outcome, Request, refresh};
use crate::{
    domain::{Timestamp, error::Result},
    flow::Core,
    store::{Due, RESERVED_FOR},
};

/// How often it looks when nothing was due.
const POLL: Duration = Duration::from_secs(1);
/// Its refreshes at once.
const AT_ONCE: usize = 64;

/// Runs for as long as the broker does.
pub async fn run(core: Arc<Core>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // One slot is waited for, the others are taken as they are free.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        drop(slot);
        let free = slots.available_permits();
        match round(&core, free).await {
            Ok((admitted, found)) => {
                for due in admitted {
                    let Ok(slot) = slots.clone().acquire_owned().await else {
                        return;
                    };
                    let core = core.clone();
                    tokio::spawn(async move {
                        refresh_due(&core, due).await;
                        drop(slot);
                    });
                }
                if found == free {
                    continue;
                }
            }
            Err(error) => {
                tracing::warn!(cause = ?error.cause, "what is due can't be found; it is tried again");
            }
        }
        tokio::time::sleep(POLL + jitter(&core)).await;
    }
}

/// Brokers that were started together don't look together.
fn jitter(core: &Core) -> Duration {
    Duration::from_millis(u64::from(u8::from_be_bytes(core.ambient.bytes())))
}

/// One round, to its end; answers how many refreshes it made.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn once(core: &Arc<Core>) -> Result<usize> {
    let (admitted, _) = round(core, AT_ONCE).await?;
    let refreshes = admitted.into_iter().map(|due| refresh_due(core, due));
    Ok(join_all(refreshes).await.len())
}

/// Takes what is due and puts off what its provider has no room for. Answers
/// the rest, and how much was found.
async fn round(core: &Core, slots: usize) -> Result<(Vec<Due>, usize)> {
    let now = core.ambient.now();
    let limit = i64::try_from(slots).unwrap_or(i64::MAX);
    let found = core.store.take_due(now, limit).await?;
    let count = found.len();
    let (mut admitted, mut put_off) = (vec![], vec![]);
    for due in found {
        let late = (now - due.due_at).as_seconds_f64().max(0.0);
        metrics::histogram!("oauth_refresh_delay_seconds").record(late);
        match core.throttle.pace(due.provider_id, &core.ambient) {
            Ok(()) => admitted.push(due),
            Err(until) => put_off.push((due, until)),
        }
    }
    if !put_off.is_empty() {
        metrics::counter!("oauth_refreshes_put_off_total").increment(put_off.len() as u64);
        core.store.put_off(put_off).await?;
    }
    Ok((admitted, count))
}

async fn refresh_due(core: &Arc<Core>, due: Due) {
    let request = Request {
        workspace_id: due.workspace_id,
        connection_id: due.connection_id,
        generation: due.generation,
        forced: false,
        caller: None,
    };
    let outcome = refresh(core, request).await;
    // Where nothing came of it, nothing may have been recorded either.
    if let Outcome::Failed { retry_after, .. } = outcome {
        let wait = retry_after.and_then(|wait| chrono::TimeDelta::from_std(wait).ok());
        let until: Timestamp = core.ambient.now() + wait.unwrap_or(RESERVED_FOR);
        if let Err(error) = core.store.put_off(vec![(due, until)]).await {
            tracing::warn!(cause = ?error.cause, "a refresh could not be put off; it is looked at again soon");
        }
    }
}
