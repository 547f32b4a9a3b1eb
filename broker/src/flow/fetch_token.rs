//! GetToken and RefreshConnection: a fresh credential, and how to use it.

use std::{fmt, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::{
    Core,
    connections::{not_found, usable},
    refresh::{self, Outcome},
    sealing,
};
use crate::domain::{
    Timestamp,
    access::Caller,
    audit::{Action, Actor, AuditEvent},
    connection::{CONSENT_TIMEOUT, CREDENTIAL_EXPIRED, Event, Status},
    credential::{TokenView, UsableCredential},
    error::{Error, ErrorKind, Result},
    id::ConnectionId,
    provider::StrategySpec,
};

/// Credentials in plain, by name. Wiped when dropped, and never printed.
pub struct Secrets(pub Map<String, Value>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        for value in self.0.values_mut() {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// The generic credential payload.
#[derive(Debug)]
pub struct CredentialPayload {
    /// How to use the credentials.
    pub strategy: StrategySpec,
    /// The credentials.
    pub credentials: Secrets,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// Rises with every change.
    pub generation: u32,
}

/// Fetches a credential, refreshed first when it is within the margin.
///
/// # Errors
/// One for every status but ACTIVE; those of a refresh, where no valid
/// credential is left; STORE_UNAVAILABLE.
pub async fn get(core: &Arc<Core>, caller: &Caller, id: ConnectionId) -> Result<CredentialPayload> {
    let view = core.token_reads.view(caller.workspace_id(), id).await?;
    let answer = match view {
        Some(view) => fresh(core, caller, id, view).await,
        None => Err(unusable(None, not_found())),
    };
    audited(core, caller, id, answer).await
}

/// Refreshes now, and answers the new credential.
///
/// # Errors
/// As [`get`], and NOT_REFRESHABLE; an outage is an error although the current
/// credential may still be valid.
pub async fn force_refresh(
    core: &Arc<Core>,
    caller: &Caller,
    id: ConnectionId,
    generation: Option<u32>,
) -> Result<CredentialPayload> {
    let view = core.token_reads.view(caller.workspace_id(), id).await?;
    let answer = match view {
        Some(view) => forced(core, caller, id, generation, view).await,
        None => Err(unusable(None, not_found())),
    };
    audited(core, caller, id, answer).await
}

/// How long a caller whose credential is still valid waits for a fresher one.
const PATIENCE: Duration = Duration::from_secs(3);

type Found = std::result::Result<(TokenView, UsableCredential), Box<Unusable>>;

/// Why there is no credential to answer, and of which connection, for the audit.
struct Unusable {
    view: Option<TokenView>,
    error: Error,
}

fn unusable(view: Option<TokenView>, error: Error) -> Box<Unusable> {
    Box::new(Unusable { view, error })
}

async fn fresh(core: &Arc<Core>, caller: &Caller, id: ConnectionId, view: TokenView) -> Found {
    let now = core.ambient.now();
    let (view, credential) = in_use(view, now)?;
    if !credential.is_due_at(now) {
        return Ok((view, credential));
    }
    let refreshing = refresh::refresh(core, request(caller, id, credential.generation, false));
    let outcome = if credential.is_valid_at(now) {
        // A valid credential is not kept back by a provider that hangs; the
        // refresh goes on behind.
        match tokio::time::timeout(PATIENCE, refreshing).await {
            Ok(outcome) => outcome,
            Err(_) => return Ok((view, credential)),
        }
    } else {
        refreshing.await
    };
    if matches!(outcome, Outcome::Refreshed) {
        return again(core, caller, id).await;
    }
    let refused = matches!(
        outcome,
        Outcome::Failed {
            kind: ErrorKind::ConnectionAttentionRequired
                | ErrorKind::ConnectionRevoked
                | ErrorKind::ConnectionNotFound,
            ..
        }
    );
    if refused {
        return again(core, caller, id).await;
    }
    // A valid credential serves through any outage.
    if credential.is_valid_at(core.ambient.now()) {
        return Ok((view, credential));
    }
    match outcome.into_result() {
        Ok(()) => again(core, caller, id).await,
        Err(error) => Err(unusable(Some(view), error)),
    }
}

async fn forced(
    core: &Arc<Core>,
    caller: &Caller,
    id: ConnectionId,
    generation: Option<u32>,
    view: TokenView,
) -> Found {
    let now = core.ambient.now();
    let (view, credential) = in_use(view, now)?;
    if generation.is_some_and(|held| credential.generation > held) && credential.is_valid_at(now) {
        return Ok((view, credential));
    }
    match refresh::refresh(core, request(caller, id, credential.generation, true))
        .await
        .into_result()
    {
        Ok(()) => again(core, caller, id).await,
        Err(error) if error.kind == ErrorKind::ConnectionAttentionRequired => {
            again(core, caller, id).await
        }
        Err(error) => Err(unusable(Some(view), error)),
    }
}

fn request(caller: &Caller, id: ConnectionId, generation: u32, forced: bool) -> refresh::Request {
    refresh::Request {
        workspace_id: caller.workspace_id(),
        connection_id: id,
        generation,
        forced,
        caller: Some(caller.clone()),
    }
}

/// After a refresh: what is stored now.
async fn again(core: &Core, caller: &Caller, id: ConnectionId) -> Found {
    match core.token_reads.view(caller.workspace_id(), id).await {
        Ok(Some(view)) => in_use(view, core.ambient.now()),
        Ok(None) => Err(unusable(None, not_found())),
        Err(error) => Err(unusable(None, error)),
    }
}

/// The credential of an ACTIVE connection.
fn in_use(mut view: TokenView, now: Timestamp) -> Found {
    let credential = view.credential.take();
    let gone = credential
        .as_ref()
        .is_some_and(|credential| credential.refresh_at.is_none() && !credential.is_valid_at(now));
    let (status, reason) = match view.status {
        Status::Pending if view.consent_expires_at <= now => (Status::Failed, CONSENT_TIMEOUT),
        Status::Active if gone => (
            Status::Active.after(Event::ExpiredUnrefreshable),
            CREDENTIAL_EXPIRED,
        ),
        status => (status, view.reason.as_str()),
    };
    match (usable(status, reason), credential) {
        (Ok(()), Some(credential)) => Ok((view, credential)),
        (Ok(()), None) => Err(unusable(
            Some(view),
            Error::internal("an active connection has no credential"),
        )),
        (Err(error), _) => Err(unusable(Some(view), error)),
    }
}

/// Opens the credential, records that it leaves, and lets it leave; in this
/// order. A refusal is recorded as well.
async fn audited(
    core: &Core,
    caller: &Caller,
    id: ConnectionId,
    found: Found,
) -> Result<CredentialPayload> {
    let event = AuditEvent::new(&core.ambient, Action::CredentialRead, Actor::Caller(caller));
    let event = |view: Option<&TokenView>| match view {
        Some(view) => event.about(id, &view.user_id, &view.provider_name),
        None => event.about(id, "", ""),
    };
    let (view, credential) = match found {
        Ok(found) => found,
        Err(unusable) => {
            let Unusable { view, error } = *unusable;
            // What the store can't record now, it can't have told either.
            if error.kind != ErrorKind::StoreUnavailable {
                core.audit
                    .record(event(view.as_ref()).failed(error.kind.reason().to_ascii_lowercase()))
                    .await?;
            }
            return Err(error);
        }
    };
    let place = sealing::usage_place(caller.workspace_id(), id, credential.generation);
    let opened = core.vault.open(&place, &credential.usage).await?;
    let credentials =
        Secrets(serde_json::from_slice(opened.expose_secret()).map_err(Error::internal)?);
    core.audit.record(event(Some(&view))).await?;
    let has_id_token = if credentials.0.contains_key("id_token") {
        "true"
    } else {
        "false"
    };
    metrics::counter!("oauth_token_get_total", "provider" => view.provider_name, "has_id_token" => has_id_token)
        .increment(1);
    Ok(CredentialPayload {
        strategy: view.strategy,
        credentials,
        expires_at: credential.expires_at,
        generation: credential.generation,
    })
}
