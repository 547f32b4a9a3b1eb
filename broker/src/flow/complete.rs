//! The provider sends the user's browser back: the code becomes a credential.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use super::{Core, confirm, open_consent::open_secrets, upstream::keep_and_tell};
use crate::{
    domain::{
        audit::{Action, Actor, AuditEvent},
        connection::{Connection, Status},
        consent::Consent,
        credential::TokenSet,
        error::{Error, ErrorKind, Result},
        id::{ConsentId, ProviderId},
        provider::Provider,
        return_url::with_outcome,
        state::{cookie_name, hash},
    },
    grant::{
        authorization_code::AuthorizationCode,
        endpoints::{self, Endpoints},
        id_token,
        token_answer::TokenAnswer,
        token_endpoint,
    },
    store::{CompletedConsent, Completion},
};

const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

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
        Err(failure) => {
            let event = AuditEvent::new(
                &core.ambient,
                Action::ConnectionFailed,
                Actor::Anonymous(consent.workspace_id, &callback.request_id),
            )
            .about(
                connection.id,
                &connection.user_id,
                &connection.provider_name,
            )
            .failed(failure.reason.clone());
            let now = core.ambient.now();
            core.store
                .fail_consent(&consent, &failure.reason, now, event)
                .await?;
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

/// Why a consent did not yield a credential: a word for the application.
struct Failure {
    reason: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    fn new(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            cause: None,
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
            cause: Some(Box::new(error)),
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
    let mut tokens = tokens?;
    let subject = verify(
        core,
        provider,
        &endpoints,
        &tokens,
        secrets.nonce.as_deref(),
    )
    .await?;
    if let (Some(before), Some(now)) = (&connection.subject, &subject)
        && before != now
    {
        return Err(Failure::new("subject_mismatch"));
    }
    if connection.subject.is_some() && subject.is_none() {
        return Err(Failure::new("subject_missing"));
    }
    if subject.is_none() {
        // Nobody asked for it, or there is no issuer to verify it against.
        tokens.id_token = None;
    }
    let granted = Granted {
        scopes: super::sealing::granted_scopes(&tokens, provider)
            .unwrap_or_else(|| consent.scopes.clone()),
        subject,
        token_origin,
    };
    let event = |action| {
        let actor = Actor::Anonymous(consent.workspace_id, &callback.request_id);
        AuditEvent::new(&core.ambient, action, actor).about(
            connection.id,
            &connection.user_id,
            &connection.provider_name,
        )
    };
    let completion = if consent.require_confirmation {
        let event = event(Action::ConnectionConfirmationRequested);
        match confirm::hold(core, consent, connection, &tokens, granted, event).await? {
            Some(code) => return Ok(Some(code)),
            None => Completion::Superseded,
        }
    } else {
        let by = By::Consent(consent.id);
        let event = || event(Action::ConnectionActivated);
        activate(core, connection, provider, &tokens, &granted, by, event).await?
    };
    match completion {
        Completion::Done => Ok(None),
        Completion::Conflict => Err(Failure::new("server_error")),
        Completion::Superseded => {
            // Of a connection that was revoked meanwhile nothing may live on
            // at the provider.
            let held = core
                .store
                .connection(connection.workspace_id, connection.id);
            if held
                .await?
                .is_some_and(|held| held.status == Status::Revoked)
            {
                keep_and_tell(core, connection, &tokens).await?;
            }
            Err(Failure::new("superseded"))
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

async fn verify(
    core: &Core,
    provider: &Provider,
    endpoints: &Endpoints,
    tokens: &TokenSet,
    nonce: Option<&str>,
) -> std::result::Result<Option<String>, Failure> {
    let (Some(metadata), Some(nonce)) = (&endpoints.metadata, nonce) else {
        return Ok(None);
    };
    // `openid` was asked for, so an id_token is owed (OpenID Connect Core §3.1.3.3).
    let id_token = tokens
        .id_token
        .as_ref()
        .ok_or_else(|| Failure::new("id_token_missing"))?;
    let nonce = SecretString::from(nonce);
    id_token::verify(
        id_token,
        &provider.definition.oauth2,
        metadata,
        Some(&nonce),
        &core.discovery,
        &core.ambient,
    )
    .await
    .map(Some)
    .map_err(|error| {
        let reason = match &error {
            id_token::IdTokenError::Keys(_) => "provider_unavailable",
            id_token::IdTokenError::Invalid(_) => "id_token_invalid",
        };
        Failure {
            reason: reason.to_owned(),
            cause: Some(Box::new(error)),
        }
    })
}

/// What a provider granted, beside the tokens.
pub(super) struct Granted {
    /// The scopes.
    pub scopes: Vec<String>,
    /// Who consented.
    pub subject: Option<String>,
    /// The origin of the token endpoint.
    pub token_origin: String,
}

/// What makes a connection ACTIVE.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// The consent itself.
    Consent(ConsentId),
    /// The confirmation of a consent that waited for it.
    Confirmation(ConsentId),
}

/// Makes the tokens the connection's credential.
pub(super) async fn activate(
    core: &Core,
    connection: &Connection,
    provider: &Provider,
    tokens: &TokenSet,
    granted: &Granted,
    by: By,
    event: impl Fn() -> AuditEvent,
) -> Result<Completion> {
    let (consent_id, confirmed) = match by {
        By::Consent(id) => (id, false),
        By::Confirmation(id) => (id, true),
    };
    // Another credential may be stored in between; then this one is sealed anew.
    for _ in 0..5 {
        let held = core
            .store
            .credential(connection.workspace_id, connection.id)
            .await?;
        let generation = held.map_or(0, |held| held.generation);
        let credential = super::sealing::seal(
            core,
            connection.workspace_id,
            connection.id,
            generation + 1,
            provider,
            tokens,
            None,
            &granted.token_origin,
        )
        .await?;
        let completed = CompletedConsent {
            workspace_id: connection.workspace_id,
            connection_id: connection.id,
            consent_id,
            at: core.ambient.now(),
            generation,
            credential,
            scopes: granted.scopes.clone(),
            subject: granted.subject.clone(),
            confirmed,
        };
        match core.store.complete_consent(completed, event()).await? {
            Completion::Conflict => {}
            outcome => return Ok(outcome),
        }
    }
    Ok(Completion::Conflict)
}
