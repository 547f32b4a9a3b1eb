//! A user's browser opens `auth_url`: it gets the consent's cookie and goes on
//! to the provider.

use secrecy::SecretString;
use url::Url;

use super::{Core, connect::ConsentSecrets, connect::secrets_place};
use crate::{
    domain::{
        consent::Consent,
        error::{Error, Result},
        state::{cookie_name, hash},
    },
    grant::{authorization_code::AuthorizationRequest, endpoints},
};
use secrecy::ExposeSecret;

/// Where the browser goes, and what it has to bring back.
pub struct Opened {
    /// The provider's authorization endpoint, with the request.
    pub location: Url,
    /// The cookie's name.
    pub cookie_name: String,
    /// The cookie's value.
    pub cookie: SecretString,
    /// How long the browser keeps it, in seconds.
    pub max_age: i64,
}

/// Opens a consent's page; none where the handle is unknown, spent or expired.
///
/// # Errors
/// As the flows behind it.
pub async fn open(core: &Core, handle: &SecretString) -> Result<Option<Opened>> {
    let now = core.ambient.now();
    let consent = core.store.consent_by_handle(hash(handle)).await?;
    let Some(consent) = consent.filter(|consent| consent.is_open_at(now)) else {
        return Ok(None);
    };
    let connection = core
        .store
        .connection(consent.workspace_id, consent.connection_id)
        .await?;
    let provider = core
        .store
        .provider(consent.workspace_id, consent.provider_id)
        .await?;
    let (Some(connection), Some(provider)) = (connection, provider) else {
        return Ok(None);
    };

    let secrets = open_secrets(core, &consent).await?;
    let client = &provider.definition.oauth2;
    let endpoints =
        endpoints::resolve(client, &connection.connection_config, &core.discovery).await?;
    let secret = |text: &String| SecretString::from(text.clone());
    let location = AuthorizationRequest {
        client,
        authorization_endpoint: endpoints.authorization_endpoint,
        redirect_uri: &provider.redirect_uri(&core.base_url),
        scopes: &consent.scopes,
        state: &secret(&secrets.state),
        nonce: secrets.nonce.as_ref().map(secret).as_ref(),
        code_verifier: secrets.code_verifier.as_ref().map(secret).as_ref(),
    }
    .url();
    Ok(Some(Opened {
        location,
        cookie_name: cookie_name(&consent.state_hash, core.is_https()),
        cookie: core.state_key.cookie(&consent.state_hash),
        max_age: (consent.expires_at - now).num_seconds(),
    }))
}

pub(super) async fn open_secrets(core: &Core, consent: &Consent) -> Result<ConsentSecrets> {
    let plain = core
        .vault
        .open(&secrets_place(consent), &consent.secrets)
        .await?;
    serde_json::from_slice(plain.expose_secret()).map_err(Error::internal)
}
