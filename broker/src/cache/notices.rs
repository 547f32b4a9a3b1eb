//! Change notices: what one broker does ends the others' caches at once. Only
//! a help: every cache also ends by itself, and a notice that is lost, forged
//! or repeated does no more than empty one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{link::Link, proofs::Proofs};

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// An API key was deleted.
    ApiKeyDeleted(Uuid),
    /// A workspace was deleted, and its API keys and data keys with it.
    WorkspaceDeleted(Uuid),
    /// A provider of this issuer was changed or deleted.
    IssuerChanged(String),
}

/// Tells the other brokers.
pub struct Notices {
    shared: Option<(Arc<Link>, Arc<Proofs>)>,
}

impl Notices {
    /// Over a link; without one, nobody is told.
    #[must_use]
    pub fn new(shared: Option<(Arc<Link>, Arc<Proofs>)>) -> Self {
        Self { shared }
    }

    /// Tells the other brokers, if they can be told now.
    pub async fn announce(&self, notice: &Notice) {
        let (Some((link, proofs)), Ok(message)) = (&self.shared, serde_json::to_vec(notice)) else {
            return;
        };
        let mut publish = redis::cmd("PUBLISH");
        publish
            .arg(channel(proofs))
            .arg(proofs.seal_notice(&message));
        let told = link.ask::<()>(&publish).await.is_ok();
        count(if told { "sent" } else { "unsent" });
    }

    /// What a message on the channel says, if a broker of this deployment
    /// sent it.
    #[must_use]
    pub fn open(&self, message: &[u8]) -> Option<Notice> {
        let (_, proofs) = self.shared.as_ref()?;
        let notice = proofs
            .open_notice(message)
            .and_then(|message| serde_json::from_slice(message).ok());
        count(if notice.is_some() { "heard" } else { "forged" });
        notice
    }
}

/// Where a deployment's notices are said.
#[must_use]
pub fn channel(proofs: &Proofs) -> String {
    proofs.name("notices", "")
}

fn count(result: &'static str) {
    metrics::counter!("change_notices_total", "result" => result).increment(1);
}
