use std::time::Duration;

use bytes::Bytes;
use dromos_serve::ListenOptions;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::net::TcpListener;
use tonic::{Code, body::Body};

use crate::support::{Answer, FakeBroker, KEY, Running, VIAS, Via, config, healthy};

#[track_caller]
fn unavailable(answer: &Answer) {
    answer.expect(Code::Unavailable, 503, "BROKER_UNAVAILABLE");
    assert_eq!(answer.retry, Some(Duration::from_secs(1)), "{answer:?}");
    assert_eq!(
        answer.message,
        "the broker can't be reached; try again shortly"
    );
    if answer.http.is_some() {
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

#[tokio::test]
async fn a_broker_that_is_down_is_unavailable_and_works_again_once_it_is_back() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let gateway = Running::start(config(address)).await;
    for via in VIAS {
        unavailable(&via.check_with_key(&gateway).await);
    }
    for _ in 0..2 {
        let broker = FakeBroker::start_at(address, ListenOptions::default(), healthy).await;
        for via in VIAS {
            assert_eq!(via.check_with_key(&gateway).await.code, Code::Ok, "{via:?}");
        }
        broker.stop().await;
        for via in VIAS {
            unavailable(&via.check_with_key(&gateway).await);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_grpc_is_unavailable() {
    for (status, content_type) in [
        (StatusCode::BAD_GATEWAY, "text/html"),
        (StatusCode::OK, "text/html"),
        (StatusCode::SERVICE_UNAVAILABLE, "application/grpc"),
    ] {
        let broker = FakeBroker::start(move |_| async move {
            let mut response = Response::new(Body::new("hunter2".to_owned()));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert("content-type", http::HeaderValue::from_static(content_type));
            response
        })
        .await;
        let gateway = Running::before(&broker).await;
        for via in VIAS {
            unavailable(&via.check_with_key(&gateway).await);
        }
    }
}

/// An answer of one part of a message, and then what `next` gives.
fn begun(next: Option<std::io::Error>) -> Response<Body> {
    let first = Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9])));
    let frames = tokio_stream::iter([first].into_iter().chain(next.map(Err)));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", content_type);
    response
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unavailable() {
    let broken = |_| async { begun(Some(std::io::ErrorKind::ConnectionReset.into())) };
    let broker = FakeBroker::start(broken).await;
    let gateway = Running::before(&broker).await;
    for via in [Via::Grpc, Via::Rest] {
        unavailable(&via.check_with_key(&gateway).await);
    }
    let broker = FakeBroker::start(|_| async { begun(None) }).await;
    let gateway = Running::before(&broker).await;
    for via in [Via::Grpc, Via::Rest] {
        unavailable(&via.check_with_key(&gateway).await);
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_in_time_is_deadline_exceeded() {
    let broker = FakeBroker::start(|_| std::future::pending()).await;
    let gateway = Running::before(&broker).await;
    let bearer = format!("Bearer {KEY}");
    for (via, timeout) in [
        (Via::GrpcWeb, ("grpc-timeout", "20m")),
        (Via::Rest, ("grpc-timeout", "20m")),
        (Via::Rest, ("x-request-timeout", "0.02")),
    ] {
        let answer = via
            .check(&gateway, &[("authorization", &bearer), timeout])
            .await;
        answer.expect(Code::DeadlineExceeded, 504, "DEADLINE_EXCEEDED");
    }
}
