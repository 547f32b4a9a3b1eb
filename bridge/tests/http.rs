//! Signing and sending, against a gateway and a far side.

mod common;

use std::time::Duration;

use common::{CONNECTION, World, far_side::FarSide, payload, refusal, token, within_seconds};
use dromos_bridge::{Bridge, Error};
use http::StatusCode;
use reqwest::{Method, Request};
use tokio::net::TcpListener;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);

async fn send(bridge: &Bridge, request: Request) -> Result<StatusCode, Error> {
    let answer = within_seconds(bridge.send(CONNECTION, request)).await;
    answer.map(|answer| answer.status())
}

#[tokio::test]
async fn a_request_is_sent_with_the_credential() {
    let (world, far) = (World::new().await, FarSide::accepting(&[1]).await);
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    for _ in 0..3 {
        let mut request = far.request("/items");
        request
            .headers_mut()
            .insert("authorization", "Basic b2xk".parse().expect("a value"));
        *request.body_mut() = Some("a body".into());
        assert_eq!(
            send(&bridge, request).await.expect("an answer"),
            StatusCode::OK
        );
    }
    assert_eq!(far.seen(), vec![FarSide::signed(1, "a body"); 3]);
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test]
async fn hardening_23_a_401_brings_one_refresh_and_one_retry_with_the_same_body() {
    let (world, far) = (World::new().await, FarSide::accepting(&[2]).await);
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    world.refresh(world.payload(2, HOUR));
    let mut request = far.request("/items");
    *request.body_mut() = Some("a body".into());
    assert_eq!(
        send(&bridge, request).await.expect("an answer"),
        StatusCode::OK
    );
    assert_eq!(
        far.seen(),
        [FarSide::signed(1, "a body"), FarSide::signed(2, "a body")]
    );
    assert_eq!(world.refreshes_asked(), [Some(1)]);
    assert_eq!(
        send(&bridge, far.request("/items"))
            .await
            .expect("an answer"),
        StatusCode::OK
    );
    assert_eq!(
        (world.tokens_asked(), world.refreshes_asked().len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_far_side_that_goes_on_refusing_is_asked_twice_and_the_gateway_once() {
    let (world, far) = (World::new().await, FarSide::accepting(&[]).await);
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    world.refresh(world.payload(2, HOUR));
    let status = send(&bridge, far.request("/items"))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(far.seen(), [FarSide::signed(1, ""), FarSide::signed(2, "")]);
    for _ in 0..5 {
        let status = send(&bridge, far.request("/items"))
            .await
            .expect("an answer");
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        far.seen().len(),
        7,
        "one more for each, none with the same token twice"
    );
    assert_eq!(world.refreshes_asked(), [Some(1)]);
}

#[tokio::test]
async fn a_body_that_can_not_be_sent_twice_is_sent_once_and_the_next_request_is_right() {
    let (world, far) = (World::new().await, FarSide::accepting(&[2]).await);
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    world.refresh(world.payload(2, HOUR));
    let mut request = far.request("/items");
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("a stream")]);
    *request.body_mut() = Some(reqwest::Body::wrap_stream(stream));
    let status = send(&bridge, request).await.expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(far.seen(), [FarSide::signed(1, "a stream")]);
    assert_eq!(
        send(&bridge, far.request("/items"))
            .await
            .expect("an answer"),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_401_without_a_newer_credential_is_the_answer() {
    let (world, far) = (World::new().await, FarSide::accepting(&[]).await);
    let bridge = world.bridge();
    world.token(Ok(payload(1)));
    world.refresh(Err(refusal(
        Code::FailedPrecondition,
        "NOT_REFRESHABLE",
        None,
    )));
    let status = send(&bridge, far.request("/items"))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(far.seen().len(), 1);
}

#[tokio::test]
async fn a_401_that_means_the_user_must_reconnect_says_so() {
    let (world, far) = (World::new().await, FarSide::accepting(&[]).await);
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    let attention = refusal(
        Code::FailedPrecondition,
        "CONNECTION_ATTENTION_REQUIRED",
        None,
    );
    world.refresh(Err(attention));
    let error = send(&bridge, far.request("/items"))
        .await
        .expect_err("the grant is gone");
    assert_eq!(error.reason(), "CONNECTION_ATTENTION_REQUIRED");
    assert!(error.reconnect());
}

#[tokio::test]
async fn a_redirect_is_not_followed_whatever_the_client_was_told() {
    let (world, far) = (World::new().await, FarSide::accepting(&[1]).await);
    let follow =
        |client: reqwest::ClientBuilder| client.redirect(reqwest::redirect::Policy::default());
    let bridge = world
        .builder()
        .http_client(follow)
        .build()
        .expect("a bridge");
    world.token(world.payload(1, HOUR));
    let status = send(&bridge, far.request("/moved"))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(far.seen().len(), 1);
}

#[tokio::test]
async fn hardening_24_plaintext_beyond_this_machine_is_refused_before_the_gateway_is_asked() {
    let world = World::new().await;
    let bridge = world.bridge();
    let url = || {
        "http://api.acme.test/items?key=made-up"
            .parse()
            .expect("a URL")
    };
    let error = send(&bridge, Request::new(Method::GET, url()))
        .await
        .expect_err("plaintext");
    assert_eq!(error.reason(), "DESTINATION_REFUSED");
    assert!(
        !format!("{error} {error:?}").contains("made-up"),
        "{error:?}"
    );
    let mut request = http::Request::get("http://api.acme.test/items")
        .body(())
        .expect("a request");
    let error = within_seconds(bridge.sign(CONNECTION, &mut request)).await;
    assert_eq!(
        error.expect_err("plaintext").reason(),
        "DESTINATION_REFUSED"
    );
    assert_eq!(world.tokens_asked(), 0);

    world.token(world.payload(1, HOUR));
    let bridge = world
        .builder()
        .allow_plaintext(true)
        .build()
        .expect("a bridge");
    let generation = within_seconds(bridge.sign(CONNECTION, &mut request)).await;
    assert_eq!(generation.expect("allowed explicitly"), 1);
}

#[tokio::test]
async fn only_the_named_origins_get_a_credential() {
    let (world, far) = (World::new().await, FarSide::accepting(&[1]).await);
    let other = FarSide::accepting(&[1]).await;
    world.token(world.payload(1, HOUR));
    let bridge = world.bridge();
    let narrow = bridge.only_to([far.origin.as_str()]).expect("an origin");
    assert_eq!(
        send(&narrow, far.request("/items"))
            .await
            .expect("an answer"),
        StatusCode::OK
    );
    let error = send(&narrow, other.request("/items"))
        .await
        .expect_err("another origin");
    assert_eq!(error.reason(), "DESTINATION_REFUSED");
    assert_eq!(other.seen(), []);
    assert_eq!(
        send(&bridge, other.request("/items"))
            .await
            .expect("an answer"),
        StatusCode::OK
    );
    assert_eq!(world.tokens_asked(), 1, "they share the cache");
    assert!(bridge.only_to(["https://api.acme.test/v1"]).is_err());
}

#[tokio::test]
async fn a_credential_with_cr_lf_is_refused_before_any_byte_is_sent() {
    let (world, far) = (World::new().await, FarSide::accepting(&[1]).await);
    let bridge = world.bridge();
    let mut evil = payload(1);
    let text = "made-up\r\nX-Evil: 1".to_owned();
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text)),
    };
    evil.credentials
        .as_mut()
        .expect("a Struct")
        .fields
        .insert("access_token".to_owned(), value);
    world.token(Ok(evil));
    let error = send(&bridge, far.request("/items"))
        .await
        .expect_err("CR LF");
    assert_eq!(error.reason(), "INVALID_CREDENTIAL");
    assert!(
        !format!("{error} {error:?}").contains("made-up"),
        "{error:?}"
    );
    assert_eq!(far.seen(), []);

    let uri = "https://api.acme.test/items";
    let mut request = http::Request::put(uri)
        .header("x-kept", "1")
        .body("a body")
        .expect("valid");
    let error = within_seconds(bridge.sign(CONNECTION, &mut request)).await;
    assert_eq!(error.expect_err("CR LF").reason(), "INVALID_CREDENTIAL");
    assert_eq!(
        (request.method(), request.uri().to_string().as_str()),
        (&Method::PUT, uri)
    );
    assert_eq!((request.headers().len(), *request.body()), (1, "a body"));
}

#[tokio::test]
async fn any_http_request_can_be_signed() {
    let world = World::new().await;
    let bridge = world.bridge();
    world.token(world.payload(7, HOUR));
    let mut request = http::Request::put("wss://api.acme.test/stream?limit=2")
        .header("accept", "application/json")
        .body("a body")
        .expect("a request");
    let generation = within_seconds(bridge.sign(CONNECTION, &mut request)).await;
    assert_eq!(generation.expect("signed"), 7);
    assert_eq!(
        request.headers()["authorization"],
        format!("Bearer {}", token(7))
    );
    assert!(request.headers()["authorization"].is_sensitive());
    assert_eq!(request.headers()["accept"], "application/json");
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.uri(), "wss://api.acme.test/stream?limit=2");
    assert_eq!(*request.body(), "a body");
    let mut relative = http::Request::get("/items").body(()).expect("a request");
    let error = within_seconds(bridge.sign(CONNECTION, &mut relative)).await;
    assert_eq!(
        error.expect_err("no origin").reason(),
        "DESTINATION_REFUSED"
    );
}

#[tokio::test]
async fn a_transport_failure_tells_nothing_of_the_url_but_is_temporary() {
    let (world, listener) = (World::new().await, TcpListener::bind("127.0.0.1:0").await);
    let address = listener
        .expect("a free port")
        .local_addr()
        .expect("an address");
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    let url = format!("http://{address}/items?key=made-up")
        .parse()
        .expect("a URL");
    let error = send(&bridge, Request::new(Method::GET, url))
        .await
        .expect_err("nobody listens");
    assert_eq!(error.reason(), "HTTP");
    assert!(error.is_temporary());
    assert!(
        !format!("{error} {error:?}").contains("made-up"),
        "{error:?}"
    );
}
