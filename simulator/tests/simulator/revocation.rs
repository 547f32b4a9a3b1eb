use crate::support::{FORM, client, encode, error, is, text};

#[tokio::test]
async fn revoking_the_refresh_token_ends_the_grant() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let page = client
        .post_form("/revoke", &vec![("token", text(&tokens, "refresh_token"))])
        .await
        .expect("an answer");
    assert_eq!(page.status, 200);
    assert!(client.sim.is_revoked(text(&tokens, "refresh_token")));
    assert_eq!(client.me(text(&tokens, "access_token")).await.status, 401);
    assert_eq!(client.sim.counts().revoked, 1);
}

#[tokio::test]
async fn revoking_the_access_token_leaves_the_refresh_token() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    client
        .post_form("/revoke", &vec![("token", text(&tokens, "access_token"))])
        .await
        .expect("an answer");
    assert_eq!(client.me(text(&tokens, "access_token")).await.status, 401);
    assert!(!client.sim.is_revoked(text(&tokens, "refresh_token")));
    assert_eq!(
        client.refresh(text(&tokens, "refresh_token")).await.status,
        200
    );
}

#[tokio::test]
async fn an_unknown_token_counts_as_revoked_but_a_stranger_is_refused() {
    let mut client = client(|_| {}).await;
    let unknown = vec![("token", "unknown")];
    assert_eq!(
        client
            .post_form("/revoke", &unknown)
            .await
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(client.sim.counts().revoked, 0);
    assert!(!client.sim.is_revoked("unknown"));
    let stranger = client
        .post("/revoke", &[("content-type", FORM)], encode(&unknown))
        .await
        .expect("an answer");
    assert_eq!(error(&stranger), is(401, "invalid_client"));
}

#[tokio::test]
async fn a_provider_may_offer_no_revocation() {
    let mut client = client(|behaviour| behaviour.revocation = false).await;
    let tokens = client.tokens().await;
    let page = client
        .post_form("/revoke", &vec![("token", text(&tokens, "refresh_token"))])
        .await
        .expect("an answer");
    assert_eq!(page.status, 404);
    assert!(!client.sim.is_revoked(text(&tokens, "refresh_token")));
}
