//! Revoking a connection: at once for us, then for the provider.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tracing::Instrument;

use super::{Core, confirm, connections::find, revocations::CLAIM, sealing, upstream};
use crate::{
    domain::{
        Timestamp,
        access::Caller,
        audit::{Action, Actor, AuditEvent},
        connection::{Connection, Status},
        credential::Credential,
        error::{Error, ErrorKind, Result},
        id::ConnectionId,
    },
    store::{Revocation, Revoked, UpstreamRevocation},
};

/// Revokes a connection. When this returns, no GetToken that starts later gets
/// its credential. The provider is told in the background.
///
/// # Errors
/// CONNECTION_NOT_FOUND, STORE_UNAVAILABLE.
pub async fn revoke(core: &Arc<Core>, caller: &Caller, id: ConnectionId) -> Result<Connection> {
    if let Some(revocation) = revoke_here(core, caller, id).await? {
        let core = core.clone();
        core.clone()
            .tasks
            .spawn(async move { upstream::tell(&core, &revocation).await }.in_current_span());
    }
    super::connections::get(core, caller, id).await
}

async fn revoke_here(
    core: &Core,
    caller: &Caller,
    id: ConnectionId,
) -> Result<Option<UpstreamRevocation>> {
    let workspace_id = caller.workspace_id();
    // A refresh may store another credential in between; then the token that
    // the provider is told of is another one.
    for _ in 0..5 {
        let connection = find(core, caller, id).await?;
        if connection.status == Status::Revoked {
            return Ok(None);
        }
        let credential = core.store.credential(workspace_id, id).await?;
        let claimed_until = core.ambient.now() + CLAIM;
        let revocation =
            prepare(core, &connection, credential.as_ref(), Some(claimed_until)).await?;
        let upstream = revocation.upstream.clone();
        let event = AuditEvent::new(
            &core.ambient,
            Action::ConnectionRevoked,
            Actor::Caller(caller),
        )
        .about(id, &connection.user_id, &connection.provider_name);
        let stored = match core.store.revoke_connection(revocation, event).await {
            Err(error) if error.is_stale_seal => {
                core.vault.forget_active(workspace_id);
                continue;
            }
            stored => stored?,
        };
        match stored {
            Revoked::Done => {
                // What waits for a confirmation must not live on either.
                if let Some(held) = core.store.confirmation(workspace_id, id).await? {
                    confirm::give_up(core, &held).await?;
                }
                return Ok(upstream);
            }
            Revoked::Before => return Ok(None),
            Revoked::Conflict => {}
        }
    }
    Err(Error::new(
        ErrorKind::StoreUnavailable,
        "the connection keeps changing; try again",
    ))
}

/// What a connection's end takes. The provider is told by whoever claimed that
/// until then, else by the next broker that looks.
pub(super) async fn prepare(
    core: &Core,
    connection: &Connection,
    credential: Option<&Credential>,
    claimed_until: Option<Timestamp>,
) -> Result<Revocation> {
    let token = match credential {
        None => None,
        Some(credential) => token_to_revoke(core, credential).await?,
    };
    let upstream = match token {
        None => None,
        Some(token) => Some(upstream::prepare(core, connection, token, claimed_until).await?),
    };
    Ok(Revocation {
        workspace_id: connection.workspace_id,
        connection_id: connection.id,
        at: core.ambient.now(),
        generation: credential.map_or(0, |credential| credential.generation),
        upstream,
    })
}

/// The token that the provider is told of: none where what is stored does not
/// open, which must not keep a connection from being revoked here.
async fn token_to_revoke(
    core: &Core,
    credential: &Credential,
) -> Result<Option<secrecy::SecretString>> {
    let token = match sealing::open_refresh_token(core, credential).await {
        Ok(None) => open_access_token(core, credential).await,
        // The refresh token ends the whole grant (RFC 7009 §2.1).
        token => token,
    };
    match token {
        Err(error) if error.kind == ErrorKind::Internal => {
            tracing::error!(connection_id = %credential.connection_id, cause = ?error.cause, "a credential does not open; the provider is not told of its revocation");
            Ok(None)
        }
        token => token,
    }
}

async fn open_access_token(
    core: &Core,
    credential: &Credential,
) -> Result<Option<secrecy::SecretString>> {
    let place = sealing::usage_place(
        credential.workspace_id,
        credential.connection_id,
        credential.generation,
    );
    let opened = core.vault.open(&place, &credential.content.usage).await?;
    let usage = super::fetch_token::Secrets(
        serde_json::from_slice(opened.expose_secret()).map_err(Error::internal)?,
    );
    Ok(usage
        .0
        .get("access_token")
        .and_then(serde_json::Value::as_str)
        .map(Into::into))
}
