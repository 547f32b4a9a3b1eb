use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything a simulated provider can be told to do. The default is a strict, modern provider.
///
/// It is data: a provider definition can declare its quirks in YAML or JSON, and a misspelt quirk is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// A refresh answers with a new refresh token and spends the old one (RFC 9700 §4.14.2).
    pub rotate_refresh_tokens: bool,
    /// A spent refresh token that comes again ends the whole grant.
    pub revoke_family_on_reuse: bool,
    /// Seconds during which a spent refresh token is still accepted, as if the first answer had been lost.
    pub refresh_reuse_interval: u64,
    /// The code exchange answers with a refresh token.
    pub issue_refresh_token: bool,
    /// A refresh answers without `refresh_token`: the old one stays valid. Wins over `rotate_refresh_tokens`.
    pub omit_refresh_token_on_refresh: bool,
    /// Seconds a refresh token lives; absent means until it is spent or revoked.
    pub refresh_token_expires_in: Option<u64>,
    /// How long access tokens live, and how the answer says so.
    pub expires_in: ExpiresIn,
    /// Token errors are answered with status 200 and an `error` body.
    pub error_with_200: bool,
    /// Authorization requests without `code_challenge` are refused (RFC 7636 §4.4.1).
    pub require_pkce: bool,
    /// Authorization requests with `code_challenge` are refused, as by providers that know no PKCE.
    pub refuse_pkce: bool,
    /// The body that the token endpoint reads.
    pub token_request_format: RequestFormat,
    /// How the client must authenticate at the token and revocation endpoints.
    pub client_auth: ClientAuth,
    /// Refreshes go to `/token/refresh`, and `/token` refuses them.
    pub separate_refresh_endpoint: bool,
    /// The `client_credentials` grant is offered (RFC 6749 §4.4).
    pub client_credentials: bool,
    /// An id_token is issued when the scope `openid` was granted.
    pub issue_id_token: bool,
    /// What is wrong with issued id_tokens.
    pub id_token_fault: IdTokenFault,
    /// Authorization responses carry `iss`, and the metadata says so (RFC 9207).
    pub announce_iss: bool,
    /// Sent as `iss` in authorization responses in place of the real issuer: one half of a mix-up.
    pub authorization_response_iss: Option<String>,
    /// Claimed as `issuer` by the discovery document in place of the real issuer: the other half.
    pub discovery_issuer: Option<String>,
    /// The user who approves, as `sub`.
    pub subject: String,
    /// Further claims about the user, in id_tokens and at the userinfo endpoint.
    pub claims: Map<String, Value>,
    /// Fields added to token answers.
    pub extra_token_fields: Map<String, Value>,
    /// Parameters added to authorization responses, such as a realm id.
    pub extra_callback_params: BTreeMap<String, String>,
    /// Where a field of the token answer is placed, by JSON pointer (RFC 6901): `access_token: /data/token`.
    pub token_response_pointers: BTreeMap<String, String>,
    /// `token_type` of token answers.
    pub token_type: String,
    /// What stands between scopes, in requests and in answers.
    pub scope_separator: String,
    /// The scopes that exist. Empty: any scope exists.
    pub scopes: Vec<String>,
    /// Parameters, with their values, that every authorization request must have.
    pub required_authorization_params: BTreeMap<String, String>,
    /// Parameters, with their values, that every code exchange must have.
    pub required_token_params: BTreeMap<String, String>,
    /// Parameters, with their values, that every refresh must have.
    pub required_refresh_params: BTreeMap<String, String>,
    /// Headers, with their values, that every token request must have.
    pub required_token_headers: BTreeMap<String, String>,
    /// Tokens can be revoked (RFC 7009); else there is no such endpoint.
    pub revocation: bool,
    /// Consent is given at once, without a page.
    pub auto_approve: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            rotate_refresh_tokens: true,
            revoke_family_on_reuse: true,
            refresh_reuse_interval: 0,
            issue_refresh_token: true,
            omit_refresh_token_on_refresh: false,
            refresh_token_expires_in: None,
            expires_in: ExpiresIn::default(),
            error_with_200: false,
            require_pkce: true,
            refuse_pkce: false,
            token_request_format: RequestFormat::Form,
            client_auth: ClientAuth::Any,
            separate_refresh_endpoint: false,
            client_credentials: false,
            issue_id_token: true,
            id_token_fault: IdTokenFault::None,
            announce_iss: true,
            authorization_response_iss: None,
            discovery_issuer: None,
            subject: "ada".to_owned(),
            claims: Map::new(),
            extra_token_fields: Map::new(),
            extra_callback_params: BTreeMap::new(),
            token_response_pointers: BTreeMap::new(),
            token_type: "Bearer".to_owned(),
            scope_separator: " ".to_owned(),
            scopes: Vec::new(),
            required_authorization_params: BTreeMap::new(),
            required_token_params: BTreeMap::new(),
            required_refresh_params: BTreeMap::new(),
            required_token_headers: BTreeMap::new(),
            revocation: true,
            auto_approve: false,
        }
    }
}

/// The life of an access token and how the token answer states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpiresIn {
    /// Seconds an access token is accepted, whatever the answer states.
    pub seconds: u64,
    /// How the answer states it.
    pub format: ExpiresFormat,
}

impl Default for ExpiresIn {
    fn default() -> Self {
        Self {
            seconds: 3600,
            format: ExpiresFormat::Number,
        }
    }
}

/// Forms in which providers write the expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresFormat {
    /// `expires_in`: seconds, a number (RFC 6749 §5.1).
    #[default]
    Number,
    /// `expires_in`: seconds, in a string.
    String,
    /// `expires_in`: milliseconds, a number.
    Milliseconds,
    /// `expires_at`: the moment, RFC 3339.
    Date,
    /// Nothing is said.
    Absent,
}

/// Bodies a token endpoint may want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestFormat {
    /// `application/x-www-form-urlencoded` (RFC 6749 §4.1.3).
    #[default]
    Form,
    /// `application/json`: one flat object.
    Json,
}

/// Client authentication methods (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_secret_basic` or `client_secret_post`.
    #[default]
    Any,
    /// `client_secret_basic` only.
    Basic,
    /// `client_secret_post` only.
    Post,
    /// A public client: `client_id` in the body, and no secret.
    None,
}

/// Ways in which an id_token can be wrong; a client must refuse each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdTokenFault {
    /// Nothing is wrong.
    #[default]
    None,
    /// `iss` names another issuer.
    WrongIssuer,
    /// `aud` names another client.
    WrongAudience,
    /// `nonce` is not the one that was sent.
    WrongNonce,
    /// `exp` is an hour past.
    Expired,
    /// Signed by a key that the JWKS does not hold, under the `kid` of one that it does.
    UnknownKey,
    /// `alg` is `none` and the signature empty.
    AlgNone,
}
