//! What other brokers did, as far as it ends a cache here.

use std::sync::Weak;

use tokio::sync::mpsc;

use super::Core;
use crate::{
    cache::{link::Heard, notices::Notice},
    domain::id::{ApiKeyId, WorkspaceId},
};

/// Runs for as long as the broker does.
pub async fn run(core: Weak<Core>, mut heard: mpsc::Receiver<Heard>) {
    while let Some(heard) = heard.recv().await {
        let Some(core) = core.upgrade() else {
            return;
        };
        match heard {
            // Keys may have been deleted while nobody here heard of it.
            Heard::Connected => core.authenticator.forget(|_| true),
            Heard::Message(message) => {
                if let Some(notice) = core.notices.open(&message) {
                    obey(&core, notice).await;
                }
            }
        }
    }
}

async fn obey(core: &Core, notice: Notice) {
    match notice {
        Notice::ApiKeyDeleted(id) => core.authenticator.forget(|key| key.id == ApiKeyId(id)),
        Notice::WorkspaceDeleted(id) => {
            core.authenticator.forget_workspace(WorkspaceId(id));
            core.vault.forget(WorkspaceId(id));
        }
        Notice::IssuerChanged(issuer) => core.discovery.forget(&issuer).await,
    }
}
