//! Failures: of the request's address, and of the service.

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde_json::json;
use tower::ServiceExt as _;
use transcode::Transcoder;

use crate::world::{Answer, Unreachable, World, frame, headers, message, pool, request};

#[tokio::test]
async fn unknown_paths_are_404_and_known_ones_name_their_methods() {
    let world = World::echo();
    for (line, status, code, allow) in [
        ("GET /nope", 404, 5, None),
        ("GET /v1/echo/", 404, 5, None),
        ("GET /", 404, 5, None),
        ("POST /test.v1.TestService/Echo", 404, 5, None),
        ("POST /test.v1.TestService/Hidden", 404, 5, None),
        ("DELETE /v1/echo", 405, 12, Some("POST, GET, SEARCH, HEAD")),
        ("OPTIONS /v1/tags", 405, 12, Some("POST")),
        ("GET /v1/echo/x:rename", 405, 12, Some("POST")),
        ("POST /v1/watch", 405, 12, Some("GET, HEAD")),
    ] {
        let reply = world.call(line, "").await;
        assert_eq!(reply.status, status, "{line}");
        assert_eq!(reply.header("allow"), allow, "{line}");
        assert_eq!(reply.json()["code"], code, "{line}");
        assert_eq!(reply.json()["details"], json!([]));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let world = World::echo();
    let get = world.call("GET /v1/echo/x", "").await;
    let head = world.call("HEAD /v1/echo/x", "").await;
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-type"), get.header("content-type"));
    assert_eq!(
        head.header("content-length"),
        Some(get.body.len().to_string().as_str())
    );
    assert!(world.call("HEAD /nope", "").await.body.is_empty());
}

#[tokio::test]
async fn every_code_becomes_its_http_status() {
    for (code, http) in [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 400),
        (10, 409),
        (11, 400),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ] {
        let code_text = code.to_string();
        let pairs = [
            ("grpc-status", code_text.as_str()),
            ("grpc-message", "caf%C3%A9 100%25"),
        ];
        let in_trailers = Answer {
            trailers: Some(headers(&pairs)),
            ..Answer::default()
        };
        for answer in [Answer::trailers_only(&pairs), in_trailers] {
            let reply = World::answering(answer).call("GET /v1/echo", "").await;
            assert_eq!(reply.status, http);
            assert_eq!(
                reply.json(),
                json!({"code": code, "message": "caf\u{e9} 100%", "details": []})
            );
            let challenge = (http == 401).then_some("Bearer");
            assert_eq!(reply.header("www-authenticate"), challenge);
        }
    }
}

/// `google.rpc.Status` on the wire.
fn status(code: i32, text: &str, details: &[(&str, Vec<u8>)]) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    let details = details.iter().map(|(name, value)| Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: value.clone(),
    });
    Status {
        code,
        message: text.to_owned(),
        details: details.collect(),
    }
    .encode_to_vec()
}

#[tokio::test]
async fn details_are_decoded_with_the_pool_or_kept_as_base64() {
    let info = message(
        "google.rpc.ErrorInfo",
        r#"{"reason":"R","domain":"d","metadata":{"k":"v"}}"#,
    );
    let retry = message("google.rpc.RetryInfo", r#"{"retryDelay":"1.2s"}"#);
    let bytes = status(
        14,
        "",
        &[
            ("google.rpc.ErrorInfo", info.encode_to_vec()),
            ("google.rpc.RetryInfo", retry.encode_to_vec()),
            ("not.Known", vec![1, 2]),
            ("google.rpc.ErrorInfo", vec![0xff]),
        ],
    );
    for text in [
        BASE64_STANDARD.encode(&bytes),
        BASE64_STANDARD_NO_PAD.encode(&bytes),
    ] {
        let answer = Answer::trailers_only(&[
            ("grpc-status", "14"),
            ("grpc-message", "m"),
            ("grpc-status-details-bin", &text),
        ]);
        let reply = World::answering(answer).call("GET /v1/echo", "").await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some("2"));
        assert_eq!(
            reply.json(),
            json!({"code": 14, "message": "m", "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R", "domain": "d", "metadata": {"k": "v"}},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1.200s"},
                {"@type": "type.googleapis.com/not.Known", "value": "AQI="},
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "value": "/w=="},
            ]})
        );
    }
}

#[tokio::test]
async fn broken_answers_are_internal_errors() {
    let good = frame(b"");
    let ok = || Some(headers(&[("grpc-status", "0")]));
    for (what, chunks, trailers) in [
        ("no status", vec![good.clone()], None),
        (
            "trailers without a status",
            vec![good.clone()],
            Some(headers(&[])),
        ),
        ("no message", vec![], ok()),
        ("two messages", vec![good.clone(), good.clone()], ok()),
        (
            "a compressed message",
            vec![Bytes::from_static(&[1, 0, 0, 0, 0])],
            ok(),
        ),
        (
            "an unknown flag",
            vec![Bytes::from_static(&[9, 0, 0, 0, 0])],
            ok(),
        ),
        (
            "half a message",
            vec![Bytes::from_static(&[0, 0, 0, 0, 2, 1])],
            ok(),
        ),
        ("half a prefix", vec![Bytes::from_static(&[0, 0])], ok()),
        ("no protobuf", vec![frame(&[0xff])], ok()),
        (
            "a timestamp out of range",
            vec![frame(&[
                0xe2, 0x03, 7, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40,
            ])],
            ok(),
        ),
    ] {
        let answer = Answer {
            chunks,
            trailers,
            ..Answer::default()
        };
        let reply = World::answering(answer).call("GET /v1/echo", "").await;
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (500, &json!(13)),
            "{what}"
        );
    }
    let proxy = Answer {
        http: StatusCode::BAD_GATEWAY,
        ..Answer::default()
    };
    let reply = World::answering(proxy).call("GET /v1/echo", "").await;
    assert_eq!((reply.status, &reply.json()["code"]), (503, &json!(14)));
}

#[tokio::test]
async fn a_service_out_of_reach_is_unavailable_and_its_error_stays_inside() {
    let service = Transcoder::builder(pool())
        .build()
        .unwrap()
        .service(Unreachable);
    let rest = service
        .clone()
        .oneshot(request("GET /v1/echo", ""))
        .await
        .unwrap();
    assert_eq!(rest.status(), 503);
    let body = rest.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("10.0.0.7"));

    let mut grpc = request("POST /test.v1.TestService/Echo", "x");
    *grpc.headers_mut() = headers(&[("content-type", "application/grpc")]);
    let grpc = service.oneshot(grpc).await.unwrap();
    assert_eq!(
        (grpc.status().as_u16(), &grpc.headers()["grpc-status"]),
        (200, &"14".parse().unwrap())
    );
}
