//! New tokens become the connection's credential: at once, or when the journal
//! is replayed. The lease's epoch decides, so twice is as good as once.

use super::super::{
    Core,
    journalled::{Answered, Settled},
    sealing::{granted_scopes, seal},
    upstream::keep_and_tell,
};
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::TokenSet,
        error::Result,
        failpoint::Failpoint,
        provider::Provider,
    },
    egress::discovery::Metadata,
    grant::{endpoints, id_token},
    store::{Attempt, Committed, Refreshed},
};

/// An answer that the journal kept.
pub(in crate::flow) async fn replayed(core: &Core, answered: &Answered, epoch: i64) -> Settled {
    match replay(core, answered, epoch).await {
        Ok(()) => Settled::Done,
        Err(error) => Settled::Later(error),
    }
}

async fn replay(core: &Core, answered: &Answered, epoch: i64) -> Result<()> {
    let (workspace_id, connection_id) = (answered.workspace_id, answered.connection_id);
    let connection = core.store.connection(workspace_id, connection_id).await?;
    let Some(connection) = connection else {
        return Ok(());
    };
    let provider = core
        .store
        .provider_even_retired(workspace_id, connection.provider_id)
        .await?;
    let Some(provider) = provider else {
        return Ok(());
    };
    let client = &provider.definition.oauth2;
    // The tokens don't wait for the issuer; an id_token that can't be verified
    // is left out.
    let metadata = endpoints::resolve(client, &connection.connection_config, &core.discovery)
        .await
        .ok()
        .and_then(|endpoints| endpoints.metadata);
    let tokens = with_good_id_token(core, &connection, &provider, metadata.as_deref(), answered);
    let attempt = Attempt {
        workspace_id,
        connection_id,
        epoch,
        generation: answered.generation,
        at: core.ambient.now(),
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::CredentialRefreshed,
        Actor::Anonymous(workspace_id, ""),
    )
    .about(connection_id, &connection.user_id, &provider.name);
    let tokens = tokens.await;
    store(
        core,
        attempt,
        &connection,
        &provider,
        answered,
        &tokens,
        event,
    )
    .await
    .map(drop)
}

/// The tokens, with their id_token only where it may be handed on: signed by
/// the issuer, and about the same subject as before (OpenID Connect Core
/// §12.2). The tokens beside one that is not are good all the same.
pub(super) async fn with_good_id_token(
    core: &Core,
    connection: &Connection,
    provider: &Provider,
    metadata: Option<&Metadata>,
    answered: &Answered,
) -> TokenSet {
    let mut tokens = answered.tokens.clone();
    let good = match (&tokens.id_token, metadata) {
        (None, _) => return tokens,
        (Some(_), None) => false,
        (Some(id_token), Some(metadata)) => {
            let client = &provider.definition.oauth2;
            let then = core.ambient.at(answered.received_at);
            let verified =
                id_token::verify(id_token, client, metadata, None, &core.discovery, &then).await;
            verified.is_ok_and(|subject| Some(subject) == connection.subject)
        }
    };
    if !good {
        tracing::warn!(
            provider = provider.name,
            "a refreshed id_token does not verify; it is left out"
        );
        tokens.id_token = None;
    }
    tokens
}

/// Seals and commits, once.
pub(super) async fn store(
    core: &Core,
    attempt: Attempt,
    connection: &Connection,
    provider: &Provider,
    answered: &Answered,
    tokens: &TokenSet,
    event: AuditEvent,
) -> Result<Committed> {
    let committed = with_active_key!(
        core,
        attempt.workspace_id,
        async {
            let credential = seal(
                core,
                attempt.workspace_id,
                attempt.connection_id,
                attempt.generation + 1,
                provider,
                tokens,
                &answered.token_origin,
                answered.received_at,
            )
            .await?;
            let refreshed = Refreshed {
                attempt,
                credential,
                scopes: granted_scopes(tokens, provider),
            };
            core.ambient.failpoints.hit(Failpoint::RefreshSealed);
            core.store.commit_refresh(refreshed, event.clone()).await
        }
        .await
    )?;
    if committed == Committed::Revoked {
        keep_and_tell(core, connection, tokens).await?;
    }
    Ok(committed)
}
