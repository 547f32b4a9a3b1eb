//! Deleting what connections hang on. For callers it is gone at once; then,
//! batch by batch, its connections are revoked, their providers told, and the
//! rows removed. Each step can be taken again, by any broker: a crash between
//! two of them loses nothing.

use std::{sync::Arc, time::Duration};

use super::{Core, confirm, revocations, revoke};
use crate::{
    cache::notices::Notice,
    domain::{
        audit::{Action, Actor, AuditEvent},
        error::Result,
    },
    store::{Removed, Retirement, Revoked},
};

/// Connections revoked in one transaction.
const BATCH: i64 = 50;
/// Rows removed in one transaction.
const REMOVED_AT_ONCE: i64 = 500;
/// How long a deletion's answer waits for the rest, so that what is small is
/// done when it comes.
const WAIT: Duration = Duration::from_secs(5);

/// Does the rest in the background, and waits a little for it.
pub(super) async fn begin(core: &Arc<Core>, retirement: Retirement, request_id: &str) {
    let (core, request_id) = (core.clone(), request_id.to_owned());
    let rest = core.clone().tasks.spawn(async move {
        if let Err(error) = finish(&core, retirement, &request_id).await {
            tracing::warn!(cause = ?error.cause, "a deletion is not done yet; it goes on by itself");
        }
    });
    let _ = tokio::time::timeout(WAIT, rest).await;
}

/// Revokes what still hangs on it, tells the providers what is due, and
/// removes the rows once that has ended.
///
/// # Errors
/// STORE_UNAVAILABLE: what is done stays done.
pub(super) async fn finish(core: &Core, retirement: Retirement, request_id: &str) -> Result<()> {
    while revoke_some(core, retirement, request_id).await? {}
    revocations::tell_due(core).await?;
    loop {
        let removed = core.store.remove_retired(retirement, REMOVED_AT_ONCE);
        match removed.await? {
            Removed::Some => {}
            Removed::HeldUp => return Ok(()),
            Removed::All => break,
        }
    }
    if retirement.provider_id.is_none() {
        // Telling its providers took its data keys, here and elsewhere.
        core.vault.forget(retirement.workspace_id);
        let notice = Notice::WorkspaceDeleted(retirement.workspace_id.0);
        core.notices.announce(&notice).await;
    }
    Ok(())
}

/// Whether there may be more.
async fn revoke_some(core: &Core, retirement: Retirement, request_id: &str) -> Result<bool> {
    let living = core.store.living_connections(retirement, BATCH).await?;
    if living.is_empty() {
        return Ok(false);
    }
    let outcomes = with_active_key!(
        core,
        retirement.workspace_id,
        async {
            let mut revocations = Vec::with_capacity(living.len());
            for (connection, credential) in &living {
                let credential = credential.as_ref();
                let mut revocation = revoke::prepare(core, connection, credential, None).await?;
                // A refresh may be under way: its tokens need the provider's
                // row to be told of, which stays while this waits.
                let leased = credential.and_then(|credential| credential.lease_until);
                if let (Some(upstream), Some(until)) = (&mut revocation.upstream, leased) {
                    upstream.next_attempt_at = upstream.next_attempt_at.max(until);
                }
                let actor = Actor::Anonymous(retirement.workspace_id, request_id);
                let event = AuditEvent::new(&core.ambient, Action::ConnectionRevoked, actor).about(
                    connection.id,
                    &connection.user_id,
                    &connection.provider_name,
                );
                revocations.push((revocation, event));
            }
            core.store.revoke_connections(revocations).await
        }
        .await
    )?;
    for (connection, _) in &living {
        // What waits for a confirmation must not live on either.
        let held = core
            .store
            .confirmation(connection.workspace_id, connection.id);
        if let Some(held) = held.await? {
            confirm::give_up(core, &held).await?;
        }
    }
    // Those that changed in between come again; if all did, later.
    Ok(outcomes.iter().any(|outcome| *outcome != Revoked::Conflict))
}
