//! The protected API, and the userinfo endpoint (OpenID Connect Core 1.0 §5.3).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer;
use super::client::basic_credentials;
use crate::config::{API_KEY, API_USER};
use crate::ledger::Access;
use crate::world::World;

pub(crate) async fn userinfo(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
) -> Response<Body> {
    match access(&world, &headers) {
        Ok(access) => {
            let mut claims = world.behaviour().claims;
            claims.insert("sub".to_owned(), json!(access.subject));
            answer::no_store(answer::json(StatusCode::OK, &Value::Object(claims)))
        }
        Err(refusal) => *refusal,
    }
}

pub(crate) async fn me(State(world): State<Arc<World>>, headers: HeaderMap) -> Response<Body> {
    match access(&world, &headers) {
        Ok(Access {
            subject,
            scope,
            generation,
        }) => {
            let body =
                json!({ "sub": subject, "scope": scope.join(" "), "token_generation": generation });
            answer::json(StatusCode::OK, &body)
        }
        Err(refusal) => *refusal,
    }
}

/// Tells the request back, credentials included: how they were applied is what a caller wants to see.
pub(crate) async fn echo(
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if !knows_api_key(&uri, &headers)
        && let Err(refusal) = access(&world, &headers)
    {
        return *refusal;
    }
    // A header that is repeated stays visible as such, hence pairs and not an object.
    let headers: Vec<Value> = headers
        .iter()
        .map(|(name, value)| json!({ "name": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes()) }))
        .collect();
    let told = json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    answer::json(StatusCode::OK, &told)
}

/// What the bearer token stands for (RFC 6750 §2.1), or the refusal.
fn access(world: &World, headers: &HeaderMap) -> Result<Access, Box<Response<Body>>> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let token = token.ok_or_else(|| Box::new(answer::bearer_challenge(false)))?;
    world
        .ledger()
        .access(token, world.clock.now())
        .ok_or_else(|| Box::new(answer::bearer_challenge(true)))
}

fn knows_api_key(uri: &Uri, headers: &HeaderMap) -> bool {
    let in_header = headers.get("x-api-key").is_some_and(|key| key == API_KEY);
    let query = uri.query().unwrap_or_default();
    let in_query = form_urlencoded::parse(query.as_bytes())
        .any(|(name, key)| name == "api_key" && key == API_KEY);
    let as_password = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(basic_credentials)
        .is_some_and(|(user, password)| user == API_USER && password == API_KEY);
    in_header || in_query || as_password
}
