//! The credential cache: fetched once, refreshed ahead, kept through outages.

mod common;

use std::time::Duration;

use common::{CONNECTION, Recording, World, generation, payload, refusal, refused, within_seconds};
use dromos_bridge::Credentials;
use futures_util::future::join_all;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Waits until the cache serves this generation: a fetch that nobody waits for
/// has landed.
async fn until_served(credentials: &Credentials, wanted: u32) {
    within_seconds(async {
        while generation(credentials).await != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn fifty_waiters_share_one_fetch() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    world.close();
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let credentials = credentials.clone();
            tokio::spawn(async move { generation(&credentials).await })
        })
        .collect();
    world.until_tokens_asked(1).await;
    world.open();
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.expect("a waiter"), 1);
    }
    assert_eq!(generation(&credentials).await, 1);
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test]
async fn fifty_waiters_share_one_failure_and_the_next_caller_asks_again() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(Err(refusal(
        Code::Unavailable,
        "BROKER_UNAVAILABLE",
        Some(7 * SECOND),
    )));
    world.token(world.payload(1, HOUR));
    world.close();
    // All of them are waiting by the time the first is polled a second time.
    let waiters = join_all((0..50).map(|_| credentials.get(CONNECTION)));
    let opener = async {
        world.until_tokens_asked(1).await;
        world.open();
    };
    let (outcomes, ()) = within_seconds(async { tokio::join!(waiters, opener) }).await;
    for outcome in outcomes {
        let error = outcome.expect_err("an outage");
        assert_eq!(error.reason(), "BROKER_UNAVAILABLE");
        assert_eq!(error.retry_after(), Some(7 * SECOND));
        assert!(error.is_temporary() && !error.reconnect());
    }
    assert_eq!(world.tokens_asked(), 1);
    assert_eq!(generation(&credentials).await, 1);
}

#[tokio::test]
async fn a_waiter_that_goes_away_does_not_cancel_the_fetch() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    world.close();
    let first = tokio::spawn({
        let credentials = credentials.clone();
        async move { generation(&credentials).await }
    });
    world.until_tokens_asked(1).await;
    let second = credentials.get(CONNECTION);
    first.abort();
    assert!(first.await.expect_err("it was aborted").is_cancelled());
    let opener = async { world.open() };
    let (outcome, ()) = within_seconds(async { tokio::join!(second, opener) }).await;
    assert_eq!(outcome.expect("a credential").generation(), 1);
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test]
async fn within_the_margin_the_caller_is_served_and_one_fetch_starts_behind() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(HOUR - 61 * SECOND);
    assert_eq!(generation(&credentials).await, 1);
    world.round_trip(&credentials).await;
    assert_eq!(world.tokens_asked(), 1, "61 s remain, the margin is 60 s");

    world.clock.advance(SECOND);
    world.token(world.payload(2, HOUR));
    world.close();
    for _ in 0..10 {
        assert_eq!(
            generation(&credentials).await,
            1,
            "nobody waits for the gateway"
        );
    }
    world.until_tokens_asked(2).await;
    assert_eq!(generation(&credentials).await, 1);
    world.open();
    until_served(&credentials, 2).await;
    assert_eq!(world.tokens_asked(), 2);
}

#[tokio::test]
async fn the_margin_of_a_short_lived_credential_is_a_fifth_of_its_life() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, MINUTE));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(47 * SECOND);
    assert_eq!(generation(&credentials).await, 1);
    world.round_trip(&credentials).await;
    assert_eq!(world.tokens_asked(), 1);
    world.token(world.payload(2, MINUTE));
    world.clock.advance(SECOND);
    until_served(&credentials, 2).await;
    assert_eq!(world.tokens_asked(), 2);
}

#[tokio::test]
async fn a_valid_credential_is_served_through_an_outage_and_an_expired_one_is_not() {
    let recording = Recording::start();
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(HOUR - MINUTE);
    world.token(Err(refusal(
        Code::Unavailable,
        "PROVIDER_UNAVAILABLE",
        None,
    )));
    assert_eq!(generation(&credentials).await, 1);
    recording.until("temporary_error", 1).await;
    // The gateway is left alone for five seconds after that.
    world.clock.advance(4 * SECOND);
    assert_eq!(generation(&credentials).await, 1);
    world.round_trip(&credentials).await;
    assert_eq!(world.tokens_asked(), 2);
    world.clock.advance(SECOND);
    world.token(Err(refusal(
        Code::Unavailable,
        "PROVIDER_UNAVAILABLE",
        None,
    )));
    assert_eq!(generation(&credentials).await, 1);
    recording.until("temporary_error", 2).await;
    assert_eq!(world.tokens_asked(), 3);
    world.clock.advance(MINUTE);
    world.token(Err(refusal(
        Code::Unavailable,
        "PROVIDER_UNAVAILABLE",
        None,
    )));
    let error = refused(&credentials).await;
    assert_eq!(error.reason(), "PROVIDER_UNAVAILABLE");
    assert!(error.is_temporary());
    world.token(world.payload(2, HOUR));
    assert_eq!(generation(&credentials).await, 2);
}

#[tokio::test]
async fn a_rate_limited_gateway_is_left_alone_as_long_as_it_says() {
    let recording = Recording::start();
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(HOUR - MINUTE);
    world.token(Err(refusal(
        Code::ResourceExhausted,
        "RATE_LIMITED",
        Some(30 * SECOND),
    )));
    assert_eq!(generation(&credentials).await, 1);
    recording.until("temporary_error", 1).await;
    world.clock.advance(29 * SECOND);
    assert_eq!(generation(&credentials).await, 1);
    world.round_trip(&credentials).await;
    assert_eq!(world.tokens_asked(), 2);
    world.token(world.payload(2, HOUR));
    world.clock.advance(SECOND);
    until_served(&credentials, 2).await;
    assert_eq!(world.tokens_asked(), 3);
}

#[tokio::test]
async fn hardening_20_a_credential_without_expiry_is_asked_for_again_after_five_minutes_only() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(Ok(payload(1)));
    for _ in 0..20 {
        assert_eq!(generation(&credentials).await, 1);
    }
    assert_eq!(world.tokens_asked(), 1);
    world.clock.advance(5 * MINUTE);
    world.token(Ok(payload(1)));
    for _ in 0..20 {
        assert_eq!(generation(&credentials).await, 1);
    }
    assert_eq!(world.tokens_asked(), 2);
    // It has no expiry, so an outage is no reason to stop using it.
    world.clock.advance(5 * MINUTE);
    world.token(Err(refusal(Code::Unavailable, "BROKER_UNAVAILABLE", None)));
    for _ in 0..20 {
        assert_eq!(generation(&credentials).await, 1);
    }
    assert_eq!(world.tokens_asked(), 3);
    // A revocation is.
    world.clock.advance(5 * SECOND);
    world.token(Err(refusal(
        Code::PermissionDenied,
        "CONNECTION_REVOKED",
        None,
    )));
    assert_eq!(refused(&credentials).await.reason(), "CONNECTION_REVOKED");
}

#[tokio::test]
async fn hardening_20_a_credential_that_lives_less_than_the_margin_does_not_loop() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    // Three seconds of an hour are left, and the gateway has no newer one.
    world.token(world.payload(1, 3 * SECOND));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(2900 * SECOND / 1000);
    for _ in 0..20 {
        assert_eq!(generation(&credentials).await, 1);
    }
    assert_eq!(
        world.tokens_asked(),
        1,
        "not asked ahead of need within five seconds"
    );
    // Already expired by this clock: used for a second, not asked for at every call.
    world.clock.advance(SECOND);
    world.token(world.payload(2, Duration::ZERO));
    for _ in 0..20 {
        assert_eq!(generation(&credentials).await, 2);
    }
    assert_eq!(world.tokens_asked(), 2);
    world.clock.advance(SECOND);
    world.token(world.payload(3, HOUR));
    assert_eq!(generation(&credentials).await, 3);
    assert_eq!(world.tokens_asked(), 3);
}

#[tokio::test]
async fn a_connection_that_needs_its_user_is_told_and_its_credential_dropped() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.clock.advance(HOUR - MINUTE);
    let attention = || {
        refusal(
            Code::FailedPrecondition,
            "CONNECTION_ATTENTION_REQUIRED",
            None,
        )
    };
    world.token(Err(attention()));
    assert_eq!(generation(&credentials).await, 1, "nothing is known yet");
    world.until_tokens_asked(2).await;
    world.token(Err(attention()));
    let error = within_seconds(async {
        loop {
            match credentials.get(CONNECTION).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert_eq!(error.reason(), "CONNECTION_ATTENTION_REQUIRED");
    assert!(error.reconnect() && !error.is_temporary());
    world.token(world.payload(2, HOUR));
    assert_eq!(
        generation(&credentials).await,
        2,
        "the user has reconnected"
    );
}

#[tokio::test]
async fn the_cache_keeps_no_more_connections_than_it_may() {
    let world = World::new().await;
    let bridge = world.builder().capacity(2).build().expect("a bridge");
    for connection in ["a", "b", "a", "c"] {
        world.token(world.payload(1, HOUR));
        within_seconds(bridge.credentials().get(connection))
            .await
            .expect("a credential");
    }
    assert_eq!(world.tokens_asked(), 3);
    within_seconds(bridge.credentials().get("a"))
        .await
        .expect("used lately");
    assert_eq!(world.tokens_asked(), 3);
    within_seconds(bridge.credentials().get("b"))
        .await
        .expect("made room for c");
    assert_eq!(world.tokens_asked(), 4);
    let shown = format!("{:?}", bridge.credentials());
    assert!(shown.contains("connections: 2"), "{shown}");
}

#[tokio::test]
async fn a_failed_fetch_leaves_nothing_behind() {
    let world = World::new().await;
    let bridge = world.bridge();
    world.token(Err(refusal(Code::NotFound, "CONNECTION_NOT_FOUND", None)));
    let error = refused(bridge.credentials()).await;
    assert_eq!(error.reason(), "CONNECTION_NOT_FOUND");
    assert!(!error.is_temporary() && !error.reconnect());
    let shown = format!("{:?}", bridge.credentials());
    assert!(shown.contains("connections: 0"), "{shown}");
}

#[tokio::test]
async fn refreshes_are_counted_by_result_and_the_first_fetch_is_not_one() {
    let recording = Recording::start();
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(Ok(payload(1)));
    assert_eq!(generation(&credentials).await, 1);
    assert!(!recording.text().contains("bridge_token_refreshes_total"));
    world.refresh(Ok(payload(2)));
    within_seconds(credentials.invalidate(CONNECTION, 1))
        .await
        .expect("a newer one");
    world.clock.advance(5 * MINUTE);
    world.token(Err(refusal(Code::Unavailable, "BROKER_UNAVAILABLE", None)));
    assert_eq!(generation(&credentials).await, 2);
    world.clock.advance(5 * MINUTE);
    world.token(Err(refusal(
        Code::PermissionDenied,
        "CONNECTION_REVOKED",
        None,
    )));
    assert_eq!(refused(&credentials).await.reason(), "CONNECTION_REVOKED");
    for result in ["success", "temporary_error", "permanent_error"] {
        recording.until(result, 1).await;
    }
}

#[test]
fn a_runtime_that_ends_during_a_fetch_leaves_nobody_waiting() {
    let first = tokio::runtime::Runtime::new().expect("a runtime");
    let credentials = first.block_on(async {
        let world = World::new().await;
        let credentials = world.bridge().credentials().clone();
        world.close();
        let waiter = credentials.clone();
        tokio::spawn(async move { waiter.get(CONNECTION).await });
        world.until_tokens_asked(1).await;
        credentials
    });
    drop(first);
    let second = tokio::runtime::Runtime::new().expect("a runtime");
    let error = second.block_on(refused(&credentials));
    assert_eq!(error.reason(), "INTERRUPTED");
    assert!(error.is_temporary());
    // The next caller asks anew; the gateway went with the first runtime.
    let error = second.block_on(refused(&credentials));
    assert_ne!(error.reason(), "INTERRUPTED");
    assert!(error.is_temporary(), "{error:?}");
}
