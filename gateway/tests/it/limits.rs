use dromos_serve::MAX_BODY;
use tonic::Code;

use crate::support::{FakeBroker, KEY, Running, Via, healthy, http1};

#[tokio::test]
async fn hardening_17_an_oversized_request_is_refused_on_every_transport_and_never_reaches_the_broker()
 {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    let bearer = format!("Bearer {KEY}");
    let long = "x".repeat(MAX_BODY);
    for via in [Via::Grpc, Via::GrpcWeb] {
        let answer = via
            .check_id(&gateway, &long, &[("authorization", &bearer)])
            .await;
        assert_eq!(answer.code, Code::ResourceExhausted, "{via:?}");
        assert_eq!(
            answer.reason.as_deref(),
            Some("REQUEST_TOO_LARGE"),
            "{via:?}"
        );
    }
    let call = http1()
        .post(gateway.url("/v1/request-connection"))
        .header("authorization", &bearer)
        .header("content-type", "application/json");
    let answer = call
        .body(format!(r#"{{"user_id":"{long}"}}"#))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 413);
    assert_eq!(broker.seen().len(), 0);
}
