//! Beginning a consent, for a new connection or an existing one.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::Core;
use crate::{
    domain::{
        Timestamp,
        access::Caller,
        audit::{Action, Actor, AuditEvent},
        connection::{Connection, Status},
        consent::{CONSENT_LIFETIME, Consent},
        error::{Error, ErrorKind, Result},
        id::{ConnectionId, ConsentId, ProviderId},
        provider::Provider,
        provider_rules::is_scope_token,
        return_url,
        sealed::Place,
        state::{hash, random_text},
    },
    grant::endpoints,
};

/// Which provider is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderRef {
    /// By its name.
    Name(String),
    /// By its id.
    Id(ProviderId),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// Whose connection it is.
    pub user_id: String,
    /// To which provider.
    pub provider: ProviderRef,
    /// With which scopes; empty: the provider's defaults.
    pub scopes: Vec<String>,
    /// Where the browser goes in the end.
    pub return_url: String,
    /// Fills the provider's URLs.
    pub connection_config: BTreeMap<String, String>,
    /// The application's notes.
    pub metadata: BTreeMap<String, String>,
    /// Whether what the consent yields waits until the application confirms it.
    pub require_confirmation: bool,
}

/// A consent that was begun.
#[derive(Debug)]
pub struct Begun {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The page to open.
    pub auth_url: String,
    /// The consent's state.
    pub state: SecretString,
    /// The scopes that will be asked for.
    pub scopes: Vec<String>,
    /// The provider.
    pub provider_id: ProviderId,
    /// Until when the user may consent.
    pub expires_at: Timestamp,
}

/// What the callback needs of a consent; sealed in its row.
#[derive(Serialize, Deserialize)]
pub(super) struct ConsentSecrets {
    pub state: String,
    pub code_verifier: Option<String>,
    pub nonce: Option<String>,
}

impl Drop for ConsentSecrets {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.state.zeroize();
        self.code_verifier.zeroize();
        self.nonce.zeroize();
    }
}

pub(super) fn secrets_place(consent: &Consent) -> Place {
    Place {
        workspace_id: consent.workspace_id,
        table: "consents",
        row: consent.id.0,
        field: "secrets",
        generation: 0,
    }
}

/// Begins a new connection.
///
/// # Errors
/// INVALID_ARGUMENT, PROVIDER_NOT_FOUND, PROVIDER_MISCONFIGURED,
/// PROVIDER_UNAVAILABLE, STORE_UNAVAILABLE.
pub async fn request(core: &Core, caller: &Caller, request: ConnectRequest) -> Result<Begun> {
    let workspace_id = caller.workspace_id();
    let return_url = check_return_url(core, caller, &request.return_url).await?;
    let provider = find_provider(core, caller, &request.provider).await?;
    let scopes = if request.scopes.is_empty() {
        provider.definition.oauth2.scopes.clone()
    } else {
        request.scopes
    };
    check_scopes(&scopes)?;
    // Now, not when the user is there: a wrong definition is the caller's matter.
    endpoints::resolve(
        &provider.definition.oauth2,
        &request.connection_config,
        &core.discovery,
    )
    .await?;

    let now = core.ambient.now();
    let connection = Connection {
        id: ConnectionId(core.ambient.id()),
        workspace_id,
        user_id: request.user_id,
        provider_id: provider.id,
        provider_name: provider.name.clone(),
        status: Status::Pending,
        reason: String::new(),
        scopes,
        connection_config: request.connection_config,
        metadata: request.metadata,
        subject: None,
        consent_expires_at: now + TimeDelta::seconds(CONSENT_LIFETIME),
        expires_at: None,
        refreshable: false,
        created_at: now,
        updated_at: now,
    };
    let event = AuditEvent::new(
        &core.ambient,
        Action::ConnectionRequested,
        Actor::Caller(caller),
    )
    .about(
        connection.id,
        &connection.user_id,
        &connection.provider_name,
    );
    with_active_key!(
        core,
        workspace_id,
        async {
            let scopes = connection.scopes.clone();
            let (consent, begun) = begin(
                core,
                &provider,
                &connection,
                scopes,
                return_url.clone(),
                request.require_confirmation,
            )
            .await?;
            core.store
                .insert_connection(&connection, &consent, event.clone())
                .await?;
            Ok::<_, Error>(begun)
        }
        .await
    )
}

/// Begins a new consent for an existing connection, which keeps its status
/// until that succeeds.
///
/// # Errors
/// As [`request`], CONNECTION_NOT_FOUND, CONNECTION_REVOKED.
pub async fn reconnect(
    core: &Core,
    caller: &Caller,
    id: ConnectionId,
    return_url: &str,
    scopes: Vec<String>,
    require_confirmation: bool,
) -> Result<Begun> {
    let connection = super::connections::find(core, caller, id).await?;
    let revoked = || {
        Error::new(
            ErrorKind::ConnectionRevoked,
            "the connection is revoked for good; request a new one",
        )
    };
    if connection.status == Status::Revoked {
        return Err(revoked());
    }
    let return_url = check_return_url(core, caller, return_url).await?;
    let provider = find_provider(core, caller, &ProviderRef::Id(connection.provider_id)).await?;
    let scopes = if scopes.is_empty() {
        connection.scopes.clone()
    } else {
        scopes
    };
    check_scopes(&scopes)?;
    endpoints::resolve(
        &provider.definition.oauth2,
        &connection.connection_config,
        &core.discovery,
    )
    .await?;
    let event = AuditEvent::new(
        &core.ambient,
        Action::ConnectionReconnectRequested,
        Actor::Caller(caller),
    )
    .about(
        connection.id,
        &connection.user_id,
        &connection.provider_name,
    );
    with_active_key!(
        core,
        connection.workspace_id,
        async {
            let (scopes, return_url) = (scopes.clone(), return_url.clone());
            let (consent, begun) = begin(
                core,
                &provider,
                &connection,
                scopes,
                return_url,
                require_confirmation,
            )
            .await?;
            if core.store.insert_consent(&consent, event.clone()).await? {
                Ok(begun)
            } else {
                Err(revoked())
            }
        }
        .await
    )
}

async fn begin(
    core: &Core,
    provider: &Provider,
    connection: &Connection,
    scopes: Vec<String>,
    return_url: Url,
    require_confirmation: bool,
) -> Result<(Consent, Begun)> {
    let ambient = &core.ambient;
    let client = &provider.definition.oauth2;
    let (state, handle) = (core.state_key.mint(ambient), random_text(ambient));
    let text = |secret: SecretString| secret.expose_secret().to_owned();
    let secrets = ConsentSecrets {
        state: text(state.clone()),
        code_verifier: client.pkce.then(|| text(random_text(ambient))),
        nonce: scopes
            .iter()
            .any(|scope| scope == "openid")
            .then(|| text(random_text(ambient))),
    };
    let now = ambient.now();
    let mut consent = Consent {
        id: ConsentId(ambient.id()),
        state_hash: hash(&state),
        handle_hash: hash(&handle),
        workspace_id: connection.workspace_id,
        connection_id: connection.id,
        provider_id: provider.id,
        secrets: crate::domain::sealed::Sealed(vec![]),
        return_url,
        scopes: scopes.clone(),
        created_at: now,
        expires_at: now + TimeDelta::seconds(CONSENT_LIFETIME),
        spent_at: None,
        require_confirmation,
    };
    let plain = Zeroizing::new(serde_json::to_vec(&secrets).map_err(Error::internal)?);
    consent.secrets = core.vault.seal(&secrets_place(&consent), &plain).await?;
    let begun = Begun {
        connection_id: connection.id,
        auth_url: format!("{}/connect/{}", core.base_url, handle.expose_secret()),
        state,
        scopes,
        provider_id: provider.id,
        expires_at: consent.expires_at,
    };
    metrics::counter!("oauth_consents_created_total", "provider" => provider.name.clone())
        .increment(1);
    Ok((consent, begun))
}

async fn check_return_url(core: &Core, caller: &Caller, text: &str) -> Result<Url> {
    let workspace = core.store.workspace(caller.workspace_id()).await?;
    let allowed = workspace
        .map(|workspace| workspace.allowed_return_urls)
        .unwrap_or_default();
    return_url::check(text, &allowed, &core.return_urls)
        .map_err(|problem| Error::invalid("return_url", problem))
}

async fn find_provider(core: &Core, caller: &Caller, provider: &ProviderRef) -> Result<Provider> {
    let id = match provider {
        ProviderRef::Name(name) => return super::providers::get(core, caller, name).await,
        ProviderRef::Id(id) => *id,
    };
    let found = core.store.provider(caller.workspace_id(), id).await?;
    found.ok_or_else(super::providers::not_found)
}

fn check_scopes(scopes: &[String]) -> Result<()> {
    if scopes.iter().all(|scope| is_scope_token(scope)) {
        Ok(())
    } else {
        Err(Error::invalid(
            "scopes",
            "a scope has no space, quote or backslash (RFC 6749 §3.3)",
        ))
    }
}
