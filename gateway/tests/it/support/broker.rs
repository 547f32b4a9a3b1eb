use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use axum::Router;
use bytes::{BufMut, Bytes, BytesMut};
use dromos_serve::{ListenOptions, serve};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::body::Body;
use tonic_health::pb::{HealthCheckResponse, health_check_response::ServingStatus};

/// What the broker was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Play = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

pub struct FakeBroker {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl FakeBroker {
    pub async fn start<P, F>(play: P) -> Self
    where
        P: Fn(Seen) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_at(
            "127.0.0.1:0".parse().unwrap(),
            ListenOptions::default(),
            play,
        )
        .await
    }

    pub async fn start_at<P, F>(address: SocketAddr, options: ListenOptions, play: P) -> Self
    where
        P: Fn(Seen) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let play: Play = Arc::new(move |seen| Box::pin(play(seen)));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorder = seen.clone();
        let service = tower::service_fn(move |request: Request<axum::body::Body>| {
            let (play, recorder) = (play.clone(), recorder.clone());
            async move {
                let (parts, body) = request.into_parts();
                // A body that breaks off never becomes a request.
                let Ok(body) = body.collect().await else {
                    return Ok::<_, Infallible>(Response::new(axum::body::Body::empty()));
                };
                let path = parts.uri.path().to_owned();
                let seen = Seen {
                    path,
                    headers: parts.headers,
                    body: body.to_bytes(),
                };
                recorder.lock().unwrap().push(seen.clone());
                Ok(play(seen).await.map(axum::body::Body::new))
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().fallback_service(service);
        let task = tokio::spawn(serve(listener, app, options, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            seen,
            stop,
            task,
        }
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only call so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// Answers any method with an empty message, and health with SERVING.
pub async fn healthy(seen: Seen) -> Response<Body> {
    if seen.path == "/grpc.health.v1.Health/Check" {
        serving()
    } else {
        reply(&())
    }
}

pub fn serving() -> Response<Body> {
    reply(&HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    })
}

/// A successful answer.
pub fn reply(message: &impl Message) -> Response<Body> {
    reply_with(message, &[])
}

/// A successful answer with more headers and trailers of these names.
pub fn reply_with(message: &impl Message, more: &[(&'static str, &'static str)]) -> Response<Body> {
    let encoded = message.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(encoded.len().try_into().unwrap());
    frame.put_slice(&encoded);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    for (name, value) in more {
        headers.insert(*name, HeaderValue::from_static(value));
        trailers.insert(*name, HeaderValue::from_static(value));
    }
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = headers;
    response
}
