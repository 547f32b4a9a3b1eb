//! Metadata (OpenID Connect Discovery 1.0 §3, RFC 8414) and keys.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::answer;
use crate::ClientAuth;
use crate::world::World;

pub(crate) async fn metadata(State(world): State<Arc<World>>) -> Response<Body> {
    let behaviour = world.behaviour();
    let at = |path: &str| format!("{}{path}", world.issuer);
    let auth_methods: &[&str] = match behaviour.client_auth {
        ClientAuth::Any => &["client_secret_basic", "client_secret_post"],
        ClientAuth::Basic => &["client_secret_basic"],
        ClientAuth::Post => &["client_secret_post"],
        ClientAuth::None => &["none"],
    };
    let mut grant_types = vec!["authorization_code", "refresh_token"];
    if behaviour.client_credentials {
        grant_types.push("client_credentials");
    }
    let mut metadata = json!({
        "issuer": behaviour.discovery_issuer.as_ref().unwrap_or(&world.issuer),
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grant_types,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": auth_methods,
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "nonce"],
    });
    if behaviour.scopes.is_empty() {
        metadata["scopes_supported"] = json!(["openid", "profile", "email", "offline_access"]);
    } else {
        metadata["scopes_supported"] = json!(behaviour.scopes);
    }
    if !behaviour.refuse_pkce {
        metadata["code_challenge_methods_supported"] = json!(["S256"]);
    }
    if behaviour.announce_iss {
        metadata["authorization_response_iss_parameter_supported"] = json!(true);
    }
    if behaviour.revocation {
        metadata["revocation_endpoint"] = json!(at("/revoke"));
        metadata["revocation_endpoint_auth_methods_supported"] = json!(auth_methods);
    }
    answer::json(StatusCode::OK, &metadata)
}

pub(crate) async fn jwks(State(world): State<Arc<World>>) -> Response<Body> {
    let jwks = world.keys().jwks();
    answer::json(StatusCode::OK, &jwks)
}
