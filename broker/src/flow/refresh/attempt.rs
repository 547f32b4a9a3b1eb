//! One attempt: look, claim the lease, send; or wait for whoever holds it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Outcome, Request,
    exchange::{Exchange, refused, uncertain},
};
use crate::{
    domain::{
        Timestamp,
        connection::Status,
        credential::Credential,
        error::{ErrorKind, Result},
    },
    flow::{Core, providers, sealing::open_refresh_token},
    grant::{endpoints, refresh_token::RefreshToken, token_endpoint},
    store::{Attempt, Claim, LEASE_SECONDS},
};

/// The longest that a provider may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// What must remain of the lease after the exchange, to commit its outcome.
const COMMIT_RESERVE: Duration = Duration::from_secs(15);
/// How long another broker's refresh is waited for.
const WAIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn attempt(core: &Core, request: &Request) -> Result<Outcome> {
    // The clock of the lease starts before the claim: a claim whose reply was
    // slow has less time left, never more.
    let deadline =
        Instant::now() + Duration::from_secs(LEASE_SECONDS.unsigned_abs()) - COMMIT_RESERVE;
    let (workspace_id, connection_id) = (request.workspace_id, request.connection_id);
    let gone = || {
        Outcome::failed(
            ErrorKind::ConnectionNotFound,
            "there is no such connection in this workspace",
        )
    };
    let Some(credential) = core.store.credential(workspace_id, connection_id).await? else {
        return Ok(gone());
    };
    if credential.generation > request.generation {
        return Ok(Outcome::Refreshed);
    }
    let Some(refresh_token) = open_refresh_token(core, &credential).await? else {
        return Ok(Outcome::failed(
            ErrorKind::NotRefreshable,
            "the provider gave no refresh token; reconnect when the credential expires",
        ));
    };
    let now = core.ambient.now();
    let valid = credential
        .content
        .expires_at
        .is_none_or(|expires_at| now < expires_at);
    let unknown = is_uncertain(&credential, now);
    if unknown && valid {
        // Sent again, a rotated refresh token would look stolen and take the
        // whole grant with it. The valid token serves until it expires.
        return Ok(uncertain());
    }
    if let Some(wait) = backoff(&credential, now).filter(|_| !request.forced) {
        return Ok(too_early(Some(wait)));
    }
    let Some(connection) = core.store.connection(workspace_id, connection_id).await? else {
        return Ok(gone());
    };
    let Some(provider) = core
        .store
        .provider(workspace_id, connection.provider_id)
        .await?
    else {
        return Ok(gone());
    };
    let endpoints = endpoints::resolve(
        &provider.definition.oauth2,
        &connection.connection_config,
        &core.discovery,
    )
    .await?;
    let token_origin = endpoints.token_endpoint.origin().ascii_serialization();
    if token_origin != credential.content.token_origin {
        return Ok(Outcome::failed(
            ErrorKind::ProviderMisconfigured,
            "the provider's token endpoint has moved to another origin, where this refresh token is not sent; reconnect",
        ));
    }
    let client_secret = providers::client_secret(core, &provider).await?;

    let claim = Claim {
        workspace_id,
        connection_id,
        generation: credential.generation,
        owner: core.owner,
        at: now,
        forced: request.forced,
    };
    let Some(epoch) = core.store.claim_refresh(claim).await? else {
        return wait_for_another(core, request, &credential).await;
    };
    let attempt = Attempt {
        workspace_id,
        connection_id,
        epoch,
        generation: credential.generation,
        at: now,
    };
    let exchange = Exchange {
        core,
        request,
        connection: &connection,
        provider: &provider,
        metadata: endpoints.metadata.clone(),
        attempt,
    };
    let timeout = EXCHANGE_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
    if timeout < Duration::from_secs(1) {
        return exchange
            .release(
                None,
                false,
                ErrorKind::StoreUnavailable,
                "the database is slow; try again",
            )
            .await;
    }
    let began = Instant::now();
    let answer = token_endpoint::exchange(
        &core.egress,
        endpoints.token_endpoint,
        &provider.definition.oauth2,
        client_secret.as_ref(),
        &RefreshToken {
            refresh_token: refresh_token.clone(),
        },
        timeout,
    )
    .await;
    metrics::histogram!("oauth_exchange_duration_seconds").record(began.elapsed().as_secs_f64());
    exchange
        .conclude(answer, unknown, &refresh_token, &token_origin)
        .await
}

/// An answer was lost, or a lease ran out unreleased: its owner may have sent
/// the refresh token and died.
fn is_uncertain(credential: &Credential, now: Timestamp) -> bool {
    credential.uncertain_since.is_some() || credential.lease_until.is_some_and(|until| until <= now)
}

/// How long the next attempt has to wait after one that yielded nothing.
fn backoff(credential: &Credential, now: Timestamp) -> Option<Duration> {
    (credential.next_attempt_at? - now)
        .to_std()
        .ok()
        .filter(|wait| !wait.is_zero())
}

fn too_early(retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed {
        kind: ErrorKind::ProviderUnavailable,
        message: "the last refresh failed and the next is not due yet; try again",
        retry_after,
    }
}

/// Another broker holds the lease, or it is too early after a failure.
async fn wait_for_another(core: &Core, request: &Request, seen: &Credential) -> Result<Outcome> {
    let give_up = Instant::now() + WAIT;
    loop {
        let Some(now) = core
            .store
            .credential(request.workspace_id, request.connection_id)
            .await?
        else {
            return Ok(Outcome::failed(
                ErrorKind::ConnectionNotFound,
                "there is no such connection in this workspace",
            ));
        };
        if now.generation > seen.generation {
            return Ok(Outcome::Refreshed);
        }
        if now.lease_until.is_none() {
            return outcome_of_another(core, request, &now).await;
        }
        if Instant::now() >= give_up {
            return Ok(too_early(None));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The other attempt yielded no tokens: what it met, this one would meet too.
async fn outcome_of_another(
    core: &Core,
    request: &Request,
    credential: &Credential,
) -> Result<Outcome> {
    let connection = core
        .store
        .connection(request.workspace_id, request.connection_id)
        .await?;
    if connection.is_some_and(|connection| connection.status == Status::Attention) {
        return Ok(refused());
    }
    let now = core.ambient.now();
    if credential.uncertain_since.is_some() {
        return Ok(uncertain());
    }
    Ok(too_early(backoff(credential, now)))
}
