//! The outermost layer: request ids, and one log line per request.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::{
    context::{REQUEST_ID, RequestContext, UNKNOWN, code_name},
    problem, traces,
};

/// Gives every request an id and a [`RequestContext`], repeats the id in the
/// answer, and logs one line when the answer has been sent (or given up).
///
/// The line names the gRPC method or the route's template. A path or query as
/// sent is never logged: it may hold a code, a state or a token.
pub fn observe(router: Router) -> Router {
    router
        .route_layer(middleware::from_fn(name_route))
        .layer(ObserveLayer)
}

async fn name_route(request: Request, next: Next) -> Response {
    let template = request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str);
    if let (Some(context), Some(template)) =
        (request.extensions().get::<RequestContext>(), template)
    {
        context.set_route(Arc::from(template));
    }
    let span = template.map_or_else(Span::none, |template| {
        traces::http_server(template, &request)
    });
    let response = next.run(request).instrument(span.clone()).await;
    traces::http_served(&span, response.status());
    response
}

#[derive(Debug, Clone, Copy)]
struct ObserveLayer;

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner }
    }
}

#[derive(Debug, Clone)]
struct Observe<S> {
    inner: S,
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let context = RequestContext::new(request.headers());
        let id = context.id_header().clone();
        request.headers_mut().insert(REQUEST_ID, id.clone());
        request.extensions_mut().insert(context.clone());
        let mut line = LogLine {
            context,
            method: request.method().clone(),
            status: None,
            complete: false,
            started: Instant::now(),
        };
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let answer = async move { inner.call(request).await };
        Box::pin(async move {
            let answered = AssertUnwindSafe(answer).catch_unwind().await;
            let mut response = answered.unwrap_or_else(|_| Ok(problem::internal()))?;
            response.headers_mut().insert(REQUEST_ID, id);
            line.status = Some(response.status());
            line.complete = http_body::Body::is_end_stream(response.body());
            Ok(response.map(|inner| Body::new(LoggedBody { inner, line })))
        })
    }
}

/// Written when it is dropped: after the last byte, or when the caller leaves.
struct LogLine {
    context: RequestContext,
    method: Method,
    status: Option<StatusCode>,
    complete: bool,
    started: Instant,
}

impl Drop for LogLine {
    fn drop(&mut self) {
        tracing::info!(
            target: "dromos::access",
            request_id = self.context.id(),
            transport = self.context.transport().as_str(),
            method = self.method.as_str(),
            route = self.context.route().unwrap_or(UNKNOWN),
            status = self.status.map(|status| status.as_u16()),
            grpc_code = self.context.code().map(code_name),
            complete = self.complete,
            // To the microsecond.
            duration_ms = self.started.elapsed().as_micros() as f64 / 1000.0,
            "request"
        );
    }
}

pin_project! {
    struct LoggedBody {
        #[pin]
        inner: Body,
        line: LogLine,
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let mut inner = this.inner;
        let frame = inner.as_mut().poll_frame(cx);
        let failed = matches!(frame, Poll::Ready(Some(Err(_))));
        this.line.complete =
            !failed && (matches!(frame, Poll::Ready(None)) || inner.is_end_stream());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
