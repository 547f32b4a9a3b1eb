//! The provider sends the user's browser back: the code becomes a credential.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use super::{
    Core,
    journalled::{self, Answered, Origin},
    open_consent::open_secrets,
};
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        connection::Connection,
        consent::Consent,
        error::{Error, ErrorKind, Result},
        failpoint::Failpoint,
        id::ProviderId,
        provider::Provider,
        return_url::with_outcome,
        state::{cookie_name, hash},
    },
    grant::{
        authorization_code::AuthorizationCode,
        endpoints::{self, Endpoints},
        token_answer::TokenAnswer,
        token_endpoint,
    },
};

mod settle;

use settle::settle;
pub(super) use settle::{By, Granted, activate, replayed};

const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a browser waits for a database that is away. What is journalled
/// goes on without it.
const PATIENCE: Duration = Duration::from_secs(20);
/// And how long it waits where nothing but our memory has the tokens.
const PATIENCE_UNJOURNALLED: Duration = Duration::from_secs(600);

/// What the browser brought.
pub struct Callback {
    /// The provider in the path; none on the shared one.
    pub provider_id: Option<ProviderId>,
    /// RFC 6749 §4.1.2.
    pub state: Option<SecretString>,
    /// RFC 6749 §4.1.2.
    pub code: Option<SecretString>,
    /// RFC 6749 §4.1.2.1.
    pub error: Option<String>,
    /// RFC 9207.
    pub iss: Option<String>,
    /// The request, as in the logs.
    pub request_id: String,
}

/// Where the browser goes next.
pub enum Completed {
    /// To the application, with the outcome.
    Redirect {
        /// Where.
        location: Url,
        /// The cookie that has served its purpose.
        cookie_name: String,
    },
    /// Nowhere: the state is bad, spent or foreign, or its cookie is missing.
    Refused,
}

/// Completes a consent. `cookie` reads the browser's cookies by name.
///
/// # Errors
/// STORE_UNAVAILABLE and INTERNAL; everything else is an outcome.
pub async fn complete(
    core: &Core,
    callback: Callback,
    cookie: impl Fn(&str) -> Option<String>,
) -> Result<Completed> {
    let Some(state) = callback
        .state
        .as_ref()
        .filter(|state| core.state_key.is_ours(state.expose_secret()))
    else {
        return Ok(Completed::Refused);
    };
    let state_hash = hash(state);
    let cookie_name = cookie_name(&state_hash, core.is_https());
    // The browser that opened auth_url, and no other, may finish it.
    if !cookie(&cookie_name).is_some_and(|value| core.state_key.is_cookie_of(&state_hash, &value)) {
        return Ok(Completed::Refused);
    }
    let Some(consent) = core.store.consent_by_state(state_hash).await? else {
        return Ok(Completed::Refused);
    };
    let provider = core
        .store
        .provider(consent.workspace_id, consent.provider_id)
        .await?;
    let connection = core
        .store
        .connection(consent.workspace_id, consent.connection_id)
        .await?;
    let (Some(provider), Some(connection)) = (provider, connection) else {
        return Ok(Completed::Refused);
    };
    // Each provider answers on its own path (RFC 9700 §4.4).
    let expected = (!provider.definition.shared_redirect_uri).then_some(provider.id);
    if callback.provider_id != expected
        || !core
            .store
            .spend_consent(state_hash, core.ambient.now())
            .await?
    {
        return Ok(Completed::Refused);
    }
    let outcome = finish(core, &consent, &provider, &connection, &callback).await;
    let connection_id = connection.id.to_string();
    let location = match outcome {
        Ok(code) => {
            let mut location = with_outcome(&consent.return_url, &connection_id, None);
            if let Some(code) = code {
                location
                    .query_pairs_mut()
                    .append_pair("confirmation_code", code.expose_secret());
            }
            location
        }
        // Nothing has failed yet: the journal goes on.
        Err(failure) if failure.is_journalled => with_outcome(
            &consent.return_url,
            &connection_id,
            Some("temporarily_unavailable"),
        ),
        Err(failure) => {
            fail(core, &consent, &connection, &failure, &callback.request_id).await?;
            if let Some(cause) = failure.cause {
                tracing::warn!(
                    reason = failure.reason,
                    error = &*cause as &dyn std::error::Error,
                    "a consent failed"
                );
            }
            with_outcome(&consent.return_url, &connection_id, Some(&failure.reason))
        }
    };
    Ok(Completed::Redirect {
        location,
        cookie_name,
    })
}

async fn fail(
    core: &Core,
    consent: &Consent,
    connection: &Connection,
    failure: &Failure,
    request_id: &str,
) -> Result<()> {
    let event = AuditEvent::new(
        &core.ambient,
        Action::ConnectionFailed,
        Actor::Anonymous(consent.workspace_id, request_id),
    )
    .about(
        connection.id,
        &connection.user_id,
        &connection.provider_name,
    )
    .failed(failure.reason.clone());
    let now = core.ambient.now();
    core.store
        .fail_consent(consent, &failure.reason, now, event)
        .await
}

/// Why a consent did not yield a credential: a word for the application.
struct Failure {
    reason: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Where trying again may help, what is in the way.
    waits_for: Option<WaitsFor>,
    /// Whether the journal goes on trying.
    is_journalled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    Store,
    Provider,
}

impl Failure {
    fn new(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            cause: None,
            waits_for: None,
            is_journalled: false,
        }
    }
}

impl Failure {
    fn into_error(self) -> Error {
        let error = match self.waits_for {
            Some(WaitsFor::Store) => Error::new(ErrorKind::StoreUnavailable, "try again"),
            Some(WaitsFor::Provider) => Error::new(ErrorKind::ProviderUnavailable, "try again"),
            None => Error::new(ErrorKind::Internal, "the consent failed"),
        };
        match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match error.kind {
            ErrorKind::ProviderUnavailable => "provider_unavailable",
            ErrorKind::ProviderMisconfigured | ErrorKind::InvalidArgument => {
                "provider_misconfigured"
            }
            _ => "server_error",
        };
        Self {
            reason: reason.to_owned(),
            waits_for: match error.kind {
                ErrorKind::ProviderUnavailable => Some(WaitsFor::Provider),
                ErrorKind::StoreUnavailable => Some(WaitsFor::Store),
                _ => None,
            },
            cause: Some(Box::new(error)),
            is_journalled: false,
        }
    }
}

async fn finish(
    core: &Core,
    consent: &Consent,
    provider: &Provider,
    connection: &Connection,
    callback: &Callback,
) -> std::result::Result<Option<SecretString>, Failure> {
    let client = &provider.definition.oauth2;
    let endpoints =
        endpoints::resolve(client, &connection.connection_config, &core.discovery).await?;
    check_iss(provider, &endpoints, callback)?;
    if let Some(error) = &callback.error {
        return Err(Failure::new(authorization_error(error)));
    }
    let code = callback
        .code
        .clone()
        .ok_or_else(|| Failure::new("invalid_response"))?;
    let secrets = open_secrets(core, consent).await?;
    let grant = AuthorizationCode {
        code,
        redirect_uri: provider.redirect_uri(&core.base_url),
        code_verifier: secrets.code_verifier.clone().map(SecretString::from),
    };
    let client_secret = super::providers::client_secret(core, provider).await?;
    // What comes back must be sealed whatever becomes of the database.
    core.vault.warm(consent.workspace_id).await?;
    core.ambient.failpoints.hit(Failpoint::ConsentSpent);
    let token_origin = endpoints.token_endpoint.origin().ascii_serialization();
    let began = Instant::now();
    let answer = token_endpoint::exchange(
        &core.egress,
        endpoints.token_endpoint.clone(),
        client,
        client_secret.as_ref(),
        &grant,
        EXCHANGE_TIMEOUT,
    )
    .await;
    metrics::histogram!("oauth_exchange_duration_seconds").record(began.elapsed().as_secs_f64());
    if matches!(answer, TokenAnswer::Tokens(_)) {
        core.throttle.answered(provider.id, core.ambient.now());
    }
    let (status, tokens) = match answer {
        TokenAnswer::Tokens(tokens) => ("success", Ok(tokens)),
        TokenAnswer::Refused { error } => ("refused", Err(Failure::new(&error))),
        TokenAnswer::Misconfigured { error, .. } => ("misconfigured", Err(Failure::new(&error))),
        TokenAnswer::Unavailable { .. } => {
            ("unavailable", Err(Failure::new("provider_unavailable")))
        }
        TokenAnswer::Unknown => ("unknown", Err(Failure::new("provider_unavailable"))),
    };
    metrics::counter!("oauth_token_exchanges_total", "status" => status).increment(1);
    core.ambient.failpoints.hit(Failpoint::ConsentAnswered);
    let answered = Answered {
        workspace_id: consent.workspace_id,
        connection_id: connection.id,
        generation: 0,
        origin: Origin::Consent {
            state_hash: consent.state_hash,
            request_id: callback.request_id.clone(),
        },
        received_at: core.ambient.now(),
        token_origin,
        tokens: *tokens?,
    };
    let kept = journalled::keep(core, &answered).await;
    core.ambient.failpoints.hit(Failpoint::ConsentJournalled);
    let patience = match kept {
        Some(_) => PATIENCE,
        None => PATIENCE_UNJOURNALLED,
    };
    let give_up = Instant::now() + patience;
    let nonce = secrets.nonce.as_deref();
    loop {
        let settled = settle(
            core,
            consent,
            provider,
            &endpoints,
            &answered,
            nonce,
            &callback.request_id,
        )
        .await;
        match settled {
            Err(failure) if failure.waits_for == Some(WaitsFor::Store) => {
                if Instant::now() < give_up {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
                return Err(Failure {
                    is_journalled: kept.is_some(),
                    ..failure
                });
            }
            settled => {
                if let Some(kept) = kept {
                    kept.settled().await;
                }
                return settled;
            }
        }
    }
}

/// RFC 9207 §2.4: an announced `iss` must be there, and one that is there must
/// be the configured issuer.
fn check_iss(
    provider: &Provider,
    endpoints: &Endpoints,
    callback: &Callback,
) -> std::result::Result<(), Failure> {
    let issuer = &provider.definition.oauth2.issuer;
    let announced = endpoints
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.authorization_response_iss_parameter_supported);
    match &callback.iss {
        Some(iss) if !issuer.is_empty() && iss != issuer => Err(Failure::new("issuer_mismatch")),
        None if announced => Err(Failure::new("issuer_missing")),
        _ => Ok(()),
    }
}

/// The authorization endpoint's `error`, if it is one of RFC 6749 §4.1.2.1 or
/// OpenID Connect Core §3.1.2.6: a foreign text goes no further.
fn authorization_error(error: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "access_denied",
        "invalid_request",
        "unauthorized_client",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "interaction_required",
        "login_required",
        "account_selection_required",
        "consent_required",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == error)
        .unwrap_or("authorization_error")
}
