//! What a code's exchange yielded becomes the connection's credential: at once,
//! or when the journal is replayed.

use secrecy::SecretString;

use super::{Failure, WaitsFor, fail};
use crate::{
    domain::{
        Timestamp,
        audit::{Action, Actor, AuditEvent},
        connection::{Connection, Status},
        consent::Consent,
        credential::TokenSet,
        failpoint::Failpoint,
        id::ConsentId,
        provider::Provider,
    },
    flow::{
        Core, confirm,
        journalled::{Answered, Settled},
        open_consent::open_secrets,
        sealing::{granted_scopes, seal},
        upstream::keep_and_tell,
    },
    grant::{
        endpoints::{self, Endpoints},
        id_token,
    },
    store::{CompletedConsent, Completion},
};

/// How long a replayed consent waits for the provider's keys.
const KEYS_PATIENCE: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// An answer that the journal kept: the same as at once, by the clock of then.
pub(in crate::flow) async fn replayed(
    core: &Core,
    answered: &Answered,
    state_hash: [u8; 32],
    request_id: &str,
) -> Settled {
    match replay(core, answered, state_hash, request_id).await {
        Ok(()) => Settled::Done,
        Err(error) => Settled::Later(error),
    }
}

async fn replay(
    core: &Core,
    answered: &Answered,
    state_hash: [u8; 32],
    request_id: &str,
) -> crate::domain::error::Result<()> {
    let (workspace_id, connection_id) = (answered.workspace_id, answered.connection_id);
    let connection = core.store.connection(workspace_id, connection_id).await?;
    let Some(connection) = connection else {
        return Ok(());
    };
    if connection.status == Status::Revoked {
        return keep_and_tell(core, &connection, &answered.tokens).await;
    }
    let provider = core
        .store
        .provider(workspace_id, connection.provider_id)
        .await?;
    let consent = core.store.consent_by_state(state_hash).await?;
    let Some(provider) = provider else {
        // It was deleted meanwhile: nobody will use these tokens.
        return keep_and_tell(core, &connection, &answered.tokens).await;
    };
    let Some(consent) = consent else {
        // A newer consent took its place.
        return Ok(());
    };
    if consent.require_confirmation {
        return give_up_unconfirmed(core, &consent, &connection, answered, request_id).await;
    }
    let client = &provider.definition.oauth2;
    let settled = async {
        let endpoints =
            endpoints::resolve(client, &connection.connection_config, &core.discovery).await?;
        let secrets = open_secrets(core, &consent).await?;
        let nonce = secrets.nonce.as_deref();
        settle(
            core, &consent, &provider, &endpoints, answered, nonce, request_id,
        )
        .await
    }
    .await;
    match settled {
        Ok(_) => Ok(()),
        Err(failure) => {
            let waits = match failure.waits_for {
                Some(WaitsFor::Store) => true,
                Some(WaitsFor::Provider) => {
                    core.ambient.now() - answered.received_at < KEYS_PATIENCE
                }
                None => false,
            };
            if waits {
                return Err(failure.into_error());
            }
            fail(core, &consent, &connection, &failure, request_id).await
        }
    }
}

/// The code that confirms a consent goes to the browser that consented, which
/// is gone: it has to consent again. What is already held for a confirmation
/// ends by itself.
async fn give_up_unconfirmed(
    core: &Core,
    consent: &Consent,
    connection: &Connection,
    answered: &Answered,
    request_id: &str,
) -> crate::domain::error::Result<()> {
    let (workspace_id, connection_id) = (consent.workspace_id, consent.connection_id);
    let held = core.store.confirmation(workspace_id, connection_id).await?;
    if held.is_some_and(|held| held.consent_id == consent.id) {
        return Ok(());
    }
    // The end of one token may be the end of the grant, which another
    // credential of the same user may live by.
    let credential = core.store.credential(workspace_id, connection_id).await?;
    if credential.is_none() {
        keep_and_tell(core, connection, &answered.tokens).await?;
    }
    let failure = Failure::new("server_error");
    fail(core, consent, connection, &failure, request_id).await
}

/// Verifies the answer and stores it; where the application has to confirm the
/// consent first, answers the code for that.
pub(super) async fn settle(
    core: &Core,
    consent: &Consent,
    provider: &Provider,
    endpoints: &Endpoints,
    answered: &Answered,
    nonce: Option<&str>,
    request_id: &str,
) -> Result<Option<SecretString>, Failure> {
    // Read again each time: the wait for a database may have been long.
    let connection = core
        .store
        .connection(consent.workspace_id, consent.connection_id)
        .await?;
    let Some(connection) = connection else {
        return Err(Failure::new("superseded"));
    };
    let mut tokens = answered.tokens.clone();
    let subject = verify(core, provider, endpoints, answered, nonce).await?;
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
        scopes: granted_scopes(&tokens, provider).unwrap_or_else(|| consent.scopes.clone()),
        subject,
        token_origin: answered.token_origin.clone(),
        issued_at: answered.received_at,
    };
    let event = |action| {
        let actor = Actor::Anonymous(consent.workspace_id, request_id);
        AuditEvent::new(&core.ambient, action, actor).about(
            connection.id,
            &connection.user_id,
            &connection.provider_name,
        )
    };
    let completion = if consent.require_confirmation {
        let event = event(Action::ConnectionConfirmationRequested);
        match confirm::hold(core, consent, &connection, &tokens, granted, event).await? {
            Some(code) => return Ok(Some(code)),
            None => Completion::Superseded,
        }
    } else {
        let by = By::Consent(consent.id);
        let event = || event(Action::ConnectionActivated);
        activate(core, &connection, provider, &tokens, &granted, by, event).await?
    };
    match completion {
        Completion::Done => {
            core.ambient.failpoints.hit(Failpoint::ConsentCommitted);
            Ok(None)
        }
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
                keep_and_tell(core, &connection, &tokens).await?;
            }
            Err(Failure::new("superseded"))
        }
    }
}

async fn verify(
    core: &Core,
    provider: &Provider,
    endpoints: &Endpoints,
    answered: &Answered,
    nonce: Option<&str>,
) -> Result<Option<String>, Failure> {
    let (Some(metadata), Some(nonce)) = (&endpoints.metadata, nonce) else {
        return Ok(None);
    };
    // `openid` was asked for, so an id_token is owed (OpenID Connect Core §3.1.3.3).
    let id_token = answered
        .tokens
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
        &core.ambient.at(answered.received_at),
    )
    .await
    .map(Some)
    .map_err(|error| {
        let (reason, waits_for) = match &error {
            id_token::IdTokenError::Keys(_) => ("provider_unavailable", Some(WaitsFor::Provider)),
            id_token::IdTokenError::Invalid(_) => ("id_token_invalid", None),
        };
        Failure {
            reason: reason.to_owned(),
            cause: Some(Box::new(error)),
            waits_for,
            is_journalled: false,
        }
    })
}

/// What a provider granted, beside the tokens.
pub(in crate::flow) struct Granted {
    /// The scopes.
    pub scopes: Vec<String>,
    /// Who consented.
    pub subject: Option<String>,
    /// The origin of the token endpoint.
    pub token_origin: String,
    /// From when on the tokens' lifetime counts.
    pub issued_at: Timestamp,
}

/// What makes a connection ACTIVE.
#[derive(Debug, Clone, Copy)]
pub(in crate::flow) enum By {
    /// The consent itself.
    Consent(ConsentId),
    /// The confirmation of a consent that waited for it.
    Confirmation(ConsentId),
}

/// Makes the tokens the connection's credential.
pub(in crate::flow) async fn activate(
    core: &Core,
    connection: &Connection,
    provider: &Provider,
    tokens: &TokenSet,
    granted: &Granted,
    by: By,
    event: impl Fn() -> AuditEvent,
) -> crate::domain::error::Result<Completion> {
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
        let credential = seal(
            core,
            connection.workspace_id,
            connection.id,
            generation + 1,
            provider,
            tokens,
            &granted.token_origin,
            granted.issued_at,
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
        core.ambient.failpoints.hit(Failpoint::ConsentSealed);
        match core.store.complete_consent(completed, event()).await {
            Ok(Completion::Conflict) => {}
            Err(error) if error.is_stale_seal => {
                core.vault.forget_active(connection.workspace_id);
            }
            outcome => return outcome,
        }
    }
    Ok(Completion::Conflict)
}
