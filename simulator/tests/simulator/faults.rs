use std::time::Duration;

use dromos_simulator::browser::{Browser, BrowserError};
use dromos_simulator::{Endpoint, Failure};
use tokio::time::Instant;

use crate::support::{client, error, is, refresh_params, text};

#[tokio::test]
async fn a_burst_of_failures_ends_by_itself_and_acts_on_nothing() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let refresh_token = text(&tokens, "refresh_token");
    client
        .sim
        .fail_next(Endpoint::Token, 2, Failure::status(503));
    client
        .sim
        .fail_next(Endpoint::Token, 1, Failure::too_many_requests(7));
    client.sim.fail_next(
        Endpoint::Token,
        1,
        Failure::error(400, "temporarily_unavailable"),
    );
    for _ in 0..2 {
        assert_eq!(client.refresh(refresh_token).await.status, 503);
    }
    let page = client.refresh(refresh_token).await;
    assert_eq!((page.status, page.header("retry-after")), (429, Some("7")));
    assert_eq!(
        error(&client.refresh(refresh_token).await),
        is(400, "temporarily_unavailable")
    );
    assert_eq!(client.refresh(refresh_token).await.status, 200);
    let counts = client.sim.counts();
    assert_eq!(
        (
            counts.of(Endpoint::Token),
            counts.refreshes,
            counts.refresh_reuses
        ),
        (6, 1, 0)
    );
}

#[tokio::test]
async fn failures_stay_at_their_endpoint_and_can_be_called_off() {
    let mut client = client(|_| {}).await;
    client
        .sim
        .fail_next(Endpoint::Jwks, 5, Failure::status(500));
    let (jwks, discovery) = (
        client.at("/jwks"),
        client.at("/.well-known/openid-configuration"),
    );
    assert_eq!(
        client
            .browser
            .get(discovery.as_str())
            .await
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(
        client
            .browser
            .get(jwks.as_str())
            .await
            .expect("an answer")
            .status,
        500
    );
    client.sim.clear_failures();
    assert_eq!(
        client
            .browser
            .get(jwks.as_str())
            .await
            .expect("an answer")
            .status,
        200
    );
}

#[tokio::test]
async fn a_cut_connection_gives_no_answer_and_acts_on_nothing() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let params = refresh_params(text(&tokens, "refresh_token"));
    client.sim.fail_next(Endpoint::Token, 1, Failure::Cut);
    let cut = client.post_form("/token", &params).await;
    assert!(
        matches!(cut, Err(BrowserError::Connection { .. })),
        "{cut:?}"
    );
    assert_eq!(client.sim.counts().refreshes, 0);
    assert_eq!(
        client
            .post_form("/token", &params)
            .await
            .expect("an answer")
            .status,
        200
    );
}

#[tokio::test]
async fn a_lost_or_broken_answer_leaves_the_token_spent() {
    for failure in [Failure::LoseAnswer, Failure::Truncate] {
        let mut client = client(|_| {}).await;
        let tokens = client.tokens().await;
        let params = refresh_params(text(&tokens, "refresh_token"));
        client.sim.fail_next(Endpoint::Token, 1, failure.clone());
        let lost = client.post_form("/token", &params).await;
        assert!(
            matches!(lost, Err(BrowserError::Connection { .. })),
            "{failure:?}: {lost:?}"
        );
        assert_eq!(client.sim.counts().refreshes, 1, "{failure:?}");
        assert_eq!(
            error(
                &client
                    .post_form("/token", &params)
                    .await
                    .expect("an answer")
            ),
            is(400, "invalid_grant")
        );
    }
}

#[tokio::test]
async fn a_gate_holds_requests_before_they_are_acted_on() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let gate = client.sim.gate(Endpoint::Token);
    let url = client.sim.url();
    let params = refresh_params(text(&tokens, "refresh_token"));
    let held = async {
        let page = client
            .post_form("/token", &params)
            .await
            .expect("an answer");
        (page.status, client)
    };
    let watched = async {
        gate.arrived().await;
        let elsewhere = Browser::new()
            .get(&format!("{url}/jwks"))
            .await
            .expect("an answer")
            .status;
        gate.release();
        elsewhere
    };
    let ((status, client), elsewhere) = tokio::join!(held, watched);
    assert_eq!((status, elsewhere), (200, 200));
    assert_eq!(client.sim.counts().refreshes, 1);
}

#[tokio::test]
async fn a_provider_acts_on_what_it_received_even_if_the_client_hung_up() {
    let mut client = client(|_| {}).await;
    let tokens = client.tokens().await;
    let params = refresh_params(text(&tokens, "refresh_token"));
    let gate = client.sim.gate(Endpoint::Token);
    // The client gives up while its request waits, as one whose deadline has passed.
    tokio::select! {
        answer = client.post_form("/token", &params) => panic!("not held: {answer:?}"),
        () = gate.arrived() => {}
    }
    assert_eq!(
        client.sim.counts().refreshes,
        0,
        "held before it was acted on"
    );
    let answers = client.sim.gate_answers(Endpoint::Token);
    gate.release();
    answers.arrived().await;
    assert_eq!(
        client.sim.counts().refreshes,
        1,
        "held after it was acted on"
    );
    drop(answers);
    assert_eq!(
        error(
            &client
                .post_form("/token", &params)
                .await
                .expect("an answer")
        ),
        is(400, "invalid_grant")
    );
}

#[tokio::test]
async fn a_gate_counts_who_waits_and_opens_when_dropped() {
    let client = client(|_| {}).await;
    let gate = client.sim.gate(Endpoint::Jwks);
    let url = client.at("/jwks").to_string();
    let fetch =
        |url: String| async move { Browser::new().get(&url).await.expect("an answer").status };
    let waiting = [
        tokio::spawn(fetch(url.clone())),
        tokio::spawn(fetch(url.clone())),
    ];
    gate.arrivals(2).await;
    drop(gate);
    for task in waiting {
        assert_eq!(task.await.expect("a status"), 200);
    }
    assert_eq!(fetch(url).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_delay_passes_before_the_answer() {
    let mut client = client(|_| {}).await;
    let delay = Duration::from_secs(3600);
    client
        .sim
        .fail_next(Endpoint::Jwks, 1, Failure::Delay(delay));
    let (url, start) = (client.at("/jwks"), Instant::now());
    assert_eq!(
        client
            .browser
            .get(url.as_str())
            .await
            .expect("an answer")
            .status,
        200
    );
    assert!(start.elapsed() >= delay);
}
