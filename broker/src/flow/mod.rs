//! The use cases, one file each: the order in which things happen.

use std::{path::PathBuf, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    cache::{limits::RateLimits, notices::Notices},
    domain::{ambient::Ambient, return_url::ReturnUrlPolicy, state::StateKey},
    egress::{Egress, discovery::Discovery},
    journal::Journal,
    store::Store,
    vault::{AuditKey, Vault},
};

/// Evaluates what seals and stores; again where another broker rotated the
/// workspace's data key in between.
macro_rules! with_active_key {
    ($core:expr, $workspace:expr, $attempt:expr) => {{
        let mut tries = 0;
        loop {
            match $attempt {
                Err(error) if error.is_stale_seal && tries < 3 => {
                    tries += 1;
                    $core.vault.forget_active($workspace);
                }
                outcome => break outcome,
            }
        }
    }};
}

pub mod access;
pub mod answers;
pub mod audit;
pub mod audit_export;
pub mod audit_heads;
pub mod authenticate;
mod batch;
pub mod complete;
pub mod confirm;
pub mod connect;
pub mod connections;
pub mod deliver;
pub mod fetch_token;
pub mod journalled;
pub mod keys;
pub mod notices;
pub mod open_consent;
pub mod providers;
pub mod refresh;
mod retire;
pub mod revocations;
pub mod revoke;
mod sealing;
pub mod throttle;
pub mod token_reads;
pub mod upkeep;
pub mod upstream;
pub mod watch;
pub mod webhooks;
pub mod workspaces;

/// What every flow works with.
pub struct Core {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Secrets.
    pub vault: Vault,
    /// Providers, over HTTP.
    pub egress: Egress,
    /// What providers announce.
    pub discovery: Discovery,
    /// Providers' answers that are not in the store yet.
    pub journal: Journal,
    /// The clock and the randomness.
    pub ambient: Ambient,
    /// The audit, in group commits.
    pub audit: audit::AuditWriter,
    /// What GetToken reads, in group queries.
    pub token_reads: token_reads::TokenReads,
    /// How often each key may call; none where no limit is set.
    pub limits: Option<RateLimits>,
    /// Tells the other brokers what ends their caches.
    pub notices: Notices,
    /// Signs what is stated about the audit.
    pub audit_key: Arc<AuditKey>,
    /// Where the audit's heads are written down; none: only in the log.
    pub audit_heads_dir: Option<PathBuf>,
    /// Callers' keys.
    pub authenticator: authenticate::Authenticator,
    /// Refreshes under way in this process.
    pub refreshes: refresh::Refreshes,
    /// How much each provider is asked.
    pub throttle: throttle::Throttle,
    /// Rotations of keys.
    pub rotations: keys::Rotations,
    /// Signs states.
    pub state_key: StateKey,
    /// Where users' browsers reach the public listener.
    pub base_url: String,
    /// Where they may be sent in the end.
    pub return_urls: ReturnUrlPolicy,
    /// Development: providers may be on http and private networks.
    pub allow_private_networks: bool,
    /// This broker, as the owner of leases.
    pub owner: Uuid,
    /// Work that no caller's leaving drops; shutdown waits for it.
    pub tasks: TaskTracker,
    /// Cancelled when shutdown begins: what would go on for ever ends then.
    pub closing: CancellationToken,
}

impl Core {
    /// Whether browsers reach us over https, so that cookies can say so.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.base_url.starts_with("https://")
    }
}
