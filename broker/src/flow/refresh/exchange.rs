//! What came of the exchange: new tokens are committed, a refusal ends the
//! connection, and everything else gives the lease back.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{Outcome, Request};
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::TokenSet,
        error::{ErrorKind, Result},
        provider::Provider,
    },
    egress::discovery::Metadata,
    flow::{
        Core,
        sealing::{granted_scopes, seal},
        upstream::keep_and_tell,
    },
    grant::{id_token, token_answer::TokenAnswer},
    store::{Attempt, Committed, Refreshed, Release},
};

/// After an attempt that yielded nothing, the next waits this long, or as long
/// as the provider wants.
const BACKOFF: TimeDelta = TimeDelta::seconds(5);

/// The provider refuses the grant.
pub(super) fn refused() -> Outcome {
    Outcome::failed(
        ErrorKind::ConnectionAttentionRequired,
        "the provider refuses the grant; the user must reconnect",
    )
}

/// An answer was lost.
pub(super) fn uncertain() -> Outcome {
    Outcome::failed(
        ErrorKind::RefreshUncertain,
        "a refresh was sent and its answer was lost; the current credential is valid until it expires",
    )
}

/// A claimed attempt, and what its outcome is told to.
pub(super) struct Exchange<'a> {
    pub(super) core: &'a Core,
    pub(super) request: &'a Request,
    pub(super) connection: &'a Connection,
    pub(super) provider: &'a Provider,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) attempt: Attempt,
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

    pub(super) async fn conclude(
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
                Ok(refused())
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
                    keep_and_tell(self.core, self.connection, tokens).await?;
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

    pub(super) async fn release(
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
