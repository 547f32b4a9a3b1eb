//! The endpoints.

pub(crate) mod answer;
mod api;
mod authorize;
mod client;
mod consent_page;
mod discovery;
mod id_token;
mod params;
mod token;
mod token_response;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};

use crate::world::World;

pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(discovery::metadata),
        )
        .route("/jwks", get(discovery::jwks))
        .route("/authorize", get(authorize::authorize))
        .route("/authorize/decision", post(authorize::decision))
        .route("/token", post(token::token))
        .route("/token/refresh", post(token::refresh))
        .route("/revoke", post(token::revoke))
        .route("/userinfo", get(api::userinfo))
        .route("/api/me", get(api::me))
        .route("/api/echo", any(api::echo))
        .with_state(world)
}
