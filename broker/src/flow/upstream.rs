//! Telling providers of revocations (RFC 7009). A sealed copy of the token is
//! kept until that has ended.

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Core,
    revocations::{CLAIM, backoff},
};
use crate::{
    domain::{
        Timestamp,
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::TokenSet,
        error::{Error, ErrorKind, Result},
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

/// Seals a token for its revocation, due now or when a claim on it ends.
pub(super) async fn prepare(
    core: &Core,
    connection: &Connection,
    token: SecretString,
    claimed_until: Option<Timestamp>,
) -> Result<UpstreamRevocation> {
    let now = core.ambient.now();
    let mut revocation = UpstreamRevocation {
        id: core.ambient.id(),
        workspace_id: connection.workspace_id,
        connection_id: connection.id,
        provider_id: connection.provider_id,
        token: crate::domain::sealed::Sealed(vec![]),
        created_at: now,
        attempts: 0,
        next_attempt_at: claimed_until.unwrap_or(now),
    };
    revocation.token = core
        .vault
        .seal(&place(&revocation), token.expose_secret().as_bytes())
        .await?;
    Ok(revocation)
}

/// What came of telling a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is told, or never will be.
    Ended,
    /// It could not be tried; it is tried again later.
    Failed,
    /// The provider can't be reached; it is tried again, not before then.
    Unreachable(Timestamp),
}

/// Tells the provider, once. What could not be told is tried again later.
pub(super) async fn tell(core: &Core, revocation: &UpstreamRevocation) -> Told {
    let outcome = match try_to_tell(core, revocation).await {
        // A token that does not open to this day never will.
        Err(error) if error.kind == ErrorKind::Internal && is_old(core, revocation) => {
            end(core, revocation, "", "", Some("unreadable"))
                .await
                .map(|()| true)
        }
        outcome => outcome,
    };
    if let Err(error) = &outcome {
        tracing::warn!(connection_id = %revocation.connection_id, cause = ?error.cause, "a revocation was not told upstream yet");
    }
    if matches!(outcome, Ok(true)) {
        return Told::Ended;
    }
    count("postponed");
    let attempts = revocation.attempts.saturating_add(1);
    let next_attempt_at = core.ambient.now() + backoff(&core.ambient, attempts);
    let postponed = core
        .store
        .postpone_upstream_revocation(revocation, attempts, next_attempt_at);
    if let Err(error) = postponed.await {
        // Then the claim's end brings it back.
        tracing::warn!(cause = ?error.cause, "a failed revocation was not recorded");
    }
    match outcome {
        Ok(_) => Told::Unreachable(next_attempt_at),
        Err(_) => Told::Failed,
    }
}

fn is_old(core: &Core, revocation: &UpstreamRevocation) -> bool {
    core.ambient.now() - revocation.created_at > GIVE_UP
}

/// Whether that has ended.
async fn try_to_tell(core: &Core, revocation: &UpstreamRevocation) -> Result<bool> {
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
        .provider_even_retired(revocation.workspace_id, revocation.provider_id)
        .await?;
    let (Some(connection), Some(provider)) = (connection, provider) else {
        end(core, revocation, "", "", Some("provider_gone")).await?;
        return Ok(true);
    };
    let outcome = match at_provider(core, &provider, &connection, &token).await {
        Ok(None) => {
            let (user_id, name) = (&connection.user_id, &provider.name);
            end(core, revocation, user_id, name, Some("not_offered")).await?;
            return Ok(true);
        }
        Ok(Some(outcome)) => outcome,
        Err(_) => RevocationOutcome::Unavailable,
    };
    let error = match outcome {
        RevocationOutcome::Revoked => None,
        RevocationOutcome::Rejected => Some("rejected"),
        RevocationOutcome::Unavailable if is_old(core, revocation) => Some("provider_unavailable"),
        RevocationOutcome::Unavailable => return Ok(false),
    };
    end(core, revocation, &connection.user_id, &provider.name, error).await?;
    Ok(true)
}

async fn end(
    core: &Core,
    revocation: &UpstreamRevocation,
    user_id: &str,
    provider_name: &str,
    error: Option<&'static str>,
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
    core.store
        .end_upstream_revocation(revocation, event)
        .await?;
    count(error.unwrap_or("revoked"));
    Ok(())
}

fn count(result: &'static str) {
    metrics::counter!("upstream_revocations_total", "result" => result).increment(1);
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
            let claimed_until = core.ambient.now() + CLAIM;
            let revocation = prepare(core, connection, token.clone(), Some(claimed_until)).await?;
            core.store.insert_upstream_revocation(&revocation).await?;
            Ok::<_, Error>(revocation)
        }
        .await
    )?;
    tell(core, &revocation).await;
    Ok(())
}
