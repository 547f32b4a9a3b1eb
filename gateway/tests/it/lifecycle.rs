use std::sync::Arc;

use bytes::Bytes;
use dromos_proto::v1::{
    WatchConnectionRequest, connection_service_client::ConnectionServiceClient,
};
use dromos_serve::ListenOptions;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::{Code, Request, Status, body::Body, metadata::MetadataValue, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{FakeBroker, KEY, Running, Seen, VIAS, config, healthy, http1, reply};

async fn ready(gateway: &Running) -> u16 {
    http1()
        .get(gateway.url("/readyz"))
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_gateway_is_ready_exactly_while_its_broker_serves() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gateway = Running::start(config(address)).await;
    assert_eq!(ready(&gateway).await, 503);
    let alive = http1().get(gateway.url("/healthz")).send().await.unwrap();
    assert_eq!(alive.status().as_u16(), 200);
    let broker = FakeBroker::start_at(address, ListenOptions::default(), healthy).await;
    assert_eq!(ready(&gateway).await, 200);
    broker.stop().await;
    assert_eq!(ready(&gateway).await, 503);
    let unready = |_| async { Status::unavailable("").into_http::<Body>() };
    let _broker = FakeBroker::start_at(address, ListenOptions::default(), unready).await;
    assert_eq!(ready(&gateway).await, 503);
}

#[tokio::test]
async fn a_shutdown_lets_calls_in_flight_finish() {
    for via in VIAS {
        let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (asks, released) = (asked.clone(), release.clone());
        let broker = FakeBroker::start(move |_: Seen| {
            let (asks, released) = (asks.clone(), released.clone());
            async move {
                asks.notify_one();
                released.notified().await;
                reply(&())
            }
        })
        .await;
        let gateway = Running::before(&broker).await;
        let address = gateway.address;
        let call = tokio::spawn(async move { via.check_with_key(address).await });
        asked.notified().await;
        let stopped = gateway.stop();
        // The listener is dropped when the shutdown has begun.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!stopped.is_finished() && !call.is_finished());
        release.notify_one();
        assert_eq!(call.await.unwrap().code, Code::Ok, "{via:?}");
        stopped.await.unwrap();
    }
}

#[tokio::test]
async fn a_shutdown_ends_streams_with_a_word() {
    let broker = FakeBroker::start(|_: Seen| async { endless() }).await;
    let gateway = Running::before(&broker).await;
    let channel = Channel::from_shared(format!("http://{}", gateway.address)).unwrap();
    let mut client = ConnectionServiceClient::new(channel.connect_lazy());
    let mut request = Request::new(WatchConnectionRequest::default());
    let key = MetadataValue::try_from(format!("Bearer {KEY}")).unwrap();
    request.metadata_mut().insert("authorization", key);
    let mut stream = client.watch_connection(request).await.unwrap().into_inner();
    let stopped = gateway.stop();
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    let details = ended.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "BROKER_UNAVAILABLE");
    assert!(details.retry_info().is_some());
    stopped.await.unwrap();
}

/// An answer that began and never goes on.
fn endless() -> Response<Body> {
    let frames = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}
