use std::time::Duration;

use bytes::Bytes;
use dromos_serve::{Deadline, RequestContext, Transport};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::{Code, body::Body};
use tonic_types::StatusExt;

use crate::support::{CHECK, Running, app, check, echo, empty_message, grpc_web, http1, http2};

#[tokio::test]
async fn http_1_1_and_cleartext_http_2_share_a_port() {
    let server = Running::start(app(echo)).await;
    for (client, version) in [
        (http1(), http::Version::HTTP_11),
        (http2(), http::Version::HTTP_2),
    ] {
        let answer = client.get(server.url("/healthz")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
}

#[tokio::test]
async fn grpc_and_grpc_web_reach_the_same_service() {
    let handler = |request: Request<Body>| async move {
        assert_eq!(request.uri().path(), CHECK);
        echo(request).await
    };
    let server = Running::start(app(handler)).await;
    check(&mut server.client().await).await.unwrap();
    for client in [http1(), http2()] {
        let answer = grpc_web(&client, server.url(CHECK), vec![0; 5])
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.headers()["content-type"],
            "application/grpc-web+proto"
        );
        let body = answer.bytes().await.unwrap();
        assert!(body.ends_with(b"grpc-status:0\r\n"), "{body:?}");
    }
}

#[tokio::test]
async fn grpc_web_text_and_content_type_parameters_are_understood() {
    let server = Running::start(app(echo)).await;
    for (content_type, body, answered) in [
        (
            "application/grpc-web-text; charset=utf-8",
            &b"AAAAAAA="[..],
            "application/grpc-web-text+proto",
        ),
        (
            "Application/gRPC-Web",
            &[0; 5],
            "application/grpc-web+proto",
        ),
    ] {
        let call = http1()
            .post(server.url(CHECK))
            .header("content-type", content_type);
        let answer = call.body(body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], answered);
        assert!(
            !answer.headers().contains_key("grpc-status"),
            "{content_type} failed at once"
        );
    }
}

#[tokio::test]
async fn readiness_follows_its_check_and_liveness_does_not() {
    let server = Running::start(app(echo).ready(|| async { false })).await;
    let status = async |path| {
        http1()
            .get(server.url(path))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(status("/readyz").await, 503);
    assert_eq!(status("/healthz").await, 200);
}

#[tokio::test]
async fn a_request_id_is_taken_over_handed_on_and_answered() {
    let handler = |request: Request<Body>| async move {
        let context = request.extensions().get::<RequestContext>().unwrap();
        assert_eq!(context.id(), request.headers()["x-request-id"]);
        assert_eq!(context.transport(), Transport::GrpcWeb);
        empty_message()
    };
    let server = Running::start(app(handler)).await;
    let send = async |id| {
        let call = grpc_web(&http1(), server.url(CHECK), vec![0; 5]).header("x-request-id", id);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success());
        answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(send("agent-7:42").await, "agent-7:42");
    let replaced = send("with space").await;
    assert_eq!(replaced.len(), 36, "{replaced}");
}

#[tokio::test]
async fn a_grpc_method_takes_only_post_and_only_grpc_content_types() {
    let server = Running::start(app(echo)).await;
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    let post = |content_type| {
        http2()
            .post(server.url(CHECK))
            .header("content-type", content_type)
    };
    assert_eq!(status(post("application/json").body("{}")).await, 415);
    assert_eq!(status(post("application/grpc+json").body("{}")).await, 415);
    assert_eq!(status(http2().post(server.url(CHECK))).await, 415);
    let get = http2()
        .get(server.url(CHECK))
        .header("content-type", "application/grpc");
    assert_eq!(status(get).await, 405);
    let http1 = http1()
        .post(server.url(CHECK))
        .header("content-type", "application/grpc");
    assert_eq!(status(http1).await, 505);
    assert_eq!(status(http2().get(server.url("/nowhere"))).await, 404);
}

#[tokio::test]
async fn a_panic_becomes_internal_and_says_nothing() {
    let server = Running::start(app(|request: Request<Body>| async move {
        assert!(request.uri().path().is_empty(), "the secret is hunter2");
        empty_message()
    }))
    .await;
    let status = check(&mut server.client().await).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.message(), "an internal error occurred");
    check(&mut server.client().await).await.unwrap_err();
}

#[tokio::test]
async fn a_panic_while_the_answer_is_streamed_becomes_internal_too() {
    let server = Running::start(app(|_| async {
        let frames = stream::iter([1, 2]).map_frames(|number| {
            assert_eq!(number, 1, "hunter2");
            Bytes::from_static(&[0, 0, 0, 0, 0])
        });
        let mut response = Response::new(Body::new(frames));
        let content_type = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", content_type);
        response
    }))
    .await;
    let answer = grpc_web(&http1(), server.url(CHECK), vec![0; 5])
        .send()
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
    assert!(
        body.contains("grpc-status:13") && !body.contains("hunter2"),
        "{body}"
    );
}

trait MapFrames: stream::Stream<Item = i32> + Sized {
    fn map_frames<F>(
        self,
        make: F,
    ) -> StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, std::io::Error>>>
    where
        F: FnMut(i32) -> Bytes,
    {
        use futures_util::StreamExt;
        let mut make = make;
        StreamBody::new(self.map(move |number| Ok(Frame::data(make(number)))))
    }
}

impl<S: stream::Stream<Item = i32>> MapFrames for S {}

#[tokio::test]
async fn hardening_17_a_call_past_its_deadline_is_answered_with_deadline_exceeded() {
    let server = Running::start(app(|_| std::future::pending())).await;
    // Without tonic's own client, which would give up by itself.
    let call = grpc_web(&http1(), server.url(CHECK), vec![0; 5]).header("grpc-timeout", "1m");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    let status = tonic::Status::from_header_map(answer.headers()).unwrap();
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "DEADLINE_EXCEEDED");
    assert_eq!(details.error_info().unwrap().domain, "dromos");
}

#[tokio::test]
async fn a_deadline_also_ends_an_answer_that_has_begun() {
    let server = Running::start(app(|_| async {
        let endless = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
        Response::new(Body::new(StreamBody::new(endless)))
    }))
    .await;
    let call = grpc_web(&http1(), server.url(CHECK), vec![0; 5]).header("grpc-timeout", "1m");
    let body = call.send().await.unwrap().text().await.unwrap();
    assert!(body.contains("grpc-status:4"), "{body}");
}

#[tokio::test]
async fn a_service_is_told_the_deadline() {
    let server = Running::start(app(|request: Request<Body>| async move {
        let left = request.extensions().get::<Deadline>().unwrap().remaining();
        assert!(
            left <= Duration::from_secs(60) && left > Duration::from_secs(50),
            "{left:?}"
        );
        empty_message()
    }))
    .await;
    let call = grpc_web(&http1(), server.url(CHECK), vec![0; 5]).header("grpc-timeout", "2H");
    let body = call.send().await.unwrap().text().await.unwrap();
    assert!(body.contains("grpc-status:0"), "{body}");
}

#[tokio::test]
async fn metrics_name_methods_transports_and_codes_and_unknown_paths_collapse() {
    let server = Running::start(app(|request: Request<Body>| async move {
        match request.uri().path() {
            CHECK => empty_message(),
            _ => dromos_serve::status::unimplemented().into_http(),
        }
    }))
    .await;
    check(&mut server.client().await).await.unwrap();
    for secret in ["/hunter2.Service/A", "/hunter2.Service/B"] {
        grpc_web(&http1(), server.url(secret), vec![0; 5])
            .send()
            .await
            .unwrap();
    }
    http1().get(server.url("/hunter2")).send().await.unwrap();
    let metrics = http1()
        .get(server.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        &format!(r#"test_requests_total{{rpc="{CHECK}",transport="grpc",code="OK"}}"#),
        r#"test_requests_total{rpc="unknown",transport="grpc_web",code="UNIMPLEMENTED"}"#,
        r#"test_requests_total{rpc="unknown",transport="rest",code="NOT_FOUND"}"#,
        &format!(
            r#"test_request_duration_seconds_bucket{{rpc="{CHECK}",transport="grpc",le="0.001"}}"#
        ),
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("hunter2"));
}
