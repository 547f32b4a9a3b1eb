//! The authorization endpoint (RFC 6749 §4.1.1).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use url::Url;

use super::answer::{self, OAuthError};
use super::consent_page;
use super::params::{Params, scopes};
use crate::Behaviour;
use crate::ledger::AuthorizationRequest;
use crate::world::World;

pub(crate) async fn authorize(
    State(world): State<Arc<World>>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let behaviour = world.behaviour();
    let params = match Params::from_form(query.unwrap_or_default().as_bytes()) {
        Ok(params) => params,
        Err(error) => return refuse_page(&error.description),
    };
    // Until client and redirect URI are known to belong together, the user must not be sent anywhere (RFC 6749 §4.1.2.1).
    if params.get("client_id") != Some(world.client_id.as_str()) {
        return refuse_page("The client is unknown.");
    }
    let Some(redirect_uri) = params
        .get("redirect_uri")
        .filter(|uri| world.allows_redirect_uri(uri))
    else {
        return refuse_page("The redirect URI is not registered for this client.");
    };
    match validate(&params, redirect_uri, &behaviour) {
        Err(error) => redirect(
            &world,
            &behaviour,
            redirect_uri,
            params.get("state"),
            Err(error),
        ),
        Ok(request) if behaviour.auto_approve => approve(&world, &behaviour, request),
        Ok(request) if params.get("prompt") == Some("none") => {
            let error = OAuthError::new("consent_required", "the user has not decided yet");
            redirect(
                &world,
                &behaviour,
                &request.redirect_uri,
                request.state.as_deref(),
                Err(error),
            )
        }
        Ok(request) => {
            let scope = request.scope.clone();
            let handle = world.ledger().await_decision(request);
            let page = consent_page::consent(&world.client_id, &behaviour.subject, &scope, &handle);
            answer::html(StatusCode::OK, page)
        }
    }
}

pub(crate) async fn decision(State(world): State<Arc<World>>, body: Bytes) -> Response<Body> {
    let behaviour = world.behaviour();
    let params = match Params::from_form(&body) {
        Ok(params) => params,
        Err(error) => return refuse_page(&error.description),
    };
    let approved = match params.get("decision") {
        Some("approve") => true,
        Some("deny") => false,
        _ => return refuse_page("Neither approved nor denied."),
    };
    let request = params
        .get("request")
        .and_then(|handle| world.ledger().decide(handle));
    let Some(request) = request else {
        return refuse_page("This request was decided before.");
    };
    if approved {
        return approve(&world, &behaviour, request);
    }
    let error = OAuthError::new("access_denied", "the user denied the request");
    redirect(
        &world,
        &behaviour,
        &request.redirect_uri,
        request.state.as_deref(),
        Err(error),
    )
}

fn validate(
    params: &Params,
    redirect_uri: &str,
    behaviour: &Behaviour,
) -> Result<AuthorizationRequest, OAuthError> {
    let invalid = |description: &str| OAuthError::new("invalid_request", description);
    if params.require("response_type")? != "code" {
        return Err(OAuthError::new(
            "unsupported_response_type",
            "response_type must be code",
        ));
    }
    params.insist(&behaviour.required_authorization_params)?;
    let code_challenge = params.get("code_challenge");
    match (code_challenge, params.get("code_challenge_method")) {
        (Some(_), _) if behaviour.refuse_pkce => {
            return Err(invalid("code_challenge is not supported"));
        }
        // Without a method the challenge would be plain (RFC 7636 §4.3), which is no protection.
        (Some(_), Some("S256")) => {}
        (Some(_), _) => return Err(invalid("code_challenge_method must be S256")),
        (None, _) if behaviour.require_pkce && !behaviour.refuse_pkce => {
            return Err(invalid("code_challenge is required"));
        }
        (None, _) => {}
    }
    let scope = scopes(
        params.get("scope").unwrap_or_default(),
        &behaviour.scope_separator,
    );
    if !behaviour.scopes.is_empty() && scope.iter().any(|scope| !behaviour.scopes.contains(scope)) {
        return Err(OAuthError::new("invalid_scope", "a scope is unknown"));
    }
    Ok(AuthorizationRequest {
        redirect_uri: redirect_uri.to_owned(),
        state: params.get("state").map(str::to_owned),
        scope,
        nonce: params.get("nonce").map(str::to_owned),
        code_challenge: code_challenge.map(str::to_owned),
    })
}

fn approve(world: &World, behaviour: &Behaviour, request: AuthorizationRequest) -> Response<Body> {
    let (redirect_uri, state) = (request.redirect_uri.clone(), request.state.clone());
    let code = world
        .ledger()
        .approve(request, &behaviour.subject, world.clock.now());
    redirect(world, behaviour, &redirect_uri, state.as_deref(), Ok(code))
}

/// The authorization response (RFC 6749 §4.1.2), with `iss` where it is announced (RFC 9207 §2).
fn redirect(
    world: &World,
    behaviour: &Behaviour,
    redirect_uri: &str,
    state: Option<&str>,
    outcome: Result<String, OAuthError>,
) -> Response<Body> {
    let Ok(mut location) = Url::parse(redirect_uri) else {
        return refuse_page("The redirect URI is not a URL.");
    };
    {
        let mut query = location.query_pairs_mut();
        match &outcome {
            Ok(code) => {
                query.append_pair("code", code);
                query.extend_pairs(&behaviour.extra_callback_params);
            }
            Err(error) => {
                query
                    .append_pair("error", error.error)
                    .append_pair("error_description", &error.description);
            }
        }
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        if behaviour.announce_iss {
            let iss = behaviour
                .authorization_response_iss
                .as_ref()
                .unwrap_or(&world.issuer);
            query.append_pair("iss", iss);
        }
    }
    answer::see_other(location.as_str())
}

fn refuse_page(reason: &str) -> Response<Body> {
    answer::html(StatusCode::BAD_REQUEST, consent_page::refusal(reason))
}
