//! Refreshing a credential: claim the lease, exchange outside any transaction,
//! commit under the lease's epoch.
//!
//! One refresh per connection runs in this process, in a task that nobody's
//! leaving drops; whoever comes meanwhile shares its outcome. The lease in the
//! database does the same between processes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Core;
use crate::{
    domain::{
        access::Caller,
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::{Credential, NewCredential, TokenSet, refresh_at},
        error::{Error, ErrorKind, Result},
        id::{ConnectionId, WorkspaceId},
        provider::Provider,
        sealed::Place,
    },
    egress::discovery::Metadata,
    grant::{
        endpoints, id_token, refresh_token::RefreshToken, token_answer::TokenAnswer, token_endpoint,
    },
    store::{Attempt, Claim, Committed, LEASE_SECONDS, Refreshed, Release},
};

/// The longest that a provider may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// What must remain of the lease after the exchange, to commit its outcome.
const COMMIT_RESERVE: Duration = Duration::from_secs(15);
/// How long another broker's refresh is waited for.
const WAIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// After an attempt that yielded nothing, the next waits this long, or as long
/// as the provider wants.
const BACKOFF: TimeDelta = TimeDelta::seconds(5);

/// What came of a refresh, for everybody who waited.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A newer generation is stored.
    Refreshed,
    /// It did not come to that.
    Failed {
        /// What to tell callers.
        kind: ErrorKind,
        /// The same for people.
        message: &'static str,
        /// When to try again.
        retry_after: Option<Duration>,
    },
}

impl Outcome {
    fn failed(kind: ErrorKind, message: &'static str) -> Self {
        Self::Failed {
            kind,
            message,
            retry_after: None,
        }
    }

    fn of(error: &Error) -> Self {
        let message = match error.kind {
            ErrorKind::StoreUnavailable => "the database can't be reached; try again",
            ErrorKind::ProviderUnavailable => "the provider can't be reached; try again",
            ErrorKind::ProviderMisconfigured => {
                "the provider's definition is unusable; see the provider"
            }
            _ => "internal error; the logs name it by the request id",
        };
        let kind = match error.kind {
            kind @ (ErrorKind::StoreUnavailable
            | ErrorKind::ProviderUnavailable
            | ErrorKind::ProviderMisconfigured) => kind,
            _ => ErrorKind::Internal,
        };
        Self::Failed {
            kind,
            message,
            retry_after: error.retry_after,
        }
    }

    /// As a caller sees it.
    ///
    /// # Errors
    /// The failure.
    pub fn into_result(self) -> Result<()> {
        match self {
            Self::Refreshed => Ok(()),
            Self::Failed {
                kind,
                message,
                retry_after,
            } => Err(Error::new(kind, message).retry_after(retry_after)),
        }
    }
}

type Running = Shared<BoxFuture<'static, Outcome>>;

/// Refreshes under way in this process.
#[derive(Default)]
pub struct Refreshes(Mutex<HashMap<(WorkspaceId, ConnectionId), Running>>);

/// Which credential is refreshed, and for whom.
#[derive(Debug, Clone)]
pub struct Request {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The generation that is too old; a newer one ends the matter.
    pub generation: u32,
    /// Whether a caller insists, `next_attempt_at` notwithstanding.
    pub forced: bool,
    /// Who asked, where somebody did.
    pub caller: Option<Caller>,
}

/// Refreshes, or joins the refresh that is under way.
pub async fn refresh(core: &Arc<Core>, request: Request) -> Outcome {
    let key = (request.workspace_id, request.connection_id);
    let running = {
        let mut refreshes = core
            .refreshes
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = refreshes.get(&key) {
            running.clone()
        } else {
            let task = core.tasks.spawn(run(core.clone(), request));
            let ended = "the refresh ended abnormally; try again";
            let running = task
                .map(move |joined| {
                    joined.unwrap_or_else(|_| Outcome::failed(ErrorKind::Internal, ended))
                })
                .boxed()
                .shared();
            refreshes.insert(key, running.clone());
            running
        }
    };
    running.await
}

/// Takes a refresh off the list however it ends, so that the next one runs.
struct Ended<'a>(&'a Core, (WorkspaceId, ConnectionId));

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let Self(core, key) = self;
        let mut refreshes = core
            .refreshes
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        refreshes.remove(key);
    }
}

async fn run(core: Arc<Core>, request: Request) -> Outcome {
    let _ended = Ended(&core, (request.workspace_id, request.connection_id));
    let outcome = match attempt(&core, &request).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(connection_id = %request.connection_id, error = &error as &dyn std::error::Error, cause = ?error.cause, "a refresh failed");
            Outcome::of(&error)
        }
    };
    let label = match &outcome {
        Outcome::Refreshed => "refreshed",
        Outcome::Failed { kind, .. } => kind.reason(),
    };
    metrics::counter!("oauth_refreshes_total", "outcome" => label).increment(1);
    outcome
}

async fn attempt(core: &Core, request: &Request) -> Result<Outcome> {
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
    let uncertain = is_uncertain(&credential, now);
    if uncertain && valid {
        // Sent again, a rotated refresh token would look stolen and take the
        // whole grant with it. The valid token serves until it expires.
        return Ok(Outcome::failed(
            ErrorKind::RefreshUncertain,
            "an earlier refresh was sent and its answer was lost; the current credential is valid until it expires",
        ));
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
    let client_secret = super::providers::client_secret(core, &provider).await?;

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
        .conclude(answer, uncertain, &refresh_token, &token_origin)
        .await
}

/// An answer was lost, or a lease ran out unreleased: its owner may have sent
/// the refresh token and died.
fn is_uncertain(credential: &Credential, now: crate::domain::Timestamp) -> bool {
    credential.uncertain_since.is_some() || credential.lease_until.is_some_and(|until| until <= now)
}

/// How long the next attempt has to wait after one that yielded nothing.
fn backoff(credential: &Credential, now: crate::domain::Timestamp) -> Option<Duration> {
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
            return Ok(too_early(backoff(&now, core.ambient.now())));
        }
        if Instant::now() >= give_up {
            return Ok(too_early(None));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A claimed attempt, and what its outcome is told to.
struct Exchange<'a> {
    core: &'a Core,
    request: &'a Request,
    connection: &'a Connection,
    provider: &'a Provider,
    metadata: Option<Arc<Metadata>>,
    attempt: Attempt,
}

impl Exchange<'_> {
    fn event(&self, action: Action) -> AuditEvent {
        let actor = match &self.request.caller {
            Some(caller) => Actor::Caller(caller),
            None => Actor::Anonymous(self.attempt.workspace_id, ""),
        };
        AuditEvent::new(&self.core.ambient, action, actor).about(
            self.connection.id,
            &self.connection.user_id,
            &self.connection.provider_name,
        )
    }

    async fn conclude(
        &self,
        answer: TokenAnswer,
        uncertain: bool,
        refresh_token: &SecretString,
        token_origin: &str,
    ) -> Result<Outcome> {
        match answer {
            TokenAnswer::Tokens(mut tokens) => {
                if !self.is_id_token_good(&tokens).await {
                    tokens.id_token = None;
                }
                self.commit(&tokens, refresh_token, token_origin).await
            }
            TokenAnswer::Refused { error } => {
                let reason = if uncertain {
                    "refresh_outcome_unknown"
                } else {
                    &error
                };
                let event = self.event(Action::ConnectionAttention).failed(reason);
                self.core
                    .store
                    .refuse_refresh(self.attempt, reason, event)
                    .await?;
                Ok(Outcome::failed(
                    ErrorKind::ConnectionAttentionRequired,
                    "the provider refuses the grant; the user must reconnect",
                ))
            }
            TokenAnswer::Misconfigured { error, .. } => {
                tracing::warn!(
                    provider = self.provider.name,
                    error,
                    "the provider rejects the client or the request"
                );
                self.release(
                    None,
                    false,
                    ErrorKind::ProviderMisconfigured,
                    "the provider rejects the client registration; see the provider's definition",
                )
                .await
            }
            TokenAnswer::Unavailable { retry_after } => {
                self.release(
                    retry_after,
                    false,
                    ErrorKind::ProviderUnavailable,
                    "the provider can't be reached; try again",
                )
                .await
            }
            TokenAnswer::Unknown => {
                self.release(
                    None,
                    true,
                    ErrorKind::RefreshUncertain,
                    "the refresh was sent and its answer was lost",
                )
                .await
            }
        }
    }

    /// Whether a refreshed id_token may be handed on: signed by the issuer, and
    /// about the same subject as before (OpenID Connect Core §12.2). One that is
    /// not is left out; the tokens beside it are good all the same.
    async fn is_id_token_good(&self, tokens: &TokenSet) -> bool {
        let Some(id_token) = &tokens.id_token else {
            return true;
        };
        let Some(metadata) = &self.metadata else {
            return false;
        };
        let client = &self.provider.definition.oauth2;
        let Core {
            discovery, ambient, ..
        } = self.core;
        let verified = id_token::verify(id_token, client, metadata, None, discovery, ambient).await;
        let good = verified.is_ok_and(|subject| Some(subject) == self.connection.subject);
        if !good {
            tracing::warn!(
                provider = self.provider.name,
                "a refreshed id_token does not verify; it is left out"
            );
        }
        good
    }

    async fn commit(
        &self,
        tokens: &TokenSet,
        refresh_token: &SecretString,
        token_origin: &str,
    ) -> Result<Outcome> {
        let Attempt {
            workspace_id,
            connection_id,
            generation,
            ..
        } = self.attempt;
        let keep = Some(refresh_token);
        // New tokens are worth more than this caller's patience: the old
        // refresh token may be spent, so the commit is tried until it lands.
        let mut pause = Duration::from_millis(100);
        let give_up = Instant::now() + Duration::from_secs(600);
        loop {
            let committed = async {
                let credential = seal(
                    self.core,
                    workspace_id,
                    connection_id,
                    generation + 1,
                    self.provider,
                    tokens,
                    keep,
                    token_origin,
                )
                .await?;
                let scopes = granted_scopes(tokens, self.provider);
                let refreshed = Refreshed {
                    attempt: self.attempt,
                    credential,
                    scopes,
                };
                self.core
                    .store
                    .commit_refresh(refreshed, self.event(Action::CredentialRefreshed))
                    .await
            }
            .await;
            match committed {
                Ok(Committed::Done | Committed::Superseded) => return Ok(Outcome::Refreshed),
                Ok(Committed::Revoked) => {
                    super::upstream::tell_at_once(
                        self.core,
                        self.provider,
                        self.connection,
                        tokens,
                    )
                    .await;
                    return Ok(Outcome::failed(
                        ErrorKind::ConnectionRevoked,
                        "the connection is revoked for good; request a new one",
                    ));
                }
                Err(error)
                    if error.kind == ErrorKind::StoreUnavailable && Instant::now() < give_up =>
                {
                    tracing::warn!(cause = ?error.cause, "new tokens wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn release(
        &self,
        retry_after: Option<Duration>,
        uncertain: bool,
        kind: ErrorKind,
        message: &'static str,
    ) -> Result<Outcome> {
        let wait = retry_after
            .and_then(|wait| TimeDelta::from_std(wait).ok())
            .unwrap_or(BACKOFF);
        let release = Release {
            next_attempt_at: self.core.ambient.now() + wait,
            uncertain,
        };
        let event = self
            .event(Action::CredentialRefreshed)
            .failed(kind.reason().to_ascii_lowercase());
        self.core
            .store
            .release_refresh(self.attempt, release, event)
            .await?;
        Ok(Outcome::Failed {
            kind,
            message,
            retry_after,
        })
    }
}

fn place(
    workspace_id: WorkspaceId,
    id: ConnectionId,
    field: &'static str,
    generation: u32,
) -> Place {
    Place {
        workspace_id,
        table: "credentials",
        row: id.0,
        field,
        generation,
    }
}

/// Where the part of a credential that agents get is sealed.
pub(super) fn usage_place(workspace_id: WorkspaceId, id: ConnectionId, generation: u32) -> Place {
    place(workspace_id, id, "usage", generation)
}

/// Opens the refresh token, where there is one.
pub(super) async fn open_refresh_token(
    core: &Core,
    credential: &Credential,
) -> Result<Option<SecretString>> {
    let Some(sealed) = &credential.content.refresh else {
        return Ok(None);
    };
    let place = place(
        credential.workspace_id,
        credential.connection_id,
        "refresh",
        credential.generation,
    );
    let opened = core.vault.open(&place, sealed).await?;
    let text = std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?;
    Ok(Some(SecretString::from(text)))
}

/// Seals tokens under a generation. An answer without a refresh token keeps
/// the one that there is (RFC 6749 §6).
#[expect(clippy::too_many_arguments, reason = "a credential has these parts")]
pub(super) async fn seal(
    core: &Core,
    workspace_id: WorkspaceId,
    id: ConnectionId,
    generation: u32,
    provider: &Provider,
    tokens: &TokenSet,
    keep_refresh_token: Option<&SecretString>,
    token_origin: &str,
) -> Result<NewCredential> {
    let mut usage = serde_json::Map::new();
    usage.insert(
        "access_token".into(),
        tokens.access_token.expose_secret().into(),
    );
    usage.insert("token_type".into(), tokens.token_type.as_str().into());
    if let Some(scope) = &tokens.scope {
        usage.insert("scope".into(), scope.as_str().into());
    }
    if let Some(id_token) = &tokens.id_token {
        usage.insert("id_token".into(), id_token.expose_secret().into());
    }
    let usage = super::fetch_token::Secrets(usage);
    let plain = Zeroizing::new(serde_json::to_vec(&usage.0).map_err(Error::internal)?);
    let refresh = match tokens.refresh_token.as_ref().or(keep_refresh_token) {
        Some(token) => {
            let place = place(workspace_id, id, "refresh", generation);
            Some(
                core.vault
                    .seal(&place, token.expose_secret().as_bytes())
                    .await?,
            )
        }
        None => None,
    };
    let issued_at = core.ambient.now();
    let margin = TimeDelta::seconds(provider.definition.oauth2.refresh_margin.into());
    Ok(NewCredential {
        usage: core
            .vault
            .seal(&usage_place(workspace_id, id, generation), &plain)
            .await?,
        issued_at,
        expires_at: tokens.lifetime.map(|lifetime| issued_at + lifetime),
        refresh_at: tokens
            .lifetime
            .filter(|_| refresh.is_some())
            .map(|lifetime| refresh_at(issued_at, lifetime, margin)),
        refresh,
        token_origin: token_origin.to_owned(),
    })
}

/// The scopes that an answer names (RFC 6749 §5.1).
pub(super) fn granted_scopes(tokens: &TokenSet, provider: &Provider) -> Option<Vec<String>> {
    let separator = provider.definition.oauth2.scope_separator.as_str();
    let scope = tokens.scope.as_deref()?;
    Some(
        scope
            .split([' '])
            .flat_map(|part| part.split(separator))
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}
