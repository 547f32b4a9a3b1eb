//! One service for everything on a port: gRPC, gRPC-Web, REST, health and
//! metrics.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use axum::{Router, response::IntoResponse, routing::get};
use http::{Request, Response, StatusCode, header};
use prost_reflect::DescriptorPool;
use tonic::body::Body;
use tower::{Service, ServiceBuilder};
use transcode::Transcoder;

use crate::{
    deadline::Deadlines,
    dispatch::{Dispatch, Rest},
    meter::Names,
    rpc::RpcService,
    table::RpcTable,
    telemetry,
};

/// The largest request body, in bytes, on every transport.
pub const MAX_BODY: usize = 1 << 20;

type Ready = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Everything that a port serves, built around one gRPC service.
pub struct GrpcApp<S> {
    name: String,
    inner: S,
    table: RpcTable,
    deadlines: Deadlines,
    max_body: usize,
    ready: Ready,
    transcoder: Option<Transcoder>,
}

impl<S> GrpcApp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    /// An app around `inner`, usually `tonic::service::Routes`. `name` begins
    /// its metrics' names (`gateway`, `broker`). The methods of `services`
    /// (full names in `pool`) may appear in logs and metrics; any other path
    /// counts as unknown.
    pub fn new(name: &str, inner: S, pool: &DescriptorPool, services: &[&str]) -> Self {
        let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
        Self {
            name: name.to_owned(),
            inner,
            table: RpcTable::new(pool, &services),
            deadlines: Deadlines::default(),
            max_body: MAX_BODY,
            ready: Arc::new(|| Box::pin(std::future::ready(true))),
            transcoder: None,
        }
    }

    /// What `/readyz` asks: `true` answers 200, `false` 503.
    pub fn ready<F, R>(mut self, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = bool> + Send + 'static,
    {
        self.ready = Arc::new(move || Box::pin(check()));
        self
    }

    /// Serves REST too; without it, whatever is not gRPC or gRPC-Web is 404.
    pub fn transcoder(mut self, transcoder: Transcoder) -> Self {
        self.transcoder = Some(transcoder);
        self
    }

    /// Other deadlines than [`Deadlines::default`].
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Another limit than [`MAX_BODY`].
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// The app as a router. What it lacks are request ids and the access log:
    /// wrap it in [`crate::observe`], after any layers of one's own.
    pub fn into_router(self) -> Router {
        telemetry::install_metrics();
        let names = Arc::new(Names::new(&self.name));
        let rpc = RpcService::new(
            self.inner,
            self.table.clone(),
            self.deadlines,
            self.max_body,
            names.clone(),
        );
        let rest = self.transcoder.map(|transcoder| {
            let service = ServiceBuilder::new()
                .map_response(|response: Response<Body>| response.map(axum::body::Body::new))
                .service(transcoder.service(rpc.clone()));
            Rest::new(service)
        });
        let dispatch = Dispatch::new(rpc, rest, self.table, self.max_body, names);
        let ready = self.ready;
        let readyz = move || {
            let check = ready();
            async move {
                match check.await {
                    true => (StatusCode::OK, "ready\n"),
                    false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
                }
            }
        };
        let metrics = || async {
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (kind, telemetry::render_metrics()).into_response()
        };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .fallback_service(dispatch)
    }
}
