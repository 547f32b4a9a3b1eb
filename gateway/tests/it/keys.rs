use tonic::Code;

use crate::support::{FakeBroker, KEY, Running, SERVICE_KEY, VIAS, Via, healthy};

#[tokio::test]
async fn hardening_01_without_a_key_every_transport_refuses_and_the_broker_is_not_asked() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        for headers in [
            &[][..],
            &[("authorization", "Bearer short")],
            &[("authorization", "Basic Y2FsbGVyLWtleS0wMTIzNDU2Nzg5")],
            &[("x-dromos-key", KEY)],
        ] {
            let answer = via.check(&gateway, headers).await;
            answer.expect(Code::Unauthenticated, 401, "UNAUTHENTICATED");
        }
    }
    assert_eq!(broker.seen().len(), 0);
}

#[tokio::test]
async fn the_callers_key_goes_on_beside_the_gateways_own() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    for via in VIAS {
        assert_eq!(via.check_with_key(&gateway).await.code, Code::Ok, "{via:?}");
    }
    let seen = broker.seen();
    assert_eq!(seen.len(), 3);
    for call in seen {
        assert_eq!(
            call.header("authorization").unwrap(),
            format!("Bearer {SERVICE_KEY}")
        );
        assert_eq!(call.header("x-dromos-key"), Some(KEY));
        assert_eq!(call.headers.get_all("x-dromos-key").iter().count(), 1);
        assert_eq!(call.headers.get_all("authorization").iter().count(), 1);
    }
}

#[tokio::test]
async fn hardening_31_a_caller_cannot_pass_internal_headers_through() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    let bearer = format!("Bearer {KEY}");
    let forged = [
        ("authorization", bearer.as_str()),
        ("x-dromos-key", "somebody-elses-key-0123"),
        ("x-dromos-workspace", "w-2"),
        ("x-dromos-refused", "service-key"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("cookie", "session=1"),
    ];
    for via in VIAS {
        assert_eq!(via.check(&gateway, &forged).await.code, Code::Ok);
    }
    for call in broker.seen() {
        assert_eq!(call.header("x-dromos-key"), Some(KEY));
        for (name, _) in &forged[2..] {
            assert!(call.header(name).is_none(), "{name} reached the broker");
        }
    }
}

#[tokio::test]
async fn what_a_trace_needs_goes_on() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for via in VIAS {
        let bearer = format!("Bearer {KEY}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-request-id", "r-1"),
            ("traceparent", trace),
            ("tracestate", "a=b"),
            ("grpc-timeout", "10S"),
        ];
        let answer = via.check(&gateway, &headers).await;
        assert_eq!(answer.headers["x-request-id"], "r-1", "{via:?}");
    }
    for call in broker.seen() {
        assert_eq!(call.header("x-request-id"), Some("r-1"));
        assert_eq!(call.header("traceparent"), Some(trace));
        assert_eq!(call.header("tracestate"), Some("a=b"));
        let left = dromos_serve::parse_timeout(&call.headers["grpc-timeout"]).unwrap();
        assert!((9..10).contains(&left.as_secs()), "{left:?}");
    }
}

#[tokio::test]
async fn a_call_without_a_deadline_gets_one() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = Running::before(&broker).await;
    assert_eq!(Via::Rest.check_with_key(&gateway).await.code, Code::Ok);
    let left = dromos_serve::parse_timeout(&broker.only().headers["grpc-timeout"]).unwrap();
    assert!((29..30).contains(&left.as_secs()), "{left:?}");
}
