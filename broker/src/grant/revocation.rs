//! Telling a provider that a token is revoked (RFC 7009).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::client_authentication;
use crate::{
    domain::provider::OAuth2Client,
    egress::{Egress, EgressError, EgressRequest},
};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// The token is revoked, or was unknown (§2.2).
    Revoked,
    /// The provider does not take it, now or later.
    Rejected,
    /// Later may be better.
    Unavailable,
}

/// Revokes a token.
pub async fn revoke(
    egress: &Egress,
    revocation_endpoint: Url,
    client: &OAuth2Client,
    client_secret: Option<&SecretString>,
    token: &SecretString,
) -> RevocationOutcome {
    let authentication = client_authentication::of(client, client_secret);
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("token", token.expose_secret())
        .extend_pairs(
            authentication
                .parameters
                .iter()
                .map(|(name, value)| (*name, value.expose_secret())),
        )
        .finish()
        .into_bytes();
    let mut headers = HeaderMap::from_iter([(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    )]);
    if let Some(header) = authentication.header {
        headers.insert(header::AUTHORIZATION, header);
    }
    let request = EgressRequest {
        method: Method::POST,
        url: revocation_endpoint,
        headers,
        body,
        timeout: Duration::from_secs(10),
    };
    match egress.send(request).await {
        Ok(answer) if answer.status.is_success() => RevocationOutcome::Revoked,
        Ok(answer) if answer.status.is_server_error() || answer.status.as_u16() == 429 => {
            RevocationOutcome::Unavailable
        }
        Ok(_) | Err(EgressError::Refused(_)) => RevocationOutcome::Rejected,
        Err(EgressError::NotSent(_) | EgressError::NoAnswer(_)) => RevocationOutcome::Unavailable,
    }
}
