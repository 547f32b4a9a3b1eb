//! What the bridge makes of the gateway's answers, and of its certificate.

mod common;

use std::time::Duration;

use common::{API_KEY, CONNECTION, World, generation, payload, refused, token, within_seconds};
use dromos_bridge::{Bridge, Gateway};
use rcgen::generate_simple_self_signed;
use tokio::net::TcpListener;
use tonic::transport::Identity;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_gateway_is_spoken_to_over_tls_if_its_certificate_is_trusted() {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let pem = certified.cert.pem();
    let identity = Identity::from_pem(&pem, certified.signing_key.serialize_pem());
    let world = World::with_tls(identity, &pem).await;
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(world.bridge().credentials()).await, 1);

    let other = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let url = format!("https://localhost:{}", world.address.port());
    let stranger = Gateway::builder(&url, API_KEY)
        .ca_certificate(&other.cert.pem())
        .build();
    let bridge = Bridge::builder(stranger.expect("a gateway"))
        .build()
        .expect("a bridge");
    let error = refused(bridge.credentials()).await;
    assert!(error.is_temporary(), "{error:?}");
    assert_eq!(world.tokens_asked(), 1, "the key was not sent to it");
}

#[tokio::test]
async fn a_strategy_that_is_not_known_is_told_by_name() {
    let world = World::new().await;
    let bridge = world.bridge();
    let mut unknown = payload(1);
    unknown.strategy.as_mut().expect("a strategy").r#type = "telepathy".to_owned();
    world.token(Ok(unknown));
    let error = refused(bridge.credentials()).await;
    assert_eq!(error.reason(), "UNKNOWN_TYPE");
    assert!(error.to_string().contains("strategy.type"), "{error}");
}

#[tokio::test]
async fn a_wrong_api_key_is_told() {
    let world = World::new().await;
    let url = format!("http://{}", world.address);
    let gateway = Gateway::builder(&url, "another-key").build();
    let bridge = Bridge::builder(gateway.expect("a gateway")).build();
    let error = refused(bridge.expect("a bridge").credentials()).await;
    assert_eq!(error.reason(), "UNAUTHENTICATED");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_gateway_that_is_away_is_a_temporary_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let gateway = Gateway::builder(&format!("http://{address}"), "key").build();
    let bridge = Bridge::builder(gateway.expect("a gateway")).build();
    let error = refused(bridge.expect("a bridge").credentials()).await;
    assert!(error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn no_debug_shows_a_secret() {
    let world = World::new().await;
    let bridge = world.bridge();
    world.token(world.payload(1, HOUR));
    let credential = within_seconds(bridge.credentials().get(CONNECTION)).await;
    let credential = credential.expect("a credential");
    assert_eq!(
        credential.expose_credentials()["access_token"],
        token(1).as_str()
    );
    let shown = format!("{credential:?} {bridge:?} {:?}", world.gateway);
    assert!(shown.contains("generation: 1"), "{shown}");
    assert!(!shown.contains("made-up"), "{shown}");
}
