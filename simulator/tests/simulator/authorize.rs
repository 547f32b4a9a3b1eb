use dromos_simulator::browser::{BrowserError, deny};
use dromos_simulator::{Endpoint, Simulator};

use crate::support::{CALLBACK, client, query, usual, with};

#[tokio::test]
async fn the_user_sees_who_asks_for_what_and_approves() {
    let mut client = client(|_| {}).await;
    let url = client.authorize_url(&with(usual(), "scope", "openid <b>read</b>"));
    let page = client.browser.get(&url).await.expect("a page");
    assert_eq!(page.status, 200);
    let text = page.text();
    for shown in [
        "sim-client",
        "ada",
        "openid",
        "<b>read</b>",
        "Approve",
        "Deny",
    ] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
    assert!(!page.body.contains("<b>read</b>"), "the scope is escaped");
    let answer = client
        .browser
        .submit(&page, &[("decision", "approve")])
        .await
        .expect("an answer");
    let callback = answer.location().expect("a redirect");
    assert!(callback.as_str().starts_with(CALLBACK), "{callback}");
    assert_eq!(query(&callback, "state").as_deref(), Some("the state"));
    assert_eq!(query(&callback, "iss"), Some(client.sim.url()));
    assert!(query(&callback, "code").is_some());
}

#[tokio::test]
async fn a_user_who_denies_sends_access_denied() {
    let mut client = client(|_| {}).await;
    let url = client.authorize_url(&usual());
    let callback = client
        .browser
        .walk(&url, CALLBACK, deny)
        .await
        .expect("the callback");
    assert_eq!(query(&callback, "error").as_deref(), Some("access_denied"));
    assert_eq!(query(&callback, "state").as_deref(), Some("the state"));
    assert_eq!(query(&callback, "code"), None);
}

#[tokio::test]
async fn a_decision_counts_once() {
    let mut client = client(|_| {}).await;
    let url = client.authorize_url(&usual());
    let page = client.browser.get(&url).await.expect("a page");
    let first = client
        .browser
        .submit(&page, &[("decision", "approve")])
        .await
        .expect("an answer");
    let second = client
        .browser
        .submit(&page, &[("decision", "approve")])
        .await
        .expect("an answer");
    assert_eq!((first.status, second.status), (303, 400));
}

#[tokio::test]
async fn nobody_is_sent_to_an_unregistered_address_or_for_an_unknown_client() {
    let mut client = client(|_| {}).await;
    for (name, value) in [
        ("redirect_uri", "http://127.0.0.1:1/callback"),
        ("redirect_uri", "http://127.0.0.1:1/callback?keep=this&more"),
        ("redirect_uri", ""),
        ("client_id", "stranger"),
        ("client_id", ""),
    ] {
        let url = client.authorize_url(&with(usual(), name, value));
        let page = client.browser.get(&url).await.expect("a page");
        assert_eq!(
            (page.status, page.location()),
            (400, None),
            "{name}={value}"
        );
    }
}

#[tokio::test]
async fn a_redirect_uri_can_be_registered_later() {
    let mut client = client(|behaviour| behaviour.auto_approve = true).await;
    let other = "http://127.0.0.1:2/other";
    let url = client.authorize_url(&with(usual(), "redirect_uri", other));
    let refused = client.browser.walk(&url, other, deny).await;
    assert!(
        matches!(refused, Err(BrowserError::DeadEnd { status: 400, .. })),
        "{refused:?}"
    );
    client.sim.allow_redirect_uri(other);
    let callback = client
        .browser
        .walk(&url, other, deny)
        .await
        .expect("the callback");
    assert!(query(&callback, "code").is_some());
}

#[tokio::test]
async fn faulty_requests_go_back_to_the_client() {
    let mut client = client(|behaviour| {
        behaviour.scopes = vec!["openid".to_owned(), "read".to_owned()];
        behaviour
            .required_authorization_params
            .insert("access_type".to_owned(), "offline".to_owned());
    })
    .await;
    let good = with(usual(), "access_type", "offline");
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("response_type", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("access_type", "online", "invalid_request"),
        ("access_type", "", "invalid_request"),
        ("scope", "openid write", "invalid_scope"),
        ("prompt", "none", "consent_required"),
    ] {
        let callback = client.authorized(&with(good.clone(), name, value)).await;
        assert_eq!(
            query(&callback, "error").as_deref(),
            Some(error),
            "{name}={value}"
        );
        assert_eq!(query(&callback, "state").as_deref(), Some("the state"));
        assert_eq!(query(&callback, "iss"), Some(client.sim.url()));
    }
    let callback = client.authorized(&good).await;
    assert!(query(&callback, "code").is_some(), "{callback}");
}

#[tokio::test]
async fn a_repeated_parameter_is_refused() {
    let mut client = client(|_| {}).await;
    let url = format!("{}&state=again", client.authorize_url(&usual()));
    assert_eq!(client.browser.get(&url).await.expect("a page").status, 400);
}

#[tokio::test]
async fn a_provider_without_pkce_refuses_a_challenge() {
    let mut client = client(|behaviour| behaviour.refuse_pkce = true).await;
    let callback = client.authorized(&usual()).await;
    assert_eq!(
        query(&callback, "error").as_deref(),
        Some("invalid_request")
    );
    let callback = client
        .authorized(&with(usual(), "code_challenge", ""))
        .await;
    assert!(query(&callback, "code").is_some());
}

#[tokio::test]
async fn the_response_can_lack_iss_or_name_another_issuer() {
    let mut client = client(|behaviour| behaviour.announce_iss = false).await;
    let callback = client.authorized(&usual()).await;
    assert_eq!(query(&callback, "iss"), None);
    client.sim.change(|behaviour| {
        behaviour.announce_iss = true;
        behaviour.authorization_response_iss = Some("https://impostor.example".to_owned());
    });
    let callback = client.authorized(&usual()).await;
    assert_eq!(
        query(&callback, "iss").as_deref(),
        Some("https://impostor.example")
    );
}

#[tokio::test]
async fn the_response_can_carry_more() {
    let mut client = client(|behaviour| {
        behaviour
            .extra_callback_params
            .insert("realmId".to_owned(), "4 2".to_owned());
    })
    .await;
    let callback = client.authorized(&usual()).await;
    assert_eq!(query(&callback, "realmId").as_deref(), Some("4 2"));
}

#[tokio::test]
async fn with_auto_approve_no_page_is_shown() {
    let mut client = client(|behaviour| behaviour.auto_approve = true).await;
    let url = client.authorize_url(&usual());
    let page = client.browser.get(&url).await.expect("a page");
    assert_eq!(page.status, 303);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(client.sim.counts().of(Endpoint::Decision), 0);
}

#[tokio::test]
async fn two_simulators_run_side_by_side_and_a_stopped_one_is_gone() {
    let first = Simulator::start(dromos_simulator::Behaviour::default())
        .await
        .expect("a port");
    let mut second = client(|_| {}).await;
    let url = first.url();
    assert_ne!(url, second.sim.url());
    assert_eq!(
        second
            .browser
            .get(&format!("{url}/jwks"))
            .await
            .expect("an answer")
            .status,
        200
    );
    first.shutdown().await;
    assert!(matches!(
        second.browser.get(&format!("{url}/jwks")).await,
        Err(BrowserError::Connection { .. })
    ));
}
