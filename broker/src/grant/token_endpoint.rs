//! One token request (RFC 6749 §3.2): sent once, never retried here.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Grant, client_authentication,
    token_answer::{self, TokenAnswer},
    verdict::Evidence,
};
use crate::{
    domain::provider::{OAuth2Client, TokenRequestFormat},
    egress::{Egress, EgressError, EgressRequest},
};

/// Exchanges a grant for tokens.
pub async fn exchange(
    egress: &Egress,
    token_endpoint: Url,
    client: &OAuth2Client,
    client_secret: Option<&SecretString>,
    grant: &dyn Grant,
    timeout: Duration,
) -> TokenAnswer {
    let authentication = client_authentication::of(client, client_secret);
    let mut parameters = vec![("grant_type", SecretString::from(grant.grant_type()))];
    parameters.extend(grant.parameters());
    parameters.extend(authentication.parameters);
    let (content_type, body) = encode(
        client.token_request_format,
        &parameters,
        grant.extra(client),
    );
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        // Some answer a form where nothing asks for JSON.
        (header::ACCEPT, HeaderValue::from_static("application/json")),
    ]);
    if let Some(header) = authentication.header {
        headers.insert(header::AUTHORIZATION, header);
    }
    let request = EgressRequest {
        method: Method::POST,
        url: token_endpoint,
        headers,
        body,
        timeout,
    };
    let failed = |evidence| token_answer::failed(evidence, &HeaderMap::new());
    match egress.send(request).await {
        Ok(answer) => token_answer::read(&answer, client),
        Err(EgressError::Refused(why)) => TokenAnswer::Misconfigured {
            error: "egress_refused".to_owned(),
            detail: Some(why),
        },
        Err(EgressError::NotSent(_)) => failed(Evidence::NotSent),
        Err(EgressError::NoAnswer(_)) => failed(Evidence::NoAnswer),
    }
}

fn encode<'a>(
    format: TokenRequestFormat,
    parameters: &'a [(&'static str, SecretString)],
    extra: &'a std::collections::BTreeMap<String, String>,
) -> (&'static str, Vec<u8>) {
    // What the grant sets can't be overridden by the definition.
    let extra = extra.iter().filter(|(name, _)| {
        parameters
            .iter()
            .all(|parameter| parameter.0 != name.as_str())
    });
    let pairs = parameters
        .iter()
        .map(|(name, value)| (*name, value.expose_secret()))
        .chain(extra.map(|(name, value)| (name.as_str(), value.as_str())));
    match format {
        TokenRequestFormat::Form => {
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish();
            ("application/x-www-form-urlencoded", body.into_bytes())
        }
        TokenRequestFormat::Json => {
            let object: serde_json::Map<String, serde_json::Value> = pairs
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            (
                "application/json",
                serde_json::to_vec(&object).unwrap_or_default(),
            )
        }
    }
}
