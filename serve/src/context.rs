//! What is known of one request while it is served: its id, and what its log
//! line will say.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI32, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Code;
use uuid::Uuid;

/// The header that carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The label of whatever is not a method or a route that is served here.
pub const UNKNOWN: &str = "unknown";

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// JSON, transcoded.
    Rest,
    /// Anything else: pages, health, metrics.
    Http,
}

impl Transport {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc_web",
            Self::Rest => "rest",
            Self::Http => "http",
        }
    }
}

/// One request. Every layer finds the same one in the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: HeaderValue,
    transport: OnceLock<Transport>,
    route: OnceLock<Arc<str>>,
    /// Negative: none yet.
    code: AtomicI32,
    too_large: AtomicBool,
    too_slow: AtomicBool,
}

impl RequestContext {
    /// A context whose id is the request's own `x-request-id` where that is
    /// safe to repeat in logs and headers, else a new UUIDv7.
    pub fn new(headers: &HeaderMap) -> Self {
        let given = headers
            .get(REQUEST_ID)
            .filter(|id| is_safe_id(id.as_bytes()))
            .cloned();
        let id = given.unwrap_or_else(new_id);
        Self(Arc::new(Inner {
            id,
            transport: OnceLock::new(),
            route: OnceLock::new(),
            code: AtomicI32::new(-1),
            too_large: AtomicBool::new(false),
            too_slow: AtomicBool::new(false),
        }))
    }

    /// The request's id: 1 to 128 characters, all visible ASCII.
    pub fn id(&self) -> &str {
        self.0.id.to_str().unwrap_or_default()
    }

    pub(crate) fn id_header(&self) -> &HeaderValue {
        &self.0.id
    }

    /// How the request came in.
    pub fn transport(&self) -> Transport {
        self.0.transport.get().copied().unwrap_or(Transport::Http)
    }

    pub(crate) fn set_transport(&self, transport: Transport) {
        // Whoever saw the request first knows how it came in.
        let _ = self.0.transport.set(transport);
    }

    /// The method's gRPC path or the route's template; never the path as sent.
    pub fn route(&self) -> Option<&str> {
        self.0.route.get().map(AsRef::as_ref)
    }

    pub(crate) fn set_route(&self, route: Arc<str>) {
        let _ = self.0.route.set(route);
    }

    /// The gRPC code it was answered with, once it was.
    pub fn code(&self) -> Option<Code> {
        let code = self.0.code.load(Ordering::Relaxed);
        (code >= 0).then(|| Code::from_i32(code))
    }

    pub(crate) fn set_code(&self, code: Code) {
        self.0.code.store(code as i32, Ordering::Relaxed);
    }

    pub(crate) fn set_too_large(&self) {
        self.0.too_large.store(true, Ordering::Relaxed);
    }

    pub(crate) fn too_large(&self) -> bool {
        self.0.too_large.load(Ordering::Relaxed)
    }

    pub(crate) fn set_too_slow(&self) {
        self.0.too_slow.store(true, Ordering::Relaxed);
    }

    pub(crate) fn too_slow(&self) -> bool {
        self.0.too_slow.load(Ordering::Relaxed)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a request's id only joins log lines; nothing is decided by it"
)]
fn new_id() -> HeaderValue {
    HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is visible ASCII")
}

fn is_safe_id(id: &[u8]) -> bool {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(safe)
}

/// A gRPC code's name as the specification spells it (`NOT_FOUND`).
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static(given));
        RequestContext::new(&headers).id().to_owned()
    }

    #[test]
    fn a_safe_request_id_is_taken_over() {
        assert_eq!(id_for("0af7-trace_1.2"), "0af7-trace_1.2");
    }

    #[test]
    fn any_other_request_id_is_replaced_by_a_uuid() {
        for given in ["", "two words", "\"quoted\"", "<b>"] {
            let id = id_for(given);
            assert_eq!(
                Uuid::parse_str(&id).unwrap().get_version_num(),
                7,
                "{given}"
            );
        }
        let long: &'static str = "a".repeat(129).leak();
        assert_ne!(id_for(long), long);
    }
}
