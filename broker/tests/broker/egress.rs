//! What the broker calls, and what it never does: private addresses, proxies,
//! redirects; and what it keeps of the answers.

use std::process::{Command, Stdio};

use reqwest::StatusCode;
use serde_json::json;

use dromos_simulator::{Endpoint, Failure};

use crate::{
    network::{Relay, Trap},
    world::{ADMIN_KEY, Db, SERVICE_KEY, World, both, eventually, query, reason},
};

both!(
    hardening_15_nothing_is_sent_to_private_addresses_in_production,
    |mut world: World| async move {
        let relay = Relay::to(world.simulator.url()).await;
        let explicit = json!({ "oauth2": {
            "issuer": "",
            "authorization_endpoint": format!("{}/authorize", world.simulator.url()),
            "token_endpoint": format!("{}/token", relay.url),
            "scopes": ["offline_access"],
        } });
        world.create_provider("explicit", explicit).await;
        let by_issuer = world.connect("user-1").await;
        let by_url = world.connect_to("explicit", "user-1").await;
        let open = world.request_connection_to("explicit", "user-2").await;
        world.halt().await;
        world.resume(&[("ALLOW_PRIVATE_NETWORKS", "")]).await;

        let (before, relayed) = (world.simulator.counts(), relay.seen().len());
        for id in [&by_issuer, &by_url] {
            let (_, error) = world.refresh(id, json!({})).await;
            assert_eq!(reason(&error), "PROVIDER_MISCONFIGURED", "{error}");
            // What is held is still served.
            assert_eq!(world.token(id).await.0, StatusCode::OK);
        }
        let begun = json!({ "user_id": "u", "provider_name": "sim",
                            "return_url": crate::world::RETURN_URL });
        let (_, error) = world.post("/v1/request-connection", begun).await;
        assert_eq!(reason(&error), "PROVIDER_MISCONFIGURED", "{error}");
        // The browser may go there; the code's exchange may not.
        let end = world.consent(&open).await;
        assert_eq!(query(&end, "status").as_deref(), Some("error"), "{end}");
        let after = world.simulator.counts();
        for endpoint in [Endpoint::Discovery, Endpoint::Token, Endpoint::Jwks] {
            assert_eq!(after.of(endpoint), before.of(endpoint), "{endpoint:?}");
        }
        assert_eq!(relay.seen().len(), relayed);
    }
);

/// Not even a connection is opened, by whatever name the address goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_15_names_of_private_addresses_are_not_dialled() {
    let world = World::start_empty(Db::Sqlite, &[("ALLOW_PRIVATE_NETWORKS", "")]).await;
    let trap = Trap::set().await;
    let hosts = [
        "localhost",
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
    ];
    for (index, host) in hosts.iter().enumerate() {
        let name = format!("p{index}");
        let issuer = format!("https://{host}:{}", trap.port);
        let (status, answer) = world
            .try_create_provider(&name, json!({ "oauth2": { "issuer": issuer } }))
            .await;
        if status != StatusCode::OK {
            assert_eq!(reason(&answer), "INVALID_ARGUMENT", "{host}: {answer}");
            continue;
        }
        let begun = json!({ "user_id": "u", "provider_name": name,
                            "return_url": crate::world::RETURN_URL });
        let (status, error) = world.post("/v1/request-connection", begun).await;
        assert!(!status.is_success(), "{host}: {error}");
        assert!(
            ["PROVIDER_MISCONFIGURED", "PROVIDER_UNAVAILABLE"].contains(&reason(&error)),
            "{host}: {error}"
        );
    }
    assert_eq!(trap.calls(), 0);
}

both!(
    hardening_16_a_failed_discovery_is_not_kept,
    |world: World| async move {
        for (index, failure) in [404, 500, 503].map(Failure::status).into_iter().enumerate() {
            world
                .simulator
                .fail_next(Endpoint::Discovery, 1, failure.clone());
            if index > 0 {
                // What was fetched in the round before is forgotten by then.
                world.clock.advance(3601);
            }
            let body = json!({ "user_id": "u", "provider_name": "sim",
                               "return_url": crate::world::RETURN_URL });
            let before = world.simulator.counts().of(Endpoint::Discovery);
            let (status, error) = world.post("/v1/request-connection", body).await;
            assert!(!status.is_success(), "{failure:?}: {error}");
            assert_eq!(world.simulator.counts().of(Endpoint::Discovery), before + 1);
            // At once, without the clock being moved.
            world.connect("user-1").await;
            assert_eq!(world.simulator.counts().of(Endpoint::Discovery), before + 2);
        }
    }
);

both!(
    hardening_16_failed_keys_are_not_kept,
    |world: World| async move {
        for status in [404, 500] {
            world.clock.advance(3601);
            world
                .simulator
                .fail_next(Endpoint::Jwks, 1, Failure::status(status));
            let begun = world.request_connection("user-1").await;
            let end = world.consent(&begun).await;
            assert_eq!(
                query(&end, "error").as_deref(),
                Some("provider_unavailable"),
                "{end}"
            );
            world.connect("user-1").await;
        }
    }
);

both!(
    hardening_16_a_rotated_signing_key_is_fetched_when_it_is_met,
    |world: World| async move {
        world.connect("user-1").await;
        world.connect("user-2").await;
        assert_eq!(world.simulator.counts().of(Endpoint::Jwks), 1, "kept");
        world.simulator.rotate_signing_key();
        // Unknown keys are asked for at most once in ten seconds.
        world.clock.advance(10);
        world.connect("user-3").await;
        assert_eq!(world.simulator.counts().of(Endpoint::Jwks), 2);
    }
);

both!(
    hardening_17_a_hanging_provider_holds_no_database_connection_and_blocks_nobody,
    |world: World| async move {
        let bystander = world.connect("bystander").await;
        let mut ids = vec![];
        for user in 0..18 {
            ids.push(world.connect(&format!("user-{user}")).await);
        }
        let gate = world.simulator.gate(Endpoint::Token);
        let hanging =
            futures_util::future::join_all(ids.iter().map(|id| world.refresh(id, json!({}))));
        let (answers, ()) = tokio::join!(hanging, async {
            gate.arrivals(18).await;
            eventually("every database connection is given back", async || {
                let (open, idle) = world.core.store.pool_state();
                open == idle
            })
            .await;
            assert_eq!(world.token(&bystander).await.0, StatusCode::OK);
            assert_eq!(world.check(&bystander).await["status"], "ACTIVE");
            assert_eq!(world.get("/v1/connections").await.0, StatusCode::OK);
            // Nor does it hold up reads of the very connections that hang.
            assert_eq!(world.token(&ids[0]).await.1["generation"], 1);
            gate.release();
        });
        for (status, token) in answers {
            assert_eq!(status, StatusCode::OK, "{token}");
        }
    }
);

both!(
    hardening_37_a_redirect_from_the_token_endpoint_is_not_followed,
    |world: World| async move {
        let trap = Trap::set().await;
        let relay = Relay::to(world.simulator.url()).await;
        let changes = json!({ "oauth2": { "token_endpoint": format!("{}/token", relay.url) } });
        world.create_provider("relayed", changes).await;
        let id = world.connect_to("relayed", "user-1").await;
        relay.redirect_to(&format!("http://127.0.0.1:{}/token", trap.port));
        let (status, error) = world.refresh(&id, json!({})).await;
        assert!(!status.is_success(), "{error}");
        assert_eq!(relay.seen().len(), 2, "asked once");
        assert_eq!(world.check(&id).await["status"], "ACTIVE");
        assert_eq!(world.token(&id).await.0, StatusCode::OK);
        let begun = world.request_connection_to("relayed", "user-2").await;
        let end = world.consent(&begun).await;
        assert_eq!(query(&end, "status").as_deref(), Some("error"), "{end}");
        assert_eq!(trap.calls(), 0);
    }
);

/// A broker as its own process, which ends with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hardening_37_proxy_variables_of_the_process_are_not_used() {
    // Its broker stops; the process takes over its database and its address.
    let clock = crate::world::TestClock::of_the_machine();
    let mut world = World::start_with_clock(Db::Sqlite, clock, &[]).await;
    world.create_provider("sim", json!({})).await;
    world.halt().await;
    let trap = Trap::set().await;
    let proxy = format!("http://127.0.0.1:{}", trap.port);
    let listen = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dromos-broker"));
    command
        .env_clear()
        .envs(world.settings())
        .env("LISTEN", &listen)
        .env(
            "PUBLIC_LISTEN",
            world.public_url.trim_start_matches("http://"),
        )
        .env("ALLOWED_RETURN_URLS", "http://127.0.0.1:9")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &proxy).env(name.to_lowercase(), &proxy);
    }
    let _process = Process(command.spawn().expect("the broker's binary starts"));
    let broker_url = format!("http://{listen}");
    eventually("the process is ready", async || {
        let answer = world.http.get(format!("{broker_url}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    })
    .await;
    let consent = json!({ "user_id": "u", "provider_name": "sim",
                          "return_url": crate::world::RETURN_URL });
    let inside = |request: reqwest::RequestBuilder| {
        let request = request.bearer_auth(SERVICE_KEY);
        request.header("x-dromos-key", ADMIN_KEY).send()
    };
    let request = world.http.post(format!("{broker_url}/auth/consent-spec"));
    let begun = inside(request.json(&consent)).await.expect("an answer");
    let begun: serde_json::Value = begun.json().await.expect("JSON");
    let end = world.consent(&begun).await;
    assert_eq!(query(&end, "status").as_deref(), Some("success"), "{end}");
    let id = begun["connection_id"].as_str().expect("an id");
    let request = world
        .http
        .post(format!("{broker_url}/connections/{id}/refresh"));
    let token = inside(request.json(&json!({}))).await.expect("an answer");
    assert_eq!(token.status(), StatusCode::OK);
    let counts = world.simulator.counts();
    assert_eq!(counts.of(Endpoint::Token), 2);
    assert_eq!(trap.calls(), 0);
}
