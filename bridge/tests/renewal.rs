//! What follows when the far side refuses a credential.

mod common;

use std::time::Duration;

use common::{CONNECTION, World, generation, payload, refusal, within_seconds};
use dromos_bridge::Error;
use futures_util::future::join_all;
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_refused_credential_is_renewed_once_for_all_who_tell() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.refresh(world.payload(2, HOUR));
    world.close();
    let waiters = join_all((0..50).map(|_| credentials.invalidate(CONNECTION, 1)));
    let opener = async {
        world.until_refreshes_asked(1).await;
        world.open();
    };
    let (outcomes, ()) = within_seconds(async { tokio::join!(waiters, opener) }).await;
    for outcome in outcomes {
        assert_eq!(outcome.expect("a newer one").generation(), 2);
    }
    assert_eq!(generation(&credentials).await, 2);
    let late = within_seconds(credentials.invalidate(CONNECTION, 1)).await;
    assert_eq!(late.expect("the newer one is there").generation(), 2);
    assert_eq!(world.refreshes_asked(), [Some(1)]);
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test]
async fn a_far_side_that_refuses_every_credential_does_not_drive_the_provider() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(1, HOUR));
    assert_eq!(generation(&credentials).await, 1);
    world.refresh(world.payload(2, HOUR));
    let renewed = within_seconds(credentials.invalidate(CONNECTION, 1)).await;
    assert_eq!(renewed.expect("a newer one").generation(), 2);
    for _ in 0..20 {
        let error = within_seconds(credentials.invalidate(CONNECTION, 2)).await;
        let error = error.expect_err("renewed a moment ago");
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert_eq!(error.retry_after(), Some(30 * SECOND));
    }
    assert_eq!(world.refreshes_asked(), [Some(1)]);
    world.clock.advance(30 * SECOND);
    world.refresh(world.payload(3, HOUR));
    let renewed = within_seconds(credentials.invalidate(CONNECTION, 2)).await;
    assert_eq!(renewed.expect("a newer one").generation(), 3);
}

#[tokio::test]
async fn a_gateway_that_has_no_newer_credential_is_asked_once() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(world.payload(7, HOUR));
    assert_eq!(generation(&credentials).await, 7);
    world.refresh(world.payload(7, HOUR));
    for _ in 0..5 {
        let error = within_seconds(credentials.invalidate(CONNECTION, 7)).await;
        assert_eq!(error.expect_err("the same").reason(), "CREDENTIAL_REFUSED");
    }
    assert_eq!(world.refreshes_asked(), [Some(7)]);
    assert_eq!(generation(&credentials).await, 7, "it may do elsewhere");
}

#[tokio::test]
async fn a_credential_that_can_not_be_refreshed_is_kept_and_not_asked_for_again() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.token(Ok(payload(1)));
    assert_eq!(generation(&credentials).await, 1);
    world.refresh(Err(refusal(
        Code::FailedPrecondition,
        "NOT_REFRESHABLE",
        None,
    )));
    for _ in 0..5 {
        let error = within_seconds(credentials.invalidate(CONNECTION, 1)).await;
        assert_eq!(
            error.expect_err("no refresh token").reason(),
            "NOT_REFRESHABLE"
        );
    }
    assert_eq!(world.refreshes_asked(), [Some(1)]);
    assert_eq!(generation(&credentials).await, 1);
    assert_eq!(world.tokens_asked(), 1);
}

#[tokio::test]
async fn a_caller_without_credential_outlives_a_renewal_that_fails() {
    let world = World::new().await;
    let credentials = world.bridge().credentials().clone();
    world.refresh(Err(refusal(
        Code::FailedPrecondition,
        "NOT_REFRESHABLE",
        None,
    )));
    world.token(world.payload(1, HOUR));
    world.close();
    let renewal = credentials.invalidate(CONNECTION, 1);
    let caller = async {
        world.until_refreshes_asked(1).await;
        let get = credentials.get(CONNECTION);
        let opener = async { world.open() };
        tokio::join!(get, opener).0
    };
    let (renewed, got) = within_seconds(async { tokio::join!(renewal, caller) }).await;
    assert_eq!(renewed.expect_err("refused").reason(), "NOT_REFRESHABLE");
    assert_eq!(got.expect("the current one").generation(), 1);
}
