use dromos_proto::{
    ACCESS, POOL,
    v1::{CheckConnectionRequest, CheckConnectionResponse},
};
use http::Response;
use prost::Message;
use tonic::{Code, Status, body::Body};

use crate::support::{
    FakeBroker, KEY, Running, Seen, VIAS, Via, healthy, http1, reply, reply_with,
};

/// POSTs an empty gRPC-Web message and answers with its `grpc-status`.
async fn status_of(gateway: &Running, path: &str) -> Code {
    let call = http1()
        .post(gateway.url(path))
        .header("content-type", "application/grpc-web+proto")
        .header("authorization", format!("Bearer {KEY}"))
        .body(vec![0; 5]);
    let answer = call.send().await.unwrap();
    let header = answer.headers().get("grpc-status").cloned();
    let body = answer.bytes().await.unwrap();
    match header {
        Some(code) => Code::from_bytes(code.as_bytes()),
        None if body.ends_with(b"grpc-status:0\r\n") => Code::Ok,
        None => panic!("no status in {body:?}"),
    }
}

#[tokio::test]
async fn every_method_of_the_public_contract_reaches_the_broker_and_no_other_does() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    let mut forwarded = Vec::new();
    for service in POOL.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let public =
                service.full_name().starts_with("dromos.v1.") && ACCESS.contains_key(&path);
            let expected = if public {
                Code::Ok
            } else {
                Code::Unimplemented
            };
            assert_eq!(status_of(&gateway, &path).await, expected, "{path}");
            if public {
                let connections = "/dromos.v1.ConnectionService/";
                forwarded.push(path.replace(connections, "/dromos.broker.v1.ConnectionService/"));
            }
        }
    }
    let seen: Vec<String> = broker.seen().into_iter().map(|call| call.path).collect();
    assert_eq!(seen, forwarded);
    assert!(seen.len() > 20);
}

#[tokio::test]
async fn unknown_methods_are_refused_without_asking_the_broker() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    for path in [
        "/dromos.v1.ConnectionService/Absent",
        "/dromos.v1.ConnectionService/CheckConnection/",
        "/dromos.v1.ConnectionService/../../dromos.broker.v1.ConnectionService/GetToken",
        "/dromos.broker.v1.ConnectionService/GetToken",
        "/grpc.health.v1.Health/Absent",
        "/acme.v1.Service/Method",
    ] {
        assert_eq!(
            status_of(&gateway, path).await,
            Code::Unimplemented,
            "{path}"
        );
    }
    assert_eq!(broker.seen().len(), 0);
}

#[tokio::test]
async fn the_message_and_its_answer_pass_unchanged() {
    let play = |seen: Seen| async move {
        let asked = CheckConnectionRequest::decode(&seen.body[5..]).unwrap();
        let connection_id = format!("{}-answered", asked.connection_id);
        reply(&CheckConnectionResponse {
            connection_id,
            ..Default::default()
        })
    };
    let broker = FakeBroker::start(play).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        let answer = via.check_with_key(&gateway).await;
        assert_eq!(
            answer.connection_id.as_deref(),
            Some("conn-1-answered"),
            "{via:?}"
        );
    }
}

#[tokio::test]
async fn of_the_brokers_headers_only_the_listed_ones_pass() {
    let play = |_| async {
        let more = [
            ("cache-control", "no-store"),
            ("x-internal", "hunter2"),
            ("x-request-id", "other"),
        ];
        reply_with(&CheckConnectionResponse::default(), &more)
    };
    let broker = FakeBroker::start(play).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        let answer = via.check_with_key(&gateway).await;
        assert_eq!(answer.code, Code::Ok);
        assert_eq!(answer.headers["cache-control"], "no-store", "{via:?}");
        assert!(!answer.headers.contains_key("x-internal"), "{via:?}");
        assert_ne!(answer.headers["x-request-id"], "other", "{via:?}");
    }
}

#[tokio::test]
async fn the_brokers_errors_pass_with_their_details() {
    let play = |_| async {
        let metadata = [("reconnect", "true")];
        let reason = "CONNECTION_ATTENTION_REQUIRED";
        let code = Code::FailedPrecondition;
        dromos_serve::status::status(code, reason, "reconnect it", None, &metadata).into_http()
    };
    let broker = FakeBroker::start(play).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        let answer = via.check_with_key(&gateway).await;
        answer.expect(
            Code::FailedPrecondition,
            400,
            "CONNECTION_ATTENTION_REQUIRED",
        );
        assert_eq!(answer.message, "reconnect it");
    }
}

#[tokio::test]
async fn a_callers_key_that_the_broker_refuses_is_unauthenticated() {
    let play = |_| async { dromos_serve::status::unauthenticated().into_http::<Body>() };
    let broker = FakeBroker::start(play).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        via.check_with_key(&gateway)
            .await
            .expect(Code::Unauthenticated, 401, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_service_key_that_the_broker_refuses_is_not_the_callers_fault() {
    let play = |_| async {
        let mut response: Response<Body> = Status::unauthenticated("service key").into_http();
        let mark = http::HeaderValue::from_static("service-key");
        response.headers_mut().insert("x-dromos-refused", mark);
        response
    };
    let in_headers = FakeBroker::start(play).await;
    let play = |_| async {
        let mark = [("x-dromos-refused", "service-key")];
        let mut response = reply_with(&(), &mark);
        response.headers_mut().remove("x-dromos-refused");
        response
    };
    let in_trailers = FakeBroker::start(play).await;
    for broker in [in_headers, in_trailers] {
        let gateway = Running::before(&broker).await;
        for via in VIAS {
            let answer = via.check_with_key(&gateway).await;
            answer.expect(Code::Unavailable, 503, "BROKER_UNAVAILABLE");
            assert!(!answer.message.contains("service key"), "{answer:?}");
            assert!(
                !answer.headers.contains_key("x-dromos-refused"),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_public_method_over_rest_takes_what_its_path_says() {
    let play = |seen: Seen| async move {
        assert_eq!(
            seen.path,
            "/dromos.broker.v1.ConnectionService/CheckConnection"
        );
        let asked = CheckConnectionRequest::decode(&seen.body[5..]).unwrap();
        reply(&CheckConnectionResponse {
            connection_id: asked.connection_id,
            ..Default::default()
        })
    };
    let broker = FakeBroker::start(play).await;
    let gateway = Running::before(&broker).await;
    let bearer = format!("Bearer {KEY}");
    let answer = Via::Rest
        .check_id(&gateway, "a%20b", &[("authorization", &bearer)])
        .await;
    assert_eq!(answer.connection_id.as_deref(), Some("a b"));
}
