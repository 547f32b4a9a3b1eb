//! What makes a provider's definition sound.

use super::{
    error::FieldViolation,
    provider::{Definition, TokenEndpointAuthMethod},
    url_template,
};

/// Parameters that the handshake itself sets (RFC 6749 §4.1.1, RFC 7636 §4.3,
/// OpenID Connect Core §3.1.2.1), and those that would replace the request as
/// a whole (RFC 9101) or the way its answer comes back.
const RESERVED_AUTHORIZATION_PARAMS: [&str; 11] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

const RESERVED_TOKEN_PARAMS: [&str; 8] = [
    "grant_type",
    "code",
    "redirect_uri",
    "client_id",
    "client_secret",
    "code_verifier",
    "refresh_token",
    "client_assertion",
];

/// Whether a text is a provider's name: `^[a-z0-9][a-z0-9-]{0,62}$`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Everything that is wrong with a definition.
#[must_use]
pub fn violations(
    definition: &Definition,
    has_secret: bool,
    allow_http: bool,
) -> Vec<FieldViolation> {
    let mut found = vec![];
    let mut wrong = |field: &str, description: &str| {
        found.push(FieldViolation {
            field: field.to_owned(),
            description: description.to_owned(),
        });
    };
    let client = &definition.oauth2;
    let urls = [
        ("api_base_url", &definition.api_base_url),
        ("oauth2.issuer", &client.issuer),
        (
            "oauth2.authorization_endpoint",
            &client.authorization_endpoint,
        ),
        ("oauth2.token_endpoint", &client.token_endpoint),
        ("oauth2.revocation_endpoint", &client.revocation_endpoint),
        ("oauth2.userinfo_endpoint", &client.userinfo_endpoint),
        (
            "oauth2.device_authorization_endpoint",
            &client.device_authorization_endpoint,
        ),
    ];
    for (field, url) in urls.into_iter().filter(|(_, url)| !url.is_empty()) {
        if let Err(problem) = url_template::check(url) {
            wrong(field, problem);
        } else if !(url.starts_with("https://") || (allow_http && url.starts_with("http://"))) {
            wrong(field, "must begin with https://");
        }
    }
    if !client.issuer.is_empty() && client.issuer.contains('$') {
        wrong("oauth2.issuer", "must be written out");
    }
    if client.issuer.is_empty() {
        for (field, url) in [
            (
                "oauth2.authorization_endpoint",
                &client.authorization_endpoint,
            ),
            ("oauth2.token_endpoint", &client.token_endpoint),
        ] {
            if url.is_empty() {
                wrong(field, "is required where there is no issuer");
            }
        }
    }
    if client.client_id.is_empty() {
        wrong("oauth2.client_id", "is required");
    }
    match client.token_endpoint_auth_method {
        TokenEndpointAuthMethod::None if has_secret => {
            wrong(
                "oauth2.client_secret",
                "is not used with token_endpoint_auth_method none",
            );
        }
        TokenEndpointAuthMethod::None if !client.pkce => {
            wrong("oauth2.pkce", "a client without a secret needs PKCE");
        }
        TokenEndpointAuthMethod::ClientSecretBasic | TokenEndpointAuthMethod::ClientSecretPost
            if !has_secret =>
        {
            wrong(
                "oauth2.client_secret",
                "is required; or set token_endpoint_auth_method to none",
            );
        }
        _ => {}
    }
    let reserved = [
        (
            "oauth2.authorization_params",
            &client.authorization_params,
            &RESERVED_AUTHORIZATION_PARAMS[..],
        ),
        (
            "oauth2.token_params",
            &client.token_params,
            &RESERVED_TOKEN_PARAMS[..],
        ),
        (
            "oauth2.refresh_params",
            &client.refresh_params,
            &RESERVED_TOKEN_PARAMS[..],
        ),
    ];
    for (field, params, reserved) in reserved {
        for name in params
            .keys()
            .filter(|name| reserved.contains(&name.to_ascii_lowercase().as_str()))
        {
            wrong(&format!("{field}.{name}"), "is set by Dromos itself");
        }
    }
    // What stands in the endpoint's own query would reach the provider as well.
    let query = client.authorization_endpoint.split_once('?');
    for (name, _) in url::form_urlencoded::parse(query.map_or("", |query| query.1).as_bytes()) {
        if RESERVED_AUTHORIZATION_PARAMS.contains(&name.to_ascii_lowercase().as_str()) {
            wrong(
                "oauth2.authorization_endpoint",
                "its query holds a parameter that Dromos itself sets",
            );
        }
    }
    if client.scopes.iter().any(|scope| !is_scope_token(scope)) {
        wrong(
            "oauth2.scopes",
            "holds a scope with a space, a quote or a backslash (RFC 6749 §3.3)",
        );
    }
    found
}

/// Whether a text is a scope-token (RFC 6749 §3.3).
#[must_use]
pub fn is_scope_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'\\')
}
