//! The tower side: a layer, and the service it makes.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use prost_reflect::DescriptorPool;
use tonic::body::Body;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::{
    builder::Builder, config::Config, request, response, status::Failure, stream::Encoding,
    table::Lookup,
};

/// A compiled REST API. Cheap to clone; also a [`tower::Layer`].
#[derive(Clone)]
pub struct Transcoder {
    config: Arc<Config>,
}

impl Transcoder {
    /// Starts from the descriptors of the services and of everything they
    /// refer to, options included.
    pub fn builder(pool: DescriptorPool) -> Builder {
        Builder::new(pool)
    }

    pub(crate) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// Puts the REST API in front of a gRPC service: tonic's `Routes`, an
    /// axum router made of them, a channel to another server, or any other.
    ///
    /// Requests whose content type begins with `application/grpc` reach
    /// `inner` untouched; all others are answered by the REST API.
    pub fn service<S>(&self, inner: S) -> TranscodeService<S> {
        TranscodeService {
            config: self.config.clone(),
            inner,
        }
    }
}

impl fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcoder").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Transcoder {
    type Service = TranscodeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.service(inner)
    }
}

/// A gRPC service with its REST API in front; made by [`Transcoder::service`].
///
/// It never fails: what goes wrong is an HTTP answer.
#[derive(Clone)]
pub struct TranscodeService<S> {
    config: Arc<Config>,
    inner: S,
}

impl<S> fmt::Debug for TranscodeService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscodeService").finish_non_exhaustive()
    }
}

/// What [`TranscodeService`] answers with, later.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

impl<S, B, R> Service<Request<B>> for TranscodeService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    /// Always ready: each call waits for a clone of the inner service.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let inner = self.inner.clone();
        if is_grpc(request.headers()) {
            let request = request.map(Body::new);
            return Box::pin(async move {
                Ok(match dispatch(inner, request).await {
                    Ok(response) => response,
                    Err(failure) => failure.into_grpc(),
                })
            });
        }
        let config = self.config.clone();
        Box::pin(async move {
            let head = request.method() == Method::HEAD;
            let response = answer(&config, inner, request).await;
            Ok(if head {
                headers_only(response)
            } else {
                response
            })
        })
    }
}

async fn answer<S, B, R>(config: &Arc<Config>, inner: S, request: Request<B>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
{
    let (parts, body) = request.into_parts();
    let encoding = Encoding::negotiate(&parts.headers);
    let matched = match config.table.lookup(&parts.method, parts.uri.path()) {
        Lookup::Found { entry, segments } => {
            request::path_values(entry, &segments).map(|values| (entry, values))
        }
        Lookup::MethodNotAllowed(allowed) => Err(Failure::method_not_allowed(&allowed)),
        Lookup::NotFound => Err(Failure::not_found()),
    };
    let (route, values) = match matched {
        Ok(matched) => matched,
        Err(failure) => return failure.into_response(config),
    };
    let request = match request::build(config, route, values, parts, body).await {
        Ok(request) => request,
        Err(failure) => return failure.into_response(config),
    };
    match dispatch(inner, request).await {
        Ok(answer) => response::build(config, route, encoding, answer).await,
        Err(failure) => failure.into_response(config),
    }
}

async fn dispatch<S, R>(inner: S, request: Request<Body>) -> Result<Response<Body>, Failure>
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    match inner.oneshot(request).await {
        Ok(response) => Ok(response.map(Body::new)),
        Err(error) => Err(Failure::transport(
            tonic::Status::from_error(error.into()).code(),
        )),
    }
}

/// gRPC, and gRPC-Web in all its forms.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to HEAD: the headers that GET would give (RFC 9110 section 9.3.2).
fn headers_only(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| Body::empty())
}
