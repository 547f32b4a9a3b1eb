//! What a broker does by itself, now and then.

use std::{sync::Arc, time::Duration};

use super::{Core, confirm};
use crate::domain::{Timestamp, connection::Status, error::Result};

const INTERVAL: Duration = Duration::from_secs(30);

/// Runs for as long as the broker does.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = once(&core).await {
            tracing::warn!(cause = ?error.cause, "upkeep failed; it is tried again");
        }
    }
}

/// One round.
///
/// # Errors
/// STORE_UNAVAILABLE.
pub async fn once(core: &Core) -> Result<()> {
    core.store.tidy(core.ambient.now()).await?;
    confirm::give_up_lost(core).await?;
    measure(core).await
}

/// What an operator watches, beside the counters.
async fn measure(core: &Core) -> Result<()> {
    let counts = core.store.count_by_status().await?;
    for &status in Status::ALL {
        let count = counts.iter().find(|count| count.0 == status);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let count = count.map_or(0.0, |count| count.1 as f64);
        metrics::gauge!("connections", "status" => status.as_str()).set(count);
    }
    let now = core.ambient.now();
    let age = |since: Option<Timestamp>| {
        since.map_or(0.0, |since| (now - since).as_seconds_f64().max(0.0))
    };
    metrics::gauge!("refresh_lag_seconds").set(age(core.store.longest_due(now).await?));
    let untold = core.store.count_upstream_revocations().await?;
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("upstream_revocations_pending").set(untold as f64);
    let oldest_key = core.store.oldest_active_data_key().await?;
    metrics::gauge!("data_key_age_seconds").set(age(oldest_key));
    let (connections, idle) = core.store.pool_state();
    metrics::gauge!("store_pool_connections").set(connections);
    metrics::gauge!("store_pool_idle_connections").set(idle);
    Ok(())
}
