//! The proxy: a public call in, the broker's answer out, byte for byte.
//!
//! Messages are never decoded here, and nothing is decided here but that a
//! key must be there: whether it is valid, and for what, the broker says.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use dromos_serve::{Deadline, status, traces::RpcCall};
use http::{
    HeaderValue, Request, Response, StatusCode, Uri, header::CONTENT_TYPE, uri::PathAndQuery,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body, service::Routes};
use tower::Service;

use crate::{
    broker::{Broker, Failure},
    forward_body::ForwardBody,
    headers, key,
};

/// The public package, and what the broker calls its first service.
const PUBLIC: &str = "/dromos.v1.";
const CONNECTIONS: &str = "/dromos.v1.ConnectionService/";
const BROKER_CONNECTIONS: &str = "/dromos.broker.v1.ConnectionService/";

/// Forwards what has an access rule; leaves the rest (health, reflection, and
/// the refusal of everything else) to `local`.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    targets: Arc<HashMap<String, Target>>,
    service_key: HeaderValue,
    broker: Broker,
    local: Routes,
    closing: CancellationToken,
}

/// Where a public method leads.
#[derive(Debug, Clone)]
struct Target {
    path: PathAndQuery,
    streams: bool,
}

impl Forward {
    /// `rules` are the gRPC paths that have an access rule, each with whether
    /// its answer is a stream. Streams end when `closing` is cancelled.
    pub(crate) fn new<'a>(
        rules: impl IntoIterator<Item = (&'a str, bool)>,
        service_key: HeaderValue,
        broker: Broker,
        local: Routes,
        closing: CancellationToken,
    ) -> Self {
        let targets = rules.into_iter().filter_map(|(path, streams)| {
            let target = Target {
                path: target(path)?,
                streams,
            };
            Some((path.to_owned(), target))
        });
        Self {
            targets: Arc::new(targets.collect()),
            service_key,
            broker,
            local,
            closing,
        }
    }
}

/// The broker's path for a public method; `None` for any other.
fn target(path: &str) -> Option<PathAndQuery> {
    let target = match path.strip_prefix(CONNECTIONS) {
        Some(method) => format!("{BROKER_CONNECTIONS}{method}"),
        None => path.starts_with(PUBLIC).then(|| path.to_owned())?,
    };
    PathAndQuery::try_from(target).ok()
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        let Some(target) = self.targets.get(path).cloned() else {
            if path.starts_with("/grpc.") {
                return Box::pin(self.local.call(request));
            }
            return refuse(status::unimplemented());
        };
        let Some(caller_key) = key::of(request.headers()) else {
            return refuse(status::unauthenticated());
        };
        let deadline = request.extensions().get::<Deadline>().copied();
        let (from, body) = request.into_parts();
        let mut outbound = Request::new(body);
        *outbound.method_mut() = http::Method::POST;
        *outbound.version_mut() = http::Version::HTTP_2;
        *outbound.headers_mut() = headers::request(
            &from.headers,
            self.service_key.clone(),
            caller_key,
            deadline,
        );
        let call = RpcCall::start(
            target.path.path(),
            self.broker.host(),
            outbound.headers_mut(),
        );
        *outbound.uri_mut() = Uri::from(target.path);
        let answer = self.broker.call(outbound);
        let closing = target.streams.then(|| self.closing.clone());
        Box::pin(
            async move { Ok(relay(answer.await, call, closing).unwrap_or_else(Status::into_http)) },
        )
    }
}

fn refuse(
    status: Status,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// The broker's answer as the caller may see it.
fn relay(
    answer: Result<Response<Body>, Status>,
    call: RpcCall,
    closing: Option<CancellationToken>,
) -> Result<Response<Body>, Status> {
    let answer = answer.inspect_err(|status| call.ended(status.code()));
    let (from, body) = answer?.into_parts();
    let content_type = from
        .headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    if from.status != StatusCode::OK || !content_type.starts_with(b"application/grpc") {
        return Err(Failure::Protocol.answer());
    }
    if headers::refuses_service_key(&from.headers) {
        return Err(Failure::ServiceKey.answer());
    }
    call.see(&from.headers);
    let ended = from.headers.contains_key(headers::GRPC_STATUS);
    let body = if ended {
        Body::empty()
    } else {
        Body::new(ForwardBody::new(body, call, closing))
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers::response(&from.headers);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use dromos_proto::{ACCESS, POOL};

    use super::*;

    #[test]
    fn every_public_method_has_a_target_and_nothing_else_has() {
        for service in POOL.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let public = service.full_name().starts_with("dromos.v1.");
                assert_eq!(
                    ACCESS.contains_key(&path) && target(&path).is_some(),
                    public,
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn what_is_called_at_the_broker_exists_there_with_the_same_messages() {
        let find = |path: &str| {
            let (service, method) = path.trim_start_matches('/').split_once('/')?;
            POOL.get_service_by_name(service)?
                .methods()
                .find(|found| found.name() == method)
        };
        for path in ACCESS.keys().filter(|path| path.starts_with(PUBLIC)) {
            let public = find(path).unwrap();
            let at = target(path).unwrap();
            let broker = find(at.path()).unwrap_or_else(|| panic!("{at} does not exist"));
            assert_eq!(public.input(), broker.input(), "{path}");
            assert_eq!(public.output(), broker.output(), "{path}");
        }
    }
}
