//! What the logs and the audit keep, and what they never do.

use std::{
    io,
    sync::{Arc, Mutex},
};

use dromos_broker::domain::{
    id::{ConnectionId, WorkspaceId},
    sealed::Place,
};
use dromos_simulator::{Endpoint, Failure, browser::Browser};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    callback::{assert_refused, deliver, outcome},
    world::{ADMIN_KEY, Db, SERVICE_KEY, World, both, query, reason},
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("the lines").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Runs a body on one thread, and keeps all that is logged there at any level.
fn logged<F: Future>(body: F) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(body);
    });
    String::from_utf8(lines.0.lock().expect("the lines").clone()).expect("text")
}

/// The refresh token that a connection holds: no API tells it.
async fn refresh_token(world: &World, id: &str) -> String {
    let id: ConnectionId = id.parse().expect("an id");
    let workspace_id = WorkspaceId::DEFAULT;
    let held = world.core.store.credential(workspace_id, id).await;
    let held = held.expect("the store answers").expect("a credential");
    let place = Place {
        workspace_id,
        table: "credentials",
        row: id.0,
        field: "refresh",
        generation: held.generation,
    };
    let sealed = held.content.refresh.expect("a refresh token");
    let opened = world.core.vault.open(&place, &sealed).await;
    let opened = opened.expect("it opens");
    // What is sealed may be more than the token alone.
    let text = std::str::from_utf8(opened.expose_secret()).expect("text");
    serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| text.to_owned())
}

/// A whole life of a connection, good and bad turns: the secrets that it met.
async fn a_whole_life(db: Db) -> Vec<(&'static str, String)> {
    let world = World::start(db).await;
    let mut met = vec![
        ("the admin key", ADMIN_KEY.to_owned()),
        ("the service key", SERVICE_KEY.to_owned()),
        (
            "the client secret",
            world.simulator.client_secret().to_owned(),
        ),
        ("a bootstrap key's prefix", ADMIN_KEY[..12].to_owned()),
    ];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    met.push(("an API key", world.api_key(&["connections:read"]).await));

    let begun = world.request_connection("user-1").await;
    met.push(("a state", text(&begun["state"])));
    let auth_url = text(&begun["auth_url"]);
    met.push((
        "a handle",
        auth_url.rsplit('/').next().expect("one").to_owned(),
    ));
    let mut browser = Browser::new();
    let page = world.open(&mut browser, &begun).await;
    let cookie = page.header("set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair");
    met.push((
        "a cookie",
        cookie.split_once('=').expect("a pair").1.to_owned(),
    ));
    let location = page.location().expect("the provider");
    met.push(("a nonce", query(&location, "nonce").expect("a nonce")));
    let answer = world.approved(&mut browser, &begun).await;
    met.push(("a code", query(&answer, "code").expect("a code")));
    assert_refused(&deliver(&mut Browser::new(), &answer).await);
    assert_eq!(outcome(&deliver(&mut browser, &answer).await), None);
    assert_refused(&deliver(&mut browser, &answer).await);

    let id = text(&begun["connection_id"]);
    for _ in 0..2 {
        let (status, token) = world.token(&id).await;
        assert_eq!(status, StatusCode::OK);
        met.push((
            "an access token",
            text(&token["credentials"]["access_token"]),
        ));
        met.push(("an id_token", text(&token["credentials"]["id_token"])));
        met.push(("a refresh token", refresh_token(&world, &id).await));
        let (status, _) = world.refresh(&id, json!({})).await;
        assert_eq!(status, StatusCode::OK);
    }
    // What a provider says when it fails is its own.
    let words = Failure::error(400, "words-of-the-provider");
    world.simulator.fail_next(Endpoint::Token, 1, words);
    let (status, _) = world.refresh(&id, json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    world.simulator.fail_next(Endpoint::Token, 1, Failure::Cut);
    let begun = world.request_connection("user-2").await;
    let answer = world.approved(&mut browser, &begun).await;
    met.push(("an unlucky code", query(&answer, "code").expect("a code")));
    assert!(outcome(&deliver(&mut browser, &answer).await).is_some());
    let wrong = "a-mistyped-key-of-somebody-0123456789";
    met.push(("a wrong key", wrong.to_owned()));
    let refused = world
        .call_as(wrong, Method::GET, "/v1/providers", Value::Null)
        .await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
    world
        .post(&format!("/v1/connections/{id}:revoke"), json!({}))
        .await;
    let metrics = world
        .http
        .get(format!("{}/metrics", world.broker_url))
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    for (what, secret) in &met {
        assert!(!metrics.contains(secret), "{what} is in the metrics");
    }
    assert!(!metrics.contains(&id) && !metrics.contains("user-1"));
    world.stop().await;
    met
}

fn assert_clean(db: Db) {
    let mut met = vec![];
    let text = logged(async { met = a_whole_life(db).await });
    // It did listen, on both services, and to what goes wrong.
    for line in [
        "/dromos.broker.v1.ConnectionService/GetToken",
        "/dromos.v1.ConnectionService/GetToken",
        "/auth/callback/{provider_id}",
        "TRACE",
    ] {
        assert!(text.contains(line), "{line} is not in the logs");
    }
    assert!(met.len() >= 15);
    for (what, secret) in met {
        let line = text.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{what} is logged");
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        assert!(!text.contains(&encoded), "{what} is logged");
    }
}

mod hardening_18_no_secret_is_in_the_logs_at_any_level {
    use super::*;

    #[test]
    fn sqlite() {
        assert_clean(Db::Sqlite);
    }

    #[test]
    fn postgres() {
        assert_clean(Db::Postgres);
    }
}

both!(
    hardening_18_a_providers_error_body_is_not_in_the_audit,
    |world: World| async move {
        let id = world.connect("user-1").await;
        let words = Failure::error(400, "The account of ada@example.com is closed");
        world.simulator.fail_next(Endpoint::Token, 1, words.clone());
        world.refresh(&id, json!({})).await;
        world.simulator.fail_next(Endpoint::Token, 1, words);
        let begun = world.request_connection("user-2").await;
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("error"));
        assert!(!end.as_str().contains("example.com"), "{end}");
        let (_, page) = world.get("/v1/audit?page_size=1000").await;
        assert!(!page.to_string().contains("example.com"), "{page}");
        let (_, connection) = world
            .get(&format!(
                "/v1/connections/{}",
                begun["connection_id"].as_str().expect("an id")
            ))
            .await;
        assert!(
            !connection.to_string().contains("example.com"),
            "{connection}"
        );
    }
);

both!(
    hardening_19_what_is_asked_of_a_connection_that_does_not_exist_is_kept,
    |world: World| async move {
        let nobody = uuid::Uuid::now_v7().to_string();
        let answer = world
            .http
            .get(format!("{}/v1/token/{nobody}", world.gateway_url))
            .bearer_auth(ADMIN_KEY)
            .header("x-request-id", "asked-in-vain")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let (status, error) = world.refresh(&nobody, json!({})).await;
        assert_eq!(
            (status, reason(&error)),
            (StatusCode::NOT_FOUND, "CONNECTION_NOT_FOUND")
        );
        let (_, page) = world
            .get(&format!("/v1/audit?connection_id={nobody}"))
            .await;
        let events = page["audit_events"].as_array().expect("a list");
        assert_eq!(events.len(), 2, "{page}");
        for event in events {
            assert_eq!(event["outcome"], "error");
            assert_eq!(event["reason"], "connection_not_found");
            assert!(!event["api_key_id"].as_str().expect("an id").is_empty());
        }
        assert!(
            events
                .iter()
                .any(|event| event["request_id"] == "asked-in-vain")
        );
    }
);

both!(
    hardening_19_the_audit_of_what_is_gone_stays,
    |world: World| async move {
        let id = world.connect("user-1").await;
        world.token(&id).await;
        world
            .call(Method::DELETE, "/v1/providers/sim?force=true", Value::Null)
            .await;
        let (_, page) = world.get(&format!("/v1/audit?connection_id={id}")).await;
        let actions: Vec<&str> = page["audit_events"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|event| event["action"].as_str())
            .collect();
        for action in [
            "connection.activated",
            "credential.read",
            "connection.revoked",
        ] {
            assert!(actions.contains(&action), "{actions:?}");
        }
    }
);
