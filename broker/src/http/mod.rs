//! The public listener: what a user's browser must reach, and nothing else.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::get,
};

use crate::flow::Core;

mod callback;
mod connect;
mod page;

/// The public routes.
pub fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/connect/{handle}", get(connect::open))
        .route("/auth/callback", get(callback::shared))
        .route("/auth/callback/{provider_id}", get(callback::of_provider))
        .fallback(page::not_found)
        .layer(map_response(harden))
        .with_state(core)
}

/// What every answer of this listener says to a browser: keep nothing, frame
/// nothing, load nothing, and tell nobody where you came from.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
