//! A gRPC service that answers as each test says, and a client in front of
//! its REST API.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::body::Body;
use tower::{Service, ServiceExt as _};
use transcode::{Builder, Transcoder};

pub fn compile(file: &str) -> DescriptorPool {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/proto");
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_imports(true).open_file(file).unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

pub fn pool() -> DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| compile("test/v1/everything.proto"));
    POOL.clone()
}

/// The names of the fields of `test.v1.Everything`.
pub fn everything_in() -> Vec<String> {
    let desc = pool().get_message_by_name("test.v1.Everything").unwrap();
    desc.fields().map(|field| field.name().to_owned()).collect()
}

pub fn message(name: &str, json: &str) -> DynamicMessage {
    let desc = pool().get_message_by_name(name).unwrap();
    let mut text = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(desc, &mut text).unwrap()
}

/// A gRPC frame around a message.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(message.len().try_into().unwrap());
    out.extend_from_slice(message);
    out.freeze()
}

/// What the gRPC service saw of a call.
#[derive(Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub rest: bool,
    pub extension: Option<&'static str>,
    pub body: Bytes,
}

/// An answer of the gRPC service: chunks of body, then perhaps trailers.
#[derive(Clone, Default)]
pub struct Answer {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub chunks: Vec<Bytes>,
    pub trailers: Option<HeaderMap>,
}

pub fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

impl Answer {
    pub fn ok(messages: &[DynamicMessage]) -> Self {
        Self {
            chunks: messages.iter().map(|m| frame(&m.encode_to_vec())).collect(),
            trailers: Some(headers(&[("grpc-status", "0")])),
            ..Self::default()
        }
    }

    pub fn trailers_only(pairs: &[(&'static str, &str)]) -> Self {
        Self {
            headers: headers(pairs),
            ..Self::default()
        }
    }
}

type Behaviour = dyn Fn(&Call) -> Answer + Send + Sync;

#[derive(Clone)]
pub struct Inner {
    behaviour: Arc<Behaviour>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let call = Call {
                path: parts.uri.path().to_owned(),
                headers: parts.headers,
                rest: parts.extensions.get::<transcode::Transcoded>().is_some(),
                extension: parts.extensions.get::<&'static str>().copied(),
                body: body.collect().await.unwrap().to_bytes(),
            };
            let answer = (this.behaviour)(&call);
            this.calls.lock().unwrap().push(call);
            let data = answer.chunks.into_iter().map(Frame::data);
            let frames: Vec<Result<_, Infallible>> = data
                .chain(answer.trailers.map(Frame::trailers))
                .map(Ok)
                .collect();
            let stream = futures_util::stream::iter(frames);
            let mut response = Response::new(Body::new(StreamBody::new(stream)));
            *response.status_mut() = answer.http;
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

/// What a REST caller got.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body broke off.
    pub broken: bool,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub struct World {
    transcoder: Transcoder,
    inner: Inner,
}

impl World {
    pub fn new(behaviour: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(|builder| builder, behaviour)
    }

    pub fn with(
        settings: impl FnOnce(Builder) -> Builder,
        behaviour: impl Fn(&Call) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self {
            transcoder: settings(Transcoder::builder(pool())).build().unwrap(),
            inner: Inner {
                behaviour: Arc::new(behaviour),
                calls: Arc::default(),
            },
        }
    }

    /// The service gives its request back.
    pub fn echo() -> Self {
        Self::new(echo)
    }

    pub fn answering(answer: Answer) -> Self {
        Self::new(move |_| answer.clone())
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let service = self.transcoder.service(self.inner.clone());
        let (parts, mut body) = service.oneshot(request).await.unwrap().into_parts();
        let mut bytes = BytesMut::new();
        let mut broken = false;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(_) => broken = true,
            }
        }
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: bytes.freeze(),
            broken,
        }
    }

    /// Sends `"GET /path"`, with a JSON body unless that is empty.
    pub async fn call(&self, line: &str, body: impl Into<Bytes>) -> Reply {
        self.send(request(line, body)).await
    }

    pub fn forget_calls(&self) {
        self.inner.calls.lock().unwrap().clear();
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.lock().unwrap().clone()
    }

    /// The last call, its message read as `name`.
    pub fn received(&self, name: &str) -> serde_json::Value {
        let call = self.calls().pop().expect("the service was called");
        let desc = pool().get_message_by_name(name).unwrap();
        let message = DynamicMessage::decode(desc, call.body.slice(5..)).unwrap();
        let options = prost_reflect::SerializeOptions::new().use_proto_field_name(true);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .unwrap()
    }
}

pub fn echo(call: &Call) -> Answer {
    Answer {
        chunks: vec![call.body.clone()],
        trailers: Some(headers(&[("grpc-status", "0")])),
        ..Answer::default()
    }
}

pub fn request(line: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let (method, uri) = line.split_once(' ').unwrap();
    let body = body.into();
    let mut request = Request::builder().method(method).uri(uri);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Full::new(body)).unwrap()
}

/// A service that cannot be called at all.
#[derive(Clone)]
pub struct Unreachable;

impl Service<Request<Body>> for Unreachable {
    type Response = Response<Body>;
    type Error = std::io::Error;
    type Future = Ready<Result<Response<Body>, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Err(std::io::Error::other("10.0.0.7 refused")))
    }
}
