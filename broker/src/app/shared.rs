//! What brokers share, over Redis or in this process alone.

use std::{sync::Arc, time::Duration};

use dromos_serve::SettingsError;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;

use super::Config;
use crate::{
    cache::{
        Cache, Layered,
        limits::RateLimits,
        link::{Heard, Link},
        memory::Memory,
        notices::{Notices, channel},
        proofs::Proofs,
        redis::RedisCache,
    },
    domain::ambient::Ambient,
};

/// How long a start waits for Redis before it goes on without.
const WAIT: Duration = Duration::from_secs(1);
/// Messages that may wait.
const QUEUE: usize = 256;

/// The parts of a broker that Redis helps.
pub(super) struct Shared {
    pub(super) cache: Arc<dyn Cache>,
    pub(super) limits: Option<RateLimits>,
    pub(super) notices: Notices,
    /// What other brokers say.
    pub(super) heard: Option<mpsc::Receiver<Heard>>,
}

impl Shared {
    pub(super) async fn start(config: &Config, ambient: &Ambient) -> Result<Self, SettingsError> {
        let near = Memory::new(ambient.clone());
        let (shared, heard, cache): (_, _, Arc<dyn Cache>) = match &config.redis_url {
            None => (None, None, Arc::new(near)),
            Some(url) => {
                let proofs = Arc::new(Proofs::new(config.state_key.expose_secret()));
                let (said, heard) = mpsc::channel(QUEUE);
                let link = Link::start(
                    url.expose_secret(),
                    channel(&proofs),
                    config.redis_patience,
                    said,
                )
                .map_err(|_| {
                    SettingsError::malformed(
                        "REDIS_URL",
                        "as in redis://host:6379/0, rediss://user:password@host:6380",
                    )
                })?;
                link.ready(WAIT).await;
                let link = Arc::new(link);
                let far = RedisCache::new(link.clone(), proofs.clone(), ambient.clone());
                let cache = Layered::new(near, Arc::new(far));
                (Some((link, proofs)), Some(heard), Arc::new(cache))
            }
        };
        let limit = |rate| RateLimits::new(rate, shared.clone(), ambient.clone());
        Ok(Self {
            cache,
            limits: config.rate_limit_per_key.map(limit),
            notices: Notices::new(shared.clone()),
            heard,
        })
    }
}
