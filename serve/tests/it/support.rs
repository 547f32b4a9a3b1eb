//! A server around a closure, and clients for it.

use std::{convert::Infallible, future::Future, net::SocketAddr, time::Duration};

use axum::Router;
use bytes::Bytes;
use dromos_proto::{
    POOL,
    v1::{CheckConnectionRequest, connection_service_client::ConnectionServiceClient},
};
use dromos_serve::{GrpcApp, ListenOptions, observe, serve};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Status, body::Body, transport::Channel};

pub const CHECK: &str = "/dromos.v1.ConnectionService/CheckConnection";

/// An app whose every RPC is answered by `handler`.
pub fn app<H, F>(handler: H) -> GrpcApp<impl Handler>
where
    H: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = tower::service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    GrpcApp::new("test", service, &POOL, &["dromos.v1.ConnectionService"])
}

pub trait Handler:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<T> Handler for T where
    T: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A successful answer: one empty message.
pub fn empty_message() -> Response<Body> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frame = Full::new(Bytes::from_static(&[0, 0, 0, 0, 0]));
    let body = frame.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/grpc"),
    );
    response
}

/// Reads the request and answers it.
pub async fn echo(request: Request<Body>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(_) => empty_message(),
        Err(status) => status.into_http(),
    }
}

/// A server that runs until it is stopped.
pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(app: GrpcApp<impl Handler>) -> Self {
        Self::start_with(observe(app.into_router()), ListenOptions::default()).await
    }

    pub async fn start_with(app: Router, options: ListenOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, app, options, shutdown));
        Self {
            address,
            stop,
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn client(&self) -> ConnectionServiceClient<Channel> {
        let channel = Channel::from_shared(self.url(""))
            .unwrap()
            .connect()
            .await
            .unwrap();
        ConnectionServiceClient::new(channel).max_encoding_message_size(16 << 20)
    }

    /// Asks it to stop; the answer resolves when it has.
    pub fn stop(self) -> JoinHandle<()> {
        self.stop.send(()).unwrap();
        self.task
    }
}

/// A client for HTTP/1.1.
pub fn http1() -> reqwest::Client {
    builder().http1_only().build().unwrap()
}

/// A client for HTTP/2 in clear, with prior knowledge.
pub fn http2() -> reqwest::Client {
    builder().http2_prior_knowledge().build().unwrap()
}

pub fn builder() -> reqwest::ClientBuilder {
    // Fails where another test was first; it set the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
}

pub async fn check(client: &mut ConnectionServiceClient<Channel>) -> Result<(), Status> {
    client
        .check_connection(CheckConnectionRequest::default())
        .await
        .map(drop)
}

/// An empty message as gRPC-Web frames it.
pub fn grpc_web(client: &reqwest::Client, url: String, body: Vec<u8>) -> reqwest::RequestBuilder {
    client
        .post(url)
        .header("content-type", "application/grpc-web+proto")
        .body(body)
}
