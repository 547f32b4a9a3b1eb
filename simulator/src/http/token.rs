//! The token endpoint (RFC 6749 §3.2) and the revocation endpoint (RFC 7009).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use bytes::Bytes;

use super::answer::{self, OAuthError};
use super::client;
use super::params::{Params, scopes};
use super::token_response::token_response;
use crate::ledger::{Issued, Refusal};
use crate::world::World;
use crate::{Behaviour, RequestFormat};

/// Which address the request came to, where refreshes have their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Token,
    Refresh,
}

pub(crate) async fn token(
    state: State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    respond(&state.0, Address::Token, &headers, &body)
}

pub(crate) async fn refresh(
    state: State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    respond(&state.0, Address::Refresh, &headers, &body)
}

pub(crate) async fn revoke(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let behaviour = world.behaviour();
    if !behaviour.revocation {
        return answer::outage(404, None);
    }
    let revoked = Params::from_body(RequestFormat::Form, &headers, &body).and_then(|params| {
        client::authenticate(&world, behaviour.client_auth, &headers, &params)?;
        world.ledger().revoke(params.require("token")?);
        Ok(())
    });
    match revoked {
        // An unknown token is as good as revoked (RFC 7009 §2.2).
        Ok(()) => answer::no_store(Response::new(Body::empty())),
        Err(error) => error.into_response(false),
    }
}

fn respond(world: &World, address: Address, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let behaviour = world.behaviour();
    match answer_tokens(world, &behaviour, address, headers, body) {
        Ok(response) => response,
        Err(error) => error.into_response(behaviour.error_with_200),
    }
}

fn answer_tokens(
    world: &World,
    behaviour: &Behaviour,
    address: Address,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Body>, OAuthError> {
    if address == Address::Refresh && !behaviour.separate_refresh_endpoint {
        return Err(OAuthError {
            status: StatusCode::NOT_FOUND,
            ..OAuthError::new("invalid_request", "refreshes go to the token endpoint")
        });
    }
    let params = Params::from_body(behaviour.token_request_format, headers, body)?;
    client::authenticate(world, behaviour.client_auth, headers, &params)?;
    insist_on_headers(behaviour, headers)?;
    let now = world.clock.now();
    let grant_type = params.require("grant_type")?;
    let refreshes_elsewhere = behaviour.separate_refresh_endpoint && address == Address::Token;
    let (issued, nonce): (Issued, Option<String>) = match (grant_type, address) {
        ("authorization_code", Address::Token) => {
            params.insist(&behaviour.required_token_params)?;
            let (code, redirect_uri) = (params.require("code")?, params.get("redirect_uri"));
            let redeemed = world.ledger().redeem(
                code,
                redirect_uri,
                params.get("code_verifier"),
                behaviour,
                now,
            );
            let issued = redeemed.map_err(refused)?;
            let nonce = issued.grant.nonce.clone();
            (issued, nonce)
        }
        ("refresh_token", _) if !refreshes_elsewhere => {
            params.insist(&behaviour.required_refresh_params)?;
            let scope = params
                .get("scope")
                .map(|scope| scopes(scope, &behaviour.scope_separator));
            let refreshed =
                world
                    .ledger()
                    .refresh(params.require("refresh_token")?, scope, behaviour, now);
            (refreshed.map_err(refused)?, None)
        }
        ("client_credentials", Address::Token) if behaviour.client_credentials => {
            params.insist(&behaviour.required_token_params)?;
            let scope = scopes(
                params.get("scope").unwrap_or_default(),
                &behaviour.scope_separator,
            );
            (
                world
                    .ledger()
                    .grant_to_client(&world.client_id, scope, behaviour, now),
                None,
            )
        }
        _ => {
            return Err(OAuthError::new(
                "unsupported_grant_type",
                "this grant type is not offered here",
            ));
        }
    };
    Ok(token_response(world, behaviour, &issued, nonce.as_deref()))
}

fn insist_on_headers(behaviour: &Behaviour, headers: &HeaderMap) -> Result<(), OAuthError> {
    let holds = |(name, value): (&String, &String)| {
        headers.get(name).is_some_and(|sent| sent == value.as_str())
    };
    match behaviour
        .required_token_headers
        .iter()
        .find(|header| !holds(*header))
    {
        Some((name, value)) => Err(OAuthError::new(
            "invalid_request",
            format!("the header {name} must be {value}"),
        )),
        None => Ok(()),
    }
}

fn refused(refusal: Refusal) -> OAuthError {
    match refusal {
        Refusal::Grant(description) => OAuthError::new("invalid_grant", description),
        Refusal::Scope(description) => OAuthError::new("invalid_scope", description),
    }
}
