//! What came of the exchange: new tokens are committed, a refusal ends the
//! connection, and everything else gives the lease back.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use secrecy::SecretString;
use tokio::time::Instant;

use super::{
    Outcome, Request, resting,
    settle::{store, with_good_id_token},
};
use crate::{
    domain::{
        Timestamp,
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        credential::{Credential, TokenSet, pause_after},
        error::{ErrorKind, Result},
        failpoint::Failpoint,
        provider::Provider,
    },
    egress::discovery::Metadata,
    flow::{
        Core,
        journalled::{self, Answered, Origin},
    },
    grant::token_answer::TokenAnswer,
    store::{Attempt, Committed, RESERVED_FOR, Release},
};

/// How long callers wait for a database that is away, while the journal has
/// the new tokens.
const PATIENCE: Duration = Duration::from_secs(30);
/// And how long where nothing but our memory has them.
const PATIENCE_UNJOURNALLED: Duration = Duration::from_secs(600);

/// The provider refuses the grant.
pub(super) fn refused() -> Outcome {
    Outcome::failed(
        ErrorKind::ConnectionAttentionRequired,
        "the provider refuses the grant; the user must reconnect",
    )
}

pub(super) const UNCERTAIN: &str =
    "a refresh was sent and its answer was lost; the current credential is valid until it expires";

/// An answer was lost.
pub(super) fn uncertain() -> Outcome {
    Outcome::failed(ErrorKind::RefreshUncertain, UNCERTAIN)
}

/// A claimed attempt, and what its outcome is told to.
pub(super) struct Exchange<'a> {
    pub(super) core: &'a Core,
    pub(super) request: &'a Request,
    pub(super) credential: &'a Credential,
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
            TokenAnswer::Tokens(tokens) => self.accept(*tokens, refresh_token, token_origin).await,
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
                let message =
                    "the provider rejects the client registration; see the provider's definition";
                self.release(End::new(ErrorKind::ProviderMisconfigured, message))
                    .await
            }
            TokenAnswer::Unavailable { retry_after } => {
                let message = "the provider can't be reached; try again";
                self.release(End {
                    retry_after,
                    ..End::new(ErrorKind::ProviderUnavailable, message)
                })
                .await
            }
            TokenAnswer::Unknown => {
                let message = "the refresh was sent and its answer was lost";
                self.release(End {
                    uncertain_since: Some(self.attempt.at),
                    ..End::new(ErrorKind::RefreshUncertain, message)
                })
                .await
            }
        }
    }

    /// New tokens are worth more than this caller's patience, because the old
    /// refresh token may be spent: they are journalled, then stored; and where
    /// the journal fails, tried until the database takes them.
    async fn accept(
        &self,
        mut tokens: TokenSet,
        refresh_token: &SecretString,
        token_origin: &str,
    ) -> Result<Outcome> {
        let core = self.core;
        core.ambient.failpoints.hit(Failpoint::RefreshAnswered);
        let Attempt {
            workspace_id,
            connection_id,
            generation,
            epoch,
            ..
        } = self.attempt;
        // An answer without a refresh token keeps the one that there is
        // (RFC 6749 §6).
        tokens
            .refresh_token
            .get_or_insert_with(|| refresh_token.clone());
        let answered = Answered {
            workspace_id,
            connection_id,
            generation,
            origin: Origin::Refresh { epoch },
            received_at: core.ambient.now(),
            token_origin: token_origin.to_owned(),
            tokens,
        };
        let kept = journalled::keep(core, &answered).await;
        core.ambient.failpoints.hit(Failpoint::RefreshJournalled);
        let metadata = self.metadata.as_deref();
        let (connection, provider) = (self.connection, self.provider);
        let tokens = with_good_id_token(core, connection, provider, metadata, &answered).await;
        let patience = match kept {
            Some(_) => PATIENCE,
            None => PATIENCE_UNJOURNALLED,
        };
        let give_up = Instant::now() + patience;
        let mut pause = Duration::from_millis(100);
        let committed = loop {
            let event = self.event(Action::CredentialRefreshed);
            let stored = store(
                core,
                self.attempt,
                connection,
                provider,
                &answered,
                &tokens,
                event,
            );
            match stored.await {
                Ok(committed) => break committed,
                Err(error)
                    if error.kind == ErrorKind::StoreUnavailable && Instant::now() < give_up =>
                {
                    tracing::warn!(cause = ?error.cause, "new tokens wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                // Where they are journalled, the replay goes on.
                Err(error) => return Err(error),
            }
        };
        core.ambient.failpoints.hit(Failpoint::RefreshCommitted);
        if let Some(kept) = kept {
            kept.settled().await;
        }
        Ok(match committed {
            Committed::Done | Committed::Superseded => Outcome::Refreshed,
            Committed::Revoked => Outcome::failed(
                ErrorKind::ConnectionRevoked,
                "the connection is revoked for good; request a new one",
            ),
        })
    }

    /// The attempt yielded no tokens: gives the lease back.
    pub(super) async fn release(&self, end: End) -> Result<Outcome> {
        let now = self.core.ambient.now();
        let pause = pause_after(self.credential.attempts, self.core.ambient.chance());
        let wanted = end
            .retry_after
            .and_then(|wait| TimeDelta::from_std(wait).ok());
        let soonest = now + pause.max(wanted.unwrap_or_default());
        let next_attempt_at = match end.uncertain_since {
            Some(since) => resting::until(self.credential, self.provider, since, soonest),
            None => soonest,
        };
        let release = Release {
            next_attempt_at,
            // What was not due before is not due for having failed.
            due_at: self.credential.content.due_at.map(|due_at| {
                if due_at > now + RESERVED_FOR {
                    due_at
                } else {
                    next_attempt_at
                }
            }),
            uncertain_since: end.uncertain_since,
        };
        let event = self
            .event(Action::CredentialRefreshed)
            .failed(end.kind.reason().to_ascii_lowercase());
        self.core
            .store
            .release_refresh(self.attempt, release, event)
            .await?;
        Ok(Outcome::Failed {
            kind: end.kind,
            message: end.message,
            retry_after: end.retry_after,
        })
    }
}

/// How an attempt ends that yielded no tokens.
pub(super) struct End {
    pub(super) kind: ErrorKind,
    pub(super) message: &'static str,
    /// How long the provider wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Since when nobody knows what came of a refresh.
    pub(super) uncertain_since: Option<Timestamp>,
}

impl End {
    pub(super) fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self {
            kind,
            message,
            retry_after: None,
            uncertain_since: None,
        }
    }
}
