//! Telling providers of revocations (RFC 7009). A sealed copy of the token is
//! kept until that has ended.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use super::Core;
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::TokenSet,
        error::{Error, Result},
        provider::Provider,
        sealed::Place,
    },
    grant::{
        endpoints,
        revocation::{RevocationOutcome, revoke},
    },
    store::UpstreamRevocation,
};

/// After this long a provider that can't be reached is given up.
const GIVE_UP: TimeDelta = TimeDelta::hours(24);

fn place(revocation: &UpstreamRevocation) -> Place {
    Place {
        workspace_id: revocation.workspace_id,
        table: "upstream_revocations",
        row: revocation.id,
        field: "token",
        generation: 0,
    }
}

/// Seals a token for its revocation.
pub(super) async fn prepare(
    core: &Core,
    connection: &Connection,
    token: SecretString,
) -> Result<UpstreamRevocation> {
    let mut revocation = UpstreamRevocation {
        id: core.ambient.id(),
        workspace_id: connection.workspace_id,
        connection_id: connection.id,
        provider_id: connection.provider_id,
        token: crate::domain::sealed::Sealed(vec![]),
        created_at: core.ambient.now(),
    };
    revocation.token = core
        .vault
        .seal(&place(&revocation), token.expose_secret().as_bytes())
        .await?;
    Ok(revocation)
}

/// Tells the provider, once. What could not be told stays for the next round.
pub async fn tell(core: &Core, revocation: &UpstreamRevocation) {
    if let Err(error) = try_to_tell(core, revocation).await {
        tracing::warn!(connection_id = %revocation.connection_id, cause = ?error.cause, "a revocation was not told upstream yet");
    }
}

async fn try_to_tell(core: &Core, revocation: &UpstreamRevocation) -> Result<()> {
    let opened = core
        .vault
        .open(&place(revocation), &revocation.token)
        .await?;
    let token =
        SecretString::from(std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?);
    let connection = core
        .store
        .connection(revocation.workspace_id, revocation.connection_id)
        .await?;
    let provider = core
        .store
        .provider(revocation.workspace_id, revocation.provider_id)
        .await?;
    let (Some(connection), Some(provider)) = (connection, provider) else {
        return end(core, revocation, "", "", Some("provider_gone")).await;
    };
    let outcome = match at_provider(core, &provider, &connection, &token).await {
        Ok(None) => {
            return end(
                core,
                revocation,
                &connection.user_id,
                &provider.name,
                Some("not_offered"),
            )
            .await;
        }
        Ok(Some(outcome)) => outcome,
        Err(_) => RevocationOutcome::Unavailable,
    };
    let old = core.ambient.now() - revocation.created_at > GIVE_UP;
    let error = match outcome {
        RevocationOutcome::Revoked => None,
        RevocationOutcome::Rejected => Some("rejected"),
        RevocationOutcome::Unavailable if old => Some("provider_unavailable"),
        RevocationOutcome::Unavailable => return Ok(()),
    };
    end(core, revocation, &connection.user_id, &provider.name, error).await
}

async fn end(
    core: &Core,
    revocation: &UpstreamRevocation,
    user_id: &str,
    provider_name: &str,
    error: Option<&str>,
) -> Result<()> {
    let actor = Actor::Anonymous(revocation.workspace_id, "");
    let mut event = AuditEvent::new(&core.ambient, Action::ConnectionRevokedUpstream, actor).about(
        revocation.connection_id,
        user_id,
        provider_name,
    );
    if let Some(error) = error {
        event = event.failed(error);
    }
    core.store.end_upstream_revocation(revocation, event).await
}

/// None where the provider offers no revocation.
async fn at_provider(
    core: &Core,
    provider: &Provider,
    connection: &Connection,
    token: &SecretString,
) -> Result<Option<RevocationOutcome>> {
    let client = &provider.definition.oauth2;
    let endpoints =
        endpoints::resolve(client, &connection.connection_config, &core.discovery).await?;
    let Some(revocation_endpoint) = endpoints.revocation_endpoint else {
        return Ok(None);
    };
    let client_secret = super::providers::client_secret(core, provider).await?;
    Ok(Some(
        revoke(
            &core.egress,
            revocation_endpoint,
            client,
            client_secret.as_ref(),
            token,
        )
        .await,
    ))
}

/// A refresh brought new tokens for a connection that was revoked meanwhile.
///
/// # Errors
/// STORE_UNAVAILABLE: then the tokens are neither kept nor revoked yet.
pub(super) async fn keep_and_tell(
    core: &Core,
    connection: &Connection,
    tokens: &TokenSet,
) -> Result<()> {
    let token = tokens
        .refresh_token
        .as_ref()
        .unwrap_or(&tokens.access_token);
    let revocation = with_active_key!(
        core,
        connection.workspace_id,
        async {
            let revocation = prepare(core, connection, token.clone()).await?;
            core.store.insert_upstream_revocation(&revocation).await?;
            Ok::<_, Error>(revocation)
        }
        .await
    )?;
    tell(core, &revocation).await;
    Ok(())
}
