use http::Method;

use crate::support::{FakeBroker, KEY, Running, config, healthy, http1};

const ORIGIN: &str = "https://app.example.com";

async fn gateway(broker: &FakeBroker, origins: &[&str]) -> Running {
    let mut config = config(broker.address);
    config.cors_allowed_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Running::start(config).await
}

async fn preflight(gateway: &Running, origin: &str) -> reqwest::Response {
    http1()
        .request(
            Method::OPTIONS,
            gateway.url("/dromos.v1.ConnectionService/CheckConnection"),
        )
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-grpc-web",
        )
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_read_the_status() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = gateway(&broker, &["https://other.example.com", ORIGIN]).await;
    let answer = preflight(&gateway, ORIGIN).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(answer.headers()["access-control-max-age"], "7200");
    let allowed = answer.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    for header in [
        "authorization",
        "content-type",
        "x-grpc-web",
        "x-user-agent",
        "grpc-timeout",
    ] {
        assert!(
            allowed.split(',').any(|name| name.trim() == header),
            "{header} in {allowed}"
        );
    }
    let call = http1()
        .get(gateway.url("/v1/check-connection/conn-1"))
        .header("origin", ORIGIN)
        .header("authorization", format!("Bearer {KEY}"));
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], ORIGIN);
    let exposed = answer.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    for header in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-id",
    ] {
        assert!(
            exposed.split(',').any(|name| name.trim() == header),
            "{header} in {exposed}"
        );
    }
    assert!(
        !answer
            .headers()
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn an_origin_that_is_not_exactly_listed_is_not_allowed() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = gateway(&broker, &[ORIGIN]).await;
    for origin in [
        "https://app.example.com.evil.test",
        "https://evil-app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
    ] {
        let answer = preflight(&gateway, origin).await;
        assert!(
            !answer.headers().contains_key("access-control-allow-origin"),
            "{origin}"
        );
    }
}

#[tokio::test]
async fn without_origins_no_cors_header_is_ever_sent() {
    let broker = FakeBroker::start(healthy).await;
    let gateway = gateway(&broker, &[]).await;
    let answer = preflight(&gateway, ORIGIN).await;
    let sent = answer
        .headers()
        .keys()
        .any(|name| name.as_str().starts_with("access-control-"));
    assert!(!sent, "{:?}", answer.headers());
}
