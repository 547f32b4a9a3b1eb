//! The connection loop. It stands in front of the router because only it can hang up on a client.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::faults::{Endpoint, Failure, Hold};
use crate::http::answer;
use crate::world::World;

/// The largest request body that is read, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Serves until the task is aborted, which ends every connection too.
pub(crate) async fn serve(listener: TcpListener, router: Router, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that gave up before it was accepted is none of our business.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, router.clone(), Arc::clone(&world)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, router: Router, world: Arc<World>) {
    let service = service_fn(move |request| {
        let (router, world) = (router.clone(), Arc::clone(&world));
        async move { exchange(request, router, world).await }
    });
    // An error here is a connection that was cut, by the client or by the script.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn exchange(
    request: Request<Incoming>,
    router: Router,
    world: Arc<World>,
) -> Result<Response<Body>, HangUp> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|_| HangUp)?;
    let request = Request::from_parts(parts, Body::from(body.to_bytes()));
    // In a task of its own, because a provider acts on what it has received whether or not the client still waits.
    tokio::spawn(play(request, router, world))
        .await
        .unwrap_or(Err(HangUp))
}

/// Does with a request what is scripted for it.
async fn play(
    request: Request<Body>,
    router: Router,
    world: Arc<World>,
) -> Result<Response<Body>, HangUp> {
    let Some(endpoint) = Endpoint::of_path(request.uri().path()) else {
        return Ok(act(request, router).await);
    };
    let failure = world.faults.arrive(endpoint);
    world.faults.pass(endpoint, Hold::Request).await;
    let answer = match failure {
        Some(Failure::Status {
            status,
            retry_after,
        }) => Ok(answer::outage(status, retry_after)),
        Some(Failure::Error { status, error }) => Ok(answer::bare_error(status, &error)),
        Some(Failure::Cut) => return Err(HangUp),
        Some(Failure::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(act(request, router).await)
        }
        Some(Failure::LoseAnswer) => {
            act(request, router).await;
            Err(HangUp)
        }
        Some(Failure::Truncate) => Ok(truncate(act(request, router).await).await),
        None => Ok(act(request, router).await),
    };
    world.faults.pass(endpoint, Hold::Answer).await;
    answer
}

async fn act(request: Request<Body>, router: Router) -> Response<Body> {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => infallible(never),
    }
}

fn infallible(never: Infallible) -> Response<Body> {
    match never {}
}

/// The same answer, of which only the first half arrives before the connection ends.
async fn truncate(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let whole = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = HalfBody {
        half: Some(whole.slice(..whole.len() / 2)),
        whole: whole.len(),
    };
    Response::from_parts(parts, Body::new(half))
}

/// A body that promises `whole` bytes, gives fewer and then fails.
struct HalfBody {
    half: Option<Bytes>,
    whole: usize,
}

impl HttpBody for HalfBody {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        Poll::Ready(Some(self.half.take().map(Frame::data).ok_or(HangUp)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole as u64)
    }
}

/// Ends the connection.
#[derive(Debug)]
struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script ends this connection")
    }
}

impl std::error::Error for HangUp {}
