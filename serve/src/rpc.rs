//! What every RPC gets, whichever way it came in: a deadline, a bounded body,
//! an answer even when its handler panics, and its metrics.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use tokio::time::sleep_until;
use tonic::{Status, body::Body};
use tower::Service;
use tracing::Instrument;

use crate::{
    context::{RequestContext, UNKNOWN},
    deadline::{Deadlines, deadline},
    meter::{Meter, Names},
    rpc_body::RpcBody,
    status,
    table::RpcTable,
    traces,
};

/// Wraps the gRPC service behind all transports.
#[derive(Debug, Clone)]
pub(crate) struct RpcService<S> {
    inner: S,
    table: RpcTable,
    deadlines: Deadlines,
    limit: usize,
    names: Arc<Names>,
    unknown: Arc<str>,
}

impl<S> RpcService<S> {
    pub(crate) fn new(
        inner: S,
        table: RpcTable,
        deadlines: Deadlines,
        limit: usize,
        names: Arc<Names>,
    ) -> Self {
        Self {
            inner,
            table,
            deadlines,
            limit,
            names,
            unknown: Arc::from(UNKNOWN),
        }
    }
}

impl<S> Service<Request<Body>> for RpcService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = request.extensions().get::<RequestContext>().cloned();
        let context = context.unwrap_or_else(|| RequestContext::new(request.headers()));
        let rpc = self.table.get(request.uri().path());
        let label = rpc.map_or_else(|| self.unknown.clone(), |rpc| rpc.path.clone());
        context.set_route(label.clone());
        let deadline = deadline(
            request.headers(),
            rpc.is_some_and(|rpc| rpc.streams),
            self.deadlines,
        );
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let span = traces::rpc_server(&label, &context, request.headers());
        let meter = Meter::start(self.names.clone(), label, context.clone(), span.clone());
        let limit = self.limit;
        // The clone stays behind: the one that is ready is the one to call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            if context.too_large() {
                return Ok(answer(status::too_large(limit), meter));
            }
            let mut timer = deadline.map(|deadline| Box::pin(sleep_until(deadline.0)));
            let call = async { inner.call(request).await }.instrument(span);
            let call = AssertUnwindSafe(call).catch_unwind();
            let outcome = tokio::select! {
                biased;
                outcome = call => outcome,
                () = wait(&mut timer) => return Ok(answer(status::deadline_exceeded(), meter)),
            };
            let Ok(Ok(response)) = outcome else {
                return Ok(answer(status::internal(), meter));
            };
            if context.too_large() {
                return Ok(answer(status::too_large(limit), meter));
            }
            meter.see(response.headers());
            Ok(response.map(|body| Body::new(RpcBody::new(body, timer, meter))))
        })
    }
}

async fn wait(timer: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

fn answer(status: Status, meter: Meter) -> Response<Body> {
    let response = status.into_http::<Body>();
    meter.see(response.headers());
    response
}
