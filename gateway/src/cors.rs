//! Which web pages may call the gateway.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Headers that gRPC-Web and REST clients send.
const REQUEST: [&str; 10] = [
    "authorization",
    "content-type",
    "x-grpc-web",
    "x-user-agent",
    "grpc-timeout",
    "x-request-timeout",
    "x-request-id",
    "traceparent",
    "tracestate",
    "accept",
];

/// Headers that their pages may read.
const RESPONSE: [&str; 4] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-request-id",
];

/// Browsers keep a preflight's answer for at most two hours.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The layer for these exact origins; `None` where there are none, and then
/// no CORS header is ever sent.
pub(crate) fn layer(origins: Vec<HeaderValue>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let exposed = RESPONSE
        .map(HeaderName::from_static)
        .into_iter()
        .chain([header::RETRY_AFTER]);
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(methods)
            .allow_headers(REQUEST.map(HeaderName::from_static))
            .expose_headers(exposed.collect::<Vec<_>>())
            .max_age(MAX_AGE),
    )
}
