//! One attempt: look, claim the lease, send; or wait for whoever holds it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Outcome, Request,
    exchange::{End, Exchange, UNCERTAIN, refused, uncertain},
    resting,
};
use crate::{
    domain::{
        Timestamp,
        connection::{Connection, Status},
        credential::Credential,
        error::{ErrorKind, Result},
        failpoint::Failpoint,
        provider::Provider,
    },
    flow::{Core, journalled, providers, sealing::open_refresh_token},
    grant::{endpoints, refresh_token::RefreshToken, token_answer::TokenAnswer, token_endpoint},
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
    // A refresh token that was already replaced is not sent again.
    journalled::replay_of(core, connection_id).await?;
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
    let unknown_since = resting::unknown_since(&credential, now);
    if let Some(since) = unknown_since
        && resting::until(&credential, &provider, since, now) > now
    {
        // The valid token serves meanwhile.
        return rest(core, request, &credential, &connection, &provider, since).await;
    }
    let is_own = request.caller.is_none();
    let permit = match core
        .throttle
        .admit(provider.id, &provider.name, now, is_own)
    {
        Ok(permit) => permit,
        Err(wait) => return Ok(left_alone(wait)),
    };
    let endpoints = endpoints::resolve(
        &provider.definition.oauth2,
        &connection.connection_config,
        &core.discovery,
    );
    let endpoints = match endpoints.await {
        Err(error) if error.kind == ErrorKind::ProviderUnavailable => {
            permit.failed(core.ambient.now(), None);
            return Err(error);
        }
        endpoints => endpoints?,
    };
    let token_origin = endpoints.token_endpoint.origin().ascii_serialization();
    if token_origin != credential.content.token_origin {
        return Ok(Outcome::failed(
            ErrorKind::ProviderMisconfigured,
            "the provider's token endpoint has moved to another origin, where this refresh token is not sent; reconnect",
        ));
    }
    let client_secret = providers::client_secret(core, &provider).await?;

    // What comes back must be sealed whatever becomes of the database.
    core.vault.warm(workspace_id).await?;
    let claimed = claim(core, request, &credential, now).await?;
    let Some(epoch) = claimed else {
        drop(permit);
        return wait_for_another(core, request, &credential).await;
    };
    core.ambient.failpoints.hit(Failpoint::RefreshClaimed);
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
        credential: &credential,
        connection: &connection,
        provider: &provider,
        metadata: endpoints.metadata.clone(),
        attempt,
    };
    let Some(timeout) = time_to_send(deadline, Instant::now()) else {
        return exchange
            .release(End::new(
                ErrorKind::StoreUnavailable,
                "the database is slow; try again",
            ))
            .await;
    };
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
    let answered_at = core.ambient.now();
    match &answer {
        TokenAnswer::Unavailable { retry_after } => permit.failed(answered_at, *retry_after),
        TokenAnswer::Unknown => permit.failed(answered_at, None),
        _ => permit.answered(answered_at),
    }
    let unknown = unknown_since.is_some();
    exchange
        .conclude(answer, unknown, &refresh_token, &token_origin)
        .await
}

/// How long an exchange may take that begins now: none where so little is left
/// of the lease that its answer might come to one that has run out.
fn time_to_send(deadline: Instant, now: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(now);
    (left >= Duration::from_secs(1)).then_some(left.min(EXCHANGE_TIMEOUT))
}

async fn claim(
    core: &Core,
    request: &Request,
    credential: &Credential,
    at: Timestamp,
) -> Result<Option<i64>> {
    let claim = Claim {
        workspace_id: request.workspace_id,
        connection_id: request.connection_id,
        generation: credential.generation,
        owner: core.owner,
        at,
        forced: request.forced,
    };
    core.store.claim_refresh(claim).await
}

/// The refresh token may not be sent yet. That a lease ran out unreleased is
/// recorded as what it is.
async fn rest(
    core: &Core,
    request: &Request,
    credential: &Credential,
    connection: &Connection,
    provider: &Provider,
    since: Timestamp,
) -> Result<Outcome> {
    if credential.uncertain_since.is_some() {
        return Ok(uncertain());
    }
    let now = core.ambient.now();
    let Some(epoch) = claim(core, request, credential, now).await? else {
        return Ok(uncertain());
    };
    let exchange = Exchange {
        core,
        request,
        credential,
        connection,
        provider,
        metadata: None,
        attempt: Attempt {
            workspace_id: request.workspace_id,
            connection_id: request.connection_id,
            epoch,
            generation: credential.generation,
            at: now,
        },
    };
    exchange
        .release(End {
            uncertain_since: Some(since),
            ..End::new(ErrorKind::RefreshUncertain, UNCERTAIN)
        })
        .await
}

/// The breaker is open, or the provider is only just back.
fn left_alone(wait: Duration) -> Outcome {
    Outcome::Failed {
        kind: ErrorKind::ProviderUnavailable,
        message: "the provider failed again and again and is asked less for a while; try again",
        retry_after: Some(wait.max(Duration::from_secs(1))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_whose_reply_stalls_past_its_lease_sends_nothing() {
        let began = Instant::now();
        let lease = Duration::from_secs(LEASE_SECONDS.unsigned_abs());
        let deadline = began + lease - COMMIT_RESERVE;
        let after = |seconds| time_to_send(deadline, began + Duration::from_secs(seconds));
        assert_eq!(after(0), Some(EXCHANGE_TIMEOUT));
        assert_eq!(after(20), Some(Duration::from_secs(25)));
        for stalled in [45, 59, 60, 600] {
            assert_eq!(after(stalled), None, "{stalled}");
        }
        // Whatever is sent has its answer, and time to commit it, in the lease.
        for stalled in 0..60 {
            let ends = after(stalled).map(|timeout| Duration::from_secs(stalled) + timeout);
            assert!(ends.is_none_or(|ends| ends + COMMIT_RESERVE <= lease));
        }
    }
}
