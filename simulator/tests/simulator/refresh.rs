use std::time::Duration;

use serde_json::json;

use crate::support::{client, error, is, json, refresh_params, text, with};

#[tokio::test]
async fn a_refresh_answers_with_a_new_generation() {
    let mut client = client(|_| {}).await;
    let first = client.tokens().await;
    let second = json(&client.refresh(text(&first, "refresh_token")).await);
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    let me = json(&client.me(text(&second, "access_token")).await);
    assert_eq!(
        me,
        json!({ "sub": "ada", "scope": "openid read", "token_generation": 2 })
    );
    assert_eq!(
        client.me(text(&first, "access_token")).await.status,
        200,
        "the earlier one lives on"
    );
    assert_eq!(
        (client.sim.counts().refreshes, client.sim.counts().issued),
        (1, 2)
    );
}

#[tokio::test]
async fn a_spent_refresh_token_ends_the_whole_family() {
    let mut client = client(|_| {}).await;
    let first = client.tokens().await;
    let second = json(&client.refresh(text(&first, "refresh_token")).await);
    assert_eq!(
        error(&client.refresh(text(&first, "refresh_token")).await),
        is(400, "invalid_grant")
    );
    assert_eq!(client.sim.counts().refresh_reuses, 1);
    assert_eq!(
        error(&client.refresh(text(&second, "refresh_token")).await),
        is(400, "invalid_grant")
    );
    assert_eq!(client.me(text(&second, "access_token")).await.status, 401);
    assert!(client.sim.is_revoked(text(&second, "refresh_token")));
}

#[tokio::test]
async fn reuse_can_be_refused_without_ending_the_family() {
    let mut client = client(|behaviour| behaviour.revoke_family_on_reuse = false).await;
    let first = client.tokens().await;
    let second = json(&client.refresh(text(&first, "refresh_token")).await);
    assert_eq!(
        error(&client.refresh(text(&first, "refresh_token")).await),
        is(400, "invalid_grant")
    );
    assert_eq!(client.sim.counts().refresh_reuses, 1);
    assert_eq!(
        client.refresh(text(&second, "refresh_token")).await.status,
        200
    );
}

#[tokio::test]
async fn within_the_reuse_interval_a_spent_token_still_works() {
    let mut client = client(|behaviour| behaviour.refresh_reuse_interval = 30).await;
    let first = client.tokens().await;
    let refresh_token = text(&first, "refresh_token");
    client.refresh(refresh_token).await;
    client.sim.clock().advance(Duration::from_secs(29));
    assert_eq!(client.refresh(refresh_token).await.status, 200);
    client.sim.clock().advance(Duration::from_secs(1));
    assert_eq!(
        error(&client.refresh(refresh_token).await),
        is(400, "invalid_grant"),
        "the interval is not renewed"
    );
    assert_eq!(client.sim.counts().refresh_reuses, 1);
}

#[tokio::test]
async fn without_rotation_the_same_token_comes_back() {
    let mut client = client(|behaviour| behaviour.rotate_refresh_tokens = false).await;
    let first = client.tokens().await;
    for _ in 0..2 {
        let next = json(&client.refresh(text(&first, "refresh_token")).await);
        assert_eq!(next["refresh_token"], first["refresh_token"]);
    }
}

#[tokio::test]
async fn an_omitted_refresh_token_leaves_the_old_one_good() {
    let mut client = client(|behaviour| behaviour.omit_refresh_token_on_refresh = true).await;
    let first = client.tokens().await;
    for _ in 0..2 {
        let next = json(&client.refresh(text(&first, "refresh_token")).await);
        assert!(next["access_token"].is_string());
        assert_eq!(next.get("refresh_token"), None);
    }
}

#[tokio::test]
async fn a_provider_may_issue_no_refresh_token_at_all() {
    let mut client = client(|behaviour| behaviour.issue_refresh_token = false).await;
    assert_eq!(client.tokens().await.get("refresh_token"), None);
}

#[tokio::test]
async fn a_refresh_token_may_expire() {
    let mut client = client(|behaviour| behaviour.refresh_token_expires_in = Some(100)).await;
    let (early, late) = (client.tokens().await, client.tokens().await);
    client.sim.clock().advance(Duration::from_secs(99));
    assert_eq!(
        client.refresh(text(&early, "refresh_token")).await.status,
        200
    );
    client.sim.clock().advance(Duration::from_secs(1));
    assert_eq!(
        error(&client.refresh(text(&late, "refresh_token")).await),
        is(400, "invalid_grant")
    );
}

#[tokio::test]
async fn a_withdrawn_consent_ends_the_grants_of_that_user_only() {
    let mut client = client(|_| {}).await;
    let ada = client.tokens().await;
    client.sim.set_subject("grace");
    let grace = client.tokens().await;
    client.sim.revoke_grant("ada");
    assert_eq!(
        error(&client.refresh(text(&ada, "refresh_token")).await),
        is(400, "invalid_grant")
    );
    assert_eq!(client.me(text(&ada, "access_token")).await.status, 401);
    assert_eq!(client.sim.counts().refresh_reuses, 0);
    assert_eq!(
        client.refresh(text(&grace, "refresh_token")).await.status,
        200
    );
}

#[tokio::test]
async fn a_refresh_can_ask_for_less_but_not_for_more() {
    let mut client = client(|_| {}).await;
    let first = client.tokens().await;
    let params = with(
        refresh_params(text(&first, "refresh_token")),
        "scope",
        "read",
    );
    let less = json(
        &client
            .post_form("/token", &params)
            .await
            .expect("an answer"),
    );
    assert_eq!(
        json(&client.me(text(&less, "access_token")).await)["scope"],
        "read"
    );
    let params = with(
        refresh_params(text(&less, "refresh_token")),
        "scope",
        "openid write",
    );
    let more = client
        .post_form("/token", &params)
        .await
        .expect("an answer");
    assert_eq!(error(&more), is(400, "invalid_scope"));
    assert_eq!(
        client.refresh(text(&less, "refresh_token")).await.status,
        200,
        "the refusal spent nothing"
    );
}

#[tokio::test]
async fn refreshes_can_have_an_address_of_their_own() {
    let mut client = client(|_| {}).await;
    let first = client.tokens().await;
    let params = refresh_params(text(&first, "refresh_token"));
    assert_eq!(
        client
            .post_form("/token/refresh", &params)
            .await
            .expect("an answer")
            .status,
        404
    );
    client
        .sim
        .change(|behaviour| behaviour.separate_refresh_endpoint = true);
    let at_token = client
        .post_form("/token", &params)
        .await
        .expect("an answer");
    assert_eq!(error(&at_token), is(400, "unsupported_grant_type"));
    assert_eq!(
        client
            .post_form("/token/refresh", &params)
            .await
            .expect("an answer")
            .status,
        200
    );
}
