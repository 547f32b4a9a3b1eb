//! What passes the gateway, by name. Everything else stays on its side.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use dromos_serve::{Deadline, GRPC_TIMEOUT, REQUEST_ID, format_timeout};

/// The caller's own key, on the way to the broker.
pub(crate) const CALLER_KEY: HeaderName = HeaderName::from_static("x-dromos-key");
/// The broker's mark on an answer that refuses the gateway, not the caller.
pub(crate) const REFUSED: HeaderName = HeaderName::from_static("x-dromos-refused");

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// From the caller to the broker, as they came.
const REQUEST: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::USER_AGENT,
    REQUEST_ID,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    GRPC_ENCODING,
    GRPC_ACCEPT_ENCODING,
];

/// From the broker to the caller, before the messages.
const RESPONSE: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    GRPC_ENCODING,
    GRPC_STATUS,
    GRPC_MESSAGE,
    GRPC_DETAILS,
];

/// From the broker to the caller, after the messages.
const TRAILERS: [HeaderName; 3] = [GRPC_STATUS, GRPC_MESSAGE, GRPC_DETAILS];

fn keep(from: &HeaderMap, names: &[HeaderName], to: &mut HeaderMap) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

/// The headers of the call to the broker.
pub(crate) fn request(
    from: &HeaderMap,
    service_key: HeaderValue,
    caller_key: HeaderValue,
    deadline: Option<Deadline>,
) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(REQUEST.len() + 4);
    keep(from, &REQUEST, &mut to);
    to.insert(header::TE, HeaderValue::from_static("trailers"));
    to.insert(header::AUTHORIZATION, service_key);
    to.insert(CALLER_KEY, caller_key);
    if let Some(deadline) = deadline {
        to.insert(GRPC_TIMEOUT, format_timeout(deadline.remaining()));
    }
    to
}

/// The headers of the answer to the caller.
pub(crate) fn response(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(RESPONSE.len() + 1);
    keep(from, &RESPONSE, &mut to);
    to
}

/// The trailers of the answer to the caller.
pub(crate) fn trailers(from: &HeaderMap) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(TRAILERS.len());
    keep(from, &TRAILERS, &mut to);
    to
}

/// Whether the broker refused the gateway's own service key.
pub(crate) fn refuses_service_key(headers: &HeaderMap) -> bool {
    headers
        .get(REFUSED)
        .is_some_and(|value| value == "service-key")
}
