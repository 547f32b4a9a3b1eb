//! Providers: third-party services, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Timestamp,
    id::{ProviderId, WorkspaceId},
    sealed::Sealed,
};

/// A provider as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// The workspace it belongs to.
    pub workspace_id: WorkspaceId,
    /// Its name, unique in the workspace; never changes.
    pub name: String,
    /// Everything that is not secret.
    pub definition: Definition,
    /// The client secret, sealed under `secret_generation`.
    pub client_secret: Option<Sealed>,
    /// Rises with every change of the client secret.
    pub secret_generation: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A provider's definition, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name for people.
    pub display_name: String,
    /// What kind of service it is.
    pub category: String,
    /// What it is.
    pub description: String,
    /// Where its API is.
    pub api_base_url: String,
    /// How consent is obtained.
    pub oauth2: OAuth2Client,
    /// How its credentials are applied.
    pub strategy: StrategySpec,
    /// Whether the shared redirect URI is used.
    pub shared_redirect_uri: bool,
}

/// How credentials are applied to a request, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategySpec {
    /// The strategy's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its settings.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// How a client authenticates at the token endpoint (RFC 8414 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    /// RFC 6749 §2.3.1, in the Authorization header.
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    ClientSecretPost,
    /// A public client.
    None,
}

/// The grant that obtains consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// RFC 6749 §4.1.
    AuthorizationCode,
}

/// How token requests are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRequestFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 §3.2 says.
    Form,
    /// `application/json`.
    Json,
}

/// The unit of `expires_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresInUnit {
    /// As RFC 6749 §5.1 says.
    Seconds,
    /// A quirk.
    Milliseconds,
}

/// A client registration at an authorization server. URLs are texts because
/// they may hold `${connection_config.…}`; empty means that discovery fills
/// them in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth2Client {
    /// The issuer identifier; empty where the provider has none.
    pub issuer: String,
    /// RFC 6749 §3.1.
    pub authorization_endpoint: String,
    /// RFC 6749 §3.2.
    pub token_endpoint: String,
    /// RFC 7009.
    pub revocation_endpoint: String,
    /// OpenID Connect Core §5.3.
    pub userinfo_endpoint: String,
    /// RFC 8628.
    pub device_authorization_endpoint: String,
    /// RFC 6749 §2.2.
    pub client_id: String,
    /// How the client authenticates.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// The grant.
    pub grant_type: GrantType,
    /// The default scopes.
    pub scopes: Vec<String>,
    /// What stands between scopes.
    pub scope_separator: String,
    /// Whether PKCE (RFC 7636) is used.
    pub pkce: bool,
    /// Added to the authorization request.
    pub authorization_params: BTreeMap<String, String>,
    /// Added to the code's exchange.
    pub token_params: BTreeMap<String, String>,
    /// Added to the refresh.
    pub refresh_params: BTreeMap<String, String>,
    /// How token requests are encoded.
    pub token_request_format: TokenRequestFormat,
    /// The unit of `expires_in`.
    pub expires_in_unit: ExpiresInUnit,
    /// The lifetime in seconds where the answer names none; 0: no expiry.
    pub default_expires_in: u32,
    /// Refresh this many seconds before expiry.
    pub refresh_margin: u32,
    /// For so many seconds the provider still takes a refresh token that a
    /// newer one replaced; 0: not known to.
    #[serde(default)]
    pub refresh_reuse_interval: u32,
    /// Whether a refresh may replace the refresh token (RFC 9700 §4.14.2).
    #[serde(default = "rotates")]
    pub refresh_token_rotation: bool,
}

const fn rotates() -> bool {
    true
}

impl OAuth2Client {
    /// The margin where the definition names none, in seconds.
    pub const DEFAULT_REFRESH_MARGIN: u32 = 300;

    /// The URLs that receive the client secret or refresh tokens, directly or
    /// by discovery: a change of one's origin needs the secret again.
    #[must_use]
    pub fn secret_receivers(&self) -> [&str; 3] {
        [
            &self.issuer,
            &self.token_endpoint,
            &self.revocation_endpoint,
        ]
    }
}

impl Provider {
    /// Where the provider sends the browser back to (RFC 6749 §3.1.2). Each
    /// provider has a path of its own, so that an answer can't be passed off as
    /// another authorization server's (RFC 9700 §4.4).
    #[must_use]
    pub fn redirect_uri(&self, base_url: &str) -> String {
        let base = base_url.trim_end_matches('/');
        if self.definition.shared_redirect_uri {
            format!("{base}/auth/callback")
        } else {
            format!("{base}/auth/callback/{}", self.id)
        }
    }
}
