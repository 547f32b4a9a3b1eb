//! Which transport a request speaks, by its content type.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, response::Response};
use http::{
    HeaderValue, Method, StatusCode, Version,
    header::{ACCEPT, CONTENT_TYPE},
};
use tonic::Code;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service, util::BoxCloneSyncService};

use crate::{
    context::{RequestContext, Transport},
    limit::{LimitedBody, declares_more_than},
    meter::Names,
    problem,
    rpc::RpcService,
    table::RpcTable,
};

/// The REST service: a transcoder in front of the RPCs.
pub(crate) type Rest = BoxCloneSyncService<Request, Response, Infallible>;

/// Bytes that gRPC puts before a message.
const FRAME: usize = 5;

/// Hands a request to gRPC, gRPC-Web or REST.
#[derive(Clone)]
pub(crate) struct Dispatch<S> {
    rpc: RpcService<S>,
    web: GrpcWebService<RpcService<S>>,
    rest: Option<Rest>,
    table: RpcTable,
    max_body: usize,
    names: Arc<Names>,
}

enum Kind {
    Grpc,
    /// With the content type that tonic-web knows it by.
    GrpcWeb(&'static str),
    UnknownGrpc,
    Rest,
}

impl<S: Clone> Dispatch<S> {
    pub(crate) fn new(
        rpc: RpcService<S>,
        rest: Option<Rest>,
        table: RpcTable,
        max_body: usize,
        names: Arc<Names>,
    ) -> Self {
        Self {
            web: GrpcWebLayer::new().layer(rpc.clone()),
            rpc,
            rest,
            table,
            max_body,
            names,
        }
    }

    /// The most bytes that a body may have on the wire.
    fn limit(&self, kind: &Kind) -> usize {
        match kind {
            // Base64 makes four bytes of three.
            Kind::GrpcWeb(text) if text.contains("text") => (self.max_body + FRAME).div_ceil(3) * 4,
            Kind::Grpc | Kind::GrpcWeb(_) => self.max_body + FRAME,
            Kind::UnknownGrpc | Kind::Rest => self.max_body,
        }
    }
}

fn kind(request: &Request) -> Kind {
    let value = request
        .headers()
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let essence = value
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    match essence.to_ascii_lowercase().as_slice() {
        b"application/grpc" | b"application/grpc+proto" => Kind::Grpc,
        b"application/grpc-web" | b"application/grpc-web+proto" => {
            Kind::GrpcWeb("application/grpc-web+proto")
        }
        b"application/grpc-web-text" | b"application/grpc-web-text+proto" => {
            Kind::GrpcWeb("application/grpc-web-text+proto")
        }
        other if other.starts_with(b"application/grpc") => Kind::UnknownGrpc,
        _ => Kind::Rest,
    }
}

impl<S> Service<Request> for Dispatch<S>
where
    S: Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
        > + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner services are always ready: each is a clone, used once.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let kind = kind(&request);
        let context = request.extensions().get::<RequestContext>().cloned();
        let context = context.unwrap_or_else(|| {
            let context = RequestContext::new(request.headers());
            request.extensions_mut().insert(context.clone());
            context
        });
        context.set_transport(match kind {
            Kind::Grpc | Kind::UnknownGrpc => Transport::Grpc,
            Kind::GrpcWeb(_) => Transport::GrpcWeb,
            Kind::Rest => Transport::Rest,
        });
        let limit = self.limit(&kind);
        if declares_more_than(request.headers(), limit) {
            context.set_too_large();
        }
        if let Some(refusal) = self.refusal(&kind, &request) {
            self.names.count_unknown(&context, Code::InvalidArgument);
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        let limited = |body: Body| LimitedBody::new(body, limit, context.clone());
        match kind {
            Kind::Grpc => {
                let answer = self
                    .rpc
                    .call(request.map(|body| tonic::body::Body::new(limited(body))));
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
            Kind::GrpcWeb(content_type) => {
                let kind = HeaderValue::from_static(content_type);
                // A page that does not say which form it takes gets its own.
                let accept = request.headers().get(ACCEPT).map(HeaderValue::as_bytes);
                if !accept.is_some_and(|accept| accept.starts_with(b"application/grpc-web")) {
                    request.headers_mut().insert(ACCEPT, kind.clone());
                }
                request.headers_mut().insert(CONTENT_TYPE, kind);
                let answer = self
                    .web
                    .call(request.map(|body| tonic::body::Body::new(limited(body))));
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
            Kind::UnknownGrpc | Kind::Rest => {
                let rest = self.rest.clone();
                let request = request.map(|body| Body::new(limited(body)));
                let names = self.names.clone();
                Box::pin(async move { Ok(transcode(rest, request, context, &names).await) })
            }
        }
    }
}

impl<S> Dispatch<S> {
    fn refusal(&self, kind: &Kind, request: &Request) -> Option<Response> {
        let post = request.method() == Method::POST;
        match kind {
            Kind::Grpc | Kind::GrpcWeb(_) if !post => Some(problem::method_not_allowed()),
            Kind::Grpc if request.version() < Version::HTTP_2 => Some(problem::http2_required()),
            Kind::Grpc | Kind::GrpcWeb(_) => None,
            Kind::UnknownGrpc => Some(problem::unsupported_media_type()),
            Kind::Rest if post && self.table.get(request.uri().path()).is_some() => {
                Some(problem::unsupported_media_type())
            }
            Kind::Rest => None,
        }
    }
}

async fn transcode(
    rest: Option<Rest>,
    request: Request,
    context: RequestContext,
    names: &Names,
) -> Response {
    let response = match rest {
        _ if context.too_large() => problem::too_large(),
        None => problem::not_found(),
        Some(mut rest) => {
            let Ok(response) = rest.call(request).await;
            // The transcoder can't know why the body failed.
            match response {
                _ if context.too_large() => problem::too_large(),
                _ if context.too_slow() => problem::too_slow(),
                response => response,
            }
        }
    };
    if context.route().is_none() {
        names.count_unknown(&context, code_of(response.status()));
    }
    response
}

/// The gRPC code nearest to an answer that no RPC gave.
fn code_of(status: StatusCode) -> Code {
    match status {
        status if status.is_success() => Code::Ok,
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::InvalidArgument,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::Unknown,
    }
}
